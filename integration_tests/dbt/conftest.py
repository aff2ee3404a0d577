# SPDX-License-Identifier: Apache-2.0
"""Real dbt projects with the plugin installed: run dbt as a user would, and read what it left."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from clyra.approval.certificate import certificate_for, read_certificate, sign_certificate
from clyra.approval.keys import keys_of
from clyra.approval.mint import mint
from clyra.approval.request import ApprovalRequest, Standing
from clyra.approval.store import ApprovalStore
from clyra.dbt._clock import SystemClock
from clyra.evidence import Signer, instant, load_signer
from clyra.policy.load import load_policy
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
            # A gate that a shell runs in the background ignores Ctrl-C, and so would dbt.
            signal.signal(signal.SIGINT, signal.default_int_handler)
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


@dataclass
class Governed:
    """A project in git with a policy, and the keys of people who may approve and of an issuer.

    The trust file lies outside of the project, as on a runner.
    """

    ledger: Ledger
    target: str
    said: str = ""
    """What was printed at the last refusal."""

    @property
    def path(self) -> Path:
        return self.ledger.path

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.ledger.home), "CLYRA_TRUST": str(self.trust_path)}

    @property
    def trust_path(self) -> Path:
        return self.ledger.home / "trust.json"

    @property
    def store(self) -> ApprovalStore:
        return ApprovalStore.locate(self.ledger.folder, {})

    def begin(self) -> None:
        """Make the keys, the trust file and the first commit."""
        self.write_trust()
        self.ledger.write(".gitignore", "target/\nlogs/\n*.duckdb\n*.wal\n.clyra/\ndbt_packages/\n")
        self.git("init", "-q")
        self.commit()

    def write_trust(self, **members: object) -> None:
        keys = self.ledger.home / ".config" / "clyra" / "keys"
        for role in ("bundle", "log", "approver", "issuer"):
            self.signer(role)
        entries = [trusted_key(keys / f"{role}.pem", role) for role in ("bundle", "log", "approver", "issuer")]
        entries[0]["captures"] = ["recorded", "ingested", "recovered"]
        self.trust_path.write_text(json.dumps({"version": 1, "keys": entries, "require": ["log"], **members}))

    def signer(self, role: str) -> Signer:
        return load_signer(role, {"HOME": str(self.ledger.home)})  # type: ignore[arg-type]  # it is one

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Dev", "-c", "user.email=dev@example.invalid")
        command = ("git", *identity, *arguments)
        ended = subprocess.run(command, cwd=self.path, env=self.ledger.environment, capture_output=True, check=True)
        return ended.stdout.decode()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")

    def policy(self, text: str) -> None:
        """Put ``text`` under the environments of a policy, which enforces on this target."""
        head = f"version: 1\nname: ledger\nenvironments:\n  live: {{targets: [{self.target}], mode: enforce}}\n"
        self.ledger.write("clyra.policy.yaml", head + text)

    def dbt(self, *arguments: str, code: int = 0, token: Path | None = None, **environment: str) -> Finished:
        """Run dbt with the trust file, and a token if there is one."""
        given = {} if token is None else {"CLYRA_APPROVAL_TOKEN_FILE": str(token)}
        return self.ledger.dbt(*arguments, code=code, environment={**self.environ, **given, **environment})

    def refused(self, *arguments: str, token: Path | None = None, **environment: str) -> str:
        """Run dbt, which must be refused before its first statement; the code of the refusal.

        The run is sealed all the same, and what was sealed is valid.
        """
        known = {evidence.path for evidence in self.ledger.bundles()}
        printed = self.dbt(*arguments, code=2, token=token, **environment).printed
        self.said = printed
        found = re.search(r"^ +code: (\w+)$", printed, re.M)
        assert found is not None, printed
        (evidence,) = [one for one in self.ledger.bundles() if one.path not in known]
        assert (evidence.run["status"], evidence.run["counts"]["statements"]) == ("refused", 0)
        self.verify(evidence)
        assert self.ledger.journals() == []
        return found[1]

    def verify(self, evidence: Evidence) -> Verification:
        """Verify a bundle with the trust file; it must not be invalid."""
        artifacts = self.ledger.folder / "artifacts"
        found = verify_bundle(evidence.path, trust=self.trust_path.read_bytes(), artifacts=artifacts, environ={})
        assert found.code is None, found
        return found

    def last(self) -> Evidence:
        """The newest bundle, verified."""
        evidence = self.ledger.bundles()[-1]
        self.verify(evidence)
        return evidence

    def ask(self, *arguments: str, run_id: str) -> ApprovalRequest:
        """Have dbt refused for want of an approval; the request that it wrote."""
        assert self.refused(*arguments, CLYRA_RUN_ID=run_id) == "approval_required"
        return self.store.requests()[0]

    def approve(self, request: ApprovalRequest, *, standing_s: int = 0) -> ApprovalRequest:
        """Sign for a request, for a time if asked to; gives what was signed."""
        now_us = SystemClock().now_us()
        asked = request
        if standing_s:
            standing = Standing(instant(now_us + standing_s * 1_000_000), request.target)
            asked = replace(request, run_id=None, standing=standing)
            self.store.replace_request(request, asked.to_bytes())
        signer = self.signer("approver")
        body = certificate_for(asked, principal=f"key:{signer.keyid}", role="approver", approved_at=instant(now_us))
        self.store.add_certificate(sign_certificate(body, [signer]))
        return asked

    def mint(self, request: ApprovalRequest, run_id: str, *, ttl_s: int | None = None, known: bool = True) -> Path:
        """A token file for a run; ``known`` if this store remembers it."""
        keys = keys_of(json.loads(self.trust_path.read_bytes()), "approver")
        certificates = [read_certificate(data, keys) for data in self.store.certificates_for(request.sha256)]
        policy = load_policy(self.path / "clyra.policy.yaml", now=datetime.now(UTC).date())
        minted = mint(
            request,
            certificates,
            policy=policy,
            tree=request.tree,
            run_id=run_id,
            now_s=SystemClock().now_us() // 1_000_000,
            ttl_s=ttl_s,
            random=secrets.token_bytes(16),
            issuer=self.signer("issuer"),
        )
        if known:
            self.store.issue(minted.jti, {"run_id": run_id})
        path = self.ledger.home / f"token-{minted.jti}"
        path.write_text(minted.token)
        return path

    def approved(self, *arguments: str, run_id: str) -> Path:
        """The token of a run that was asked for, approved and minted."""
        return self.mint(self.approve(self.ask(*arguments, run_id=run_id)), run_id)


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
    # What run-operation makes has no schema of its own, and the database serves many tests.
    found.execute("drop table if exists public.paint")
    return found


@pytest.fixture(params=["duckdb", "postgres"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """The project, on each of the two."""
    chosen: Ledger = request.getfixturevalue(f"on_{request.param}")
    return chosen


HOLDS_TABLES = """
data_platform:
  rules:
    - id: x_tables_are_approved
      effect: require_approval
      mode: enforce
      when: [{field: dbt.materialized, op: eq, value: table}]
      title: Tables are approved
"""


def _governed(ledger: Ledger, target: str) -> Governed:
    governed = Governed(ledger, target)
    governed.policy(HOLDS_TABLES)
    governed.begin()
    return governed


@pytest.fixture
def governed_on_duckdb(on_duckdb: Ledger) -> Governed:
    """The project under a policy that wants tables approved."""
    return _governed(on_duckdb, "duckdb")


@pytest.fixture
def governed_on_postgres(on_postgres: Ledger) -> Governed:
    return _governed(on_postgres, "postgres")


@pytest.fixture(params=["duckdb", "postgres"])
def governed(request: pytest.FixtureRequest) -> Governed:
    """The same, on each of the two."""
    chosen: Governed = request.getfixturevalue(f"governed_on_{request.param}")
    return chosen
