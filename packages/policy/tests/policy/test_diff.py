# SPDX-License-Identifier: Apache-2.0
"""Whether a new policy is weaker: rules, waivers, environments, thresholds, checkpoints, settings."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.policy._compare_settings import setting_changes
from clyra.policy._judge import judge, only
from clyra.policy._rule_effects import compare_rules
from clyra.policy.diff import PolicyDiff, diff_policies
from clyra.policy.effect import EFFECTS, RANK
from clyra.policy.facts import FactValue
from clyra.policy.normal import normalize

TODAY = date(2026, 6, 1)
PROD = {"field": "env.production", "op": "eq", "value": True}
REFRESH = {"field": "change.full_refresh", "op": "eq", "value": True}
TAGS = {"field": "dbt.tags", "op": "has_any", "value": ["pii", "gdpr"]}
ROWS = {"field": "action.rows", "op": "gt", "value": 1000}
SCORE = {"field": "risk.score", "op": "gt", "value": 50}
OLD: dict[str, Any] = {
    "version": 1,
    "environments": {
        "production": {"targets": ["prod"], "mode": "enforce", "production": True},
        "development": {"targets": ["dev"], "mode": "shadow"},
    },
    "data_platform": {
        "rules": [
            {"id": "x_refresh", "effect": "require_approval", "mode": "enforce", "when": [PROD, REFRESH]},
            {"id": "x_tags", "effect": "warn", "mode": "enforce", "when": [TAGS]},
            {"id": "x_rows", "effect": "block", "mode": "shadow", "when": [ROWS]},
            {"id": "x_score", "effect": "warn", "mode": "enforce", "when": [SCORE]},
        ]
    },
    "enforcement": {
        "approvals": {"quorum": 2, "max_ttl": "15m", "roles": {"owner": ["svc:a", "svc:b"]}},
        "risk": {"thresholds": [{"above": 80, "effect": "require_approval"}]},
        "checkpoints": [{"id": "publish", "at": "before_publish", "when": [PROD], "approvals": 1, "roles": ["owner"]}],
    },
    "compliance": {"segregation_of_duties": {"enabled": True}, "retention": {"keep": "1y"}},
    "waivers": [
        {
            "id": "w_load",
            "rules": ["x_refresh"],
            "nodes": ["model.shop.a", "model.shop.b"],
            "owner": "data",
            "approved_by": "ana",
            "reason": "the yearly load",
            "ticket": "OPS-1",
            "created": "2026-05-01",
            "expires": "2026-06-30",
        }
    ],
}


def changed(path: str, value: object) -> dict[str, Any]:
    """``OLD`` with the value at ``path`` replaced; a path that ends with ``+`` adds to a list, ``-`` removes."""
    document = deepcopy(OLD)
    *parents, last = path.split("/")
    holder: Any = document
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if last == "+":
        holder.append(value)
    elif last == "-":
        del holder[value]
    else:
        holder[int(last) if isinstance(holder, list) else last] = value
    return document


def compared(new: Mapping[str, Any], old: Mapping[str, Any] = OLD) -> PolicyDiff:
    return diff_policies(normalize(old), normalize(new), today=TODAY)


RULES = "data_platform/rules"
APPROVALS = "enforcement/approvals"


@pytest.mark.parametrize(
    ("path", "value", "direction"),
    [
        (f"{RULES}/0/effect", "warn", "weaker"),
        (f"{RULES}/0/effect", "block", "stricter"),
        (f"{RULES}/0/on_missing", "warn", "weaker"),
        (f"{RULES}/0/on_missing", "ignore", "weaker"),
        (f"{RULES}/0/on_missing", "block", "stricter"),
        (f"{RULES}/0/mode", "shadow", "weaker"),
        (f"{RULES}/2/mode", "enforce", "stricter"),
        (f"{RULES}/2/severity", "warning", "weaker"),
        (f"{RULES}/1/severity", "critical", "stricter"),
        (f"{RULES}/0/title", "another", "equal"),
        (f"{RULES}/0/when", [REFRESH, PROD], "equal"),
        (f"{RULES}/0/when", [REFRESH], "stricter"),
        (f"{RULES}/0/when", [PROD, {"any": [REFRESH, {**REFRESH, "op": "ne", "value": False}]}], "equal"),
        (f"{RULES}/0/when", [PROD, {**REFRESH, "op": "ne", "value": False}], "equal"),
        (f"{RULES}/0/when", [PROD, REFRESH, {"field": "dbt.command", "op": "eq", "value": "build"}], "weaker"),
        (f"{RULES}/1/when", [{**TAGS, "value": ["pii", "gdpr", "phi"]}], "stricter"),
        (f"{RULES}/1/when", [{**TAGS, "value": ["pii"]}], "weaker"),
        (f"{RULES}/1/when", [{**TAGS, "value": ["pii", "phi"]}], "weaker"),
        (f"{RULES}/1/when", [{**TAGS, "op": "has_all"}], "weaker"),
        (f"{RULES}/1/when", [{**TAGS, "value": list("abcdefgh")}], "not decidable"),
        (f"{RULES}/2/when", [{**ROWS, "value": 1001}], "weaker"),
        (f"{RULES}/2/when", [{**ROWS, "op": "ge", "value": 1001}], "equal"),
        (f"{RULES}/2/when", [{**ROWS, "value": 999}], "stricter"),
        (f"{RULES}/3/when", [{**SCORE, "value": 60}], "weaker"),
        (f"{RULES}/3/when", [{**SCORE, "value": 40}], "stricter"),
        (f"{RULES}/-", 1, "weaker"),
        (f"{RULES}/+", {"id": "x_new", "effect": "warn", "mode": "shadow", "when": [PROD]}, "stricter"),
        ("environments/production/mode", "shadow", "weaker"),
        ("environments/production/production", False, "weaker"),
        ("environments/production/targets", [], "weaker"),
        ("environments/production/targets", ["prod", "live"], "stricter"),
        ("environments/development/mode", "enforce", "stricter"),
        ("environments/development/production", True, "stricter"),
        ("environments/-", "production", "weaker"),
        ("waivers/-", 0, "stricter"),
        ("waivers/0/expires", "2026-07-15", "weaker"),
        ("waivers/0/expires", "2026-06-15", "stricter"),
        ("waivers/0/rules", ["x_refresh", "x_rows"], "weaker"),
        ("waivers/0/nodes", ["model.shop.a"], "stricter"),
        ("waivers/0/nodes", ["model.shop.a", "model.shop.c"], "weaker"),
        ("waivers/0/relations", ["marts.a"], "stricter"),
        ("waivers/0/when", [PROD], "stricter"),
        ("waivers/0/reason", "another", "equal"),
        ("waivers/+", {**OLD["waivers"][0], "id": "w_more"}, "weaker"),
        ("waivers/+", {**OLD["waivers"][0], "id": "w_over", "created": "2026-03-01", "expires": "2026-05-31"}, "equal"),
        ("enforcement/risk/thresholds/0/above", 81, "weaker"),
        ("enforcement/risk/thresholds/0/above", 79, "stricter"),
        ("enforcement/risk/thresholds/0/effect", "warn", "weaker"),
        ("enforcement/risk/thresholds/-", 0, "weaker"),
        ("enforcement/risk/thresholds/+", {"above": 90, "effect": "warn"}, "equal"),
        ("enforcement/risk/thresholds/+", {"above": 90, "effect": "block"}, "stricter"),
        ("enforcement/risk/weights", {"schema_change": 20}, "weaker"),
        ("enforcement/risk/weights", {"anomaly": 1}, "stricter"),
        ("enforcement/checkpoints/-", 0, "weaker"),
        ("enforcement/checkpoints/0/approvals", 2, "stricter"),
        ("enforcement/checkpoints/0/ttl", "48h", "weaker"),
        ("enforcement/checkpoints/0/roles", [], "weaker"),
        ("enforcement/checkpoints/0/when", [], "stricter"),
        ("enforcement/checkpoints/0/when", [PROD, REFRESH], "weaker"),
        ("enforcement/checkpoints/0/at", "before_run", "not decidable"),
        (f"{APPROVALS}/quorum", 1, "weaker"),
        (f"{APPROVALS}/quorum", 3, "stricter"),
        (f"{APPROVALS}/max_ttl", "20m", "weaker"),
        (f"{APPROVALS}/roles", {"owner": ["svc:a", "svc:b", "svc:c"]}, "weaker"),
        (f"{APPROVALS}/roles", {"owner": ["svc:a"]}, "stricter"),
        (f"{APPROVALS}/tree_binding", False, "weaker"),
        (f"{APPROVALS}/bind_vars", True, "stricter"),
        (f"{APPROVALS}/standing", {"valid_for": "30d"}, "weaker"),
        (f"{APPROVALS}/waivers_in_models", True, "weaker"),
        ("enforcement/on_recorder_failure", "stop", "stricter"),
        ("enforcement/tenant_fencing", False, "weaker"),
        ("enforcement/velocity", {"max": 5, "window": "60s"}, "stricter"),
        ("enforcement/off_hours", {"timezone": "UTC", "from": "08:00", "to": "18:00"}, "not decidable"),
        ("compliance/segregation_of_duties/enabled", False, "weaker"),
        ("compliance/retention/keep", "2y", "stricter"),
        ("compliance/frameworks", ["sox"], "stricter"),
        ("data_platform/dbt_hooks", {"enabled": False}, "weaker"),
        ("data_platform/dbt_hooks", {"test_failures_block": False}, "weaker"),
        ("data_platform/dbt_hooks", {"record": {"targets": ["prod"]}}, "weaker"),
        ("data_platform/warehouse_guards", {"approval_tokens": "required"}, "stricter"),
        ("data_platform/warehouse_guards", {"approval_tokens": "off"}, "weaker"),
        ("data_platform/warehouse_guards", {"sql": {"rows_affected": {"update": 100}}}, "stricter"),
        ("data_platform/warehouse_guards", {"sql": {"functions": {"names": ["f"]}}}, "weaker"),
        ("name", "another", "equal"),
    ],
)
def test_a_change_goes_one_way(path: str, value: object, direction: str) -> None:
    found = compared(changed(path, value))
    assert found.direction == direction, found.changes


@pytest.mark.parametrize("path", ["rows_affected", "quorum", "max_ttl"])
def test_a_change_and_its_reverse_are_opposites(path: str) -> None:
    edits: dict[str, tuple[str, object]] = {
        "rows_affected": ("data_platform/warehouse_guards", {"sql": {"rows_affected": {"update": 100}}}),
        "quorum": (f"{APPROVALS}/quorum", 1),
        "max_ttl": (f"{APPROVALS}/max_ttl", "20m"),
    }
    new = changed(*edits[path])
    assert {compared(new).direction, compared(OLD, new).direction} == {"weaker", "stricter"}


def test_a_weaker_rule_comes_with_facts_that_show_it() -> None:
    (change,) = compared(changed(f"{RULES}/2/when", [{**ROWS, "value": 1001}])).changes
    assert (change.name, change.direction, change.example) == ("x_rows", "weaker", {"action.rows": 1001})
    assert change.reasons == ("does not hold everywhere it did",)


def test_a_rule_that_goes_both_ways_counts_as_weaker() -> None:
    new = [{"field": "env.production", "op": "eq", "value": False}, REFRESH]
    assert compared(changed(f"{RULES}/0/when", new)).direction == "weaker"


def test_a_renamed_rule_is_no_weaker_policy() -> None:
    new = changed(f"{RULES}/0/id", "x_renamed")
    new["waivers"] = []
    old = {**OLD, "waivers": []}
    directions = {change.name: change.direction for change in compared(new, old).changes}
    assert directions == {"x_refresh": "equal", "x_renamed": "stricter"}


def test_a_removed_rule_that_another_only_shadows_is_weaker() -> None:
    new = changed(f"{RULES}/0/id", "x_renamed")
    new["data_platform"]["rules"][0]["mode"] = "shadow"
    new["waivers"] = []
    assert compared(new, {**OLD, "waivers": []}).direction == "weaker"


def test_the_weakest_change_comes_first_and_decides() -> None:
    new = changed(f"{RULES}/1/effect", "block")
    new["enforcement"]["approvals"]["quorum"] = 1
    found = compared(new)
    assert [change.direction for change in found.changes] == ["weaker", "stricter"]
    assert found.direction == "weaker"


def test_a_policy_does_not_differ_from_itself() -> None:
    assert compared(OLD).changes == ()


def test_what_nobody_thought_of_is_not_decidable() -> None:
    old, new = normalize(OLD), deepcopy(normalize(OLD))
    new["enforcement"]["of_another_time"] = 3
    ((path, _, after, direction),) = setting_changes(old, new)
    assert (path, after, direction) == ("enforcement.of_another_time", 3, "not decidable")


FIELDS: dict[str, list[tuple[str, Any]]] = {
    "change.dirty": [("eq", True), ("ne", True), ("exists", True)],
    "change.models": [("gt", 3), ("le", 5), ("eq", 4), ("in", [2, 6]), ("exists", False)],
    "change.branch": [("eq", "main"), ("prefix", "ma"), ("prefix", "main"), ("not_in", ["main", "max"])],
    "dbt.tags": [("has", "a"), ("lacks", "b"), ("has_all", ["a", "b"]), ("size_lt", 2), ("size_ge", 1)],
}
conditions = st.sampled_from([{"field": f, "op": op, "value": v} for f, ops in FIELDS.items() for op, v in ops])
rules = st.builds(
    lambda when, effect, on_missing: {
        "id": "x_a",
        "effect": effect,
        "mode": "enforce",
        "on_missing": on_missing,
        "when": when,
    },
    st.lists(
        st.one_of(conditions, st.builds(lambda group: {"any": group}, st.lists(conditions, min_size=1, max_size=2))),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(EFFECTS),
    st.sampled_from([*EFFECTS, "ignore"]),
)
facts_given = st.fixed_dictionaries(
    {},
    optional={
        "change.dirty": st.booleans(),
        "change.models": st.integers(0, 9),
        "change.branch": st.sampled_from(["m", "ma", "main", "mainline", "max", "x", ""]),
        "dbt.tags": st.lists(st.sampled_from("abc"), unique=True).map(tuple),
    },
)


@settings(max_examples=150, deadline=None)
@given(old=rules, new=rules, facts=st.lists(facts_given, min_size=20, max_size=20))
def test_no_facts_contradict_what_is_said_of_two_rules(
    old: dict[str, Any], new: dict[str, Any], facts: list[dict[str, FactValue]]
) -> None:
    document = normalize({"version": 1})
    compared = compare_rules(document, old, new, today=TODAY)
    before, after = only(document, [old]), only(document, [new])
    for each in facts:
        was = RANK[judge(before, "run", each, today=TODAY).shadow_effect]
        now = RANK[judge(after, "run", each, today=TODAY).shadow_effect]
        assert now >= was or compared.direction == "weaker"
        assert now <= was or compared.direction != "equal"
    if compared.direction in ("weaker", "stricter"):
        shown = [RANK[judge(each, "run", compared.example, today=TODAY).shadow_effect] for each in (before, after)]
        assert (shown[1] < shown[0]) == (compared.direction == "weaker")
        assert shown[0] != shown[1]
