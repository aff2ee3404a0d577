# SPDX-License-Identifier: Apache-2.0
"""A Postgres server of one's own, without an administrator: for the quickstart, for trying things, for tests.

It listens on 127.0.0.1 alone and not on a socket file, wants a generated password from everybody, and hands out a role
that is no superuser, because a superuser is not bound by guards. Postgres 13 and later.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from clyra.postgres._account import Account, server_account
from clyra.postgres._cluster import DBNAME, SUPERUSER, USER, create_cluster
from clyra.postgres._home import Home, State, new_state, persistent_home, temporary_home
from clyra.postgres._process import (
    ServerProcess,
    end_postmaster,
    settled_postmaster,
    spawn_server,
    wait_until_ready,
)
from clyra.postgres.binaries import INSTALL_HINT, Binaries, copy_binaries, find_binaries, iter_binaries
from clyra.postgres.connection import connect
from clyra.postgres.server import Server
from clyra.spec.errors import ConfigurationError, UnavailableError

HOST = "127.0.0.1"
_FIXED = ("listen_addresses", "port", "unix_socket_directories")
_FAST = {"fsync": "off", "full_page_writes": "off"}
_SETTING = re.compile(r"[a-z_][a-z0-9_.]*")


class EmbeddedPostgres:
    """A server in a folder, or one for the moment.

    With a folder the data stays, a later start finds it again, and a server that still runs there is used as it is.
    Without one everything is in a temporary folder, which :meth:`stop` removes. Either way the server ends with this
    process, however that ends, unless it is ``detached``. As a context manager it stops only what it started.

    Where root starts it, the server runs under the account ``postgres``, else ``nobody``. If that account cannot reach
    the folder, ``data`` in it is a link to where the data is; of programs it cannot reach it gets a copy, which
    stays behind when root is killed while a temporary server runs.
    """

    def __init__(
        self,
        folder: str | Path | None,
        *,
        settings: Mapping[str, str] | None = None,
        fast: bool = False,
        port: int | None = None,
        binaries: Binaries | None = None,
        detached: bool = False,
        dsn: str | None = None,
        start_timeout_s: float = 60,
    ) -> None:
        """Say what is wanted; nothing is touched before :meth:`start`.

        Args:
            folder: Where to keep it, a folder that is new, empty or an earlier server's. None: for the moment.
            settings: Further settings of the server, for instance ``{"log_statement": "all"}``.
            fast: Do not wait for the disk (``fsync=off``). A crash of the machine then loses the data.
            port: The TCP port; without it a free one, the same again at a later start if it is still free.
            binaries: The programs to use instead of the first ones found.
            detached: Leave the server running when this process ends. Needs a folder.
            dsn: Use this server and start none.
            start_timeout_s: How long to wait for connections to be taken.

        Raises:
            ConfigurationError: A setting is malformed or fixed, or a detached server has no folder.
        """
        if detached and folder is None:
            raise ConfigurationError("a detached server has no folder; give one, so that it can be found again")
        self._folder = None if folder is None else Path(folder)
        self._settings = _checked(settings or {}) | (_FAST if fast else {})
        self._fast = fast
        self._port = port
        self._binaries = binaries
        self._detached = detached
        self._dsn = dsn
        self._start_timeout_s = start_timeout_s
        self._home: Home | None = None
        self._process: ServerProcess | None = None

    @property
    def data_folder(self) -> Path | None:
        """Where the data is (PGDATA), None before the first start and for a server that was given by its DSN."""
        return None if self._home is None else self._home.data

    def start(self) -> Server:
        """A server that takes connections.

        A server that still runs keeps the settings it was started with.

        Raises:
            ConfigurationError: The folder is not one for a server, or a setting is unknown to the server.
            UnavailableError: There are no programs to start, the port is taken, the folder cannot be used, the server
                does not come up, or the one of the DSN does not answer.
        """
        if self._dsn is not None:
            return _given_server(self._dsn)
        account = server_account()
        if self._folder is None:
            if self._home is None:
                self._home = temporary_home(account)
            try:
                return self._started(self._home, account)
            except BaseException:
                self.stop()
                raise
        with persistent_home(self._folder, account) as home:
            self._home = home
            return self._started(home, account)

    def stop(self) -> None:
        """End the server, whoever started it, and remove what is temporary. Does nothing when there is none.

        Raises:
            UnavailableError: It does not stop.
        """
        if self._dsn is not None:
            return
        if self._home is None and self._folder is not None and self._folder.is_dir():
            with persistent_home(self._folder, server_account()) as home:
                self._home = home
        if self._home is None:
            return
        if self._process is not None and not self._detached:
            self._process.stop(self._home.data)
        else:
            end_postmaster(self._home.data)
        self._process = None
        if self._folder is None:
            self._home.remove()
            self._home = None

    def remove(self) -> None:
        """End the server and remove its folder with all data.

        Raises:
            UnavailableError: It does not stop.
        """
        self.stop()
        if self._home is not None:
            self._home.remove()
            self._home = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._folder is None or (self._process is not None and not self._detached):
            self.stop()

    def _started(self, home: Home, account: Account) -> Server:
        state = home.load_state()
        running = settled_postmaster(home.data, self._start_timeout_s)
        if running is not None and state is not None:
            return _local_server(home, replace(state, port=running.port))
        if state is None and home.data.exists():
            raise ConfigurationError(f"{home.data} was not made by Clyra; give an empty folder or a new one")
        if state is None:
            state = new_state(self._port or _free_port())
            home.save_state(state)
        binaries = self._prepared(home, state, account)
        # Whoever wrote it is gone, but its process id may be somebody else's by now, and the server would believe it.
        (home.data / "postmaster.pid").unlink(missing_ok=True)
        port = self._launched(binaries, home, account, preferred=state.port)
        if port != state.port:
            home.save_state(replace(state, port=port))
        return _local_server(home, replace(state, port=port))

    def _prepared(self, home: Home, state: State, account: Account) -> Binaries:
        """Programs that the account can run and that fit the data folder, which exists afterwards."""
        if home.data.exists():
            major = int((home.data / "PG_VERSION").read_text("ascii"))
            binaries = self._binaries or find_binaries(major=major)
            if binaries.major != major:
                raise ConfigurationError(
                    f"{home.data} is of Postgres {major}, the programs are of {binaries.major}; "
                    f"use Postgres {major}, or remove the folder to start anew"
                )
            return _reachable(binaries, home, account)
        failures = []
        for candidate in [self._binaries] if self._binaries else iter_binaries():
            try:
                binaries = _reachable(candidate, home, account)
                create_cluster(binaries, home, state, account, fast=self._fast)
            except UnavailableError as failure:
                failures.append(failure.message)
            else:
                return binaries
        tried = "; ".join(failures) or "no programs of Postgres on this machine"
        raise UnavailableError(f"{tried}: {INSTALL_HINT}")

    def _launched(self, binaries: Binaries, home: Home, account: Account, *, preferred: int) -> int:
        """Start the server and return its port; another port or a second try where that is all it needs."""
        deadline = time.monotonic() + self._start_timeout_s
        port = self._port or (preferred if _is_free(preferred) else _free_port())
        while True:
            log_size = home.log_path.stat().st_size if home.log_path.exists() else 0
            process = self._spawned(binaries, home, account, port)
            try:
                if wait_until_ready(process, home.data, self._start_timeout_s):
                    self._process = process
                    return port
            except BaseException:
                process.stop(home.data)
                raise
            process.stop(home.data)
            messages = _messages_since(home.log_path, log_size)
            self._explain(messages, home, port, is_last=time.monotonic() > deadline)
            port = self._port or _free_port()
            time.sleep(0.1)

    def _spawned(self, binaries: Binaries, home: Home, account: Account, port: int) -> ServerProcess:
        settings = {**self._settings, "listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        remove = home.folder if self._folder is None else None
        argv: list[str | Path] = [binaries.postgres, "-D", home.data, *options]
        return spawn_server(account, argv, log_path=home.log_path, remove=remove, detached=self._detached)

    def _explain(self, messages: str, home: Home, port: int, *, is_last: bool) -> None:
        """Raise what the server died of, unless another try may do."""
        if "Address already in use" in messages:
            if self._port is not None:
                raise UnavailableError(f"port {port} is taken; give another one, or none to have a free one chosen")
            if not is_last:
                return
        # The last processes of a server that was killed may take a moment to notice.
        if "shared memory block" in messages and not is_last:
            return
        fatal = [line.partition("FATAL:")[2].strip() for line in messages.splitlines() if "FATAL:" in line]
        said = fatal[-1] if fatal else "no message"
        if "configuration parameter" in said or "invalid value for parameter" in said:
            raise ConfigurationError(f"the server refuses its settings: {said}; correct or remove the setting")
        raise UnavailableError(f"the server does not start: {said}; see {home.log_path}")


def _checked(settings: Mapping[str, str]) -> dict[str, str]:
    for name, value in settings.items():
        if name in _FIXED:
            raise ConfigurationError(f"setting {name} is fixed: the server listens on {HOST} alone; remove it")
        if not _SETTING.fullmatch(name) or "\0" in value:
            raise ConfigurationError(f"setting {name!r} is not a name and a value; use names as in postgresql.conf")
    return dict(settings)


def _given_server(dsn: str) -> Server:
    with connect(dsn) as session:
        session("select 1")
        info = session.info
        return Server(
            dsn=dsn,
            superuser_dsn=None,
            host=info.host,
            port=info.port,
            dbname=info.dbname,
            user=info.user,
            password=info.password,
            log_path=None,
        )


def _local_server(home: Home, state: State) -> Server:
    address = f"{HOST}:{state.port}/{DBNAME}"
    return Server(
        dsn=f"postgresql://{USER}:{state.password}@{address}",
        superuser_dsn=f"postgresql://{SUPERUSER}:{state.superuser_password}@{address}",
        host=HOST,
        port=state.port,
        dbname=DBNAME,
        user=USER,
        password=state.password,
        log_path=home.log_path,
    )


def _reachable(binaries: Binaries, home: Home, account: Account) -> Binaries:
    if not account.is_other or account.can_run(binaries.postgres):
        return binaries
    return copy_binaries(binaries, home.folder / "binaries")


def _messages_since(log_path: Path, size: int) -> str:
    with log_path.open("rb") as log:
        log.seek(size)
        return log.read().decode("utf-8", "replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does it: a connection of the last server that is still closing down is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
