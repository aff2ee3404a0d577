# SPDX-License-Identifier: Apache-2.0
"""What a decision point says: the outcome, the rules behind it, what was not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from clyra.policy.effect import Effect, Mode, Severity
from clyra.policy.facts import FactValue

RuleState = Literal["matched", "unknown", "waived"]


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """A rule that had a say: it matched, could not be judged for want of a fact, or was lowered by a waiver.

    ``effect`` is what it had here: its own where it matched, ``on_missing`` where it is unknown, at most ``warn``
    where it is waived. ``mode`` is the rule's own.
    """

    id: str
    effect: Effect
    severity: Severity
    state: RuleState
    mode: Mode = "enforce"
    waiver: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome at one decision point, a pure function of policy, facts and the date.

    ``effect`` joins the rules whose mode is ``enforce``; ``shadow_effect`` joins all of them, and is what would have
    been. ``rules`` are in the order of the policy. ``missing`` are the facts that unknown rules wanted, sorted.
    ``facts`` are those that any rule at this point asked for and that were known.
    """

    point: str
    effect: Effect
    shadow_effect: Effect
    rules: tuple[RuleOutcome, ...]
    missing: tuple[str, ...]
    facts: Mapping[str, FactValue]
    expired_waivers: tuple[str, ...] = ()
