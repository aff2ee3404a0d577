# SPDX-License-Identifier: Apache-2.0
"""V: what must be accepted."""

import json
from collections.abc import Iterator
from typing import Any

from forge.bundle import ENVELOPE, SIGSTORE, Artifact, Entries, Layers, bundle, lineage_and_nodes, seal, sigstore_of
from forge.canonical import canonical, digest
from forge.case import TRUSTED, Case, bundle_case
from forge.edits import Json, both, put
from forge.journal import (
    RUN_ID,
    at,
    closed,
    decision,
    finished,
    node,
    run_events,
    source_digest,
    started,
    statement,
    text_digest,
)
from forge.keys import TestKey
from forge.policy import governed_bundle, policy_document
from forge.suites.manifest import LARGE, LARGE_PATH
from forge.trust import BUNDLE, ECDSA, LOG, RSA, SECOND, entry, trust_file


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _plain()
    yield from _signers()
    yield from _contents()
    yield from _runs()
    yield from _texts()


def _case(id: str, description: str, *, keys: tuple[Json, ...] = (), trust: Json | None = None, **layers: Any) -> Case:
    files = {"trust.json": trust_file(*keys, **(trust or {}))}
    return bundle_case(id, description, bundle(**layers), files=files)


def _plain() -> Iterator[Case]:
    yield _case("V01", "good bundle")
    minimal = put("run/adapter", None)
    events = [started(adapter_type=None, argv=[]), closed(2)]
    empty = both(minimal, put("anchors", []), put("metrics", {}), put("labels", {}), put("keys_hint", []))
    yield _case("V02", "journal alone, nothing else said", events=events, artifacts={}, manifest=empty)
    yield _case("V03", "an artifact without bytes", artifacts={**lineage_and_nodes(), "artifacts/empty": _text(b"")})
    zeros = _text(bytes(300_000))
    yield _case("V04", "an artifact of 300000 zero bytes", artifacts={**lineage_and_nodes(), "artifacts/zeros": zeros})
    zipped = _text(seal(Layers()).data)
    inner = {**lineage_and_nodes(), "artifacts/inner.def.zip": zipped}
    yield _case("V05", "an artifact that is a bundle itself", artifacts=inner)
    many = {f"artifacts/many/f{number:03d}": _text(b"%d" % number) for number in range(300)}
    yield _case("V06", "300 artifacts", artifacts=many)


def _text(data: bytes) -> Artifact:
    return Artifact(data, media_type="application/octet-stream")


def _signers() -> Iterator[Case]:
    user = put("producer/signer", "user")
    yield _case("V10", "ECDSA P-256, the user's key", keys=(entry(ECDSA),), signers=(ECDSA,), manifest=user)
    yield _case("V11", "RSA-PSS 2048", keys=(entry(RSA),), signers=(RSA,))
    large = TestKey("large rsa", "rsa-pss-sha256", bits=3072)
    yield _case("V11b", "RSA-PSS 3072", keys=(entry(large),), signers=(large,))
    two = (entry(BUNDLE), entry(SECOND))
    yield _case(
        "V12", "two signers, threshold 2", keys=two, trust={"threshold": {"bundle": 2}}, signers=(BUNDLE, SECOND)
    )
    mixed = (entry(BUNDLE), entry(ECDSA), entry(RSA))
    three = {"threshold": {"bundle": 3}}
    yield _case("V13", "three algorithms, threshold 3", keys=mixed, trust=three, signers=(RSA, BUNDLE, ECDSA))
    several = (entry(LOG, "log"), entry(SECOND), entry(BUNDLE))
    yield _case("V14", "one of two trusted keys", keys=several)
    yield _case("V15", "one key signs twice", keys=(entry(BUNDLE),), signers=(BUNDLE, BUNDLE))
    yield _case("V16", "sigstore form beside", entries=_with_sigstore)
    rotated = (entry(BUNDLE, valid_from="2026-01-31T08:15:04.200000Z"),)
    yield _case("V18", "key valid from closed_at on", keys=rotated)
    windows = {"min_spec": "v0", "skew_s": 0, "max_seal_lag_s": 60, "tsa_roots": [], "require": []}
    yield _case("V19", "trust file with every other member", trust=windows)


def _with_sigstore(entries: Entries) -> Entries:
    return {**entries, SIGSTORE: canonical(sigstore_of(json.loads(entries[ENVELOPE])))}


def _contents() -> Iterator[Case]:
    references = [
        {
            "name": name,
            "role": "dbt_artifact",
            "sha256": source_digest(name),
            "size": 4711,
            "media_type": "application/json",
        }
        for name in ("manifest.json", "run_results.json")
    ]
    yield _case("V20", "references that were not supplied", manifest=put("references", references))
    data = bundle(artifacts={**lineage_and_nodes(), LARGE_PATH: LARGE})
    name = f"blobs/sha256/{digest(LARGE.data)[:2]}/{digest(LARGE.data)}"
    args = ("--artifacts", "blobs", *TRUSTED)
    files = {"trust.json": trust_file(), name: LARGE.data}
    yield bundle_case("V21", "external file supplied", data, files=files, args=args)
    stored = Artifact(b"select 1\n", media_type="text/plain", members={"origin": "target/compiled/Orders (new).sql"})
    path = f"artifacts/sha256/{digest(stored.data)}"
    yield _case("V22", "artifact under its digest, with its own name", artifacts={**lineage_and_nodes(), path: stored})
    pins = {"policies": [{"sha256": digest(canonical(policy_document())), "environments": ["prod"]}]}
    pinned = {"trust.json": trust_file(**pins)}
    yield bundle_case("V23", "policy in force, included and pinned", governed_bundle(), files=pinned)
    yield _case("V24", "nobody gave a risk, a payout was named", manifest=put("payout", _payout()))
    governed = {"owners": ["finance"], "frameworks": ["sox"], "legal_hold": True, "classification": "internal"}
    governed |= {"retention_until": "2033-01-31T08:15:04.200000Z", "hot_until": None, "approvals": []}
    sla = {"name": "dbt_run_us", "limit_us": 5_000_000, "observed_us": 3_900_000, "met": True}
    yield _case("V25", "governance", manifest=put("governance", {**governed, "sla": [sla]}))


def _payout() -> Json:
    payout: Json = {"run_id": RUN_ID, "actor_id": "ci@acme.example", "asset_id": "orders", "change_intent": "refund"}
    payout |= {"business_metric_refs": ["revenue"], "payout_ref": "p-1", "currency": "EUR", "amount_minor": -1250}
    return payout


def _runs() -> Iterator[Case]:
    yield _case("V30", "ingested from artifacts", manifest=put("run/capture", "ingested"))
    yield _case("V31", "second part of a run", manifest=put("run/part", 2))
    yield _case("V32", "every kind of event", events=_all_events(), manifest=put("run/status", "failed"))
    refused = [started(), decision(100, "block", code="sql.no_where"), finished(success=False), closed(4)]
    status = both(put("run/status", "refused"), put("anchors", []))
    yield _case("V33", "refused by a gate", events=refused, manifest=status)
    bare = {"tree": None, "commit": None, "dirty": None, "source": "none", "author_basis": "claimed"}
    yield _case("V34", "no git", manifest=both(put("run/git", bare), put("run/invocation_id", None)))
    sha256_ids = both(put("run/git/tree", "ab" * 32), put("run/git/commit", "cd" * 32))
    yield _case("V35", "git with SHA-256", manifest=sha256_ids)
    nodes = [node(1000 + n, f"model.jaffle_shop.m{n}", batch_id=f"b{n}") for n in range(500)]
    long = [started(), *nodes, finished(), closed(503)]
    yield _case("V36", "503 events", events=long)


def _all_events() -> list[Json]:
    hook: Json = {"type": "hook.finished", "occurred_at": at(300), "name": "on-run-start", "status": "success"}
    error: Json = {"type": "run.error", "occurred_at": at(5_000), "code": "internal_error", "unique_id": "model.a.b"}
    degraded: Json = {"type": "recorder.degraded", "occurred_at": at(6_000), "code": "recorder_degraded"}
    rule = {"id": "sql.no_where", "effect": "warn", "severity": "warning", "state": "matched"}
    facts = {"rows": 12, "schemas": ["public", "staging"], "truncates": False, "where": None}
    tests = [("pass", 0), ("warn", 1), ("fail", 3), ("error", None), ("skipped", None)]
    events = [
        started(),
        {**hook, "message_sha256": None},
        decision(400, "warn", rules=[rule], facts=facts, missing=["row_count"], risk=40, jti="j1"),
        statement(1_000, "begin", unique_id=None, rows=None),
        statement(1_001, "merge", query_id="q-1", batch_id="2026-01-31"),
        statement(1_002, "vacuum", elapsed_us=None),
        statement(1_003, "call", status="unknown", rows=None),
        node(2_000, status="runtime_error", checksum=None, message_sha256=text_digest("x")),
        node(2_001, "seed.jaffle_shop.raw", "seed", rows_affected=10),
        *[node(3_000 + n, f"test.t{n}", "test", status=s, failures=f) for n, (s, f) in enumerate(tests)],
        node(4_000, "unit_test.u", "unit_test", status="pass"),
        *_governing(4_500),
        {**error, "message_sha256": text_digest("y")},
        {**degraded, "part": "statements", "count": 2},
        finished(success=False, tests={"passed": 2, "failed": 2, "warned": 1, "not_run": 1}),
    ]
    return [*events, closed(len(events) + 1)]


def _governing(us: int) -> list[Json]:
    """Return the events of approvals that were asked for and refused, and of a checkpoint through its life."""
    request = {"request_sha256": text_digest("request")}
    asked: Json = {"type": "approval.requested", "occurred_at": at(us), "decision": "decision-1", **request}
    refused: Json = {"type": "approval.refused", "occurred_at": at(us), "code": "approval_used", "token_id": "0" * 16}
    opened: Json = {"occurred_at": at(us), "checkpoint": "publish", "checkpoint_id": "c1", **request}
    opened |= {"state_sha256": text_digest("state"), "expires_at": "2026-02-01T08:15:00.000000Z"}
    states = ("opened", "approved", "denied", "expired", "resumed")
    return [asked, refused, *({**opened, "type": f"checkpoint.{state}"} for state in states)]


def _texts() -> Iterator[Case]:
    odd = {'quote"': "back\\slash", "emoji \U0001f680": "\u00fcml\u00e4ut", "\u202e": "rtl", "line": "a\nb\tc"}
    yield _case("V40", "labels with odd text", manifest=put("labels", odd))
    scripts = {"markup": "<script>alert(1)</script>", "template": "{{ env_var('X') }}", "sql": "'; drop table x; --"}
    yield _case("V41", "labels with markup", manifest=put("labels", scripts))
    ids = both(put("run/run_id", "a" * 128), put("run/project", "Pro\u0458ect \u2603"))
    yield _case("V42", "longest run id, project outside ASCII", manifest=ids)
    argv = ["build", "--vars", '{"start": "2026-01-01"}', "line\nbreak", "\u007f", ""]
    yield _case("V43", "arguments with odd text", events=[started(argv=argv), *run_events()[1:]])
    ext = {"org.example": {"nested": [None, True, {"UPPER": [[]], "": {}}], "n": -1}, "com.example-1.x": {}}
    yield _case("V44", "extensions", manifest=put("ext", ext))
