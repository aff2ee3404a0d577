# SPDX-License-Identifier: Apache-2.0
"""Decisions of the gates as events of the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from clyra.dbt import _schema_text

if TYPE_CHECKING:
    from clyra.dbt._clock import Clock
    from clyra.policy.decision import Decision, RuleOutcome
    from clyra.policy.effect import Mode

HOLDS = frozenset(("require_approval", "block"))
"""Effects that hold a run."""


def holding_rules(decision: Decision) -> list[RuleOutcome]:
    """The rules that hold a run where the environment enforces."""
    return [rule for rule in decision.rules if rule.mode == "enforce" and is_holding(rule)]


def is_holding(rule: RuleOutcome) -> bool:
    """Whether the rule would hold a run if it enforced."""
    return rule.effect in HOLDS and rule.state != "waived"


class DecisionLog:
    """Writes decisions of one run.

    Personal facts appear as digests under a key that is made for the run and never kept.

    Args:
        clock: Where time and randomness come from.
        mode: The environment's.
        write: Takes the type and the members of an event.
    """

    def __init__(self, clock: Clock, mode: Mode, write: Callable[[str, dict[str, object]], None]) -> None:
        self._clock = clock
        self._mode = mode
        self._write = write
        self._personal_key = clock.random(32)

    def new_id(self) -> str:
        """An id for a decision that is about to be made."""
        from clyra.evidence import new_uuid7

        return new_uuid7(self._clock.now_us(), self._clock.random(10))

    def members(
        self,
        decision: Decision,
        decision_id: str,
        *,
        policy_sha256: str,
        risk: int | None,
        mode: Mode | None = None,
        request_sha256: str | None = None,
        jti: str | None = None,
        unique_id: str | None = None,
        nodes: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, object]:
        """The members of the event ``decision``; ``code`` is the first rule that holds the run.

        ``unique_id`` is the node that all of it is about; ``nodes`` are those behind each rule, and where there is only
        one, it is that node.
        """
        from clyra.policy.engine import event_members

        effective = mode or self._mode
        said = {rule.id for rule in decision.rules if rule.effect != "allow"}
        behind = {rule: found for rule, found in (nodes or {}).items() if rule in said}
        about = list(dict.fromkeys(node for found in behind.values() for node in found))
        if len(about) == 1:
            unique_id, behind = about[0], {}
        members = event_members(
            decision,
            decision_id=decision_id,
            mode=effective,
            policy_sha256=policy_sha256,
            risk=risk,
            personal_key=self._personal_key,
            unique_id=None if unique_id is None else _schema_text.name(unique_id),
            request_sha256=request_sha256,
            jti=jti,
            nodes={rule: [_schema_text.name(node) for node in found] for rule, found in behind.items()},
        )
        heard = [rule for rule in decision.rules if effective == "shadow" or rule.mode == "enforce"]
        code = next((rule.id for rule in heard if is_holding(rule)), None)
        return members if code is None else {**members, "code": code}

    def add(self, members: dict[str, object]) -> None:
        """Write a decision."""
        self._write("decision", members)

    def add_own(self, code: str, *, point: str, policy_sha256: str | None) -> str:
        """Write a decision to block that is not a rule's but the gate's own, named by ``code``; gives its id."""
        decision_id = self.new_id()
        self.add(
            {
                "id": decision_id,
                "point": point,
                "mode": self._mode,
                "decision": "block",
                "code": code,
                "rules": [],
                "missing": [],
                "facts": {},
                "policy_sha256": policy_sha256,
                "risk": None,
            }
        )
        return decision_id
