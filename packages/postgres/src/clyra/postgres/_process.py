# SPDX-License-Identifier: Apache-2.0
"""Start a server process, watch it come up, find one that runs, and stop it.

A server must not outlive the process that needs it, however that one ends. So a shell stands between the two: it
starts the server, waits until its stdin closes, which the kernel sees to when we die, and then stops the server. The
shell is the server's parent, so the process id it signals cannot have been given to somebody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clyra.postgres._account import Account
from clyra.spec.errors import UnavailableError

# $1 is the signal that ends the server, $2 what to remove once nobody is left who could say "keep". stdout is handed
# to the server alone, so that its end of file means that every process of the server is gone.
_GUARD = """
end=$1; remove=$2; shift 2
"$@" </dev/null & server=$!
exec >/dev/null
trap '' INT TERM HUP
read -r word
[ "$word" = keep ] && remove=
kill -"$end" "$server" 2>/dev/null
wait "$server"
[ -z "$remove" ] || rm -rf -- "$remove"
"""
_DETACHED = 'shift 2; "$@" </dev/null &'
_POLL_S = 0.01
_STOP_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What ``postmaster.pid`` says about a server: its process, its port, and whether it takes connections."""

    pid: int
    port: int
    is_ready: bool


class ServerProcess:
    """A server that this process has started."""

    def __init__(self, shell: subprocess.Popen[bytes]) -> None:
        self._shell = shell
        assert shell.stdout is not None
        os.set_blocking(shell.stdout.fileno(), False)

    def has_exited(self) -> bool:
        """Whether every process of the server is gone."""
        assert self._shell.stdout is not None
        return self._shell.stdout.closed or self._shell.stdout.read(1) == b""

    def stop(self, data: Path) -> None:
        """Let the guard end the server, and wait for it; see to it ourselves where the guard is gone. Removes nothing.

        Raises:
            UnavailableError: The server is still there after a minute and an immediate shutdown.
        """
        with suppress(OSError, subprocess.TimeoutExpired):
            self._shell.communicate(b"keep\n", _STOP_TIMEOUT_S)
        end_postmaster(data)
        self._shell.wait()
        self.forget()

    def forget(self) -> None:
        """Close the pipes; a detached server runs on."""
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe is not None:
                pipe.close()


def spawn_server(
    account: Account, argv: Sequence[str | Path], *, log_path: Path, remove: Path | None, detached: bool
) -> ServerProcess:
    """Start a server under the account, its messages appended to ``log_path``.

    Args:
        account: Who runs it.
        argv: The program and its arguments.
        log_path: Where messages go, made with mode 0600.
        remove: What the guard removes if we die; such a server is ended without a last checkpoint.
        detached: Start without a guard: the server runs until somebody stops it.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(log_path, flags, 0o600), "ab") as log:
        script = _DETACHED if detached else _GUARD
        end = "INT" if remove is None else "QUIT"
        shell = account.spawn(["/bin/sh", "-c", script, "sh", end, remove or "", *argv], log=log)
    if detached:
        shell.wait()
    return ServerProcess(shell)


def wait_until_ready(process: ServerProcess, data: Path, timeout_s: float) -> bool:
    """Wait until the server takes connections. False: it ended before it did.

    Raises:
        UnavailableError: It did neither within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.has_exited():
            return False
        postmaster = read_postmaster(data)
        if postmaster is not None and postmaster.is_ready:
            return True
        time.sleep(_POLL_S)
    raise UnavailableError(f"the server did not take connections within {timeout_s:.0f} s; try again", retry_after_s=10)


def running_postmaster(data: Path) -> Postmaster | None:
    """The server that runs on this data folder, or None. A ``postmaster.pid`` that nobody owns does not count."""
    postmaster = read_postmaster(data)
    if postmaster is None or not _works_in(postmaster.pid, data):
        return None
    return postmaster


def settled_postmaster(data: Path, timeout_s: float) -> Postmaster | None:
    """The server that runs on this data folder and takes connections; one that comes or goes is waited for.

    Raises:
        UnavailableError: It does neither take connections nor end within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        postmaster = running_postmaster(data)
        if postmaster is None or postmaster.is_ready:
            return postmaster
        time.sleep(_POLL_S)
    raise UnavailableError(
        f"the server on {data} neither takes connections nor ends; close its clients, or try again", retry_after_s=10
    )


def read_postmaster(data: Path) -> Postmaster | None:
    """What ``postmaster.pid`` says, None while it is absent or not written to its end."""
    try:
        lines = (data / "postmaster.pid").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    # Line 1 the process, 4 the port, 8 the status (src/include/utils/pidfile.h).
    if len(lines) < 4 or not lines[0].isdigit() or not lines[3].isdigit():
        return None
    return Postmaster(int(lines[0]), int(lines[3]), is_ready=len(lines) >= 8 and lines[7].strip() == "ready")


def end_postmaster(data: Path) -> None:
    """Stop whatever server runs on this data folder: politely, then without a last checkpoint.

    Raises:
        UnavailableError: It is still there.
    """
    for how in (signal.SIGINT, signal.SIGQUIT):
        postmaster = running_postmaster(data)
        if postmaster is None:
            return
        os.kill(postmaster.pid, how)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if running_postmaster(data) is None:
                return
            time.sleep(_POLL_S)
    raise UnavailableError(f"the server on {data} does not stop; end its process by hand")


def _works_in(pid: int, data: Path) -> bool:
    """Whether the process is a server on ``data``: they all work in their data folder."""
    if Path("/proc/self/cwd").exists():
        try:
            return os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(data)
        except OSError:
            return False
    listed = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, errors="replace", check=False
    )
    return str(data) in listed.stdout
