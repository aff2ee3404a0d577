# SPDX-License-Identifier: Apache-2.0
"""Recorded decisions, made again under another policy, as far as the record allows.

Evidence holds the facts that the policy of that day asked for, personal ones as keyed digests. A fact that it asked
for and that is absent was unknown. One that it never asked for may have been anything: then every kind of value that
matters is tried, and only what comes out alike for all of them is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from clyra.policy._judge import judge
from clyra.policy._witness import assignments, kinds_of
from clyra.policy.effect import RANK, Effect
from clyra.policy.facts import Facts, FactValue, declared_facts
from clyra.policy.recorded_runs import DecidedRun, Unread, is_gates_own
from clyra.policy.rules import RISK_SCORE

if TYPE_CHECKING:
    from clyra.policy.conditions import Condition
    from clyra.policy.decision import Decision
    from clyra.policy.engine import CompiledPolicy

Scope = Literal["run", "node", "all"]
Verdict = Literal["same", "stricter", "weaker", "not decidable"]

_MAX_COMBINATIONS = 2_000
_NODE = "dbt.node"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a decision event tells about the facts of its moment.

    Attributes:
        point: The decision point.
        day: The day, UTC.
        scope: Which rules were asked: those of one node, those of the run, or all.
        facts: What was known and is told.
        absent: Facts that were asked for and unknown.
    """

    point: str
    day: date
    scope: Scope
    facts: Facts
    absent: frozenset[str]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision under two policies.

    Attributes:
        verdict: How the new one decides against the old.
        old: Effect of all rules of the old policy, weakest first where it depends on what is not told; none where
            that is too much to try.
        new: That of the new one.
        untold: Facts that either policy asks for and the record does not tell.
    """

    verdict: Verdict
    old: tuple[Effect, ...]
    new: tuple[Effect, ...]
    untold: tuple[str, ...]


def recorded_of(event: Mapping[str, Any], run: DecidedRun) -> Recorded:
    """What a decision event of ``run`` tells, together with its manifest.

    Where its policy is not at hand it cannot be said what was looked for in vain. Where the gate left one event for
    the run and all of its nodes, that tells facts of nodes only where they did not differ.
    """
    point, unique_id, risk = event["point"], event.get("unique_id"), event.get("risk")
    declared = declared_facts()
    facts: dict[str, FactValue] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in event["facts"].items()
        if name in declared and not declared[name].personal
    }
    scope: Scope = "all" if point not in run.points_apart else "run" if unique_id is None else "node"
    asked = frozenset[str]() if run.policy is None else run.policy.needs(point) - event["facts"].keys()
    absent = {name for name in (*event["missing"], *asked) if name in declared}
    for name, value in run.facts.items():
        if name not in absent and point in declared[name].points:
            facts.setdefault(name, value)
    if isinstance(risk, int):
        facts[RISK_SCORE] = risk
    if scope == "node" and isinstance(unique_id, str):
        facts[_NODE] = unique_id
    if scope == "all":
        absent = {name for name in absent if declared[name].scope == "run"}
    return Recorded(point, date.fromisoformat(event["occurred_at"][:10]), scope, facts, frozenset(absent))


def replay(recorded: Recorded, old: CompiledPolicy, new: CompiledPolicy) -> Replayed:
    """Decide a recorded decision again under two policies, over all that the record leaves open."""
    untold = untold_facts(recorded, [old, new])
    outcomes = over_untold(
        recorded,
        [old, new],
        lambda facts: tuple(
            judge(policy, recorded.point, facts, today=recorded.day, scope=recorded.scope) for policy in (old, new)
        ),
    )
    if outcomes is None:
        return Replayed("not decidable", (), (), untold)
    pairs = list(outcomes)
    verdicts = {_verdict(before, after) for before, after in pairs}
    return Replayed(
        verdicts.pop() if len(verdicts) == 1 else "not decidable",
        _ordered({before.shadow_effect for before, _ in pairs}),
        _ordered({after.shadow_effect for _, after in pairs}),
        untold,
    )


def over_untold(
    recorded: Recorded, policies: Sequence[CompiledPolicy], decide: Callable[[Facts], T]
) -> Iterator[T] | None:
    """What ``decide`` says for every kind of values of the facts that are not told; None where they are too many."""
    untold = untold_facts(recorded, policies)
    kinds = kinds_of(each for each in _conditions(recorded, policies) if each.field in untold)
    combinations = None if kinds is None else assignments(kinds, limit=_MAX_COMBINATIONS)
    if combinations is None:
        return None
    return (decide({**recorded.facts, **assumed}) for assumed in combinations)


def untold_facts(recorded: Recorded, policies: Sequence[CompiledPolicy]) -> tuple[str, ...]:
    """Facts that the policies ask for at this decision, and of which the record says nothing; sorted."""
    wanted = {each.field for each in _conditions(recorded, policies)} - {RISK_SCORE}
    return tuple(sorted(wanted - recorded.facts.keys() - recorded.absent))


@dataclass(slots=True)
class Difference:
    """Decisions that came out alike: at one point, about one node, with one outcome."""

    point: str
    unique_id: str | None
    target: str | None
    outcome: Replayed
    count: int = 0
    bundles: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ReplayResult:
    """What came out.

    Attributes:
        runs: Bundles that were read.
        counts: Decisions by how the new policy decides against the old.
        differences: All that are not the same, weaker ones first.
        unread: What could not be read.
    """

    runs: int = 0
    counts: dict[Verdict, int] = field(
        default_factory=lambda: {"same": 0, "stricter": 0, "weaker": 0, "not decidable": 0}
    )
    differences: list[Difference] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def replay_runs(runs: Iterable[DecidedRun | Unread], old: CompiledPolicy, new: CompiledPolicy) -> ReplayResult:
    """Decide every recorded decision again under both policies, each decision of a run once."""
    result = ReplayResult()
    found: dict[tuple[object, ...], Difference] = {}
    for run in runs:
        if isinstance(run, Unread):
            result.unread.append(run)
            continue
        result.runs += 1
        enforced = {_moment(event) for event in run.decisions if event["mode"] == "enforce"}
        for event in run.decisions:
            # What was enforced and what shadow rules would have done are two events about one decision.
            if event["mode"] == "shadow" and _moment(event) in enforced:
                continue
            if is_gates_own(event):
                continue
            recorded = recorded_of(event, run)
            outcome = replay(recorded, old, new)
            result.counts[outcome.verdict] += 1
            if outcome.verdict != "same":
                place = (event["point"], event.get("unique_id"), run.target)
                difference = found.setdefault((*place, outcome), Difference(*place, outcome))
                difference.count += 1
                difference.bundles.add(run.bundle_id)
    order: list[Verdict] = ["weaker", "not decidable", "stricter"]
    result.differences = sorted(
        found.values(), key=lambda each: (order.index(each.outcome.verdict), -each.count, str(each.unique_id))
    )
    return result


def _conditions(recorded: Recorded, policies: Iterable[CompiledPolicy]) -> Iterator[Condition]:
    for policy in policies:
        for rule in (*policy.rules, *policy.thresholds):
            if recorded.point not in rule.points or recorded.scope not in ("all", rule.scope):
                continue
            items = [*rule.when]
            for waiver in policy.waivers:
                if waiver.names(rule):
                    items += waiver.items_for(rule)
            for item in items:
                yield from item


def _verdict(old: Decision, new: Decision) -> Verdict:
    """Both what all rules say and what those in force say must not be less."""
    pairs = ((old.shadow_effect, new.shadow_effect), (old.effect, new.effect))
    if any(RANK[after] < RANK[before] for before, after in pairs):
        return "weaker"
    return "stricter" if any(RANK[after] > RANK[before] for before, after in pairs) else "same"


def _ordered(effects: set[Effect]) -> tuple[Effect, ...]:
    return tuple(sorted(effects, key=RANK.__getitem__))


def _moment(event: Mapping[str, Any]) -> tuple[object, ...]:
    return event["point"], event.get("unique_id"), str(sorted(event["facts"].items()))
