# SPDX-License-Identifier: Apache-2.0
"""Which commands leave a bundle, also when one process invokes many, as orchestrators do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

INVOKE = """
import json, sys, pathlib, shutil
from dbt.cli.main import dbtRunner
def bundles():
    return len(list(pathlib.Path().glob(".clyra/evidence/*/*/*.def.zip")))
counted = []
for arguments in json.loads(sys.argv[1]):
    if arguments == ["keep state"]:
        shutil.copytree("target", "state")
        continue
    before = bundles()
    result = dbtRunner().invoke(["--quiet", *arguments])
    counted.append([arguments[0], bundles() - before, result.success])
print("counted:", json.dumps(counted))
"""

RECORDED = [
    ["seed"],
    ["run"],
    ["snapshot"],
    ["test"],
    ["compile"],
    ["keep state"],
    ["build", "--select", "state:modified+", "--defer", "--state", "state"],
    ["clone", "--state", "state", "--full-refresh"],
    ["run-operation", "repaint", "--args", "{name: red}"],
    ["source", "freshness"],
    ["source", "snapshot-freshness"],
    ["run", "--select", "no_such_model"],
]
NOT_RECORDED = [
    ["ls"],
    ["list"],
    ["parse"],
    ["show", "--select", "totals"],
    ["docs", "generate"],
    ["debug"],
    ["deps"],
    ["clean"],
]


def invoke(ledger: Ledger, commands: list[list[str]]) -> list[list[object]]:
    printed = ledger.python(INVOKE, json.dumps(commands)).stdout
    counted: list[list[object]] = json.loads(printed.rpartition("counted:")[2])
    return counted


def test_each_recorded_command_leaves_one_bundle(on_duckdb: Ledger) -> None:
    counted = invoke(on_duckdb, RECORDED)
    assert [bundles for _, bundles, _ in counted] == [1] * len(counted), counted
    commands = [evidence.run["command"] for evidence in on_duckdb.bundles()]
    asked = ["seed", "run", "snapshot", "test", "compile", "build", "clone", "run-operation", *["freshness"] * 2, "run"]
    assert commands == asked
    invocations = {evidence.run["invocation_id"] for evidence in on_duckdb.bundles()}
    assert len(invocations) == len(asked)
    for evidence in on_duckdb.bundles():
        assert on_duckdb.verify(evidence).verdict == "valid", evidence.run["command"]
    operation = on_duckdb.bundles()[7]
    sent = [(event["unique_id"], event["verb"]) for event in operation.events("statement")]
    assert ("operation:repaint", "insert") in sent
    freshness = on_duckdb.bundles()[8]
    assert freshness.statuses() == {"source.ledger.harbour.ships": "warn"}
    assert [reference["name"] for reference in freshness.manifest["references"]] == ["manifest.json", "sources.json"]
    assert on_duckdb.bundles()[10].run["counts"]["nodes"] == 0


def test_commands_that_change_nothing_leave_none(on_duckdb: Ledger) -> None:
    on_duckdb.dbt("build", CLYRA_DISABLED="1")
    counted = invoke(on_duckdb, NOT_RECORDED)
    assert [bundles for _, bundles, _ in counted] == [0] * len(counted)
    assert [success for _, _, success in counted] == [True] * len(counted)
    assert not on_duckdb.folder.exists()


def test_retry_records_what_it_ran_again(on_duckdb: Ledger) -> None:
    on_duckdb.write("models/broken.sql", "select * from {{ ref('ships') }} where absent_column = 1")
    on_duckdb.dbt("build", code=1)
    on_duckdb.write("models/broken.sql", "select * from {{ ref('ships') }}")
    on_duckdb.dbt("retry")
    evidence = on_duckdb.bundles()[1]
    assert evidence.run["command"] == "retry"
    assert evidence.statuses() == {"model.ledger.broken": "success"}
    assert evidence.nodes()["model.ledger.broken"]["path"] == "models/broken.sql"
    assert {"from": "seed.ledger.ships", "to": "model.ledger.broken"}.items() <= evidence.lineage()["edges"][0].items()
    assert on_duckdb.verify(evidence).verdict == "valid"


GIVEN_MANIFEST = """
from dbt.cli.main import dbtRunner
manifest = dbtRunner().invoke(["--quiet", "parse"]).result
for _ in range(2):
    assert dbtRunner(manifest=manifest).invoke(["--quiet", "build"]).success
"""


def test_runner_with_a_manifest_of_its_own_is_recorded(on_duckdb: Ledger) -> None:
    on_duckdb.python(GIVEN_MANIFEST)
    first, second = on_duckdb.bundles()
    assert first.statuses() == second.statuses()
    assert len(first.statuses()) == 9
    assert first.run["run_id"] != second.run["run_id"]
    assert on_duckdb.verify(second).verdict == "valid"
