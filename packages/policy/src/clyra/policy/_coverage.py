# SPDX-License-Identifier: Apache-2.0
"""Questions about rules that an analysis asks, and the answers that boxes give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from clyra.policy._algebra import Region, Space, TooWideError
from clyra.policy.conditions import Item
from clyra.policy.effect import RANK
from clyra.policy.rules import Rule


class Solver(Protocol):
    """Answers for all facts there may be, known or not; None: not decided."""

    def can_hold(self, items: Sequence[Item]) -> bool | None:
        """Whether facts exist that make all items true."""

    def can_meet(self, one: Rule, other: Rule) -> bool | None:
        """Whether facts exist under which both rules match."""

    def covers(self, rule: Rule, others: Sequence[Rule]) -> bool | None:
        """Whether whatever the rule says, for want of a fact too, one of the others says at least as strongly."""


def levels(rule: Rule) -> tuple[int, ...]:
    """Ranks of what the rule may say: of its effect, and of what it says where a fact is missing."""
    return tuple(sorted({RANK[rule.effect]} | ({RANK[rule.on_missing]} if rule.on_missing != "ignore" else set())))


def says(rule: Rule, rank: int) -> tuple[bool, bool]:
    """Whether the rule says at least ``rank`` where it matches, and where a fact is missing."""
    return RANK[rule.effect] >= rank, rule.on_missing != "ignore" and RANK[rule.on_missing] >= rank


class BoxSolver:
    """A `Solver` by regions of boxes: exact, but for policies with very many texts of one set fact."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._space = Space(condition for rule in rules for item in rule.when for condition in item)
        # By id and rank; None where the region is too wide.
        self._regions: dict[tuple[str, int | None], Region | None] = {}

    def can_hold(self, items: Sequence[Item]) -> bool | None:
        """See `Solver`; the items may only hold conditions of the rules."""
        try:
            return bool(self._space.region(items))
        except TooWideError:
            return None

    def can_meet(self, one: Rule, other: Rule) -> bool | None:
        """See `Solver`."""
        here, there = self._region(one, None), self._region(other, None)
        return None if here is None or there is None else self._space.meets(here, there)

    def covers(self, rule: Rule, others: Sequence[Rule]) -> bool | None:
        """See `Solver`."""
        decided = True
        for rank in levels(rule):
            is_covered = self._is_covered(rule, others, rank)
            if is_covered is False:
                return False
            decided = decided and is_covered is not None
        return True if decided else None

    def _is_covered(self, rule: Rule, others: Sequence[Rule], rank: int) -> bool | None:
        rest = self._region(rule, rank)
        if rest is None:
            return None
        unknown = False
        for other in others:
            if not rest:
                break
            region = self._region(other, rank)
            if region is None:
                unknown = True
                continue
            try:
                rest = self._space.without(rest, region)
            except TooWideError:
                return None
        return True if not rest else None if unknown else False

    def _region(self, rule: Rule, rank: int | None) -> Region | None:
        """Where the rule matches, or with ``rank`` where it says at least that."""
        key = (rule.id, rank)
        if key not in self._regions:
            try:
                self._regions[key] = self._matching(rule) if rank is None else self._saying(rule, rank)
            except TooWideError:
                self._regions[key] = None
        return self._regions[key]

    def _matching(self, rule: Rule) -> Region:
        return self._space.region(rule.when)

    def _saying(self, rule: Rule, rank: int) -> Region:
        matching, missing = says(rule, rank)
        if not missing:
            return self._matching(rule) if matching else []
        possible = self._space.region(rule.when, possible=True)
        return possible if matching else self._space.without(possible, self._matching(rule))
