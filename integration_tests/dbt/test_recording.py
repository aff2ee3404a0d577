# SPDX-License-Identifier: Apache-2.0
"""A plain dbt command leaves one sealed bundle that says what it did."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Evidence, Ledger

LITERALS = (
    b"row-value-9f3a",
    b"Borealis",
    b"hook-literal-7c1e",
    b"model-literal-5d20",
    b"post-hook-literal-1b44",
    b"unit-test-literal-3e8b",
    b"select",
    b"weightless where",
)


def results_of(ledger: Ledger) -> dict[str, str]:
    """dbt's own results by node, hooks left out."""
    results = json.loads((ledger.path / "target" / "run_results.json").read_text())["results"]
    return {found["unique_id"]: found["status"] for found in results if not found["unique_id"].startswith("operation.")}


def referenced(evidence: Evidence) -> dict[str, str]:
    return {reference["name"]: reference["sha256"] for reference in evidence.manifest["references"]}


def test_build_leaves_one_bundle_that_verifies(ledger: Ledger) -> None:
    printed = ledger.dbt("build").stdout
    evidence = ledger.bundle()
    found = ledger.verify(evidence)
    assert (found.verdict, found.code, found.warnings) == ("valid", None, [])
    assert f"clyra: evidence of this run is in {evidence.path.relative_to(ledger.path)}" in printed
    assert ledger.journals() == []
    assert (ledger.folder / ".gitignore").read_text() == "*\n"


def test_build_records_every_node_as_dbt_does(ledger: Ledger) -> None:
    ledger.dbt("build")
    evidence = ledger.bundle()
    assert evidence.statuses() == results_of(ledger)
    assert (evidence.run["status"], evidence.run["command"], evidence.run["capture"]) == (
        "success",
        "build",
        "recorded",
    )
    assert evidence.run["counts"]["tests_passed"] == 4
    assert [hook["name"] for hook in evidence.events("hook.finished")] == [
        "ledger.on-run-start.0",
        "ledger.on-run-end.0",
    ]
    assert evidence.manifest["labels"] == {"team": "harbour"}
    (level,) = evidence.manifest["governance"]["sla"]
    assert (level["name"], level["limit_us"], level["met"]) == ("dbt_run", 600_000_000, True)


def test_nodes_and_lineage_say_what_ran_from_what(on_duckdb: Ledger) -> None:
    on_duckdb.dbt("build", "--select", "+totals", "--exclude-resource-type", "test", "unit_test")
    evidence = on_duckdb.bundle()
    nodes = evidence.nodes()
    compiled = (on_duckdb.path / "target/compiled/ledger/models/totals.sql").read_text()
    assert nodes["model.ledger.totals"]["path"] == "models/totals.sql"
    assert nodes["model.ledger.totals"]["contract_enforced"] is True
    assert nodes["model.ledger.totals"]["compiled_sha256"] == hashlib.sha256(compiled.encode()).hexdigest()
    edges = {(edge["from"], edge["to"]) for edge in evidence.lineage()["edges"]}
    assert edges == {("seed.ledger.ships", "model.ledger.heavy"), ("model.ledger.heavy", "model.ledger.totals")}


def test_dbt_artifacts_are_referenced_and_kept_once(on_duckdb: Ledger) -> None:
    on_duckdb.dbt("seed")
    evidence = on_duckdb.bundle()
    for name, digest in referenced(evidence).items():
        assert hashlib.sha256((on_duckdb.path / "target" / name).read_bytes()).hexdigest() == digest
        assert (on_duckdb.folder / "artifacts" / "sha256" / digest[:2] / digest).is_file()
    assert referenced(evidence).keys() == {"manifest.json", "run_results.json"}
    on_duckdb.dbt("--no-write-json", "seed")
    assert referenced(on_duckdb.bundles()[1]) == {}


def test_no_literal_row_variable_or_secret_reaches_the_bundle(ledger: Ledger) -> None:
    secret = "dbt-secret-5c77"
    given = json.dumps({"api_password": "vars-secret-2b90", "clyra_limits": {"dbt_run_s": 1}})
    ledger.dbt("build", "--vars", given, DBT_ENV_SECRET_TOKEN=secret)
    ledger.dbt("run-operation", "repaint", "--args", "{name: args-literal-77aa}")
    for evidence in ledger.bundles():
        found = evidence.all_bytes
        for literal in (*LITERALS, secret.encode(), b"vars-secret-2b90", b"args-literal-77aa", b"none-password"):
            assert literal not in found.replace(b'"verb":"select"', b""), literal
        if password := ledger.environment.get("DBT_ENV_SECRET_LEDGER_PASSWORD"):
            assert password.encode() not in found
    started = ledger.bundles()[0].events("run.started")[0]
    assert started["argv"] == ["dbt", "build", "--vars", "{api_password: ***, clyra_limits: ***}"]


def test_failed_model_and_failed_test_are_sealed(ledger: Ledger) -> None:
    ledger.write("models/broken.sql", "select * from {{ ref('ships') }} where absent_column = 1")
    ledger.write("models/after.sql", "select * from {{ ref('broken') }}")
    ledger.write("tests/finds_totals.sql", "select * from {{ ref('totals') }}")
    ledger.dbt("build", code=1)
    evidence = ledger.bundle()
    assert evidence.statuses() == results_of(ledger)
    assert evidence.run["status"] == "failed"
    assert evidence.statuses()["model.ledger.after"] == "skipped"
    assert (evidence.run["counts"]["failed_nodes"], evidence.run["counts"]["tests_failed"]) == (2, 1)
    (failed,) = [event for event in evidence.events("statement") if event["status"] == "error"]
    assert failed["unique_id"] == "model.ledger.broken"
    assert failed["verb"] == "create"
    assert ledger.verify(evidence).verdict == "valid"


def test_node_messages_are_there_as_digests_only(on_duckdb: Ledger) -> None:
    on_duckdb.write("tests/finds_ships.sql", "select * from {{ ref('ships') }}")
    on_duckdb.dbt("build", code=1)
    results = json.loads((on_duckdb.path / "target" / "run_results.json").read_text())["results"]
    messages = {found["unique_id"]: found["message"] for found in results}
    finished = {event["unique_id"]: event for event in on_duckdb.bundle().events("node.finished")}
    event = finished["test.ledger.finds_ships"]
    assert event["message_sha256"] == hashlib.sha256(messages["test.ledger.finds_ships"].encode()).hexdigest()
    assert event["failures"] == 3


def test_two_projects_of_one_repository_keep_their_evidence_apart(on_duckdb: Ledger) -> None:
    other = on_duckdb.path.parent / "other"
    shutil.copytree(on_duckdb.path, other)
    on_duckdb.dbt("seed")
    on_duckdb.dbt("seed", "--project-dir", str(other), "--profiles-dir", str(other))
    assert [evidence.run["command"] for evidence in on_duckdb.bundles()] == ["seed"]
    assert len(list(other.glob(".clyra/evidence/*/*/*.def.zip"))) == 1
