# SPDX-License-Identifier: Apache-2.0
"""Rules and checkpoints of a policy as values, read from the normalized document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clyra.policy.conditions import Item, asked, read_items
from clyra.policy.effect import EFFECTS, Effect, Mode, Severity, default_severity
from clyra.policy.facts import Scope, declared_facts, points_of
from clyra.spec import PolicyError

RISK_SCORE = "risk.score"
RISK_THRESHOLD = "risk_threshold"
"""Id of the outcome that a threshold on the risk score has."""

SECTIONS = ("data_platform", "genai_security", "voice_compliance")
"""Sections that hold ``rules``, in the order in which rules are judged and listed."""

OnMissing = Effect | Literal["ignore"]
CheckpointPlace = Literal["before_run", "before_statement", "before_publish", "tool_call"]

PLACES: Mapping[CheckpointPlace, tuple[str, ...]] = {
    "before_run": ("run",),
    "before_statement": ("statement",),
    "before_publish": ("tests", "activation"),
    "tool_call": ("tool",),
}
"""Decision points at which a checkpoint of each place is judged."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: all items of ``when`` must hold, of each item any condition.

    ``points`` are the decision points at which it is judged (`points_of`); it is passed over at others. ``scope`` is
    ``node`` where it asks a fact of one node.
    """

    id: str
    effect: Effect
    mode: Mode
    severity: Severity
    when: tuple[Item, ...]
    on_missing: OnMissing
    title: str
    message: str
    fix: str
    controls: tuple[str, ...]
    owner: str | None
    asks: frozenset[str]
    points: frozenset[str]
    scope: Scope

    @property
    def asks_risk(self) -> bool:
        """Whether it is judged after the risk score is known, which it never feeds."""
        return RISK_SCORE in self.asks


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place where work pauses until people approve; ``ttl_ms`` is how long it may wait, in milliseconds."""

    id: str
    at: CheckpointPlace
    when: tuple[Item, ...]
    approvals: int
    roles: tuple[str, ...]
    ttl_ms: int


def member(document: Mapping[str, Any], *path: str) -> Any:
    """The member at ``path``, or None where a section on the way is absent or null."""
    value: Any = document
    for name in path:
        value = value.get(name) if value is not None else None
    return value


def read_rules(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of all sections, in the order of `SECTIONS` and of the file.

    Raises:
        PolicyError: A rule is not one (``policy_rule_id``, ``policy_value``, ``policy_fact_point`` and those of
            `read_items`). The loader finds these first and says where; here they only keep the gate closed.
    """
    rules = tuple(_rule(entry) for section in SECTIONS for entry in member(document, section, "rules") or ())
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            raise PolicyError(f"rule {rule.id} is there twice; give each rule an id of its own", code="policy_rule_id")
        seen.add(rule.id)
    return rules


def read_thresholds(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The thresholds on the risk score as rules of one id, of which at most one holds: the one of strongest effect.

    Raises:
        PolicyError: A threshold is not one (``policy_value``).
    """
    lowest: dict[Effect, int] = {}
    for entry in member(document, "enforcement", "risk", "thresholds") or ():
        effect = _one_of(entry["effect"], EFFECTS, RISK_THRESHOLD)
        lowest[effect] = min(int(entry["above"]), lowest.get(effect, int(entry["above"])))
    rules: list[Rule] = []
    bound: int | None = None
    for effect in reversed(EFFECTS):
        above = lowest.get(effect)
        if above is None or (bound is not None and above >= bound):
            continue
        rules.append(_threshold(effect, above, bound))
        bound = above
    return tuple(rules)


def read_checkpoints(document: Mapping[str, Any]) -> tuple[Checkpoint, ...]:
    """The checkpoints of ``enforcement``, in the order of the file.

    Raises:
        PolicyError: As `read_items`, or a place that does not exist (``policy_value``).
    """
    return tuple(_checkpoints(member(document, "enforcement", "checkpoints") or ()))


def _rule(entry: Mapping[str, Any]) -> Rule:
    effect = _one_of(entry["effect"], EFFECTS, entry["id"])
    when = read_items(entry["when"])
    asks = asked(when)
    declared = declared_facts()
    points = points_of(asks)
    if not points:
        wanted = ", ".join(sorted(asks))
        raise PolicyError(f"rule {entry['id']}: no gate supplies all of {wanted}", code="policy_fact_point")
    return Rule(
        id=entry["id"],
        effect=effect,
        mode=_one_of(entry.get("mode", "shadow"), ("shadow", "enforce"), entry["id"]),
        severity=_one_of(entry.get("severity", default_severity(effect)), ("critical", "warning", "info"), entry["id"]),
        when=when,
        on_missing=_one_of(entry.get("on_missing", effect), (*EFFECTS, "ignore"), entry["id"]),
        title=entry.get("title", ""),
        message=entry.get("message", ""),
        fix=entry.get("fix", ""),
        controls=tuple(entry.get("controls", ())),
        owner=entry.get("owner"),
        asks=asks,
        points=points,
        scope="node" if any(declared[name].scope == "node" for name in asks) else "run",
    )


def _threshold(effect: Effect, above: int, most: int | None) -> Rule:
    when: list[dict[str, Any]] = [{"field": RISK_SCORE, "op": "gt", "value": above}]
    if most is not None:
        when.append({"field": RISK_SCORE, "op": "le", "value": most})
    return _rule({"id": RISK_THRESHOLD, "effect": effect, "mode": "enforce", "when": when})


def _checkpoints(entries: Iterable[Mapping[str, Any]]) -> Iterator[Checkpoint]:
    for entry in entries:
        yield Checkpoint(
            id=entry["id"],
            at=_one_of(entry["at"], tuple(PLACES), entry["id"]),
            when=read_items(entry.get("when") or ()),
            approvals=entry.get("approvals", 1),
            roles=tuple(entry.get("roles", ())),
            ttl_ms=entry.get("ttl", 86_400_000),
        )


def _one_of(value: Any, choices: tuple[str, ...], rule: str) -> Any:
    if value not in choices:
        raise PolicyError(f"{rule}: {value!r} is none of {', '.join(choices)}", code="policy_value")
    return value
