# SPDX-License-Identifier: Apache-2.0
"""The approval request of a run that is held: what people are shown of its plan, its tree and its authors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.dbt._facts import relation_of

if TYPE_CHECKING:
    from clyra.approval.contributors import Contributors
    from clyra.approval.plan import DbtPlan
    from clyra.approval.request import ApprovalRequest
    from clyra.approval.store import ApprovalStore
    from clyra.dbt._build import Build
    from clyra.dbt._identity import Identity
    from clyra.policy.decision import RuleOutcome
    from clyra.policy.load import LoadedPolicy

_MOST_RESOURCES = 64
_PRINCIPAL = re.compile(
    r"(?:svc|agent):[A-Za-z0-9_.-]{1,128}|key:[0-9a-f]{64}|git:[0-9a-f]{64}|oidc:[!-~]{1,256}:[!-9;-~]{1,128}"
)
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a request is made from.

    ``facts`` are as the decision's event has them; ``risk`` as the manifest would; ``held`` the rules to be lifted;
    ``approvals`` how many people the checkpoint wants.
    """

    decision_id: str
    facts: Mapping[str, Any]
    held: Sequence[RuleOutcome]
    risk: Mapping[str, Any]
    plan: DbtPlan
    audience: str
    resources: Sequence[str]
    environment: str
    identity: Identity
    build: Build
    policy: LoadedPolicy
    approvals: int
    checkpoint: str | None = None


def resources_of(nodes: Sequence[Any], credentials: Any, system: str) -> list[str]:
    """The relations that a run writes: each of them, else their schemas, else their databases, at most 64 names.

    A run that builds none, as of tests or of a macro, is about the schema of its target.

    Args:
        nodes: What is about to run.
        credentials: dbt's credentials of the target.
        system: dbt's name of the adapter.
    """
    from clyra.policy.names import fold_name

    built = [node for node in nodes if str(node.resource_type) in ("model", "seed", "snapshot")]
    names = {name for node in built if (name := relation_of(node, system))}
    schemas = {fold_name(system, f'"{node.database}"."{node.schema}"') for node in built}
    if not names:
        database, schema = getattr(credentials, "database", ""), getattr(credentials, "schema", "")
        schemas = {fold_name(system, f'"{database}"."{schema}"')}
    if names and len(names) <= _MOST_RESOURCES:
        return sorted(names)
    if len(schemas) <= _MOST_RESOURCES:
        return sorted(f"{schema}.*" for schema in schemas)
    return sorted({f"{schema.rpartition('.')[0]}.*" for schema in schemas})[:_MOST_RESOURCES]


def principal_of(actor: str) -> str:
    """The principal that deploys: the actor's id where it is one, else a service of that name."""
    return actor if _PRINCIPAL.fullmatch(actor) else f"svc:{_NOT_IN_NAME.sub('_', actor)}"


def request_for(asking: Asking, people: Contributors, *, request_id: str, now_us: int) -> ApprovalRequest:
    """The request, for this run; whoever approves may make it stand for a time instead.

    Args:
        asking: What it is about.
        people: Who had a hand in the change.
        request_id: A UUIDv7.
        now_us: Microseconds since the epoch.

    Raises:
        FormatError: More rules are held than a request can name, or a name does not fit (``request_invalid``).
    """
    from clyra.approval.request import ApprovalRequest, HeldRule
    from clyra.approval.terms import approval_terms
    from clyra.evidence import instant

    terms, titles = approval_terms(asking.policy.document), _titles(asking.policy)
    rules = sorted(
        (HeldRule(rule.id, rule.severity, titles.get(rule.id, "")) for rule in asking.held), key=lambda rule: rule.id
    )
    return ApprovalRequest(
        request_id=request_id,
        created_at=instant(now_us),
        tenant=asking.identity.tenant,
        project=asking.plan.project,
        target=asking.plan.target,
        environment=asking.environment,
        audience=asking.audience,
        actions=("dbt.run",),
        resources=tuple(asking.resources),
        payload_type="dbt-plan/v1",
        payload_sha256=asking.plan.sha256,
        tree=asking.build.clean_tree,
        commit=asking.build.commit,
        policy_sha256=asking.policy.sha256,
        decision=asking.decision_id,
        point="run",
        rules=tuple(rules),
        facts=asking.facts,
        risk={name: asking.risk[name] for name in ("score", "band", "factors")},
        sub=principal_of(asking.identity.actor),
        author=people.author,
        author_basis=people.author_basis,
        contributors=people.principals,
        quorum=max(terms.quorum, asking.approvals),
        checkpoint=asking.checkpoint,
        run_id=asking.identity.run_id,
    )


def contributors_of(
    project_root: Path,
    policy: LoadedPolicy,
    policy_path: Path | None,
    rules: Sequence[str],
    *,
    store: ApprovalStore,
    audience: str,
    environ: Mapping[str, str],
    today: date,
) -> Contributors:
    """Who had a hand in what the checkout holds, by the policy's identities.

    Raises:
        ConfigurationError: git cannot say it (``tree_unknown``, ``history_shallow``).
    """
    from clyra.approval.contributors import contributors
    from clyra.policy.load import read_policy

    duties = policy.document["compliance"]["segregation_of_duties"]
    return contributors(
        project_root,
        policy_path=policy_path,
        rules=rules,
        identities=duties["identities"],
        service_committers=duties["service_committers"],
        settled=store.settled(audience),
        read_policy=lambda data: read_policy(data, now=today).document,
        environ=environ,
    )


def _titles(policy: LoadedPolicy) -> dict[str, str]:
    return {rule.id: rule.title for rule in policy.compiled.rules}
