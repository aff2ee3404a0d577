# SPDX-License-Identifier: Apache-2.0
"""What is prepared once per policy so that a decision is only calls of closures: rules, waivers, the facts to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from clyra.policy.conditions import Item, Known, KnownValue, Test, asked, compile_item, compile_items, known_value
from clyra.policy.decision import RuleOutcome
from clyra.policy.effect import EFFECTS, RANK
from clyra.policy.facts import Fact, Facts, declared_facts
from clyra.policy.rules import Rule
from clyra.policy.waivers import Waiver


@dataclass(frozen=True, slots=True)
class WaiverTest:
    """A waiver as one rule meets it."""

    id: str
    expires: date
    test: Test


@dataclass(frozen=True, slots=True)
class RuleTest:
    """A rule with its closures. Its outcomes are made once: they depend on nothing but the rule.

    ``unknown`` is None where the rule then has no say. ``items`` tell, item by item, for want of which facts it is
    unknown.
    """

    rule: Rule
    test: Test
    matched: RuleOutcome
    unknown: RuleOutcome | None
    items: tuple[tuple[Test, tuple[str, ...]], ...]
    waivers: tuple[WaiverTest, ...]
    asks: frozenset[str]

    def waiver(self, known: Known, today: date, expired: set[str]) -> WaiverTest | None:
        """The first waiver that holds today; without one, those that would have held are added to ``expired``."""
        matching = [waiver for waiver in self.waivers if waiver.test(known) is True]
        for waiver in matching:
            if today <= waiver.expires:
                return waiver
        expired.update(waiver.id for waiver in matching)
        return None

    def wanted(self, known: Known) -> Iterable[str]:
        """Facts for want of which the rule is unknown."""
        return (field for test, fields in self.items if test(known) is None for field in fields if known[field] is None)


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules that have a say at one point, and the facts to read for them."""

    rules: tuple[RuleTest, ...]
    reads: tuple[Fact, ...]


def rule_test(rule: Rule, waivers: Sequence[Waiver]) -> RuleTest:
    """The rule with those of the waivers that may lower it."""
    own = [(waiver, waiver.items_for(rule)) for waiver in waivers if waiver.names(rule)]
    missing = rule.on_missing
    return RuleTest(
        rule=rule,
        test=compile_items(rule.when),
        matched=RuleOutcome(rule.id, rule.effect, rule.severity, "matched", rule.mode),
        unknown=None if missing == "ignore" else RuleOutcome(rule.id, missing, rule.severity, "unknown", rule.mode),
        items=tuple((compile_item(item), _wanting(item)) for item in rule.when),
        waivers=tuple(WaiverTest(waiver.id, waiver.expires, compile_items(items)) for waiver, items in own),
        asks=rule.asks.union(*(asked(items) for _, items in own)),
    )


def plan_of(rules: Sequence[RuleTest]) -> Plan:
    """The plan that judges these rules, in their order."""
    names = sorted(frozenset[str]().union(*(rule.asks for rule in rules)))
    declared = declared_facts()
    return Plan(tuple(rules), tuple(declared[name] for name in names))


def read_facts(facts: Facts, reads: Iterable[Fact]) -> dict[str, KnownValue | None]:
    """The facts ``reads`` as conditions see them; None for those that are absent, or not what was declared."""
    return {fact.name: known_value(fact, facts.get(fact.name)) for fact in reads}


def waived(outcome: RuleOutcome, waiver: WaiverTest) -> RuleOutcome:
    """The outcome, at most ``warn``."""
    lowered = EFFECTS[min(RANK[outcome.effect], RANK["warn"])]
    return RuleOutcome(outcome.id, lowered, outcome.severity, "waived", outcome.mode, waiver.id)


def _wanting(item: Item) -> tuple[str, ...]:
    """Facts whose absence may leave the item unknown."""
    return tuple(condition.field for condition in item if condition.op != "exists")
