# SPDX-License-Identifier: Apache-2.0
"""What the recorder says about a run: the members of the manifest that dbt, the user's settings and git decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clyra.dbt import _schema_text
from clyra.dbt._version import installed
from clyra.warehouse import Anchor

if TYPE_CHECKING:
    from clyra.dbt._session import Session
    from clyra.evidence.bundle import RunRecord

PRODUCER = "clyra-dbt"
EXTENSION = "io.clyra.dbt"
_LIMITS = {"dbt_run_s": ("dbt_run", 1_000_000)}


def run_record(
    session: Session,
    *,
    status: str,
    anchors: Sequence[Anchor] = (),
    metrics: Mapping[str, int] | None = None,
    risk: Mapping[str, object] | None = None,
) -> RunRecord:
    """The record of a run as it is known now.

    Args:
        session: The invocation.
        status: ``success``, ``failed``, ``refused`` or ``interrupted``; the last while the run goes on, for whoever
            recovers it.
        anchors: What the warehouse recorded.
        metrics: Durations in microseconds by their names in the manifest.
        risk: The manifest's, where there is a policy.
    """
    from clyra.evidence.bundle import RunRecord
    from clyra.evidence.record import NO_GOVERNANCE

    observed, governance = metrics or {}, session.governance
    return RunRecord(
        tenant=session.identity.tenant,
        producer_name=PRODUCER,
        producer_version=installed().version,
        source_digest=installed().source_digest,
        run=_run(session, status),
        policy=None if governance is None else governance.policy_member(),
        risk=risk,
        anchors=[anchor.as_manifest() for anchor in anchors],
        metrics=observed,
        governance={
            **NO_GOVERNANCE,
            "approvals": [] if governance is None else list(governance.approvals),
            "frameworks": [] if governance is None else governance.frameworks,
            "sla": service_levels(session.dbt.var("clyra_limits"), observed),
        },
        labels=labels(session.dbt.var("clyra_labels")),
        ext={EXTENSION: {"session_tags": session.anchors.tagged_by if session.anchors is not None else "none"}},
        attachments=() if governance is None else governance.attachments(),
    )


def service_levels(limits: object, observed: Mapping[str, int]) -> list[dict[str, object]]:
    """``governance.sla``: the limits of the variable ``clyra_limits`` that were observed, and whether they were met."""
    if not isinstance(limits, Mapping):
        return []
    levels: list[dict[str, object]] = []
    for setting, (name, unit_us) in _LIMITS.items():
        limit = limits.get(setting)
        seen = observed.get(f"{name}_us")
        if seen is None or isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
            continue
        limit_us = round(limit * unit_us)
        levels.append({"name": name, "limit_us": limit_us, "observed_us": seen, "met": seen <= limit_us})
    return levels


def labels(configured: object) -> dict[str, str]:
    """``labels``: names and texts of the variable ``clyra_labels``."""
    if not isinstance(configured, Mapping):
        return {}
    return {
        _schema_text.free_text(str(name)): _schema_text.free_text(str(text))
        for name, text in configured.items()
        if str(name)
    }


def _run(session: Session, status: str) -> dict[str, object]:
    dbt, governance = session.dbt, session.governance
    plan_sha256 = None if governance is None else governance.plan_sha256
    members: dict[str, object] = {
        "run_id": session.identity.run_id,
        "part": session.part,
        "capture": "recorded",
        "status": status,
        "invocation_id": _schema_text.name(dbt.invocation_id),
        "command": _schema_text.name(dbt.command),
        "project": _schema_text.name(dbt.project_name),
        "adapter": None if dbt.adapter_type is None else _schema_text.word(dbt.adapter_type),
        "target": _schema_text.name_or_none(dbt.target_name),
        "git": session.build.as_manifest(),
    }
    return members if plan_sha256 is None else {**members, "plan_sha256": plan_sha256}
