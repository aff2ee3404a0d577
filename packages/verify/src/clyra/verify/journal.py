# SPDX-License-Identifier: Apache-2.0
"""The journal: form, chain, order and times of its lines, its trees, and what its counts are (stage ``journal``).

One pass over the lines. Memory grows with the number of decisions, and with the journal only where event ids do not
ascend: each must occur once, and ids that ascend need no memory of those before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from clyra.spec import schema, verb_writes
from clyra.verify._line_pattern import line_pattern
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical
from clyra.verify.container import Container
from clyra.verify.files import JOURNAL
from clyra.verify.merkle import Tree
from clyra.verify.schema import check_schema

MAX_LINE_BYTES = 65_536
# Below this many lines of a type, parsing them costs less than compiling an expression for them.
_PATTERN_WORTH_LINES = 50
_CAPTURED = ("event_id", "occurred_at", "prev", "seq")
# What is counted of the types that a long journal consists of.
_COUNTED = {"statement": ("verb",), "node.finished": ("resource_type", "status")}
_FAILED = frozenset({"error", "fail", "runtime_error"})
_TESTS = frozenset({"test", "unit_test"})
_TEST_COUNTS = {"pass": "tests_passed", "fail": "tests_failed", "error": "tests_failed", "warn": "tests_warned"}
_RUN_COUNTS = (
    "statements", "writes", "nodes", "failed_nodes", "tests_passed", "tests_failed", "tests_warned", "tests_not_run",
)  # fmt: skip
_DECISIONS = ("allow", "warn", "require_approval", "block", "waived")

_sha256 = hashlib.sha256


class Recovery(NamedTuple):
    """A ``run.recovered`` event: its line number and the size that the last note proves, if there is one."""

    line: int
    note_size: int | None


class Recount(NamedTuple):
    """What a pass over the journal found: counts as ``spec/def/def_v0.md`` defines them, and events that say why."""

    counts: Mapping[str, int]
    decisions: Mapping[str, int]
    recoveries: Sequence[Recovery]
    prefix_root: bytes | None
    started: Mapping[str, Any]
    """The event ``run.started``."""
    verbs: frozenset[str]
    """Of the ``statement`` events."""
    decided: Sequence[Mapping[str, Any]]
    """The ``decision`` events."""
    used: Sequence[Mapping[str, Any]]
    """The ``approval.used`` events."""


# The captured members of a line; type and counted members; the whole event where it was parsed.
_Line = tuple[bytes, bytes, bytes, bytes, tuple[bytes | str, ...], Mapping[str, Any] | None]


class _NotAscending(Exception):
    """An event id is not greater than the one before: only a set can tell whether it is new."""


def check_journal(container: Container, manifest: Mapping[str, Any], prefix_size: int | None = None) -> Recount:
    """Check every line of the journal and the journal as a whole.

    Args:
        container: Holds ``journal.ndjson``.
        manifest: The checked manifest.
        prefix_size: A number of lines at the start of the journal whose Merkle root is wanted too.

    Raises:
        Refusal: A code of the stage ``journal``, of the first line with a fault.
    """
    if container.last_byte(JOURNAL) != b"\n":
        raise Refusal("journal_framing", "the journal does not end with a line feed: torn or cut off")
    try:
        return _Pass(manifest, prefix_size, _ascending()).run(container)
    except _NotAscending:
        return _Pass(manifest, prefix_size, _in_a_set()).run(container)


def nodes_that_ran(container: Container) -> Iterator[Mapping[str, Any]]:
    """The ``node.finished`` events, those that dbt skipped left out, of a journal that :func:`check_journal` passed."""
    for line in container.lines(JOURNAL, MAX_LINE_BYTES):
        # Most lines are of other types. The words may also stand in a member of another event: only parsing tells.
        if b'"type":"node.finished"' in line:
            event: Any = read_canonical(line[:-1])
            if event["type"] == "node.finished" and event["status"] != "skipped":
                yield event


def _ascending() -> Callable[[bytes], bool]:
    last = b""

    def is_new(event_id: bytes) -> bool:
        nonlocal last
        if event_id < last:
            raise _NotAscending
        is_same, last = event_id == last, event_id
        return not is_same

    return is_new


def _in_a_set() -> Callable[[bytes], bool]:
    seen: set[bytes] = set()

    def is_new(event_id: bytes) -> bool:
        before = len(seen)
        seen.add(event_id)
        return len(seen) > before

    return is_new


class _Pass:
    """One pass over the lines, from the first to the last."""

    def __init__(self, manifest: Mapping[str, Any], prefix_size: int | None, is_new: Callable[[bytes], bool]) -> None:
        self._manifest = manifest
        self._prefix_size = prefix_size
        self._prefix_root: bytes | None = None
        self._is_new = is_new
        self._reader = _LineReader()
        self._tree = Tree()
        genesis = f"clyra-journal-v0\n{manifest['bundle_id']}\n{manifest['tenant']}"
        self._head = _sha256(genesis.encode()).hexdigest()
        self._latest = manifest["created_at"].encode()
        self._closed_at = manifest["closed_at"].encode()
        self._closing_count: int | None = None
        # How often each combination of a type and its counted members was seen.
        self._tally: dict[tuple[bytes | str, ...], int] = {}
        self._decisions = dict.fromkeys(_DECISIONS, 0)
        self._recoveries: list[Recovery] = []
        self._started: Mapping[str, Any] = {}
        self._kept: dict[str, list[Mapping[str, Any]]] = {"decision": [], "approval.used": []}

    def run(self, container: Container) -> Recount:
        read, tally, tree = self._reader.read, self._tally, self._tree
        for number, data in enumerate(container.lines(JOURNAL, MAX_LINE_BYTES)):
            if number == self._prefix_size:
                self._prefix_root = tree.root()
            event_id, occurred_at, prev, seq, kind, event = read(data, number)
            self._check_chain(number, event_id, occurred_at, prev, seq)
            body = data[:-1]
            self._head = _sha256(body).hexdigest()
            tree.append(_sha256(b"\x00" + body).digest())
            tally[kind] = tally.get(kind, 0) + 1
            if event is not None:
                self._note(event, number)
        self._check_end()
        return self._recount()

    def _recount(self) -> Recount:
        verbs = {words[1] for words in self._tally if words[0] == "statement"}
        return Recount(
            _run_counts(self._tally),
            self._decisions,
            self._recoveries,
            self._prefix_root,
            self._started,
            frozenset(verb.decode() for verb in verbs if isinstance(verb, bytes)),
            self._kept["decision"],
            self._kept["approval.used"],
        )

    def _check_chain(self, number: int, event_id: bytes, occurred_at: bytes, prev: bytes, seq: bytes) -> None:
        if not self._is_new(event_id):
            raise Refusal("journal_event_id", f"line {number} repeats the event id {event_id.decode()}")
        if seq != b"%d" % number:
            raise Refusal("journal_seq", f"line {number} has the seq {seq.decode()}: lines are missing or moved")
        if prev != self._head.encode():
            raise Refusal("journal_prev", f"line {number} does not follow the line before: a line was changed")
        if self._closing_count is not None:
            raise Refusal("journal_close", f"line {number} comes after run.closed")
        if not self._latest <= occurred_at <= self._closed_at:
            raise Refusal("journal_time", f"line {number} is earlier than the one before, or outside of the run")
        self._latest = occurred_at

    def _note(self, event: Mapping[str, Any], number: int) -> None:
        if event["type"] in self._kept:
            self._kept[event["type"]].append(event)
        match event["type"]:
            case "run.started":
                self._started = event
            case "decision":
                self._decisions[event["decision"]] += 1
                self._decisions["waived"] += sum(rule["state"] == "waived" for rule in event["rules"])
            case "run.recovered":
                self._recoveries.append(Recovery(number, event["note_size"]))
            case "run.closed":
                self._closing_count = event["count"]

    def _check_end(self) -> None:
        journal, size = self._manifest["journal"], self._tree.size
        if self._closing_count is None:
            raise Refusal("journal_close", "the last line is not run.closed: the end of the journal is missing")
        if self._closing_count != size or journal["count"] != size:
            raise Refusal("journal_count", f"the journal has {size} lines, run.closed or the manifest says otherwise")
        if journal["head"] != self._head:
            raise Refusal("journal_head", "the last line is not the one that was signed")
        if journal["root"] != self._tree.root().hex():
            raise Refusal("journal_root", "the Merkle root of the lines is not the one that was signed")


def _run_counts(tally: Mapping[tuple[bytes | str, ...], int]) -> dict[str, int]:
    counts = dict.fromkeys(_RUN_COUNTS, 0)
    for (kind, *members), number in tally.items():
        words = [word.decode() for word in members if isinstance(word, bytes)]
        if kind == "statement":
            counts["statements"] += number
            counts["writes"] += number if verb_writes(words[0]) else 0
        elif kind == "node.finished":
            resource_type, status = words
            counts["nodes"] += number
            counts["failed_nodes"] += number if status in _FAILED else 0
            if resource_type in _TESTS:
                counts[_TEST_COUNTS.get(status, "tests_not_run")] += number
    return counts


class _LineReader:
    """Reads lines: by expression where a type has shown to be frequent, else by parsing."""

    def __init__(self) -> None:
        self._patterns: list[tuple[Callable[[bytes], re.Match[bytes] | None], str]] = []
        self._parsed = dict.fromkeys(_COUNTED, 0)

    def read(self, data: bytes, number: int) -> _Line:
        """The line, checked for size, form and schema."""
        for match, kind in self._patterns:
            found = match(data)
            # An expression may match a line that is too long, but says nothing of its length.
            if found is not None and len(data) <= MAX_LINE_BYTES:
                event_id, occurred_at, prev, seq, *counted = found.group(*_CAPTURED, *_COUNTED[kind])
                return event_id, occurred_at, prev, seq, (kind, *counted), None
        if len(data) > MAX_LINE_BYTES:
            raise Refusal("limit_exceeded", f"line {number} has more than {MAX_LINE_BYTES} bytes")
        try:
            return self._parse(data, number)
        except Refusal as exc:
            raise Refusal(exc.code, f"line {number}: {exc.message}", pointer=exc.pointer) from exc

    def _parse(self, data: bytes, number: int) -> _Line:
        event: Any = read_canonical(data[:-1])
        check_schema("journal_event", event)
        kind: str = event["type"]
        if (number == 0) != (kind == "run.started"):
            raise Refusal("schema_invalid", "run.started is the first line and no other", pointer="/type")
        if kind in self._parsed:
            self._parsed[kind] += 1
            if self._parsed[kind] == _PATTERN_WORTH_LINES:
                self._add_pattern(kind)
        event_id, occurred_at, prev = (event[name].encode() for name in ("event_id", "occurred_at", "prev"))
        counted = (event[name].encode() for name in _COUNTED.get(kind, ()))
        return event_id, occurred_at, prev, b"%d" % event["seq"], (kind, *counted), event

    def _add_pattern(self, kind: str) -> None:
        branches = schema("journal_event")["oneOf"]
        branch = next(branch for branch in branches if branch["title"] == kind)
        pattern = line_pattern(branch, "journal_event", {*_CAPTURED, *_COUNTED[kind]})
        if pattern is not None:
            self._patterns.append((pattern.fullmatch, kind))
