# SPDX-License-Identifier: Apache-2.0
"""Conditions on facts, compiled once to closures; their truth is three-valued (Kleene).

A condition on a fact that is not known is unknown (None), never false: a conjunction with an unknown part is unknown
unless another part is false. ``exists`` is the one two-valued operator. A fact of another type than declared, or a
text outside its declared values, is not known either. Nothing is evaluated as code, and no regular expression is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from clyra.policy.facts import Fact, FactType, FactValue, declared_facts
from clyra.spec import PolicyError

Truth = bool | None
"""True, false, or None: unknown."""

KnownValue = bool | int | str | frozenset[str]

Known = Mapping[str, Any]
"""Facts as conditions read them: every fact that may be asked is there, as `KnownValue`, or None where unknown."""

Test = Callable[[Known], Truth]

OPERATORS: Mapping[FactType, frozenset[str]] = MappingProxyType(
    {
        "bool": frozenset({"eq", "ne", "exists"}),
        "integer": frozenset({"eq", "ne", "in", "not_in", "gt", "ge", "lt", "le", "exists"}),
        "text": frozenset({"eq", "ne", "in", "not_in", "prefix", "exists"}),
        "set": frozenset({"has", "lacks", "has_any", "has_all", "size_lt", "size_ge", "exists"}),
    }
)
"""Operators that fit a fact of each type."""

_LISTS = frozenset({"in", "not_in", "has_any", "has_all"})
_INTEGERS = frozenset({"size_lt", "size_ge"})
_PYTHON_TYPES: Mapping[FactType, type] = {"bool": bool, "integer": int, "text": str, "set": str}


@dataclass(frozen=True, slots=True)
class Condition:
    """``field op value``; a list in the policy is a tuple here."""

    field: str
    op: str
    value: FactValue | tuple[int, ...]


Item = tuple[Condition, ...]
"""One item of ``when``: holds if any of its conditions does. A plain condition is an item of one."""


def read_items(when: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """The items of a ``when``, all of which must hold.

    Raises:
        PolicyError: A condition is malformed (``policy_condition``), asks an undeclared fact (``policy_fact``), or its
            operator or value does not fit the fact (``policy_op``, ``policy_type``).
    """
    return tuple(_item(entry) for entry in when)


def _item(entry: Mapping[str, Any]) -> Item:
    if "any" not in entry:
        return (_condition(entry),)
    if len(entry) != 1 or not entry["any"]:
        raise PolicyError("an item with any has nothing beside it and at least one condition", code="policy_condition")
    return tuple(_condition(each) for each in entry["any"])


def asked(items: Iterable[Item]) -> frozenset[str]:
    """Names of the facts that the items ask for."""
    return frozenset(condition.field for item in items for condition in item)


def _condition(entry: Mapping[str, Any]) -> Condition:
    if entry.keys() != {"field", "op", "value"}:
        raise PolicyError("a condition has field, op and value and nothing else", code="policy_condition")
    field, op, value = entry["field"], entry["op"], entry["value"]
    fact = declared_facts().get(field)
    if fact is None:
        raise PolicyError(f"fact {field!r} is not declared; see spec/policy/facts.json", code="policy_fact")
    if op not in OPERATORS[fact.type]:
        known = ", ".join(sorted(OPERATORS[fact.type]))
        raise PolicyError(f"op {op!r} does not fit {field} ({fact.type}); use one of {known}", code="policy_op")
    if not _fits(value, op, fact.type):
        raise PolicyError(f"the value of {field} {op} is of another type than expected", code="policy_type")
    return Condition(field, op, tuple(value) if op in _LISTS else value)


def _fits(value: object, op: str, fact_type: FactType) -> bool:
    if op == "exists":
        return type(value) is bool
    if op in _INTEGERS:
        return type(value) is int
    wanted = _PYTHON_TYPES[fact_type]
    if op in _LISTS:
        return isinstance(value, list | tuple) and all(type(each) is wanted for each in value)
    return type(value) is wanted


def compile_items(items: Sequence[Item]) -> Test:
    """The conjunction of the items as one closure."""
    tests = tuple(compile_item(item) for item in items)
    if not tests:
        return lambda known: True
    if len(tests) == 1:
        return tests[0]

    def all_of(known: Known) -> Truth:
        outcome: Truth = True
        for test in tests:
            truth = test(known)
            if truth is False:
                return False
            if truth is None:
                outcome = None
        return outcome

    return all_of


def compile_item(item: Item) -> Test:
    """The disjunction of the item's conditions as one closure."""
    tests = tuple(compile_condition(condition) for condition in item)
    if len(tests) == 1:
        return tests[0]

    def any_of(known: Known) -> Truth:
        outcome: Truth = False
        for test in tests:
            truth = test(known)
            if truth is True:
                return True
            if truth is None:
                outcome = None
        return outcome

    return any_of


def compile_condition(condition: Condition) -> Test:
    """The condition as a closure over its field and value."""
    return _COMPILERS[condition.op](condition.field, condition.value)


def _eq(field: str, wanted: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value == wanted

    return test


def _ne(field: str, unwanted: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value != unwanted

    return test


def _in(field: str, wanted: Any) -> Test:
    choices = frozenset(wanted)

    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value in choices

    return test


def _not_in(field: str, unwanted: Any) -> Test:
    choices = frozenset(unwanted)

    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value not in choices

    return test


def _gt(field: str, limit: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value > limit

    return test


def _lt(field: str, limit: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value < limit

    return test


def _prefix(field: str, start: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else value.startswith(start)

    return test


def _has(field: str, member: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else member in value

    return test


def _lacks(field: str, member: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else member not in value

    return test


def _has_any(field: str, members: Any) -> Test:
    wanted = frozenset(members)

    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else not wanted.isdisjoint(value)

    return test


def _has_all(field: str, members: Any) -> Test:
    wanted = frozenset(members)

    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else wanted <= value

    return test


def _size_lt(field: str, limit: Any) -> Test:
    def test(known: Known) -> Truth:
        value = known[field]
        return None if value is None else len(value) < limit

    return test


def _exists(field: str, wanted: Any) -> Test:
    def test(known: Known) -> Truth:
        return (known[field] is not None) is wanted

    return test


_COMPILERS: Mapping[str, Callable[[str, Any], Test]] = {
    "eq": _eq,
    "ne": _ne,
    "in": _in,
    "not_in": _not_in,
    "gt": _gt,
    "ge": lambda field, least: _gt(field, least - 1),
    "lt": _lt,
    "le": lambda field, most: _lt(field, most + 1),
    "prefix": _prefix,
    "has": _has,
    "lacks": _lacks,
    "has_any": _has_any,
    "has_all": _has_all,
    "size_lt": _size_lt,
    "size_ge": lambda field, least: _negated(_size_lt(field, least)),
    "exists": _exists,
}


def _negated(test: Test) -> Test:
    def negation(known: Known) -> Truth:
        truth = test(known)
        return None if truth is None else not truth

    return negation


def known_value(fact: Fact, value: object) -> KnownValue | None:
    """``value`` as conditions read it, or None where it is no value that ``fact`` may have."""
    if value is None:
        return None
    if fact.type == "set":
        # Only a tuple: a text is iterable too, and would be the set of its letters.
        if type(value) is not tuple or not all(type(member) is str for member in value):
            return None
        return frozenset(value)
    if type(value) is not _PYTHON_TYPES[fact.type]:
        return None
    if fact.values is not None and value not in fact.values:
        return None
    return value  # type: ignore[return-value]  # its type was just compared
