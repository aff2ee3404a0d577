# SPDX-License-Identifier: Apache-2.0
"""What a policy does where it enforces, where it does not, and where it does not load."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from clyra.postgres import Server

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Governed

BLOCKS = """
data_platform:
  rules:
    - id: x_no_tables
      effect: block
      mode: enforce
      when: [{field: dbt.materialized, op: eq, value: table}]
      fix: make it a view
"""


def in_shadow(governed: Governed, text: str) -> None:
    governed.policy(text)
    path = governed.path / "clyra.policy.yaml"
    path.write_text(path.read_text().replace("mode: enforce}", "mode: shadow}", 1))


def done(governed: Governed) -> tuple[list[str], dict[str, str]]:
    """The verbs that the newest run sent, and how its nodes ended; what threads share is sent by any of them."""
    evidence = governed.last()
    return sorted(str(event["verb"]) for event in evidence.events("statement")), evidence.statuses()


def test_blocked_run_says_what_to_do_instead(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(BLOCKS)
    assert governed.refused("build") == "blocked"
    assert "next: make it a view" in governed.said
    assert governed.store.requests() == []
    (decision,) = governed.last().events("decision")
    assert (decision["decision"], decision["unique_id"]) == ("block", "model.ledger.totals")


def test_waiver_that_has_expired_is_named(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    waiver = """
waivers:
  - {id: w1, rules: [x_no_tables], nodes: [model.ledger.totals], owner: "svc:dana", approved_by: "svc:kim",
     reason: moving, ticket: T-1, created: "2026-01-01", expires: "DAY"}
"""
    governed.policy(BLOCKS + waiver.replace("DAY", "2026-02-01"))
    assert governed.refused("build") == "waiver_expired"
    assert "w1" in governed.said


def test_shadow_changes_nothing_and_records_what_would_have_been(governed: Governed) -> None:
    (governed.path / "clyra.policy.yaml").unlink()
    governed.dbt("seed")
    governed.dbt("run")
    # Only now is everything there that is there the next time.
    governed.dbt("run")
    before = done(governed)
    in_shadow(governed, BLOCKS)
    governed.dbt("run")
    assert done(governed) == before
    evidence = governed.last()
    (decision,) = evidence.events("decision")
    assert (decision["mode"], decision["decision"], decision["code"]) == ("shadow", "block", "x_no_tables")
    assert evidence.manifest["policy"]["mode"] == "shadow"
    assert evidence.run["status"] == "success"


def test_rule_in_shadow_is_recorded_beside_what_is_enforced(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(BLOCKS.replace("mode: enforce", "mode: shadow"))
    governed.dbt("seed")
    found = [(event["mode"], event["decision"]) for event in governed.last().events("decision")]
    assert found == [("enforce", "allow")]
    governed.dbt("build")
    found = [(event["mode"], event["decision"]) for event in governed.last().events("decision")]
    assert found == [("shadow", "block"), ("enforce", "allow")]


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_policy_that_does_not_load(governed_on_duckdb: Governed, mode: str) -> None:
    governed = governed_on_duckdb
    governed.policy("data_platfrom: {}\n")
    if mode == "shadow":
        in_shadow(governed, "data_platfrom: {}\n")
        finished = governed.dbt("seed")
        assert 'clyra.policy.yaml:5:1: error policy_key: key "data_platfrom"' in finished.stderr
        (degraded,) = governed.last().events("recorder.degraded")
        assert (degraded["code"], degraded["part"]) == ("policy_invalid", "policy")
        assert governed.last().manifest["policy"] is None
        assert governed.refused("seed", CLYRA_MODE="enforce") == "policy_invalid"
        return
    assert governed.refused("seed") == "policy_invalid"
    assert 'clyra.policy.yaml:5:1: error policy_key: key "data_platfrom"' in governed.said


def test_policy_that_is_demanded_and_absent_refuses(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    (governed.path / "clyra.policy.yaml").unlink()
    assert governed.refused("seed", CLYRA_MODE="enforce") == "policy_invalid"


def test_policy_that_is_not_pinned_refuses(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy("")
    governed.write_trust(policies=[{"sha256": "0" * 64, "environments": ["live"]}])
    printed = governed.dbt("seed", code=2).printed
    assert "code: policy_not_pinned" in printed
    sha256 = governed.ledger.bundle().manifest["policy"]["sha256"]
    governed.write_trust(policies=[{"sha256": sha256, "environments": ["live"]}])
    governed.dbt("seed")
    governed.last()


def test_disabled_hooks_leave_one_line_and_nothing_else(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy("data_platform: {dbt_hooks: {enabled: false}}\n")
    finished = governed.dbt("seed")
    assert finished.stderr == "clyra: switched off by dbt_hooks.enabled of the policy; this run leaves no evidence\n"
    assert not governed.ledger.folder.exists()


def test_what_is_not_enforced_is_recorded_as_the_policy_says(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    in_shadow(governed, "data_platform: {dbt_hooks: {record: {commands: [run]}}}\n")
    governed.dbt("seed")
    governed.dbt("run", "--select", "heavy")
    assert governed.ledger.bundle().run["command"] == "run"
    governed.policy("data_platform: {dbt_hooks: {record: {commands: [run]}}}\n")
    governed.dbt("seed")
    assert governed.last().run["command"] == "seed"


FAILS = "select 1 as wrong"


def test_failed_test_holds_back_what_follows_in_the_same_run(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy("")
    governed.ledger.write("tests/finds_one.sql", FAILS)
    governed.ledger.write("tests/warns.sql", "{{ config(severity='warn') }} select 1 as odd")
    governed.dbt("build", code=1, CLYRA_RUN_ID="run-1")
    evidence = governed.last()
    decision = evidence.events("decision")[-1]
    assert (decision["point"], decision["decision"], decision["code"]) == ("tests", "block", "tests_failed")
    assert decision["unique_id"] == "test.ledger.finds_one"
    assert evidence.run["status"] == "failed"
    # Somebody swallowed the exit code; the next task of the run is refused, another run is not.
    assert governed.refused("run", CLYRA_RUN_ID="run-1") == "tests_failed"
    assert "node: test.ledger.finds_one" in governed.said
    governed.dbt("run", "--select", "heavy", CLYRA_RUN_ID="run-2")
    # The test may run again, and what it holds back may follow once it has passed.
    governed.ledger.write("tests/finds_one.sql", f"{FAILS} where false")
    governed.dbt("test", CLYRA_RUN_ID="run-1")
    governed.dbt("run", CLYRA_RUN_ID="run-1")


def test_failed_tests_let_pass_where_the_policy_says_so(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy("data_platform: {dbt_hooks: {test_failures_block: false}}\n")
    governed.ledger.write("tests/finds_one.sql", FAILS)
    governed.dbt("build", code=1, CLYRA_RUN_ID="run-1")
    assert [event["point"] for event in governed.last().events("decision")] == ["run"]
    governed.dbt("run", CLYRA_RUN_ID="run-1")


def test_candidate_tells_where_it_differs_and_changes_nothing(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy(BLOCKS)
    (governed.path / "clyra.policy.yaml").rename(governed.path / "candidate.yaml")
    governed.policy("enforcement: {shadow: {candidate: candidate.yaml}}\n")
    sink = governed.ledger.home / "sink.ndjson"
    governed.dbt("build", CLYRA_SHADOW_SINK=str(sink), CLYRA_RUN_ID="run-1")
    told: dict[str, Any] = json.loads(sink.read_text())
    assert (told["old"], told["new"], told["direction"], told["run_id"]) == ("allow", "block", "stricter", "run-1")
    found = [(event["mode"], event["decision"]) for event in governed.last().events("decision")]
    assert ("shadow", "block") in found
    assert governed.last().run["status"] == "success"


def test_recorder_stops_where_the_policy_says_so_and_the_user_does_not(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    governed.policy("enforcement: {on_recorder_failure: stop}\n")
    blocked = governed.ledger.home / "a-file"
    blocked.write_text("")
    nowhere = str(blocked / "below")
    assert "evidence_unavailable" in governed.dbt("seed", code=2, CLYRA_EVIDENCE_DIR=nowhere).printed
    governed.dbt("seed", CLYRA_ON_RECORDER_FAILURE="continue", CLYRA_EVIDENCE_DIR=nowhere)


def test_operation_is_refused_like_a_run(governed_on_postgres: Governed, postgres_server: Server) -> None:
    governed = governed_on_postgres
    governed.policy("""
data_platform:
  rules:
    - id: x_operations
      effect: require_approval
      mode: enforce
      when: [{field: dbt.operation, op: exists, value: true}]
""")
    governed.commit()
    arguments = ("run-operation", "repaint", "--args", "{name: red}")
    assert postgres_server.log_path is not None
    start = postgres_server.log_path.stat().st_size
    request = governed.ask(*arguments, run_id="run-1")
    with postgres_server.log_path.open("rb") as log:
        log.seek(start)
        assert b"statement:" not in log.read()
    token = governed.mint(governed.approve(request), "run-1")
    other = ("run-operation", "repaint", "--args", "{name: blue}")
    assert governed.refused(*other, token=token, CLYRA_RUN_ID="run-1") == "plan_changed"
    governed.dbt(*arguments, token=token, CLYRA_RUN_ID="run-1")
    assert governed.last().run["counts"]["statements"] > 0
