# SPDX-License-Identifier: Apache-2.0
"""The journal's hash chain as values (``spec/def/def_v0.md``): events in, lines and running totals out.

Pure but for its own state. A batch is prepared first and taken in when its bytes are on their way to the disk, so a
write that fails leaves the chain as it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from clyra.evidence.canonical import canonicalize_integers, printable
from clyra.evidence.merkle import Frontier
from clyra.spec import FormatError, verb_writes

Event = tuple[str, int, dict[str, object]]
"""(type, occurred_at in microseconds since the epoch, members without the common ones)."""

MAX_LINE_BYTES = 65_536

# The proving walk of `canonicalize` would cost as much as the rest. What it proves is known here: names are ASCII,
# because they are the schema's, and `_FLAT` shows that no member is a float, a container or a subclass.
_FLAT: Final = frozenset((str, int, bool, type(None)))
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_US_PER_S: Final = 1_000_000
_MAX_US: Final = 253_402_300_800 * _US_PER_S
_COUNTS: Final = (
    "statements",
    "writes",
    "nodes",
    "failed_nodes",
    "tests_passed",
    "tests_failed",
    "tests_warned",
    "tests_not_run",
)
_FAILED: Final = frozenset(("error", "fail", "runtime_error"))
_TESTS: Final = frozenset(("test", "unit_test"))
_TEST_OUTCOMES: Final = {
    "pass": "tests_passed",
    "fail": "tests_failed",
    "error": "tests_failed",
    "warn": "tests_warned",
}


def instant(us: int) -> str:
    """``us`` microseconds since the epoch as ``2026-01-31T08:15:00.000000Z``.

    Raises:
        ValueError: The year is not one of four digits from 1970 on.
    """
    second, micro = divmod(us, _US_PER_S)
    return f"{_second_text(second)}.{micro:06d}Z"


def first_prev(bundle_id: str, tenant: str) -> str:
    """``prev`` of the first line, hex."""
    return sha256(f"clyra-journal-v0\n{bundle_id}\n{tenant}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that are not part of the chain yet."""

    blob: bytes
    leaves: Sequence[bytes]
    events: Sequence[tuple[str, Mapping[str, object]]]
    head: str
    first_at: int
    last_at: int


class Chain:
    """A journal so far: its length, head, tree, totals and times."""

    def __init__(self, bundle_id: str, tenant: str) -> None:
        self.bundle_id = bundle_id
        self.tenant = tenant
        self.head = first_prev(bundle_id, tenant)
        self.count = 0
        self.size_bytes = 0
        self.first_at = 0
        self.last_at = 0
        self.last_type = ""
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.decisions = dict.fromkeys(("allow", "warn", "require_approval", "block", "waived"), 0)
        self._frontier = Frontier()
        self._digest = sha256()
        self._id_prefix = bundle_id[:24]
        self._clock = (-1, "")
        self._writes: dict[object, bool] = {}

    def root(self) -> str:
        """Merkle root of the lines, hex; there must be one."""
        return self._frontier.root().hex()

    def sha256(self) -> str:
        """SHA-256 of the whole file so far, hex."""
        return self._digest.hexdigest()

    def prepare(self, events: Sequence[Event]) -> Batch:
        """The lines of ``events`` after the ones that are already here.

        A time before the line before is raised to it. An event that no line can hold (too long, a float, an integer
        beyond 2^53-1) becomes a `recorder.degraded` event with the code of the reason.
        """
        seq, head, last_at = self.count, self.head, self.last_at
        flat, dumps, hash_of, id_prefix = _FLAT, orjson.dumps, sha256, self._id_prefix
        clock = self._clock
        lines: list[bytes] = []
        leaves: list[bytes] = []
        kept: list[tuple[str, Mapping[str, object]]] = []
        for kind, occurred_at, members in events:
            if occurred_at > last_at:
                last_at = occurred_at
            second, micro = divmod(last_at, _US_PER_S)
            if second != clock[0]:
                self._clock = clock = (second, _second_text(second))
            whole = {
                **members,
                "seq": seq,
                "prev": head,
                "event_id": f"{id_prefix}{seq:012x}",
                "occurred_at": f"{clock[1]}.{micro:06d}Z",
                "type": kind,
            }
            try:
                line = dumps(whole, option=_OPTIONS) if flat.issuperset(map(type, members.values())) else b""
            except (orjson.JSONEncodeError, TypeError):
                line = b""
            # A backslash may be a NUL, which no line may hold.
            if not line or len(line) >= MAX_LINE_BYTES or b"\\" in line:
                kind, line = _encode_with_care(kind, whole)
            head = hash_of(line).hexdigest()
            lines.append(line)
            leaves.append(hash_of(b"\0" + line).digest())
            kept.append((kind, members))
            seq += 1
        lines.append(b"")
        first_at = self.first_at if self.count else max(events[0][1], 0)
        return Batch(b"\n".join(lines), leaves, kept, head, first_at, last_at)

    def take_in(self, batch: Batch) -> None:
        """Make a prepared batch part of the chain."""
        self._digest.update(batch.blob)
        self._frontier.extend(batch.leaves)
        for kind, members in batch.events:
            self._tally(kind, members)
        self.count += len(batch.events)
        self.size_bytes += len(batch.blob)
        self.head, self.first_at, self.last_at = batch.head, batch.first_at, batch.last_at
        self.last_type = batch.events[-1][0]

    def replay(self, line: bytes, event: Mapping[str, Any], occurred_at: int) -> None:
        """Take in a line that was written before; whoever calls has checked that it follows."""
        leaf = sha256(b"\0" + line).digest()
        head = sha256(line).hexdigest()
        first_at = self.first_at if self.count else occurred_at
        self.take_in(Batch(line + b"\n", (leaf,), ((event["type"], event),), head, first_at, occurred_at))

    def _tally(self, kind: str, members: Mapping[str, Any]) -> None:
        if kind == "statement":
            self.counts["statements"] += 1
            verb = members["verb"]
            if verb not in self._writes:
                self._writes[verb] = verb_writes(verb)
            self.counts["writes"] += self._writes[verb]
        elif kind == "node.finished":
            self.counts["nodes"] += 1
            self.counts["failed_nodes"] += members["status"] in _FAILED
            if members["resource_type"] in _TESTS:
                self.counts[_TEST_OUTCOMES.get(members["status"], "tests_not_run")] += 1
        elif kind == "decision":
            self.decisions[members["decision"]] += 1
            self.decisions["waived"] += sum(rule["state"] == "waived" for rule in members["rules"])


def _encode_with_care(kind: str, event: dict[str, object]) -> tuple[str, bytes]:
    """The line of an event that the fast path does not take, of a `recorder.degraded` one if there is none."""
    code = "limit_exceeded"
    try:
        line = canonicalize_integers(printable(event))
        if len(line) < MAX_LINE_BYTES:
            return kind, line
    except FormatError as exc:
        code = exc.code
    if kind == "run.started":
        # A journal begins with it, so nothing can stand in its place.
        raise FormatError(f"the event run.started has no line of {MAX_LINE_BYTES} bytes: {code}", code=code)
    common = {name: event[name] for name in ("seq", "prev", "event_id", "occurred_at")}
    degraded = {**common, "type": "recorder.degraded", "code": code, "count": 1, "part": kind}
    return "recorder.degraded", canonicalize_integers(degraded)


def _second_text(second: int) -> str:
    if not 0 <= second * _US_PER_S < _MAX_US:
        raise ValueError(f"{second} s since the epoch is not in the years 1970 to 9999")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
