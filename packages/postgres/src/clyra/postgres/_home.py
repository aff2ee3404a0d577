# SPDX-License-Identifier: Apache-2.0
"""Where an embedded server keeps its files, and the passwords and port that belong to it.

::

    <home>/            ours, 0700; 0710 with the account's group where another account runs the server;
                       a temporary one is the account's, 0700
      data/            the account's, 0700
      state.json       ours, 0600
      postgres.log     ours, 0600
      binaries/        ours, readable: a copy, where the account cannot reach the original

The home is the folder the caller gave. Only where the server's account cannot get there, as in root's home folder, is
it a folder of its own elsewhere, and ``data`` in the caller's folder a link that shows where. No permission of a folder
that was there before is changed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from clyra.postgres._account import Account
from clyra.spec.errors import ConfigurationError, UnavailableError

_ELSEWHERE = Path("/var/lib/clyra-postgres")
_OURS = {"data", "data.new", "state.json", "state.json.new", "postgres.log", "binaries", "lock"}


@dataclass(frozen=True, slots=True)
class State:
    """What a data folder needs to be started again, kept in ``state.json``."""

    password: str
    superuser_password: str
    port: int


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one server, and the folder its caller knows it by."""

    folder: Path
    given: Path

    @property
    def data(self) -> Path:
        """The data folder (PGDATA)."""
        return self.folder / "data"

    @property
    def log_path(self) -> Path:
        """The server's messages."""
        return self.folder / "postgres.log"

    def load_state(self) -> State | None:
        """What was saved, None where nothing was.

        Raises:
            ConfigurationError: The file is damaged.
        """
        path = self.folder / "state.json"
        try:
            return State(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise ConfigurationError(f"{path} is damaged; restore it, or remove {self.given} to start anew") from exc

    def save_state(self, state: State) -> None:
        """Replace what was saved, in one step."""
        path = self.folder / "state.json.new"
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            json.dump(asdict(state), file)
        path.replace(self.folder / "state.json")

    def remove(self) -> None:
        """Remove everything, the caller's folder included."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.given, ignore_errors=True)


def temporary_home(account: Account) -> Home:
    """A new folder where temporary files go.

    Raises:
        UnavailableError: No folder for temporary files can be reached by the account.
    """
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108 - mkdtemp is safe there
        if not account.is_other or account.can_enter(Path(base)):
            folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="clyra-postgres-", dir=base)))
            # The account's, so that it can remove the folder when we are no longer there to do it.
            account.own(folder)
            return Home(folder, folder)
    raise UnavailableError(f"the account {account.name} gets into no folder for temporary files; set TMPDIR to one")


@contextmanager
def persistent_home(given: Path, account: Account) -> Iterator[Home]:
    """The home that belongs to the folder ``given``, made if need be, locked against other processes meanwhile.

    Raises:
        ConfigurationError: The folder is somebody else's, or holds other things.
        UnavailableError: It cannot be made or used.
    """
    given = Path(os.path.realpath(given))
    try:
        _make(given, account)
        with _locked(given / "lock"):
            yield _home_of(given, account)
    except OSError as exc:
        if exc.filename is None or not Path(os.fsdecode(exc.filename)).is_relative_to(given):
            raise
        raise UnavailableError(f"{given} cannot be used: {exc.strerror}; give a folder that you may write to") from exc


def new_state(port: int) -> State:
    """Fresh passwords of 192 bits, made of characters that need no quoting in SQL or a URI."""
    return State(secrets.token_hex(24), secrets.token_hex(24), port)


def _make(given: Path, account: Account) -> None:
    try:
        given.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        if given.stat().st_uid != os.geteuid():
            raise ConfigurationError(f"{given} belongs to another user; give a folder of your own") from None
        if foreign := sorted({path.name for path in given.iterdir()} - _OURS):
            raise ConfigurationError(f"{given} holds {foreign[0]!r}; give an empty folder or a new one") from None
    else:
        _open_to_account(given, account)


def _open_to_account(folder: Path, account: Account) -> None:
    """Let the account pass through a folder that was just made, without letting it list or write there."""
    if account.is_other:
        os.chown(folder, -1, account.gid)
        folder.chmod(0o710)


def _home_of(given: Path, account: Account) -> Home:
    link = given / "data"
    if link.is_symlink():
        return Home(_followed(link), given)
    if not account.is_other or account.can_enter(given):
        return Home(given, given)
    _ELSEWHERE.mkdir(parents=True, mode=0o711, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="", dir=_ELSEWHERE))
    _open_to_account(folder, account)
    link.symlink_to(folder / "data")
    return Home(folder, given)


def _followed(link: Path) -> Path:
    """The home behind a link. A link to anywhere else is refused: projects are shared, and so are their links."""
    folder = Path(os.path.realpath(link)).parent
    if folder.parent != Path(os.path.realpath(_ELSEWHERE)) or not folder.is_dir():
        raise ConfigurationError(f"{link} leads to no folder under {_ELSEWHERE}; remove {link.parent} to start anew")
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
