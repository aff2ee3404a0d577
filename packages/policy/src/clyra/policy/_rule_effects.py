# SPDX-License-Identifier: Apache-2.0
"""What single rules say, compared over every kind of facts that can tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from clyra.policy._compare_settings import Direction
from clyra.policy._judge import judge, only
from clyra.policy._witness import assignments, conditions_of, kinds_of
from clyra.policy.effect import RANK
from clyra.policy.facts import decision_points, declared_facts

if TYPE_CHECKING:
    from clyra.policy.facts import FactValue


@dataclass(frozen=True, slots=True)
class Compared:
    """Which way a rule goes, and facts under which it does."""

    direction: Direction
    point: str | None = None
    example: Mapping[str, FactValue] = field(default_factory=dict)


def compare_rules(
    document: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], *, today: date
) -> Compared:
    """Compare what two rules say, whatever their modes: weaker where ``new`` ever says less than ``old``.

    Args:
        document: A normalized policy to take everything else from.
        old: A rule.
        new: Another.
        today: The day of the decisions.
    """
    before, after = only(document, old), only(document, new)
    stricter: Compared | None = None
    places = _places([old["when"], new["when"]])
    if places is None:
        return Compared("not decidable")
    for point, facts in places:
        was = RANK[judge(before, point, facts, today=today).shadow_effect]
        now = RANK[judge(after, point, facts, today=today).shadow_effect]
        if now < was:
            return Compared("weaker", point, facts)
        if now > was and stricter is None:
            stricter = Compared("stricter", point, facts)
    return stricter or Compared("equal")


def where_holds(
    document: Mapping[str, Any], old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], *, today: date
) -> Direction:
    """Compare conditions of waivers: weaker where ``new`` ever holds and ``old`` does not."""
    rules: list[dict[str, Any]] = [
        {"id": "x_when", "effect": "block", "mode": "enforce", "on_missing": "ignore", "when": list(when)}
        for when in (old, new)
    ]
    # A waiver that holds more often is the weaker one: the other way round than with a rule.
    return compare_rules(document, rules[1], rules[0], today=today).direction


def first_difference(
    document: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any] | None, *, today: date
) -> Compared | None:
    """Facts for which two rules have another say, None where there are none; ``not decidable`` where too many exist.

    Unlike `compare_rules` this sees also the difference between saying ``allow`` and having no say.
    """
    before, after = only(document, old), only(document, new)
    places = _places([old["when"], *([] if new is None else [new["when"]])])
    if places is None:
        return Compared("not decidable")
    for point, facts in places:
        was = [(each.id, each.effect) for each in judge(before, point, facts, today=today).rules]
        if was != [(each.id, each.effect) for each in judge(after, point, facts, today=today).rules]:
            return Compared("weaker", point, facts)
    return None


def _places(whens: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, FactValue]]] | None:
    """Every decision point with every combination of facts that may matter there; None where they are too many."""
    kinds = kinds_of(chain.from_iterable(map(conditions_of, whens)))
    if kinds is None:
        return None
    declared = declared_facts()
    found: dict[tuple[object, ...], Iterator[tuple[str, dict[str, FactValue]]]] = {}
    for point in decision_points():
        here = {name: values for name, values in kinds.items() if point in declared[name].points}
        applies = tuple(all(each["field"] in here for each in conditions_of(when)) for when in whens)
        combinations = assignments(here)
        if combinations is None:
            return None
        if any(applies):
            # Points that supply the same facts decide alike.
            found.setdefault((applies, tuple(here)), zip(repeat(point), combinations))
    return chain.from_iterable(found.values())
