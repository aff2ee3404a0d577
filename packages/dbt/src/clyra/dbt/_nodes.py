# SPDX-License-Identifier: Apache-2.0
"""Nodes: their outcomes as events, what they are and what they read as two files of the bundle.

``artifacts/nodes.json`` and ``artifacts/lineage.json`` hold names, digests and outcomes of the nodes of this run; no
SQL, no arguments of tests, no descriptions or metadata, which may hold literals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clyra.dbt import _schema_text

TESTS = frozenset(("test", "unit_test"))
FAILED = frozenset(("error", "fail", "runtime_error"))
_COLLECTIONS = (
    "nodes",
    "sources",
    "unit_tests",
    "exposures",
    "saved_queries",
    "functions",
    "metrics",
    "semantic_models",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a node, or one batch of it, ended."""

    unique_id: str
    resource_type: str
    status: str
    execution_us: int
    batch_id: str | None = None
    checksum: str | None = None
    rows_affected: int | None = None
    failures: int | None = None
    message_sha256: str | None = None

    def as_members(self) -> dict[str, object]:
        """The members of a ``node.finished`` event."""
        members: dict[str, object] = {
            "unique_id": self.unique_id,
            "resource_type": self.resource_type,
            "status": self.status,
            "checksum": self.checksum,
            "rows_affected": self.rows_affected,
            "execution_us": self.execution_us,
            "failures": self.failures,
            "message_sha256": self.message_sha256,
        }
        if self.batch_id is not None:
            members["batch_id"] = self.batch_id
        return members


def outcome_of(data: Any, batch_id: str | None) -> Outcome:
    """The outcome in the data of dbt's event ``NodeFinished``."""
    info, result = data.node_info, data.run_result
    resource_type = _schema_text.word(info.resource_type)
    rows = result.adapter_response.fields.get("rows_affected")
    return Outcome(
        unique_id=_schema_text.name(info.unique_id),
        resource_type=resource_type,
        status=_schema_text.word(result.status),
        execution_us=_schema_text.microseconds(result.execution_time),
        batch_id=batch_id,
        checksum=_schema_text.sha256_or_none(info.node_checksum),
        rows_affected=None if rows is None else _schema_text.count_or_none(rows.number_value),
        failures=_schema_text.count_or_none(result.num_failures) if resource_type in TESTS else None,
        message_sha256=_schema_text.digest_or_none(result.message),
    )


def without_outcome(manifest: Any, unique_id: str, status: str) -> Outcome:
    """A node that was selected and has no result: never begun, or cut off."""
    node = find(manifest, unique_id)
    return Outcome(
        unique_id=_schema_text.name(unique_id),
        resource_type=_schema_text.word(str(getattr(node, "resource_type", "") or unique_id.partition(".")[0])),
        status=status,
        execution_us=0,
        checksum=_checksum(node),
    )


def find(manifest: Any, unique_id: str) -> Any:
    """The node, source or test of a manifest; None where it has none of that id."""
    for collection in _COLLECTIONS:
        found = (getattr(manifest, collection, None) or {}).get(unique_id)
        if found is not None:
            return found
    return None


def chosen(manifest: Any, selected: Iterable[str] | None) -> list[Any]:
    """The nodes of these ids, in the order of the ids; the whole project where it is not known which are meant.

    Hooks of the project are none: they belong to every run, though ``compile`` selects them too.
    """
    if selected is None:
        selected = [*manifest.nodes, *(getattr(manifest, "unit_tests", None) or ())]
    found = [node for unique_id in sorted(selected) if (node := find(manifest, unique_id)) is not None]
    return [node for node in found if str(node.resource_type) != "operation"]


def hooks(manifest: Any) -> list[Any]:
    """The on-run hooks of the project and of its packages."""
    nodes = (getattr(manifest, "nodes", None) or {}).items()
    return [node for _, node in sorted(nodes) if str(node.resource_type) == "operation"]


def status_if_well(node: Any) -> str:
    """How a node ends if all goes well."""
    return "pass" if str(node.resource_type) in TESTS else "success"


def describe(manifest: Any, outcomes: Iterable[Outcome]) -> list[dict[str, object]]:
    """The contents of ``nodes.json``: one object per node, in the order of their ids, with its outcome and batches."""
    described: dict[str, dict[str, object]] = {}
    batches: dict[str, list[dict[str, object]]] = {}
    for outcome in outcomes:
        if outcome.batch_id is not None:
            batch = {"batch_id": outcome.batch_id, "status": outcome.status, "execution_us": outcome.execution_us}
            batches.setdefault(outcome.unique_id, []).append(batch)
            continue
        described[outcome.unique_id] = _described(find(manifest, outcome.unique_id), outcome)
    for unique_id, of_node in batches.items():
        if unique_id in described:
            described[unique_id]["batches"] = sorted(of_node, key=lambda batch: str(batch["batch_id"]))
    return [described[unique_id] for unique_id in sorted(described)]


def lineage(
    manifest: Any,
    outcomes: Iterable[Outcome],
    *,
    run_id: str,
    system: str,
    is_deferred: Callable[[Any], bool] = lambda node: False,
) -> dict[str, object]:
    """The lineage of the run: its nodes and what they read directly, after ``lineage.schema.json``.

    A node that reads itself, as incremental models may, has no edge for that: lineage has no cycles.

    Args:
        manifest: dbt's.
        outcomes: Of the nodes that ran.
        run_id: Clyra's id of the run.
        system: The adapter's type.
        is_deferred: Whether the run read the relation of another state in place of the node's own (``--defer``).
    """
    ids = {outcome.unique_id: outcome for outcome in outcomes}
    edges: set[tuple[str, str]] = set()
    for unique_id in ids:
        for parent in _parents(find(manifest, unique_id)):
            if parent != unique_id:
                edges.add((_schema_text.name(parent), unique_id))
    members = sorted(ids.keys() | {parent for parent, _ in edges})
    return {
        "nodes": [
            _lineage_node(find(manifest, member), member, ids.get(member), system, is_deferred) for member in members
        ],
        "edges": [{"from": parent, "to": child, "run_id": run_id} for parent, child in sorted(edges)],
    }


def trusted_lineage(
    manifest: Any,
    outcomes: Iterable[Outcome],
    *,
    run_id: str,
    system: str,
    enforced: bool,
    is_deferred: Callable[[Any], bool] = lambda node: False,
) -> dict[str, Any]:
    """The lineage of a run under a policy, with the trust in each of its nodes.

    Args:
        manifest: dbt's.
        outcomes: Of the nodes that ran, or are about to.
        run_id: Clyra's id of the run.
        system: The adapter's type.
        enforced: Whether the policy enforces here.
        is_deferred: As `lineage` has it.
    """
    from clyra.policy.lineage import with_trust

    known = list(outcomes)
    document = lineage(manifest, known, run_id=run_id, system=system, is_deferred=is_deferred)
    statuses = {outcome.unique_id: outcome.status for outcome in known if outcome.batch_id is None}
    hints = {
        str(node["id"]): trust
        for node in document["nodes"]  # type: ignore[attr-defined]  # a list of objects, see `lineage`
        if (trust := _trust_hint(find(manifest, str(node["id"])))) is not None
    }
    return with_trust(document, statuses=statuses, enforced=enforced, hints=hints)


def _trust_hint(node: Any) -> int | None:
    """``meta.clyra.trust`` of a node: what somebody claims of a source."""
    for holder in (getattr(node, "config", None), node):
        meta = getattr(holder, "meta", None)
        ours = meta.get("clyra") if isinstance(meta, Mapping) else None
        trust = ours.get("trust") if isinstance(ours, Mapping) else None
        if isinstance(trust, int) and not isinstance(trust, bool):
            return trust
    return None


def _described(node: Any, outcome: Outcome) -> dict[str, object]:
    config = getattr(node, "config", None)
    described: dict[str, object] = {
        **outcome.as_members(),
        "name": _optional(node, "name"),
        "package": _optional(node, "package_name"),
        "path": _optional(node, "original_file_path"),
        "relation": _optional(node, "relation_name"),
        "materialized": _optional(config, "materialized"),
        "language": _optional(node, "language"),
        "compiled_sha256": _schema_text.digest_or_none(getattr(node, "compiled_code", None)),
        "contract_enforced": bool(getattr(getattr(node, "contract", None), "enforced", False)),
    }
    if outcome.resource_type in TESTS:
        described["severity"] = _optional(config, "severity")
        described["tests"] = [_schema_text.name(parent) for parent in _parents(node)]
    return described


def _lineage_node(
    node: Any, unique_id: str, outcome: Outcome | None, system: str, is_deferred: Callable[[Any], bool]
) -> dict[str, object]:
    resource_type = str(getattr(node, "resource_type", "") or unique_id.partition(".")[0])
    described: dict[str, object] = {
        "id": unique_id,
        "kind": "call" if resource_type in ("test", "unit_test", "operation") else "relation",
        "system": _schema_text.word(system),
        "trust": None,
        "basis": "recorded" if outcome is not None else "manifest",
        "resource_type": _schema_text.word(resource_type),
    }
    read = node.defer_relation if outcome is None and is_deferred(node) else node
    names = {"name": _optional(node, "name"), "relation": _optional(read, "relation_name")}
    return described | {member: value for member, value in names.items() if value is not None}


def _parents(node: Any) -> list[str]:
    return list(dict.fromkeys(map(str, getattr(node, "depends_on_nodes", None) or ())))


def _checksum(node: Any) -> str | None:
    return _schema_text.sha256_or_none(getattr(getattr(node, "checksum", None), "checksum", None))


def _optional(owner: Any, attribute: str) -> str | None:
    value = getattr(owner, attribute, None)
    return None if value is None else _schema_text.name(str(value))


def counted_tests(outcomes: Iterable[Outcome]) -> Mapping[str, int]:
    """How tests ended: ``passed``, ``failed``, ``warned``, and ``not_run`` for everything else."""
    counted = {"passed": 0, "failed": 0, "warned": 0, "not_run": 0}
    names = {"pass": "passed", "fail": "failed", "error": "failed", "warn": "warned"}
    for outcome in outcomes:
        if outcome.resource_type in TESTS:
            counted[names.get(outcome.status, "not_run")] += 1
    return counted
