# SPDX-License-Identifier: Apache-2.0
"""How a run was governed, as text for a terminal: decisions with their rules, approvals, the risk score."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clyra.cli.output import bad, doubtful, faint, good
from clyra.evidence.governance import Approval, Decision
from clyra.evidence.page.governed import approval_notes, doubt, outcome, rule_note, scope_of, verified_approvals
from clyra.evidence.page.wording import counted, moment, sentence, shortened, visible
from clyra.evidence.summary import Summary

_MOST_DECISIONS = 20
_BANDS = {"low": good, "high": doubtful, "critical": bad}
_STYLES = {"allow": good, "warn": doubtful, "require_approval": bad, "block": bad}


def decisions(summary: Summary, width: int) -> list[str]:
    """What the gates decided, the strongest first; nothing where there was no policy."""
    if not summary.policy and not summary.decisions:
        return []
    policy = summary.policy or {}
    told = ", ".join(f"{name} {visible(str(policy[name]))}" for name in ("environment", "mode") if name in policy)
    lines = [f"  policy {visible(str(policy['name']))}, {told}"] if policy else []
    ordered = sorted(summary.decisions, key=lambda each: each.strength)
    for each in ordered[:_MOST_DECISIONS]:
        lines += _decision(each, width)
    if len(ordered) > _MOST_DECISIONS:
        lines.append(faint(f"  … {len(ordered) - _MOST_DECISIONS:,} more: clyra inspect --json"))
    lines += [
        f"  {faint(each.state)} {visible(each.checkpoint)}, {moment(each.occurred_at)}" for each in summary.pauses
    ]
    return lines


def approvals(summary: Summary, verification: Mapping[str, Any], width: int) -> list[str]:
    """Who approved, as a claim unless the verification says that the certificates hold."""
    verified = verified_approvals(verification)
    return [
        line
        for each in summary.approvals
        for line in _approval(each, is_verified=(each.decision, each.jti) in verified, width=width)
    ]


def risk(summary: Summary) -> list[str]:
    """The score and every factor that has points."""
    if summary.risk is None:
        return []
    style = _BANDS.get(summary.risk.band, str)
    lines = [f"  {style(str(summary.risk.score))} of 100, {visible(summary.risk.band)}"]
    for each in summary.risk.factors:
        if each.points:
            why = doubt(each)
            note = faint(f"  {why}") if why else ""
            lines.append(f"  {each.points:>4}  {visible(sentence(each.factor))} ({each.weight} × {each.count:,}){note}")
    return lines


def _decision(decision: Decision, width: int) -> Iterator[str]:
    style = faint if decision.mode != "enforce" else good if decision.is_lifted else _STYLES.get(decision.decision, bad)
    where = sentence(decision.point) + (f", {decision.unique_id}" if decision.unique_id else "")
    words = outcome(decision)
    yield f"  {style(visible(words))}  {shortened(visible(where), max(12, width - len(words) - 4))}"
    for rule in decision.rules:
        notes = ", ".join(filter(None, (rule.title, sentence(rule.effect), rule_note(rule))))
        yield from _wrapped(f"{rule.id}: {notes}", width)
    if decision.missing:
        yield from _wrapped(f"not known: {', '.join(decision.missing)}", width)


def _approval(approval: Approval, *, is_verified: bool, width: int) -> Iterator[str]:
    state = good("verified") if is_verified else doubtful("claimed, not verified here")
    yield f"  {state}  {counted(len(approval.certificates), 'certificate')}"
    for each in approval.certificates:
        yield from _wrapped(f"{each.principal} as {sentence(each.role)}, {moment(each.approved_at)}", width)
        yield from _wrapped(f"lifts {', '.join(each.rules)}; covers {scope_of(each)}", width)
    for name, value in approval_notes(approval):
        yield from _wrapped(f"{name.lower()}: {value}", width)


def _wrapped(value: str, width: int) -> Sequence[str]:
    return [f"      {line}" for line in textwrap.wrap(visible(value), width - 6)]
