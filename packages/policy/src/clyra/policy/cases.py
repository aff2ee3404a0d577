# SPDX-License-Identifier: Apache-2.0
"""Tests of a policy: facts given, decision expected; what they reach and what they would not notice.

A case judges what the rules say, all of them, whatever their mode and their environment's: that is what a policy is
for, and what shadow mode tries out. ``enforced`` pins down what a gate would do on top of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from clyra.policy._judge import judge
from clyra.policy.conditions import compile_item, known_value
from clyra.policy.effect import Effect
from clyra.policy.environment import environment_for
from clyra.policy.facts import FactValue, declared_facts

if TYPE_CHECKING:
    from clyra.policy.decision import Decision
    from clyra.policy.engine import CompiledPolicy
    from clyra.policy.environment import Environment
    from clyra.policy.rules import Rule

TESTS_FOLDER = "policy_tests"
"""Beside the policy; every ``*.yaml`` in it holds cases."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case expects.

    Attributes:
        decision: The joined effect of all rules, also those in shadow mode.
        rules: Rules that have a say, and no others, each with the effect it has (None: any); None asks nothing.
        enforced: What a gate does in the case's environment; None asks nothing.
    """

    decision: Effect
    rules: Mapping[str, Effect | None] | None = None
    enforced: Effect | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One case, ready to run.

    Attributes:
        name: Its name, unique in its file.
        point: The decision point.
        facts: All facts that are known: the file's, those of the environment, the case's own.
        expected: What must come out.
        environment: Name of the environment it is in, if it names one or a target.
        target: The dbt target, if it names one.
        today: The day of the decision, where the case depends on it.
        own: What the case itself gives, as in the file; None where it makes a fact unknown.
        file: Name of its file.
        line: Where it begins, from 1.
    """

    name: str
    point: str
    facts: Mapping[str, FactValue]
    expected: Expected
    environment: str | None = None
    target: str | None = None
    today: date | None = None
    own: Mapping[str, FactValue | None] = field(default_factory=dict)
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came out of a case; ``faults`` says what was not as expected, nothing where it passed."""

    case: Case
    decision: Decision
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """Which cases reach a rule: ``hits`` match it, ``near_misses`` miss it by exactly one of its conditions."""

    rule: str
    hits: tuple[str, ...]
    near_misses: tuple[str, ...]
    has_conditions: bool = True

    @property
    def is_covered(self) -> bool:
        """Whether there is a hit and a near miss; a rule without conditions cannot be missed."""
        return bool(self.hits) and (bool(self.near_misses) or not self.has_conditions)


def decide_case(policy: CompiledPolicy, case: Case, *, today: date) -> Decision:
    """What ``policy`` decides about the facts of ``case``, on its day or else ``today``."""
    return judge(policy, case.point, case.facts, today=case.today or today)


def run_case(policy: CompiledPolicy, environments: Mapping[str, Environment], case: Case, *, today: date) -> CaseResult:
    """Run ``case`` against ``policy``."""
    decision = decide_case(policy, case, today=today)
    faults = list(expectation_faults(case.expected, decision))
    wanted = case.expected.enforced
    if wanted is not None:
        environ = {} if case.environment is None else {"CLYRA_ENVIRONMENT": case.environment}
        environment = environment_for(environments, target=case.target, environ=environ)
        enforced: Effect = decision.effect if environment.mode == "enforce" else "allow"
        if enforced != wanted:
            where = f"environment {environment.name}, mode {environment.mode}"
            faults.append(f"expected that {wanted} is enforced, got {enforced} ({where})")
    return CaseResult(case, decision, tuple(faults))


def expectation_faults(expected: Expected, decision: Decision) -> Iterator[str]:
    """In what ``decision`` differs from what was expected of the rules."""
    if decision.shadow_effect != expected.decision:
        rules = ", ".join(f"{each.id} {each.effect}" for each in decision.rules) or "no rule"
        yield f"expected {expected.decision}, got {decision.shadow_effect} by {rules}"
    if expected.rules is None:
        return
    said = {each.id: each for each in decision.rules}
    for name, effect in expected.rules.items():
        if name not in said:
            yield f"expected {name} to have a say; it has none"
        elif effect is not None and said[name].effect != effect:
            yield f"expected {name} to say {effect}, it says {said[name].effect} ({said[name].state})"
    for name, outcome in said.items():
        if name not in expected.rules:
            wanted = f" for want of {', '.join(decision.missing)}" if outcome.state == "unknown" else ""
            yield f"{name} says {outcome.effect} ({outcome.state}{wanted}), which was not expected"


def coverage(policy: CompiledPolicy, cases: Sequence[Case]) -> tuple[RuleCoverage, ...]:
    """Per rule of the policy the cases that hit it and those that just miss it."""
    return tuple(_rule_coverage(rule, cases) for rule in policy.rules)


def _rule_coverage(rule: Rule, cases: Sequence[Case]) -> RuleCoverage:
    tests = [compile_item(item) for item in rule.when]
    hits: list[str] = []
    near: list[str] = []
    for case in cases:
        if case.point not in rule.points or (rule.asks_risk and "risk.score" not in case.facts):
            continue
        known = {name: known_value(declared_facts()[name], case.facts.get(name)) for name in rule.asks}
        truths = [test(known) for test in tests]
        if all(truths):
            hits.append(case.name)
        elif truths.count(False) == 1 and truths.count(True) == len(truths) - 1:
            near.append(case.name)
    return RuleCoverage(rule.id, tuple(hits), tuple(near), bool(tests))


def as_members(result: CaseResult) -> dict[str, Any]:
    """The result as it goes into JSON."""
    return {
        "name": result.case.name,
        "file": result.case.file,
        "line": result.case.line,
        "point": result.case.point,
        "passed": not result.faults,
        "faults": list(result.faults),
        "decision": result.decision.shadow_effect,
        "rules": {each.id: each.effect for each in result.decision.rules},
    }
