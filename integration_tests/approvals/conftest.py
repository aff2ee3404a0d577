# SPDX-License-Identifier: Apache-2.0
"""A team with keys, a trust file and a project in git, in which people ask, approve and deploy.

Requests are written as the run gate writes them, without dbt: what people, runners and git do with them is shown here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import click.testing
import pytest

from clyra.approval.contributors import contributors, project_tree
from clyra.approval.keys import keys_of
from clyra.approval.plan import DbtPlan, PlanNode, build_plan
from clyra.approval.request import ApprovalRequest, HeldRule
from clyra.approval.store import ApprovalStore
from clyra.cli import main
from clyra.cli._trust_file import key_entry
from clyra.evidence import instant, load_signer, new_uuid7
from clyra.policy.load import LoadedPolicy, read_policy

Role = Literal["approver", "issuer"]

TODAY = date(2026, 1, 1)
PEOPLE = ("ana", "ben", "cem", "dia")
ORDERS = "models/orders.sql"
POLICY = """\
version: 1
name: harbor
environments:
  production: {{targets: [prod], mode: enforce, production: true}}
data_platform:
  rules:
    - {{id: x_tables, effect: require_approval, mode: enforce, when: [{{field: change.models, op: gt, value: 0}}]}}
enforcement:
  approvals:
    quorum: {quorum}
    standing: {{valid_for: 30d, targets: [prod]}}
    roles: {roles}
compliance:
  segregation_of_duties: {{enabled: {duties}, identities: {identities}}}
  break_glass: {{roles: [on_call], review_within: 24h}}
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The code of the error, from the end of its line."""
        return self.err.rstrip().rpartition("[")[2].rstrip("]")


class Team:
    """Some people, a runner with the issuer key, and the trust file that knows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trust = folder / "trust" / "clyra.trust.json"
        self.kids = {name: self._key(name, "approver") for name in PEOPLE}
        self.issuer = self._key("runner", "issuer")
        self.write_trust({**{name: {} for name in PEOPLE}, "runner": {}})

    def key(self, name: str) -> str:
        return f"key:{self.kids[name]}"

    def config(self, name: str) -> Path:
        return self.folder / "people" / name

    def write_trust(self, people: Mapping[str, Mapping[str, Any]], **members: Any) -> None:
        """Trust the keys of ``people``, with what their entries say beside the key."""
        entries = []
        for name, extra in people.items():
            role: Role = "issuer" if name == "runner" else "approver"
            signer = load_signer(role, self.environ(name), create=False)
            row = key_entry(signer.public_key, signer.alg, role, "2020-01-01T00:00:00.000000Z")
            entries.append({**row, **extra})
        self.trust.parent.mkdir(exist_ok=True)
        self.trust.write_text(json.dumps({"version": 1, "keys": entries, **members}))

    def trust_also(self, rows: Sequence[Mapping[str, str]]) -> None:
        document = json.loads(self.trust.read_text())
        self.trust.write_text(json.dumps({**document, "keys": [*document["keys"], *rows]}))

    def policy(self, *, quorum: int = 1, duties: bool = False, roles: Mapping[str, Sequence[str]] | None = None) -> str:
        identities = {self.key(name): [f"{name}@example.invalid"] for name in PEOPLE}
        return POLICY.format(
            quorum=quorum,
            duties=json.dumps(duties),
            identities=json.dumps(identities),
            roles=json.dumps(roles or {"on_call": [self.key("dia")], "reviewer": [self.key("cem")]}),
        )

    def environ(self, name: str) -> dict[str, str]:
        return {"CLYRA_CONFIG_DIR": str(self.config(name))}

    def _key(self, name: str, role: Role) -> str:
        return load_signer(role, self.environ(name)).keyid


class Clone:
    """A checkout of the project with an approvals folder of its own, in which commands run."""

    def __init__(self, team: Team, path: Path) -> None:
        self.team = team
        self.path = path
        self.variables: dict[str, str] = {}

    @property
    def store(self) -> ApprovalStore:
        return ApprovalStore.locate(self.path / ".clyra", self.variables)

    @property
    def git_environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.team.folder), "GIT_CONFIG_GLOBAL": os.devnull}

    def git(self, *words: str, author: str = "ana", committer: str | None = None) -> str:
        who = {
            "GIT_AUTHOR_NAME": author,
            "GIT_AUTHOR_EMAIL": f"{author}@example.invalid",
            "GIT_COMMITTER_NAME": committer or author,
            "GIT_COMMITTER_EMAIL": f"{committer or author}@example.invalid",
        }
        done = subprocess.run(
            ("git", *words), cwd=self.path, env=self.git_environ | who, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(
        self, files: Mapping[str, str], *, author: str = "ana", committer: str | None = None, **said: str
    ) -> str:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        message = said.get("message", "A change")
        self.git("commit", "-q", "--allow-empty", "-m", message, author=author, committer=committer)
        return self.git("rev-parse", "HEAD")

    def policy(self) -> LoadedPolicy:
        return read_policy((self.path / "clyra.policy.yaml").read_bytes(), now=TODAY)

    def plan(self, target: str = "prod") -> DbtPlan:
        """A plan as dbt's would be: one node for each model, the macros by their text."""
        models = sorted((self.path / "models").glob("*.sql"))
        macros = sorted((self.path / "macros").glob("*.sql"))
        return build_plan(
            project="harbor",
            target=target,
            tree=project_tree(self.path, self.git_environ).clean,
            nodes=[PlanNode(f"model.harbor.{path.stem}", _digest(path), _digest(path)) for path in models],
            macros_sha256=sha256(b"".join(path.read_bytes() for path in macros)).hexdigest(),
            hooks_sha256="0" * 64,
            env={},
            seeds={},
            dbt_version="1.11.16",
            adapter_type="duckdb",
            adapter_version="1.11.1",
        )

    def request(self, *, store: bool = True, now_us: int | None = None, **changes: Any) -> ApprovalRequest:
        """What the run gate asks for what is checked out."""
        policy, plan = self.policy(), self.plan(changes.get("target", "prod"))
        duties = policy.document["compliance"]["segregation_of_duties"]
        people = contributors(
            self.path,
            policy_path=self.path / "clyra.policy.yaml",
            rules=["x_tables"],
            identities=duties["identities"],
            service_committers=duties["service_committers"],
            settled=self.store.settled("dbt:harbor/prod"),
            read_policy=lambda data: read_policy(data, now=TODAY).document,
            environ=self.git_environ,
        )
        moment = now_us or clock_us()
        members: dict[str, Any] = {
            "request_id": new_uuid7(moment, os.urandom(16)),
            "created_at": instant(moment),
            "tenant": "default",
            "project": "harbor",
            "target": "prod",
            "environment": "production",
            "audience": "dbt:harbor/prod",
            "actions": ("dbt.run",),
            "resources": tuple(sorted(f"db.main.{node.unique_id.rpartition('.')[2]}" for node in plan.nodes)),
            "payload_type": "dbt-plan/v1",
            "payload_sha256": plan.sha256,
            "tree": plan.tree,
            "commit": self.git("rev-parse", "HEAD"),
            "policy_sha256": policy.sha256,
            "decision": new_uuid7(moment, os.urandom(16)),
            "point": "run",
            "rules": (HeldRule("x_tables", "warning", "tables change only with a second pair of eyes"),),
            "facts": {"change.models": len(plan.nodes)},
            "risk": {
                "score": 32,
                "band": "medium",
                "factors": [
                    {"factor": "production", "weight": 2, "count": 1, "points": 2},
                    {"factor": "schema_change", "weight": 30, "count": 1, "points": 30},
                ],
            },
            "sub": "svc:deploy",
            "author": people.author,
            "author_basis": people.author_basis,
            "contributors": people.principals,
            "quorum": 2 if duties["enabled"] else int(policy.document["enforcement"]["approvals"]["quorum"]),
            "run_id": "run-1",
        }
        request = ApprovalRequest(**(members | changes))
        if store:
            digest = self.store.add_request(request.to_bytes(), plan.to_bytes())
            return self.store.request(digest)
        return request

    def run(self, who: str, *words: str, expect: int = 0, given: str | None = None, **variables: str) -> Said:
        """``clyra`` with these words, by somebody with their keys, in this checkout."""
        said = self.try_run(who, *words, given=given, **variables)
        assert said.code == expect, said
        return said

    def refused(self, who: str, *words: str, **variables: str) -> str:
        """The code with which the command is refused, whatever its exit code."""
        said = self.try_run(who, *words, **variables)
        assert said.code in (1, 64, 69), said
        return said.error

    def try_run(self, who: str, *words: str, given: str | None = None, **variables: str) -> Said:
        environ = self.team.environ(who) | {"CLYRA_TRUST": str(self.team.trust)} | self.variables | variables
        with _in(self.path, environ), click.testing.CliRunner().isolation(input=given) as (out, err, _):
            with pytest.raises(SystemExit) as left:
                main.run(list(words))
            return Said(int(left.value.code or 0), out.getvalue().decode(), err.getvalue().decode())

    def approve(self, who: str, request: ApprovalRequest, *words: str) -> Any:
        return self.run(who, "approve", request.sha256, "--yes", "--json", *words).json

    def mint(self, *words: str, **variables: str) -> Any:
        said = self.try_run("runner", "approval", "mint", "--target", "prod", "--json", *words, **variables)
        assert said.code == 0, said
        return said.json


def clock_us() -> int:
    return time.time_ns() // 1000


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@contextmanager
def _in(folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    before, cwd = dict(os.environ), os.getcwd()
    for name in [name for name in os.environ if name.startswith("CLYRA_")]:
        del os.environ[name]
    os.environ.update(environ)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


@pytest.fixture
def project(team: Team, tmp_path: Path) -> Clone:
    """The project, written by ana and committed on main."""
    path = tmp_path / "harbor"
    path.mkdir()
    clone = Clone(team, path)
    clone.git("init", "-q", "-b", "main")
    clone.commit(
        {
            "dbt_project.yml": "name: harbor\nversion: '1.0'\nprofile: harbor\n",
            ".gitignore": ".clyra/\n",
            "packages.yml": "packages: []\n",
            "macros/cents.sql": "{% macro cents(x) %}{{ x }} / 100{% endmacro %}",
            ORDERS: "select 1 as id",
            "clyra.policy.yaml": team.policy(),
        }
    )
    return clone


@pytest.fixture
def remote(project: Clone, tmp_path: Path) -> Path:
    """A bare repository to which the project was pushed."""
    path = tmp_path / "origin.git"
    project.git("init", "-q", "--bare", "-b", "main", str(path))
    project.git("remote", "add", "origin", str(path))
    project.git("push", "-q", "origin", "main")
    return path


@pytest.fixture
def clone_of(team: Team, remote: Path, project: Clone, tmp_path: Path) -> Callable[[str], Clone]:
    """Makes another clone of the remote, with an approvals folder of its own."""

    def make(name: str) -> Clone:
        path = tmp_path / name
        project.git("clone", "-q", f"file://{remote}", str(path))
        return Clone(team, path)

    return make


@pytest.fixture
def issuer_keys(team: Team) -> Any:
    return keys_of(json.loads(team.trust.read_text()), "issuer")
