# SPDX-License-Identifier: Apache-2.0
"""What single rules say, compared over every kind of facts that can tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Literal

from clyra.policy._compare_settings import Direction
from clyra.policy._judge import judge, only
from clyra.policy._witness import assignments, kinds_of
from clyra.policy.conditions import Item, asked, read_items
from clyra.policy.effect import RANK
from clyra.policy.facts import decision_points, declared_facts, points_of

if TYPE_CHECKING:
    from clyra.policy.facts import FactValue

Place = tuple[str, dict[str, "FactValue"]]
"""A decision point with facts."""


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
    before, after = only(document, [old]), only(document, [new])
    stricter: Compared | None = None
    places = places_of([read_items(old["when"]), read_items(new["when"])])
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
    document: Mapping[str, Any],
    old: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    *,
    unknown: Literal["ignore", "block"],
    today: date,
) -> Direction:
    """Compare conditions of something that only makes stricter: weaker where ``old`` ever holds and ``new`` does not.

    ``unknown`` says whether conditions that cannot be judged count as holding (``block``).
    """
    rules: list[dict[str, Any]] = [
        {"id": "x_when", "effect": "block", "mode": "enforce", "on_missing": unknown, "when": list(when)}
        for when in (old, new)
    ]
    return compare_rules(document, rules[0], rules[1], today=today).direction


def places_of(whens: Sequence[Sequence[Item]]) -> Iterator[Place] | None:
    """Every point with every combination of facts that may matter to one of ``whens``; None where they are too many."""
    kinds = kinds_of(condition for when in whens for item in when for condition in item)
    if kinds is None:
        return None
    declared, judged_at = declared_facts(), [points_of(asked(when)) for when in whens]
    found: dict[tuple[object, ...], Iterator[Place]] = {}
    for point in decision_points():
        here = {name: values for name, values in kinds.items() if point in declared[name].points}
        applies = tuple(point in points for points in judged_at)
        combinations = assignments(here)
        if combinations is None:
            return None
        if any(applies):
            # Points that supply the same facts decide alike.
            found.setdefault((applies, tuple(here)), zip(repeat(point), combinations))
    return chain.from_iterable(found.values())
