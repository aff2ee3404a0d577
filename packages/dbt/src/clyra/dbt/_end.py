# SPDX-License-Identifier: Apache-2.0
"""What the policy, and the candidate beside it, say at the end of a run: about its tests, and what would have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clyra.dbt import _failed_tests, _tests_point
from clyra.dbt._clock import aware
from clyra.dbt._decisions import HOLDS
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.dbt._gate import RunGate
    from clyra.dbt._governance import Governance
    from clyra.dbt._session import Session
    from clyra.policy.load import LoadedPolicy


def judge_end(session: Session, gate: RunGate, governance: Governance, *, refused: bool) -> bool:
    """Write the decisions of the end; says whether nothing may follow in this run.

    Args:
        session: The invocation.
        gate: What judged its beginning.
        governance: What governs it.
        refused: Whether it was refused before it began.
    """
    _tell_trial(session, gate)
    policy = governance.governing.policy
    if policy is None or refused:
        return False
    return _judge_tests(session, gate, governance, policy)


def _judge_tests(session: Session, gate: RunGate, governance: Governance, policy: LoadedPolicy) -> bool:
    governing = governance.governing
    judged = _tests_point.judge_tests(
        policy,
        session.outcomes.values(),
        gate.facts_of_run(policy, _tests_point.POINT),
        failures_block=governing.test_failures_block,
        today=aware(session.clock.now_us()).date(),
    )
    if judged is None:
        return False
    decision = judged.decision
    judged.write(gate.log, policy.sha256)
    if session.identity.joined and governing.test_failures_block:
        run_id = session.identity.run_id
        _failed_tests.remember(session.folder.journal_dir, run_id, failed=judged.failed, passed=judged.passed)
    return governing.enforces and decision.effect in HOLDS


def _tell_trial(session: Session, gate: RunGate) -> None:
    """A decision of a candidate that differs, as one that would have been."""
    if gate.trial is None:
        return
    try:
        found = gate.trial.end()
    except ClyraError as exc:
        session.degrade("policy", exc)
        return
    if found is not None:
        decision = found.judged.decision
        sha256, score = found.policy.sha256, found.judged.risk["score"]
        gate.log.add(gate.log.members(decision, gate.log.new_id(), policy_sha256=sha256, risk=score, mode="shadow"))
