# SPDX-License-Identifier: Apache-2.0
"""Sealed bundles whose decisions a policy has really made, of facts that a test gives: for what reads decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import orjson

from clyra.evidence.bundle import RunRecord, SealedBundle, SourceFile, new_uuid7, seal_bundle
from clyra.evidence.folder import EvidenceFolder
from clyra.evidence.journal import JournalWriter
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.policy.engine import DecisionScope, event_members
from clyra.policy.environment import environment_for
from clyra.policy.facts import FactValue
from clyra.policy.load import LoadedPolicy
from clyra.policy.risk import compute_risk

Event = tuple[str, int, dict[str, object]]

_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing the gate asked: facts, and the node that they are about, if they are about one.

    ``scope`` is that of the rules it asked: those of the run or of the node, unless it is given.
    """

    facts: Mapping[str, FactValue]
    unique_id: str | None = None
    point: str = "run"
    scope: DecisionScope | None = None


@dataclass(frozen=True, slots=True)
class DecidedRun:
    """A run under a policy.

    Attributes:
        policy: The policy.
        at: When it began; aware.
        asked: What its gates asked, in order.
        target: dbt's target.
        run_id: The run.
        tests: How many dbt tests passed.
        risk: The score that the gates knew.
        more: Members of more decisions, which no policy has made.
    """

    policy: LoadedPolicy
    at: datetime
    asked: Sequence[Asked] = field(default_factory=tuple)
    target: str = "prod"
    run_id: str = "nightly"
    tests: int = 1
    risk: int | None = None
    more: Sequence[Mapping[str, object]] = ()


def seal_decided(root: Path, run: DecidedRun, *, signer: Signer | None = None) -> SealedBundle:
    """Decide what ``run`` asks, record it in the evidence folder ``root`` and seal it."""
    signer = signer or ephemeral_signer()
    at_us = int(run.at.timestamp()) * 1_000_000
    folder = EvidenceFolder(root=root, project_root=root.parent)
    folder.prepare()
    bundle_id = new_uuid7(at_us, sha256(f"{run!r}".encode()).digest())
    path = folder.journal_path(bundle_id)
    writer = JournalWriter.create(path, bundle_id=bundle_id, tenant="default", signer=signer)
    writer.append([("run.started", at_us, _started(run)), *_decisions(run, at_us), *_tests(run, at_us)])
    tests = {"passed": run.tests, "failed": 0, "warned": 0, "not_run": 0}
    finished = {"success": True, "tests": tests, "overhead_cpu_us": 1000}
    writer.append([("run.finished", at_us + 2_000_000, finished)])
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    journal = writer.close("completed", at_us + 3_000_000)
    return seal_bundle(
        folder,
        journal,
        _record(run, events),
        files=[SourceFile("artifacts/policy.json", run.policy.canonical, "application/json", "policy")],
        references=[],
        signers=[signer],
        bundle_id=bundle_id,
        created_at=at_us,
        closed_at=at_us + 3_000_000,
        perf_counter_ns=lambda: 0,
    )


def _started(run: DecidedRun) -> dict[str, object]:
    mode = environment_for(run.policy.environments, target=run.target, environ={}).mode
    return {
        "invocation_id": "6f1f2f0a-6d0c-4a86-9c1e-0d5f6f1b7a11",
        "project": "shop",
        "command": "build",
        "argv": ["dbt", "build", "--target", run.target],
        "target_name": run.target,
        "adapter_type": "duckdb",
        "versions": {"dbt_core": "1.11.16", "clyra_dbt": "0.1.0", "python": "3.12.4"},
        "gates": {"run": True, "statement_wrap": False, "statement_event": False, "row_limit": False},
        "policy": {"sha256": run.policy.sha256, "mode": mode},
        "build": {"tree": _TREE, "commit": None, "dirty": False, "branch": None, "source": "git"},
        "actor_id": "ci@shop.example",
        "tenant_id": "default",
    }


def _decisions(run: DecidedRun, at_us: int) -> list[Event]:
    mode = environment_for(run.policy.environments, target=run.target, environ={}).mode
    found: list[Event] = []
    for number, asked in enumerate(run.asked):
        scope = asked.scope or ("node" if asked.unique_id else "run")
        today = run.at.astimezone(UTC).date()
        decision = run.policy.compiled.decide(asked.point, asked.facts, today=today, scope=scope)
        is_stronger = decision.effect != decision.shadow_effect
        for each in ("enforce", "shadow") if mode == "enforce" and is_stronger else (mode,):
            members = event_members(
                decision,
                decision_id=f"d-{number}-{each}",
                mode=each,
                policy_sha256=run.policy.sha256,
                risk=run.risk,
                personal_key=b"\1" * 32,
                unique_id=asked.unique_id,
            )
            found.append(("decision", at_us + number, members))
    return [*found, *(("decision", at_us + len(found), dict(members)) for members in run.more)]


def _tests(run: DecidedRun, at_us: int) -> list[Event]:
    return [
        (
            "node.finished",
            at_us + 1_000_000 + number,
            {
                "unique_id": f"test.shop.not_null_{number}",
                "resource_type": "test",
                "status": "pass",
                "checksum": None,
                "rows_affected": None,
                "execution_us": 1000,
                "failures": 0,
                "message_sha256": None,
            },
        )
        for number in range(run.tests)
    ]


def _record(run: DecidedRun, events: Sequence[Mapping[str, object]]) -> RunRecord:
    environment = environment_for(run.policy.environments, target=run.target, environ={})
    reason = {"kind": "none", "object": "", "value": {}, "reason": "not_supported"}
    return RunRecord(
        tenant="default",
        producer_name="clyra-dbt",
        producer_version="0.1.0",
        run={
            "run_id": run.run_id,
            "part": 1,
            "capture": "recorded",
            "status": "success",
            "invocation_id": "6f1f2f0a-6d0c-4a86-9c1e-0d5f6f1b7a11",
            "command": "build",
            "project": "shop",
            "adapter": "duckdb",
            "target": run.target,
            "git": {"tree": _TREE, "commit": None, "dirty": False, "source": "git", "author_basis": "claimed"},
        },
        policy={
            "name": run.policy.name,
            "version": run.policy.version,
            "sha256": run.policy.sha256,
            "mode": environment.mode,
            "environment": environment.name,
        },
        risk=compute_risk(
            events, policy=run.policy.document, environment=environment.name, off_hours=None, first_time_actor=1
        ),
        anchors=[{"system": "duckdb", **reason, "captured_at": f"{run.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000000Z"}],
    )
