# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clyra.evidence._locks import FileLock
from clyra.spec import UnavailableError


def test_a_held_lock_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with lock.held(timeout_s=0):
        with pytest.raises(UnavailableError, match="locked by another process") as caught, lock.held(timeout_s=0.01):
            pass
        assert caught.value.code == "evidence_unavailable"
    with lock.held(timeout_s=0):
        assert lock.path.exists()


def test_whoever_waits_gets_the_lock_in_time(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    got, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.held(timeout_s=0):
            got.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    got.wait()
    threading.Timer(0.02, release.set).start()
    with lock.held(timeout_s=30):
        assert release.is_set()
    thread.join()


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from clyra.evidence._locks import FileLock\n"
        "with FileLock(Path(sys.argv[1])).held(timeout_s=0):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UnavailableError), FileLock(tmp_path / "lock").held(timeout_s=0):
            pass
        process.kill()
    with FileLock(tmp_path / "lock").held(timeout_s=0):
        pass


def test_a_lock_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="make its folder writable"):
        FileLock(tmp_path / "absent" / "lock").held(timeout_s=0).__enter__()
