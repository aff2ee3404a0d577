# SPDX-License-Identifier: Apache-2.0
"""How far a relation can be trusted, given what it was made from; and one lineage of the records of several systems.

Trust is 0 to 100: the least of a node's own value and that of everything it was made from, because a mean hides one bad
input. The own value follows from the ``basis``, what is known of the node itself (`OWN`). Documents have the form of
``lineage.schema.json``. Pure: equal for equal input, whatever its order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from clyra.policy.names import fold_name

OWN: Mapping[str, int] = {"enforced": 100, "recorded": 70, "manifest": 40, "contradicted": 0}
"""The own value by ``basis``: made under an enforcing policy and tested; made and recorded; only named; failed."""

CLAIMED = "claimed"
"""The basis of a value that somebody wrote down (``meta.clyra.trust``) and nothing shows."""

UNKNOWN = OWN["manifest"]

_CONTRADICTING = frozenset(("error", "fail", "runtime_error"))
_DONE = frozenset(("success", "pass", "warn", "no-op"))
# What was seen beats what was claimed, which beats nothing; of two that were seen, the worse holds.
_STRENGTH = {"contradicted": 2, "enforced": 2, "recorded": 2, CLAIMED: 1}


def trust_of(lineage: Mapping[str, Any], own: Mapping[str, int]) -> dict[str, int]:
    """The trust of every node: the least own value of the node and of all that it was made from.

    Nodes on a cycle have the least value of the cycle and of what leads into it.

    Args:
        lineage: A lineage document.
        own: The own value by node id; a node that is not there has no evidence, 40.
    """
    children: dict[str, list[str]] = defaultdict(list)
    for edge in lineage["edges"]:
        children[edge["from"]].append(edge["to"])
    ids = [str(node["id"]) for node in lineage["nodes"]]
    trust: dict[str, int] = {}
    # From the least value up, each node gives its value to all that it reaches and nothing lower has reached.
    for first in sorted(ids, key=lambda node: own.get(node, UNKNOWN)):
        value = own.get(first, UNKNOWN)
        waiting = [first]
        while waiting:
            node = waiting.pop()
            if node not in trust:
                trust[node] = value
                waiting += children[node]
    return {node: trust[node] for node in ids}


def trust_in_inputs(lineage: Mapping[str, Any], own: Mapping[str, int]) -> dict[str, int]:
    """The fact ``lineage.trust`` of every node: the least trust among what it reads; 100 where it reads nothing."""
    trust = trust_of(lineage, own)
    inputs = dict.fromkeys(trust, 100)
    for edge in lineage["edges"]:
        inputs[edge["to"]] = min(inputs[edge["to"]], trust[edge["from"]])
    return inputs


def with_trust(
    lineage: Mapping[str, Any], *, statuses: Mapping[str, str], enforced: bool, hints: Mapping[str, int]
) -> dict[str, Any]:
    """The lineage of a run with ``basis`` and ``trust`` of every node filled in.

    Before a run, ``statuses`` are those that the selected nodes are going to have if all goes well.

    Args:
        lineage: The lineage of a dbt run: relations, and tests as calls that read what they test.
        statuses: How the nodes of the run ended, by id, in dbt's words.
        enforced: Whether an enforcing policy judged the run.
        hints: ``meta.clyra.trust`` by node id; counts for what the run only reads and knows no input of.
    """
    tests: dict[str, list[str]] = defaultdict(list)
    made = {str(edge["to"]) for edge in lineage["edges"]}
    calls = {str(node["id"]) for node in lineage["nodes"] if node["kind"] == "call"}
    for edge in lineage["edges"]:
        if edge["to"] in calls:
            tests[edge["from"]].append(statuses.get(edge["to"], ""))
    nodes = []
    for node in lineage["nodes"]:
        name = str(node["id"])
        basis = _basis(statuses.get(name), tests[name], enforced=enforced, is_test=name in calls)
        value = OWN[basis]
        if basis == "manifest" and name in hints and name not in made:
            basis, value = CLAIMED, max(0, min(100, hints[name]))
        nodes.append({**node, "basis": basis, "trust": value})
    trust = trust_of(lineage, {node["id"]: node["trust"] for node in nodes})
    return {**lineage, "nodes": [{**node, "trust": trust[node["id"]]} for node in nodes]}


def own_values(lineage: Mapping[str, Any]) -> dict[str, int]:
    """The own value of every node of a document that `with_trust` made, from its ``basis``."""
    return {str(node["id"]): _own_value(node) for node in lineage["nodes"]}


def join_lineages(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One lineage per set of documents that have runs in common, with trust over all of it.

    In a joined document a relation is ``<system>:<name>``, with its name folded as the system folds names, so that it
    is one node whoever recorded it; every other node is ``<system>:<id>``, a run is ``run:<id>``. Where several
    documents know a node, what was seen beats what was claimed and that beats what was only named; of equals the
    lesser value holds. Neither the order of the documents nor that within them matters.
    """
    joined = [_joined(group) for group in _sharing_runs(list(documents))]
    return sorted(joined, key=lambda document: json.dumps(document, sort_keys=True))


def _basis(status: str | None, tests: Iterable[str], *, enforced: bool, is_test: bool) -> str:
    outcomes = list(tests)
    if status is None or (status not in _DONE and status not in _CONTRADICTING):
        return "contradicted" if _CONTRADICTING.intersection(outcomes) else "manifest"
    if status in _CONTRADICTING or _CONTRADICTING.intersection(outcomes):
        return "contradicted"
    is_tested = is_test or ("pass" in outcomes and "warn" not in outcomes)
    return "enforced" if enforced and is_tested else "recorded"


def _own_value(node: Mapping[str, Any]) -> int:
    if node["basis"] in OWN:
        return OWN[node["basis"]]
    known = node["trust"] if node["trust"] is not None else UNKNOWN
    # A word of a newer writer counts for no more than no evidence.
    return int(known if node["basis"] == CLAIMED else min(known, UNKNOWN))


def _sharing_runs(documents: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: list[tuple[set[str], list[Mapping[str, Any]]]] = []
    for document in documents:
        runs = {str(edge["run_id"]) for edge in document["edges"]}
        runs |= {str(node["id"]) for node in document["nodes"] if node["kind"] == "run"}
        apart = []
        together = (runs, [document])
        for group in groups:
            if group[0] & runs:
                together = (together[0] | group[0], together[1] + group[1])
            else:
                apart.append(group)
        groups = [*apart, together]
    return [group for _, group in groups]


def _joined(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    nodes: dict[str, dict[str, Any]] = {}
    edges: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for document in documents:
        ids = {str(node["id"]): _joint_id(node) for node in document["nodes"]}
        for node in document["nodes"]:
            told = {**node, "id": ids[node["id"]], "trust": _own_value(node)}
            known = nodes.get(told["id"])
            nodes[told["id"]] = told if known is None else _stronger(known, told)
        for edge in document["edges"]:
            moved = {**edge, "from": ids[edge["from"]], "to": ids[edge["to"]]}
            if moved["from"] != moved["to"]:
                edges[tuple(sorted(moved.items()))] = moved
    lineage = {"nodes": [nodes[key] for key in sorted(nodes)], "edges": [edges[key] for key in sorted(edges)]}
    trust = trust_of(lineage, {key: node["trust"] for key, node in nodes.items()})
    return {**lineage, "nodes": [{**node, "trust": trust[node["id"]]} for node in lineage["nodes"]]}


def _joint_id(node: Mapping[str, Any]) -> str:
    if node["kind"] == "run":
        return f"run:{node['id']}"
    name = fold_name(node["system"], node["relation"]) if "relation" in node else node["id"]
    return f"{node['system']}:{name}"


def _stronger(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    def rank(node: Mapping[str, Any]) -> tuple[object, ...]:
        # The rest of the members decides between equals, so that the order of reading does not.
        return -_STRENGTH.get(node["basis"], 0), node["trust"], sorted(map(str, node.items()))

    return min(one, other, key=rank)
