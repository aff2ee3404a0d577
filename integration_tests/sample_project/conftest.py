# SPDX-License-Identifier: Apache-2.0
"""Copies of a dbt project, run by plain dbt on DuckDB and on Postgres, without Clyra's plugin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clyra.testing.plugin import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]

DBT = Path(sys.executable).with_name("dbt")
LIBPQ = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}


@dataclass(frozen=True)
class Project:
    """One copy of a dbt project, the target it runs on and the environment it runs in."""

    path: Path
    target: str
    environment: Mapping[str, str] = field(repr=False)

    def dbt(self, *arguments: str, target: str | None = None) -> str:
        """Run dbt, require that it succeeds, and return what it printed."""
        process = subprocess.run(
            [DBT, *arguments, "--target", target or self.target],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout
        return process.stdout

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, from a connection of our own."""
        if self.target == "dev":
            (file,) = self.path.glob("*.duckdb")
            with duckdb.connect(str(file), read_only=True) as database:
                return database.execute(sql).fetchall()
        parts = {part: self.environment[name] for name, part in LIBPQ.items()}
        with psycopg.connect(make_conninfo("", **parts)) as connection:
            return connection.execute(sql.encode()).fetchall()

    def artifact(self, name: str) -> dict[str, Any]:
        """Return one of dbt's JSON artifacts."""
        found: dict[str, Any] = json.loads((self.path / "target" / name).read_text())
        return found


@pytest.fixture
def make_project(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[Path, str], Project]:
    """A function that copies a project folder and points the target ``dev`` or ``pg`` to an empty database."""

    def make(source: Path, target: str) -> Project:
        path = tmp_path / target
        shutil.copytree(source, path, ignore=shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb", "*.wal"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLYRA_", "DBT_", "PG"))}
        environment = {**kept, "CLYRA_DISABLED": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        environment["DBT_USE_COLORS"] = "false"
        if target != "dev":
            parts = conninfo_to_dict(request.getfixturevalue("postgres_dsn"))
            environment |= {name: str(parts[part]) for name, part in LIBPQ.items()}
        return Project(path, target, environment)

    return make
