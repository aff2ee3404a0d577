# SPDX-License-Identifier: Apache-2.0
"""What a dbt run may do, as a person approves it: ``dbt-plan/v1`` (``spec/approval/plan.md``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clyra.approval._document import check_document, read_document
from clyra.evidence.canonical import canonicalize_integers
from clyra.spec import FormatError

SPEC = "dbt-plan/v1"
MAX_PLAN_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, order=True)
class PlanNode:
    """A node that may run: the digest of its code as dbt has it (None where there is none), and of its config."""

    unique_id: str
    checksum: str | None
    config_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DbtPlan:
    """A plan as its schema has it; make one with `build_plan`.

    ``env`` maps the environment variables that are read to the digest of their value, None for secret ones; ``seeds``
    maps the paths of seed files that dbt does not hash to their digests. ``nodes`` are sorted by their ids.
    """

    project: str
    target: str
    tree: str | None
    nodes: tuple[PlanNode, ...]
    macros_sha256: str
    hooks_sha256: str
    env: Mapping[str, str | None]
    seeds: Mapping[str, str]
    dbt_version: str
    adapter_type: str
    adapter_version: str
    vars_sha256: str | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> DbtPlan:
        """The plan in these canonical bytes, of which there are at most 64 MiB.

        Raises:
            FormatError: They are no plan (``plan_invalid``).
        """
        document = read_document(data, schema="dbt_plan", code="plan_invalid", max_bytes=MAX_PLAN_BYTES)
        plan = _plan_of(document)
        # Lists of named things are sorted here or maps: another order, or a name twice, would be lost.
        if plan.to_bytes() != data:
            raise FormatError("nodes, env or seeds are not sorted, or hold one twice", code="plan_invalid")
        return plan

    def to_bytes(self) -> bytes:
        """The canonical bytes: what is hashed and approved."""
        return canonicalize_integers(_document_of(self))

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def build_plan(
    *,
    project: str,
    target: str,
    tree: str | None,
    nodes: Iterable[PlanNode],
    macros_sha256: str,
    hooks_sha256: str,
    env: Mapping[str, str | None],
    seeds: Mapping[str, str],
    dbt_version: str,
    adapter_type: str,
    adapter_version: str,
    vars_sha256: str | None = None,
) -> DbtPlan:
    """The plan of these values, whatever their order.

    Args:
        project: Name of the dbt project.
        target: Name of the target.
        tree: Git tree of the project path; None where it is not known or not clean.
        nodes: Nodes that may run, each once.
        macros_sha256: Digest over all macros, those of packages included.
        hooks_sha256: Digest over the project's hooks.
        env: Environment variables that are read, with the digest of their value; None for secret ones.
        seeds: Files of seeds that dbt only names, with their digests.
        dbt_version: Version of dbt-core.
        adapter_type: Name of the adapter.
        adapter_version: Its version.
        vars_sha256: Digest of the vars, where the policy binds them.

    Raises:
        FormatError: A value is not what the schema says, or a node is there twice (``plan_invalid``).
    """
    plan = DbtPlan(
        project=project,
        target=target,
        tree=tree,
        nodes=_sorted(nodes),
        macros_sha256=macros_sha256,
        hooks_sha256=hooks_sha256,
        env=dict(env),
        seeds=dict(seeds),
        dbt_version=dbt_version,
        adapter_type=adapter_type,
        adapter_version=adapter_version,
        vars_sha256=vars_sha256,
    )
    check_document(_document_of(plan), schema="dbt_plan", code="plan_invalid")
    return plan


def plan_differences(approved: DbtPlan, actual: DbtPlan) -> tuple[str, ...]:
    """What the actual plan has that the approved one does not cover, in plain words; empty where it is covered.

    Nodes, environment variables and seeds may be fewer than approved, everything else must be equal.
    """
    return (*_other_settings(approved, actual), *_other_nodes(approved, actual), *_other_inputs(approved, actual))


_SETTINGS = (
    ("project", "project"),
    ("target", "target"),
    ("tree", "git tree"),
    ("dbt_version", "dbt version"),
    ("adapter_type", "adapter"),
    ("adapter_version", "adapter version"),
)


def _other_settings(approved: DbtPlan, actual: DbtPlan) -> Iterator[str]:
    for member, words in _SETTINGS:
        before, now = getattr(approved, member), getattr(actual, member)
        if before != now:
            yield f"the {words} is {now or 'not known'}, approved was {before or 'none'}"
    if approved.macros_sha256 != actual.macros_sha256:
        yield "macro code changed"
    if approved.hooks_sha256 != actual.hooks_sha256:
        yield "hooks changed"
    if approved.vars_sha256 != actual.vars_sha256:
        yield "vars have other values"


def _other_nodes(approved: DbtPlan, actual: DbtPlan) -> Iterator[str]:
    known = {node.unique_id: node for node in approved.nodes}
    for node in actual.nodes:
        kind, _, name = node.unique_id.partition(".")
        before = known.get(node.unique_id)
        if before is None:
            yield f"{kind} {name} was not approved"
            continue
        if before.checksum != node.checksum:
            yield f"{kind} {name} has other code"
        if before.config_sha256 != node.config_sha256:
            yield f"{kind} {name} has another configuration"


def _other_inputs(approved: DbtPlan, actual: DbtPlan) -> Iterator[str]:
    for name in sorted(actual.env):
        if name not in approved.env:
            yield f"environment variable {name} was not read when it was approved"
        elif approved.env[name] != actual.env[name]:
            yield f"environment variable {name} has another value"
    for path in sorted(actual.seeds):
        if path not in approved.seeds:
            yield f"seed file {path} was not approved"
        elif approved.seeds[path] != actual.seeds[path]:
            yield f"seed file {path} has other data"


def _sorted(nodes: Iterable[PlanNode]) -> tuple[PlanNode, ...]:
    ordered = tuple(sorted(nodes, key=lambda node: node.unique_id))
    if len({node.unique_id for node in ordered}) != len(ordered):
        raise FormatError("a node is there twice", code="plan_invalid", pointer="/nodes")
    return ordered


def _document_of(plan: DbtPlan) -> dict[str, Any]:
    document: dict[str, Any] = {
        "spec": SPEC,
        "project": plan.project,
        "target": plan.target,
        "tree": plan.tree,
        "nodes": [
            {"unique_id": node.unique_id, "checksum": node.checksum, "config_sha256": node.config_sha256}
            for node in plan.nodes
        ],
        "macros_sha256": plan.macros_sha256,
        "hooks_sha256": plan.hooks_sha256,
        "env": [{"name": name, "sha256": plan.env[name]} for name in sorted(plan.env)],
        "seeds": [{"path": path, "sha256": plan.seeds[path]} for path in sorted(plan.seeds)],
        "dbt_version": plan.dbt_version,
        "adapter": {"type": plan.adapter_type, "version": plan.adapter_version},
    }
    return document if plan.vars_sha256 is None else document | {"vars_sha256": plan.vars_sha256}


def _plan_of(document: Mapping[str, Any]) -> DbtPlan:
    return DbtPlan(
        project=document["project"],
        target=document["target"],
        tree=document["tree"],
        nodes=_sorted(PlanNode(**node) for node in document["nodes"]),
        macros_sha256=document["macros_sha256"],
        hooks_sha256=document["hooks_sha256"],
        env={entry["name"]: entry["sha256"] for entry in document["env"]},
        seeds={entry["path"]: entry["sha256"] for entry in document["seeds"]},
        dbt_version=document["dbt_version"],
        adapter_type=document["adapter"]["type"],
        adapter_version=document["adapter"]["version"],
        vars_sha256=document.get("vars_sha256"),
    )
