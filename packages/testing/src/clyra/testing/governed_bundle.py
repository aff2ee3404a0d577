# SPDX-License-Identifier: Apache-2.0
"""A sealed bundle of a made-up run under a policy: decisions, a waiver, an approval, a risk score, trust in lineage.

Policy, risk and certificates are made by the real code; that a gate would have decided the same is not claimed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path

from clyra.approval.certificate import certificate_for, sign_certificate
from clyra.approval.plan import DbtPlan, PlanNode, build_plan
from clyra.approval.request import ApprovalRequest, BreakGlass, HeldRule, Standing
from clyra.evidence.bundle import RunRecord, SealedBundle, SourceFile, new_uuid7, seal_bundle
from clyra.evidence.folder import EvidenceFolder
from clyra.evidence.journal import JournalWriter
from clyra.evidence.record import NO_GOVERNANCE
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.policy.lineage import with_trust
from clyra.policy.load import LoadedPolicy, read_policy
from clyra.policy.risk import compute_risk
from clyra.testing import sample_bundle as sample
from clyra.testing.sample_bundle import START_US, SampleRun

Event = tuple[str, int, dict[str, object]]

POLICY = """\
version: 1
name: harbor shop
environments:
  prod: {targets: [prod], mode: %(mode)s, production: true}
enforcement:
  approvals:
    standing: {valid_for: 60d, targets: [prod]}
    roles: {data_owner: [%(owners)s], on_call: [%(owners)s]}
compliance:
  break_glass: {roles: [on_call], review_within: 48h}
data_platform:
  rules:
    - id: x_full_refresh_prod
      title: A full refresh in production needs somebody's yes
      effect: require_approval
      mode: enforce
      when: [{field: change.full_refresh, op: eq, value: true}, {field: env.production, op: eq, value: true}]
    - id: x_untested_marts
      title: Marts have tests
      effect: block
      mode: enforce
      when: [{field: dbt.has_tests, op: eq, value: false}]
    - id: x_personal_contract
      title: Personal data is under contract
      effect: warn
      mode: enforce
      when: [{field: data.personal, op: eq, value: true}, {field: dbt.contract_enforced, op: eq, value: false}]
waivers:
  - id: w_history
    rules: [x_untested_marts]
    nodes: [snapshot.shop.customers_history]
    owner: svc:analytics
    approved_by: svc:platform
    reason: tests of the snapshot follow with the next release
    ticket: OPS-7
    created: "2025-12-20"
    expires: "2026-02-01"
"""


@dataclass(frozen=True, slots=True)
class GovernedRun:
    """What was decided about the made-up run.

    Attributes:
        run: The run.
        mode: The environment's.
        approvers: How many persons approved the full refresh; without any the run is not approved.
        standing: Whether they approved any run for a time.
        break_glass: Whether it was emergency access.
        more: More events, put in after the decisions.
        hints: ``meta.clyra.trust`` of sources.
    """

    run: SampleRun = field(default_factory=SampleRun)
    mode: str = "enforce"
    approvers: int = 1
    standing: bool = False
    break_glass: bool = False
    more: Sequence[Event] = ()
    hints: Mapping[str, int] = field(
        default_factory=lambda: {"source.shop.raw.orders": 90, "seed.shop.country_codes": 50}
    )


def seal_governed(
    root: Path,
    governed: GovernedRun | None = None,
    *,
    signer: Signer | None = None,
    approvers: Sequence[Signer] | None = None,
) -> SealedBundle:
    """Record ``governed`` in the evidence folder ``root`` and seal it.

    Args:
        root: The evidence folder.
        governed: What was decided.
        signer: Signs the bundle.
        approvers: Keys of the persons who approved, as many as ``governed`` says.
    """
    governed = governed or GovernedRun()
    signer = signer or ephemeral_signer()
    approvers = [ephemeral_signer() for _ in range(governed.approvers)] if approvers is None else approvers
    owners = ", ".join(f'"key:{each.keyid}"' for each in approvers)
    policy = read_policy((POLICY % {"mode": governed.mode, "owners": owners}).encode(), now=date(2026, 1, 1))
    request = _request(governed, policy)
    certificates = [_certificate(request, number, each, governed) for number, each in enumerate(approvers)]
    digests = [sha256(each).hexdigest() for each in certificates]
    events = [*_decisions(governed, policy, request, digests), *governed.more]
    folder = EvidenceFolder(root=root, project_root=root.parent)
    folder.prepare()
    bundle_id = new_uuid7(START_US, sha256(repr(governed).encode()).digest())
    path = folder.journal_path(bundle_id)
    writer = JournalWriter.create(path, bundle_id=bundle_id, tenant="default", signer=signer)
    nodes, ended_us = _write(writer, governed, policy, events)
    record = _record(governed, nodes, policy, request, digests, path.read_bytes())
    return seal_bundle(
        folder,
        writer.close("completed", ended_us + 4000),
        record,
        files=[*_files(governed, nodes, policy), *_approval_files(request, certificates)],
        references=[],
        signers=[signer],
        bundle_id=bundle_id,
        created_at=START_US,
        closed_at=ended_us + 5000,
        perf_counter_ns=lambda: 0,
    )


def _write(
    writer: JournalWriter, governed: GovernedRun, policy: LoadedPolicy, events: Sequence[Event]
) -> tuple[list[dict[str, object]], int]:
    """Write the journal up to the end of the run; gives the nodes and when it ended."""
    started = sample._started(governed.run) | {"policy": {"sha256": policy.sha256, "mode": governed.mode}}
    writer.append([("run.started", START_US, started), *events])
    nodes, ended_us = sample._run_nodes(governed.run, writer)
    writer.append([*governed.run.events, ("run.finished", ended_us, sample._finished(governed.run, nodes))])
    return nodes, ended_us


def _decisions(
    governed: GovernedRun, policy: LoadedPolicy, request: ApprovalRequest, digests: list[str]
) -> list[Event]:
    def decision(name: str, effect: str, rules: list[dict[str, object]], **more: object) -> Event:
        members: dict[str, object] = {
            "id": name,
            "point": "run",
            "mode": governed.mode,
            "decision": effect,
            "rules": rules,
            "missing": [],
            "facts": {"dbt.target": "prod"},
            "policy_sha256": policy.sha256,
            "risk": None,
        }
        return ("decision", START_US, members | more)

    def rule(name: str, effect: str, state: str = "matched", **more: object) -> dict[str, object]:
        severity = "critical" if name == "x_untested_marts" else "warning"
        return {"id": name, "effect": effect, "severity": severity, "state": state, **more}

    refresh = [rule("x_full_refresh_prod", "require_approval")]
    lifted: dict[str, object] = {}
    events: list[Event] = []
    if governed.approvers:
        lifted = {"request_sha256": request.sha256, "jti": _JTI}
        used = {
            "decision": "d-run",
            "jti": _JTI,
            "token_id": "0123456789abcdef",
            "request_sha256": request.sha256,
            "cert_sha256": digests,
            "quorum": governed.approvers,
            "break_glass": governed.break_glass,
            "unchecked": [],
        }
        events.append(("approval.used", START_US, used))
    history = [rule("x_untested_marts", "warn", "waived", waiver="w_history")]
    contract = [rule("x_personal_contract", "warn", "unknown")]
    return [
        decision("d-run", "require_approval", refresh, **lifted),
        *events,
        decision("d-history", "warn", history, unique_id="snapshot.shop.customers_history"),
        decision("d-customers", "warn", contract, unique_id="model.shop.dim_customers", missing=["data.personal"]),
        decision("d-orders", "allow", [], unique_id="model.shop.fct_orders"),
    ]


_JTI = "AAECAwQFBgcICQoLDA0ODw"


def _request(governed: GovernedRun, policy: LoadedPolicy) -> ApprovalRequest:
    standing = Standing("2026-02-01T00:00:00.000000Z", "prod")
    emergency = BreakGlass("ab" * 32, "2026-01-02T09:00:00.000000Z")
    return ApprovalRequest(
        request_id="019b78d6-c620-7544-8865-aff1cbfb5338",
        created_at="2026-01-01T08:55:00.000000Z",
        tenant="default",
        project=governed.run.project,
        target="prod",
        environment="prod",
        audience=f"dbt:{governed.run.project}/prod",
        actions=("dbt.run",),
        payload_type="dbt-plan/v1",
        payload_sha256=_plan(governed).sha256,
        tree="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        commit="9f2c" * 10,
        policy_sha256=policy.sha256,
        decision="require_approval",
        point="run",
        rules=(HeldRule("x_full_refresh_prod", "warning", "A full refresh in production needs somebody's yes"),),
        facts={"dbt.target": "prod"},
        risk=None,
        resources=("analytics.models.*",),
        sub="svc:deploy",
        author="git:" + "11" * 32,
        author_basis="claimed",
        contributors=(),
        quorum=1,
        run_id=None if governed.standing else "nightly-0142",
        standing=standing if governed.standing else None,
        break_glass=emergency if governed.break_glass else None,
    )


def _plan(governed: GovernedRun) -> DbtPlan:
    nodes = [
        PlanNode(unique_id, sample._digest(unique_id), sample._digest(f"config {unique_id}"))
        for unique_id in sample._with_tests(governed.run)
        if not unique_id.startswith("source.")
    ]
    return build_plan(
        project=governed.run.project,
        target="prod",
        tree="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        nodes=nodes,
        macros_sha256=sample._digest("macros"),
        hooks_sha256=sample._digest("hooks"),
        env={},
        seeds={},
        dbt_version="1.11.16",
        adapter_type=governed.run.adapter,
        adapter_version="1.11.0",
    )


def _certificate(request: ApprovalRequest, number: int, signer: Signer, governed: GovernedRun) -> bytes:
    body = certificate_for(
        request,
        principal=f"key:{signer.keyid}",
        role="on_call" if governed.break_glass else "data_owner" if number else "approver",
        approved_at=f"2026-01-01T08:5{number + 6}:00.000000Z",
        kind="break_glass" if governed.break_glass else "approval",
    )
    return sign_certificate(body, [signer])


def _record(
    governed: GovernedRun,
    nodes: Sequence[Mapping[str, object]],
    policy: LoadedPolicy,
    request: ApprovalRequest,
    digests: list[str],
    journal: bytes,
) -> RunRecord:
    plain = sample._record(governed.run, nodes)
    events = [json.loads(line) for line in journal.splitlines()]
    risk = compute_risk(events, policy=policy.document, environment="prod", off_hours=None, first_time_actor=1)
    entry = {"decision": "d-run", "jti": _JTI, "cert_sha256": digests}
    return RunRecord(
        tenant=plain.tenant,
        producer_name=plain.producer_name,
        producer_version=plain.producer_version,
        run={**plain.run, "plan_sha256": request.payload_sha256},
        policy={
            "name": policy.name,
            "version": policy.version,
            "sha256": policy.sha256,
            "mode": governed.mode,
            "environment": "prod",
        },
        anchors=plain.anchors,
        risk=risk,
        metrics=plain.metrics,
        governance={**NO_GOVERNANCE, "approvals": [entry] if digests else []},
        labels=plain.labels,
    )


def _files(governed: GovernedRun, nodes: list[dict[str, object]], policy: LoadedPolicy) -> list[SourceFile]:
    lineage = with_trust(
        sample._lineage(governed.run, nodes),
        statuses={str(node["unique_id"]): str(node["status"]) for node in nodes},
        enforced=governed.mode == "enforce",
        hints=governed.hints,
    )
    return [
        SourceFile("artifacts/lineage.json", sample._json(lineage), "application/json", "lineage"),
        SourceFile("artifacts/nodes.json", sample._json({"nodes": nodes}), "application/json", "artifact"),
        SourceFile("artifacts/policy.json", policy.canonical, "application/json", "policy"),
        SourceFile("artifacts/plan.json", _plan(governed).to_bytes(), "application/json", "plan"),
    ]


def _approval_files(request: ApprovalRequest, certificates: Sequence[bytes]) -> list[SourceFile]:
    folder = "artifacts/approvals"
    if not certificates:
        return []
    asked = SourceFile(
        f"{folder}/{request.sha256}.request.json", request.to_bytes(), "application/json", "approval_request"
    )
    kind = "application/vnd.clyra.certificate+json"
    return [
        asked,
        *(
            SourceFile(f"{folder}/{sha256(each).hexdigest()}.dsse.json", each, kind, "approval_certificate")
            for each in certificates
        ),
    ]
