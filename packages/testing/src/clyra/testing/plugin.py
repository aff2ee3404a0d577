# SPDX-License-Identifier: Apache-2.0
"""Fixtures that tests of several packages need: a real Postgres server, a database of one's own, an empty user folder.

A pytest plugin: ``pytest -p clyra.testing.plugin``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from clyra.postgres import EmbeddedPostgres, Server, connect


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A server for the whole session, every statement in its log. ``dsn`` is a role that is no superuser."""
    with EmbeddedPostgres(None, fast=True, settings={"log_statement": "all"}) as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: Server) -> Iterator[str]:
    """A new, empty database that belongs to the role of the DSN, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    assert postgres_server.superuser_dsn is not None
    with connect(postgres_server.superuser_dsn) as superuser:
        superuser(f"create database {name} owner {postgres_server.user}")
        yield f"{postgres_server.dsn.rpartition('/')[0]}/{name}"
        superuser(f"drop database {name} with (force)")


@pytest.fixture
def tmp_clyra_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty config folder in place of the user's. No other ``CLYRA_*`` variable is set, and HOME is empty too."""
    for name in [name for name in os.environ if name.startswith("CLYRA_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    config = home / ".config" / "clyra"
    config.mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("CLYRA_CONFIG_DIR", str(config))
    return config
