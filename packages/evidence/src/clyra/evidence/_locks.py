# SPDX-License-Identifier: Apache-2.0
"""Exclusive locks between processes and threads: the one place that knows how each platform locks a file.

A lock belongs to an open file, so two threads that open the same file exclude each other too, and the operating
system frees it when its holder dies: a lock never goes stale.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clyra.spec import UnavailableError

_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.05

if sys.platform == "win32":
    import msvcrt

    # Windows locks are mandatory: a byte far behind the contents leaves the file readable for others.
    _LOCKED_BYTE = 2**62

    def try_lock(fd: int) -> bool:
        """Lock the open file ``fd`` if nobody else holds it; says whether it is now ours."""
        position = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, position, os.SEEK_SET)
        return True

    def unlock(fd: int) -> None:
        """Give the lock on ``fd`` back; closing the file does the same."""
        position = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        os.lseek(fd, position, os.SEEK_SET)

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Lock the open file ``fd`` if nobody else holds it; says whether it is now ours."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Give the lock on ``fd`` back; closing the file does the same."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def lock_within(fd: int, timeout_s: float) -> bool:
    """Try to lock ``fd`` until ``timeout_s`` has passed; says whether it is now ours."""
    deadline = time.monotonic() + timeout_s
    wait_s = _FIRST_WAIT_S
    while not try_lock(fd):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(wait_s, left_s))
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
    return True


class FileLock:
    """An exclusive lock on a file that exists only to be locked; it is created where absent and stays.

    Args:
        path: The lock file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self, *, timeout_s: float) -> Iterator[None]:
        """Hold the lock for the duration of a ``with`` block.

        Raises:
            UnavailableError: Somebody else held it for all of ``timeout_s``, or the file cannot be opened
                (code ``evidence_unavailable``).
        """
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as exc:
            raise UnavailableError(
                f"cannot open the lock file {self.path}: {exc.strerror}; make its folder writable",
                code="evidence_unavailable",
            ) from exc
        try:
            if not lock_within(fd, timeout_s):
                raise UnavailableError(
                    f"{self.path} is locked by another process for more than {timeout_s:g} s; try again",
                    code="evidence_unavailable",
                    retry_after_s=timeout_s,
                )
            yield
        finally:
            os.close(fd)
