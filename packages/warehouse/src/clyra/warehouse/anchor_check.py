# SPDX-License-Identifier: Apache-2.0
"""What comes back when an anchor is held against the warehouse it names.

Three verdicts, because a warehouse forgets: what it no longer keeps is neither right nor wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AnchorVerdict(StrEnum):
    """Whether the warehouse's own history agrees with an anchor."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    NO_LONGER_CHECKABLE = "no_longer_checkable"


@dataclass(frozen=True, slots=True)
class AnchorFinding:
    """One comparison: the field that was looked at, what it says, and why in words."""

    check: str
    verdict: AnchorVerdict
    detail: str


@dataclass(frozen=True, slots=True)
class AnchorCheck:
    """All comparisons of one anchor, in the order they were made."""

    findings: tuple[AnchorFinding, ...]

    @property
    def verdict(self) -> AnchorVerdict:
        """One contradiction decides; confirmed only when there is a finding and every one confirms."""
        verdicts = {finding.verdict for finding in self.findings}
        if AnchorVerdict.CONTRADICTED in verdicts:
            return AnchorVerdict.CONTRADICTED
        if verdicts == {AnchorVerdict.CONFIRMED}:
            return AnchorVerdict.CONFIRMED
        return AnchorVerdict.NO_LONGER_CHECKABLE
