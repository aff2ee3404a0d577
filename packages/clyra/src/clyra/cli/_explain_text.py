# SPDX-License-Identifier: Apache-2.0
"""Decisions with their reasons, as text and as JSON. Texts of a bundle are never shown raw."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clyra.cli.output import bad, doubtful, faint, good
from clyra.evidence.page.wording import shortened, visible

if TYPE_CHECKING:
    from clyra.cli._policy_explain import Explained
    from clyra.policy.conditions import Condition
    from clyra.policy.explain import ConditionTruth, ItemTruth, RuleTruth, WaiverTruth

_COLOURS: Mapping[str, Callable[[str], str]] = {
    "allow": good,
    "warn": doubtful,
    "require_approval": doubtful,
    "block": bad,
    "unknown": doubtful,
    "not_decidable": doubtful,
    "false": faint,
}
_WIDTH = len("not decidable")
_LONGEST_VALUE = 60


def text(explained: Iterable[Explained], risk: Mapping[str, Any] | None, only: Collection[str]) -> Iterator[str]:
    """The lines for a terminal; ``only`` are the ids of the rules to show, all where empty."""
    for each in explained:
        yield from _decision_lines(each)
        for rule in each.explanation.rules:
            if not only or rule.rule.id in only:
                yield from _rule_lines(rule, _heard(each, rule))
        if elsewhere := [name for name in each.explanation.elsewhere if not only or name in only]:
            yield faint(f"  not judged at {each.explanation.point}: {', '.join(elsewhere)}")
        if each.expired_waivers:
            yield f"  {doubtful('expired')}: {', '.join(each.expired_waivers)}; the rules apply again"
    if risk is not None:
        yield from _risk_lines(risk)


def document(explained: Sequence[Explained], risk: Mapping[str, Any] | None, only: Collection[str]) -> dict[str, Any]:
    """The same as one JSON document."""
    return {
        "risk": risk,
        "decisions": [
            {
                "decision": dict(each.event),
                "rules": [
                    _rule_members(rule) | {"outcome": _heard(each, rule)}
                    for rule in each.explanation.rules
                    if not only or rule.rule.id in only
                ],
                "not_judged": [name for name in each.explanation.elsewhere if not only or name in only],
                "expired_waivers": list(each.expired_waivers),
            }
            for each in explained
        ],
    }


def _decision_lines(each: Explained) -> Iterator[str]:
    event = each.event
    about = f" of {visible(str(event['unique_id']))}" if event.get("unique_id") else ""
    line = f"{event['point']}{about}: {_coloured(event['decision'])}"
    if "enforced" not in event:
        yield f"{line} {faint('(' + str(event['mode']) + ')')}"
    elif event["enforced"] == event["decision"]:
        yield line
    else:
        yield f"{line} by all rules, {_coloured(event['enforced'])} by those in force"
    if event["missing"]:
        yield f"  {doubtful('missing')}: {', '.join(visible(str(name)) for name in event['missing'])}"


def _rule_lines(truth: RuleTruth, outcome: Mapping[str, Any] | None) -> Iterator[str]:
    rule = truth.rule
    mode = faint(" shadow") if rule.mode == "shadow" else ""
    conditions = [each for item in truth.items for each in item]
    waits = any(each.condition.field == "risk.score" and each.truth == "unknown" for each in conditions)
    said = faint("judged when the risk score is known" if waits else "no say")
    if outcome is not None:
        said = f"{_coloured(outcome['effect'])} {_said(outcome)}"
    yield f"  {rule.id}  {said}{mode}"
    yield from _item_lines(truth.items, "    ")
    for waiver in truth.waivers:
        yield f"    waiver {waiver.id}, until {waiver.expires}: {_waiver_word(waiver)}"
        yield from _item_lines(waiver.items, "      ")


def _item_lines(items: Iterable[ItemTruth], indent: str) -> Iterator[str]:
    for item in items:
        if len(item) == 1:
            yield indent + _condition_line(item[0])
            continue
        yield f"{indent}any of"
        yield from (f"{indent}  {_condition_line(each)}" for each in item)


def _condition_line(each: ConditionTruth) -> str:
    word = each.truth.replace("_", " ").ljust(_WIDTH)
    told = "" if each.actual is None else faint(f"  it is {_shown(each.actual)}")
    return f"{_coloured(each.truth, word)}  {_written(each.condition)}{told}"


def _waiver_word(waiver: WaiverTruth) -> str:
    if waiver.truth != "true":
        return faint("does not match") if waiver.truth == "false" else doubtful("cannot be judged, so does not match")
    return doubtful("matches, but has expired") if waiver.expired else good("matches")


def _risk_lines(risk: Mapping[str, Any]) -> Iterator[str]:
    yield f"risk: {risk.get('score')} {visible(str(risk.get('band')))}"
    for factor in risk.get("factors") or ():
        if not isinstance(factor, dict) or not factor.get("count"):
            continue
        marks = [mark for mark in ("asserted", "unknown") if factor.get(mark)]
        told = faint(f"  {', '.join(marks)}") if marks else ""
        name = visible(str(factor.get("factor")))
        yield f"  {name:<22}{factor.get('weight')} x {factor.get('count')} = {factor.get('points')}{told}"


def _said(outcome: Mapping[str, Any]) -> str:
    by = f" by {visible(str(outcome['waiver']))}" if outcome.get("waiver") else ""
    return f"{outcome['state']}{by}"


def _heard(each: Explained, truth: RuleTruth) -> Mapping[str, Any] | None:
    # Thresholds share one id, and at most one of them holds.
    if truth.truth == "false":
        return None
    return next((outcome for outcome in each.event["rules"] if outcome["id"] == truth.rule.id), None)


def _rule_members(truth: RuleTruth) -> dict[str, Any]:
    rule = truth.rule
    return {
        "id": rule.id,
        "effect": rule.effect,
        "mode": rule.mode,
        "on_missing": rule.on_missing,
        "truth": truth.truth,
        "when": _item_members(truth.items),
        "waivers": [
            {
                "id": waiver.id,
                "truth": waiver.truth,
                "expired": waiver.expired,
                "expires": waiver.expires.isoformat(),
                "when": _item_members(waiver.items),
            }
            for waiver in truth.waivers
        ],
    }


def _item_members(items: Iterable[ItemTruth]) -> list[dict[str, Any]]:
    written = [[_condition_members(each) for each in item] for item in items]
    return [item[0] if len(item) == 1 else {"any": item} for item in written]


def _condition_members(each: ConditionTruth) -> dict[str, Any]:
    condition = each.condition
    members = {"field": condition.field, "op": condition.op, "value": condition.value, "truth": each.truth}
    return members if each.actual is None else {**members, "actual": each.actual}


def _written(condition: Condition) -> str:
    return f"{condition.field} {condition.op} {_shown(condition.value)}"


def _shown(value: object) -> str:
    return shortened(visible(json.dumps(value, ensure_ascii=False)), _LONGEST_VALUE)


def _coloured(word: str, shown: str | None = None) -> str:
    colour = _COLOURS.get(word)
    written = word if shown is None else shown
    return written if colour is None else colour(written)
