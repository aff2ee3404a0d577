# SPDX-License-Identifier: Apache-2.0
"""A sealed bundle of a made-up run, of any size, through the real writer: for tests of what reads bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from clyra.evidence.bundle import RunRecord, SealedBundle, SourceFile, new_uuid7, seal_bundle
from clyra.evidence.folder import EvidenceFolder
from clyra.evidence.journal import JournalWriter
from clyra.evidence.record import Reference
from clyra.evidence.signer import Signer, ephemeral_signer

START_US = 1_767_258_900_000_000
_MS = 1000

SHOP: Mapping[str, Sequence[str]] = {
    "source.shop.raw.customers": (),
    "source.shop.raw.orders": (),
    "source.shop.raw.payments": (),
    "source.shop.raw.products": (),
    "seed.shop.country_codes": (),
    "model.shop.stg_customers": ("source.shop.raw.customers", "seed.shop.country_codes"),
    "model.shop.stg_orders": ("source.shop.raw.orders",),
    "model.shop.stg_payments": ("source.shop.raw.payments",),
    "model.shop.stg_products": ("source.shop.raw.products",),
    "model.shop.int_order_payments": ("model.shop.stg_orders", "model.shop.stg_payments"),
    "model.shop.int_order_items": ("model.shop.stg_orders", "model.shop.stg_products"),
    "model.shop.dim_customers": ("model.shop.stg_customers", "model.shop.int_order_payments"),
    "model.shop.fct_orders": ("model.shop.int_order_payments", "model.shop.int_order_items"),
    "model.shop.fct_revenue_daily": ("model.shop.fct_orders", "model.shop.stg_products"),
    "snapshot.shop.customers_history": ("model.shop.dim_customers",),
    "model.shop.customer_lifetime_value": ("model.shop.dim_customers", "model.shop.fct_orders"),
}
"""Nodes of a small shop's project, each with what it reads."""


@dataclass(frozen=True, slots=True)
class SampleRun:
    """What the made-up run did.

    Attributes:
        parents: Nodes in the order in which they may run, each with what it reads.
        statuses: Statuses other than success and pass, by ``unique_id``.
        threads: How many nodes run at once.
        tests_each: Tests per model.
        adapter: ``postgres`` has an anchor, ``duckdb`` none.
        labels: The user's own texts.
        events: More events, put in before the run is finished.
    """

    parents: Mapping[str, Sequence[str]] = field(default_factory=lambda: SHOP)
    statuses: Mapping[str, str] = field(default_factory=dict)
    threads: int = 4
    tests_each: int = 2
    adapter: str = "postgres"
    project: str = "shop"
    argv: Sequence[str] = ("dbt", "build", "--target", "prod")
    labels: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[tuple[str, int, dict[str, object]]] = ()


def layered_project(count: int) -> dict[str, list[str]]:
    """Nodes of a made-up project of ``count`` nodes, a tenth of them sources, each reading up to three others."""
    ids = [f"source.big.raw.table_{at}" if at < count // 10 else f"model.big.model_{at:05d}" for at in range(count)]
    parents: dict[str, list[str]] = {}
    stage_size = max(1, count // 10)
    for at, unique_id in enumerate(ids):
        stage = at // stage_size
        before = ids[max(0, stage - 2) * stage_size : stage * stage_size]
        read = {before[(at * step) % len(before)] for step in (7, 13, 31)} if before else set()
        parents[unique_id] = sorted(read)
    return parents


def seal_sample(root: Path, run: SampleRun | None = None, *, signer: Signer | None = None) -> SealedBundle:
    """Record ``run`` in the evidence folder ``root`` and seal it; the same arguments give the same contents."""
    run = run or SampleRun()
    signer = signer or ephemeral_signer()
    folder = EvidenceFolder(root=root, project_root=root.parent)
    folder.prepare()
    bundle_id = new_uuid7(START_US, sha256(repr(run).encode()).digest())
    writer = JournalWriter.create(folder.journal_path(bundle_id), bundle_id=bundle_id, tenant="default", signer=signer)
    writer.append([("run.started", START_US, _started(run))])
    nodes, ended_us = _run_nodes(run, writer)
    writer.append([*run.events, ("run.finished", ended_us, _finished(run, nodes))])
    journal = writer.close("completed", ended_us + 4 * _MS)
    return seal_bundle(
        folder,
        journal,
        _record(run, nodes),
        files=[
            SourceFile("artifacts/lineage.json", _json(_lineage(run, nodes)), "application/json", "lineage"),
            SourceFile("artifacts/nodes.json", _json({"nodes": nodes}), "application/json", "artifact"),
        ],
        references=[
            Reference("manifest.json", "dbt_manifest", sha256(b"manifest").hexdigest(), 1_482_113, "application/json"),
            Reference(
                "run_results.json", "dbt_run_results", sha256(b"results").hexdigest(), 48_207, "application/json"
            ),
        ],
        signers=[signer],
        bundle_id=bundle_id,
        created_at=START_US,
        closed_at=ended_us + 5 * _MS,
        perf_counter_ns=lambda: 0,
    )


def _started(run: SampleRun) -> dict[str, object]:
    return {
        "invocation_id": "6f1f2f0a-6d0c-4a86-9c1e-0d5f6f1b7a11",
        "project": run.project,
        "command": "build",
        "argv": list(run.argv),
        "target_name": "prod",
        "adapter_type": run.adapter,
        "versions": {"dbt_core": "1.11.16", f"dbt_{run.adapter}": "1.11.0", "clyra_dbt": "0.1.0", "python": "3.12.4"},
        "gates": {"run": False, "statement_wrap": False, "statement_event": False, "row_limit": False},
        "policy": {"sha256": None, "mode": "record"},
        "build": {"tree": "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "commit": "9f2c" * 10, "dirty": False}
        | {"branch": "main", "source": "git"},
        "actor_id": "ci@shop.example",
        "tenant_id": "default",
    }


def _run_nodes(run: SampleRun, writer: JournalWriter) -> tuple[list[dict[str, object]], int]:
    """Run every node once a thread is free and its parents are done; as dbt would, without a warehouse."""
    threads = [START_US + 600 * _MS] * run.threads
    done: dict[str, int] = {}
    finished: list[tuple[int, str, dict[str, object]]] = []
    described: list[dict[str, object]] = []
    for unique_id, parents in _with_tests(run).items():
        kind = unique_id.partition(".")[0]
        if kind == "source":
            continue
        thread = min(range(run.threads), key=threads.__getitem__)
        begun = max([threads[thread], *(done.get(parent, 0) for parent in parents)])
        cost_us = _duration_us(unique_id, kind)
        status = run.statuses.get(unique_id, "pass" if kind == "test" else "success")
        if status == "skipped":
            cost_us = 0
        done[unique_id] = threads[thread] = begun + cost_us + 3 * _MS
        finished.append((begun + cost_us, unique_id, {"kind": kind, "status": status, "cost_us": cost_us}))
        described.append(_described(unique_id, kind, status, parents))
    for ended_us, unique_id, node in sorted(finished, key=lambda each: each[:2]):
        writer.append([*_statements(unique_id, node, ended_us), ("node.finished", ended_us, _outcome(unique_id, node))])
    return sorted(described, key=lambda node: str(node["unique_id"])), max(threads) + 40 * _MS


def _with_tests(run: SampleRun) -> dict[str, Sequence[str]]:
    nodes: dict[str, Sequence[str]] = {}
    for unique_id, parents in run.parents.items():
        nodes[unique_id] = parents
        kind, project, name = unique_id.split(".", 2)
        if kind == "model":
            for test in ("not_null", "unique", "accepted_values", "relationships")[: run.tests_each]:
                nodes[f"test.{project}.{test}_{name}_id.{_digest(test + name)[:10]}"] = (unique_id,)
    return nodes


def _duration_us(unique_id: str, kind: str) -> int:
    noise = int(_digest(unique_id)[:8], 16)
    return (25 + noise % 60) * _MS if kind == "test" else (120 + noise % 1900) * _MS


def _statements(unique_id: str, node: Mapping[str, object], ended_us: int) -> list[tuple[str, int, dict[str, object]]]:
    kind, status = node["kind"], node["status"]
    verbs = {"test": ["select"], "seed": ["begin", "create", "insert", "commit"]}.get(
        str(kind), ["begin", "create", "insert" if kind == "snapshot" else "alter", "drop", "commit"]
    )
    if status == "skipped":
        return []
    cost_us = int(str(node["cost_us"])) // len(verbs)
    return [
        (
            "statement",
            ended_us,
            {
                "unique_id": unique_id,
                "sent_sha256": _digest(f"{unique_id} {verb}"),
                "body_sha256": _digest(verb),
                "verb": verb,
                "status": "error" if status == "error" and verb == verbs[1] else "success",
                "rows": 1 if verb == "select" else _rows(unique_id) if verb == "insert" else None,
                "query_id": None,
                "elapsed_us": cost_us,
            },
        )
        for verb in (verbs[:2] if status == "error" else verbs)
    ]


def _outcome(unique_id: str, node: Mapping[str, object]) -> dict[str, object]:
    is_test = node["kind"] == "test"
    return {
        "unique_id": unique_id,
        "resource_type": node["kind"],
        "status": node["status"],
        "checksum": _digest(unique_id),
        "rows_affected": None if is_test else _rows(unique_id),
        "execution_us": node["cost_us"],
        "failures": (3 if node["status"] in ("fail", "warn") else 0) if is_test else None,
        "message_sha256": None,
    }


def _described(unique_id: str, kind: str, status: str, parents: Sequence[str]) -> dict[str, object]:
    name = unique_id.split(".")[2]
    return {
        "unique_id": unique_id,
        "resource_type": kind,
        "status": status,
        "name": name,
        "relation": None if kind == "test" else f'"analytics"."{kind}s"."{name}"',
        "materialized": {"seed": "seed", "snapshot": "snapshot", "test": "test"}.get(
            kind, "view" if name.startswith("stg_") else "table"
        ),
        **({"tests": list(parents)} if kind == "test" else {}),
    }


def _lineage(run: SampleRun, described: Sequence[Mapping[str, object]]) -> dict[str, object]:
    parents = _with_tests(run)
    ran = {str(node["unique_id"]) for node in described}
    nodes = [
        {
            "id": unique_id,
            "kind": "call" if unique_id.startswith("test.") else "relation",
            "system": run.adapter,
            "trust": None,
            "basis": "recorded" if unique_id in ran else "manifest",
            "resource_type": unique_id.partition(".")[0],
            "name": unique_id.split(".")[3 if unique_id.startswith("source.") else 2],
        }
        for unique_id in sorted(parents)
    ]
    edges = [
        {"from": parent, "to": child, "run_id": "nightly-0142"}
        for child in sorted(parents)
        for parent in parents[child]
    ]
    return {"nodes": nodes, "edges": edges}


def _finished(run: SampleRun, described: Sequence[Mapping[str, object]]) -> dict[str, object]:
    statuses = [node["status"] for node in described if node["resource_type"] == "test"]
    tests = {
        name: statuses.count(status) for name, status in (("passed", "pass"), ("failed", "fail"), ("warned", "warn"))
    }
    tests["not_run"] = len(statuses) - sum(tests.values())
    return {"success": not _has_failed(run), "tests": tests, "overhead_cpu_us": 41_000}


def _record(run: SampleRun, described: Sequence[Mapping[str, object]]) -> RunRecord:
    at = "2026-01-01T09:15:12.000000Z"
    anchor: dict[str, object] = {"system": run.adapter, "kind": "none", "object": "", "value": {}, "captured_at": at}
    if run.adapter == "postgres":
        anchor |= {
            "kind": "postgres_wal",
            "object": "analytics",
            "value": {"lsn": "0/1A2B3C8", "system_identifier": "7341"},
        }
    else:
        anchor["reason"] = "not_supported"
    return RunRecord(
        tenant="default",
        producer_name="clyra-dbt",
        producer_version="0.1.0",
        run={
            "run_id": "nightly-0142",
            "part": 1,
            "capture": "recorded",
            "status": "failed" if _has_failed(run) else "success",
            "invocation_id": "6f1f2f0a-6d0c-4a86-9c1e-0d5f6f1b7a11",
            "command": "build",
            "project": run.project,
            "adapter": run.adapter,
            "target": "prod",
            "git": {
                "tree": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
                "commit": "9f2c" * 10,
                "dirty": False,
                "source": "git",
                "author_basis": "claimed",
            },
        },
        anchors=[anchor],
        metrics={"recorder_us": 41_000, "dbt_run_us": 7_400_000},
        labels=run.labels,
    )


def _has_failed(run: SampleRun) -> bool:
    return any(status in ("error", "fail", "runtime_error") for status in run.statuses.values())


def _rows(unique_id: str) -> int:
    return int(_digest(unique_id)[:6], 16) % 90_000 + 12


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
