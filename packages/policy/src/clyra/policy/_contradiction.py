# SPDX-License-Identifier: Apache-2.0
"""Conditions of one list that can never hold together, as far as one fact tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clyra.policy.facts import declared_facts
from clyra.policy.source import Path, quoted

Placed = tuple[Path, Mapping[str, Any]]

# Facts that are a share of 100; all other integers are counts.
_PERCENT = frozenset({"risk.score", "threat.confidence", "lineage.trust"})


def contradiction(conditions: Sequence[Placed]) -> tuple[Path, str] | None:
    """The place of the first condition that cannot hold beside those before it, and why; None if there is none.

    The conditions are sound: declared facts with operators and values that fit.
    """
    fields: dict[str, list[Placed]] = {}
    for placed in conditions:
        known = fields.setdefault(placed[1]["field"], [])
        known.append(placed)
        if not _can_hold([condition for _, condition in known]):
            shown = " and ".join(f"{each['field']} {each['op']} {quoted(each['value'])}" for _, each in known[-2:])
            return placed[0], f"this can never hold: {shown}"
    return None


def _can_hold(conditions: Sequence[Mapping[str, Any]]) -> bool:
    if any(each["op"] == "exists" and each["value"] is False for each in conditions):
        return all(each["op"] == "exists" and each["value"] is False for each in conditions)
    fact = declared_facts()[conditions[0]["field"]]
    if fact.type == "set":
        return _set_can_hold(conditions)
    words = _candidates(fact.type, fact.values, conditions)
    if fact.type == "integer":
        low, high = _bounds(conditions, 100 if fact.name in _PERCENT else 2**53 - 1)
        return low <= high if words is None else any(low <= word <= high for word in words)
    return words is None or bool(words)


def _candidates(kind: str, values: Iterable[str] | None, conditions: Sequence[Mapping[str, Any]]) -> set[Any] | None:
    """Values that eq, in, ne, not_in and prefix leave; None for any."""
    left: set[Any] | None = {True, False} if kind == "bool" else set(values) if values is not None else None
    for each in conditions:
        op, value = each["op"], each["value"]
        named = set(value) if isinstance(value, list) else {value}
        if op in ("eq", "in"):
            left = named if left is None else left & named
    for each in conditions:
        op, value = each["op"], each["value"]
        if left is not None and op in ("ne", "not_in"):
            left -= set(value) if isinstance(value, list) else {value}
        elif left is not None and op == "prefix":
            left = {word for word in left if word.startswith(value)}
    return left


def _bounds(conditions: Sequence[Mapping[str, Any]], high: int) -> tuple[int, int]:
    low = 0
    for each in conditions:
        op, value = each["op"], each["value"]
        if op in ("gt", "ge", "size_ge"):
            low = max(low, value + 1 if op == "gt" else value)
        elif op in ("lt", "le", "size_lt"):
            high = min(high, value if op == "le" else value - 1)
    return low, high


def _set_can_hold(conditions: Sequence[Mapping[str, Any]]) -> bool:
    needed = {each["value"] for each in conditions if each["op"] == "has"}
    needed |= {word for each in conditions if each["op"] == "has_all" for word in each["value"]}
    lacking = {each["value"] for each in conditions if each["op"] == "lacks"}
    low, high = _bounds(conditions, 2**53 - 1)
    choices = [set(each["value"]) for each in conditions if each["op"] == "has_any"]
    return not needed & lacking and max(low, len(needed)) <= high and all(words - lacking for words in choices)
