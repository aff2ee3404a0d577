# SPDX-License-Identifier: Apache-2.0
"""The guarded project with the macro package installed, on DuckDB, on Postgres and on stand-ins for the clouds."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clyra.testing.plugin import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PACKAGE = REPOSITORY / "dbt_packages" / "clyra_guard"
DBT = Path(sys.executable).with_name("dbt")
LIBPQ = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}


@dataclass(frozen=True)
class Guarded:
    """One copy of the guarded project and the environment dbt runs it in."""

    path: Path
    target: str
    environment: Mapping[str, str] = field(repr=False)

    def dbt(self, *arguments: str, **environment: str) -> str:
        """Run dbt, require that it succeeds, and return what it printed."""
        code, printed = self.dbt_code(*arguments, **environment)
        assert code == 0, printed
        return printed

    def dbt_code(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run dbt and return its exit code and what it printed."""
        process = subprocess.run(
            [DBT, *arguments, *(["--target", self.target] if self.target else [])],
            cwd=self.path,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return process.returncode, process.stdout

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, from a connection of our own."""
        if self.target == "postgres":
            parts = {part: self.environment[name] for name, part in LIBPQ.items()}
            with psycopg.connect(make_conninfo("options='-c search_path=guarded'", **parts)) as connection:
                return connection.execute(sql.encode()).fetchall()
        with duckdb.connect(str(self.path / "guarded.duckdb"), read_only=True) as database:
            return database.execute(sql).fetchall()

    def sent(self) -> list[str]:
        """Return the statements a stand-in was sent, in order."""
        return [json.loads(line) for line in Path(self.environment["GUARDED_SENT_SQL"]).read_text().splitlines()]

    def results(self) -> list[dict[str, Any]]:
        """Return dbt's own results of the last invocation."""
        found: list[dict[str, Any]] = json.loads((self.path / "target" / "run_results.json").read_text())["results"]
        return found


def clean_environment() -> dict[str, str]:
    """The environment without anybody's dbt, Clyra or Postgres settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLYRA_", "DBT_", "PG"))}
    return {
        **kept,
        "CLYRA_DISABLED": "1",
        "CLYRA_GUARD_PATH": str(PACKAGE),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_USE_COLORS": "false",
    }


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after ``dbt deps``, to be copied."""
    folder = tmp_path_factory.mktemp("guarded") / "project"
    shutil.copytree(HERE / "project", folder, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages"))
    Guarded(folder, "", clean_environment()).dbt("deps")
    return folder


@pytest.fixture(scope="session")
def parsed(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed project after ``dbt parse`` for DuckDB, so that tests need not parse all of it again."""
    folder = tmp_path_factory.mktemp("parsed") / "project"
    shutil.copytree(installed, folder, symlinks=True)
    Guarded(folder, "duckdb", clean_environment()).dbt("parse")
    return folder


def _copy(template: Path, tmp_path: Path, target: str, **environment: str) -> Guarded:
    folder = tmp_path / "project"
    shutil.copytree(template, folder, symlinks=True)
    return Guarded(folder, target, {**clean_environment(), **environment})


@pytest.fixture
def duckdb_project(parsed: Path, tmp_path: Path) -> Guarded:
    return _copy(parsed, tmp_path, "duckdb")


@pytest.fixture
def postgres_project(installed: Path, tmp_path: Path, postgres_dsn: str) -> Guarded:
    parts = conninfo_to_dict(postgres_dsn)
    return _copy(installed, tmp_path, "postgres", **{name: str(parts[part]) for name, part in LIBPQ.items()})


@pytest.fixture(params=["duckdb", "postgres"])
def project(request: pytest.FixtureRequest) -> Guarded:
    chosen: Guarded = request.getfixturevalue(f"{request.param}_project")
    return chosen


@pytest.fixture
def stand_in(installed: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Guarded:
    """The project on an adapter that has the name of a cloud warehouse; parametrized indirectly."""
    return _copy(
        installed,
        tmp_path,
        request.param,
        PYTHONPATH=str(HERE / "stand_ins"),
        GUARDED_SENT_SQL=str(tmp_path / "sent.jsonl"),
    )
