# SPDX-License-Identifier: Apache-2.0
"""Which facts make a rule match, as unions of boxes: exact answers about rules without a solver.

The conditions of a policy cut the values of one fact into finitely many classes within which none of them changes. An
axis holds one sample of each class, "not known" being one more; what a condition says of a fact is a bit mask over the
samples, found by asking the condition itself. A box is a mask per axis, a region a list of boxes. Emptiness, meeting
and covering of regions are then operations on integers.

A set of texts has one class for every selection of the texts that conditions name. Where those are too many, each text
gets an axis of its own, as if sets could hold any combination of memberships and sizes: "never" and "covered" stay
true as said, "can meet" may then be said of rules that cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from clyra.policy.conditions import Condition, Item, KnownValue, compile_condition
from clyra.policy.facts import Fact, declared_facts

Box = Mapping[str, int]
"""Masks by axis; an axis that is absent is not restricted. No mask is zero: what is empty is no box."""

Region = Sequence[Box]

Sample = KnownValue | None

_MAX_SAMPLES = 2_048
_MAX_BOXES = 4_096
_MAX_SET_SIZE = 64


class TooWideError(Exception):
    """A region has more boxes than are worth looking at; the question stays undecided."""


class Space:
    """The axes that a collection of conditions spans."""

    def __init__(self, conditions: Iterable[Condition]) -> None:
        grouped: dict[str, list[Condition]] = {}
        for condition in conditions:
            grouped.setdefault(condition.field, []).append(condition)
        declared = declared_facts()
        self._samples: dict[str, tuple[Sample, ...]] = {}
        self._split: set[str] = set()
        for field, given in grouped.items():
            if declared[field].type == "set" and _is_wide(given):
                self._split.add(field)
                self._samples |= _split_axes(field, given)
            else:
                self._samples[field] = _samples(declared[field], given)
        self.full = {axis: (1 << len(samples)) - 1 for axis, samples in self._samples.items()}
        self._items: dict[tuple[Item, bool], list[Box]] = {}

    def region(self, items: Iterable[Item], *, possible: bool = False) -> list[Box]:
        """Where all items are true; with ``possible`` where none is false, so that "not known" counts too.

        Raises:
            TooWideError: There are too many boxes.
        """
        boxes: list[Box] = [{}]
        for item in items:
            alternatives = self._alternatives(item, possible=possible)
            boxes = [met for box in boxes for each in alternatives if (met := self.meet(box, each)) is not None]
            if len(boxes) > _MAX_BOXES:
                raise TooWideError
        return boxes

    def meet(self, one: Box, other: Box) -> Box | None:
        """The box of what is in both; None where nothing is."""
        met = dict(one)
        for axis, mask in other.items():
            both = met.get(axis, mask) & mask
            if not both:
                return None
            met[axis] = both
        return met

    def meets(self, one: Region, other: Region) -> bool:
        """Whether the regions have anything in common."""
        return any(self.meet(box, each) is not None for box in one for each in other)

    def without(self, region: Region, taken: Region) -> list[Box]:
        """What is left of ``region`` when ``taken`` is taken away.

        Raises:
            TooWideError: The rest falls into too many pieces.
        """
        rest = list(region)
        for box in taken:
            rest = [piece for each in rest for piece in self._pieces(each, box)]
            if len(rest) > _MAX_BOXES:
                raise TooWideError
            if not rest:
                break
        return rest

    def _pieces(self, box: Box, taken: Box) -> Iterator[Box]:
        if self.meet(box, taken) is None:
            yield box
            return
        inside = dict(box)
        for axis, mask in taken.items():
            held = inside.get(axis, self.full[axis])
            if outside := held & ~mask:
                yield {**inside, axis: outside}
            inside[axis] = held & mask

    def _alternatives(self, item: Item, *, possible: bool) -> list[Box]:
        found = self._items.get((item, possible))
        if found is None:
            boxes = [box for condition in item for box in self._boxes(condition, possible=possible)]
            found = self._items[item, possible] = _joined(boxes)
        return found

    def _boxes(self, condition: Condition, *, possible: bool) -> list[Box]:
        if condition.field in self._split:
            return self._split_boxes(condition, possible=possible)
        test = compile_condition(condition)
        truths = [test({condition.field: sample}) for sample in self._samples[condition.field]]
        return _box(condition.field, [truth is True or (possible and truth is None) for truth in truths])

    def _split_boxes(self, condition: Condition, *, possible: bool) -> list[Box]:
        field, op, value = condition.field, condition.op, condition.value
        if op in ("size_lt", "size_ge", "exists") or value == ():
            return self._size_box(condition, possible=possible)
        members: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        # Samples of such an axis: not a member, a member, not known.
        wanted = [op == "lacks", op != "lacks", possible]
        masks = [box for member in members for box in _box(_member_axis(field, member), wanted)]
        return [{axis: mask for box in masks for axis, mask in box.items()}] if op == "has_all" else masks

    def _size_box(self, condition: Condition, *, possible: bool) -> list[Box]:
        axis = _size_axis(condition.field)
        truths = [_size_truth(condition, sample) for sample in self._samples[axis]]
        return _box(axis, [truth is True or (possible and truth is None) for truth in truths])


def _box(axis: str, wanted: Iterable[bool]) -> list[Box]:
    mask = sum(1 << index for index, is_wanted in enumerate(wanted) if is_wanted)
    return [{axis: mask}] if mask else []


def _joined(boxes: Iterable[Box]) -> list[Box]:
    """The same region, with boxes on one and the same axis made one."""
    single: dict[str, int] = {}
    others: list[Box] = []
    for box in boxes:
        if len(box) == 1:
            ((axis, mask),) = box.items()
            single[axis] = single.get(axis, 0) | mask
        else:
            others.append(box)
    return [{axis: mask} for axis, mask in single.items()] + others


def _samples(fact: Fact, conditions: Sequence[Condition]) -> tuple[Sample, ...]:
    if fact.type == "bool":
        return (False, True, None)
    if fact.values is not None:
        return (*fact.values, None)
    if fact.type == "set":
        return (*_set_samples(conditions), None)
    mentioned = {each for condition in conditions for each in _mentioned(condition)}
    if fact.type == "integer":
        return (*sorted({value + step for value in mentioned or {0} for step in (-1, 0, 1)}), None)
    texts = sorted(mentioned)
    fresh = _unused_letter(texts)
    # Behind every text comes one that has exactly its prefixes and is no constant; alone it stands for all others.
    return (*texts, *(text + fresh for text in texts), fresh, None)


def _mentioned(condition: Condition) -> tuple[Any, ...]:
    if condition.op == "exists":
        return ()
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)


def _unused_letter(texts: Iterable[str]) -> str:
    used = set().union(*texts)
    return next(letter for letter in map(chr, range(ord("a"), 0x11_0000)) if letter not in used)


def _members(conditions: Iterable[Condition]) -> list[str]:
    sizes = ("size_lt", "size_ge")
    return sorted({each for condition in conditions if condition.op not in sizes for each in _mentioned(condition)})


def _sizes(conditions: Iterable[Condition]) -> list[int]:
    """The least size of every class but the first: a limit parts the sizes below it from itself and those above."""
    limits = {condition.value for condition in conditions if condition.op in ("size_lt", "size_ge")}
    return sorted(limit for limit in limits if isinstance(limit, int) and limit > 0)


def _is_wide(conditions: Sequence[Condition]) -> bool:
    sizes = _sizes(conditions)
    return max(sizes, default=0) > _MAX_SET_SIZE or (len(sizes) + 1) << len(_members(conditions)) > _MAX_SAMPLES


def _set_samples(conditions: Sequence[Condition]) -> Iterator[frozenset[str]]:
    members, sizes = _members(conditions), _sizes(conditions)
    fresh = _unused_letter(members)
    for count in range(len(members) + 1):
        totals = {count, *(size for size in sizes if size > count)}
        for chosen in combinations(members, count):
            for total in totals:
                yield frozenset(chosen) | {f"{fresh}{number}" for number in range(total - count)}


def _split_axes(field: str, conditions: Sequence[Condition]) -> dict[str, tuple[Sample, ...]]:
    axes: dict[str, tuple[Sample, ...]] = {
        _member_axis(field, member): (False, True, None) for member in _members(conditions)
    }
    return {**axes, _size_axis(field): (*sorted({0, *_sizes(conditions)}), None)}


def _size_truth(condition: Condition, size: Any) -> bool | None:
    limit: Any = condition.value
    if condition.op == "exists":
        return (size is not None) is limit
    if size is None:
        return None
    if condition.op == "size_lt":
        return bool(size < limit)
    if condition.op == "size_ge":
        return bool(size >= limit)
    # has_any and has_all of nothing.
    return condition.op == "has_all"


def _member_axis(field: str, member: str) -> str:
    return f"{field}\0{member}"


def _size_axis(field: str) -> str:
    return f"{field}\0"
