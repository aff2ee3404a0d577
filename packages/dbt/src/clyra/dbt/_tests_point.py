# SPDX-License-Identifier: Apache-2.0
"""The decision after the last test of a run: may anything follow?

A test that failed, or could not run, blocks what follows in the same run (``tests_failed``), unless the policy switches
that off or waives that test. The policy's own rules on tests are judged with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from clyra.dbt import _failed_tests, _nodes
from clyra.dbt._decisions import holding_rules

if TYPE_CHECKING:
    from clyra.dbt._decisions import DecisionLog
    from clyra.dbt._nodes import Outcome
    from clyra.policy.decision import Decision
    from clyra.policy.facts import Facts, FactValue
    from clyra.policy.load import LoadedPolicy

POINT = "tests"
CODE = "tests_failed"


class JudgedTests(NamedTuple):
    """What was decided after the tests.

    ``failed`` and ``passed`` are what the run's memory takes: ids of tests, and of rules with ``rule:`` before them.
    """

    decision: Decision
    failed: Sequence[str]
    passed: Sequence[str]

    def write(self, log: DecisionLog, policy_sha256: str) -> None:
        """Write the decision, if a rule had a say in it."""
        if not self.decision.rules:
            return
        tests = [name for name in self.failed if not name.startswith(_failed_tests.RULE)]
        unique_id = tests[0] if len(tests) == 1 else None
        log.add(log.members(self.decision, log.new_id(), policy_sha256=policy_sha256, risk=None, unique_id=unique_id))


def judge_tests(
    policy: LoadedPolicy, outcomes: Iterable[Outcome], of_run: Facts, *, failures_block: bool, today: date
) -> JudgedTests | None:
    """The decision after the tests of a run; None where it had none.

    Args:
        policy: The policy.
        outcomes: How the run's nodes ended.
        of_run: Facts of the run.
        failures_block: ``dbt_hooks.test_failures_block``.
        today: The day on which waivers are judged.
    """
    from clyra.policy.engine import merge

    tests = [outcome for outcome in outcomes if outcome.resource_type in _nodes.TESTS and outcome.batch_id is None]
    if not tests:
        return None
    counted = _nodes.counted_tests(tests)
    facts: dict[str, FactValue] = {**of_run, **{f"dbt.tests_{name}": count for name, count in counted.items()}}
    own = policy.compiled.decide(POINT, facts, today=today)
    failed = [test.unique_id for test in tests if test.status in _nodes.FAILED]
    single = {name: _failure(policy, name, today) for name in failed if failures_block}
    kept = [name for name, decision in single.items() if decision.effect == "block"]
    rules = [f"{_failed_tests.RULE}{rule.id}" for rule in holding_rules(own)]
    known = [f"{_failed_tests.RULE}{rule.id}" for rule in policy.compiled.rules if POINT in rule.points]
    passed = [test.unique_id for test in tests if test.status in ("pass", "warn")]
    passed += [name for name in single if name not in kept]
    return JudgedTests(
        merge((own, *single.values())),
        [*kept, *rules],
        [*passed, *(name for name in known if name not in rules)],
    )


def _failure(policy: LoadedPolicy, unique_id: str, today: date) -> Decision:
    """The built-in rule about one test that failed, as the policy's waivers leave it."""
    from clyra.policy.engine import CompiledPolicy
    from clyra.policy.rules import Rule

    rule = Rule(
        id=CODE,
        effect="block",
        mode="enforce",
        severity="critical",
        when=(),
        on_missing="block",
        title="",
        message="",
        fix="",
        controls=(),
        owner=None,
        asks=frozenset(),
        points=frozenset((POINT,)),
        scope="node",
    )
    return CompiledPolicy((rule,), policy.compiled.waivers, (), ()).decide(POINT, {"dbt.node": unique_id}, today=today)
