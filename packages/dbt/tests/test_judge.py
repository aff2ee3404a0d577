# SPDX-License-Identifier: Apache-2.0
"""One decision about a run: over the run, each of its nodes, its risk, and after its tests."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from clyra.dbt._build import Build
from clyra.dbt._clock import aware
from clyra.dbt._facts import NodeFacts, Presented, RunFacts
from clyra.dbt._governance import risk_of_journal, used_approvals
from clyra.dbt._invocation import DbtInvocation
from clyra.dbt._judge import Judged, Planned, judge
from clyra.dbt._nodes import Outcome
from clyra.dbt._request import principal_of, resources_of
from clyra.dbt._tests_point import JudgedTests, judge_tests
from clyra.policy.environment import Environment
from clyra.policy.load import LoadedPolicy, read_policy

TODAY = date(2026, 1, 31)
LIVE = Environment("live", "enforce", production=True, targets=("prod",))
HEAD = "version: 1\nname: shop\nenvironments:\n  live: {targets: [prod], mode: enforce, production: true}\n"
ON_NODES = """
data_platform:
  rules:
    - {id: x_tables, effect: block, mode: enforce, when: [{field: dbt.materialized, op: eq, value: table}]}
    - {id: x_seeds, effect: warn, mode: enforce, when: [{field: change.seeds, op: ge, value: 1}]}
"""


def policy(text: str) -> LoadedPolicy:
    return read_policy((HEAD + text).encode(), now=TODAY)


def node(unique_id: str, materialized: str = "table", **config: Any) -> Any:
    return SimpleNamespace(
        unique_id=unique_id,
        resource_type=unique_id.partition(".")[0],
        config=SimpleNamespace(materialized=materialized, **config),
        depends_on_nodes=[],
    )


def judged(loaded: LoadedPolicy, *nodes: Any, operation: bool = False) -> Judged:
    profile = SimpleNamespace(credentials=SimpleNamespace(type="duckdb"), target_name="prod")
    members = {"flags": SimpleNamespace(WHICH="build"), "project": SimpleNamespace(project_name="shop")}
    dbt = DbtInvocation({**members, "profile": profile}, invocation_id="i", argv=())
    facts = RunFacts(
        dbt,
        nodes,
        build=Build(),
        actor="dana",
        environment=LIVE,
        environ={},
        now=aware(0),
        off_hours=None,
        presented=Presented(),
        is_interactive=False,
    )
    of_nodes = NodeFacts(nodes, system="duckdb", trust=dict)
    planned = Planned(nodes, operation, "prod", None)
    return judge(loaded, facts, of_nodes, planned, environment=LIVE, today=TODAY)


def test_rules_on_nodes_are_judged_for_each_and_say_which() -> None:
    found = judged(policy(ON_NODES), node("model.a"), node("model.b", "view"), node("seed.c", "seed"), node("model.d"))
    assert found.decision.effect == "block"
    assert [rule.id for rule in found.decision.rules] == ["x_seeds", "x_tables"]
    assert found.nodes == {"x_tables": ["model.a", "model.d"]}


def test_run_without_nodes_is_judged_by_the_rules_on_runs() -> None:
    assert judged(policy(ON_NODES), operation=True).decision.effect == "allow"


def test_risk_is_that_of_what_is_planned() -> None:
    loaded = policy(ON_NODES)
    counts = {
        factor["factor"]: factor["count"]
        for factor in judged(loaded, node("seed.c", "seed"), node("model.v", "view", grants={"select": ["x"]})).risk[
            "factors"
        ]
    }
    expected = {"schema_change": 1, "data_change": 1, "config_change": 1, "violation_warning": 1, "production": 1}
    assert {name: counts[name] for name in expected} == expected
    macro = {factor["factor"]: factor["count"] for factor in judged(loaded, operation=True).risk["factors"]}
    assert (macro["schema_change"], macro["data_change"]) == (0, 1)


def test_threshold_and_rules_on_risk_come_after_it() -> None:
    thresholds = "enforcement: {risk: {thresholds: [{above: 30, effect: require_approval}]}}\n"
    found = judged(policy(thresholds), node("model.a"))
    assert found.decision.effect == "require_approval"
    assert [rule.id for rule in found.decision.rules] == ["risk_threshold"]
    assert judged(policy(thresholds), node("test.a", "test")).decision.effect == "allow"


def test_rule_on_risk_and_a_node_is_judged_with_the_node() -> None:
    rule = """
data_platform:
  rules:
    - id: x_risky_tables
      effect: block
      mode: enforce
      when: [{field: risk.score, op: gt, value: 30}, {field: dbt.materialized, op: eq, value: table}]
"""
    assert judged(policy(rule), node("model.a"), node("model.b", "view")).nodes == {"x_risky_tables": ["model.a"]}
    assert judged(policy(rule), node("model.b", "view")).decision.effect == "allow"


def outcome(unique_id: str, status: str) -> Outcome:
    return Outcome(unique_id, unique_id.partition(".")[0], status, 0)


def after(loaded: LoadedPolicy, *outcomes: Outcome, failures_block: bool = True) -> JudgedTests | None:
    return judge_tests(loaded, outcomes, {}, failures_block=failures_block, today=TODAY)


FAILED = (
    outcome("test.a", "fail"),
    outcome("unit_test.b", "error"),
    outcome("test.c", "warn"),
    outcome("test.d", "pass"),
)


def test_tests_that_failed_or_broke_block_and_warnings_do_not() -> None:
    found = after(policy(""), *FAILED)
    assert found is not None
    assert (found.decision.effect, [rule.id for rule in found.decision.rules]) == ("block", ["tests_failed"])
    assert (list(found.failed), list(found.passed)) == (["test.a", "unit_test.b"], ["test.c", "test.d"])
    warned = after(policy(""), *FAILED[2:])
    assert warned is not None
    assert warned.decision.effect == "allow"


def test_policy_can_let_failed_tests_pass_all_or_one() -> None:
    off = after(policy(""), *FAILED, failures_block=False)
    assert off is not None
    assert (off.decision.effect, list(off.failed)) == ("allow", [])
    waiver = """
waivers:
  - {id: w1, rules: [tests_failed], nodes: [test.a], owner: key:OWNER, approved_by: key:OWNER, reason: known,
     ticket: T-1, created: "2026-01-30", expires: "2026-02-15"}
""".replace("OWNER", "0" * 64)
    one = after(policy(waiver), *FAILED)
    assert one is not None
    assert (one.decision.effect, list(one.failed)) == ("block", ["unit_test.b"])
    assert "test.a" in one.passed


def test_own_rule_on_tests_is_remembered_by_its_id() -> None:
    rule = """
data_platform:
  rules:
    - {id: x_no_warnings, effect: block, mode: enforce, when: [{field: dbt.tests_warned, op: ge, value: 1}]}
"""
    found, later = after(policy(rule), outcome("test.c", "warn")), after(policy(rule), outcome("test.c", "pass"))
    assert found is not None
    assert later is not None
    assert list(found.failed) == ["rule:x_no_warnings"]
    assert "rule:x_no_warnings" in later.passed


def test_run_without_tests_decides_nothing_about_them() -> None:
    assert after(policy(""), outcome("model.a", "error")) is None


def test_risk_and_used_approvals_come_from_what_the_journal_holds(tmp_path: Path) -> None:
    lines = [
        {"type": "run.started", "target_name": "prod", "policy": {"mode": "enforce"}},
        {"type": "statement", "verb": "drop"},
        {"type": "approval.used", "decision": "d1", "break_glass": True},
    ]
    journal = tmp_path / "j"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    risk = risk_of_journal(journal, policy("").document, "live", 0)
    counts = {factor["factor"]: factor["count"] for factor in risk["factors"] if factor["count"]}
    assert counts == {"approval_bypassed": 1, "first_time_actor": 1, "production": 1, "schema_change": 1}
    claimed = [{"decision": "d1"}, {"decision": "d2"}]
    assert used_approvals(journal, claimed) == [{"decision": "d1"}]


def relation(schema: str, number: int) -> Any:
    name = f'"shop"."{schema}"."t{number}"'
    return SimpleNamespace(resource_type="model", relation_name=name, database="shop", schema=schema)


def test_resources_are_relations_then_schemas_then_databases() -> None:
    credentials = SimpleNamespace(database="shop", schema="main")
    assert resources_of([relation("a", 1), relation("b", 2)], credentials, "postgres") == ["shop.a.t1", "shop.b.t2"]
    assert resources_of([relation("a", n) for n in range(65)], credentials, "postgres") == ["shop.a.*"]
    assert resources_of([relation(f"s{n}", n) for n in range(65)], credentials, "postgres") == ["shop.*"]
    assert resources_of([], credentials, "postgres") == ["shop.main.*"]


def test_actor_becomes_a_principal() -> None:
    assert principal_of("svc:deploy") == "svc:deploy"
    assert principal_of("agent:dana") == "agent:dana"
    assert principal_of("dana@example.invalid") == "svc:dana_example.invalid"
