# SPDX-License-Identifier: Apache-2.0
"""Postgres anchors and an embedded server for Clyra.

Every dbt run on Postgres imports this package for its ``PostgresWarehouse``; the rest is imported when it is first
used, which halves what that costs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from clyra.postgres.warehouse import PostgresWarehouse

if TYPE_CHECKING:
    from clyra.postgres.binaries import Binaries, find_binaries
    from clyra.postgres.connection import ConnectionInfo, Session, connect
    from clyra.postgres.embedded import EmbeddedPostgres
    from clyra.postgres.server import Server

__all__ = [
    "Binaries",
    "ConnectionInfo",
    "EmbeddedPostgres",
    "PostgresWarehouse",
    "Server",
    "Session",
    "connect",
    "find_binaries",
]

_MODULES = {
    "Binaries": "binaries",
    "ConnectionInfo": "connection",
    "EmbeddedPostgres": "embedded",
    "Server": "server",
    "Session": "connection",
    "connect": "connection",
    "find_binaries": "binaries",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
