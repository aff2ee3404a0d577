# SPDX-License-Identifier: Apache-2.0
"""Whether a new policy lets anything pass that the old one did not.

Rules are compared by what they say, not by how they are written: over one value of every kind of every fact that they
ask for, unknown included, the effects of both are compared. What cannot be compared is ``not decidable``, never equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from clyra.policy._compare_settings import Direction, compare_sets, joined, setting_changes
from clyra.policy._rule_effects import compare_rules, where_holds
from clyra.policy.effect import RANK, default_severity
from clyra.policy.rules import RISK_SCORE

if TYPE_CHECKING:
    from clyra.policy.facts import FactValue

Part = Literal["rule", "waiver", "environment", "threshold", "checkpoint", "setting"]

_TEXTS = ("title", "message", "fix", "controls", "owner")
_SEVERITIES = ("info", "warning", "critical")
_WHEN_WORDS: Mapping[Direction, str] = {
    "weaker": "does not hold everywhere it did",
    "stricter": "holds more often",
    "equal": "conditions say the same in other words",
    "not decidable": "conditions cannot be compared",
}
_SELECTORS = ("relations", "nodes", "digests", "sources", "tools", "routes", "labels", "phrases_sha256")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs.

    Attributes:
        part: What it belongs to.
        name: Id of the rule, waiver or checkpoint, name of the environment, path of the setting.
        kind: ``added``, ``removed`` or ``changed``.
        direction: What that does.
        reasons: In what way, one text each.
        example: Facts under which the outcomes differ in that direction, where there are any.
    """

    part: Part
    name: str
    kind: Literal["added", "removed", "changed"]
    direction: Direction
    reasons: tuple[str, ...]
    example: Mapping[str, FactValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """All that differs between two policies; ``direction`` is that of everything together."""

    changes: tuple[Change, ...]

    @property
    def direction(self) -> Direction:
        """``weaker`` where any change is, else ``not decidable``, else ``stricter``, else ``equal``."""
        return joined([change.direction for change in self.changes])


def diff_policies(old: Mapping[str, Any], new: Mapping[str, Any], *, today: date) -> PolicyDiff:
    """What differs between two normalized policies, weakest first.

    Args:
        old: The policy that is in force.
        new: The one that would be.
        today: A waiver that has expired by then takes nothing away.
    """
    found = [
        *_rules(old, new, today),
        *_waivers(old, new, today),
        *_environments(old, new),
        *_thresholds(old, new),
        *_checkpoints(old, new, today),
        *(
            Change("setting", path, "changed", direction, (f"{_shown(before)} becomes {_shown(after)}",))
            for path, before, after, direction in setting_changes(old, new)
        ),
    ]
    order: list[Direction] = ["weaker", "not decidable", "stricter", "equal"]
    return PolicyDiff(tuple(sorted(found, key=lambda change: order.index(change.direction))))


def _by_id(items: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {item["id"]: item for item in items}


def _all_rules(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    from clyra.policy.mutate import rules_of

    return _by_id([rule for _, rule in rules_of(document)])


def _rules(old: Mapping[str, Any], new: Mapping[str, Any], today: date) -> Iterator[Change]:
    before, after = _all_rules(old), _all_rules(new)
    for name, rule in before.items():
        if name in after:
            if change := _changed_rule(old, rule, after[name], today):
                yield change
        else:
            yield _removed_rule(old, rule, [each for other, each in after.items() if other not in before], today)
    for name, rule in after.items():
        if name not in before:
            yield Change("rule", name, "added", "stricter", (f"{rule['effect']}, mode {rule['mode']}",))


def _removed_rule(
    document: Mapping[str, Any], rule: Mapping[str, Any], added: Sequence[Mapping[str, Any]], today: date
) -> Change:
    for other in added:
        compared = compare_rules(document, rule, other, today=today)
        if compared.direction in ("equal", "stricter") and _mode_direction(rule, other) != "weaker":
            return Change("rule", rule["id"], "removed", "equal", (f"{other['id']} says at least the same",))
    return Change("rule", rule["id"], "removed", "weaker", (f"it said {rule['effect']}",))


def _changed_rule(
    document: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], today: date
) -> Change | None:
    if old == new:
        return None
    compared = compare_rules(document, old, new, today=today)
    directions = [compared.direction, _mode_direction(old, new), _severity_direction(old, new)]
    reasons = [
        f"{name} {_shown(old[name])} becomes {_shown(new[name])}"
        for name in ("effect", "mode", "on_missing", "severity")
        if old[name] != new[name] and not (_follows_effect(old, name) and _follows_effect(new, name))
    ]
    if old["when"] != new["when"]:
        reasons.append(_WHEN_WORDS[compare_rules(document, old, {**old, "when": new["when"]}, today=today).direction])
    reasons += [f"{name} changed" for name in _TEXTS if old.get(name) != new.get(name)]
    return Change("rule", new["id"], "changed", joined(directions), tuple(reasons), compared.example)


def _follows_effect(rule: Mapping[str, Any], name: str) -> bool:
    """Whether a member is what it would be if nobody had written it."""
    return bool(rule[name] == {"on_missing": rule["effect"], "severity": default_severity(rule["effect"])}.get(name))


def _mode_direction(old: Mapping[str, Any], new: Mapping[str, Any]) -> Direction:
    if old["mode"] == new["mode"]:
        return "equal"
    return "weaker" if new["mode"] == "shadow" else "stricter"


def _severity_direction(old: Mapping[str, Any], new: Mapping[str, Any]) -> Direction:
    # It is what the risk score counts.
    before, after = _SEVERITIES.index(old["severity"]), _SEVERITIES.index(new["severity"])
    return "equal" if before == after else "weaker" if after < before else "stricter"


def _waivers(old: Mapping[str, Any], new: Mapping[str, Any], today: date) -> Iterator[Change]:
    before = {name: each for name, each in _by_id(old["waivers"]).items() if not _is_over(each, today)}
    after = {name: each for name, each in _by_id(new["waivers"]).items() if not _is_over(each, today)}
    for name, waiver in after.items():
        if name not in before:
            rules = ", ".join(waiver["rules"])
            yield Change("waiver", name, "added", "weaker", (f"lowers {rules} to warn until {waiver['expires']}",))
        elif waiver != before[name]:
            yield _changed_waiver(new, before[name], waiver, today)
    for name, waiver in before.items():
        if name not in after:
            yield Change("waiver", name, "removed", "stricter", (f"{', '.join(waiver['rules'])} apply again",))


def _is_over(waiver: Mapping[str, Any], today: date) -> bool:
    return date.fromisoformat(waiver["expires"]) < today


def _changed_waiver(document: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], today: date) -> Change:
    directions: list[Direction] = []
    reasons: list[str] = []
    if old["expires"] != new["expires"]:
        directions.append("weaker" if new["expires"] > old["expires"] else "stricter")
        reasons.append(f"expires {old['expires']} becomes {new['expires']}")
    if set(old["rules"]) != set(new["rules"]):
        directions.append(compare_sets(old["rules"], new["rules"], more_is="weaker"))
        reasons.append("rules changed")
    for name in _SELECTORS:
        had, has = old.get(name) or [], new.get(name) or []
        if had != has:
            # A selector that is absent selects everything the others do.
            both = bool(had) and bool(has)
            directions.append(compare_sets(had, has, more_is="weaker") if both else "stricter" if has else "weaker")
            reasons.append(f"{name} changed")
    if (old.get("when") or []) != (new.get("when") or []):
        whens = (new.get("when") or [], old.get("when") or [])
        # The other way round: a waiver that holds more often is the weaker one.
        directions.append(where_holds(document, *whens, unknown="ignore", today=today))
        reasons.append("when changed")
    return Change("waiver", new["id"], "changed", joined(directions), tuple(reasons) or ("its texts changed",))


def _environments(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = old["environments"], new["environments"]
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            kind: Any = "removed" if name not in after else "added" if name not in before else "changed"
            directions, reasons = _environment_change(name, old, new)
            yield Change("environment", name, kind, joined(directions), tuple(reasons))


_UNKNOWN: Mapping[str, Any] = {"mode": "shadow", "production": None, "change_freeze": False, "targets": []}


def _environment_change(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[Direction], list[str]]:
    before, after = old["environments"].get(name, _UNKNOWN), new["environments"].get(name, _UNKNOWN)
    directions, reasons = _compared_environment(before, after, "")
    for target in sorted({*before["targets"], *after["targets"]}):
        was, now = _environment_of(old, target), _environment_of(new, target)
        if was != now and (name == now or now is None):
            moved, texts = _compared_environment(
                old["environments"].get(was, _UNKNOWN), new["environments"].get(now, _UNKNOWN), f"target {target}: "
            )
            directions += moved
            reasons += texts or [f"target {target} moves from {was or 'no environment'} to {now or 'no environment'}"]
        elif was != now:
            reasons.append(f"target {target} moves to {now}")
    return directions, reasons


def _environment_of(document: Mapping[str, Any], target: str) -> str | None:
    return next((name for name, each in document["environments"].items() if target in each["targets"]), None)


def _compared_environment(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str
) -> tuple[list[Direction], list[str]]:
    directions: list[Direction] = []
    reasons = []
    for name, strict in (("mode", "enforce"), ("production", True), ("change_freeze", True)):
        if before[name] != after[name]:
            lost, won = before[name] == strict, after[name] == strict
            directions.append("weaker" if lost else "stricter" if won else "not decidable")
            reasons.append(f"{prefix}{name} {_shown(before[name])} becomes {_shown(after[name])}")
    return directions, reasons


def _thresholds(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = old["enforcement"]["risk"]["thresholds"], new["enforcement"]["risk"]["thresholds"]
    if before == after:
        return
    directions: list[Direction] = []
    examples: dict[str, int] = {}
    for score in range(101):
        was, now = _threshold_rank(before, score), _threshold_rank(after, score)
        if was != now:
            direction: Direction = "weaker" if now < was else "stricter"
            directions.append(direction)
            examples.setdefault(direction, score)
    direction = joined(directions)
    reasons = (f"{_thresholds_text(before)} becomes {_thresholds_text(after)}",)
    example = {RISK_SCORE: examples[direction]} if direction in examples else {}
    yield Change("threshold", "risk_threshold", "changed", direction, reasons, example)


def _threshold_rank(thresholds: Sequence[Mapping[str, Any]], score: int) -> int:
    return max((RANK[each["effect"]] for each in thresholds if score > each["above"]), default=0)


def _thresholds_text(thresholds: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"above {each['above']} {each['effect']}" for each in thresholds) or "none"


def _checkpoints(old: Mapping[str, Any], new: Mapping[str, Any], today: date) -> Iterator[Change]:
    before, after = _by_id(old["enforcement"]["checkpoints"]), _by_id(new["enforcement"]["checkpoints"])
    for name in sorted({*before, *after}):
        if name not in after:
            yield Change("checkpoint", name, "removed", "weaker", ("it paused until somebody approved",))
        elif name not in before:
            yield Change("checkpoint", name, "added", "stricter", (f"pauses {after[name]['at']}",))
        elif before[name] != after[name]:
            yield _changed_checkpoint(new, before[name], after[name], today)


def _changed_checkpoint(
    document: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any], today: date
) -> Change:
    directions: list[Direction] = []
    if old["at"] != new["at"]:
        directions.append("not decidable")
    if old["approvals"] != new["approvals"]:
        directions.append("stricter" if new["approvals"] > old["approvals"] else "weaker")
    if old["ttl"] != new["ttl"]:
        directions.append("weaker" if new["ttl"] > old["ttl"] else "stricter")
    if old["roles"] != new["roles"]:
        # No role named: any will do.
        named = bool(old["roles"]) and bool(new["roles"])
        wider = compare_sets(old["roles"], new["roles"], more_is="weaker")
        directions.append(wider if named else "stricter" if new["roles"] else "weaker")
    if old.get("when") != new.get("when"):
        whens = (old.get("when") or [], new.get("when") or [])
        directions.append(where_holds(document, *whens, unknown="block", today=today))
    names = [name for name in ("at", "approvals", "ttl", "roles", "when") if old.get(name) != new.get(name)]
    return Change("checkpoint", new["id"], "changed", joined(directions), tuple(f"{name} changed" for name in names))


def _shown(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
