# SPDX-License-Identifier: Apache-2.0
"""Facts that rules may ask for: the declarations of ``spec/policy/facts.json``.

A fact that is not supplied is unknown. It is never false, never empty, never zero: a gate does not open because
something was not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, cast

from clyra.spec import read_json

FactValue = bool | int | str | tuple[str, ...]
"""What a fact may be. A set of texts is a tuple in any order."""

Facts = Mapping[str, FactValue]
"""Facts by name; a name that is absent is unknown."""

FactType = Literal["bool", "integer", "text", "set"]
Scope = Literal["run", "node"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One declared fact.

    ``points`` are the decision points that supply it; ``scope`` says whether it belongs to the whole run or to one
    node; a ``personal`` fact enters evidence only as a keyed digest; ``values`` are all a text may be, or None.
    """

    name: str
    type: FactType
    scope: Scope
    points: frozenset[str]
    personal: bool
    values: tuple[str, ...] | None
    description: str


@lru_cache(maxsize=1)
def declared_facts() -> Mapping[str, Fact]:
    """Every fact by its name."""
    entries = cast("dict[str, dict[str, Any]]", read_json("policy/facts.json")["facts"])
    return MappingProxyType({name: _fact(name, entry) for name, entry in entries.items()})


@lru_cache(maxsize=1)
def decision_points() -> Mapping[str, str]:
    """Every decision point with what it stands for."""
    return MappingProxyType(cast("dict[str, str]", read_json("policy/facts.json")["points"]))


@lru_cache(maxsize=1)
def run_stages() -> tuple[str, ...]:
    """The decision points of one dbt run, in the order in which it comes to them."""
    return tuple(cast("list[str]", read_json("policy/facts.json")["stages"]))


def points_of(names: Iterable[str]) -> frozenset[str]:
    """Where a rule that asks these facts is judged: every point that supplies all of them.

    Of the stages of one run it is only the first: what was judged before a run, and perhaps approved, is not judged
    once more after it.
    """
    declared = declared_facts()
    supplied = frozenset(decision_points()).intersection(*(declared[name].points for name in names))
    stages = [stage for stage in run_stages() if stage in supplied]
    return supplied.difference(stages[1:])


def _fact(name: str, entry: Mapping[str, Any]) -> Fact:
    values = entry.get("values")
    return Fact(
        name=name,
        type=entry["type"],
        scope=entry["scope"],
        points=frozenset(entry["points"]),
        personal=entry["personal"],
        values=None if values is None else tuple(values),
        description=entry["description"],
    )
