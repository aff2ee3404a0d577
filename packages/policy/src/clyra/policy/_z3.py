# SPDX-License-Identifier: Apache-2.0
"""The same questions as `clyra.policy._coverage`, answered by z3: the one module that imports it.

Nothing is shared with the boxes but the questions, so that one checks the other. A fact is a flag "is known" and a
value; a set of texts is one flag per text that is named, and a size that is at least the number of those that hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from clyra.policy._coverage import levels, says
from clyra.policy.conditions import Condition, Item
from clyra.policy.facts import declared_facts
from clyra.policy.rules import Rule
from clyra.spec import UnavailableError

_TIMEOUT_MS = 5_000


class Z3Solver:
    """A `Solver` by satisfiability modulo theories; slow, and exact for everything that rules can say."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._z3 = _imported()
        self._solver = self._z3.Solver()
        self._solver.set("timeout", _TIMEOUT_MS)
        self._values: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        self._members: dict[tuple[str, str], Any] = {}
        conditions = [condition for rule in rules for item in rule.when for condition in item]
        for field in dict.fromkeys(condition.field for condition in conditions):
            self._declare(field, [condition for condition in conditions if condition.field == field])

    def can_hold(self, items: Sequence[Item]) -> bool | None:
        """See `Solver`."""
        return self._satisfiable(self._all(items, possible=False))

    def can_meet(self, one: Rule, other: Rule) -> bool | None:
        """See `Solver`."""
        return self._satisfiable(self._all((*one.when, *other.when), possible=False))

    def covers(self, rule: Rule, others: Sequence[Rule]) -> bool | None:
        """See `Solver`."""
        z3 = self._z3
        gaps = [
            z3.And(self._says(rule, rank), *(z3.Not(self._says(other, rank)) for other in others))
            for rank in levels(rule)
        ]
        found = self._satisfiable(z3.Or(gaps))
        return None if found is None else not found

    def _satisfiable(self, formula: Any) -> bool | None:
        self._solver.push()
        self._solver.add(formula)
        answer = self._solver.check()
        self._solver.pop()
        return None if answer == self._z3.unknown else bool(answer == self._z3.sat)

    def _says(self, rule: Rule, rank: int) -> Any:
        z3 = self._z3
        matching, missing = says(rule, rank)
        true, possible = self._all(rule.when, possible=False), self._all(rule.when, possible=True)
        return z3.Or(z3.And(matching, true), z3.And(missing, possible, z3.Not(true)))

    def _all(self, items: Iterable[Item], *, possible: bool) -> Any:
        z3 = self._z3
        return z3.And([z3.Or([self._condition(each, possible=possible) for each in item]) for item in items])

    def _condition(self, condition: Condition, *, possible: bool) -> Any:
        z3, known = self._z3, self._known[condition.field]
        if condition.op == "exists":
            return known if condition.value else z3.Not(known)
        holds = self._holds(condition)
        return z3.Or(z3.Not(known), holds) if possible else z3.And(known, holds)

    def _holds(self, condition: Condition) -> Any:
        z3, wanted = self._z3, condition.value
        value = self._values[condition.field]
        match condition.op:
            case "eq" | "has":
                return self._is(condition.field, wanted)
            case "ne" | "lacks":
                return z3.Not(self._is(condition.field, wanted))
            case "in" | "has_any":
                return z3.Or([self._is(condition.field, each) for each in _many(wanted)])
            case "not_in":
                return z3.Not(z3.Or([self._is(condition.field, each) for each in _many(wanted)]))
            case "has_all":
                return z3.And([self._is(condition.field, each) for each in _many(wanted)])
            case "gt":
                return value > wanted
            case "ge" | "size_ge":
                return value >= wanted
            case "lt" | "size_lt":
                return value < wanted
            case "le":
                return value <= wanted
        return self._starts_with(condition.field, str(wanted))

    def _is(self, field: str, wanted: Any) -> Any:
        """The fact equals ``wanted``, or a set has it."""
        fact = declared_facts()[field]
        if fact.type == "set":
            return self._members[field, wanted]
        if fact.values is not None:
            return self._values[field] == (fact.values.index(wanted) if wanted in fact.values else -1)
        return self._values[field] == (self._z3.StringVal(wanted) if fact.type == "text" else wanted)

    def _starts_with(self, field: str, start: str) -> Any:
        z3, values = self._z3, declared_facts()[field].values
        if values is not None:
            return z3.Or([self._values[field] == index for index, text in enumerate(values) if text.startswith(start)])
        return z3.PrefixOf(z3.StringVal(start), self._values[field])

    def _declare(self, field: str, conditions: Iterable[Condition]) -> None:
        z3, fact = self._z3, declared_facts()[field]
        self._known[field] = z3.Bool(f"known {field}")
        if fact.type == "bool":
            self._values[field] = z3.Bool(field)
        elif fact.type == "text" and fact.values is None:
            self._values[field] = z3.String(field)
        else:
            self._values[field] = z3.Int(field)
        if fact.values is not None:
            self._solver.add(self._values[field] >= 0, self._values[field] < len(fact.values))
        if fact.type == "set":
            texts = {each for condition in conditions for each in _many(condition.value) if isinstance(each, str)}
            flags = [z3.Bool(f"{field} has {text}") for text in sorted(texts)]
            self._members |= {(field, text): flag for text, flag in zip(sorted(texts), flags, strict=True)}
            self._solver.add(self._values[field] >= z3.Sum([z3.If(flag, 1, 0) for flag in flags] or [z3.IntVal(0)]))


def _many(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _imported() -> Any:
    try:
        return import_module("z3")
    except ImportError as exc:
        message = "--deep needs z3, which is not installed; run: pip install 'clyra-policy[deep]'"
        raise UnavailableError(message, code="extra_missing") from exc
