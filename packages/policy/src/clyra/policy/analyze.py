# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a policy as a whole, without running it: rules that never match or never matter, and gaps.

All facts are considered, known or not, so that a rule counts as shadowed only if nothing is lost without it, for want
of a fact too. The reported rules can all be taken out together. ``any`` is looked at branch by branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clyra.policy._coverage import BoxSolver, Solver
from clyra.policy._manifest_facts import personal_nodes
from clyra.policy.conditions import Item, compile_condition, known_value
from clyra.policy.effect import RANK
from clyra.policy.engine import CompiledPolicy, compile_policy
from clyra.policy.facts import Facts, declared_facts
from clyra.policy.rules import Rule
from clyra.policy.waivers import Waiver
from clyra.spec import ConfigurationError

Kind = Literal["contradiction", "dead_branch", "shadowed", "conflict", "gap", "undecided"]
Level = Literal["error", "warning", "note"]

DBT_POINTS = frozenset({"run", "statement", "rows", "tests"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    ``contradiction``: the rule ``rules[0]`` can never match. ``dead_branch``: a branch of an ``any`` of it cannot.
    ``shadowed``: whatever it says, the other ``rules`` say as strongly. ``conflict``: it can match together with the
    other, stronger ``rules``, which win. ``gap``: no rule can match for ``subject``. ``undecided``: too wide to tell.
    """

    kind: Kind
    level: Level
    rules: tuple[str, ...]
    message: str
    subject: str | None = None


def analyze(
    document: Mapping[str, Any], *, manifest: Mapping[str, Any] | None = None, deep: bool = False
) -> tuple[Finding, ...]:
    """Findings about a policy, by kind and then in the order of its rules.

    Args:
        document: The normalized policy.
        manifest: dbt's parsed ``manifest.json``: adds a gap for every node with personal data that no rule is about.
        deep: Ask z3 instead of our own algebra: slow, and decides everything.

    Raises:
        PolicyError: The document is no policy.
        ConfigurationError: The manifest is none.
        UnavailableError: z3 is not installed (``extra_missing``).
    """
    policy = compile_policy(document)
    analysis = _Analysis(policy, _solver((*policy.rules, *policy.thresholds), deep=deep))
    return tuple(
        finding
        for part in (
            analysis.contradictions(),
            analysis.shadowed(),
            analysis.conflicts(),
            analysis.open_environments(document.get("environments") or {}),
            analysis.open_nodes(manifest) if manifest is not None else (),
            analysis.undecided(),
        )
        for finding in part
    )


def _solver(rules: Sequence[Rule], *, deep: bool) -> Solver:
    if not deep:
        return BoxSolver(rules)
    from clyra.policy._z3 import Z3Solver

    return Z3Solver(rules)


class _Analysis:
    def __init__(self, policy: CompiledPolicy, solver: Solver) -> None:
        self._rules = policy.rules
        self._thresholds = policy.thresholds
        self._waivers = policy.waivers
        self._solver = solver
        self._never: set[str] = set()
        self._covered: dict[str, tuple[str, ...]] = {}
        self._undecided: dict[str, None] = {}
        self._residuals: dict[tuple[Item, ...], bool] = {}

    def contradictions(self) -> Iterator[Finding]:
        for rule in self._rules:
            if self._decided(self._solver.can_hold(rule.when), rule, otherwise=True):
                yield from self._dead_branches(rule)
                continue
            self._never.add(rule.id)
            message = "its conditions can never hold together; it only ever speaks where a fact is missing"
            yield Finding("contradiction", "error", (rule.id,), message)

    def _dead_branches(self, rule: Rule) -> Iterator[Finding]:
        for index, item in enumerate(rule.when):
            for branch, condition in enumerate(item if len(item) > 1 else ()):
                alone = (*rule.when[:index], (condition,), *rule.when[index + 1 :])
                if not self._decided(self._solver.can_hold(alone), rule, otherwise=True):
                    where = f"when/{index}/any/{branch}"
                    message = f"{where} can never hold with the other conditions; take it out"
                    yield Finding("dead_branch", "warning", (rule.id,), message)

    def shadowed(self) -> Iterator[Finding]:
        # From the last to the first: of two that say the same, the one that came later is the one too many.
        kept = list(self._rules)
        for rule in reversed(self._rules):
            others = [other for other in kept if other is not rule and self._may_cover(other, rule)]
            if covering := self._cover(rule, others):
                kept.remove(rule)
                self._covered[rule.id] = covering
        for rule in self._rules:
            if by := self._covered.get(rule.id):
                message = f"whatever it says, {_listed(by)} says as strongly; take it out, or narrow the other"
                yield Finding("shadowed", "error", (rule.id, *by), message)

    def conflicts(self) -> Iterator[Finding]:
        for rule in self._rules:
            if rule.id in self._never:
                continue
            stronger = tuple(other.id for other in self._rules if self._is_overruled(rule, other))
            if not stronger:
                continue
            level: Level = "warning" if rule.effect == "allow" else "note"
            lifts = "; an allow rule lifts nothing" if rule.effect == "allow" else ""
            message = f"its {rule.effect} can meet a stronger effect of {_listed(stronger)}, which wins{lifts}"
            yield Finding("conflict", level, (rule.id, *stronger), message)

    def open_environments(self, environments: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
        of_dbt = [rule for rule in (*self._rules, *self._thresholds) if rule.points & DBT_POINTS]
        for name, environment in environments.items():
            if not environment.get("production"):
                continue
            for target in environment.get("targets") or ():
                facts: Facts = {"env.name": name, "env.production": True, "dbt.target": target}
                if not any(self._may_stop(rule, facts) for rule in of_dbt):
                    message = f"no rule can stop or warn on target {target} of the production environment {name}"
                    yield Finding("gap", "error", (), message, f"target {target}")

    def open_nodes(self, manifest: Mapping[str, Any]) -> Iterator[Finding]:
        about_nodes = [rule for rule in self._rules if _is_about_a_node(rule)]
        for unique_id, facts in _personal_nodes(manifest):
            if not any(self._may_stop(rule, facts) for rule in about_nodes):
                message = f"no rule about nodes can stop or warn on {unique_id}, which holds personal data"
                yield Finding("gap", "error", (), message, unique_id)

    def undecided(self) -> Iterator[Finding]:
        for rule in self._undecided:
            message = "its conditions are too many to be decided here; use --deep"
            yield Finding("undecided", "note", (rule,), message)

    def _cover(self, rule: Rule, others: Sequence[Rule]) -> tuple[str, ...]:
        """One rule that covers it, or else as few of them as do; nothing where none do."""
        if rule.id in self._never:
            return ()
        for other in others:
            if self._solver.covers(rule, [other]):
                return (other.id,)
        if not self._decided(self._solver.covers(rule, others), rule, otherwise=False):
            return ()
        needed = list(others)
        for other in others:
            rest = [each for each in needed if each is not other]
            if self._solver.covers(rule, rest):
                needed = rest
        return tuple(other.id for other in needed)

    def _may_cover(self, other: Rule, rule: Rule) -> bool:
        """Whether ``other`` is judged wherever ``rule`` is, is enforced if it is, and is waived only with it."""
        return (
            rule.points <= other.points
            and (rule.mode == "shadow" or other.mode == "enforce")
            and (other.scope == "run" or rule.scope == "node")
            and rule.asks_risk == other.asks_risk
            and all(_waives_alike(waiver, other, rule) for waiver in self._waivers if waiver.names(other))
        )

    def _is_overruled(self, rule: Rule, other: Rule) -> bool:
        if RANK[other.effect] <= RANK[rule.effect] or not rule.points & other.points or other.id in self._never:
            return False
        if other.id in self._covered.get(rule.id, ()):
            return False
        return self._solver.can_meet(rule, other) is True

    def _may_stop(self, rule: Rule, facts: Facts) -> bool:
        """Whether the rule can match where these facts are given, with an effect above ``allow``."""
        if rule.effect == "allow":
            return False
        rest = _residual(rule.when, facts)
        if rest is None:
            return False
        if rest not in self._residuals:
            self._residuals[rest] = self._decided(self._solver.can_hold(rest), rule, otherwise=True)
        return self._residuals[rest]

    def _decided(self, answer: bool | None, rule: Rule, *, otherwise: bool) -> bool:
        if answer is None:
            self._undecided[rule.id] = None
            return otherwise
        return answer


def _residual(items: Iterable[Item], facts: Facts) -> tuple[Item, ...] | None:
    """The items that these facts leave open; None where they make one of them false."""
    declared = declared_facts()
    left: list[Item] = []
    for item in items:
        truths = []
        for condition in item:
            given = known_value(declared[condition.field], facts.get(condition.field))
            # What the facts do not name is not missing here, but open.
            is_given = given is not None
            truths.append(compile_condition(condition)({condition.field: given}) if is_given else None)
        if True in truths:
            continue
        rest = tuple(condition for condition, truth in zip(item, truths, strict=True) if truth is None)
        if not rest:
            return None
        left.append(rest)
    return tuple(left)


def _is_about_a_node(rule: Rule) -> bool:
    return rule.scope == "node" or not rule.asks.isdisjoint(("action.target", "action.schema"))


def _waives_alike(waiver: Waiver, other: Rule, rule: Rule) -> bool:
    return waiver.names(rule) and waiver.items_for(rule) == waiver.items_for(other)


def _personal_nodes(manifest: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    try:
        return list(personal_nodes(manifest))
    except (AttributeError, KeyError, TypeError) as exc:
        message = "the file is not dbt's manifest.json; name the one in dbt's target folder"
        raise ConfigurationError(message) from exc


def _listed(rules: Sequence[str]) -> str:
    return ", ".join(rules[:5]) + (f" and {len(rules) - 5} more" if len(rules) > 5 else "")
