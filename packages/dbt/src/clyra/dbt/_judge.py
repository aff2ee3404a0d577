# SPDX-License-Identifier: Apache-2.0
"""What a policy says about a run that is about to begin: one decision over the run and all of its nodes, with its risk.

Pure: facts and nodes in, decision out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from clyra.dbt._facts import NodeFacts, RunFacts
    from clyra.policy.decision import Decision
    from clyra.policy.effect import Mode
    from clyra.policy.environment import Environment
    from clyra.policy.facts import Facts
    from clyra.policy.load import LoadedPolicy

POINT = "run"

# dbt selects these and does nothing for them: a rule about what a node does has nothing to say.
_IDLE = frozenset(("exposure", "saved_query", "metric", "semantic_model", "group"))


class Judged(NamedTuple):
    """A decision about a run.

    Attributes:
        decision: The rules on the run, on its nodes and on its risk, merged.
        run_facts: What was known of the run.
        nodes: By rule the ids of the nodes that it had a say about.
        risk: The manifest's ``risk``, of what is planned.
    """

    decision: Decision
    run_facts: Facts
    nodes: Mapping[str, Sequence[str]]
    risk: Mapping[str, Any]


class Planned(NamedTuple):
    """What is about to run, as far as risk looks at it.

    Attributes:
        nodes: The nodes.
        operation: Whether it is the macro of run-operation.
        target: The dbt target.
        off_hours: Whether it is outside the policy's working hours; None where that is not known.
    """

    nodes: Sequence[Any]
    operation: bool
    target: str | None
    off_hours: bool | None

    def verbs(self) -> set[str]:
        """Verbs of statements that dbt is going to send for them."""
        found = {"call"} if self.operation else set()
        for node in self.nodes:
            kind, config = str(getattr(node, "resource_type", "")), getattr(node, "config", None)
            materialized = str(getattr(config, "materialized", ""))
            if kind in ("model", "seed", "snapshot") and materialized != "ephemeral":
                found.add("create")
            if kind in ("seed", "snapshot") or materialized == "incremental":
                found.add("insert")
            if getattr(config, "grants", None):
                found.add("grant")
        return found


def judge(
    policy: LoadedPolicy,
    facts: RunFacts,
    of_nodes: NodeFacts,
    planned: Planned,
    *,
    environment: Environment,
    today: date,
) -> Judged:
    """Decide the rules on the run once, those on nodes for each node, then those on the risk of all of it.

    The risk is that of a plan: verbs are those that the nodes' kinds lead to, tests have not passed yet.

    Args:
        policy: The policy.
        facts: Of the run.
        of_nodes: Of its nodes.
        planned: What is about to run.
        environment: The environment whose mode counts.
        today: The day on which waivers are judged.
    """
    from clyra.policy.engine import merge

    compiled = policy.compiled
    needs = compiled.needs(POINT)
    of_run = facts.gather(needs)
    nodes = [node for node in planned.nodes if _runs(node)] if _asks_nodes(policy) else []
    of_node = _of_nodes(needs) if nodes else frozenset()
    known = [(node, {**of_run, **of_nodes.gather(node, of_node)}) for node in nodes]
    parts = [("", compiled.decide(POINT, of_run, today=today, scope="run"))]
    parts += [(_id(node), compiled.decide(POINT, own, today=today, scope="node")) for node, own in known]
    before = merge(decision for _, decision in parts)
    risk = planned_risk(policy.document, before, planned, environment)
    if compiled.judges_risk(POINT):
        # A rule on risk and a node is judged with the node's facts, which the run alone does not have.
        whole: list[tuple[str, Facts]] = [("", of_run)]
        single = [(_id(node), own) for node, own in known] if _asks_nodes(policy, after_risk=True) else []
        parts += [
            (name, compiled.decide_risk(POINT, own, today=today, score=risk["score"])) for name, own in single or whole
        ]
    behind: dict[str, list[str]] = {}
    for unique_id, decision in parts:
        for outcome in decision.rules if unique_id else ():
            if unique_id not in behind.setdefault(outcome.id, []):
                behind[outcome.id].append(unique_id)
    return Judged(merge(decision for _, decision in parts), of_run, behind, risk)


def planned_risk(
    document: Mapping[str, Any], decision: Decision, planned: Planned, environment: Environment
) -> dict[str, Any]:
    """The risk of a run that has not begun, from what its journal is going to hold at least."""
    from clyra.policy.risk import compute_risk

    return compute_risk(
        _events(decision, planned, environment.mode),
        policy=document,
        environment=environment.name,
        off_hours=None if planned.off_hours is None else int(planned.off_hours),
        first_time_actor=1,
    )


def _events(decision: Decision, planned: Planned, mode: Mode) -> Iterator[Mapping[str, Any]]:
    yield {"type": "run.started", "target_name": planned.target, "policy": {"mode": mode}}
    for verb in planned.verbs():
        yield {"type": "statement", "verb": verb}
    heard = [rule for rule in decision.rules if mode == "shadow" or rule.mode == "enforce"]
    yield {
        "type": "decision",
        "mode": mode,
        "rules": [
            {"id": rule.id, "effect": rule.effect, "severity": rule.severity, "state": rule.state} for rule in heard
        ],
    }


def _asks_nodes(policy: LoadedPolicy, *, after_risk: bool = False) -> bool:
    rules = [rule for rule in policy.compiled.rules if rule.scope == "node" and POINT in rule.points]
    return any(rule.asks_risk for rule in rules) if after_risk else bool(rules)


def _of_nodes(names: Collection[str]) -> frozenset[str]:
    """Those of the facts that belong to a node."""
    from clyra.policy.facts import declared_facts

    declared = declared_facts()
    return frozenset(name for name in names if declared[name].scope == "node")


def _runs(node: Any) -> bool:
    return str(getattr(node, "resource_type", "")) not in _IDLE


def _id(node: Any) -> str:
    return str(node.unique_id)
