# SPDX-License-Identifier: Apache-2.0
"""Every small change to a policy that a good test suite notices.

A mutant is the policy with one fault of the kind people make: an operator that is off by one, a value that is missing
from a list, a condition too few, an effect that is too weak. Mutants are made from the normalized document, in the
order of the policy, and are as deterministic as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from clyra.policy.effect import EFFECTS, RANK, Effect
from clyra.policy.rules import SECTIONS
from clyra.policy.waivers import SELECTORS

_NEIGHBOUR = {
    "eq": "ne",
    "ne": "eq",
    "in": "not_in",
    "not_in": "in",
    "gt": "ge",
    "ge": "gt",
    "lt": "le",
    "le": "lt",
    "has": "lacks",
    "lacks": "has",
    "has_any": "has_all",
    "has_all": "has_any",
    "size_lt": "size_ge",
    "size_ge": "size_lt",
    "prefix": "eq",
}
# Swapping the operator is already one of the two steps: `gt 5` as `ge 5` is `gt 4`.
_STEPS = {"gt": (1,), "ge": (-1,), "lt": (-1,), "le": (1,), "eq": (-1, 1), "ne": (-1, 1), "size_lt": (-1, 1)}
_STEPS["size_ge"] = _STEPS["size_lt"]
_SELECTORS = ("relations", *SELECTORS, "when")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A policy with one fault.

    Attributes:
        pointer: JSON pointer (RFC 6901) of what was changed, in the normalized document.
        change: What was done to it, for people.
        owner: Id of the rule, the waiver or ``risk_threshold`` that it belongs to.
        document: The changed policy, normalized; parts that did not change are shared with the original.
    """

    pointer: str
    change: str
    owner: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Edit:
    """Something to put in the place of one item of a list, or nothing."""

    pointer: str
    change: str
    items: tuple[Any, ...]


def mutants(document: Mapping[str, Any]) -> Iterator[Mutant]:
    """Every mutant of a normalized policy: of its rules, its risk thresholds, its waivers."""
    for section in SECTIONS:
        yield from _in_list(document, (section, "rules"), _rule_edits, "id")
    yield from _in_list(document, ("enforcement", "risk", "thresholds"), _threshold_edits, None)
    yield from _in_list(document, ("waivers",), _waiver_edits, "id")


def rules_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every rule of a normalized policy with its JSON pointer, in the order of the policy."""
    for section in SECTIONS:
        for at, rule in enumerate(document.get(section, {}).get("rules", ())):
            yield f"/{section}/rules/{at}", rule


def _in_list(document: Mapping[str, Any], path: Sequence[str], edits: Any, key: str | None) -> Iterator[Mutant]:
    items: Any = document
    for name in path:
        items = items.get(name) or {}
    base = "/" + "/".join(path)
    for at, item in enumerate(items or ()):
        owner = item[key] if key else "risk_threshold"
        for edit in edits(item):
            changed = [*items[:at], *edit.items, *items[at + 1 :]]
            yield Mutant(f"{base}/{at}{edit.pointer}", edit.change, owner, _with(document, path, changed))


def _with(document: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    head, *rest = path
    return {**document, head: _with(document[head], rest, value) if rest else value}


def _rule_edits(rule: Mapping[str, Any]) -> Iterator[_Edit]:
    for effect in _neighbours(rule["effect"]):
        # An unset on_missing follows the effect; one that only happens to be equal follows too: the author meant both.
        follows = {"on_missing": effect} if rule["on_missing"] == rule["effect"] else {}
        word = "weakened" if RANK[effect] < RANK[rule["effect"]] else "raised"
        change = f"effect {rule['effect']} {word} to {effect}"
        yield _Edit("/effect", change, ({**rule, "effect": effect, **follows},))
    other = "ignore" if rule["on_missing"] != "ignore" else rule["effect"]
    yield _Edit("/on_missing", f"on_missing {rule['on_missing']} becomes {other}", ({**rule, "on_missing": other},))
    for pointer, change, when in _when_edits(rule["when"]):
        yield _Edit(f"/when{pointer}", change, ({**rule, "when": when},))
    yield _Edit("", "rule removed", ())


def _threshold_edits(threshold: Mapping[str, Any]) -> Iterator[_Edit]:
    for step in (-1, 1):
        above = threshold["above"] + step
        if 0 <= above <= 100:
            yield _Edit("/above", f"above {threshold['above']} becomes {above}", ({**threshold, "above": above},))
    for effect in _neighbours(threshold["effect"]):
        yield _Edit("/effect", f"effect {threshold['effect']} becomes {effect}", ({**threshold, "effect": effect},))
    yield _Edit("", "threshold removed", ())


def _waiver_edits(waiver: Mapping[str, Any]) -> Iterator[_Edit]:
    expires = date.fromisoformat(waiver["expires"])
    later = (expires + timedelta(days=1)).isoformat()
    yield _Edit("/expires", f"expires {waiver['expires']} extended to {later}", ({**waiver, "expires": later},))
    used = [name for name in _SELECTORS if waiver.get(name)]
    for name in used:
        if len(used) > 1:
            left = {key: value for key, value in waiver.items() if key != name}
            yield _Edit(f"/{name}", f"selector {name} removed: it covers more", (left,))
    for pointer, change, when in _when_edits(waiver.get("when") or []):
        if when:
            yield _Edit(f"/when{pointer}", change, ({**waiver, "when": when},))
    yield _Edit("", "waiver removed", ())


def _neighbours(effect: Effect) -> list[Effect]:
    rank = EFFECTS.index(effect)
    return [EFFECTS[at] for at in (rank - 1, rank + 1) if 0 <= at < len(EFFECTS)]


def _when_edits(when: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Any]]]:
    """Changes to a list of conditions, all of which must hold: pointer below it, what was done, the list."""
    for at, item in enumerate(when):
        before, after = list(when[:at]), list(when[at + 1 :])
        if "any" in item:
            for pointer, change, branch in _any_edits(item["any"]):
                yield f"/{at}{pointer}", change, [*before, *branch, *after]
        else:
            for pointer, change, condition in _condition_edits(item):
                yield f"/{at}{pointer}", change, [*before, condition, *after]
        if len(when) > 1:
            yield f"/{at}", f"condition removed: {condition_text(item)}", [*before, *after]
    if len(when) > 1 and not any("any" in item for item in when):
        yield "", "all of the conditions becomes any of them", [{"any": list(when)}]


def _any_edits(branches: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Any]]]:
    yield "/any", "any of the conditions becomes all of them", list(branches)
    for at, condition in enumerate(branches):
        before, after = list(branches[:at]), list(branches[at + 1 :])
        if before or after:
            yield f"/any/{at}", f"condition removed: {condition_text(condition)}", [{"any": [*before, *after]}]
        for pointer, change, changed in _condition_edits(condition):
            yield f"/any/{at}{pointer}", change, [{"any": [*before, changed, *after]}]


def _condition_edits(condition: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    field, op, value = condition["field"], condition["op"], condition["value"]
    if op == "exists":
        yield (
            "/value",
            f"{field} exists: {_shown(value)} becomes {_shown(not value)}",
            {**condition, "value": not value},
        )
    elif op in _NEIGHBOUR:
        other = _NEIGHBOUR[op]
        yield "/op", f"{field} {op} becomes {other}", {**condition, "op": other}
    if isinstance(value, int) and not isinstance(value, bool):
        for step in _STEPS.get(op, ()):
            if value + step >= 0:
                change = f"{field} {op} {value} becomes {value + step}"
                yield "/value", change, {**condition, "value": value + step}
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 1:
        for at, dropped in enumerate(value):
            left = [*value[:at], *value[at + 1 :]]
            yield f"/value/{at}", f"{field} {op}: {_shown(dropped)} dropped", {**condition, "value": left}


def condition_text(item: Mapping[str, Any]) -> str:
    """A condition, or a group of which any must hold, in one line."""
    if "any" in item:
        return "any of (" + ", ".join(map(condition_text, item["any"])) + ")"
    return f"{item['field']} {item['op']} {_shown(item['value'])}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
