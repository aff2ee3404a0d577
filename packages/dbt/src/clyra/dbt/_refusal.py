# SPDX-License-Identifier: Apache-2.0
"""How a refusal reads: one block with the code, the rule, the node, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clyra.spec import BlockedError

_SHOWN = 5


class Refusal(NamedTuple):
    """A run that may not go on.

    Attributes:
        code: A word of ``spec/errors.md``.
        reason: What was found.
        rules: Rules behind it, each with its title where it has one.
        nodes: Nodes that they are about.
        steps: What to do next.
    """

    code: str
    reason: str
    rules: Sequence[str] = ()
    nodes: Sequence[str] = ()
    steps: Sequence[str] = ()

    def text(self) -> str:
        """The block, without a line break at its end."""
        lines = [f"the run is refused before its first statement: {self.reason}", f"  code: {self.code}"]
        lines += [f"  rule: {rule}" for rule in self.rules]
        lines += [f"  node: {node}" for node in self.nodes[:_SHOWN]]
        if len(self.nodes) > _SHOWN:
            lines.append(f"  node: and {len(self.nodes) - _SHOWN} more")
        lines += [f"  next: {step}" for step in self.steps]
        return "\n".join(lines)


class RunBlocked(BlockedError):
    """The run gate is closed; ``refusal`` says why, and ``request_sha256`` which request waits for an answer."""

    def __init__(self, refusal: Refusal, *, request_sha256: str | None = None) -> None:
        super().__init__(refusal.reason, code=refusal.code)
        self.refusal = refusal
        self.request_sha256 = request_sha256


class PlanKnown(Exception):
    """The gate was asked only what it would say; ``outcome`` is the answer, as JSON has it."""

    def __init__(self, outcome: dict[str, object]) -> None:
        super().__init__(str(outcome["outcome"]))
        self.outcome = outcome
