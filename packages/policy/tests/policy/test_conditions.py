# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from clyra.policy.conditions import OPERATORS, compile_item, compile_items, known_value, read_items
from clyra.policy.facts import declared_facts
from clyra.spec import PolicyError

BOOL, INTEGER, TEXT, SET = "change.full_refresh", "change.models", "change.branch", "dbt.tags"

HOLDS = [
    (BOOL, "eq", True, True),
    (BOOL, "ne", True, False),
    (INTEGER, "eq", 3, 3),
    (INTEGER, "ne", 3, 4),
    (INTEGER, "in", [1, 3], 3),
    (INTEGER, "not_in", [1, 3], 2),
    (INTEGER, "gt", 3, 4),
    (INTEGER, "ge", 3, 3),
    (INTEGER, "lt", 3, 2),
    (INTEGER, "le", 3, 3),
    (TEXT, "eq", "main", "main"),
    (TEXT, "ne", "main", "Main"),
    (TEXT, "in", ["main", "dev"], "dev"),
    (TEXT, "not_in", ["main", "dev"], ""),
    (TEXT, "prefix", "release/", "release/1"),
    (SET, "has", "pii", ("a", "pii")),
    (SET, "lacks", "pii", ()),
    (SET, "has_any", ["pii", "b"], ("b",)),
    (SET, "has_all", ["pii", "b"], ("c", "b", "pii")),
    (SET, "size_lt", 2, ("a", "a")),
    (SET, "size_ge", 2, ("a", "b")),
]
FAILS = [
    (BOOL, "eq", True, False),
    (BOOL, "ne", True, True),
    (INTEGER, "eq", 3, 4),
    (INTEGER, "ne", 3, 3),
    (INTEGER, "in", [1, 3], 2),
    (INTEGER, "not_in", [1, 3], 3),
    (INTEGER, "gt", 3, 3),
    (INTEGER, "ge", 3, 2),
    (INTEGER, "lt", 3, 3),
    (INTEGER, "le", 3, 4),
    (TEXT, "eq", "main", "Main"),
    (TEXT, "ne", "main", "main"),
    (TEXT, "in", ["main", "dev"], "mai"),
    (TEXT, "not_in", ["main", "dev"], "dev"),
    (TEXT, "prefix", "release/", "release"),
    (SET, "has", "pii", ("pi", "i")),
    (SET, "lacks", "pii", ("pii",)),
    (SET, "has_any", ["pii", "b"], ("c",)),
    (SET, "has_all", ["pii", "b"], ("pii",)),
    (SET, "size_lt", 2, ("a", "b")),
    (SET, "size_ge", 2, ("a", "a")),
]


def condition(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def truth(when: list[dict[str, Any]], **facts: Any) -> bool | None:
    """Facts are given with ``__`` for the dot; all others are unknown."""
    known = {name: known_value(fact, facts.get(name.replace(".", "__"))) for name, fact in declared_facts().items()}
    return compile_items(read_items(when))(known)


@pytest.mark.parametrize(("field", "op", "wanted", "value"), HOLDS, ids=lambda each: str(each))
def test_a_condition_holds(field: str, op: str, wanted: Any, value: Any) -> None:
    assert truth([condition(field, op, wanted)], **{field.replace(".", "__"): value}) is True


@pytest.mark.parametrize(("field", "op", "wanted", "value"), FAILS, ids=lambda each: str(each))
def test_a_condition_fails(field: str, op: str, wanted: Any, value: Any) -> None:
    assert truth([condition(field, op, wanted)], **{field.replace(".", "__"): value}) is False


@pytest.mark.parametrize(("field", "op", "wanted", "_value"), HOLDS, ids=lambda each: str(each))
def test_a_condition_on_a_missing_fact_is_unknown(field: str, op: str, wanted: Any, _value: Any) -> None:
    assert truth([condition(field, op, wanted)]) is None


def test_the_tables_hold_every_operator_of_every_type() -> None:
    declared = declared_facts()
    for table in (HOLDS, FAILS):
        tried = {(declared[field].type, op) for field, op, *_ in table}
        assert tried == {(kind, op) for kind, ops in OPERATORS.items() for op in ops if op != "exists"}


@pytest.mark.parametrize("field", [BOOL, INTEGER, TEXT, SET])
def test_exists_is_two_valued(field: str) -> None:
    value = {BOOL: False, INTEGER: 0, TEXT: "", SET: ()}[field]
    name = field.replace(".", "__")
    assert truth([condition(field, "exists", True)], **{name: value}) is True
    assert truth([condition(field, "exists", False)], **{name: value}) is False
    assert truth([condition(field, "exists", True)]) is False
    assert truth([condition(field, "exists", False)]) is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (BOOL, 1),
        (BOOL, "true"),
        (INTEGER, True),
        (INTEGER, 1.0),
        (INTEGER, "1"),
        (TEXT, 1),
        (TEXT, ("main",)),
        (SET, "pii"),
        (SET, ["pii"]),
        (SET, ("pii", 1)),
        ("actor.kind", "robot"),
        ("dbt.command", "BUILD"),
    ],
)
def test_what_was_not_declared_is_not_known(field: str, value: object) -> None:
    assert known_value(declared_facts()[field], value) is None


U, T, F = None, True, False
BY_NAME = {U: {}, T: {"change__full_refresh": True}, F: {"change__full_refresh": False}}


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [(T, T, T, T), (T, F, F, T), (F, F, F, F), (T, U, U, T), (U, T, U, T), (F, U, F, U), (U, F, F, U), (U, U, U, U)],
)
def test_conjunction_and_disjunction_are_kleenes(
    left: bool | None, right: bool | None, both: bool | None, either: bool | None
) -> None:
    first, second = condition("env.ci", "eq", True), condition("change.dirty", "eq", True)
    facts = {name: value for name, value in (("env__ci", left), ("change__dirty", right)) if value is not None}
    assert truth([first, second], **facts) is both
    assert truth([{"any": [first, second]}], **facts) is either


def test_no_conditions_hold_always() -> None:
    assert compile_items(())({}) is True


def test_a_third_condition_is_still_looked_at_behind_an_unknown_one() -> None:
    when = [condition("env.ci", "eq", True), condition("change.dirty", "eq", True), condition(TEXT, "eq", "main")]
    assert truth(when, env__ci=True, change__branch="dev") is False
    (item,) = read_items([{"any": when}])
    known = {"env.ci": False, "change.dirty": None, TEXT: "main"}
    assert compile_item(item)(known) is True


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"field": "no.fact", "op": "eq", "value": 1}, "policy_fact"),
        ({"field": BOOL, "op": "gtt", "value": True}, "policy_op"),
        ({"field": BOOL, "op": "gt", "value": True}, "policy_op"),
        ({"field": TEXT, "op": "has", "value": "a"}, "policy_op"),
        ({"field": BOOL, "op": "eq", "value": 1}, "policy_type"),
        ({"field": INTEGER, "op": "eq", "value": True}, "policy_type"),
        ({"field": INTEGER, "op": "in", "value": 3}, "policy_type"),
        ({"field": TEXT, "op": "in", "value": "main"}, "policy_type"),
        ({"field": TEXT, "op": "in", "value": ["main", 1]}, "policy_type"),
        ({"field": SET, "op": "size_lt", "value": "2"}, "policy_type"),
        ({"field": BOOL, "op": "exists", "value": "yes"}, "policy_type"),
        ({"field": BOOL, "op": "eq"}, "policy_condition"),
        ({"field": BOOL, "op": "eq", "value": True, "not": True}, "policy_condition"),
        ({"any": []}, "policy_condition"),
        ({"any": [condition(BOOL, "eq", True)], "field": BOOL}, "policy_condition"),
        ({"any": [{"any": [condition(BOOL, "eq", True)]}]}, "policy_condition"),
    ],
)
def test_what_is_no_condition_is_refused(entry: dict[str, Any], code: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read_items([entry])
    assert refused.value.code == code


def test_the_modules_of_a_gate_load_no_heavy_library() -> None:
    program = """
import sys
import clyra.policy.analyze, clyra.policy.engine, clyra.policy.explain, clyra.policy.risk, clyra.policy.shadow
heavy = {"yaml", "jsonschema_rs", "cryptography", "ruamel", "questionary", "z3", "orjson", "click"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
