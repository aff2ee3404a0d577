# SPDX-License-Identifier: Apache-2.0
"""Seal what a run that died left behind: check its journal, say what is not known, close it.

A torn line at the end is cut off. Everything before it must be one unbroken chain, and as long as the last signed note
says; else nothing is sealed. The journal of a run that still goes on is locked and never touched.
"""

from __future__ import annotations

import os
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any

from clyra.evidence._chain import MAX_LINE_BYTES, Chain, Event, instant
from clyra.evidence._lines import lines_of, microseconds, parse_line, read_at, whole_lines
from clyra.evidence._locks import try_lock
from clyra.evidence.canonical import canonicalize
from clyra.evidence.folder import EvidenceFolder
from clyra.evidence.journal import (
    ClosedJournal,
    closed_journal,
    discard_files,
    note_path,
    record_path,
    release,
    write_lines,
)
from clyra.evidence.record import RunRecord, SourceFile
from clyra.spec import ChainBreakError, ClyraError, FormatError, UnavailableError, VerificationError, anchor_kinds

NOTE_ENTRY = "artifacts/journal.note"

_MAX_OPEN_NODES = 500
_INTERRUPTED = "run_interrupted"
_UNSEALED = "seal_failed"
_LOST_MEANWHILE = ("statements_after", "node_outcomes", "test_results", "end_time")
_LOST_ALWAYS = ("anchors", "artifacts")
_CLOSING = ("run.error", "run.recovered", "run.closed")


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """The journal of a run that died."""

    path: Path
    bundle_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RecoveredJournal:
    """A journal that recovery closed, with what `seal_bundle` takes beside it; locked until it is sealed."""

    journal: ClosedJournal
    record: RunRecord
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True)
class _Note:
    size: int
    root: str
    document: bytes


def find_open_journals(folder: EvidenceFolder, *, discard: bool = True) -> list[OpenJournal]:
    """Journals of runs that died, oldest first; those of running processes are locked and left out.

    What is left of a journal whose bundle was sealed is removed, unless ``discard`` is off.
    """
    found = []
    for path in sorted(folder.journal_dir.glob("*.ndjson")):
        file = _lock(path)
        if file is None:
            continue
        if folder.find_bundle(path.stem) is not None:
            if discard:
                discard_files(path, file)
            else:
                release(file)
            continue
        size = os.fstat(file.fileno()).st_size
        release(file)
        if size:
            found.append(OpenJournal(path, path.stem, size))
    return found


def recover_journal(path: Path, *, now_us: Callable[[], int] | None = None) -> RecoveredJournal | None:
    """Close the journal of a run that died; None if not one whole line was written, and then it is gone.

    Args:
        path: From `find_open_journals`; its name is the bundle id.
        now_us: Clock in microseconds since the epoch.

    Raises:
        ChainBreakError: A whole line was changed, removed or added (``journal_prev``, ``journal_seq``).
        FormatError: The last whole line is no event (``json_not_canonical``).
        VerificationError: The journal is not what its last note proves (``recovery_unproven``).
        UnavailableError: Another process has it, or it cannot be written (``evidence_unavailable``).
    """
    clock = now_us or (lambda: time.time_ns() // 1000)
    file = _lock(path)
    if file is None:
        raise UnavailableError(f"{path} is in use by another process, or gone", code="evidence_unavailable")
    try:
        return _recover(path, file, clock())
    except OSError as exc:
        release(file)
        raise UnavailableError(
            f"cannot recover {path}: {exc.strerror or exc}; make it readable and writable", code="evidence_unavailable"
        ) from exc
    except BaseException:
        release(file)
        raise


def _recover(path: Path, file: FileIO, now_us: int) -> RecoveredJournal | None:
    whole, torn_bytes = whole_lines(file)
    end = _before_closing_lines(file, whole)
    if end == 0:
        discard_files(path, file)
        return None
    kept, note = _kept_record(path), _read_note(path)
    history = _History(path.stem)
    chain = history.replay(file, end, kept.tenant if kept else None, note)
    record = _record_of(kept or _record_from(history.started, chain), history, chain)
    batch = chain.prepare(_closing_events(chain, history, note, torn_bytes, now_us))
    file.truncate(end)
    write_lines(path, file.fileno(), batch.blob, end=end)
    os.fsync(file.fileno())
    chain.take_in(batch)
    files = (SourceFile(NOTE_ENTRY, note.document, "text/plain", "journal_note"),) if note else ()
    return RecoveredJournal(closed_journal(path, chain, file), record, files)


class _History:
    """What the lines of a journal say, gathered while they are checked."""

    def __init__(self, bundle_id: str) -> None:
        self.bundle_id = bundle_id
        self.started: Mapping[str, Any] = {}
        self.finished: Mapping[str, Any] | None = None
        self.open_nodes: dict[str, None] = {}

    def replay(self, file: FileIO, end: int, tenant: str | None, note: _Note | None) -> Chain:
        """The chain of the first ``end`` bytes, every line checked against the one before and the note."""
        chain: Chain | None = None
        fault: ClyraError | None = None
        digest = ""
        for number, line in enumerate(lines_of(file, end)):
            event = parse_line(line)
            if chain is None:
                chain = Chain(self.bundle_id, tenant or str(event.get("tenant_id", "")))
                digest = chain.head
            # A changed line may be unreadable as well: only the line after it shows that it was changed.
            if event.get("prev", digest) != digest:
                raise ChainBreakError(
                    f"line {number + 1} of the journal does not follow the line before; it was changed"
                )
            digest = sha256(line).hexdigest()
            fault = fault or self._take_in(chain, line, event, note)
        if fault is not None:
            raise fault
        if chain is None or (note is not None and note.size > chain.count):
            raise _unproven("the journal is shorter than its last note proves")
        return chain

    def _take_in(self, chain: Chain, line: bytes, event: dict[str, Any], note: _Note | None) -> ClyraError | None:
        number = chain.count + 1
        try:
            if not event or canonicalize(event) != line:
                return FormatError(f"line {number} of the journal is no canonical JSON", code="json_not_canonical")
            if event["seq"] != chain.count:
                return ChainBreakError(f"line {number} of the journal has another seq", code="journal_seq")
            chain.replay(line, event, microseconds(event["occurred_at"]))
            self._see(event)
        except (AttributeError, KeyError, TypeError, ValueError, FormatError):
            return FormatError(f"line {number} of the journal is no event", code="schema_invalid")
        if note is not None and note.size == chain.count and note.root != chain.root():
            return _unproven("the journal's beginning is not what its last note proves")
        return None

    def _see(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "run.started":
            self.started = event
        elif kind == "run.finished":
            self.finished = event
        elif kind == "node.finished":
            self.open_nodes.pop(event["unique_id"], None)
        elif kind == "statement" and event["unique_id"] and not event["unique_id"].startswith("operation"):
            self.open_nodes[event["unique_id"]] = None


def _closing_events(chain: Chain, history: _History, note: _Note | None, torn_bytes: int, now_us: int) -> list[Event]:
    if history.finished is None:
        code, unknown = _INTERRUPTED, [*_LOST_MEANWHILE, *_LOST_ALWAYS]
    else:
        code, unknown = _UNSEALED, [*_LOST_ALWAYS]
    recovered: dict[str, object] = {
        "last_seq": chain.count - 1,
        "torn_bytes": torn_bytes,
        "note_size": note.size if note else None,
        # A run has as many open nodes as threads; the limit keeps a damaged one from exceeding a line.
        "open_nodes": list(history.open_nodes)[:_MAX_OPEN_NODES],
        "unknown": unknown,
    }
    return [
        ("run.error", now_us, {"code": code, "message_sha256": None}),
        ("run.recovered", now_us, recovered),
        ("run.closed", now_us, {"count": chain.count + len(_CLOSING), "reason": "recovered"}),
    ]


def _record_from(started: Mapping[str, Any], chain: Chain) -> RunRecord:
    """What the first event says, where nothing was kept beside the journal."""
    build = started["build"]
    run = {
        "run_id": chain.bundle_id,
        "part": 1,
        "invocation_id": started["invocation_id"],
        "command": started["command"],
        "project": started["project"],
        "adapter": started["adapter_type"],
        "target": started["target_name"],
        "git": {**{name: build[name] for name in ("tree", "commit", "dirty", "source")}, "author_basis": "claimed"},
    }
    version = started["versions"].get("clyra", "unknown")
    return RunRecord(tenant=chain.tenant, producer_name="clyra", producer_version=version, run=run)


def _record_of(kept: RunRecord, history: _History, chain: Chain) -> RunRecord:
    """The kept record as that of a recovered run."""
    status = "interrupted" if history.finished is None else "success" if history.finished["success"] else "failed"
    run = {**kept.run, "capture": "recovered", "status": status}
    anchors = list(kept.anchors)
    adapter = run["adapter"]
    if chain.counts["writes"] and adapter and not any(anchor["system"] == adapter for anchor in anchors):
        anchors.append(
            {
                "system": adapter,
                "kind": "none",
                "object": run["target"] or "",
                "value": {},
                "captured_at": instant(chain.last_at),
                "reason": "capture_failed" if anchor_kinds(str(adapter)) else "not_supported",
            }
        )
    return replace(kept, run=run, anchors=anchors)


def _lock(path: Path) -> FileIO | None:
    """The journal, locked; None if it is locked by somebody else, gone, or not ours to write."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, PermissionError):
        return None
    file = FileIO(fd, "r+")
    # Whoever sealed it may have removed it between the two calls.
    if try_lock(fd) and os.fstat(fd).st_nlink:
        return file
    file.close()
    return None


def _before_closing_lines(file: FileIO, end: int) -> int:
    """Where the lines end that an earlier close or recovery did not write.

    Its bundle was never sealed. A note never covers these lines, so nothing that was proved goes.
    """
    start = max(0, end - len(_CLOSING) * MAX_LINE_BYTES)
    tail = read_at(file, start, end - start).split(b"\n")[:-1]
    last = [(parse_line(line).get("type"), len(line) + 1) for line in tail[-len(_CLOSING) :]]
    kinds = [kind for kind, _ in last]
    closing = 0
    if kinds[-1:] == ["run.closed"]:
        closing = 1
    if kinds[-1 - closing : len(kinds) - closing] == ["run.recovered"]:
        closing += 1
        if kinds[-1 - closing : len(kinds) - closing] == ["run.error"]:
            closing += 1
    return end - sum(size for _, size in last[len(last) - closing :])


def _kept_record(path: Path) -> RunRecord | None:
    """The record beside the journal; a crash of the machine can leave none, or a broken one, and it is no evidence."""
    try:
        return RunRecord.from_json(record_path(path).read_bytes())
    except (FileNotFoundError, FormatError):
        return None


def _read_note(path: Path) -> _Note | None:
    try:
        document = note_path(path).read_bytes()
    except FileNotFoundError:
        return None
    # A crash of the machine can leave an empty file, which says as much as none.
    if not document:
        return None
    try:
        name, size, root = document.decode().split("\n\n", 1)[0].split("\n")
        note = _Note(int(size), b64decode(root, validate=True).hex(), document)
    except ValueError as exc:
        raise _unproven("the note beside the journal is no note") from exc
    if name != f"clyra-journal/{path.stem}":
        raise _unproven("the note beside the journal is another journal's")
    return note


def _unproven(found: str) -> VerificationError:
    return VerificationError(f"{found}; nothing was sealed, find out what changed it", code="recovery_unproven")
