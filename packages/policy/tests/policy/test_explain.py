# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from clyra.policy.engine import compile_policy, event_members, merge
from clyra.policy.explain import Explanation, explain, facts_of_event
from clyra.policy.facts import Facts

TODAY = date(2026, 11, 22)
DOCUMENT: dict[str, Any] = {
    "data_platform": {
        "rules": [
            {
                "id": "x_people",
                "effect": "block",
                "mode": "enforce",
                "when": [
                    {"field": "env.production", "op": "eq", "value": True},
                    {
                        "any": [
                            {"field": "dbt.tags", "op": "has", "value": "pii"},
                            {"field": "data.personal", "op": "eq", "value": True},
                        ]
                    },
                ],
            },
            {
                "id": "x_actor",
                "effect": "warn",
                "when": [{"field": "actor.id", "op": "eq", "value": "bob"}],
            },
            {"id": "x_drop", "effect": "warn", "when": [{"field": "action.verb", "op": "eq", "value": "drop"}]},
        ]
    },
    "enforcement": {"risk": {"thresholds": [{"above": 80, "effect": "warn"}]}},
    "waivers": [
        {"id": "w_old", "rules": ["x_people"], "nodes": ["model.a"], "expires": "2026-11-21"},
        {"id": "w_new", "rules": ["x_people"], "relations": ["db.s.a"], "expires": "2026-11-22"},
    ],
}
POLICY = compile_policy(DOCUMENT)


def explained(facts: Facts, **members: Any) -> Explanation:
    return explain(POLICY, "run", facts, today=TODAY, **members)


def truths(explanation: Explanation) -> dict[str, tuple[str, list[list[str]]]]:
    return {
        each.rule.id: (each.truth, [[condition.truth for condition in item] for item in each.items])
        for each in explanation.rules
    }


def test_each_condition_has_its_truth_and_the_rule_follows() -> None:
    found = truths(explained({"env.production": True, "dbt.tags": ("a",), "actor.id": "eve"}))
    assert found["x_people"] == ("unknown", [["true"], ["false", "unknown"]])
    assert found["x_actor"] == ("false", [["false"]])
    assert found["risk_threshold"] == ("unknown", [["unknown"]])
    assert truths(explained({"env.production": True, "data.personal": True}))["x_people"][0] == "true"
    assert truths(explained({"env.production": False}))["x_people"][0] == "false"


def test_rules_that_are_judged_elsewhere_are_named() -> None:
    assert explained({}).elsewhere == ("x_drop",)
    with pytest.raises(ValueError, match="no decision point"):
        explain(POLICY, "nowhere", {}, today=TODAY)


def test_actual_values_are_told_and_what_is_no_value_is_not() -> None:
    (production,), _either = explained({"env.production": True, "dbt.tags": ("a",)}).rules[0].items
    assert production.actual is True
    ((broken,), _) = explained({"env.production": 1}).rules[0].items
    assert (broken.truth, broken.actual) == ("unknown", None)


def test_waivers_are_told_whether_they_match_and_still_hold() -> None:
    first, second = explained({"dbt.node": "model.a"}).rules[0].waivers
    assert (first.id, first.truth, first.expired) == ("w_old", "true", True)
    assert (second.id, second.truth, second.expired) == ("w_new", "unknown", False)


def test_what_a_digest_hides_is_not_decidable() -> None:
    facts: Facts = {"env.production": False, "actor.id": "bob"}
    decision = POLICY.decide("run", facts, today=TODAY)
    event = event_members(
        decision, decision_id="d", mode="shadow", policy_sha256="", risk=None, personal_key=b"k", unique_id="model.a"
    )
    told = facts_of_event(event)
    assert told.readable == {"env.production": False}
    assert "actor.id" in told.undisclosed
    found = truths(explained(told.readable, undisclosed=told.undisclosed))
    assert found["x_actor"] == ("not_decidable", [["not_decidable"]])
    assert found["x_people"][0] == "false"


def test_a_text_that_looks_like_a_digest_is_read_where_the_fact_is_not_personal() -> None:
    event = {"facts": {"change.branch": "hmac:0123456789abcdef", "no.fact": 1}, "missing": [], "unique_id": "a"}
    assert facts_of_event(event).readable == {"change.branch": "hmac:0123456789abcdef"}


def test_a_fact_that_an_event_calls_missing_was_unknown_and_of_others_it_says_nothing() -> None:
    facts: list[Facts] = [
        {"env.production": True, "dbt.node": "model.a", "dbt.tags": ("pii",)},
        {"env.production": True, "dbt.node": "model.b", "dbt.tags": ()},
    ]
    merged = merge(POLICY.decide("run", each, today=TODAY) for each in facts)
    event = event_members(merged, decision_id="d", mode="shadow", policy_sha256="", risk=None, personal_key=b"k")
    told = facts_of_event(event)
    assert event["missing"] == ["actor.id", "data.personal"]
    found = truths(explained(told.readable, undisclosed=told.undisclosed))
    assert found["x_people"] == ("not_decidable", [["true"], ["not_decidable", "unknown"]])


def test_explaining_and_deciding_agree() -> None:
    for facts in ({}, {"env.production": True}, {"env.production": True, "data.personal": True}, {"actor.id": "bob"}):
        said = {each.id: each.state for each in POLICY.decide("run", facts, today=TODAY).rules}
        for name, (truth, _) in truths(explained(facts)).items():
            if name != "risk_threshold":
                assert {"true": "matched", "unknown": "unknown", "false": None}[truth] == said.get(name)
