# SPDX-License-Identifier: Apache-2.0
"""Where a Postgres server's history stands, and the anchor between two such points.

The log sequence number is the one of insertion: whatever commits after the first point lies behind its LSN, whatever
was committed before the second lies at or before its LSN, asynchronous commits included. It has to be read in
autocommit: inside a transaction it is only a lower bound of that transaction's commit.

Every function used is open to PUBLIC on an ordinary server. Where an administrator has revoked one, its field is left
out and named in ``missing``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clyra.spec.errors import UnavailableError
from clyra.warehouse import Anchor, Mark, Query, no_anchor

SYSTEM = "postgres"
KIND = "postgres_wal"
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_BOTH_ENDS = ("lsn", "snapshot")


@dataclass(frozen=True, slots=True)
class _Field:
    """One fact: its expression on a primary and on a standby, and the functions each of them calls."""

    name: str
    primary: str
    standby: str
    primary_functions: tuple[str, ...] = ()
    standby_functions: tuple[str, ...] = ()


_CONTROL_SYSTEM = ("pg_control_system()",)
_SYSTEM_IDENTIFIER = "(select system_identifier::text from pg_catalog.pg_control_system())"
_FIELDS = (
    _Field(
        "lsn",
        "pg_catalog.pg_current_wal_insert_lsn()::text",
        "pg_catalog.pg_last_wal_replay_lsn()::text",
        ("pg_current_wal_insert_lsn()",),
        ("pg_last_wal_replay_lsn()",),
    ),
    _Field(
        # The control file learns of a promotion only at the next checkpoint; the name of the WAL file knows at once.
        "timeline",
        "pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)",
        "(select pg_catalog.to_hex(timeline_id) from pg_catalog.pg_control_checkpoint())",
        ("pg_current_wal_insert_lsn()", "pg_walfile_name(pg_lsn)"),
        ("pg_control_checkpoint()",),
    ),
    _Field("system_identifier", _SYSTEM_IDENTIFIER, _SYSTEM_IDENTIFIER, _CONTROL_SYSTEM, _CONTROL_SYSTEM),
    _Field(
        "snapshot",
        "pg_catalog.pg_current_snapshot()::text",
        "pg_catalog.pg_current_snapshot()::text",
        ("pg_current_snapshot()",),
        ("pg_current_snapshot()",),
    ),
)
_DATABASE_OID = "(select oid::bigint from pg_catalog.pg_database where datname = pg_catalog.current_database())"
_ALWAYS = (
    ("database", "pg_catalog.current_database()::text"),
    ("database_oid", _DATABASE_OID),
    ("server_version_num", "pg_catalog.current_setting('server_version_num')::int"),
)
_FUNCTIONS = tuple(sorted({name for field in _FIELDS for name in (*field.primary_functions, *field.standby_functions)}))


def read_point(query: Query) -> dict[str, str | int]:
    """Where the server stands: what of ``_FIELDS`` and ``_ALWAYS`` can be read, and what is ``missing``.

    Raises:
        UnavailableError: The query failed or returned something else than was asked for.
    """
    is_standby, *allowed = _one_row(query(_abilities_statement()), 1 + len(_FUNCTIONS))
    permitted = {name for name, is_allowed in zip(_FUNCTIONS, allowed, strict=True) if is_allowed}
    expressions, missing = _readable(permitted, is_standby=bool(is_standby))
    row = _one_row(query(_point_statement(expressions)), len(expressions))
    # A standby that has replayed nothing yet has no LSN.
    point = {name: _value(value) for name, value in zip(expressions, row, strict=True) if value is not None}
    missing += [name for name in expressions if name not in point]
    if "timeline" in point:
        point["timeline"] = int(str(point["timeline"]), 16)
    return {**point, "missing": " ".join(missing)} if missing else point


def join_points(before: Mark, after: Mark, now: datetime) -> Anchor:
    """The anchor from one point to a later one of the same server, else one of kind ``none`` that says what is wrong.

    Args:
        before: What :func:`read_point` gave before the run's first statement.
        after: What it gave after the last.
        now: When, aware.
    """
    if problem := _mismatch(before, after):
        return no_anchor(SYSTEM, "capture_failed", now, detail=problem)
    value = {name: fact for name, fact in after.items() if name not in (*_BOTH_ENDS, "database")}
    for name in _BOTH_ENDS:
        for end, point in (("before", before), ("after", after)):
            if name in point:
                value[f"{end}_{name}"] = point[name]
    if before.get("timeline") != after.get("timeline") and "timeline" in before:
        value["before_timeline"] = before["timeline"]
    return Anchor(SYSTEM, KIND, str(after["database"]), value, captured_at=now)


def parse_lsn(text: str) -> int:
    """The position of an LSN such as ``16/B374D848``, in bytes.

    Raises:
        ValueError: The text is no LSN.
    """
    found = _LSN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:20]!r} is no LSN")
    return int(found[1], 16) << 32 | int(found[2], 16)


def _abilities_statement() -> str:
    asked = [f"pg_catalog.has_function_privilege('pg_catalog.{name}', 'execute')" for name in _FUNCTIONS]
    return "select pg_catalog.pg_is_in_recovery(), " + ", ".join(asked)


def _readable(permitted: set[str], *, is_standby: bool) -> tuple[dict[str, str], list[str]]:
    """The expressions that may be asked for by name, and the names of those that may not."""
    expressions, missing = dict(_ALWAYS), []
    for field in _FIELDS:
        if permitted.issuperset(field.standby_functions if is_standby else field.primary_functions):
            expressions[field.name] = field.standby if is_standby else field.primary
        else:
            missing.append(field.name)
    return expressions, missing


def _point_statement(expressions: Mapping[str, str]) -> str:
    return "select " + ", ".join(f"{expression} as {name}" for name, expression in expressions.items())


def _one_row(rows: Sequence[Sequence[object]], width: int) -> Sequence[object]:
    if len(rows) != 1 or len(rows[0]) != width:
        raise UnavailableError("the server's answer has another shape than the question; is it really Postgres?")
    return rows[0]


def _value(value: object) -> str | int:
    return value if isinstance(value, int) else str(value)


def _mismatch(before: Mark, after: Mark) -> str:
    """Why two points give no anchor, empty if they do."""
    for point, end in ((before, "before"), (after, "after")):
        if "lsn" not in point:
            return f"no LSN {end} the run: it may not be read, or nothing has been replayed"
    for name in ("system_identifier", "database_oid"):
        if before.get(name) != after.get(name):
            return f"{name} changed during the run"
    if parse_lsn(str(after["lsn"])) < parse_lsn(str(before["lsn"])):
        return "the LSN went backwards during the run"
    return ""
