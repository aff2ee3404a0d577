# SPDX-License-Identifier: Apache-2.0
"""Why a decision came out as it did: every rule with the truth of each condition, and the waivers that were looked at.

Truth has four words here: beside ``true``, ``false`` and ``unknown`` there is ``not_decidable``, where the decision
knew what evidence does not tell: personal facts are keyed digests there, and facts of single nodes are left out of the
one decision on a whole run. A fact that evidence calls missing was unknown; of one that it does not name, it says
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from clyra.policy.conditions import Condition, Item, Known, compile_condition, known_value
from clyra.policy.engine import CompiledPolicy
from clyra.policy.facts import Facts, FactValue, declared_facts
from clyra.policy.rules import Rule
from clyra.policy.waivers import Waiver

Word = Literal["true", "false", "unknown", "not_decidable"]

_DIGEST = re.compile(r"hmac:[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class ConditionTruth:
    """A condition, what it came to, and the fact's value where it is known to the reader."""

    condition: Condition
    truth: Word
    actual: FactValue | None


ItemTruth = tuple[ConditionTruth, ...]


@dataclass(frozen=True, slots=True)
class WaiverTruth:
    """A waiver that names the rule: ``truth`` of its selectors, and whether its time is over."""

    id: str
    truth: Word
    expired: bool
    expires: date
    items: tuple[ItemTruth, ...]


@dataclass(frozen=True, slots=True)
class RuleTruth:
    """A rule, what its items came to, and the waivers that name it."""

    rule: Rule
    truth: Word
    items: tuple[ItemTruth, ...]
    waivers: tuple[WaiverTruth, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All rules that are judged at a point, thresholds last; ``elsewhere`` are the ids of the others."""

    point: str
    rules: tuple[RuleTruth, ...]
    elsewhere: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvidenceFacts:
    """Facts of a ``decision`` event: those that can be read, and the names of those that it does not disclose."""

    readable: Facts
    undisclosed: frozenset[str]


def facts_of_event(event: Mapping[str, Any]) -> EvidenceFacts:
    """The facts of a journal event of type ``decision``; undeclared ones are passed over."""
    declared, told = declared_facts(), event["facts"]
    digested = {name for name, value in told.items() if name in declared and _is_digested(name, value)}
    undisclosed = digested | (declared.keys() - told.keys() - set(event["missing"]))
    readable = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in told.items()
        if name in declared and name not in undisclosed
    }
    return EvidenceFacts(readable, frozenset(undisclosed))


def explain(
    policy: CompiledPolicy, point: str, facts: Facts, *, today: date, undisclosed: frozenset[str] = frozenset()
) -> Explanation:
    """The truth of every condition of the rules that are judged at ``point``.

    Args:
        policy: The policy.
        point: The decision point.
        facts: What is known; ``risk.score`` is a fact like any other here.
        today: The day on which waivers are judged.
        undisclosed: Facts that the decision may have known and the reader does not.

    Raises:
        ValueError: There is no such decision point.
    """
    policy.needs(point)
    view = _View(facts, undisclosed)
    here = [rule for rule in (*policy.rules, *policy.thresholds) if point in rule.points]
    return Explanation(
        point=point,
        rules=tuple(view.rule(rule, policy.waivers, today) for rule in here),
        elsewhere=tuple(rule.id for rule in policy.rules if point not in rule.points),
    )


class _View:
    """Facts as the reader has them."""

    def __init__(self, facts: Facts, undisclosed: frozenset[str]) -> None:
        declared = declared_facts()
        self._facts = facts
        self._undisclosed = undisclosed
        self._known: Known = {name: known_value(fact, facts.get(name)) for name, fact in declared.items()}

    def rule(self, rule: Rule, waivers: Sequence[Waiver], today: date) -> RuleTruth:
        items = self._items(rule.when)
        named = tuple(self._waiver(waiver, rule, today) for waiver in waivers if waiver.names(rule))
        return RuleTruth(rule, _all(items), items, named)

    def _waiver(self, waiver: Waiver, rule: Rule, today: date) -> WaiverTruth:
        items = self._items(waiver.items_for(rule))
        return WaiverTruth(waiver.id, _all(items), today > waiver.expires, waiver.expires, items)

    def _items(self, items: Iterable[Item]) -> tuple[ItemTruth, ...]:
        return tuple(tuple(self._condition(condition) for condition in item) for item in items)

    def _condition(self, condition: Condition) -> ConditionTruth:
        if condition.field in self._undisclosed:
            return ConditionTruth(condition, "not_decidable", None)
        known = self._known[condition.field] is not None
        truth = _word(compile_condition(condition)(self._known))
        return ConditionTruth(condition, truth, self._facts[condition.field] if known else None)


def _word(truth: bool | None) -> Word:
    return "unknown" if truth is None else "true" if truth else "false"


def _any(item: ItemTruth) -> Word:
    return _first(("true", "not_decidable", "unknown"), [each.truth for each in item], "false")


def _all(items: Iterable[ItemTruth]) -> Word:
    return _first(("false", "not_decidable", "unknown"), [_any(item) for item in items], "true")


def _first(order: tuple[Word, ...], words: list[Word], otherwise: Word) -> Word:
    return next((word for word in order if word in words), otherwise)


def _is_digested(name: str, value: object) -> bool:
    if not declared_facts()[name].personal:
        return False
    members = value if isinstance(value, list) else [value]
    return any(isinstance(member, str) and _DIGEST.fullmatch(member) is not None for member in members)
