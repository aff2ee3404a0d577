# SPDX-License-Identifier: Apache-2.0
"""The decision function: a policy compiled once, then facts in, effect out.

Pure and deterministic: no file, clock or randomness. Rules are joined on the lattice of effects, so a rule that is
added never weakens an outcome, and a fact that is absent leaves a rule at its ``on_missing``, never at nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from hashlib import sha256
from hmac import digest
from typing import Any, Literal

from clyra.policy._plan import Plan, plan_of, read_facts, rule_test, waived
from clyra.policy.conditions import Known, asked, compile_items
from clyra.policy.decision import Decision, RuleOutcome
from clyra.policy.effect import RANK, Mode, join
from clyra.policy.facts import Facts, FactValue, decision_points, declared_facts
from clyra.policy.rules import (
    PLACES,
    RISK_SCORE,
    RISK_THRESHOLD,
    Checkpoint,
    CheckpointPlace,
    Rule,
    read_checkpoints,
    read_rules,
    read_thresholds,
)
from clyra.policy.waivers import Waiver, read_waivers
from clyra.spec import PolicyError

__all__ = ["RISK_THRESHOLD", "CompiledPolicy", "DecisionScope", "compile_policy", "event_members", "merge"]

DecisionScope = Literal["run", "node", "all"]

_STATES = ("waived", "unknown", "matched")
# Ids of nodes have tens of bytes, and a line of the journal 64 KiB.
_MOST_NODES = 200


class CompiledPolicy:
    """A policy ready to decide; made by `compile_policy`, never changed, safe to share between threads.

    Attributes:
        rules: All rules, in the order of the policy.
        waivers: All waivers, in the order of the policy.
        checkpoints: All checkpoints, in the order of the policy.
        thresholds: The thresholds on the risk score, as rules.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        waivers: Sequence[Waiver],
        checkpoints: Sequence[Checkpoint],
        thresholds: Sequence[Rule],
    ) -> None:
        self.rules = tuple(rules)
        self.waivers = tuple(waivers)
        self.checkpoints = tuple(checkpoints)
        self.thresholds = tuple(thresholds)
        tests = tuple(rule_test(rule, self.waivers) for rule in (*self.rules, *self.thresholds))
        self._plans: dict[tuple[str, str], Plan] = {}
        for point in decision_points():
            here = [test for test in tests if point in test.rule.points]
            before = [test for test in here if not test.rule.asks_risk]
            self._plans[point, "all"] = plan_of(before)
            self._plans[point, "run"] = plan_of([test for test in before if test.rule.scope == "run"])
            self._plans[point, "node"] = plan_of([test for test in before if test.rule.scope == "node"])
            self._plans[point, "risk"] = plan_of([test for test in here if test.rule.asks_risk])

    def decide(self, point: str, facts: Facts, *, today: date, scope: DecisionScope = "all") -> Decision:
        """What the policy says at ``point``, before the risk score is known.

        Args:
            point: A decision point of ``facts.json``.
            facts: What is known; others than `needs` names are not looked at.
            today: The day on which waivers are judged.
            scope: ``node`` for the rules that ask a fact of one node, ``run`` for the others.

        Raises:
            ValueError: There is no such decision point: a mistake of the caller, never an open gate.
        """
        return _decide(self._plan(point, scope), point, facts, today)

    def decide_risk(self, point: str, facts: Facts, *, today: date, score: int) -> Decision:
        """What the rules on ``risk.score`` and the thresholds say; ``score`` is 0 to 100.

        A threshold that is passed is the outcome ``risk_threshold``.

        Raises:
            ValueError: There is no such decision point.
        """
        return _decide(self._plan(point, "risk"), point, {**facts, RISK_SCORE: score}, today)

    def needs(self, point: str) -> frozenset[str]:
        """Facts that any rule, waiver or checkpoint may ask for at ``point``; a gate gathers no others.

        Raises:
            ValueError: There is no such decision point.
        """
        plans = (self._plan(point, "all"), self._plan(point, "risk"))
        read = frozenset(fact.name for plan in plans for fact in plan.reads)
        paused = (asked(each.when) for each in self.checkpoints if point in PLACES[each.at])
        return read.union(*paused)

    def judges_risk(self, point: str) -> bool:
        """Whether `decide_risk` can say anything at ``point``.

        Raises:
            ValueError: There is no such decision point.
        """
        return bool(self._plan(point, "risk").rules)

    def checkpoint_at(self, at: CheckpointPlace, facts: Facts, today: date) -> Checkpoint | None:
        """The first checkpoint of this place whose condition holds or cannot be judged.

        Args:
            at: The place.
            facts: What is known there.
            today: As for `decide`; no waiver lowers a checkpoint, so the answer does not depend on it.
        """
        for checkpoint in self.checkpoints:
            if checkpoint.at != at:
                continue
            known = read_facts(facts, [declared_facts()[name] for name in asked(checkpoint.when)])
            if compile_items(checkpoint.when)(known) is not False:
                return checkpoint
        return None

    def _plan(self, point: str, scope: str) -> Plan:
        try:
            return self._plans[point, scope]
        except KeyError:
            raise ValueError(f"no decision point {point!r} with scope {scope!r}") from None


def compile_policy(document: Mapping[str, Any]) -> CompiledPolicy:
    """The policy in the normalized ``document``, ready to decide.

    Raises:
        PolicyError: A rule, waiver, checkpoint or threshold is not one. The loader says where; this keeps gates closed.
    """
    try:
        return CompiledPolicy(
            read_rules(document), read_waivers(document), read_checkpoints(document), read_thresholds(document)
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise PolicyError(f"the policy is not of its schema ({type(exc).__name__}: {exc}); lint it") from exc


def merge(decisions: Iterable[Decision]) -> Decision:
    """One decision out of several at the same point, as for the nodes of a run.

    Effects are joined. Of a rule with a say in several the strongest outcome is kept; rules come in the order in which
    they first had a say. A fact of the run stays where no two decisions knew it differently, a fact of a node where all
    that know any know this one, and alike: facts of different nodes must not look like those of one.

    Raises:
        ValueError: There is no decision, or they are of different points.
    """
    given = tuple(decisions)
    points = {decision.point for decision in given}
    if len(points) != 1:
        raise ValueError(f"decisions of one point can be merged; there are {len(points)} points")
    outcomes: dict[str, RuleOutcome] = {}
    for outcome in (outcome for decision in given for outcome in decision.rules):
        held = outcomes.get(outcome.id)
        if held is None or _strength(outcome) > _strength(held):
            outcomes[outcome.id] = outcome
    return Decision(
        point=points.pop(),
        effect=join(decision.effect for decision in given),
        shadow_effect=join(decision.shadow_effect for decision in given),
        rules=tuple(outcomes.values()),
        missing=_union(decision.missing for decision in given),
        facts=_merged_facts([decision.facts for decision in given]),
        expired_waivers=_union(decision.expired_waivers for decision in given),
    )


def event_members(
    decision: Decision,
    *,
    decision_id: str,
    mode: Mode,
    policy_sha256: str,
    risk: int | None,
    personal_key: bytes,
    unique_id: str | None = None,
    request_sha256: str | None = None,
    jti: str | None = None,
    nodes: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, object]:
    """The members of the journal event ``decision``.

    Args:
        decision: What was decided.
        decision_id: Its id, which the events of an approval name.
        mode: The environment's. With ``shadow`` the event says what would have been, by all rules; with ``enforce``
            what was, by the rules whose own mode is ``enforce``. So ``decision`` always joins the effects listed.
        policy_sha256: Hex digest of the policy's canonical bytes.
        risk: The score, if it was known.
        personal_key: Secret key of the digests that stand for personal facts, ``hmac:`` and 16 hex digits.
        unique_id: Of the node that it is about.
        request_sha256: Digest of the approval request that this decision led to.
        jti: Id of the token that lifted it.
        nodes: By rule the nodes that it had a say about, where there are several; the event names the first ones.
    """
    told = _first_nodes(nodes or {})
    heard = [outcome for outcome in decision.rules if mode == "shadow" or outcome.mode == "enforce"]
    members: dict[str, object] = {
        "id": decision_id,
        "point": decision.point,
        "mode": mode,
        "decision": decision.shadow_effect if mode == "shadow" else decision.effect,
        "rules": [_rule_members(outcome, told.get(outcome.id, ())) for outcome in heard],
        "missing": list(decision.missing),
        "facts": _event_facts(decision.facts, personal_key),
        "policy_sha256": policy_sha256,
        "risk": risk,
    }
    optional = {"unique_id": unique_id, "request_sha256": request_sha256, "jti": jti}
    return members | {name: value for name, value in optional.items() if value is not None}


def _decide(plan: Plan, point: str, facts: Facts, today: date) -> Decision:
    known = read_facts(facts, plan.reads)
    outcomes: list[RuleOutcome] = []
    missing: set[str] = set()
    expired: set[str] = set()
    for each in plan.rules:
        truth = each.test(known)
        if truth is False:
            continue
        outcome = each.matched if truth else each.unknown
        if outcome is None:
            continue
        waiver = each.waiver(known, today, expired) if each.waivers else None
        if waiver is not None:
            outcome = waived(outcome, waiver)
        elif truth is None:
            missing.update(each.wanted(known))
        outcomes.append(outcome)
    return Decision(
        point=point,
        effect=join([outcome.effect for outcome in outcomes if outcome.mode == "enforce"]),
        shadow_effect=join([outcome.effect for outcome in outcomes]),
        rules=tuple(outcomes),
        missing=tuple(sorted(missing)),
        facts=_told(known),
        expired_waivers=tuple(sorted(expired)),
    )


def _told(known: Known) -> dict[str, FactValue]:
    return {
        name: tuple(sorted(value)) if isinstance(value, frozenset) else value
        for name, value in known.items()
        if value is not None
    }


def _merged_facts(given: Sequence[Facts]) -> dict[str, FactValue]:
    declared = declared_facts()
    of_nodes = [facts for facts in given if any(declared[name].scope == "node" for name in facts)]
    merged: dict[str, FactValue] = {}
    for name in sorted({name for facts in given for name in facts}):
        holders = of_nodes if declared[name].scope == "node" else [facts for facts in given if name in facts]
        values = {facts.get(name) for facts in holders}
        if len(values) == 1 and (value := values.pop()) is not None:
            merged[name] = value
    return merged


def _strength(outcome: RuleOutcome) -> tuple[int, int]:
    return RANK[outcome.effect], _STATES.index(outcome.state)


def _union(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for each in names for name in each}))


def _first_nodes(nodes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """As many nodes as a line of the journal has room for: some of each rule, so that each rule names its first."""
    each = max(1, _MOST_NODES // max(1, len(nodes)))
    return {rule: list(names[:each]) for rule, names in nodes.items()}


def _rule_members(outcome: RuleOutcome, nodes: Sequence[str]) -> dict[str, object]:
    members: dict[str, object] = {
        "id": outcome.id,
        "effect": outcome.effect,
        "severity": outcome.severity,
        "state": outcome.state,
    }
    if outcome.waiver is not None:
        members["waiver"] = outcome.waiver
    if nodes:
        members["nodes"] = list(nodes)
    return members


def _event_facts(facts: Facts, personal_key: bytes) -> dict[str, object]:
    declared = declared_facts()
    return {
        name: _keyed(value, personal_key) if declared[name].personal else _plain(value)
        for name, value in sorted(facts.items())
    }


def _plain(value: FactValue) -> object:
    return list(value) if isinstance(value, tuple) else value


def _keyed(value: FactValue, key: bytes) -> object:
    if isinstance(value, tuple):
        return [_keyed(member, key) for member in value]
    return f"hmac:{digest(key, str(value).encode(errors='replace'), sha256).hex()[:16]}"
