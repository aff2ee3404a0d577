# SPDX-License-Identifier: Apache-2.0
"""Statements from dbt's OpenTelemetry file (``--otel-file-name``): one JSON object per line, engines without plugins.

A ``SpanEnd`` of type ``QueryExecuted`` is one statement: its text, the warehouse's query id, the node, the outcome. Of
the text only digests and the verb are kept. Lines of other kinds, and lines of other invocations, are passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clyra.dbt import _schema_text
from clyra.dbt._verbs import body_of, verb_of
from clyra.spec import FormatError

_QUERY = ".QueryExecuted"
_OUTCOMES = {"QUERY_OUTCOME_SUCCESS": "success", "QUERY_OUTCOME_ERROR": "error"}


@dataclass(frozen=True, slots=True)
class TracedStatement:
    """One statement and when it ended, in microseconds since the epoch."""

    at_us: int
    members: dict[str, object]


def read_statements(path: Path, invocation_id: str) -> list[TracedStatement]:
    """The statements of one invocation, in the order in which they ended.

    Raises:
        FormatError: The file cannot be read, a line is no JSON object, or a statement lacks its text or time.
    """
    trace_id = invocation_id.replace("-", "")
    statements = [_statement(span, number) for number, span in _spans(path) if span.get("trace_id") == trace_id]
    return sorted(statements, key=lambda statement: statement.at_us)


def _spans(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if b"QueryExecuted" not in line:
                    continue
                try:
                    span = json.loads(line)
                except ValueError as exc:
                    raise FormatError(f"line {number} of {path.name} is no JSON; the file may be cut off") from exc
                is_end = isinstance(span, dict) and span.get("record_type") == "SpanEnd"
                if is_end and str(span.get("event_type")).endswith(_QUERY):
                    yield number, span
    except OSError as exc:
        raise FormatError(f"{path.name} cannot be read: {exc.strerror}") from exc


def _statement(span: dict[str, Any], number: int) -> TracedStatement:
    attributes = span.get("attributes")
    sql = attributes.get("sql") if isinstance(attributes, dict) else None
    try:
        started, ended = int(span["start_time_unix_nano"]), int(span["end_time_unix_nano"])
    except (KeyError, TypeError, ValueError) as exc:
        raise FormatError(f"line {number}: a statement without times", pointer="/end_time_unix_nano") from exc
    if not isinstance(attributes, dict) or not isinstance(sql, str):
        raise FormatError(f"line {number}: a statement without its text", pointer="/attributes/sql")
    unique_id, query_id = attributes.get("unique_id"), attributes.get("query_id")
    members: dict[str, object] = {
        "unique_id": _schema_text.name(unique_id) if isinstance(unique_id, str) and unique_id else None,
        "sent_sha256": hashlib.sha256(sql.encode("utf-8", "surrogatepass")).hexdigest(),
        "body_sha256": hashlib.sha256(body_of(sql, None).encode("utf-8", "surrogatepass")).hexdigest(),
        "verb": _schema_text.word(verb_of(sql)),
        "status": _OUTCOMES.get(str(attributes.get("query_outcome")), "unknown"),
        "rows": None,
        "query_id": _schema_text.name(query_id) if isinstance(query_id, str) and query_id else None,
        "elapsed_us": max(0, (ended - started) // 1000),
    }
    return TracedStatement(ended // 1000, members)
