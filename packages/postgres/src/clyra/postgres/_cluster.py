# SPDX-License-Identifier: Apache-2.0
"""Make a data folder: one superuser, one role for work, one database of its own, and nobody in without a password.

No client program is needed: some installations have none. The role and the database are made in single-user mode.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from clyra.postgres._account import Account
from clyra.postgres._home import Home, State
from clyra.postgres.binaries import Binaries
from clyra.spec.errors import UnavailableError

SUPERUSER = "postgres"
USER = "clyra"
DBNAME = "clyra"


def create_cluster(binaries: Binaries, home: Home, state: State, account: Account, *, fast: bool) -> None:
    """Make ``home.data``, in full or not at all.

    Args:
        binaries: The programs to use; the account can run them.
        home: Where.
        state: The passwords of the superuser and the role.
        account: Who will run the server.
        fast: Do not wait for the disk.

    Raises:
        UnavailableError: A program failed; the message has its last line.
    """
    unfinished = home.folder / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    try:
        _init(binaries, unfinished, state, account, fast=fast)
        _add_role_and_database(binaries, unfinished, state, account, fast=fast)
        unfinished.rename(home.data)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _init(binaries: Binaries, data: Path, state: State, account: Account, *, fast: bool) -> None:
    # Not a pipe: the account may not open one that root has made.
    password_file = data.with_name("superuser-password")
    password_file.unlink(missing_ok=True)
    try:
        with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(state.superuser_password)
        account.own(password_file)
        argv: list[str | Path] = [binaries.initdb, "-D", data, "-U", SUPERUSER, f"--pwfile={password_file}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *(["--no-sync"] if fast else [])]
        _run(account, argv)
    finally:
        password_file.unlink(missing_ok=True)


def _add_role_and_database(binaries: Binaries, data: Path, state: State, account: Account, *, fast: bool) -> None:
    settings = {"exit_on_error": "on", "log_min_error_statement": "panic", "fsync": "off" if fast else "on"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # In single-user mode each line is a statement.
    statements = f"create role {USER} login password '{state.password}';\ncreate database {DBNAME} owner {USER};\n"
    argv: list[str | Path] = [binaries.postgres, "--single", "-D", data, *options, "postgres"]
    _run(account, argv, text=statements)


def _run(account: Account, argv: list[str | Path], *, text: str = "") -> None:
    program = argv[0]
    try:
        ran = account.run(argv, text=text)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnavailableError(f"{program} cannot be run: {type(exc).__name__}") from exc
    if ran.returncode != 0:
        lines = (ran.stderr or ran.stdout).strip().splitlines() or ["no message"]
        raise UnavailableError(f"{program} ended with {ran.returncode}: {_telling(lines)}")


def _telling(lines: list[str]) -> str:
    """The line that says what went wrong, which is not always the last."""
    return next((line for line in lines if "error:" in line or "FATAL:" in line), lines[-1])
