# SPDX-License-Identifier: Apache-2.0
"""Time and randomness as one argument, so that a recorded run can be replayed to the same bytes."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where instants, durations and random bytes come from."""

    def now_us(self) -> int:
        """Wall time in microseconds since the epoch."""

    def cpu_us(self) -> int:
        """CPU time of the calling thread in microseconds."""

    def elapsed_us(self) -> int:
        """A clock that never goes back, in microseconds."""

    def random(self, size: int) -> bytes:
        """``size`` random bytes."""


class SystemClock:
    """The clocks and the randomness of the machine."""

    def now_us(self) -> int:
        """Wall time in microseconds since the epoch."""
        return time.time_ns() // 1000

    def cpu_us(self) -> int:
        """CPU time of the calling thread in microseconds."""
        return time.thread_time_ns() // 1000

    def elapsed_us(self) -> int:
        """A clock that never goes back, in microseconds."""
        return time.perf_counter_ns() // 1000

    def random(self, size: int) -> bytes:
        """``size`` random bytes."""
        return os.urandom(size)


def aware(us: int) -> datetime:
    """The instant ``us`` microseconds after the epoch, in UTC."""
    seconds, microseconds = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
