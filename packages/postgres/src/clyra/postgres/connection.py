# SPDX-License-Identifier: Apache-2.0
"""Clyra's own connection to a Postgres server, through whichever driver is installed.

The driver is imported when a connection opens, never before: psycopg 3, else psycopg2, which dbt-postgres brings. A
driver's messages are not repeated, because a DSN with a mistake in it comes back in them, password included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, cast

from clyra.spec.errors import UnavailableError

if TYPE_CHECKING:
    from psycopg import Connection

_DRIVERS = ("psycopg", "psycopg2")
_CAUSES = {
    "password authentication failed": "the password or the role is wrong",
    "no password supplied": "the DSN has no password",
    "no pg_hba.conf entry": "the server does not admit this role from here",
    "does not exist": "the role or the database does not exist",
    "refused": "nothing listens at that host and port",
    "could not translate host name": "the host is unknown",
    "resolve host": "the host is unknown",
    "timeout": "no answer in time",
    "timed out": "no answer in time",
    "SSL": "the server and the DSN disagree about SSL",
    "too many": "the server has no connection left",
    "starting up": "the server is still starting",
    "shutting down": "the server is shutting down",
    "closed the connection": "the server closed the connection",
    "connection info string": "the DSN is not understood",
    "invalid": "the DSN is not understood",
}


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """Where a connection leads, as the driver understood the DSN."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)


class Session:
    """An open connection in autocommit; calling it with one statement returns the rows. It is a ``Query``."""

    def __init__(self, driver: ModuleType, connection: Connection) -> None:
        self._driver = driver
        self._connection = connection

    def __call__(self, statement: str) -> Sequence[Sequence[object]]:
        """Run one statement and return its rows, none for a statement that has none.

        Raises:
            UnavailableError: It failed; the message has the SQLSTATE.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []
        except self._driver.Error as exc:
            state = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
            raise UnavailableError(f"a statement on Clyra's own connection failed with SQLSTATE {state}") from exc

    @property
    def info(self) -> ConnectionInfo:
        """Where it leads."""
        info = self._connection.info
        return ConnectionInfo(info.host or "", info.port, info.dbname, info.user, info.password or "")


@contextmanager
def connect(dsn: str, *, connect_timeout_s: int = 10) -> Iterator[Session]:
    """A session of Clyra's own, closed at the end of the block.

    Args:
        dsn: A libpq connection string or URI.
        connect_timeout_s: How long to wait for the server.

    Raises:
        UnavailableError: ``server_unavailable``, it does not answer or does not let us in; ``extra_missing``, no
            driver is installed.
    """
    driver = _driver()
    try:
        connection = driver.connect(dsn, connect_timeout=connect_timeout_s)
        connection.autocommit = True
    except driver.Error as exc:
        cause = next((cause for words, cause in _CAUSES.items() if words in str(exc)), "the server refuses")
        raise UnavailableError(
            f"no connection to Postgres: {cause}; check host, port, database, role and password of the DSN"
        ) from exc
    try:
        yield Session(driver, cast("Connection", connection))
    finally:
        connection.close()


def _driver() -> ModuleType:
    for name in _DRIVERS:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise UnavailableError('no Postgres driver: pip install "clyra-postgres[psycopg]"', code="extra_missing")
