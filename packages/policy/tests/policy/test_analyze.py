# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from clyra.policy.analyze import Finding, analyze
from clyra.spec import ConfigurationError, UnavailableError

PRODUCTION = {"field": "env.production", "op": "eq", "value": True}
REFRESH = {"field": "change.full_refresh", "op": "eq", "value": True}
NO_REFRESH = {"field": "change.full_refresh", "op": "eq", "value": False}
EITHER = {"any": [REFRESH, NO_REFRESH]}
PERSONAL = {"field": "data.personal", "op": "eq", "value": True}
VERB = {"field": "action.verb", "op": "eq", "value": "drop"}


def condition(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def rule(name: str, effect: str, *when: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    return {"id": name, "effect": effect, "mode": "enforce", "when": list(when), **members}


def findings(*rules: Mapping[str, Any], kind: str | None = None, **sections: Any) -> list[Finding]:
    """What the boxes find, having made sure that z3 finds the same."""
    manifest = sections.pop("manifest", None)
    document = {"data_platform": {"rules": list(rules)}, **sections}
    found = analyze(document, manifest=manifest)
    assert found == analyze(document, manifest=manifest, deep=True)
    return [each for each in found if kind in (None, each.kind)]


def shadowed(*rules: Mapping[str, Any], **sections: Any) -> list[tuple[str, ...]]:
    return [each.rules for each in findings(*rules, kind="shadowed", **sections)]


@pytest.mark.parametrize(
    "when",
    [
        [PRODUCTION, condition("env.production", "ne", True)],
        [condition("change.models", "gt", 5), condition("change.models", "lt", 6)],
        [condition("change.models", "in", [1, 2]), condition("change.models", "ge", 3)],
        [condition("dbt.command", "in", ["run", "build"]), condition("dbt.command", "not_in", ["run", "build"])],
        [condition("actor.kind", "not_in", ["human", "agent", "service"])],
        [condition("change.branch", "prefix", "release/"), condition("change.branch", "eq", "main")],
        [condition("change.branch", "prefix", "a"), condition("change.branch", "prefix", "b")],
        [condition("dbt.tags", "has", "pii"), condition("dbt.tags", "lacks", "pii")],
        [condition("dbt.tags", "has_all", ["a", "b"]), condition("dbt.tags", "size_lt", 2)],
        [condition("dbt.tags", "has", "a"), condition("dbt.tags", "exists", False)],
        [condition("dbt.tags", "size_lt", 0)],
        [{"any": [REFRESH, PERSONAL]}, NO_REFRESH, condition("data.personal", "eq", False)],
    ],
)
def test_conditions_that_never_hold_together_are_a_contradiction(when: list[dict[str, Any]]) -> None:
    found = findings(rule("x_a", "block", *when))
    assert [(each.kind, each.level, each.rules) for each in found] == [("contradiction", "error", ("x_a",))]


@pytest.mark.parametrize(
    "when",
    [
        [condition("change.models", "gt", 5), condition("change.models", "lt", 7)],
        [condition("change.models", "exists", True)],
        [condition("change.branch", "prefix", "rel"), condition("change.branch", "prefix", "release")],
        [condition("change.branch", "prefix", "release"), condition("change.branch", "ne", "release")],
        [condition("change.branch", "not_in", ["a", "b"]), condition("change.branch", "prefix", "a")],
        [condition("dbt.tags", "has", "a"), condition("dbt.tags", "has", "b"), condition("dbt.tags", "size_lt", 3)],
        [condition("dbt.tags", "lacks", "a"), condition("dbt.tags", "size_ge", 3)],
        [condition("dbt.tags", "exists", True), condition("dbt.tags", "lacks", "a")],
        [condition("change.models", "eq", -1)],
        [condition("change.models", "lt", 5)],
        [condition("change.models", "not_in", [4, 5, 6])],
        [condition("dbt.tags", "size_ge", 2), condition("dbt.tags", "size_lt", 3)],
    ],
)
def test_conditions_that_may_hold_together_are_none(when: list[dict[str, Any]]) -> None:
    assert findings(rule("x_a", "block", *when)) == []


def test_a_branch_that_never_holds_beside_the_rest_is_named() -> None:
    either = {"any": [REFRESH, condition("change.models", "gt", 3)]}
    (found,) = findings(rule("x_a", "block", PRODUCTION, either, NO_REFRESH))
    assert (found.kind, found.level, found.rules) == ("dead_branch", "warning", ("x_a",))
    assert "when/1/any/0" in found.message


def test_a_narrower_rule_of_no_stronger_effect_is_shadowed() -> None:
    wide, narrow = rule("x_wide", "block", PRODUCTION), rule("x_narrow", "warn", PRODUCTION, REFRESH)
    assert shadowed(wide, narrow) == [("x_narrow", "x_wide")]
    assert shadowed(narrow, wide) == [("x_narrow", "x_wide")]
    assert shadowed(rule("x_wide", "warn", PRODUCTION), rule("x_narrow", "block", PRODUCTION, REFRESH)) == []


def test_of_two_rules_that_say_the_same_the_later_one_is_shadowed() -> None:
    same = rule("x_a", "warn", PRODUCTION, REFRESH), rule("x_b", "warn", REFRESH, PRODUCTION)
    assert shadowed(*same) == [("x_b", "x_a")]


def test_rules_are_shadowed_by_several_together_and_only_by_those_that_are_needed() -> None:
    rules = [
        rule("x_on", "block", PRODUCTION, REFRESH),
        rule("x_other", "block", PERSONAL),
        rule("x_off", "block", PRODUCTION, NO_REFRESH),
        rule("x_all", "require_approval", PRODUCTION, condition("change.models", "gt", 3), EITHER),
    ]
    assert shadowed(*rules) == [("x_all", "x_on", "x_off")]


def test_integers_are_covered_by_ranges_that_meet() -> None:
    low, high = condition("change.models", "lt", 10), condition("change.models", "ge", 10)
    parts = rule("x_low", "block", PRODUCTION, low), rule("x_high", "block", PRODUCTION, high)
    assert shadowed(*parts, rule("x_all", "warn", PRODUCTION, condition("change.models", "ge", 0))) == [
        ("x_all", "x_low", "x_high")
    ]
    gap = rule("x_high", "block", PRODUCTION, condition("change.models", "gt", 10))
    assert shadowed(parts[0], gap, rule("x_all", "warn", PRODUCTION, condition("change.models", "ge", 0))) == []


def test_what_a_rule_says_where_a_fact_is_missing_counts_as_well() -> None:
    wide = rule("x_wide", "block", PRODUCTION, on_missing="ignore")
    narrow = rule("x_narrow", "block", PRODUCTION, REFRESH)
    assert shadowed(wide, narrow) == []
    assert shadowed(wide, {**narrow, "on_missing": "ignore"}) == [("x_narrow", "x_wide")]
    assert shadowed({**wide, "on_missing": "warn"}, {**narrow, "on_missing": "warn"}) == [("x_narrow", "x_wide")]
    assert shadowed({**wide, "on_missing": "warn"}, {**narrow, "on_missing": "require_approval"}) == []
    assert shadowed(rule("x_wide", "warn", PRODUCTION, on_missing="block"), narrow) == []
    # Every value is taken, and yet a command that is not known is left to the second rule alone.
    every = rule("x_every", "block", condition("env.ci", "in", [True]), on_missing="ignore")
    every["when"] = [{"any": [condition("env.ci", "eq", True), condition("env.ci", "eq", False)]}]
    assert shadowed(every, rule("x_ci", "block", condition("env.ci", "eq", True))) == []


def test_a_rule_is_not_shadowed_by_one_that_is_not_enforced_or_judged_elsewhere() -> None:
    narrow = rule("x_narrow", "block", PRODUCTION, REFRESH)
    assert shadowed(rule("x_wide", "block", PRODUCTION, mode="shadow"), narrow) == []
    assert shadowed(rule("x_wide", "block", PRODUCTION), {**narrow, "mode": "shadow"}) == [("x_narrow", "x_wide")]
    later = rule("x_rows", "block", VERB, condition("action.rows", "gt", 1))
    assert shadowed(rule("x_drop", "block", VERB), later) == []
    in_dbt = {"any": [condition("change.models", "exists", each) for each in (True, False)]}
    anywhere = rule("x_ci", "warn", PRODUCTION, condition("env.ci", "eq", True))
    assert shadowed(rule("x_dbt", "block", PRODUCTION, in_dbt), anywhere) == []
    any_score = {"any": [condition("risk.score", "exists", each) for each in (True, False)]}
    at_risk = rule("x_risk", "block", PRODUCTION, any_score)
    assert shadowed(at_risk, narrow) == []


def test_a_rule_on_the_run_is_not_shadowed_by_one_on_its_nodes() -> None:
    known = {"any": [condition("dbt.node", "exists", each) for each in (True, False)]}
    assert shadowed(rule("x_nodes", "block", PRODUCTION, known), rule("x_run", "block", PRODUCTION, REFRESH)) == []


def test_a_rule_that_a_waiver_lowers_shadows_only_what_it_lowers_too() -> None:
    rules = rule("x_wide", "block", PRODUCTION), rule("x_narrow", "block", PRODUCTION, REFRESH)
    waiver = {"id": "w", "expires": "2026-12-01", "nodes": ["model.a"]}
    assert shadowed(*rules, waivers=[{**waiver, "rules": ["x_wide"]}]) == []
    assert shadowed(*rules, waivers=[{**waiver, "rules": ["x_wide", "x_narrow"]}]) == [("x_narrow", "x_wide")]
    assert shadowed(*rules, waivers=[{**waiver, "rules": ["x_narrow"]}]) == [("x_narrow", "x_wide")]


def test_an_allow_rule_that_lifts_nothing_is_a_conflict() -> None:
    found = findings(rule("x_all", "block", PRODUCTION), rule("x_ok", "allow", REFRESH), kind="conflict")
    assert [(each.level, each.rules) for each in found] == [("warning", ("x_ok", "x_all"))]
    assert "lifts nothing" in found[0].message


def test_effects_that_differ_are_a_note_and_only_where_the_rules_can_meet() -> None:
    warn, block = rule("x_warn", "warn", PRODUCTION), rule("x_block", "block", REFRESH)
    (found,) = findings(warn, block)
    assert (found.kind, found.level, found.rules) == ("conflict", "note", ("x_warn", "x_block"))
    apart = rule("x_warn", "warn", PRODUCTION, REFRESH), rule("x_block", "block", NO_REFRESH)
    assert findings(*apart) == []
    assert findings(warn, rule("x_block", "block", VERB)) == []


ENVIRONMENTS = {
    "prod": {"targets": ["prod", "prod_eu"], "production": True},
    "dev": {"targets": ["dev"], "production": False},
}


def gaps(*rules: Mapping[str, Any], **sections: Any) -> list[str | None]:
    return [each.subject for each in findings(*rules, kind="gap", **sections)]


def test_a_production_target_that_no_rule_can_stop_is_a_gap() -> None:
    in_prod = rule("x_a", "warn", condition("dbt.target", "eq", "prod"), REFRESH)
    assert gaps(environments=ENVIRONMENTS) == ["target prod", "target prod_eu"]
    assert gaps(in_prod, environments=ENVIRONMENTS) == ["target prod_eu"]
    assert gaps(rule("x_a", "warn", PRODUCTION), environments=ENVIRONMENTS) == []
    assert gaps(rule("x_a", "allow", PRODUCTION), environments=ENVIRONMENTS) == ["target prod", "target prod_eu"]
    threshold = {"risk": {"thresholds": [{"above": 80, "effect": "warn"}]}}
    assert gaps(environments=ENVIRONMENTS, enforcement=threshold) == []
    never = rule("x_a", "block", PRODUCTION, condition("env.name", "eq", "dev"))
    assert gaps(never, environments=ENVIRONMENTS) == ["target prod", "target prod_eu"]


def model(name: str, **members: Any) -> dict[str, Any]:
    plain = {"tags": [], "columns": {}, "config": {"materialized": "view"}, "relation_name": '"db"."s"."t"'}
    return {"unique_id": name, "resource_type": "model", **plain, **members}


MANIFEST = {
    "metadata": {"adapter_type": "postgres"},
    "nodes": {
        node["unique_id"]: node
        for node in (
            model("model.tag", tags=["PII"], relation_name='"db"."crm"."people"', schema="crm"),
            model("model.column", columns={"email": {"tags": [], "meta": {"clyra": {"labels": "personal"}}}}),
            model("model.config", config={"meta": {"clyra": {"labels": ["pii"]}}, "materialized": "table"}),
            model("model.plain", tags=["daily"]),
            {"unique_id": "test.a", "resource_type": "test", "tags": ["pii"]},
        )
    },
}


def test_a_node_with_personal_data_that_no_rule_is_about_is_a_gap() -> None:
    anywhere = rule("x_any", "block", PRODUCTION)
    assert gaps(anywhere, manifest=MANIFEST) == ["model.column", "model.config", "model.tag"]
    assert gaps(rule("x_all", "warn", PERSONAL, PRODUCTION), manifest=MANIFEST) == []
    tables = rule("x_tables", "warn", condition("dbt.materialized", "eq", "table"))
    assert gaps(tables, manifest=MANIFEST) == ["model.column", "model.tag"]
    crm = rule("x_crm", "block", condition("action.target", "prefix", "db.crm."))
    assert gaps(tables, crm, manifest=MANIFEST) == ["model.column"]
    assert gaps(rule("x_tag", "block", condition("dbt.tags", "lacks", "PII")), manifest=MANIFEST) == ["model.tag"]


@pytest.mark.parametrize("manifest", [{}, {"nodes": []}, {"nodes": {"a": None}}, {"nodes": {"a": {}}}])
def test_what_is_no_manifest_is_refused(manifest: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        analyze({}, manifest=manifest)


def test_without_z3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(UnavailableError, match="clyra-policy") as refused:
        analyze({}, deep=True)
    assert refused.value.code == "extra_missing"


def many_tags(count: int) -> list[dict[str, Any]]:
    return [
        rule(f"x_{number}", "block", condition("dbt.tags", "has_any", [f"t{number}", f"u{number}"]))
        for number in range(count)
    ]


def test_sets_of_very_many_texts_are_decided_soundly() -> None:
    rules = [
        *many_tags(20),
        rule("x_narrow", "block", condition("dbt.tags", "has_all", ["t1", "t2"])),
        rule("x_never", "block", condition("dbt.tags", "has", "t1"), condition("dbt.tags", "lacks", "t1")),
        rule("x_nothing", "warn", condition("dbt.tags", "lacks", "t3")),
        rule("x_sizes", "warn", condition("dbt.tags", "size_lt", 2), condition("dbt.tags", "size_ge", 2)),
    ]
    found = [(each.kind, each.rules) for each in analyze({"data_platform": {"rules": rules}}) if each.level == "error"]
    assert found == [
        ("contradiction", ("x_never",)),
        ("contradiction", ("x_sizes",)),
        ("shadowed", ("x_narrow", "x_1")),
    ]


def test_what_is_too_wide_is_told_and_z3_decides_it() -> None:
    counts = ("change.models", "change.seeds", "change.tests")
    branches = [{"any": [condition(name, "ne", number) for name in counts]} for number in range(9)]
    document = {"data_platform": {"rules": [rule("x_a", "block", *branches)]}}
    (found,) = analyze(document)
    assert (found.kind, found.level, found.rules) == ("undecided", "note", ("x_a",))
    assert not [each for each in analyze(document, deep=True) if each.kind == "undecided"]
