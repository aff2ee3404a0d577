# SPDX-License-Identifier: Apache-2.0
"""The journal of a run that goes on: one file, written line by line, each line bound to the one before.

Whole lines reach the operating system with every append, so killing the process loses nothing that was appended; a
crash of the machine can cut the end off. The file is locked as long as its run lives and is not sealed. Signed notes
beside it prove the prefix to whoever takes them out; on the same disk they only show a torn write.
"""

from __future__ import annotations

import os
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Literal

from clyra.evidence._chain import Chain, Event
from clyra.evidence._files import replace_file, sync_data
from clyra.evidence._lines import lines_of, microseconds, parse_line, whole_lines
from clyra.evidence._locks import lock_within, unlock
from clyra.evidence.note import sign_note
from clyra.evidence.record import RunRecord
from clyra.evidence.signer import Signer
from clyra.spec import ClyraError, UnavailableError

CloseReason = Literal["completed", "interrupted", "recovered"]

NOTE_EVERY_EVENTS = 2000
NOTE_EVERY_S = 30.0

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LOCK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ClosedJournal:
    """A complete journal that waits to be sealed; it stays locked until `discard` or `release`.

    ``head``, ``root`` and ``sha256`` (of the file) are hex; times are microseconds since the epoch.
    """

    path: Path
    bundle_id: str
    tenant: str
    count: int
    head: str
    root: str
    counts: Mapping[str, int]
    decisions: Mapping[str, int]
    first_at: int
    last_at: int
    size_bytes: int
    sha256: str
    _file: FileIO = field(repr=False, compare=False)

    def release(self) -> None:
        """Give the lock back and leave the files: whoever looks for dead journals finds this one."""
        release(self._file)

    def discard(self) -> None:
        """Remove the journal with its note and record: its bundle is sealed."""
        discard_files(self.path, self._file)


class JournalWriter:
    """Appends events to an open journal; safe to use from several threads.

    Make one with `create`.
    """

    def __init__(
        self,
        path: Path,
        file: FileIO,
        chain: Chain,
        *,
        signer: Signer | None,
        note_every_events: int,
        note_every_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.path = path
        self._file = file
        self._chain = chain
        self._mutex = threading.Lock()
        # Only Ed25519 keys can sign notes.
        self._note_signer = signer if signer is not None and signer.alg == "ed25519" else None
        self._note_every_events = note_every_events
        self._note_every_s = note_every_s
        self._monotonic = monotonic
        self._noted_count = -note_every_events
        self._noted_s = 0.0
        self._is_note_failure_recorded = False
        self._is_closed = False
        self._is_settled = True

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        bundle_id: str,
        tenant: str,
        signer: Signer | None,
        record: RunRecord | None = None,
        note_every_events: int = NOTE_EVERY_EVENTS,
        note_every_s: float = NOTE_EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> JournalWriter:
        """Open a new journal at ``path`` and lock it.

        Args:
            path: The new file; must not exist.
            bundle_id: UUIDv7 in lower case.
            tenant: Whose evidence it is.
            signer: Signs the notes; without one, or with another kind than Ed25519, there are none.
            record: What is known of the run so far, for recovery; see `write_record`.
            note_every_events: A note is due after so many events.
            note_every_s: A note is due after so many seconds, at the next append.
            monotonic: Clock in seconds.

        Raises:
            UnavailableError: The file cannot be made (``evidence_unavailable``).
            ValueError: The bundle id is no UUIDv7.
        """
        if _UUID7.fullmatch(bundle_id) is None:
            raise ValueError(f"a bundle id is a UUIDv7 in lower case, found {bundle_id!r}")
        with _write_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            file = FileIO(fd, "r+")
        # Whoever looks for dead journals tries the lock for an instant.
        if not lock_within(fd, _LOCK_TIMEOUT_S):
            file.close()
            raise UnavailableError(f"{path} is locked by another process; start again", code="evidence_unavailable")
        writer = cls(
            path,
            file,
            Chain(bundle_id, tenant),
            signer=signer,
            note_every_events=note_every_events,
            note_every_s=note_every_s,
            monotonic=monotonic,
        )
        if record is not None:
            writer.write_record(record)
        return writer

    @property
    def count(self) -> int:
        """Number of lines."""
        return self._chain.count

    @property
    def head(self) -> str:
        """Hex SHA-256 of the last line, or what stands for it before the first."""
        return self._chain.head

    @property
    def counts(self) -> Mapping[str, int]:
        """``run.counts`` so far."""
        return dict(self._chain.counts)

    @property
    def decisions(self) -> Mapping[str, int]:
        """``decisions`` so far."""
        return dict(self._chain.decisions)

    def root(self) -> str:
        """Merkle root of the lines, hex; there must be one."""
        with self._mutex:
            return self._chain.root()

    def append(self, events: Sequence[Event]) -> None:
        """Write ``events`` as lines at the end, with one write.

        The first event of a journal is ``run.started``; ``run.closed`` is written by `close`. Times that go backwards
        are raised, text that UTF-8 cannot hold is replaced, and an event that no line can hold becomes a
        ``recorder.degraded`` event.

        Raises:
            UnavailableError: The disk is full or the file cannot be written; nothing of the batch is in the journal
                (``evidence_unavailable``).
            FormatError: ``run.started`` does not fit into a line (``limit_exceeded``).
            ValueError: The first event is another one, or the journal is closed.
        """
        with self._mutex:
            if not events:
                return
            self._settle()
            if self._chain.count == 0 and events[0][0] != "run.started":
                raise ValueError(f"a journal begins with run.started, found {events[0][0]}")
            self._write(events)
            if self._note_signer is not None:
                self._note_if_due(self._note_signer)

    def write_record(self, record: RunRecord) -> None:
        """Keep what is known of the run beside the journal; replaces what was kept before.

        Raises:
            UnavailableError: The file cannot be written (``evidence_unavailable``).
            FormatError: A member has no canonical form (``canonical_value``).
        """
        path = record_path(self.path)
        with _write_errors(path):
            replace_file(path, record.to_json())

    def close(self, reason: CloseReason, occurred_at: int) -> ClosedJournal:
        """Write ``run.closed``, make everything durable, and give the journal for sealing; its lock stays.

        Args:
            reason: Why the journal ends.
            occurred_at: Microseconds since the epoch.

        Raises:
            UnavailableError: The file cannot be written (``evidence_unavailable``); closing again may succeed.
            ValueError: Nothing was appended, or the journal is closed.
        """
        with self._mutex:
            self._settle()
            if self._chain.count == 0:
                raise ValueError("a journal without run.started cannot be closed; discard it")
            if self._is_closed or self._chain.last_type != "run.closed":
                self._write([("run.closed", occurred_at, {"count": self._chain.count + 1, "reason": reason})])
            with _write_errors(self.path):
                sync_data(self._file.fileno())
            self._is_closed = True
            return closed_journal(self.path, self._chain, self._file)

    def discard(self) -> None:
        """Remove the journal with its note and record, as if the run had not been recorded."""
        with self._mutex:
            self._is_closed = True
            discard_files(self.path, self._file)

    def _write(self, events: Sequence[Event]) -> None:
        if self._is_closed or self._chain.last_type == "run.closed":
            raise ValueError("the journal is closed")
        batch = self._chain.prepare(events)
        self._is_settled = False
        write_lines(self.path, self._file.fileno(), batch.blob, end=self._chain.size_bytes)
        self._chain.take_in(batch)
        self._is_settled = True

    def _settle(self) -> None:
        """Take the file for what it is, if an exception (Ctrl-C) came between a write and its bookkeeping."""
        if self._is_settled:
            return
        chain = Chain(self._chain.bundle_id, self._chain.tenant)
        with _write_errors(self.path):
            whole, _ = whole_lines(self._file)
            self._file.truncate(whole)
            for line in lines_of(self._file, whole):
                event = parse_line(line)
                chain.replay(line, event, microseconds(event["occurred_at"]))
        self._chain = chain
        self._is_settled = True

    def _note_if_due(self, signer: Signer) -> None:
        now_s = self._monotonic()
        events_since = self._chain.count - self._noted_count
        if events_since < self._note_every_events and now_s - self._noted_s < self._note_every_s:
            return
        self._noted_count, self._noted_s = self._chain.count, now_s
        try:
            self._write_note(signer)
        except (OSError, ClyraError) as exc:
            # The events are safe; that the prefix is not noted is itself recorded, once.
            if not self._is_note_failure_recorded:
                self._is_note_failure_recorded = True
                code = exc.code if isinstance(exc, ClyraError) else "evidence_unavailable"
                members: dict[str, object] = {"code": code, "count": 1, "part": "journal_note"}
                self._write([("recorder.degraded", self._chain.last_at, members)])

    def _write_note(self, signer: Signer) -> None:
        # A note must never prove more lines than a crash of the machine leaves.
        sync_data(self._file.fileno())
        key_name = f"clyra-journal/{self._chain.bundle_id}"
        root = b64encode(bytes.fromhex(self._chain.root())).decode()
        note = sign_note(f"{key_name}\n{self._chain.count}\n{root}\n", key_name, signer)
        replace_file(note_path(self.path), note)


def note_path(journal: Path) -> Path:
    """Where the last signed note of an open journal lies."""
    return journal.with_name(f"{journal.name}.note")


def record_path(journal: Path) -> Path:
    """Where the record of an open journal's run lies."""
    return journal.with_name(f"{journal.name}.meta.json")


def closed_journal(path: Path, chain: Chain, file: FileIO) -> ClosedJournal:
    """The journal whose last line is ``run.closed``, with the lock that ``file`` holds."""
    return ClosedJournal(
        path=path,
        bundle_id=chain.bundle_id,
        tenant=chain.tenant,
        count=chain.count,
        head=chain.head,
        root=chain.root(),
        counts=dict(chain.counts),
        decisions=dict(chain.decisions),
        first_at=chain.first_at,
        last_at=chain.last_at,
        size_bytes=chain.size_bytes,
        sha256=chain.sha256(),
        _file=file,
    )


def write_lines(path: Path, fd: int, blob: bytes, *, end: int) -> None:
    """Append ``blob`` to a file of ``end`` bytes, or leave it as it was.

    Raises:
        UnavailableError: The disk is full or the file cannot be written (``evidence_unavailable``).
    """
    with _write_errors(path):
        try:
            written = os.write(fd, blob)
            while written < len(blob):
                written += os.write(fd, blob[written:])
        except OSError:
            os.ftruncate(fd, end)
            raise


def release(file: FileIO) -> None:
    """Give the lock of an open journal back; again does no harm."""
    if not file.closed:
        # Forked children may share the open file: closing alone would leave the lock with them.
        unlock(file.fileno())
        file.close()


def discard_files(path: Path, file: FileIO) -> None:
    """Remove a locked journal, its note and its record."""
    note_path(path).unlink(missing_ok=True)
    record_path(path).unlink(missing_ok=True)
    if os.name == "posix":
        path.unlink(missing_ok=True)
        release(file)
    else:
        # Windows removes no open file.
        release(file)
        path.unlink(missing_ok=True)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise UnavailableError(
            f"cannot write {path}: {exc.strerror or exc}; make room, or make its folder writable",
            code="evidence_unavailable",
        ) from exc
