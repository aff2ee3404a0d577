# SPDX-License-Identifier: Apache-2.0
"""Facts that tell two policies apart, found by trying one value of every kind that their conditions distinguish.

A condition looks at one fact, so the conditions of two rules cut the values of each fact into a few classes within
which none of them changes. One value per class, and "unknown" as one more, is all there is to try: if no combination
tells the rules apart, nothing does. Where the combinations are too many, that is said; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from math import prod
from typing import cast

from clyra.policy.conditions import Condition
from clyra.policy.facts import Fact, FactValue, declared_facts

MAX_COMBINATIONS = 20_000
"""More than these are not tried: 20,000 decisions of one rule take well under a second."""

_SIZES = ("size_lt", "size_ge")
_MAX_SET_VALUES = 6
_MAX_SET_SIZE = 64

Kinds = Mapping[str, tuple[FactValue | None, ...]]
"""Per fact one value of each class; None stands for unknown."""


def kinds_of(conditions: Iterable[Condition]) -> Kinds | None:
    """One value per fact and class that ``conditions`` tell apart; None where a fact has too many."""
    grouped: dict[str, list[Condition]] = {}
    for condition in conditions:
        grouped.setdefault(condition.field, []).append(condition)
    found: dict[str, tuple[FactValue | None, ...]] = {}
    for name in sorted(grouped):
        values = _values(declared_facts()[name], grouped[name])
        if values is None:
            return None
        found[name] = (*values, None)
    return found


def assignments(kinds: Kinds, *, limit: int = MAX_COMBINATIONS) -> Iterator[dict[str, FactValue]] | None:
    """Every combination as facts, unknown ones left out; None where there are more than ``limit``."""
    if prod(map(len, kinds.values())) > limit:
        return None
    names = list(kinds)
    return (
        {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for values in product(*kinds.values())
    )


def _values(fact: Fact, conditions: Sequence[Condition]) -> Sequence[FactValue] | None:
    wanted = [value for each in conditions if each.op != "exists" for value in _mentioned(each)]
    if fact.type == "bool":
        return (True, False)
    if fact.type == "integer":
        numbers = {cast("int", value) for value in wanted} or {0}
        return sorted({max(0, number + step) for number in numbers for step in (-1, 0, 1)})
    if fact.type == "text":
        if fact.values is not None:
            return fact.values
        prefixes = {str(each.value) for each in conditions if each.op == "prefix"}
        texts = {str(value) for value in wanted}
        return sorted(texts | {_beyond(prefix, texts) for prefix in {"", *prefixes}})
    return _sets(conditions)


def _mentioned(condition: Condition) -> Sequence[object]:
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)


def _beyond(prefix: str, texts: Iterable[str]) -> str:
    """A text that begins with ``prefix`` and neither is nor begins any longer text of ``texts``."""
    taken = {text[len(prefix)] for text in texts if text.startswith(prefix) and text != prefix}
    return prefix + next(letter for letter in map(chr, range(0x61, 0x110000)) if letter not in taken)


def _sets(conditions: Sequence[Condition]) -> Sequence[FactValue] | None:
    sizes = {cast("int", each.value) for each in conditions if each.op in _SIZES}
    about_members = [each for each in conditions if each.op not in (*_SIZES, "exists")]
    named = sorted({str(value) for each in about_members for value in _mentioned(each)})
    if len(named) > _MAX_SET_VALUES or max(sizes, default=0) > _MAX_SET_SIZE:
        return None
    lengths = sorted({0, *(size for bound in sizes for size in (bound - 1, bound) if size >= 0)})
    found: dict[tuple[str, ...], None] = {}
    for count in range(len(named) + 1):
        for chosen in combinations(named, count):
            for length in lengths:
                others = tuple(f"other_{at}" for at in range(length - count))
                found[(*chosen, *others)] = None
    return list(found)
