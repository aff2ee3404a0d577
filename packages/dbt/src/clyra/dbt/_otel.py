# SPDX-License-Identifier: Apache-2.0
"""The trace of one invocation in dbt's OpenTelemetry file (``--otel-file-name``), for engines without plugins.

One JSON object per line. A span of type ``QueryExecuted`` is one statement: its text, the warehouse's query id, the
node, the outcome; of the text only digests and the verb are kept. One that began and has no end was sent all the same.
``NodeProcessed`` says how a node ended, which these engines leave out of ``run_results.json`` for some nodes that
failed, and ``Invocation`` how the command did. Other lines, and those of other invocations, are passed over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clyra.dbt import _schema_text
from clyra.dbt._artifacts import Timed
from clyra.dbt._json_view import MAX_US, JsonView
from clyra.dbt._nodes import TESTS, Outcome
from clyra.dbt._verbs import body_of, verb_of
from clyra.spec import FormatError

_QUERY, _NODE, _INVOCATION = "query.QueryExecuted", "node.NodeProcessed", "invocation.Invocation"
# Of a statement that was cancelled nobody knows what it did before.
_QUERY_OUTCOMES = {"QUERY_OUTCOME_SUCCESS": "success", "QUERY_OUTCOME_ERROR": "error"}
_NODE_OUTCOMES = {
    "NODE_OUTCOME_SUCCESS": "success",
    "NODE_OUTCOME_ERROR": "error",
    "NODE_OUTCOME_CANCELED": "interrupted",
    "NODE_OUTCOME_SKIPPED": "skipped",
}
_TEST_OUTCOMES = {
    "TEST_OUTCOME_PASSED": "pass",
    "TEST_OUTCOME_WARNED": "warn",
    "TEST_OUTCOME_FAILED": "fail",
}
# Skipped for another reason than a failure upstream: its result is still good.
_FAILED_UPSTREAM = ("NODE_SKIP_REASON_UPSTREAM", "NODE_SKIP_REASON_UNSPECIFIED", None)
_STATUS_ERROR = 2
# The first half of BLAKE3 of nothing.
_EMPTY_SQL_HASH = "af1349b9f5f9a1a6a0404dea36dcc949"
_DIGITS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class TracedStatement:
    """The members of a ``statement`` event and when it ended, in microseconds since the epoch."""

    at_us: int
    members: dict[str, object]


@dataclass(frozen=True, slots=True)
class Trace:
    """What the file says of one invocation: statements in the order of their ends, nodes, and whether it failed.

    ``sha256`` is that of the whole file, hex.
    """

    statements: tuple[TracedStatement, ...]
    nodes: tuple[Timed, ...]
    has_failed: bool
    sha256: str


def read_trace(path: Path, invocation_id: str) -> Trace:
    """The trace of an invocation.

    Raises:
        FormatError: The file cannot be read, a line is no JSON object, a span lacks what it should say
            (``schema_invalid``), or the file has nothing of this invocation (``artifact_stale``).
    """
    statements: dict[str, TracedStatement] = {}
    nodes: list[Timed] = []
    is_there = has_failed = False
    digest = hashlib.sha256()
    for span in _spans(path, invocation_id.replace("-", ""), digest.update):
        is_there = True
        kind, has_ended = span.text("event_type"), span.value("record_type") == "SpanEnd"
        if kind.endswith(_QUERY):
            statements[span.text("span_id")] = _statement(span, has_ended=has_ended)
        elif has_ended and kind.endswith(_NODE) and span.view("attributes").value("in_selection") is True:
            nodes.append(_node(span))
        elif has_ended and kind.endswith(_INVOCATION):
            has_failed = span.view("status").value("code") == _STATUS_ERROR
    if not is_there:
        raise FormatError(
            f"{path.name} has nothing of invocation {invocation_id}; name the file of the run with --otel",
            code="artifact_stale",
        )
    in_order = sorted(statements.values(), key=lambda statement: statement.at_us)
    return Trace(tuple(in_order), tuple(nodes), has_failed, digest.hexdigest())


def _spans(path: Path, trace_id: str, see: Callable[[bytes], None]) -> Iterator[JsonView]:
    wanted = f'"{trace_id}"'.encode()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                see(line)
                # Other invocations may be in the same file.
                if wanted not in line or b'"Span' not in line:
                    continue
                span = JsonView.parse(f"line {number} of {path.name}", line)
                if span.value("record_type") in ("SpanStart", "SpanEnd") and span.value("trace_id") == trace_id:
                    yield span
    except OSError as exc:
        raise FormatError(f"{path} cannot be read: {exc.strerror}; name the file with --otel") from exc


def _statement(span: JsonView, *, has_ended: bool) -> TracedStatement:
    attributes = span.view("attributes")
    sql = _text(attributes)
    started_us = _instant_us(span, "start_time_unix_nano")
    ended_us = _instant_us(span, "end_time_unix_nano") if has_ended else started_us
    return TracedStatement(
        ended_us,
        {
            "unique_id": _schema_text.name_or_none(attributes.text_or_none("unique_id")),
            "sent_sha256": _schema_text.digest(sql),
            "body_sha256": _schema_text.digest(body_of(sql, None)),
            # Data may be loaded without any SQL; what dbt calls that is no known verb, and counts as one that writes.
            "verb": _schema_text.word(verb_of(sql) if sql else attributes.text_or_none("query_description") or ""),
            "status": _QUERY_OUTCOMES.get(attributes.text_or_none("query_outcome") or "", "unknown"),
            "rows": None,
            "query_id": _schema_text.name_or_none(attributes.text_or_none("query_id")),
            "elapsed_us": max(0, ended_us - started_us) if has_ended else None,
        },
    )


def _text(attributes: JsonView) -> str:
    """The statement's text, which is left out where it is empty, and perhaps where somebody removed it."""
    sql = attributes.text_or_none("sql")
    if sql is None and attributes.text_or_none("sql_hash") != _EMPTY_SQL_HASH:
        attributes.refuse("sql", "the statement's text")
    return sql or ""


def _node(span: JsonView) -> Timed:
    attributes = span.view("attributes")
    unique_id = attributes.text("unique_id")
    resource_type = _schema_text.word(unique_id.partition(".")[0])
    status = _NODE_OUTCOMES.get(attributes.text_or_none("node_outcome") or "", "unknown")
    if resource_type in TESTS and status == "success":
        # A test that found rows has run well; what it found is a detail, and none means that it passed.
        found = attributes.view("node_test_detail").text_or_none("test_outcome")
        status = _TEST_OUTCOMES.get(found or "TEST_OUTCOME_PASSED", "unknown")
    elif status == "skipped" and attributes.text_or_none("node_skip_reason") not in _FAILED_UPSTREAM:
        status = "no-op"
    took = attributes.value("duration_ms") is not None
    outcome = Outcome(
        unique_id=_schema_text.name(unique_id),
        resource_type=resource_type,
        status=status,
        execution_us=1000 * (_number(attributes, "duration_ms", MAX_US // 1000) if took else 0),
    )
    return Timed(outcome, _instant_us(span, "end_time_unix_nano"))


def _instant_us(span: JsonView, name: str) -> int:
    return _number(span, name, MAX_US * 1000) // 1000


def _number(view: JsonView, name: str, limit: int) -> int:
    """A number that protobuf's JSON writes as text, as it does with those of 64 bits."""
    found = view.value(name)
    number = int(found) if isinstance(found, str) and _DIGITS.fullmatch(found) else found
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= limit:
        view.refuse(name, "a number")
    return number
