# SPDX-License-Identifier: Apache-2.0
"""Postgres anchors and an embedded server for Clyra."""

from clyra.postgres.binaries import Binaries, find_binaries
from clyra.postgres.connection import ConnectionInfo, Session, connect
from clyra.postgres.embedded import EmbeddedPostgres
from clyra.postgres.server import Server
from clyra.postgres.warehouse import PostgresWarehouse

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
