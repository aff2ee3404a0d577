# SPDX-License-Identifier: Apache-2.0
"""Journals: events chained into lines (spec/def/def_v0.md), and the events of the run that all vectors tell of."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from forge.canonical import canonical, digest
from forge.edits import BytesEdit, Json
from forge.merkle import merkle_root

BUNDLE_ID = "019c131e-9fa0-7a51-8c3e-6d1f00000000"
OTHER_BUNDLE_ID = "019c131e-9fa1-7b62-9d4f-7e2000000000"
TENANT = "acme"
INVOCATION_ID = "5d1f3c0e-2b7a-4c59-9e1d-3f6a7b8c9d0e"
RUN_ID = "nightly-2026-01-31"
CREATED_AT = "2026-01-31T08:15:00.000000Z"
CLOSED_AT = "2026-01-31T08:15:04.200000Z"


def at(us: int) -> str:
    """Return the instant so many microseconds, below a minute, after the run began."""
    return f"2026-01-31T08:15:{us // 1_000_000:02d}.{us % 1_000_000:06d}Z"


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in hex."""
    return digest(text.encode())


def genesis(bundle_id: str = BUNDLE_ID, tenant: str = TENANT) -> str:
    """Return ``prev`` of a journal's first line."""
    return text_digest(f"clyra-journal-v0\n{bundle_id}\n{tenant}")


def chain(
    events: Sequence[Json],
    *,
    first_prev: str | None = None,
    bundle_id: str = BUNDLE_ID,
    edit_line: Mapping[int, BytesEdit] | None = None,
) -> list[bytes]:
    """Return the lines of ``events``, without LF.

    Members ``seq``, ``prev`` and ``event_id`` are filled in where an event does not bring its own. The chain goes over
    the edited lines, so that an edit is the only fault.
    """
    prev = first_prev or genesis(bundle_id)
    lines: list[bytes] = []
    for position, event in enumerate(events):
        seq = event.get("seq", position)
        event_id = f"{bundle_id[:-12]}{seq:012d}"
        line = canonical({"seq": seq, "prev": prev, "event_id": event_id, **event})
        line = (edit_line or {}).get(position, bytes)(line)
        prev = digest(line)
        lines.append(line)
    return lines


def journal_facts(lines: Sequence[bytes]) -> Json:
    """Return the manifest's member ``journal`` for these lines."""
    root = merkle_root(lines).hex()
    return {"path": "journal.ndjson", "count": len(lines), "head": digest(lines[-1]), "root": root}


def with_count(events: Sequence[Json]) -> list[Json]:
    """Return ``events`` with the count of ``run.closed`` made right."""
    return [{**event, "count": len(events)} if event["type"] == "run.closed" else event for event in events]


def started(**members: Any) -> Json:
    """Return a ``run.started`` event."""
    build = {"tree": "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "commit": "8d3f" * 10, "dirty": False}
    event: Json = {"type": "run.started", "occurred_at": CREATED_AT, "invocation_id": INVOCATION_ID}
    event |= {"project": "jaffle_shop", "command": "build", "argv": ["build"], "target_name": "prod"}
    event |= {"adapter_type": "postgres", "versions": {"dbt_core": "1.11.0", "python": "3.12.0"}}
    event |= {"gates": {"run": False, "statement_wrap": False, "statement_event": True, "row_limit": False}}
    event |= {"policy": {"sha256": None, "mode": "record"}, "build": {**build, "branch": "main", "source": "git"}}
    return event | {"actor_id": "ci@acme.example", "tenant_id": TENANT, **members}


def statement(us: int, verb: str = "create", **members: Any) -> Json:
    """Return a ``statement`` event."""
    body = text_digest(f"{verb} {us}")
    event: Json = {"type": "statement", "occurred_at": at(us), "unique_id": "model.jaffle_shop.orders", "verb": verb}
    event |= {"sent_sha256": text_digest(f"/* */ {verb} {us}"), "body_sha256": body, "status": "success"}
    return event | {"rows": 99, "query_id": None, "elapsed_us": 100, **members}


def node(us: int, unique_id: str = "model.jaffle_shop.orders", resource_type: str = "model", **members: Any) -> Json:
    """Return a ``node.finished`` event."""
    event: Json = {"type": "node.finished", "occurred_at": at(us), "unique_id": unique_id}
    event |= {"resource_type": resource_type}
    event |= {"status": "pass" if resource_type == "test" else "success", "checksum": text_digest(unique_id)}
    event |= {"rows_affected": None, "execution_us": 1, "failures": None, "message_sha256": None}
    return event | members


def decision(us: int, effect: str = "allow", *, rules: Sequence[Json] = (), **members: Any) -> Json:
    """Return a ``decision`` event."""
    event: Json = {"type": "decision", "occurred_at": at(us), "id": f"decision-{us}", "point": "run", "mode": "enforce"}
    event |= {"decision": effect, "rules": list(rules), "missing": [], "facts": {}, "policy_sha256": None, "risk": None}
    return event | members


def finished(us: int = 4_100_000, **members: Any) -> Json:
    """Return a ``run.finished`` event."""
    tests = {"passed": 1, "failed": 0, "warned": 0, "not_run": 0}
    event: Json = {"type": "run.finished", "occurred_at": at(us), "success": True, "tests": tests}
    return event | {"overhead_cpu_us": 4100, **members}


def closed(count: int, **members: Any) -> Json:
    """Return a ``run.closed`` event."""
    return {"type": "run.closed", "occurred_at": CLOSED_AT, "count": count, "reason": "completed", **members}


def run_events() -> list[Json]:
    """Return the events of the good run: one model written, one test passed."""
    test = "test.jaffle_shop.not_null_orders_id.cf6c17daed"
    events = [
        started(),
        statement(1_000_000, "create"),
        node(2_000_000),
        statement(3_000_000, "select", unique_id=test, rows=1),
        node(3_500_000, test, "test", failures=0),
        finished(),
    ]
    return [*events, closed(len(events) + 1)]


def counts_of(events: Sequence[Json]) -> Json:
    """Return the manifest's member ``run.counts``."""
    nodes = [event for event in events if event["type"] == "node.finished"]
    sent = [event for event in events if event["type"] == "statement"]
    tests = [event["status"] for event in nodes if event["resource_type"] in ("test", "unit_test")]
    tallies = {"passed": tests.count("pass"), "failed": tests.count("fail") + tests.count("error")}
    tallies["warned"] = tests.count("warn")
    counts = {f"tests_{name}": tally for name, tally in tallies.items()}
    counts |= {"statements": len(sent), "writes": sum(_writes(event["verb"]) for event in sent)}
    failed = sum(event["status"] in ("error", "fail", "runtime_error") for event in nodes)
    return counts | {"nodes": len(nodes), "failed_nodes": failed, "tests_not_run": len(tests) - sum(tallies.values())}


def decisions_of(events: Sequence[Json]) -> Json:
    """Return the manifest's member ``decisions``."""
    made = [event for event in events if event["type"] == "decision"]
    tallies = {effect: sum(event["decision"] == effect for event in made) for effect in _EFFECTS}
    waived = sum(rule["state"] == "waived" for event in made for rule in event["rules"])
    return {**tallies, "waived": waived}


@cache
def _verbs() -> Json:
    path = Path(__file__).resolve().parents[2] / "verbs.json"
    verbs: Json = json.loads(path.read_text(encoding="utf-8"))["verbs"]
    return verbs


def _writes(verb: str) -> bool:
    return bool(_verbs().get(verb, {"writes": True})["writes"])


_EFFECTS = ("allow", "warn", "require_approval", "block")


def source_digest(name: str) -> str:
    """Return a digest that stands for bytes which no vector has."""
    return hashlib.sha256(b"stand-in " + name.encode()).hexdigest()
