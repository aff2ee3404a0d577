# SPDX-License-Identifier: Apache-2.0
"""Hold a Postgres anchor against what a server says of itself today.

Confirmed means: this is the server and database of the anchor, and the anchor's stretch of history is part of the
server's. It does not mean that certain rows were written there; and a physical copy that has since moved past the
anchor on the same timeline cannot be told from the original. A superuser can make a server say anything: the anchor,
signed and kept elsewhere, is what such a server can be caught with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from clyra.postgres.wal_point import parse_lsn
from clyra.spec.errors import FormatError
from clyra.warehouse import AnchorCheck, AnchorFinding, AnchorVerdict, Mark

_CONFIRMED = AnchorVerdict.CONFIRMED
_CONTRADICTED = AnchorVerdict.CONTRADICTED
_UNCHECKABLE = AnchorVerdict.NO_LONGER_CHECKABLE
_SWITCH = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})\b", re.MULTILINE)
_SNAPSHOT = re.compile(r"\d{1,20}:(\d{1,20}):[\d,]*")


def judge_anchor(
    value: Mark, today: Mark, *, databases: frozenset[int], ended: Mapping[int, int] | None
) -> AnchorCheck:
    """Compare an anchor's value with where the server stands today.

    Args:
        value: Of an anchor of kind ``postgres_wal``.
        today: What ``read_point`` gives now.
        databases: The OIDs of all databases of the server.
        ended: For each earlier timeline of the server the LSN where it was left; None where that cannot be read.

    Raises:
        FormatError: The value is not what the kind promises.
    """
    first, last = _lsn(value, "before_lsn"), _lsn(value, "after_lsn")
    if first > last:
        raise FormatError(
            "the anchor ends before it begins: before_lsn is beyond after_lsn", pointer="/value/before_lsn"
        )
    return AnchorCheck(
        (
            _system(value, today),
            _database(value, databases),
            _range(value, last, today, ended),
            _transactions(value, today),
        )
    )


def parse_timeline_history(text: str) -> dict[int, int]:
    """Where each earlier timeline was left, from the text of a timeline history file."""
    return {int(timeline): parse_lsn(lsn) for timeline, lsn in _SWITCH.findall(text)}


def _system(value: Mark, today: Mark) -> AnchorFinding:
    then, now = value.get("system_identifier"), today.get("system_identifier")
    if then is None or now is None:
        return _unknown("system_identifier", then)
    if str(then) != str(now):
        return AnchorFinding("system_identifier", _CONTRADICTED, "this is another server, or one restored from a dump")
    return AnchorFinding("system_identifier", _CONFIRMED, "the same server, or a physical copy of it")


def _database(value: Mark, databases: frozenset[int]) -> AnchorFinding:
    oid = _number(value, "database_oid")
    if oid is None:
        return _unknown("database_oid", None)
    if oid not in databases:
        return AnchorFinding("database_oid", _UNCHECKABLE, f"database {oid} has been dropped, or was made anew")
    return AnchorFinding("database_oid", _CONFIRMED, "the database is there")


def _range(value: Mark, last: int, today: Mark, ended: Mapping[int, int] | None) -> AnchorFinding:
    """Whether the server's history contains the LSN up to which the anchor reaches, on the anchor's timeline."""
    then, now = _number(value, "timeline"), _number(today, "timeline")
    if then is None or now is None or "lsn" not in today:
        return _unknown("lsn", then)
    if now < then:
        return AnchorFinding("lsn", _CONTRADICTED, f"the server is on timeline {now}, before the anchor's {then}")
    if now == then:
        stands = parse_lsn(str(today["lsn"]))
    elif ended is None:
        return AnchorFinding("lsn", _UNCHECKABLE, "the timeline has changed, and its history may not be read")
    elif then not in ended:
        return AnchorFinding("lsn", _CONTRADICTED, f"timeline {then} is no part of this server's history")
    else:
        stands = ended[then]
    if stands < last:
        return AnchorFinding("lsn", _CONTRADICTED, "this server's history ends before the anchor: an earlier state")
    return AnchorFinding("lsn", _CONFIRMED, "the anchor lies within this server's history")


def _transactions(value: Mark, today: Mark) -> AnchorFinding:
    """Transaction numbers only grow, so the next one to be given out tells an earlier state as well."""
    then, now = _next_transaction(value, "after_snapshot"), _next_transaction(today, "snapshot")
    if then is None or now is None:
        return _unknown("snapshot", then)
    if now < then:
        return AnchorFinding(
            "snapshot", _CONTRADICTED, "this server has given out fewer transactions: an earlier state"
        )
    return AnchorFinding("snapshot", _CONFIRMED, "the anchor's transactions have been given out")


def _unknown(check: str, then: object) -> AnchorFinding:
    where = "by this role today" if then is not None else "when the anchor was captured"
    return AnchorFinding(check, _UNCHECKABLE, f"could not be read {where}")


def _lsn(value: Mark, name: str) -> int:
    try:
        return parse_lsn(str(value.get(name)))
    except ValueError as exc:
        raise FormatError(f"{name} of the anchor is no LSN such as 16/B374D848", pointer=f"/value/{name}") from exc


def _number(value: Mark, name: str) -> int | None:
    if name not in value:
        return None
    number = str(value[name])
    if not re.fullmatch(r"[0-9]{1,20}", number):
        raise FormatError(f"{name} of the anchor is no number", pointer=f"/value/{name}")
    return int(number)


def _next_transaction(value: Mark, name: str) -> int | None:
    if name not in value:
        return None
    found = _SNAPSHOT.fullmatch(str(value[name]))
    if found is None:
        raise FormatError(f"{name} of the anchor is no snapshot such as 10:20:14,15", pointer=f"/value/{name}")
    return int(found[1])
