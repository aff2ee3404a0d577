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
    ["run-operation", "repaint", "--args", "{name: red}"],
    ["source", "freshness"],
    ["source", "snapshot-freshness"],
    ["run", "--select", "no_such_model"],
    ["clone", "--state", "state", "--full-refresh"],
]


def invoke(ledger: Ledger, commands: list[list[str]]) -> list[list[object]]:
    printed = ledger.python(INVOKE, json.dumps(commands)).stdout
    counted: list[list[object]] = json.loads(printed.rpartition("counted:")[2])
    return counted


def test_each_recorded_command_leaves_one_bundle(on_duckdb: Ledger) -> None:
    counted = invoke(on_duckdb, RECORDED)
    assert [bundles for _, bundles, _ in counted] == [1] * len(counted), counted
    commands = [evidence.run["command"] for evidence in on_duckdb.bundles()]
    asked = [
        "seed",
        "run",
        "snapshot",
        "test",
        "compile",
        "build",
        "run-operation",
        "freshness",
        "freshness",
        "run",
        "clone",
    ]
    assert commands == asked
    invocations = {evidence.run["invocation_id"] for evidence in on_duckdb.bundles()}
    assert len(invocations) == len(commands)
    for evidence in on_duckdb.bundles():
        assert on_duckdb.verify(evidence).verdict == "valid", evidence.run["command"]
    operation = on_duckdb.bundles()[6]
    sent = [(event["unique_id"], event["verb"]) for event in operation.events("statement")]
    assert ("operation:repaint", "insert") in sent
    freshness = on_duckdb.bundles()[7]
    assert freshness.statuses() == {"source.ledger.harbour.ships": "warn"}
    assert [reference["name"] for reference in freshness.manifest["references"]] == ["manifest.json", "sources.json"]
    assert on_duckdb.bundles()[9].run["counts"]["nodes"] == 0


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
