# SPDX-License-Identifier: Apache-2.0
"""What a bundle says against what it holds (stage ``semantics``)."""

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
# Bands of clyra-risk/1: the lowest score of each.
_BANDS = ((81, "critical"), (50, "high"), (25, "medium"), (0, "low"))
_MAX_SCORE = 100


def check_policy(manifest: Mapping[str, Any]) -> None:
    """Check that a policy file in the bundle is the policy that the manifest names.

    Raises:
        Refusal: ``policy_digest``.
    """
    named = manifest["policy"]["sha256"] if manifest["policy"] is not None else None
    for entry in manifest["files"]:
        if entry["role"] == "policy" and entry["sha256"] != named:
            raise Refusal("policy_digest", f"{entry['path']!r} is not the canonical form of the policy that is named")


def check_approvals(manifest: Mapping[str, Any]) -> None:
    """Refuse every claim of an approval: this version cannot check certificates, and a claim alone proves nothing.

    Raises:
        Refusal: ``approval_unproven``.
    """
    if manifest["governance"]["approvals"]:
        raise Refusal("approval_unproven", "an approval is claimed and this verifier cannot check its certificates yet")


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


def check_risk(risk: Mapping[str, Any] | None) -> None:
    """Check the arithmetic of a risk score: points, their capped sum, the band.

    Raises:
        Refusal: ``risk_mismatch``.
    """
    if risk is None:
        return
    names = [factor["factor"] for factor in risk["factors"]]
    if len(set(names)) != len(names):
        raise Refusal("risk_mismatch", "a risk factor is there twice")
    for factor in risk["factors"]:
        if factor["points"] != factor["weight"] * factor["count"]:
            raise Refusal("risk_mismatch", f"the points of {factor['factor']} are not weight times count")
    score = min(_MAX_SCORE, sum(factor["points"] for factor in risk["factors"]))
    if risk["score"] != score:
        raise Refusal("risk_mismatch", f"the risk score is {risk['score']}, its factors give {score}")
    band = next(name for lowest, name in _BANDS if score >= lowest)
    if risk["band"] != band:
        raise Refusal("risk_mismatch", f"the risk band is {risk['band']}, the score {score} is {band}")


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
