# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

import pytest

from clyra.policy.decision import Decision, RuleOutcome
from clyra.policy.effect import Effect
from clyra.policy.engine import CompiledPolicy, compile_policy, event_members, merge
from clyra.policy.facts import Facts, run_stages
from clyra.spec import PolicyError

TODAY = date(2026, 11, 22)
PRODUCTION = {"field": "env.production", "op": "eq", "value": True}
REFRESH = {"field": "change.full_refresh", "op": "eq", "value": True}
PERSONAL = {"field": "data.personal", "op": "eq", "value": True}
SCORE = {"field": "risk.score", "op": "gt", "value": 30}


def rule(name: str, effect: str, *when: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    return {"id": name, "effect": effect, "mode": "enforce", "when": list(when), **members}


def policy(*rules: Mapping[str, Any], **sections: Any) -> CompiledPolicy:
    return compile_policy({"data_platform": {"rules": list(rules)}, **sections})


def decide(compiled: CompiledPolicy, facts: Facts, point: str = "run") -> Decision:
    return compiled.decide(point, facts, today=TODAY)


def test_without_a_matching_rule_the_effect_is_allow() -> None:
    decision = decide(policy(rule("x_a", "block", PRODUCTION)), {"env.production": False})
    assert (decision.effect, decision.shadow_effect, decision.rules) == ("allow", "allow", ())


def test_the_strongest_effect_wins_and_an_allow_rule_overrides_nothing() -> None:
    rules = [rule(f"x_{effect}", effect, PRODUCTION) for effect in ("block", "allow", "require_approval", "warn")]
    decision = decide(policy(*rules), {"env.production": True})
    assert decision.effect == "block"
    assert [each.effect for each in decision.rules] == ["block", "allow", "require_approval", "warn"]


def test_a_shadow_rule_counts_only_in_the_shadow_effect() -> None:
    rules = rule("x_a", "block", PRODUCTION, mode="shadow"), rule("x_b", "warn", PRODUCTION)
    decision = decide(policy(*rules), {"env.production": True})
    assert (decision.effect, decision.shadow_effect) == ("warn", "block")


def test_a_rule_without_a_mode_is_in_shadow() -> None:
    compiled = compile_policy({"data_platform": {"rules": [{"id": "x_a", "effect": "block", "when": [PRODUCTION]}]}})
    decision = decide(compiled, {"env.production": True})
    assert (decision.effect, decision.shadow_effect) == ("allow", "block")


def test_severity_comes_from_the_effect_unless_it_is_given() -> None:
    rules = rule("x_a", "block", PRODUCTION), rule("x_b", "warn", PRODUCTION), rule("x_c", "warn", PRODUCTION)
    rules[2]["severity"] = "info"
    decision = decide(policy(*rules), {"env.production": True})
    assert [each.severity for each in decision.rules] == ["critical", "warning", "info"]


def test_a_missing_fact_leaves_a_rule_at_its_own_effect() -> None:
    decision = decide(policy(rule("x_a", "block", PRODUCTION, REFRESH)), {"env.production": True})
    assert decision.rules == (RuleOutcome("x_a", "block", "critical", "unknown"),)
    assert (decision.effect, decision.missing) == ("block", ("change.full_refresh",))


@pytest.mark.parametrize("on_missing", ["allow", "warn", "require_approval", "block"])
def test_on_missing_says_what_a_missing_fact_does(on_missing: str) -> None:
    decision = decide(policy(rule("x_a", "warn", PRODUCTION, on_missing=on_missing)), {})
    assert (decision.effect, decision.rules[0].state) == (on_missing, "unknown")


def test_on_missing_ignore_leaves_a_rule_without_a_say() -> None:
    decision = decide(policy(rule("x_a", "block", PRODUCTION, on_missing="ignore")), {})
    assert (decision.effect, decision.rules, decision.missing) == ("allow", (), ())


def test_a_false_condition_decides_though_another_fact_is_missing() -> None:
    decision = decide(policy(rule("x_a", "block", REFRESH, PRODUCTION)), {"env.production": False})
    assert (decision.effect, decision.missing) == ("allow", ())


def test_only_facts_that_were_wanted_are_missing() -> None:
    branches = {"any": [REFRESH, {"field": "env.ci", "op": "exists", "value": True}, PERSONAL]}
    decision = decide(
        policy(rule("x_a", "block", PRODUCTION, branches)), {"env.production": True, "data.personal": False}
    )
    assert decision.missing == ("change.full_refresh",)


def test_a_decision_tells_the_facts_that_rules_asked_and_no_others() -> None:
    tags = {"field": "dbt.tags", "op": "has", "value": "a"}
    facts: Facts = {"env.production": False, "dbt.tags": ("b", "a", "b"), "actor.id": "somebody", "env.ci": True}
    decision = decide(policy(rule("x_a", "block", PRODUCTION), rule("x_b", "warn", tags)), facts)
    assert decision.facts == {"dbt.tags": ("a", "b"), "env.production": False}


def test_a_rule_is_passed_over_where_a_fact_of_it_is_not_supplied() -> None:
    compiled = policy(rule("x_a", "block", {"field": "action.has_where", "op": "eq", "value": False}))
    assert decide(compiled, {"action.has_where": False}, "run").effect == "allow"
    assert decide(compiled, {"action.has_where": False}, "statement").effect == "block"
    assert decide(compiled, {}, "statement").effect == "block"


def test_a_rule_is_judged_at_the_first_stage_of_a_run_that_knows_enough() -> None:
    compiled = policy(
        rule("x_run", "require_approval", PRODUCTION),
        rule("x_tests", "warn", PRODUCTION, {"field": "dbt.tests_failed", "op": "gt", "value": 0}),
    )
    facts: dict[str, Any] = {"env.production": True, "dbt.tests_failed": 1}
    found = {point: [outcome.id for outcome in decide(compiled, facts, point).rules] for point in run_stages()}
    assert found == {"run": ["x_run"], "statement": [], "rows": [], "tests": ["x_tests"]}
    assert [outcome.id for outcome in decide(compiled, facts, "tool").rules] == ["x_run"]


def test_of_the_stages_of_a_run_a_rule_is_judged_at_the_first_that_supplies_its_facts() -> None:
    compiled = policy(rule("x_a", "block", PRODUCTION))
    points = ("run", "statement", "rows", "tests", "tool")
    effects = [decide(compiled, {"env.production": True}, point).effect for point in points]
    assert effects == ["block", "allow", "allow", "allow", "block"]


def test_scopes_part_the_rules_of_the_run_from_those_of_its_nodes() -> None:
    compiled = policy(rule("x_run", "warn", PRODUCTION), rule("x_node", "block", PRODUCTION, PERSONAL))
    facts: Facts = {"env.production": True, "data.personal": True}

    def names(scope: Any) -> list[str]:
        return [each.id for each in compiled.decide("run", facts, today=TODAY, scope=scope).rules]

    assert (names("run"), names("node"), names("all")) == (["x_run"], ["x_node"], ["x_run", "x_node"])


def test_an_unknown_point_is_no_open_gate() -> None:
    compiled = policy()
    with pytest.raises(ValueError, match="no decision point"):
        decide(compiled, {}, "nowhere")
    with pytest.raises(ValueError, match="no decision point"):
        compiled.decide_risk("nowhere", {}, today=TODAY, score=1)
    with pytest.raises(ValueError, match="no decision point"):
        compiled.needs("nowhere")


def test_rules_of_all_sections_are_judged_in_their_order() -> None:
    document = {
        "voice_compliance": {"rules": [rule("x_voice", "warn", PRODUCTION)]},
        "data_platform": {"rules": [rule("x_data", "warn", PRODUCTION)]},
        "genai_security": {"rules": [rule("x_genai", "warn", PRODUCTION)]},
    }
    decision = decide(compile_policy(document), {"env.production": True})
    assert [each.id for each in decision.rules] == ["x_data", "x_genai", "x_voice"]


def test_rules_on_risk_are_judged_after_it_alone() -> None:
    compiled = policy(rule("x_a", "warn", PRODUCTION), rule("x_risk", "block", SCORE, PRODUCTION))
    assert [each.id for each in decide(compiled, {"env.production": True, "risk.score": 99}).rules] == ["x_a"]
    after = compiled.decide_risk("run", {"env.production": True}, today=TODAY, score=31)
    assert ([each.id for each in after.rules], after.effect) == (["x_risk"], "block")
    assert compiled.decide_risk("run", {"env.production": True}, today=TODAY, score=30).effect == "allow"
    assert after.facts == {"env.production": True, "risk.score": 31}


@pytest.mark.parametrize(
    ("score", "effect"), [(49, "allow"), (50, "allow"), (51, "warn"), (80, "warn"), (81, "require_approval")]
)
def test_a_threshold_is_passed_above_its_score(score: int, effect: str) -> None:
    thresholds = [{"above": 80, "effect": "require_approval"}, {"above": 50, "effect": "warn"}]
    compiled = policy(enforcement={"risk": {"thresholds": thresholds}})
    decision = compiled.decide_risk("run", {}, today=TODAY, score=score)
    assert decision.effect == effect
    assert [each.id for each in decision.rules] == (["risk_threshold"] if effect != "allow" else [])


def test_of_thresholds_the_strongest_that_is_passed_counts_whatever_their_order() -> None:
    thresholds = [{"above": 90, "effect": "warn"}, {"above": 10, "effect": "block"}, {"above": 5, "effect": "block"}]
    thresholds.append({"above": 5, "effect": "require_approval"})
    compiled = policy(enforcement={"risk": {"thresholds": thresholds}})
    outcome = compiled.decide_risk("run", {}, today=TODAY, score=95).rules
    assert outcome == (RuleOutcome("risk_threshold", "block", "critical", "matched"),)
    assert compiled.decide_risk("run", {}, today=TODAY, score=6).effect == "block"
    assert compiled.decide_risk("run", {}, today=TODAY, score=5).effect == "allow"
    assert len(compiled.thresholds) == 1


def test_a_gate_knows_what_to_gather_and_whether_risk_matters() -> None:
    waiver = {"id": "w", "rules": ["x_a"], "nodes": ["model.a"], "expires": "2026-12-01"}
    pause = {"id": "c", "at": "before_run", "when": [{"field": "env.ci", "op": "eq", "value": False}]}
    compiled = policy(
        rule("x_a", "warn", PRODUCTION),
        rule("x_b", "warn", {"field": "action.verb", "op": "eq", "value": "drop"}),
        waivers=[waiver],
        enforcement={"checkpoints": [pause]},
    )
    assert compiled.needs("run") == {"env.production", "dbt.node", "env.ci"}
    assert compiled.needs("statement") == {"action.verb"}
    assert compiled.needs("tool") == {"env.production", "dbt.node"}
    assert not compiled.judges_risk("run")
    assert policy(rule("x_a", "warn", SCORE)).judges_risk("run")
    assert policy(enforcement={"risk": {"thresholds": [{"above": 1, "effect": "warn"}]}}).judges_risk("run")


def test_a_checkpoint_opens_where_its_condition_holds_or_cannot_be_judged() -> None:
    entries = [
        {"id": "ci", "at": "before_run", "when": [{"field": "env.ci", "op": "eq", "value": True}], "approvals": 2},
        {"id": "all", "at": "before_publish", "when": [], "ttl": 1000, "roles": ["owner"]},
    ]
    compiled = policy(enforcement={"checkpoints": entries})
    opened = compiled.checkpoint_at("before_run", {"env.ci": True}, TODAY)
    assert opened is not None
    assert (opened.id, opened.approvals) == ("ci", 2)
    assert compiled.checkpoint_at("before_run", {}, TODAY) == opened
    assert compiled.checkpoint_at("before_run", {"env.ci": False}, TODAY) is None
    assert compiled.checkpoint_at("tool_call", {}, TODAY) is None
    always = compiled.checkpoint_at("before_publish", {}, TODAY)
    assert always is not None
    assert (always.id, always.ttl_ms, always.roles) == ("all", 1000, ("owner",))


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"data_platform": {"rules": [rule("x_a", "deny", PRODUCTION)]}}, "policy_value"),
        ({"data_platform": {"rules": [rule("x_a", "block", PRODUCTION, mode="on")]}}, "policy_value"),
        ({"data_platform": {"rules": [rule("x_a", "block", PRODUCTION, on_missing="no")]}}, "policy_value"),
        ({"data_platform": {"rules": [rule("x_a", "warn", PRODUCTION)] * 2}}, "policy_rule_id"),
        ({"data_platform": {"rules": [{"effect": "block"}]}}, "policy_invalid"),
        ({"data_platform": {"rules": "x"}}, "policy_invalid"),
        ({"data_platform": []}, "policy_invalid"),
        ({"enforcement": {"risk": {"thresholds": [{"above": 1, "effect": "deny"}]}}}, "policy_value"),
        ({"enforcement": {"risk": {"thresholds": [{"effect": "warn"}]}}}, "policy_invalid"),
        ({"enforcement": {"checkpoints": [{"id": "c", "at": "later"}]}}, "policy_value"),
        (
            {
                "data_platform": {
                    "rules": [rule("x_a", "warn", {"field": "tool.id", "op": "eq", "value": "a"}, PERSONAL)]
                }
            },
            "policy_fact_point",
        ),
    ],
)
def test_what_is_no_policy_is_refused(document: dict[str, Any], code: str) -> None:
    with pytest.raises(PolicyError) as refused:
        compile_policy(document)
    assert refused.value.code == code


def outcome(name: str, effect: Any, state: Any = "matched", mode: Any = "enforce") -> RuleOutcome:
    return RuleOutcome(name, effect, "warning", state, mode)


def decided(*rules: RuleOutcome, facts: Facts | None = None, **members: Any) -> Decision:
    effect: Effect = "block" if any(each.effect == "block" for each in rules) else "warn" if rules else "allow"
    given: dict[str, Any] = {"missing": (), **members}
    return Decision(point="run", effect=effect, shadow_effect=effect, rules=rules, facts=facts or {}, **given)


def test_merged_decisions_keep_the_strongest_of_each_rule() -> None:
    merged = merge(
        [
            decided(outcome("x_a", "warn", "waived"), outcome("x_b", "warn"), missing=("b",), expired_waivers=("w2",)),
            decided(outcome("x_c", "warn"), outcome("x_a", "block"), missing=("a", "b"), expired_waivers=("w1", "w2")),
            decided(outcome("x_b", "warn", "unknown")),
        ]
    )
    assert merged.rules == (outcome("x_a", "block"), outcome("x_b", "warn"), outcome("x_c", "warn"))
    assert (merged.effect, merged.shadow_effect) == ("block", "block")
    assert (merged.missing, merged.expired_waivers) == (("a", "b"), ("w1", "w2"))


def test_merged_decisions_do_not_mix_facts_of_different_nodes() -> None:
    run: Facts = {"env.production": True}
    first: Facts = {**run, "dbt.node": "model.a", "data.personal": True, "dbt.language": "sql"}
    second: Facts = {**run, "dbt.node": "model.b", "dbt.language": "sql"}
    merged = merge([decided(facts=run), decided(facts=first), decided(facts=second)])
    assert merged.facts == {"dbt.language": "sql", "env.production": True}
    assert merge([decided(facts=run), decided(facts=first)]).facts == first


def test_nothing_and_different_points_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="0 points"):
        merge([])
    elsewhere = Decision("tests", "allow", "allow", (), (), {})
    with pytest.raises(ValueError, match="2 points"):
        merge([decided(), elsewhere])


def members(decision: Decision, mode: Any, **optional: Any) -> dict[str, Any]:
    return event_members(
        decision, decision_id="d1", mode=mode, policy_sha256="ab" * 32, risk=7, personal_key=b"key", **optional
    )


def test_an_enforced_event_tells_of_the_rules_in_force_and_a_shadow_event_of_all() -> None:
    compiled = policy(rule("x_a", "block", PRODUCTION, mode="shadow"), rule("x_b", "warn", PRODUCTION))
    decision = decide(compiled, {"env.production": True})
    enforced, shadow = members(decision, "enforce"), members(decision, "shadow")
    assert (enforced["decision"], [each["id"] for each in enforced["rules"]]) == ("warn", ["x_b"])
    assert (shadow["decision"], [each["id"] for each in shadow["rules"]]) == ("block", ["x_a", "x_b"])
    assert enforced["rules"] == [{"id": "x_b", "effect": "warn", "severity": "warning", "state": "matched"}]


def test_an_event_has_the_optional_members_that_are_given_and_no_others() -> None:
    plain = members(decided(), "shadow")
    assert plain.keys() == {
        "id", "point", "mode", "decision", "rules", "missing", "facts", "policy_sha256", "risk",
    }  # fmt: skip
    full = members(decided(), "enforce", unique_id="model.a", request_sha256="cd" * 32, jti="t")
    assert full.keys() - plain.keys() == {"unique_id", "request_sha256", "jti"}


def test_personal_facts_enter_an_event_as_keyed_digests_only() -> None:
    facts: Facts = {"actor.id": "bob@example.invalid", "dbt.tags": ("a", "b"), "env.production": True}
    told = members(decided(facts=facts), "shadow")["facts"]
    # echo -n bob@example.invalid | openssl dgst -sha256 -hmac key
    assert told == {"actor.id": "hmac:f74885ee4d513d16", "dbt.tags": ["a", "b"], "env.production": True}
    other = event_members(
        decided(facts=facts), decision_id="d", mode="shadow", policy_sha256="", risk=None, personal_key=b"other"
    )
    assert other["facts"] != told


def test_an_event_names_the_first_of_many_nodes_of_each_rule() -> None:
    rules = RuleOutcome("x_a", "warn", "warning", "matched"), RuleOutcome("x_b", "block", "critical", "matched")
    nodes = {"x_a": [f"model.shop.{number}" for number in range(500)], "x_b": ["model.shop.0", "model.shop.1"]}
    members = event_members(
        decided(*rules), decision_id="d", mode="enforce", policy_sha256="0" * 64, risk=1, personal_key=b"k", nodes=nodes
    )
    told = {entry["id"]: entry["nodes"] for entry in cast("list[dict[str, Any]]", members["rules"])}
    assert told == {"x_a": nodes["x_a"][:100], "x_b": nodes["x_b"]}
    # It fits into a line of the journal with names as long as they get.
    assert len(json.dumps(members).replace("model.shop.", "model." + "s" * 200)) < 65_536
