# SPDX-License-Identifier: Apache-2.0
"""Artifacts of a small project and a trace of the same run, as dbt writes them, for tests to change."""

from __future__ import annotations

from typing import Any

import pytest

INVOCATION = "019abf1c-70ba-7a80-8f0b-cf72dacda1e6"
LITERAL = "geheim-4711"

Documents = dict[str, dict[str, Any]]


@pytest.fixture
def documents() -> Documents:
    """``manifest.json`` and ``run_results.json`` of one ``dbt build``: a seed, two models, a failing test."""
    return {"manifest.json": _manifest(), "run_results.json": _run_results()}


@pytest.fixture
def trace() -> list[dict[str, Any]]:
    """Lines of ``otel.jsonl`` of the same run."""
    trace_id = INVOCATION.replace("-", "")
    common = {"trace_id": trace_id, "parent_span_id": None, "links": None, "severity_text": "INFO"}
    create = f"create table b as select '{LITERAL}' as x"
    return [
        {
            **common,
            "record_type": "LogRecord",
            "event_type": "v1.public.events.fusion.log.LogMessage",
            "attributes": {},
        },
        _span("SpanStart", "a1", "query.QueryExecuted", 1, {"sql": create, "unique_id": "model.shop.b"}),
        _query("a1", 1, create, unique_id="model.shop.b", query_id="01b2-0003"),
        _query("a2", 3, '/* {"app": "dbt"} */ select 1', unique_id="test.shop.unique_b_id.1f"),
        _span("SpanStart", "a3", "query.QueryExecuted", 5, {"sql": "delete from b"}),
        _query("a4", 4, "drop table x", query_outcome="QUERY_OUTCOME_ERROR"),
        _node("model.shop.b", "NODE_OUTCOME_SUCCESS"),
        _node("test.shop.unique_b_id.1f", "NODE_OUTCOME_SUCCESS", {"test_outcome": "TEST_OUTCOME_FAILED"}),
        _span("SpanEnd", "f0", "invocation.Invocation", 8, {"raw_command": "dbt build"}, status={"code": 2}),
    ]


def _node_members(unique_id: str, reads: list[str], **members: Any) -> dict[str, Any]:
    resource_type, package, name = unique_id.split(".")[:3]
    return {
        "unique_id": unique_id,
        "resource_type": resource_type,
        "name": name,
        "package_name": package,
        "original_file_path": f"{resource_type}s/{name}.sql",
        "relation_name": f'"shop"."main"."{name}"',
        "language": "sql",
        "checksum": {"name": "sha256", "checksum": "ab" * 32},
        "config": {"materialized": "table", "severity": "ERROR"},
        "contract": {"enforced": False},
        "depends_on": {"nodes": reads, "macros": []},
        "compiled_code": f"select '{LITERAL}' as x",
        "description": LITERAL,
        **members,
    }


def _metadata(kind: str, version: int, second: int) -> dict[str, Any]:
    return {
        "dbt_schema_version": f"https://schemas.getdbt.com/dbt/{kind}/v{version}.json",
        "dbt_version": "1.11.16",
        "generated_at": f"2026-01-31T08:15:{second:02}.000000Z",
        "invocation_id": INVOCATION,
        "invocation_started_at": "2026-01-31T08:15:00.000000Z",
    }


def _manifest() -> dict[str, Any]:
    nodes = [
        _node_members("seed.shop.raw", []),
        _node_members("model.shop.a", ["seed.shop.raw"]),
        _node_members("model.shop.b", ["model.shop.a", "model.shop.b"]),
        _node_members("test.shop.unique_b_id.1f", ["model.shop.b"], checksum={"name": "none", "checksum": ""}),
    ]
    metadata = {**_metadata("manifest", 12, 1), "project_name": "shop", "adapter_type": "postgres"}
    return {"metadata": metadata, "nodes": {node["unique_id"]: node for node in nodes}, "sources": {}, "macros": {}}


def _result(unique_id: str, status: str, second: int, **members: Any) -> dict[str, Any]:
    instant = f"2026-01-31T08:15:{second:02}.500000Z"
    return {
        "unique_id": unique_id,
        "status": status,
        "timing": [
            {"name": "compile", "started_at": instant, "completed_at": instant},
            {"name": "execute", "started_at": instant, "completed_at": instant},
        ],
        "execution_time": 0.25,
        "adapter_response": {"_message": "OK"},
        "message": LITERAL,
        "failures": None,
        **members,
    }


def _run_results() -> dict[str, Any]:
    # dbt writes them in the order of its threads, not of time.
    results = [
        _result("test.shop.unique_b_id.1f", "fail", 4, failures=2),
        _result("seed.shop.raw", "success", 1, adapter_response={"rows_affected": 3}),
        _result("model.shop.b", "success", 3),
        _result("model.shop.a", "success", 2),
    ]
    arguments = {
        "which": "build",
        "target": "prod",
        "vars": {"who": LITERAL},
        "invocation_command": f'dbt build --target prod --vars {{"who": "{LITERAL} and more"}} --select a',
    }
    metadata = _metadata("run-results", 6, 6)
    return {"metadata": metadata, "results": results, "elapsed_time": 5.5, "args": arguments}


def _span(
    record_type: str, span_id: str, kind: str, second: int, attributes: dict[str, Any], **members: Any
) -> dict[str, Any]:
    started = 1_769_847_300_000_000_000 + second * 1_000_000_000
    span: dict[str, Any] = {
        "record_type": record_type,
        "trace_id": INVOCATION.replace("-", ""),
        "span_id": span_id,
        "start_time_unix_nano": str(started),
        "event_type": f"v1.public.events.fusion.{kind}",
        "attributes": attributes,
        **members,
    }
    if record_type == "SpanEnd":
        span["end_time_unix_nano"] = str(started + 250_000_000)
    return span


def _query(span_id: str, second: int, sql: str, **attributes: Any) -> dict[str, Any]:
    found = {"sql": sql, "sql_hash": "0" * 32, "query_outcome": "QUERY_OUTCOME_SUCCESS", **attributes}
    return _span("SpanEnd", span_id, "query.QueryExecuted", second, found)


def _node(unique_id: str, outcome: str, detail: dict[str, Any] | None = None) -> dict[str, Any]:
    attributes = {
        "unique_id": unique_id,
        "node_outcome": outcome,
        "node_test_detail": detail or {},
        "in_selection": True,
        "duration_ms": "250",
    }
    return _span("SpanEnd", unique_id, "node.NodeProcessed", 6, attributes)
