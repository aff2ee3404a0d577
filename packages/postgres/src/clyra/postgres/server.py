# SPDX-License-Identifier: Apache-2.0
"""What a caller needs to use a running server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes connections. Its repr shows no password.

    Attributes:
        dsn: Connects as ``user``, which is no superuser and owns the database.
        superuser_dsn: Connects to the same database as a superuser; None for a server that was given by its DSN.
        host: Where it listens.
        port: The TCP port.
        dbname: The database of ``dsn``.
        user: The role of ``dsn``.
        password: Its password, empty where the DSN holds none.
        log_path: Where the server's messages go; None for a server that was given by its DSN.
    """

    dsn: str = field(repr=False)
    superuser_dsn: str | None = field(repr=False)
    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    log_path: Path | None
