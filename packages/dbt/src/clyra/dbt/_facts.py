# SPDX-License-Identifier: Apache-2.0
"""What the run gate knows of a run and of its nodes, in the words of ``spec/policy/facts.json``.

Only facts that a rule may ask for are gathered. One that cannot be known is left out, which the policy sees: it is
never false, never empty.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from clyra.dbt import _nodes, _schema_text

if TYPE_CHECKING:
    from clyra.dbt._build import Build
    from clyra.dbt._invocation import DbtInvocation
    from clyra.policy.environment import Environment
    from clyra.policy.facts import FactValue

_TESTS = _nodes.TESTS
_CI = ("CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE")
_NO = frozenset(("", "0", "false", "no", "off"))
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PERSONAL = frozenset(("pii", "personal"))


class Presented(NamedTuple):
    """The valid approval that was presented: how many approvers, in which roles, and whether it is a break-glass."""

    approvers: int = 0
    roles: tuple[str, ...] = ()
    break_glass: bool = False


class RunFacts:
    """Facts of one run.

    Args:
        dbt: What dbt says about it.
        nodes: The nodes that are about to run.
        build: The code.
        actor: Who acts; a claim.
        environment: The policy's.
        environ: Environment variables.
        now: The instant of the decision.
        off_hours: ``enforcement.off_hours`` of the policy.
        presented: The approval.
        is_interactive: Whether a person's terminal is attached.
    """

    def __init__(
        self,
        dbt: DbtInvocation,
        nodes: Iterable[Any],
        *,
        build: Build,
        actor: str,
        environment: Environment,
        environ: Mapping[str, str],
        now: datetime,
        off_hours: Mapping[str, Any] | None,
        presented: Presented,
        is_interactive: bool,
    ) -> None:
        self._dbt = dbt
        self._nodes = list(nodes)
        self._build = build
        self._actor = actor
        self._environment = environment
        self._environ = environ
        self._now = now
        self._off_hours = off_hours
        self._presented = presented
        self._is_interactive = is_interactive

    def gather(self, needs: Collection[str]) -> dict[str, FactValue]:
        """Those of ``needs`` that belong to the run and are known."""
        found: dict[str, FactValue] = {}
        for name, gather in self._sources().items():
            if name in needs and (value := gather()) is not None:
                found[name] = value
        return found

    def _sources(self) -> dict[str, Callable[[], FactValue | None]]:
        dbt, build, environment, presented = self._dbt, self._build, self._environment, self._presented
        return {
            "action.kind": lambda: "dbt.run",
            "actor.id": lambda: self._actor,
            "actor.kind": self._actor_kind,
            "approvals.break_glass": lambda: presented.break_glass,
            "approvals.count": lambda: presented.approvers,
            "approvals.roles": lambda: presented.roles,
            "change.author_basis": lambda: "claimed",
            "change.branch": lambda: build.branch,
            "change.dirty": lambda: build.dirty,
            "change.full_refresh": lambda: dbt.is_full_refresh,
            "change.grants": lambda: any(getattr(_config(node), "grants", None) for node in self._nodes),
            "change.has_hooks": lambda: bool(_nodes.hooks(dbt.manifest)),
            "change.materializations": self._materializations,
            "change.models": lambda: self._count("model"),
            "change.nodes": lambda: len(self._nodes),
            "change.seeds": lambda: self._count("seed"),
            "change.snapshots": lambda: self._count("snapshot"),
            "change.source": lambda: build.source,
            "change.tests": lambda: self._count(*_TESTS),
            "dbt.adapter": lambda: dbt.adapter_type,
            "dbt.command": lambda: dbt.command,
            "dbt.defer": lambda: dbt.defers,
            "dbt.operation": lambda: dbt.operation,
            "dbt.packages": lambda: tuple(dbt.packages),
            "dbt.project": lambda: dbt.project_name,
            "dbt.target": lambda: dbt.target_name,
            "env.change_freeze": lambda: environment.change_freeze if environment.known else None,
            "env.ci": lambda: is_ci(self._environ),
            "env.name": lambda: environment.name,
            "env.off_hours": lambda: is_off_hours(self._off_hours, self._now),
            "env.production": lambda: environment.production,
        }

    def _actor_kind(self) -> str | None:
        if self._actor.startswith("agent:"):
            return "agent"
        if is_ci(self._environ):
            return "service"
        return "human" if self._is_interactive else None

    def _materializations(self) -> tuple[str, ...]:
        return tuple(sorted({_materialized(node) for node in self._nodes}))

    def _count(self, *types: str) -> int:
        return sum(_type(node) in types for node in self._nodes)


class NodeFacts:
    """Facts of single nodes.

    Args:
        nodes: The nodes that are about to run.
        system: dbt's name of the adapter.
        trust: Trust in what a node reads, by its id; gives nothing for a node that it does not know.
    """

    def __init__(self, nodes: Iterable[Any], *, system: str, trust: Callable[[], Mapping[str, int]]) -> None:
        self._system = system
        self._trust = functools.cache(trust)
        self._tested = {
            parent
            for node in nodes
            if _type(node) in _TESTS
            for parent in getattr(node, "depends_on_nodes", None) or ()
        }

    def gather(self, node: Any, needs: Collection[str]) -> dict[str, FactValue]:
        """Those of ``needs`` that belong to ``node`` and are known."""
        found: dict[str, FactValue] = {}
        for name in needs:
            source = _NODE_SOURCES.get(name)
            value = self._of(node, name) if source is None else source(node)
            if value is not None:
                found[name] = value
        return found

    def _of(self, node: Any, name: str) -> FactValue | None:
        if name == "dbt.has_tests":
            return node.unique_id in self._tested
        if name == "dbt.relation":
            return relation_of(node, self._system) or ""
        if name == "lineage.trust":
            return self._trust().get(node.unique_id)
        return None


def is_ci(environ: Mapping[str, str]) -> bool:
    """Whether a CI service says that it runs this."""
    return any(environ.get(name, "").strip().lower() not in _NO for name in _CI)


def is_off_hours(working: Mapping[str, Any] | None, now: datetime) -> bool | None:
    """Whether ``now`` lies outside the working hours; None where the policy has none or the zone is not known.

    Args:
        working: ``{timezone, days, from, to}``; a ``to`` before ``from`` ends on the next day.
        now: An aware instant.
    """
    if not working:
        return None
    import zoneinfo

    try:
        local = now.astimezone(zoneinfo.ZoneInfo(str(working["timezone"])))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None
    minute, day = local.strftime("%H:%M"), local.weekday()
    begin, end, days = str(working["from"]), str(working["to"]), working["days"]
    if begin <= end:
        return not (_DAYS[day] in days and begin <= minute < end)
    late, early = _DAYS[day] in days and minute >= begin, _DAYS[day - 1] in days and minute < end
    return not (late or early)


def relation_of(node: Any, system: str) -> str | None:
    """The relation that a node builds, folded as the adapter folds names; None where it builds none.

    Args:
        node: A node of the manifest.
        system: dbt's name of the adapter.
    """
    from clyra.policy.names import fold_name

    name = getattr(node, "relation_name", None)
    return fold_name(system, str(name)) if name else None


def _config(node: Any) -> Any:
    return getattr(node, "config", None)


def _type(node: Any) -> str:
    return str(getattr(node, "resource_type", ""))


def _meta(owner: Any) -> Mapping[str, Any]:
    """``meta.clyra`` of a node or a column."""
    for holder in (_config(owner), owner):
        found = getattr(holder, "meta", None)
        ours = found.get("clyra") if isinstance(found, Mapping) else None
        if isinstance(ours, Mapping):
            return ours
    return {}


def _owners(node: Any) -> list[Any]:
    return [node, *(getattr(node, "columns", None) or {}).values()]


def _tags(owner: Any) -> set[str]:
    tags = [*(getattr(owner, "tags", None) or ()), *(getattr(_config(owner), "tags", None) or ())]
    return {str(tag) for tag in tags}


def _labels(node: Any) -> tuple[str, ...]:
    found: set[str] = set()
    for owner in _owners(node):
        labels = _meta(owner).get("labels") or ()
        found.update(map(str, (labels,) if isinstance(labels, str) else labels))
    return tuple(sorted(found))


def _is_personal(node: Any) -> bool:
    words = {tag.lower() for owner in _owners(node) for tag in _tags(owner)}
    return bool(_PERSONAL & (words | {label.lower() for label in _labels(node)}))


def _groups(node: Any) -> tuple[str, ...]:
    found = {str(group)} if (group := getattr(node, "group", None)) else set()
    if access := getattr(node, "access", None):
        found.add(f"access:{getattr(access, 'value', access)}")
    return tuple(sorted(found))


def _text(owner: Any, attribute: str) -> str | None:
    value = getattr(owner, attribute, None)
    return None if value is None else _schema_text.name(str(getattr(value, "value", value)))


def _place(node: Any, attribute: str) -> str:
    """Where a node builds; empty, which is known, for one that builds nothing."""
    return _text(node, attribute) or ""


def _materialized(node: Any) -> str:
    """The materialization; for kinds that have none the name of the kind, so that it is known to be no other."""
    return _text(_config(node), "materialized") or _type(node)


def _language(node: Any) -> str:
    """The language; of kinds that have none, such as exposures and unit tests, it is known that they run no Python."""
    return _text(node, "language") or "sql"


def _classification(node: Any) -> str | None:
    value = _meta(node).get("classification")
    return None if value is None else _schema_text.name(str(value))


_NODE_SOURCES: dict[str, Callable[[Any], FactValue | None]] = {
    "data.classification": _classification,
    "data.labels": _labels,
    "data.personal": _is_personal,
    "dbt.contract_enforced": lambda node: bool(getattr(getattr(node, "contract", None), "enforced", False)),
    "dbt.database": lambda node: _place(node, "database"),
    "dbt.groups": _groups,
    "dbt.language": _language,
    "dbt.materialized": _materialized,
    "dbt.node": lambda node: _text(node, "unique_id"),
    "dbt.package": lambda node: _text(node, "package_name"),
    "dbt.path": lambda node: _text(node, "original_file_path"),
    "dbt.resource_type": lambda node: _text(node, "resource_type"),
    "dbt.schema": lambda node: _place(node, "schema"),
    "dbt.tags": lambda node: tuple(sorted(_tags(node))),
}
