# SPDX-License-Identifier: Apache-2.0
"""The account a server runs under, and how programs are started under it.

Postgres refuses to run as root. Root therefore starts it under an account without rights: ``postgres``, else
``nobody``. Everybody else starts it as themselves.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clyra.spec.errors import UnavailableError

# The server's environment can be read by its database superusers, so it gets nothing that may hold a secret of ours.
# PG* variables stay out because they would change what the programs do.
_PASSED_ON = ("PATH", "TZ", "TZDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system; ``is_other`` when it is not the one that runs this process."""

    name: str
    uid: int
    gid: int
    is_other: bool

    def run(
        self, argv: Sequence[str | Path], *, text: str = "", timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a program under the account and return its result.

        Args:
            argv: The program and its arguments.
            text: What it reads on stdin.
            timeout_s: When to give up.

        Raises:
            OSError: The program cannot be started; PermissionError where the account may not.
            subprocess.TimeoutExpired: It took longer than ``timeout_s``.
        """
        return subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            cwd="/",
            env=_environment(),
            umask=0o077,
            user=self.uid if self.is_other else None,
            group=self.gid if self.is_other else None,
            extra_groups=[] if self.is_other else None,
        )

    def spawn(self, argv: Sequence[str | Path], *, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program under the account in a session of its own, with pipes to its stdin and stdout."""
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=_environment(),
            umask=0o077,
            start_new_session=True,
            user=self.uid if self.is_other else None,
            group=self.gid if self.is_other else None,
            extra_groups=[] if self.is_other else None,
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether the account gets into the folder, tried rather than worked out from mode bits."""
        return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder]).returncode == 0

    def can_run(self, program: Path) -> bool:
        """Whether the account can start ``program --version``."""
        try:
            return self.run([program, "--version"]).returncode == 0
        except OSError:
            return False

    def own(self, path: Path) -> None:
        """Make the account the owner of a file or folder that this process has just created."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def server_account() -> Account:
    """The account for servers that this process starts.

    Raises:
        UnavailableError: ``server_unavailable``: this process is root and there is no account without rights, or the
            system is Windows, where Clyra starts no server.
    """
    if os.name != "posix":
        raise UnavailableError("Clyra starts Postgres on Linux and macOS only; give the DSN of a running server")
    import pwd

    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid(), is_other=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid, is_other=True)
    raise UnavailableError(
        "Postgres refuses to run as root, and there is neither an account postgres nor nobody; "
        "run as another user, or give the DSN of a running server"
    )


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Messages are compared with fixed words, so they come in English.
    return {**passed_on, "LC_ALL": "C"}
