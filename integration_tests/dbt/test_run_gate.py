# SPDX-License-Identifier: Apache-2.0
"""Under an enforcing policy a run is refused before its first statement until it is approved, and sealed either way."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clyra.postgres import Server

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Governed

CLYRA = Path(sys.executable).with_name("clyra")
STATEMENT = re.compile(r"LOG:  (?:statement|execute)")


def test_refused_run_sends_nothing_and_names_the_next_step(
    governed_on_postgres: Governed, postgres_server: Server
) -> None:
    governed = governed_on_postgres
    assert postgres_server.log_path is not None
    start = postgres_server.log_path.stat().st_size
    printed = governed.dbt("build", code=2, CLYRA_RUN_ID="run-1").stdout
    with postgres_server.log_path.open("rb") as log:
        log.seek(start)
        assert STATEMENT.findall(log.read().decode()) == []
    request = governed.store.requests()[0]
    assert "code: approval_required" in printed
    assert "rule: x_tables_are_approved (Tables are approved)" in printed
    assert "node: model.ledger.totals" in printed
    assert f"next: clyra approve {request.sha256[:12]}" in printed
    evidence = governed.last()
    assert (evidence.run["status"], evidence.manifest["decisions"]["require_approval"]) == ("refused", 1)
    (decision,) = evidence.events("decision")
    assert (decision["point"], decision["mode"], decision["code"]) == ("run", "enforce", "x_tables_are_approved")
    assert (decision["unique_id"], decision["request_sha256"]) == ("model.ledger.totals", request.sha256)
    assert evidence.events("run.started")[0]["gates"]["run"] is True


def test_approved_run_goes_and_its_bundle_proves_who_approved(governed: Governed) -> None:
    token = governed.approved("build", run_id="run-1")
    governed.dbt("build", token=token, CLYRA_RUN_ID="run-1")
    evidence = governed.last()
    (approval,) = evidence.manifest["governance"]["approvals"]
    (decision,) = evidence.events("decision")
    (used,) = evidence.events("approval.used")
    assert decision["jti"] == used["jti"] == approval["jti"]
    roles = {entry["role"] for entry in evidence.manifest["files"]}
    assert {"policy", "plan", "approval_request", "approval_certificate"} <= roles
    assert evidence.run["status"] == "success"
    assert evidence.manifest["risk"]["score"] > 0
    assert token.read_bytes() not in evidence.all_bytes


def test_same_run_may_present_its_token_again_and_no_other_may(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    token = governed.approved("build", run_id="run-1")
    governed.dbt("seed", token=token, CLYRA_RUN_ID="run-1")
    # As an orchestrator does: the same task again, then a later task of the same run.
    governed.dbt("build", token=token, CLYRA_RUN_ID="run-1")
    governed.dbt("run", "--select", "totals", token=token, CLYRA_RUN_ID="run-1")
    assert governed.refused("run", token=token, CLYRA_RUN_ID="run-2") == "approval_run_id"
    assert [one.run["part"] for one in governed.ledger.bundles() if one.run["run_id"] == "run-1"] == [1, 2, 3, 4]
    request = governed.store.approved()[0]
    elsewhere = governed.mint(request, "run-1")
    governed.store.bind(elsewhere.name.removeprefix("token-"), "run-9")
    assert governed.refused("run", token=elsewhere, CLYRA_RUN_ID="run-1") == "approval_used"


def test_token_that_expired_or_that_nobody_remembers_is_refused(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    request = governed.approve(governed.ask("build", run_id="run-1"))
    # dbt takes longer to start than this one lives.
    expired = governed.mint(request, "run-1", ttl_s=1)
    assert governed.refused("build", token=expired, CLYRA_RUN_ID="run-1") == "approval_expired"
    foreign = governed.mint(request, "run-1", known=False)
    assert governed.refused("build", token=foreign, CLYRA_RUN_ID="run-1") == "approval_single_use"
    damaged = governed.mint(request, "run-1")
    damaged.write_text(damaged.read_text()[:-8])
    assert governed.refused("build", token=damaged, CLYRA_RUN_ID="run-1").startswith("approval_")
    assert not list(governed.ledger.path.glob("ledger.duckdb"))


def test_certificate_that_is_gone_proves_nothing(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    token = governed.approved("build", run_id="run-1")
    for path in (governed.store.root / "certificates").iterdir():
        path.unlink()
    assert governed.refused("build", token=token, CLYRA_RUN_ID="run-1") == "approval_unproven"


def test_another_tree_and_one_with_changes_have_their_codes(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    token = governed.approved("build", run_id="run-1")
    governed.ledger.write("models/more.sql", "select 1 as id")
    assert governed.refused("build", token=token, CLYRA_RUN_ID="run-1") == "tree_dirty"
    assert governed.refused("build", CLYRA_RUN_ID="run-1") == "tree_dirty"
    governed.commit()
    assert governed.refused("build", token=token, CLYRA_RUN_ID="run-1") == "approval_tree"


def test_tree_that_nobody_knows_is_refused(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    (governed.path / ".git").rename(governed.ledger.home / "git")
    assert governed.refused("build", CLYRA_RUN_ID="run-1") == "tree_unknown"


UNBOUND = """
data_platform:
  rules:
    - {id: x_all, effect: require_approval, mode: enforce, when: [{field: dbt.command, op: eq, value: run}]}
enforcement:
  approvals: {tree_binding: false}
"""
# What is edited, how, and the words of the refusal. The tree is not bound here, so nothing else gives the edit away.
EDITS = {
    "macro": ("macros/repaint.sql", "run_query", "run_query ", "macro code changed"),
    "package": ("dbt_packages/paint/macros/colour.sql", "red", "blue", "macro code changed"),
    "hook": ("dbt_project.yml", "select 1 as ended", "select 2 as ended", "hooks changed"),
    "config": (
        "models/models.yml",
        "{enforced: true}",
        "{enforced: true}, tags: [x]",
        "totals has another configuration",
    ),
    "code": ("models/totals.sql", "count(*)", "count(1)", "totals has other code"),
}


def paint(governed: Governed) -> None:
    """Install a package, as ``dbt deps`` leaves it: git does not know it."""
    governed.ledger.write("dbt_packages/paint/dbt_project.yml", "name: paint\nversion: '1.0'\nprofile: ledger\n")
    governed.ledger.write("dbt_packages/paint/macros/colour.sql", "{% macro colour() %}red{% endmacro %}")


def test_whatever_changed_since_voids_the_approval(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(UNBOUND)
    paint(governed)
    governed.dbt("seed")
    token = governed.approved("run", run_id="run-1")
    for name, before, after, words in EDITS.values():
        path = governed.path / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))
        assert governed.refused("run", token=token, CLYRA_RUN_ID="run-1") == "plan_changed"
        assert words in governed.said
        path.write_text(text)
    governed.dbt("run", token=token, CLYRA_RUN_ID="run-1")


def test_value_of_the_environment_and_data_of_a_large_seed_are_bound_and_dates_are_not(
    governed_on_duckdb: Governed,
) -> None:
    governed = governed_on_duckdb
    governed.policy(UNBOUND.replace("value: run}", "value: build}"))
    governed.ledger.write(
        "models/paced.sql", "select '{{ env_var('LEDGER_PACE', 'slow') }}' as pace, '{{ var('day', '') }}' as d"
    )
    seed = "id,note\n" + "".join(f"{number},{'x' * 40}\n" for number in range(30_000))
    governed.ledger.write("seeds/large.csv", seed)
    token = governed.approved("build", "--select", "paced", "large", run_id="run-1")

    def run(day: str) -> tuple[str, ...]:
        return ("build", "--select", "paced", "large", "--vars", f"{{day: '{day}'}}")

    governed.dbt(*run("2026-01-31"), token=token, CLYRA_RUN_ID="run-1")
    governed.dbt(*run("2026-02-01"), token=token, CLYRA_RUN_ID="run-1")
    assert governed.refused(*run("2026-02-02"), token=token, CLYRA_RUN_ID="run-1", LEDGER_PACE="fast") == "plan_changed"
    assert "environment variable LEDGER_PACE has another value" in governed.said
    governed.ledger.write("seeds/large.csv", seed.replace("1,x", "1,y", 1))
    assert governed.refused(*run("2026-02-02"), token=token, CLYRA_RUN_ID="run-1") == "plan_changed"
    assert "seed file seeds/large.csv has other data" in governed.said


def test_vars_are_bound_where_the_policy_binds_them(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(UNBOUND.replace("tree_binding: false", "tree_binding: false, bind_vars: true"))
    governed.dbt("seed")
    token = governed.approved("run", "--vars", "{day: '1'}", run_id="run-1")
    governed.dbt("run", "--vars", "{day: '1'}", token=token, CLYRA_RUN_ID="run-1")
    assert governed.refused("run", "--vars", "{day: '2'}", token=token, CLYRA_RUN_ID="run-1") == "plan_changed"
    assert "vars have other values" in governed.said


EMERGENCY = """
data_platform:
  rules:
    - {id: x_no_tables, effect: block, mode: enforce, when: [{field: dbt.materialized, op: eq, value: table}]}
enforcement:
  approvals: {roles: {on_call: ["KEY"]}}
compliance:
  break_glass: {roles: [on_call], review_within: 24h}
"""


def clyra(governed: Governed, *arguments: str) -> None:
    process = governed.ledger.start(*arguments, environment=governed.environ, program=CLYRA)
    governed.ledger.wait(process, code=0)


def test_one_person_of_a_listed_role_may_break_the_glass(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(EMERGENCY.replace("KEY", f"key:{governed.signer('approver').keyid}"))
    governed.commit()
    assert governed.refused("build", CLYRA_RUN_ID="run-1") == "blocked"
    (request,) = governed.store.requests()
    assert f"next: in an emergency: clyra approve {request.sha256[:12]} --break-glass" in governed.said
    ordinary = governed.mint(governed.approve(request), "run-1")
    assert governed.refused("build", token=ordinary, CLYRA_RUN_ID="run-1") == "blocked"
    (governed.path / ".clyra" / "approvals").rename(governed.ledger.home / "earlier")
    assert governed.refused("build", CLYRA_RUN_ID="run-1") == "blocked"
    clyra(governed, "approve", "--break-glass", "--reason", "invoices are wrong", "--yes")
    token = governed.ledger.home / "emergency"
    clyra(governed, "approval", "mint", "--target", "duckdb", "--run-id", "run-1", "--out", str(token))
    governed.dbt("build", token=token, CLYRA_RUN_ID="run-1")
    evidence = governed.last()
    (used,) = evidence.events("approval.used")
    assert used["break_glass"] is True
    factors = {factor["factor"]: factor["count"] for factor in evidence.manifest["risk"]["factors"]}
    assert factors["approval_bypassed"] == 1
    assert [warning.code for warning in governed.verify(evidence).warnings] == ["break_glass_unreviewed"]
