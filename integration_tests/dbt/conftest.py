# SPDX-License-Identifier: Apache-2.0
"""Real dbt projects with the plugin installed: run dbt as a user would, and read what it left."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from clyra.postgres import Server
from clyra.verify import Verification, verify_bundle

HERE = Path(__file__).parent
DBT = Path(sys.executable).with_name("dbt")
PASSWORD_VARIABLE = "DBT_ENV_SECRET_LEDGER_PASSWORD"


@dataclass(frozen=True)
class Evidence:
    """A sealed bundle, read with the standard library alone."""

    path: Path

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as container:
            return container.read(name)

    @property
    def all_bytes(self) -> bytes:
        with zipfile.ZipFile(self.path) as container:
            return b"\n".join(container.read(name) for name in container.namelist())

    @property
    def manifest(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.read("manifest.json"))
        return members

    @property
    def run(self) -> dict[str, Any]:
        members: dict[str, Any] = self.manifest["run"]
        return members

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["unique_id"]: node for node in json.loads(self.read("artifacts/nodes.json"))["nodes"]}

    def lineage(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.read("artifacts/lineage.json"))
        return members

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.read("journal.ndjson").splitlines()]
        return [event for event in lines if event["type"] == kind]

    def statuses(self) -> dict[str, str]:
        """Status per node; of a node with batches the one of the node."""
        finished = self.events("node.finished")
        return {event["unique_id"]: event["status"] for event in finished if "batch_id" not in event}


@dataclass(frozen=True)
class Finished:
    """A process that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def printed(self) -> str:
        return self.stdout + self.stderr


@dataclass
class Ledger:
    """One copy of a project and the environment that dbt runs it in."""

    path: Path
    home: Path
    environment: dict[str, str] = field(repr=False)
    dsn: str = field(default="", repr=False)

    def start(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: Path = DBT,
        largest_file: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start dbt, perhaps as a process that can write no file beyond a size, which looks like a full disk."""

        def limit() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        return subprocess.Popen(
            [program, *arguments],
            cwd=self.path,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )

    def dbt(
        self, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None, **more: str
    ) -> Finished:
        """Run dbt and require its exit code."""
        return self.wait(self.start(*arguments, environment={**(environment or {}), **more}), code=code)

    def python(self, script: str, *arguments: str) -> Finished:
        """Run a Python script in the project's folder."""
        return self.wait(self.start("-c", script, *arguments, program=Path(sys.executable)), code=0)

    @staticmethod
    def wait(process: subprocess.Popen[str], *, code: int) -> Finished:
        stdout, stderr = process.communicate(timeout=600)
        finished = Finished(process.returncode, stdout, stderr)
        assert finished.code == code, finished.printed
        return finished

    @property
    def folder(self) -> Path:
        return self.path / ".clyra"

    def bundles(self) -> list[Evidence]:
        """What was sealed, oldest first."""
        return [Evidence(path) for path in sorted(self.folder.glob("evidence/*/*/*.def.zip"))]

    def bundle(self) -> Evidence:
        """The one bundle there is."""
        (found,) = self.bundles()
        return found

    def journals(self) -> list[Path]:
        return sorted(self.folder.glob("journal/*.ndjson"))

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def trust(self) -> bytes:
        """A trust file with the keys of this home, the log's proof required."""
        keys = self.home / ".config" / "clyra" / "keys"
        entries = [trusted_key(keys / f"{role}.pem", role) for role in ("bundle", "log")]
        return json.dumps({"version": 1, "keys": entries, "require": ["log"]}).encode()

    def verify(self, evidence: Evidence) -> Verification:
        """Verify a bundle with `trust` and dbt's artifacts at hand."""
        return verify_bundle(evidence.path, trust=self.trust, artifacts=self.folder / "artifacts", environ={})

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on Postgres, on a connection of the test's own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


def trusted_key(path: Path, role: str) -> dict[str, Any]:
    """The entry of a trust file for a private key file; what an owner does by hand with ``clyra keys trust``."""
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(path.read_bytes(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "keyid": hashlib.sha256(public).hexdigest(),
        "public_key": base64.b64encode(public).decode(),
        "alg": "ed25519",
        "role": role,
        "valid_from": "2020-01-01T00:00:00.000000Z",
        "valid_to": "2100-01-01T00:00:00.000000Z",
    }


def clean_environment(home: Path) -> dict[str, str]:
    """The environment without anybody's dbt, Clyra, CI or Postgres settings, and an empty home."""
    foreign = ("CLYRA_", "DBT_", "PG", "GIT", "CI", "BUILDKITE", "XDG_", "LEDGER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "HOME": str(home),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_USE_COLORS": "false",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


@pytest.fixture(scope="session")
def ledger_database(postgres_server: Server) -> Iterator[dict[str, str]]:
    """One database for all tests, as dbt parses everything again for another one: its settings for the profile."""
    name = f"ledger_{secrets.token_hex(4)}"
    assert postgres_server.superuser_dsn is not None
    with psycopg.connect(postgres_server.superuser_dsn, autocommit=True) as superuser:
        superuser.execute(f'create database "{name}" owner "{postgres_server.user}"'.encode())
        yield {
            "LEDGER_TARGET": "postgres",
            "LEDGER_HOST": postgres_server.host,
            "LEDGER_PORT": str(postgres_server.port),
            "LEDGER_USER": postgres_server.user,
            "LEDGER_DBNAME": name,
            PASSWORD_VARIABLE: postgres_server.password,
        }
        superuser.execute(f'drop database "{name}" with (force)'.encode())


def _parsed(folder: Path, environment: Mapping[str, str]) -> Path:
    """The project after ``dbt parse``, so that tests need not parse all of it again."""
    project = folder / "project"
    shutil.copytree(HERE / "project", project)
    clean = {**clean_environment(folder), **environment, "CLYRA_DISABLED": "1"}
    subprocess.run([DBT, "--quiet", "parse"], cwd=project, env=clean, check=True, stderr=subprocess.DEVNULL)
    return project


@pytest.fixture(scope="session")
def parsed_for_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _parsed(tmp_path_factory.mktemp("duckdb"), {})


@pytest.fixture(scope="session")
def parsed_for_postgres(tmp_path_factory: pytest.TempPathFactory, ledger_database: dict[str, str]) -> Path:
    return _parsed(tmp_path_factory.mktemp("postgres"), ledger_database)


def _copy(template: Path, tmp_path: Path, environment: Mapping[str, str], dsn: str = "") -> Ledger:
    home = tmp_path / "home"
    home.mkdir()
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    return Ledger(folder, home, {**clean_environment(home), **environment}, dsn)


@pytest.fixture
def on_duckdb(parsed_for_duckdb: Path, tmp_path: Path) -> Ledger:
    return _copy(parsed_for_duckdb, tmp_path, {})


@pytest.fixture
def on_postgres(
    parsed_for_postgres: Path, tmp_path: Path, ledger_database: dict[str, str], postgres_server: Server
) -> Ledger:
    dsn = make_conninfo(postgres_server.dsn, dbname=ledger_database["LEDGER_DBNAME"])
    found = _copy(parsed_for_postgres, tmp_path, ledger_database, dsn)
    found.execute("drop schema if exists ledger cascade")
    return found


@pytest.fixture(params=["duckdb", "postgres"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """The project, on each of the two."""
    chosen: Ledger = request.getfixturevalue(f"on_{request.param}")
    return chosen
