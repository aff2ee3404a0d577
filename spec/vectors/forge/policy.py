# SPDX-License-Identifier: Apache-2.0
"""A policy in its canonical form, and runs under it: the bundle names it, holds it, and has a risk score."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from forge.bundle import Artifact, Layers, Sealed, lineage_and_nodes, seal
from forge.canonical import canonical, digest
from forge.edits import DocumentEdit, Json, both, put
from forge.journal import run_events
from forge.risk import FACTORS, Scoring

POLICY = "artifacts/policy.json"
WEIGHTS = dict(zip(FACTORS, (0, 5, 0, 5, 15, 2, 10, 1, 2, 30, 3, 10, 3), strict=True))
_DAY_MS = 86_400_000


def policy_document() -> Json:
    """Return a policy with the members that verifiers read, and some that they do not."""
    environments = {
        "dev": {"targets": ["dev"], "mode": "shadow", "production": False, "change_freeze": False},
        "prod": {"targets": ["prod"], "mode": "enforce", "production": True, "change_freeze": False},
        "staging": {"targets": ["ci", "staging"], "mode": "shadow", "production": False, "change_freeze": False},
    }
    approvals: Json = {"quorum": 1, "max_ttl": 900_000, "tree_binding": True, "bind_vars": False, "roles": {}}
    approvals |= {"standing": {"valid_for": 7 * _DAY_MS, "targets": []}}
    duties = {"enabled": False, "developer": [], "approver": [], "deployer": [], "identities": {}}
    break_glass = {"roles": ["oncall"], "review_within": _DAY_MS}
    policy: Json = {"version": 1, "name": "warehouse", "environments": environments, "waivers": []}
    policy |= {section: {"rules": []} for section in ("data_platform", "genai_security", "voice_compliance")}
    policy |= {"enforcement": {"off_hours": None, "risk": {"weights": WEIGHTS}, "approvals": approvals}}
    return policy | {"compliance": {"segregation_of_duties": duties, "break_glass": break_glass}}


def rule(id: str, *conditions: Json, effect: str = "warn") -> Json:
    """Return a rule of a policy."""
    return {"id": id, "effect": effect, "mode": "enforce", "when": list(conditions), "on_missing": effect}


def edited(*edits: DocumentEdit) -> Json:
    """Return the policy with these edits."""
    return both(*edits)(policy_document())


def governed(
    events: Sequence[Json] = (),
    *,
    policy: Json | None = None,
    mode: str = "enforce",
    environment: str = "prod",
    scoring: Scoring | None = None,
    manifest: DocumentEdit | None = None,
    **layers: Any,
) -> Layers:
    """Return the layers of a run under a policy.

    Args:
        events: Of the journal, the good run's where there are none; ``run.started`` is given the policy.
        policy: The policy, that of ``policy_document`` where it is None.
        mode: What the run says of itself.
        environment: What the run says of itself.
        scoring: How the risk is told; as it is where None.
        manifest: Edit of the manifest, after policy and risk are in it.
        layers: Other layers; ``artifacts`` beside the policy.
    """
    policy = policy_document() if policy is None else policy
    data = canonical(policy)
    named = {"name": policy["name"], "version": policy["version"], "sha256": digest(data)}
    began = {"sha256": digest(data), "mode": mode}
    told = [began_under(event, began) for event in copy.deepcopy(list(events or run_events()))]
    risk = (scoring or Scoring()).risk(told, policy, mode)
    edits = [put("policy", {**named, "mode": mode, "environment": environment}), put("risk", risk)]
    artifacts = {**lineage_and_nodes(), POLICY: Artifact(data, "policy"), **layers.pop("artifacts", {})}
    return replace(
        Layers(events=told, artifacts=artifacts, manifest=both(*edits, *([manifest] if manifest else []))), **layers
    )


def governed_bundle(*arguments: Any, **layers: Any) -> bytes:
    """Return the bundle of a run under a policy."""
    return governed_seal(*arguments, **layers).data


def governed_seal(*arguments: Any, **layers: Any) -> Sealed:
    """Return the bundle of a run under a policy, and what it was made of."""
    return seal(governed(*arguments, **layers))


def began_under(event: Json, policy: Json) -> Json:
    """Return the event; if it is a ``run.started`` that names no policy, with this one."""
    unsaid = event["type"] == "run.started" and event["policy"]["sha256"] is None
    return {**event, "policy": policy} if unsaid else event
