# SPDX-License-Identifier: Apache-2.0
"""dbt projects with the plugin installed.

Before a test looks at what a command left, each bundle has been verified, and on Postgres its statements have been
compared with the server's own log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clyra.evidence import load_signer
from clyra.postgres import EmbeddedPostgres, Server
from clyra.verify import verify_bundle

HERE = Path(__file__).parent
DBT = Path(sys.executable).with_name("dbt")
LEFT_OUT = shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb", "*.wal")
# Settings of somebody's shell or CI service that would change what dbt or the plugin does.
FOREIGN = ("CLYRA_", "DBT_", "PG", "GIT", "CI", "BUILDKITE", "CIRCLE", "BITBUCKET", "BUILD_", "XDG_", "TIDES_")
LIMIT_S = 300
# What psycopg2 sends on its own account; dbt's adapter knows nothing of it.
OF_THE_DRIVER = ("BEGIN", "ROLLBACK")
LOG_PREFIX = "%p|%d|%a|"
LOGGED = re.compile(
    r"^(?P<pid>\d+)\|(?P<dbname>[^|\n]*)\|(?P<sender>[^|\n]*)\|LOG:  statement: (?P<sql>.*(?:\n\t.*)*)", re.M
)


@dataclass(frozen=True)
class Evidence:
    """A sealed bundle that was verified, read with the standard library alone."""

    path: Path

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as container:
            return container.read(name)

    @property
    def contents(self) -> bytes:
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

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.read("journal.ndjson").splitlines())
        return [event for event in lines if event["type"] == kind]

    def statements(self, unique_id: str) -> list[dict[str, Any]]:
        return [event for event in self.events("statement") if event["unique_id"] == unique_id]

    def statuses(self) -> dict[str, str]:
        """Status per node; batches have their own."""
        finished = [event for event in self.events("node.finished") if "batch_id" not in event]
        assert len({event["unique_id"] for event in finished}) == len(finished)
        return {event["unique_id"]: event["status"] for event in finished}

    def batches(self, unique_id: str) -> dict[str, str]:
        """Status per batch of a node."""
        finished = [event for event in self.events("node.finished") if event["unique_id"] == unique_id]
        return {event["batch_id"]: event["status"] for event in finished if "batch_id" in event}

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["unique_id"]: node for node in json.loads(self.read("artifacts/nodes.json"))["nodes"]}

    def references(self) -> dict[str, str]:
        """Digests of dbt's artifacts by their names."""
        return {reference["name"]: reference["sha256"] for reference in self.manifest["references"]}


@dataclass(frozen=True)
class Logged:
    """A statement in the server's log: which application sent it, and its text."""

    sender: str
    sql: str

    @property
    def verb(self) -> str:
        return re.sub(r"/\*.*?\*/", " ", self.sql, flags=re.DOTALL).split()[0].lower()


@dataclass(frozen=True)
class ServerLog:
    """The log of a server that logs every statement."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def statements(self, since: int, dbname: str) -> tuple[Logged, ...]:
        """What a database was sent since the log had that size."""
        with self.path.open("rb") as file:
            file.seek(since)
            text = file.read().decode()
        found = [entry for entry in LOGGED.finditer(text) if entry["dbname"] == dbname]
        return tuple(Logged(entry["sender"], entry["sql"].replace("\n\t", "\n")) for entry in found)


@dataclass(frozen=True)
class Outcome:
    """A dbt command that ended, what it sealed, and the statuses in the artifacts that lie there now."""

    code: int
    stdout: str
    stderr: str
    bundles: tuple[Evidence, ...]
    results: Mapping[str, str]
    sources: Mapping[str, str]
    logged: tuple[Logged, ...]

    @property
    def evidence(self) -> Evidence:
        """The one bundle of the command."""
        assert len(self.bundles) == 1, self.stdout + self.stderr
        return self.bundles[0]

    @property
    def sent_by_dbt(self) -> list[str]:
        """The statements in the server's log that dbt sent."""
        entries = [entry for entry in self.logged if entry.sender != "clyra"]
        return [entry.sql for entry in entries if entry.sql not in OF_THE_DRIVER]

    def require_journal_of_log(self) -> None:
        """Require the same statements, byte for byte and as often, in the journals and in the server's log.

        dbt announces a statement before it sends it. Where the connection is gone by then, as dbt ends those of other
        threads with ``--fail-fast``, the journal has an error of which the server knows nothing.
        """
        events = [event for evidence in self.bundles for event in evidence.events("statement")]
        recorded = Counter(event["sent_sha256"] for event in events)
        logged = {hashlib.sha256(sql.encode()).hexdigest(): sql for sql in self.sent_by_dbt}
        seen = Counter(hashlib.sha256(sql.encode()).hexdigest() for sql in self.sent_by_dbt)
        assert seen - recorded == {}, [logged[digest] for digest in seen - recorded]
        unsent = recorded - seen
        assert unsent <= Counter(event["sent_sha256"] for event in events if event["status"] == "error")
        assert {entry.verb for entry in self.logged if entry.sender == "clyra"} <= {"select"}


@dataclass(frozen=True)
class Keyring:
    """Keys of a user, and the trust file of an auditor who knows them."""

    config: Path
    trust: bytes

    def verified(self, path: Path, artifacts: Path) -> Evidence:
        """Require what ``clyra verify`` exits with 0 for: valid, in the log, nothing left open."""
        found = verify_bundle(path, trust=self.trust, artifacts=artifacts, environ={})
        assert (found.exit_code, found.code, found.warnings) == (0, None, []), (found.message, found.warnings)
        return Evidence(path)


class Host:
    """A process that runs many dbt commands: starting dbt takes longer than most of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], cwd: Path, environ: Mapping[str, str]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, HERE / "dbt_host.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**environ, "PYTHONUTF8": "1"},
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": arguments, "cwd": str(cwd), "environ": dict(environ)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=LIMIT_S)
            assert self._process.returncode == 0
            self._process = None


@dataclass
class Project:
    """One copy of a dbt project, its environment, the host that runs it and the log of the server it may use."""

    path: Path
    environ: dict[str, str] = field(repr=False)
    keyring: Keyring = field(repr=False)
    host: Host = field(repr=False)
    dbname: str = ""
    log: ServerLog | None = None

    def dbt(self, *arguments: str, code: int = 0, **environ: str) -> Outcome:
        """Run dbt in the host; require its exit code and that the process is as it was before."""
        known, since = self._now()
        answer = self._obeyed(arguments, code, environ)
        return self._outcome(code, answer["stdout"], answer["stderr"], known, since)

    def dbt_unverified(self, *arguments: str, code: int = 0, **environ: str) -> list[Evidence]:
        """Run dbt in the host and return what it sealed, of which verification would warn."""
        known, _ = self._now()
        self._obeyed(arguments, code, environ)
        return [Evidence(path) for path in self.bundle_paths() if path not in known]

    def _obeyed(self, arguments: tuple[str, ...], code: int, environ: dict[str, str]) -> dict[str, Any]:
        answer = self.host.run(list(arguments), self.path, {**self.environ, **environ})
        assert answer["code"] == code, answer["stdout"] + answer["stderr"] + answer["exception"]
        assert answer["changed"] == []
        return answer

    def cli(self, *arguments: str, code: int = 0, before: tuple[str, ...] = (), **environ: str) -> Outcome:
        """Run the command ``dbt`` as a process of its own, behind the command ``before`` if there is one."""
        known, since = self._now()
        finished = subprocess.run(
            [*before, DBT, *arguments],
            cwd=self.path,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return self._outcome(code, finished.stdout, finished.stderr, known, since)

    @property
    def evidence_folder(self) -> Path:
        return Path(self.environ.get("CLYRA_EVIDENCE_DIR", self.path / ".clyra"))

    def bundle_paths(self) -> list[Path]:
        return sorted(self.evidence_folder.glob("evidence/*/*/*.def.zip"))

    def _now(self) -> tuple[list[Path], int]:
        return self.bundle_paths(), self.log.size if self.log else 0

    def _outcome(self, code: int, stdout: str, stderr: str, known: list[Path], since: int) -> Outcome:
        assert list(self.evidence_folder.glob("journal/*.ndjson")) == []
        artifacts = self.evidence_folder / "artifacts"
        bundles = tuple(self.keyring.verified(path, artifacts) for path in self.bundle_paths() if path not in known)
        results, sources = self._statuses("run_results.json"), self._statuses("sources.json")
        logged = self.log.statements(since, self.dbname) if self.log else ()
        outcome = Outcome(code, stdout, stderr, bundles, results, sources, logged)
        if self.log and bundles:
            outcome.require_journal_of_log()
        return outcome

    def _statuses(self, artifact: str) -> dict[str, str]:
        """dbt's own status per node, hooks and macros left out. Evidence has words, and no spaces in them."""
        path = self.path / "target" / artifact
        results = json.loads(path.read_text())["results"] if path.exists() else []
        nodes = [result for result in results if not result["unique_id"].startswith(("operation.", "macro."))]
        return {result["unique_id"]: result["status"].replace(" ", "_") for result in nodes}

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def trusted_key(role: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The entry of a trust file for the key that signs as ``role``; makes that key."""
    signer = load_signer("bundle" if role == "bundle" else "log", environ)
    return {
        "keyid": signer.keyid,
        "public_key": base64.b64encode(signer.public_key).decode(),
        "alg": signer.alg,
        "role": role,
        "valid_from": "2020-01-01T00:00:00.000000Z",
        "valid_to": "2100-01-01T00:00:00.000000Z",
    }


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    config = tmp_path_factory.mktemp("config")
    environ = {"CLYRA_CONFIG_DIR": str(config)}
    keys = [trusted_key(role, environ) for role in ("bundle", "log")]
    trust = {"version": 1, "keys": keys, "require": ["log"]}
    (config / "clyra.trust.json").write_text(json.dumps(trust))
    return Keyring(config, json.dumps(trust).encode())


@pytest.fixture(scope="session")
def plain_environ(keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without anybody's settings, with an empty home and the keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **kept,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "CLYRA_CONFIG_DIR": str(keyring.config),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_USE_COLORS": "false",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


@pytest.fixture(scope="session")
def logging_server() -> Iterator[Server]:
    """A server of these tests alone: each line of its log names process, database and application."""
    settings = {"log_statement": "all", "log_line_prefix": LOG_PREFIX}
    with EmbeddedPostgres(None, fast=True, settings=settings) as server:
        yield server


@pytest.fixture(scope="session")
def give_database(request: pytest.FixtureRequest) -> Callable[[Project], dict[str, str]]:
    """A function that gives a project an empty Postgres database: libpq's variables for it."""

    def give(project: Project) -> dict[str, str]:
        server: Server = request.getfixturevalue("logging_server")
        assert server.superuser_dsn is not None
        assert server.log_path is not None
        project.log = ServerLog(server.log_path)
        project.dbname = f"features_{secrets.token_hex(6)}"
        with psycopg.connect(server.superuser_dsn, autocommit=True) as superuser:
            superuser.execute(f"create database {project.dbname} owner {server.user}".encode())
        return {
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
            "PGDATABASE": project.dbname,
        }

    return give


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The process that most commands of these tests run in, whatever project and target they are for."""
    started = Host()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def make_project(plain_environ: dict[str, str], keyring: Keyring, host: Host) -> Callable[..., Project]:
    """A function that copies a project folder; its commands run in the common host or in one that is given."""

    def make(source: Path, folder: Path, its_host: Host | None = None) -> Project:
        shutil.copytree(source, folder, ignore=LEFT_OUT)
        return Project(folder, dict(plain_environ), keyring, its_host or host)

    return make


@pytest.fixture(scope="session")
def make_tides(
    make_project: Callable[..., Project],
    give_database: Callable[[Project], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Project]:
    """A function that copies the project of these tests and points it to an empty database of an adapter."""

    def make(adapter: str, folder: Path | None = None) -> Project:
        project = make_project(HERE / "project", folder or tmp_path_factory.mktemp("tides") / "project")
        project.environ["TIDES_TARGET"] = adapter
        project.environ["TIDES_DUCKDB"] = str(project.path.parent / "gauges.duckdb")
        if adapter == "postgres":
            database = give_database(project)
            project.environ["DBT_ENV_SECRET_TIDES_PASSWORD"] = database["PGPASSWORD"]
            project.environ |= {f"TIDES_{name}": database[f"PG{name}"] for name in ("HOST", "PORT", "USER")}
            project.environ["TIDES_DBNAME"] = database["PGDATABASE"]
        return project

    return make
