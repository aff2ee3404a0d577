# SPDX-License-Identifier: Apache-2.0
"""One decision over all facts at hand, the risk score among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from clyra.policy.engine import compile_policy, merge
from clyra.policy.rules import RISK_SCORE, SECTIONS, member

if TYPE_CHECKING:
    from clyra.policy.decision import Decision
    from clyra.policy.engine import CompiledPolicy
    from clyra.policy.facts import Facts


def judge(
    policy: CompiledPolicy, point: str, facts: Facts, *, today: date, scope: Literal["run", "node", "all"] = "all"
) -> Decision:
    """What ``policy`` decides at ``point``; rules on the risk score have a say where ``facts`` give one."""
    decision = policy.decide(point, facts, today=today, scope=scope)
    score = facts.get(RISK_SCORE)
    if isinstance(score, int):
        return merge([decision, policy.decide_risk(point, facts, today=today, score=score)])
    return decision


def only(
    document: Mapping[str, Any],
    rules: Sequence[Mapping[str, Any]],
    *,
    waivers: Sequence[Mapping[str, Any]] = (),
    thresholds: Sequence[Mapping[str, Any]] = (),
) -> CompiledPolicy:
    """A policy with these parts and nothing else that decides: to look at them by themselves."""
    alone: dict[str, Any] = {section: {**(document.get(section) or {}), "rules": []} for section in SECTIONS}
    alone["data_platform"]["rules"] = list(rules)
    risk = {**(member(document, "enforcement", "risk") or {}), "thresholds": list(thresholds)}
    alone["enforcement"] = {**(document.get("enforcement") or {}), "risk": risk, "checkpoints": []}
    return compile_policy({**document, **alone, "waivers": list(waivers)})


def observed(decision: Decision) -> tuple[str, dict[str, str]]:
    """All that a case can see of a decision: the joined effect of all rules, and the effect of each with a say."""
    return decision.shadow_effect, {each.id: each.effect for each in decision.rules}
