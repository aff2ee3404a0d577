# SPDX-License-Identifier: Apache-2.0
"""The gate with the commands and hosts that people use: orchestrators, retries, slim CI, pauses, killed processes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clyra.dbt.recovery import recover
from clyra.evidence import EvidenceFolder

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Finished, Governed

CLYRA = Path(sys.executable).with_name("clyra")


def clyra(governed: Governed, *arguments: str, code: int = 0) -> Finished:
    return governed.ledger.wait(
        governed.ledger.start(*arguments, environment=governed.environ, program=CLYRA), code=code
    )


@pytest.mark.parametrize(
    ("count", "at_once"), [pytest.param(20, 4, id="20"), pytest.param(300, 16, id="300", marks=pytest.mark.kill100)]
)
def test_one_standing_approval_carries_every_invocation_of_a_run(
    governed_on_duckdb: Governed, count: int, at_once: int
) -> None:
    governed = governed_on_duckdb
    # DuckDB's file takes one writer, so each invocation builds in memory.
    profiles = governed.path / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("path: ledger.duckdb", "path: ':memory:'"))
    with (governed.path / "clyra.policy.yaml").open("a") as policy:
        policy.write("enforcement: {approvals: {standing: {valid_for: 30d}}}\n")
    for number in range(count):
        governed.ledger.write(f"models/many/m{number}.sql", "{{ config(materialized='table') }} select 1 as id")
    governed.commit()
    request = governed.approve(governed.ask("run", "--select", "many", run_id="run-1"), standing_s=86_400)

    def one(number: int) -> None:
        # Each task mints, as it would on a runner; the run is the same.
        token = governed.mint(request, "dag-1")
        governed.dbt("-q", "run", "--select", f"m{number}", token=token, CLYRA_RUN_ID="dag-1")

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(count)))
    found = [evidence for evidence in governed.ledger.bundles() if evidence.run["run_id"] == "dag-1"]
    assert sorted(evidence.run["part"] for evidence in found) == list(range(1, count + 1))
    for evidence in found:
        governed.verify(evidence)
        assert len(evidence.manifest["governance"]["approvals"]) == 1


RUNNER = """
import json, os, sys
from dbt.cli.main import dbtRunner
codes = []
for arguments in json.loads(sys.argv[1]):
    result = dbtRunner().invoke(["-q", *arguments])
    codes.append("ok" if result.success else str(result.exception))
left = [name for name in os.environ if name.startswith(("CLYRA_APPROVAL_TOKEN", "CLYRA_RESUME"))]
print(json.dumps([codes, left]))
"""


def test_commands_of_one_process_are_judged_each_with_the_run_s_token(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    token = governed.approved("build", run_id="run-1")
    commands = json.dumps([["seed"], ["run"], ["build"], ["compile"]])
    environment = {**governed.environ, "CLYRA_APPROVAL_TOKEN_FILE": str(token), "CLYRA_RUN_ID": "run-1"}
    process = governed.ledger.start("-c", RUNNER, commands, environment=environment, program=Path(sys.executable))
    printed = governed.ledger.wait(process, code=0).stdout
    assert json.loads(printed.splitlines()[-1]) == [["ok"] * 4, []]
    used = [len(evidence.events("approval.used")) for evidence in governed.ledger.bundles()]
    # Seeding alone is held by nothing; compile builds what run does.
    assert used == [0, 0, 1, 1, 1]


def test_process_whose_command_was_refused_goes_on(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    commands = json.dumps([["run"], ["seed"]])
    environment = {**governed.environ, "CLYRA_RUN_ID": "run-1"}
    process = governed.ledger.start("-c", RUNNER, commands, environment=environment, program=Path(sys.executable))
    (first, second), _ = json.loads(governed.ledger.wait(process, code=0).stdout.splitlines()[-1])
    assert "approval_required" in first
    assert second == "ok"


def test_retry_is_judged_by_what_it_runs_again(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.ledger.write("models/late.sql", "{{ config(materialized='table') }} select * from late_source")
    governed.commit()
    token = governed.approved("build", run_id="run-1")
    governed.dbt("build", code=1, token=token, CLYRA_RUN_ID="run-1")
    assert governed.refused("retry", CLYRA_RUN_ID="run-9") == "approval_required"
    governed.dbt("retry", code=1, token=token, CLYRA_RUN_ID="run-1")
    evidence = governed.last()
    assert evidence.run["command"] == "retry"
    assert evidence.statuses() == {"model.ledger.late": "error"}
    assert evidence.events("decision")[0]["unique_id"] == "model.ledger.late"


def test_slim_run_and_clone_are_judged_by_what_they_select(governed_on_postgres: Governed) -> None:
    governed = governed_on_postgres
    governed.dbt("seed")
    token = governed.approved("build", run_id="run-1")
    governed.dbt("build", token=token, CLYRA_RUN_ID="run-1")
    state = governed.ledger.home / "state"
    shutil.copytree(governed.path / "target", state)
    governed.ledger.write("models/heavy.sql", (governed.path / "models/heavy.sql").read_text() + "\n-- edited")
    governed.commit()
    slim = ("run", "--select", "state:modified", "--defer", "--state", str(state))
    governed.dbt(*slim)
    assert governed.last().statuses() == {"model.ledger.heavy": "success"}
    wider = ("run", "--select", "state:modified+", "--defer", "--state", str(state))
    assert governed.refused(*wider, CLYRA_RUN_ID="run-2") == "approval_required"
    assert governed.refused("clone", "--state", str(state), CLYRA_RUN_ID="run-3") == "approval_required"


def test_plan_asks_without_running_anything(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    finished = clyra(governed, "dbt", "plan", "--", "build")
    digest = finished.stdout.strip()
    assert governed.store.request(digest).rule_ids == ("x_tables_are_approved",)
    assert not list(governed.path.glob("ledger.duckdb"))
    assert governed.ledger.bundles() == []
    told = json.loads(clyra(governed, "dbt", "plan", "--json", "--", "seed").stdout)
    assert told == {"outcome": "nothing_held"}
    request = governed.approve(governed.store.request(digest))
    assert request.run_id is not None
    governed.dbt("build", token=governed.mint(request, request.run_id), CLYRA_RUN_ID=request.run_id)


def test_plan_of_what_is_blocked_says_so_and_fails(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    text = (governed.path / "clyra.policy.yaml").read_text()
    (governed.path / "clyra.policy.yaml").write_text(text.replace("effect: require_approval", "effect: block"))
    finished = clyra(governed, "dbt", "plan", "--", "build", code=1)
    assert "code: blocked" in finished.stderr
    unjudged = clyra(governed, "dbt", "plan", "--", "docs", "generate", code=64)
    assert "not judged" in unjudged.stderr
    assert not list(governed.path.glob("ledger.duckdb"))


PAUSES = """
enforcement:
  checkpoints:
    - {id: every_build, at: before_run, when: [{field: dbt.command, op: eq, value: build}]}
"""


def test_checkpoint_pauses_the_run_until_people_let_it_go_on(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(PAUSES)
    governed.commit()
    assert governed.refused("build", CLYRA_RUN_ID="run-1") == "checkpoint_pending"
    found = re.search(r"next: clyra checkpoint approve (\S+)", governed.said)
    assert found is not None
    (opened,) = governed.last().events("checkpoint.opened")
    assert opened["checkpoint_id"] == found[1]
    # The same run waits at the same pause.
    assert governed.refused("build", CLYRA_RUN_ID="run-1") == "checkpoint_pending"
    assert governed.store.checkpoints() == [found[1]]
    trust = ("--trust", str(governed.trust_path))
    clyra(governed, "checkpoint", "approve", found[1], "--yes", *trust)
    dbt = str(Path(sys.executable).with_name("dbt"))
    clyra(governed, "checkpoint", "resume", found[1], *trust, "--", dbt, "-q", "build")
    evidence = governed.last()
    (resumed,) = evidence.events("checkpoint.resumed")
    assert (resumed["checkpoint_id"], evidence.run["run_id"]) == (found[1], "run-1")
    assert evidence.run["status"] == "success"


def test_killed_run_is_recovered_with_its_policy_and_its_approval(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    fifo = governed.ledger.home / "fifo"
    governed.ledger.write(
        "models/waits.sql", f"{{{{ config(materialized='table') }}}} select * from read_csv('{fifo}', header=true)"
    )
    governed.commit()
    token = governed.approved("run", "--select", "waits", run_id="run-1")
    subprocess.run(["mkfifo", str(fifo)], check=True)
    environment = {**governed.environ, "CLYRA_APPROVAL_TOKEN_FILE": str(token), "CLYRA_RUN_ID": "run-1"}
    process = governed.ledger.start("run", "--select", "waits", environment=environment)
    # Opening the other end waits until the model reads.
    with fifo.open("wb"):
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (recovered,) = recover(EvidenceFolder.locate(governed.path, {}), {"HOME": str(governed.ledger.home)})
    assert recovered.error is None
    evidence = governed.last()
    assert (evidence.run["capture"], evidence.run["status"]) == ("recovered", "interrupted")
    assert len(evidence.manifest["governance"]["approvals"]) == 1
    assert evidence.manifest["risk"]["score"] > 0
