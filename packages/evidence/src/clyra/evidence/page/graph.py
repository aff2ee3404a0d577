# SPDX-License-Identifier: Apache-2.0
"""A lineage joined with how its nodes ran: what the page draws and the terminal prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from clyra.evidence.page.wording import duration, sentence
from clyra.evidence.reader import Lineage
from clyra.evidence.summary import GOOD, NOTHING_TO_DO, TESTS, NodeRun, short_name


@dataclass(slots=True)
class GraphNode:
    """A node of the lineage with what the run says about it and about its tests.

    ``trust`` is 0 to 100, None where nobody judged; ``basis`` says what its own part rests on.
    """

    unique_id: str
    name: str
    resource_type: str
    run: NodeRun | None
    trust: int | None = None
    basis: str = ""
    tests: list[NodeRun] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The worst that happened to it: ``bad``, ``doubtful``, ``skipped``, ``good``; ``read`` if nothing was done."""
        if (self.run and self.run.has_failed) or any(test.has_failed for test in self.tests):
            return "bad"
        if any(test.status == "warn" for test in self.tests):
            return "doubtful"
        if self.run is None or self.run.status == NOTHING_TO_DO:
            return "read"
        return "good" if self.run.status in GOOD else "skipped"

    @property
    def trust_kind(self) -> str:
        """The colour of its trust: ``bad`` below that of a source without evidence, ``good`` from shadow mode up."""
        return "bad" if (self.trust or 0) < 40 else "doubtful" if (self.trust or 0) < 70 else "good"

    @property
    def title(self) -> str:
        """All of it in a line."""
        ran = f"{sentence(self.run.status)}, {duration(self.run.execution_us)}" if self.run else "not part of this run"
        tests = Counter(sentence(test.status) for test in self.tests)
        tested = "; tests: " + ", ".join(f"{number} {status}" for status, number in tests.items()) if tests else ""
        trusted = "" if self.trust is None else f"; trust {self.trust} ({sentence(self.basis)})"
        return f"{self.unique_id}: {ran}{tested}{trusted}"


def graph_of(lineage: Lineage, nodes: Iterable[NodeRun]) -> tuple[dict[str, GraphNode], list[tuple[str, str]]]:
    """The nodes of a lineage by id, with their tests, and the edges between them; tests are no nodes of it."""
    runs = {node.unique_id: node for node in nodes if node.batch_id is None}
    graph: dict[str, GraphNode] = {}
    for unique_id, node in lineage.nodes.items():
        resource_type = str(node.get("resource_type") or node.get("kind"))
        if resource_type not in TESTS:
            name = str(node.get("name") or short_name(unique_id))
            run, trust = runs.get(unique_id), node.get("trust")
            known = trust if isinstance(trust, int) and 0 <= trust <= 100 else None
            graph[unique_id] = GraphNode(unique_id, name, resource_type, run, known, str(node.get("basis")))
    edges = []
    for parent, child in lineage.edges:
        if child in graph and parent in graph:
            edges.append((parent, child))
        elif parent in graph and child in runs:
            graph[parent].tests.append(runs[child])
    return graph, edges
