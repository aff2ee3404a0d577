# SPDX-License-Identifier: Apache-2.0
"""One decision over all facts at hand, the risk score among them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from clyra.policy.engine import compile_policy, merge
from clyra.policy.rules import RISK_SCORE, SECTIONS

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


def only(document: Mapping[str, Any], rule: Mapping[str, Any] | None) -> CompiledPolicy:
    """A policy with the one rule, or none, and neither waivers nor thresholds: to look at the rule by itself."""
    alone: dict[str, Any] = {section: {**document[section], "rules": []} for section in SECTIONS}
    alone["data_platform"]["rules"] = [] if rule is None else [rule]
    risk = {**document["enforcement"]["risk"], "thresholds": []}
    alone["enforcement"] = {**document["enforcement"], "risk": risk, "checkpoints": []}
    return compile_policy({**document, **alone, "waivers": []})
