# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from clyra.policy.decision import Decision, RuleOutcome
from clyra.policy.engine import compile_policy
from clyra.policy.facts import Facts
from clyra.spec import PolicyError

TODAY = date(2026, 11, 22)
DIGEST = "sql/v0:postgres:" + "ab" * 32
RULES = [
    {
        "id": "x_personal",
        "effect": "block",
        "mode": "enforce",
        "when": [{"field": "data.personal", "op": "eq", "value": True}],
    },
    {
        "id": "x_delete",
        "effect": "block",
        "mode": "enforce",
        "when": [{"field": "action.verb", "op": "eq", "value": "delete"}],
    },
    {
        "id": "opaque_statement",
        "effect": "block",
        "mode": "enforce",
        "when": [{"field": "action.verb", "op": "eq", "value": "call"}],
    },
    {
        "id": "x_tool",
        "effect": "block",
        "mode": "enforce",
        "when": [{"field": "tool.untrusted_context", "op": "eq", "value": True}],
    },
]
PERSONAL: Facts = {"data.personal": True, "dbt.node": "model.a", "dbt.relation": "db.s.a"}
DELETE: Facts = {"action.verb": "delete", "action.target": "db.s.t", "action.statement_digest": DIGEST}


def decide(waiver: dict[str, Any] | list[dict[str, Any]], facts: Facts, point: str = "run") -> Decision:
    given = waiver if isinstance(waiver, list) else [waiver]
    waivers = [{"id": f"w{number}", "expires": "2026-12-31", **each} for number, each in enumerate(given)]
    compiled = compile_policy({"data_platform": {"rules": RULES}, "waivers": waivers})
    return compiled.decide(point, facts, today=TODAY)


def test_a_waiver_lowers_the_rule_to_warn_and_is_named() -> None:
    decision = decide({"rules": ["x_personal"], "nodes": ["model.a"]}, PERSONAL)
    assert decision.effect == "warn"
    assert decision.rules == (RuleOutcome("x_personal", "warn", "critical", "waived", "enforce", "w0"),)


def test_a_waiver_lowers_no_rule_that_it_does_not_name() -> None:
    assert decide({"rules": ["x_delete"], "nodes": ["model.a"]}, PERSONAL).effect == "block"


@pytest.mark.parametrize(
    "selector",
    [
        {"nodes": ["model.b", "model.a"]},
        {"relations": ["db.s.a"]},
        {"labels": ["email", "phone"]},
        {"when": [{"field": "dbt.relation", "op": "prefix", "value": "db.s."}]},
        {"nodes": ["model.a"], "relations": ["db.s.a"]},
    ],
)
def test_a_waiver_matches_what_it_selects(selector: dict[str, Any]) -> None:
    facts: Facts = {**PERSONAL, "data.labels": ("phone",)}
    assert decide({"rules": ["x_personal"], **selector}, facts).effect == "warn"


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"nodes": []},
        {"nodes": ["model.b"]},
        {"nodes": ["model"]},
        {"relations": ["db.s"]},
        {"labels": ["email"]},
        {"digests": [DIGEST]},
        {"nodes": ["model.a"], "relations": ["db.s.b"]},
        {"nodes": ["model.a"], "sources": ["s"]},
        {"routes": ["r"]},
        {"phrases_sha256": ["ab" * 32]},
        {"when": [{"field": "dbt.tags", "op": "has", "value": "x"}]},
    ],
)
def test_a_waiver_does_not_match_something_else_or_what_cannot_be_judged(selector: dict[str, Any]) -> None:
    decision = decide({"rules": ["x_personal"], **selector}, PERSONAL)
    assert (decision.effect, decision.expired_waivers) == ("block", ())


def test_a_rule_that_is_unknown_is_waived_too_and_wants_no_fact() -> None:
    decision = decide({"rules": ["x_personal"], "nodes": ["model.a"]}, {"dbt.node": "model.a"})
    assert (decision.effect, decision.rules[0].state, decision.missing) == ("warn", "waived", ())


def test_a_tool_is_waived_at_its_point() -> None:
    facts: Facts = {"tool.untrusted_context": True, "tool.id": "t"}
    assert decide({"rules": ["x_tool"], "tools": ["t"]}, facts, "tool").effect == "warn"
    assert decide({"rules": ["x_tool"], "tools": ["u"]}, facts, "tool").effect == "block"


def test_a_rule_on_a_statement_is_waived_for_what_the_statement_writes_not_for_its_node() -> None:
    waiver = {"rules": ["x_delete"], "relations": ["db.s.a"]}
    hook: Facts = {**DELETE, "dbt.relation": "db.s.a"}
    assert decide(waiver, hook, "statement").effect == "block"
    assert decide(waiver, {**hook, "action.target": "db.s.a"}, "statement").effect == "warn"
    unread = {name: value for name, value in hook.items() if name != "action.target"}
    assert decide(waiver, unread, "statement").effect == "block"


@pytest.mark.parametrize(
    ("selector", "effect"),
    [
        ({"digests": [DIGEST]}, "warn"),
        ({"when": [{"field": "action.statement_digest", "op": "in", "value": [DIGEST]}]}, "warn"),
        ({"relations": ["db.s.t"]}, "block"),
        ({"when": [{"field": "action.statement_digest", "op": "prefix", "value": "sql/"}]}, "block"),
        (
            {
                "when": [
                    {
                        "any": [
                            {"field": "action.statement_digest", "op": "eq", "value": DIGEST},
                            {"field": "action.verb", "op": "eq", "value": "call"},
                        ]
                    }
                ]
            },
            "block",
        ),
    ],
)
def test_what_cannot_be_read_is_waived_by_digest_only(selector: dict[str, Any], effect: str) -> None:
    facts: Facts = {**DELETE, "action.verb": "call"}
    assert decide({"rules": ["opaque_statement"], **selector}, facts, "statement").effect == effect


@pytest.mark.parametrize(
    ("expires", "effect", "expired"),
    [("2026-11-21", "block", ("w0",)), ("2026-11-22", "warn", ()), ("2026-11-23", "warn", ())],
)
def test_a_waiver_holds_until_the_end_of_its_last_day(expires: str, effect: str, expired: tuple[str, ...]) -> None:
    decision = decide({"rules": ["x_personal"], "nodes": ["model.a"], "expires": expires}, PERSONAL)
    assert (decision.effect, decision.expired_waivers) == (effect, expired)


def test_an_expired_waiver_is_not_told_where_another_holds_or_the_rule_says_nothing() -> None:
    late = {"rules": ["x_personal"], "nodes": ["model.a"], "expires": "2026-01-01"}
    held = {"rules": ["x_personal"], "nodes": ["model.a"]}
    decision = decide([late, held], PERSONAL)
    assert (decision.rules[0].waiver, decision.expired_waivers) == ("w1", ())
    assert decide(late, {"data.personal": False, "dbt.node": "model.a"}).expired_waivers == ()


def test_a_threshold_is_waived_like_a_rule() -> None:
    document = {
        "enforcement": {"risk": {"thresholds": [{"above": 10, "effect": "block"}]}},
        "waivers": [
            {
                "id": "w",
                "rules": ["risk_threshold"],
                "when": [{"field": "dbt.target", "op": "eq", "value": "prod"}],
                "expires": "2026-12-01",
            }
        ],
    }
    compiled = compile_policy(document)
    assert compiled.decide_risk("run", {"dbt.target": "prod"}, today=TODAY, score=11).effect == "warn"
    assert compiled.decide_risk("run", {"dbt.target": "dev"}, today=TODAY, score=11).effect == "block"


@pytest.mark.parametrize(
    "fault",
    [
        {"expires": "soon"},
        {"expires": None},
        {"when": [{"field": "env.ci", "op": "exists", "value": False}]},
        {"when": [{"any": [{"field": "env.ci", "op": "exists", "value": False}]}]},
    ],
)
def test_a_waiver_without_a_date_or_resting_on_absence_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(PolicyError) as refused:
        decide({"rules": ["x_personal"], "nodes": ["model.a"], **fault}, PERSONAL)
    assert refused.value.code == "policy_waiver"
