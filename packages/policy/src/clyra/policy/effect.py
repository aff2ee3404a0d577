# SPDX-License-Identifier: Apache-2.0
"""Effects and modes, and the lattice that joins effects: ``block > require_approval > warn > allow``.

The join is what makes a policy monotone: a rule that is added can only raise the outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Effect = Literal["allow", "warn", "require_approval", "block"]
Severity = Literal["critical", "warning", "info"]
Mode = Literal["shadow", "enforce"]

EFFECTS: tuple[Effect, ...] = ("allow", "warn", "require_approval", "block")
"""Weakest first."""

RANK: dict[Effect, int] = {effect: rank for rank, effect in enumerate(EFFECTS)}


def join(effects: Iterable[Effect]) -> Effect:
    """The strongest of ``effects``; ``allow`` where there is none."""
    return EFFECTS[max((RANK[effect] for effect in effects), default=0)]


def default_severity(effect: Effect) -> Severity:
    """What a rule's severity is where its author said nothing: critical for ``block``, else warning."""
    return "critical" if effect == "block" else "warning"
