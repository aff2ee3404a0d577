# SPDX-License-Identifier: Apache-2.0
"""The same with dbt itself: its gate asks, pauses and takes the tokens, and the bundle shows who approved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clyra.cli._trust_file import key_entry
from clyra.evidence import load_signer
from clyra.verify import verify_bundle

if TYPE_CHECKING:
    from integration_tests.approvals.conftest import Clone

PROFILES = """\
harbor:
  target: prod
  outputs:
    prod: {type: duckdb, path: "{{ env_var('HARBOR_DB') }}"}
"""
PAUSE = """\
  checkpoints:
    - {id: x_month_end, at: before_run, when: [{field: change.models, op: gt, value: 1}], roles: [reviewer]}
compliance:
"""


class Runner:
    """The deploy job: dbt and clyra as processes of their own, with the runner's keys and no terminal."""

    def __init__(self, project: Clone, folder: Path) -> None:
        self.project = project
        self._folder = folder
        (folder / "profiles.yml").write_text(PROFILES)

    def __call__(self, *words: str, who: str = "runner", expect: int = 0, **variables: str) -> str:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("CLYRA_")}
        environ = plain | {
            **self.project.team.environ(who),
            "CLYRA_TRUST": str(self.project.team.trust),
            "DBT_PROFILES_DIR": str(self._folder),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "HARBOR_DB": str(self._folder / "harbor.duckdb"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            words,
            cwd=self.project.path,
            env=environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout
        return done.stdout

    def bundle(self) -> Path:
        return sorted((self.project.path / ".clyra" / "evidence").rglob("*.def.zip"))[-1]


@pytest.fixture
def runner(project: Clone, tmp_path: Path) -> Runner:
    team = project.team
    bundle = load_signer("bundle", team.environ("runner"))
    row = key_entry(bundle.public_key, bundle.alg, "bundle", "2020-01-01T00:00:00.000000Z")
    log = load_signer("log", team.environ("runner"))
    extra = [row, key_entry(log.public_key, log.alg, "log", "2020-01-01T00:00:00.000000Z")]
    team.trust_also(extra)
    project.commit({".gitignore": ".clyra/\ntarget/\nlogs/\n.user.yml\n"}, author="ana")
    return Runner(project, tmp_path)


def test_dbt_is_held_approved_and_shows_it(runner: Runner, tmp_path: Path) -> None:
    project = runner.project
    held = runner("dbt", "build", expect=2, CLYRA_RUN_ID="run-1")
    assert "approval_required" in held
    (request,) = project.store.requests()
    assert request.contributors == (project.team.key("ana"),)
    assert project.refused("ana", "approve", "--yes") == "approval_duties"
    text = project.run("ben", "approve", "--yes").out
    assert "table" in text or "view" in text
    assert "harbor.main.orders" in text
    token = tmp_path / "token"
    runner("clyra", "approval", "mint", "--target", "prod", "--out", str(token))
    runner("dbt", "build", CLYRA_RUN_ID="run-1", CLYRA_APPROVAL_TOKEN_FILE=str(token))
    verified = verify_bundle(runner.bundle(), trust=str(project.team.trust))
    assert verified.verdict == "valid", verified.as_dict()
    assert project.run("ana", "approval", "list", "--json").json["tokens"][0]["state"] == "used"
    assert "nothing to review" in project.run("cem", "approval", "review", str(runner.bundle()), "--yes", expect=64).err
    other = runner("dbt", "build", expect=2, CLYRA_RUN_ID="run-2", CLYRA_APPROVAL_TOKEN_FILE=str(token))
    assert "approval_run_id" in other


def test_an_emergency_is_valid_once_another_person_has_reviewed_it(runner: Runner, tmp_path: Path) -> None:
    project, token = runner.project, tmp_path / "token"
    runner("dbt", "build", expect=2, CLYRA_RUN_ID="run-1")
    project.run("dia", "approve", "--yes", "--break-glass", "--reason", "invoices are wrong")
    runner("clyra", "approval", "mint", "--target", "prod", "--out", str(token))
    runner("dbt", "build", CLYRA_RUN_ID="run-1", CLYRA_APPROVAL_TOKEN_FILE=str(token))
    bundle = runner.bundle()
    before = verify_bundle(bundle, trust=str(project.team.trust))
    assert before.verdict == "warning", before.as_dict()
    assert "break_glass_unreviewed" in str(before.as_dict()["warnings"])
    assert project.refused("dia", "approval", "review", str(bundle), "--yes") == "approval_duties"
    assert "nobody was asked" in project.run("ben", "approval", "review", str(bundle), expect=64).err
    assert "invoices are wrong" in project.run("ben", "approval", "review", str(bundle), "--yes").out
    assert verify_bundle(bundle, trust=str(project.team.trust)).verdict == "valid"


def test_dbt_pauses_and_goes_on_by_resume(runner: Runner) -> None:
    project = runner.project
    paused = project.team.policy().replace("compliance:\n", PAUSE)
    project.commit({"clyra.policy.yaml": paused, "models/customers.sql": "select 1 as id"}, author="ana")
    held = runner("dbt", "build", expect=2, CLYRA_RUN_ID="run-1")
    assert "checkpoint_pending" in held
    (row,) = project.run("ana", "checkpoint", "list", "--json").json["checkpoints"]
    assert (row["checkpoint"], row["run_id"], row["roles"]) == ("x_month_end", "run-1", ["reviewer"])
    resume = ("clyra", "checkpoint", "resume", row["id"], "--", "dbt", "build")
    assert "approval_quorum" in runner(*resume, expect=1)
    project.run("cem", "checkpoint", "approve", row["id"], "--yes")
    runner(*resume)
    assert verify_bundle(runner.bundle(), trust=str(project.team.trust)).verdict == "valid"
    assert project.run("ana", "checkpoint", "show", row["id"], "--json").json["status"] == "resumed"
    assert "approval_used" in runner(*resume, expect=1)
