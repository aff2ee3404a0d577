# SPDX-License-Identifier: Apache-2.0
"""Which mutants a suite of cases does not notice, and for each the case that would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain, islice, product
from typing import TYPE_CHECKING, Any, Literal

from clyra.policy._judge import judge, observed, only
from clyra.policy._rule_effects import places_of
from clyra.policy.cases import Case, run_case
from clyra.policy.conditions import read_items
from clyra.policy.engine import RISK_THRESHOLD, compile_policy
from clyra.policy.mutate import Mutant, mutants, rules_of
from clyra.policy.rules import RISK_SCORE, member
from clyra.policy.source import Fault
from clyra.policy.waivers import read_waivers

if TYPE_CHECKING:
    from clyra.policy.engine import CompiledPolicy
    from clyra.policy.environment import Environment
    from clyra.policy.facts import FactValue

_MAX_TRIED = 400

_Moment = tuple[str, Mapping[str, "FactValue"], date]
"""A decision: point, facts, day."""


@dataclass(frozen=True, slots=True)
class MissingCase:
    """A case that would notice a mutant.

    Attributes:
        point: Its decision point.
        given: Facts by name, None for unknown; on top of what the file of ``like`` gives, where there is one.
        today: Its day, where that matters.
        decision: The effect to expect.
        rules: The rules that have a say, each with its effect.
        like: A case it is made from, if one comes near.
    """

    point: str
    given: Mapping[str, FactValue | None]
    today: date | None
    decision: str
    rules: Mapping[str, str]
    like: Case | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a mutant.

    ``equivalent`` ones decide everything as the policy does. A survivor whose ``missing`` is None has too many
    combinations of facts to look for one that tells: it may be equivalent too.
    """

    mutant: Mutant
    outcome: Literal["killed", "equivalent", "survived"]
    missing: MissingCase | None = None


def try_mutants(
    document: Mapping[str, Any], environments: Mapping[str, Environment], cases: Sequence[Case], *, today: date
) -> Iterator[Tried]:
    """Try every mutant of a normalized policy.

    Raises:
        ValueError: A case fails on the policy itself, so that nothing could be said about its mutants.
    """
    original = compile_policy(document)
    if any(run_case(original, environments, case, today=today).faults for case in cases):
        raise ValueError("mutants are tried on a policy that passes its cases")
    for mutant in mutants(document):
        changed = compile_policy(mutant.document)
        if any(run_case(changed, environments, case, today=today).faults for case in cases):
            yield Tried(mutant, "killed")
            continue
        moments = _telling(document, mutant, today)
        if moments is None:
            yield Tried(mutant, "survived")
            continue
        told = list(islice(moments, _MAX_TRIED))
        if told:
            yield Tried(mutant, "survived", _missing_case(told, original, changed, cases, today))
        else:
            yield Tried(mutant, "equivalent")


def places_in(data: bytes, file: str) -> Callable[[str], tuple[int, int]]:
    """Where things stand in the policy file ``data``: gives line and column, from 1, for a JSON pointer."""
    from clyra.policy._yaml import read_yaml

    source = read_yaml(data, file)

    def place(pointer: str) -> tuple[int, int]:
        path = tuple(int(part) if part.isdigit() else part for part in pointer.split("/")[1:])
        (problem,) = source.locate([Fault("policy_test_failed", "", path)])
        return problem.line, problem.column

    return place


def _telling(document: Mapping[str, Any], mutant: Mutant, today: date) -> Iterator[_Moment] | None:
    """Moments at which the mutant decides otherwise, looked at by itself; None where they cannot all be tried."""
    if mutant.owner == RISK_THRESHOLD:
        return _telling_scores(document, mutant, today)
    rules = {rule["id"]: rule for _, rule in rules_of(document)}
    if mutant.owner in rules and not mutant.pointer.startswith("/waivers/"):
        changed = [rule for _, rule in rules_of(mutant.document) if rule["id"] == mutant.owner]
        places = places_of([read_items(each["when"]) for each in (rules[mutant.owner], *changed)])
        if places is None:
            return None
        pair = only(document, [rules[mutant.owner]]), only(document, changed)
        return _differing(((point, facts, today) for point, facts in places), *pair)
    return _telling_waivers(document, mutant, rules)


def _telling_scores(document: Mapping[str, Any], mutant: Mutant, today: date) -> Iterator[_Moment]:
    before, after = (
        only(document, [], thresholds=member(source, "enforcement", "risk", "thresholds"))
        for source in (document, mutant.document)
    )
    return _differing((("run", {RISK_SCORE: score}, today) for score in range(101)), before, after)


def _telling_waivers(
    document: Mapping[str, Any], mutant: Mutant, rules: Mapping[str, Mapping[str, Any]]
) -> Iterator[_Moment] | None:
    versions = [
        [each for each in source["waivers"] if each["id"] == mutant.owner] for source in (document, mutant.document)
    ]
    policy = compile_policy(document)
    last = date.fromisoformat(versions[0][0]["expires"])
    found: list[Iterator[_Moment]] = []
    for rule in (*policy.rules, *policy.thresholds):
        if rule.id not in versions[0][0]["rules"]:
            continue
        selected = [waiver.items_for(rule) for each in versions for waiver in read_waivers({"waivers": each})]
        places = places_of([rule.when, *((*rule.when, *items) for items in selected)])
        if places is None:
            return None
        alone = [rules[rule.id]] if rule.id in rules else []
        thresholds = [] if alone else member(document, "enforcement", "risk", "thresholds")
        before, after = (only(document, alone, waivers=each, thresholds=thresholds) for each in versions)
        days = (last, last + timedelta(days=1))
        moments = ((point, facts, day) for (point, facts), day in product(places, days))
        found.append(_differing(moments, before, after))
    return chain.from_iterable(found)


def _differing(moments: Iterator[_Moment], before: CompiledPolicy, after: CompiledPolicy) -> Iterator[_Moment]:
    return (moment for moment in moments if _says(before, moment) != _says(after, moment))


def _says(policy: CompiledPolicy, moment: _Moment) -> tuple[str, dict[str, str]]:
    point, facts, day = moment
    return observed(judge(policy, point, facts, today=day))


def _missing_case(
    told: Sequence[_Moment], original: CompiledPolicy, changed: CompiledPolicy, cases: Sequence[Case], today: date
) -> MissingCase:
    """The case that gives the fewest facts, and then changes the fewest, among those that tell the policies apart."""
    names = {name for _, facts, _ in told for name in facts}
    best: tuple[tuple[bool, int, int], MissingCase] | None = None
    for point, facts, day in told:
        for like in [*(case for case in cases if case.point == point), None]:
            before = {} if like is None else like.facts
            changes = {name: facts.get(name) for name in sorted(names) if before.get(name) != facts.get(name)}
            given = {**({} if like is None else like.own), **changes}
            moved = day != today and (like is None or like.today != day)
            cost = like is None, len(given) + moved, len(changes)
            if best is not None and cost >= best[0]:
                continue
            whole = {name: value for name, value in {**before, **changes}.items() if value is not None}
            said = _says(original, (point, whole, day))
            if said != _says(changed, (point, whole, day)):
                case_day = day if day != today else None if like is None else like.today
                best = cost, MissingCase(point, given, case_day, *said, like)
    point, facts, day = told[0]
    return best[1] if best is not None else MissingCase(point, facts, day, *_says(original, told[0]), None)
