# SPDX-License-Identifier: Apache-2.0
"""Tests that failed in a run, remembered for its later invocations: a swallowed exit code opens no gate.

One small file per test, made and removed as a whole, so that parallel invocations of one run need no lock. A test is
forgotten when it has passed; an invocation that runs it again may therefore begin.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

RULE = "rule:"
"""Before the id of a rule on tests that blocked."""


def remembered(folder: Path, run_id: str) -> list[str]:
    """What failed in the run and has not passed since: ids of tests, and rules with ``rule:`` before them.

    Raises:
        OSError: The memory cannot be read.
    """
    place, found = _place(folder, run_id), []
    for path in place.glob("*.test") if place.is_dir() else ():
        # Another invocation of the run may see it pass just now.
        with suppress(FileNotFoundError):
            found.append(path.read_text("utf-8"))
    return sorted(found)


def remember(folder: Path, run_id: str, *, failed: Iterable[str], passed: Iterable[str]) -> None:
    """Add what failed, forget what passed.

    Raises:
        OSError: The memory cannot be written.
    """
    place = _place(folder, run_id)
    for name in passed if place.is_dir() else ():
        (place / _file_name(name)).unlink(missing_ok=True)
    for name in failed:
        place.mkdir(parents=True, exist_ok=True)
        # It appears whole: a reader takes what it finds for a name.
        partial = place / f".{os.getpid()}-{threading.get_ident()}"
        partial.write_text(name, "utf-8")
        os.replace(partial, place / _file_name(name))


def _place(folder: Path, run_id: str) -> Path:
    return folder / f"{hashlib.sha256(run_id.encode()).hexdigest()[:32]}.failed"


def _file_name(name: str) -> str:
    return f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.test"
