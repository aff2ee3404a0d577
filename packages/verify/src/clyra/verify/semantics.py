# SPDX-License-Identifier: Apache-2.0
"""What a bundle says against what it holds: counts, anchors, lineage (stage ``semantics``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clyra.spec import anchor_kinds
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_strict
from clyra.verify.container import Container
from clyra.verify.journal import Recount
from clyra.verify.schema import check_schema

MAX_LINEAGE_BYTES = 32 * 1024 * 1024


def check_counts(manifest: Mapping[str, Any], recount: Recount) -> None:
    """Check the counts of the manifest against the journal.

    Raises:
        Refusal: ``counts_mismatch``.
    """
    for place, claimed, found in (
        ("run.counts", manifest["run"]["counts"], recount.counts),
        ("decisions", manifest["decisions"], recount.decisions),
    ):
        for name, count in found.items():
            if claimed[name] != count:
                raise Refusal("counts_mismatch", f"{place}.{name} is {claimed[name]}, the journal has {count}")


def check_anchors(manifest: Mapping[str, Any], recount: Recount) -> list[str]:
    """Check that writes have an anchor; returns why anchors are unavailable, one text each.

    Raises:
        Refusal: ``anchor_missing``.
    """
    adapter, anchors = manifest["run"]["adapter"], manifest["anchors"]
    if recount.counts["writes"] and not any(anchor["system"] == adapter for anchor in anchors):
        raise Refusal("anchor_missing", f"the journal has writes and no anchor names {adapter}")
    unavailable = []
    for anchor in anchors:
        if anchor["kind"] != "none":
            continue
        if anchor["reason"] == "capture_failed":
            unavailable.append(f"{anchor['system']}: the anchor could not be captured")
        elif anchor_kinds(anchor["system"]):
            unavailable.append(f"{anchor['system']}: anchors are supported and said not to be")
    return unavailable


def check_lineage_files(manifest: Mapping[str, Any], container: Container) -> None:
    """Check every lineage artifact that the container holds.

    Raises:
        Refusal: ``lineage_invalid``.
    """
    for entry in manifest["files"]:
        if entry["role"] == "lineage" and "external" not in entry:
            if entry["size"] > MAX_LINEAGE_BYTES:
                raise Refusal("lineage_invalid", f"{entry['path']!r} has more than 32 MiB")
            check_lineage(container.read(entry["path"]))


def check_lineage(data: bytes) -> None:
    """Check a lineage artifact: its schema, that edges end at nodes, that nothing is there twice, no cycle.

    Raises:
        Refusal: ``lineage_invalid``.
    """
    try:
        lineage: Any = read_strict(data)
    except ValueError as exc:
        raise Refusal("lineage_invalid", f"the lineage is not strict JSON: {exc}") from exc
    check_schema("lineage", lineage, code="lineage_invalid")
    nodes = {node["id"] for node in lineage["nodes"]}
    if len(nodes) != len(lineage["nodes"]):
        raise Refusal("lineage_invalid", "the lineage has a node twice")
    edges = {tuple(sorted(edge.items())) for edge in lineage["edges"]}
    if len(edges) != len(lineage["edges"]):
        raise Refusal("lineage_invalid", "the lineage has an edge twice")
    for edge in lineage["edges"]:
        if edge["from"] not in nodes or edge["to"] not in nodes:
            raise Refusal("lineage_invalid", "an edge of the lineage ends at a node that does not exist")
    _check_acyclic(lineage["edges"])


def _check_acyclic(edges: Sequence[Mapping[str, str]]) -> None:
    targets: dict[str, set[str]] = {}
    incoming: dict[str, int] = {}
    for source, target in {(edge["from"], edge["to"]) for edge in edges}:
        targets.setdefault(source, set()).add(target)
        incoming[target] = incoming.get(target, 0) + 1
    ready = [node for node in targets if node not in incoming]
    while ready:
        for target in targets.pop(ready.pop(), ()):
            incoming[target] -= 1
            if not incoming[target]:
                ready.append(target)
    if targets:
        raise Refusal("lineage_invalid", "the lineage has a cycle")
