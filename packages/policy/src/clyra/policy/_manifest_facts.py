# SPDX-License-Identifier: Apache-2.0
"""Facts of the nodes in dbt's ``manifest.json``, as far as the file alone gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clyra.policy.facts import FactValue
from clyra.policy.names import fold_name

BUILDING = frozenset({"model", "seed", "snapshot"})
"""Resource types of nodes that build a relation."""

_PERSONAL = frozenset({"pii", "personal"})
_TEXTS = {
    "dbt.node": "unique_id",
    "dbt.resource_type": "resource_type",
    "dbt.package": "package_name",
    "dbt.path": "original_file_path",
    "dbt.language": "language",
    "dbt.database": "database",
    "dbt.schema": "schema",
}


def personal_nodes(manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, FactValue]]]:
    """Id and facts of every node that builds a relation with personal data, in the order of their ids.

    Args:
        manifest: The parsed file.

    Raises:
        AttributeError, KeyError, TypeError: It is not a manifest.
    """
    system = str((manifest.get("metadata") or {}).get("adapter_type"))
    for unique_id, node in sorted(manifest["nodes"].items()):
        if node["resource_type"] in BUILDING and is_personal(node):
            yield unique_id, node_facts(node, system)


def is_personal(node: Mapping[str, Any]) -> bool:
    """Whether the node or a column of it has the tag or label ``pii`` or ``personal``."""
    words = {*_tags(node), *_labels(node), *(tag for column in _columns(node) for tag in _tags(column))}
    return not _PERSONAL.isdisjoint(word.lower() for word in words)


def node_facts(node: Mapping[str, Any], system: str) -> dict[str, FactValue]:
    """What the manifest tells of one node; ``system`` is dbt's name of the adapter."""
    config = node.get("config") or {}
    facts: dict[str, FactValue] = {name: str(node[key]) for name, key in _TEXTS.items() if node.get(key)}
    facts["dbt.tags"] = tuple(sorted(_tags(node)))
    facts["data.labels"] = tuple(sorted(_labels(node)))
    facts["data.personal"] = is_personal(node)
    facts["dbt.contract_enforced"] = bool((node.get("contract") or {}).get("enforced"))
    if materialized := config.get("materialized"):
        facts["dbt.materialized"] = str(materialized)
    if classification := _meta(node).get("classification"):
        facts["data.classification"] = str(classification)
    if relation := node.get("relation_name"):
        facts["dbt.relation"] = facts["action.target"] = fold_name(system, str(relation))
    if node.get("schema"):
        facts["action.schema"] = str(node["schema"])
    groups = {str(group)} if (group := node.get("group")) else set()
    if access := node.get("access"):
        groups.add(f"access:{access}")
    facts["dbt.groups"] = tuple(sorted(groups))
    return facts


def _columns(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((node.get("columns") or {}).values())


def _tags(owner: Mapping[str, Any]) -> set[str]:
    given = [*_listed(owner.get("tags")), *_listed((owner.get("config") or {}).get("tags"))]
    return {str(tag) for tag in given}


def _labels(node: Mapping[str, Any]) -> set[str]:
    return {str(label) for owner in (node, *_columns(node)) for label in _listed(_meta(owner).get("labels"))}


def _meta(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    """``meta.clyra`` of a node or a column."""
    for holder in (owner.get("config") or {}, owner):
        ours = (holder.get("meta") or {}).get("clyra")
        if isinstance(ours, Mapping):
            return ours
    return {}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
