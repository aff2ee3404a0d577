# SPDX-License-Identifier: Apache-2.0
"""A candidate policy beside the one in force: what it would decide otherwise, told to a file or pipe.

Nothing here can change, delay or fail a decision: the gate hands over what is to be compared when its own decision is
made, and a daemon thread has the candidate decide, compares and writes. What the thread cannot take or write is counted
and dropped.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from clyra.policy.decision import Decision
from clyra.policy.effect import RANK, Effect

Make = Callable[[], Mapping[str, object] | None]
"""Makes one line for the sink, or None where there is nothing to tell; runs in the sink's thread."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a candidate's decision would be another; ``old`` is the effect of the policy in force, ``new`` its own.

    ``old_rules`` and ``new_rules`` are the ids of the rules that gave each effect, in the order of their policy.
    """

    point: str
    old: Effect
    new: Effect
    direction: Literal["stricter", "weaker"]
    old_rules: tuple[str, ...]
    new_rules: tuple[str, ...]


def compare(enforced: Decision, candidate: Decision) -> Difference | None:
    """What would change if the candidate's policy were in force; None where the effect is the same."""
    if enforced.effect == candidate.effect:
        return None
    return Difference(
        point=enforced.point,
        old=enforced.effect,
        new=candidate.effect,
        direction="stricter" if RANK[candidate.effect] > RANK[enforced.effect] else "weaker",
        old_rules=_behind(enforced),
        new_rules=_behind(candidate),
    )


def _behind(decision: Decision) -> tuple[str, ...]:
    outcomes = (outcome for outcome in decision.rules if outcome.mode == "enforce")
    return tuple(outcome.id for outcome in outcomes if outcome.effect == decision.effect != "allow")


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """What became of what a sink was given.

    ``written`` lines, ``same`` decisions that left nothing to tell, ``failed`` ones that raised or could not be
    written, and ``dropped`` ones: the queue was full, or the sink was closed before their turn.
    """

    written: int
    same: int
    failed: int
    dropped: int


class ShadowSink:
    """Writes lines of JSON to a file or named pipe from a thread of its own, behind a bounded queue.

    No method blocks (`close` waits at most as long as it is told) and none raises. The thread starts with the first
    line. A pipe without a reader holds up the thread alone.
    """

    def __init__(self, path: str | os.PathLike[str], *, queue: int = 1024) -> None:
        self._path = Path(path)
        self._limit = queue
        self._queue: SimpleQueue[Make | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._given_up = False
        self._waiting = 0
        self._counts = {"written": 0, "same": 0, "failed": 0, "dropped": 0}

    @property
    def counts(self) -> ShadowCounts:
        """What became of the lines so far; those that still wait are in none of the counts."""
        with self._lock:
            return ShadowCounts(**self._counts)

    def put(self, make: Make) -> None:
        """Have the thread call ``make`` and write its line, unless the queue is full or the sink closed."""
        with self._lock:
            if self._closed or self._waiting >= self._limit or not self._running():
                self._counts["dropped"] += 1
                return
            self._waiting += 1
            self._queue.put(make)

    def close(self, *, timeout_s: float = 1.0) -> ShadowCounts:
        """Give the thread up to ``timeout_s`` seconds for what waits; what is left then is dropped."""
        with self._lock:
            already, self._closed = self._closed, True
            thread = self._thread
        if thread is not None and not already:
            self._queue.put(None)
            thread.join(timeout_s)
        with self._lock:
            self._given_up = self._given_up or self._waiting > 0
            self._counts["dropped"] += self._waiting
            self._waiting = 0
            return ShadowCounts(**self._counts)

    def _running(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="clyra-shadow", daemon=True)
            # No thread can be had at the end of the interpreter or of the machine's resources.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return self._thread is not None

    def _work(self) -> None:
        writer = _LineWriter(self._path)
        while (make := self._queue.get()) is not None and not self._given_up:
            outcome = _attempt(make, writer)
            with self._lock:
                # Zero where `close` gave up on this line: it is counted already.
                if self._waiting:
                    self._waiting -= 1
                    self._counts[outcome] += 1
        writer.close()


def _attempt(make: Make, writer: _LineWriter) -> str:
    try:
        line = make()
        if line is None:
            return "same"
        writer.write(json.dumps(line, sort_keys=True).encode() + b"\n")
    except Exception:  # noqa: BLE001 -- a candidate may be broken in any way; it is counted, and the next one is tried
        return "failed"
    return "written"


class _LineWriter:
    """Opens for the first line, and again after a failure: a pipe's reader may come and go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def write(self, line: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)
