# SPDX-License-Identifier: Apache-2.0
"""Runs that pause: listed, approved, denied, and resumed by a command without a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.request import ApprovalRequest
from clyra.evidence import load_signer, new_uuid7
from clyra.policy.checkpoint import PausedRun
from clyra.policy.pause import load_checkpoint, open_checkpoint

if TYPE_CHECKING:
    from integration_tests.approvals.conftest import Clone

# What the gate in dbt does when the command comes back: judge both tokens again, and use the pause up.
GATE = """
import json, os, stat, sys, time
from pathlib import Path
from clyra.approval.keys import keys_of
from clyra.approval.store import ApprovalStore
from clyra.approval.token import Expectation, check_token
from clyra.policy.checkpoint import Now
from clyra.policy.pause import check_resume
from clyra.spec import ClyraError

asked = json.loads(sys.argv[1])
files = [Path(os.environ[name]) for name in ("CLYRA_APPROVAL_TOKEN_FILE", "CLYRA_RESUME_TOKEN_FILE")]
approval, waiting = (path.read_text().strip() for path in files)
assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
assert "PRIVATE KEY" not in "".join(os.environ.values())
keys = keys_of(json.loads(Path(os.environ["CLYRA_TRUST"]).read_text()), "issuer")
store, now_s, run_id = ApprovalStore(Path(asked["store"])), int(time.time()), os.environ["CLYRA_RUN_ID"]
try:
    checked = check_token(
        approval,
        keys=keys,
        expected=Expectation(
            audience=asked["audience"], tenant="default", run_id=run_id, action="dbt.run", tree=asked["tree"],
            payload_type="dbt-plan/v1", payload_sha256=asked["payload"], policies=frozenset([asked["policy"]]),
        ),
        now_s=now_s,
        revoked=store.revoked(),
        used_by=store.used_by,
    )
    now = Now(
        run_id=run_id, payload_sha256=asked["payload"], tree=asked["tree"], policy_sha256=asked["policy"], now_s=now_s
    )
    check_resume(
        store, waiting, keys=keys, audience=asked["audience"], tenant="default", now=now, approval=checked, roles={}
    )
except ClyraError as exc:
    print(exc.code)
    sys.exit(2)
print(json.dumps({"run_id": run_id, "files": [str(path) for path in files]}))
"""


def paused(project: Clone, **changes: Any) -> tuple[PausedRun, ApprovalRequest, str]:
    """A run that paused before it began, with the resume token that it printed."""
    request = project.request(checkpoint="x_pause")
    now_s = int(time.time())
    members: dict[str, Any] = {
        "checkpoint_id": new_uuid7(now_s * 1_000_000, os.urandom(16)),
        "checkpoint": "x_pause",
        "at": "before_run",
        "run_id": "run-1",
        "approvals": 1,
        "roles": (),
        "ttl_s": 3600,
        "now_s": now_s,
        "random": os.urandom(16),
        "issuer": load_signer("issuer", project.team.environ("runner"), create=False),
    }
    state, token = open_checkpoint(project.store, request, **(members | changes))
    return state, request, token


def gate(project: Clone, request: ApprovalRequest, **changes: str) -> list[str]:
    asked = {
        "store": str(project.store.root),
        "audience": request.audience,
        "tree": request.tree,
        "payload": request.payload_sha256,
        "policy": request.policy_sha256,
    }
    return [sys.executable, "-c", GATE, json.dumps(asked | changes)]


def resume(
    project: Clone, state: PausedRun, command: Sequence[str], *, who: str = "runner", **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command as a CI job runs it: a process of its own, no terminal, no input."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CLYRA_")}
    environ = plain | project.team.environ(who) | {"CLYRA_TRUST": str(project.team.trust)} | variables
    words = [sys.executable, "-c", "from clyra.cli.main import run; run()", "checkpoint", "resume", state.id, "--"]
    return subprocess.run(
        [*words, *command],
        cwd=project.path,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_paused_run_is_found_approved_and_goes_on(project: Clone) -> None:
    state, request, _ = paused(project)
    listed = project.run("ana", "checkpoint", "list", "--json").json["checkpoints"]
    assert [(row["id"], row["status"], row["given"]) for row in listed] == [(state.id, "pending", 0)]
    assert f"clyra checkpoint approve {state.id}" in project.run("ana", "checkpoint", "show", state.id[:13]).out
    assert "1 of 1" in project.run("ben", "checkpoint", "approve", state.id[:13], "--yes").out
    assert f"resume {state.id}" in project.run("ana", "checkpoint", "show", state.id).out
    done = resume(project, state, gate(project, request))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["run_id"] == "run-1"
    assert not any(Path(file).exists() for file in said["files"]), "tokens are gone with the command"
    assert project.run("ana", "checkpoint", "list", "--json").json["checkpoints"][0]["status"] == "resumed"


def test_the_commands_exit_code_is_ours(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    assert resume(project, state, [sys.executable, "-c", "import sys; sys.exit(7)"]).returncode == 7
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]
    assert resume(project, state, killed).returncode == 128 + 15
    missing = resume(project, state, ["/no/such/command"])
    assert missing.returncode == 64
    assert "cannot be started" in missing.stderr


def test_before_it_is_approved_it_does_not_go_on(project: Clone) -> None:
    state, _, _ = paused(project)
    assert project.refused("runner", "checkpoint", "resume", state.id) == "approval_quorum"


def test_without_a_command_it_says_whether_it_may_go_on(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    assert project.run("runner", "checkpoint", "resume", state.id).out.startswith("ready")
    said = project.run("runner", "checkpoint", "resume", "--json", state.id).json
    assert (said["status"], said["run_id"]) == ("ready", "run-1")


def test_eight_that_resume_at_once_are_one_run(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    minted = project.run("runner", "approval", "mint", "--request", request.sha256, "--json").json
    token = project.team.folder / "token"
    token.write_text(minted["token"])
    waiting = project.team.folder / "waiting"
    waiting.write_text(paused_token(project, state))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CLYRA_")}
    environ = plain | {
        "CLYRA_TRUST": str(project.team.trust),
        "CLYRA_RUN_ID": "run-1",
        "CLYRA_APPROVAL_TOKEN_FILE": str(token),
        "CLYRA_RESUME_TOKEN_FILE": str(waiting),
    }
    for path in (token, waiting):
        path.chmod(0o600)
    runs = [subprocess.Popen(gate(project, request), env=environ, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = sorted(run.communicate(timeout=120)[0].strip() for run in runs)
    assert said[:7] == ["approval_used"] * 7
    assert json.loads(said[7])["run_id"] == "run-1"


def paused_token(project: Clone, state: PausedRun) -> str:
    from clyra.policy.pause import resume_token

    return resume_token(state, load_signer("issuer", project.team.environ("runner"), create=False))


def test_it_goes_on_once(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    assert resume(project, state, gate(project, request)).returncode == 0
    again = resume(project, state, gate(project, request))
    assert again.returncode == 1
    assert "[approval_used]" in again.stderr


def test_a_runner_without_the_key_takes_the_tokens_that_it_is_given(project: Clone, tmp_path: Path) -> None:
    state, request, printed = paused(project)
    project.approve("ben", request)
    token, waiting = tmp_path / "token", tmp_path / "waiting"
    project.mint("--out", str(token))
    waiting.write_text(printed + "\n")
    files = {"CLYRA_APPROVAL_TOKEN_FILE": str(token)}
    bare = resume(project, state, gate(project, request), who="nobody", **files)
    assert bare.returncode == 64
    assert "CLYRA_RESUME_TOKEN_FILE" in bare.stderr
    files["CLYRA_RESUME_TOKEN_FILE"] = str(waiting)
    done = resume(project, state, gate(project, request), who="nobody", **files)
    assert done.returncode == 0, done.stderr


def test_the_tokens_of_another_pause_do_not_fit(project: Clone, tmp_path: Path) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    token, waiting = tmp_path / "token", tmp_path / "waiting"
    project.mint("--out", str(token))
    project.commit({"models/orders.sql": "select 8"}, author="cem")
    other, _, printed = paused(project)
    waiting.write_text(printed)
    files = {"CLYRA_APPROVAL_TOKEN_FILE": str(token), "CLYRA_RESUME_TOKEN_FILE": str(waiting)}
    assert other.id != state.id
    assert project.refused("nobody", "checkpoint", "resume", state.id, **files) == "approval_tree"
    project.git("checkout", "-q", "HEAD~1")
    assert project.refused("nobody", "checkpoint", "resume", state.id, **files) == "approval_resource"


def test_a_tree_that_changed_does_not_go_on(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    project.commit({"models/orders.sql": "select 8"}, author="cem")
    assert project.refused("runner", "checkpoint", "resume", state.id) == "checkpoint_state"


def test_a_policy_that_changed_does_not_go_on(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    project.commit({"clyra.policy.yaml": project.team.policy(quorum=2)}, author="cem")
    assert project.refused("runner", "checkpoint", "resume", state.id) == "checkpoint_state"


def test_a_plan_that_changed_does_not_go_on(project: Clone) -> None:
    state, request, _ = paused(project)
    project.approve("ben", request)
    done = resume(project, state, gate(project, request, payload="0" * 64))
    assert (done.returncode, done.stdout.strip()) == (2, "approval_payload")
    assert load_checkpoint(project.store, state.id)[1] is None


def test_people_of_another_role_do_not_let_it_go_on(project: Clone) -> None:
    state, request, _ = paused(project, roles=("reviewer",))
    project.approve("ben", request)
    assert project.refused("runner", "checkpoint", "resume", state.id) == "checkpoint_pending"
    assert "in the role reviewer" in project.run("ana", "checkpoint", "show", state.id).out


def test_what_was_denied_does_not_go_on_and_says_why(project: Clone) -> None:
    state, request, _ = paused(project)
    project.run("ben", "checkpoint", "deny", state.id, "--reason", "not on a Friday")
    said = project.run("runner", "checkpoint", "resume", state.id, expect=1)
    assert said.error == "checkpoint_denied"
    assert "not on a Friday" in said.err
    assert project.refused("ben", "checkpoint", "approve", state.id, "--yes") == "checkpoint_denied"
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_revoked"
    assert project.refused("cem", "checkpoint", "deny", state.id, "--reason", "x") == "checkpoint_denied"
    assert "not on a Friday" in project.run("ana", "checkpoint", "show", state.id).out


def test_after_its_time_it_is_expired(project: Clone) -> None:
    state, request, _ = paused(project, ttl_s=1, now_s=1_700_000_000)
    assert project.run("ana", "checkpoint", "list", "--json").json["checkpoints"][0]["status"] == "expired"
    for words in (("approve", state.id, "--yes"), ("resume", state.id), ("deny", state.id, "--reason", "x")):
        assert project.refused("ben", "checkpoint", *words) == "checkpoint_expired"
    assert request.checkpoint == "x_pause"


@pytest.mark.parametrize("prefix", ["zzzz", "01", "../x"])
def test_a_checkpoint_that_does_not_exist_is_told(project: Clone, prefix: str) -> None:
    paused(project)
    assert project.refused("ana", "checkpoint", "show", prefix) == "checkpoint_unknown"


def test_where_nothing_paused_the_list_says_so(project: Clone) -> None:
    assert "No run has paused" in project.run("ana", "checkpoint", "list").out
