# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import zipfile
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from clyra.evidence import Reference, SealedBundle, Signer, SourceFile, find_open_journals, instant, new_uuid7
from clyra.evidence import bundle as bundle_module
from clyra.evidence.canonical import canonicalize
from clyra.evidence.container import is_entry_name
from clyra.evidence.envelope import pae
from clyra.evidence.merkle import leaf_hash, merkle_root
from clyra.evidence.record import Attachment, RunRecord
from clyra.spec import FormatError, UnavailableError, schema

Run = Any  # the class in conftest.py, which tests cannot import

NODES = SourceFile("artifacts/nodes.json", b'{"nodes":[]}', "application/json")
LINEAGE = SourceFile("artifacts/lineage.json", b'{"edges":[],"nodes":[]}', "application/json", "lineage")


@pytest.fixture(scope="module")
def validate() -> Callable[[str, object], None]:
    types = Resource.from_contents(schema("types"))
    registry: Registry[Any] = Registry().with_resource("https://clyra.io/spec/types.schema.json", types)

    def check(name: str, document: object) -> None:
        jsonschema.Draft202012Validator(schema(name), registry=registry).validate(document)

    return check


def entries_of(bundle: SealedBundle) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle.path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def assert_holds(bundle: SealedBundle, signers: list[Signer]) -> dict[str, bytes]:
    """The checks of verification.md that a writer can get wrong, without the verifier's code."""
    entries = entries_of(bundle)
    manifest = json.loads(entries["manifest.json"])
    assert manifest == bundle.manifest
    assert canonicalize(manifest) == entries["manifest.json"]
    assert sha256(entries["manifest.json"]).hexdigest() == bundle.manifest_sha256
    assert [file["path"] for file in manifest["files"]] == sorted(file["path"] for file in manifest["files"])
    for file in manifest["files"]:
        assert is_entry_name(file["path"])
        if "external" not in file:
            data = entries[file["path"]]
            assert (file["size"], file["sha256"]) == (len(data), sha256(data).hexdigest())
    leaves = [leaf_hash(canonicalize(file)) for file in manifest["files"]]
    assert manifest["tree"] == {"hash": "sha256", "root": merkle_root(leaves).hex(), "size": len(leaves)}
    lines = entries["journal.ndjson"].split(b"\n")[:-1]
    assert manifest["journal"] == {
        "path": "journal.ndjson",
        "count": len(lines),
        "head": sha256(lines[-1]).hexdigest(),
        "root": merkle_root([leaf_hash(line) for line in lines]).hex(),
    }
    envelope = json.loads(entries["attestations/manifest.dsse.json"])
    payload = b64decode(envelope["payload"])
    assert canonicalize(json.loads(payload)) == payload
    for signer, signature in zip(signers, envelope["signatures"], strict=True):
        assert signature["keyid"] == signer.keyid
        public = ed25519.Ed25519PublicKey.from_public_bytes(signer.public_key[-32:])
        public.verify(b64decode(signature["sig"]), pae(envelope["payloadType"], payload))
    listed = {file["path"] for file in manifest["files"] if "external" not in file}
    assert {name for name in entries if not name.startswith("attestations/")} == listed | {"manifest.json"}
    return entries


def test_a_sealed_bundle_holds_together(run: Run) -> None:
    bundle = run.seal([NODES, LINEAGE])
    assert_holds(bundle, [run.signer])
    assert bundle.path == run.folder.root / "evidence" / "2026" / "01" / f"{run.bundle_id}.def.zip"
    assert bundle.size_bytes == bundle.path.stat().st_size
    assert bundle.keyids == (run.signer.keyid,)


def test_what_is_sealed_keeps_the_schemas(run: Run, validate: Callable[[str, object], None]) -> None:
    references = [Reference("manifest.json", "dbt_manifest", "ab" * 32, 5, "application/json")]
    payout = {
        "run_id": "nightly-42",
        "actor_id": "ana@example.org",
        "asset_id": "orders",
        "change_intent": "reprice",
        "business_metric_refs": [],
        "payout_ref": "p-1",
        "currency": "EUR",
        "amount_minor": -5,
    }
    labels = {"Team \ufb33\U0001f600": "x\ny", "Team \U0001f600": ""}
    record = replace(run.record, payout=payout, labels=labels, ext={"org.example": {"n": [1]}})
    files = [NODES, LINEAGE, SourceFile("Broken Name", b"x", "text/plain")]
    bundle = run.seal(files, references=references, record=record)
    entries = assert_holds(bundle, [run.signer])
    validate("def_v0", bundle.manifest)
    validate("lineage", json.loads(entries["artifacts/lineage.json"]))
    validate("statement", json.loads(b64decode(json.loads(entries["attestations/manifest.dsse.json"])["payload"])))
    for line in entries["journal.ndjson"].splitlines():
        validate("journal_event", json.loads(line))


def test_the_statement_repeats_the_manifest(run: Run) -> None:
    bundle = run.seal([NODES])
    envelope = json.loads(entries_of(bundle)["attestations/manifest.dsse.json"])
    manifest = bundle.manifest
    assert json.loads(b64decode(envelope["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "manifest.json", "digest": {"sha256": bundle.manifest_sha256}}],
        "predicateType": "https://clyra.io/def/v0",
        "predicate": {
            "spec": "clyra.def/v0",
            "bundle_id": run.bundle_id,
            "run_id": "nightly-42",
            "merkle_root": manifest["tree"]["root"],
            "tree_size": 2,
            "journal": {name: manifest["journal"][name] for name in ("count", "head", "root")},
        },
    }


def test_counts_and_decisions_come_from_the_journal(run: Run) -> None:
    manifest = run.seal(events=[run.statement(1, verb="insert"), run.node(1, status="error")]).manifest
    assert (manifest["run"]["counts"]["writes"], manifest["run"]["counts"]["failed_nodes"]) == (1, 1)
    assert manifest["decisions"] == {"allow": 0, "block": 0, "require_approval": 0, "waived": 0, "warn": 0}


def test_two_builds_of_one_input_give_equal_bytes(make_run: Callable[[str], Run]) -> None:
    files = [NODES, LINEAGE, SourceFile("Ä/b", b"1", "text/plain")]
    first = make_run("one").seal(files).path.read_bytes()
    second = make_run("two").seal(list(reversed(files))).path.read_bytes()
    assert first == second


def test_attachments_of_the_record_are_files_also_for_whoever_reads_it_back(run: Run) -> None:
    attached = Attachment("artifacts/policy.json", "policy", "application/json", '{"name":"Z\u00fcrich"}')
    kept = RunRecord.from_json(replace(run.record, attachments=[attached]).to_json())
    assert kept.attachments == (attached,)
    with_kept = replace(run, record=kept)
    bundle = _seal(with_kept, with_kept.writer().close("completed", run.start_us + 2))
    (listed,) = [entry for entry in bundle.manifest["files"] if entry["role"] == "policy"]
    assert (listed["path"], listed["media_type"]) == (attached.path, attached.media_type)
    assert entries_of(bundle)[attached.path] == attached.text.encode()


def test_several_signers_sign_the_same_bytes(run: Run, second_signer: Signer) -> None:
    bundle = run.seal(signers=[run.signer, second_signer])
    assert_holds(bundle, [run.signer, second_signer])
    assert bundle.manifest["keys_hint"] == [run.signer.keyid, second_signer.keyid]


def test_the_sigstore_form_is_added_on_demand(run: Run) -> None:
    entries = assert_holds(run.seal(with_sigstore=True), [run.signer])
    sigstore = json.loads(entries["attestations/manifest.sigstore.json"])
    assert sigstore["dsseEnvelope"] == json.loads(entries["attestations/manifest.dsse.json"])


def test_the_journal_is_gone_once_its_bundle_is_there(run: Run) -> None:
    run.seal()
    assert list(run.folder.journal_dir.iterdir()) == []


def test_bundle_generation_is_measured_until_the_manifest_is_built(run: Run) -> None:
    ticks = iter([1_000_000, 43_000_999])
    bundle = run.seal(perf_counter_ns=lambda: next(ticks))
    assert bundle.manifest["metrics"] == {"recorder_us": 1500, "dbt_run_us": 2_000_000, "bundle_generation_us": 42_000}


def test_the_times_of_the_journal_lie_within_the_bundle(run: Run) -> None:
    bundle = run.seal(created_at=run.start_us + 9, closed_at=run.start_us)
    assert bundle.manifest["created_at"] == instant(run.start_us)
    assert bundle.manifest["closed_at"] == instant(run.start_us + 1000)


BROKEN = {
    "upper case at the start": "artifacts/Models/a.sql",
    "space": "artifacts/a b.sql",
    "not under artifacts": "models/a.sql",
    "parent folder": "artifacts/../../etc/passwd",
    "reserved entry": "manifest.json",
    "attestation": "attestations/manifest.0.tsr",
    "device": "artifacts/con.sql",
    "too long": "artifacts/" + "a" * 600,
}


@pytest.mark.parametrize("path", BROKEN.values(), ids=BROKEN.keys())
def test_a_name_that_breaks_the_rules_is_kept_as_origin(run: Run, path: str) -> None:
    bundle = run.seal([SourceFile(path, b"select 1", "text/plain")])
    assert_holds(bundle, [run.signer])
    digest = sha256(b"select 1").hexdigest()
    assert bundle.manifest["files"][0]["path"] == f"artifacts/sha256/{digest}"
    assert bundle.manifest["files"][0]["origin"] == path


def test_origins_hold_only_what_a_manifest_can(run: Run, validate: Callable[[str, object], None]) -> None:
    bundle = run.seal([SourceFile("a\ud800\n\0", b"1", "text/plain"), SourceFile("", b"2", "text/plain")])
    validate("def_v0", bundle.manifest)
    origins = {file["origin"] for file in bundle.manifest["files"] if "origin" in file}
    assert origins == {"a\ufffd\ufffd\ufffd", "\ufffd"}


def test_a_renamed_file_must_not_change_between_its_two_readings(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"first")
    file = SourceFile("Broken Name", source, "text/plain")
    digest = sha256(b"first").hexdigest()
    assert run.seal([file]).manifest["files"][0]["path"] == f"artifacts/sha256/{digest}"

    real_digest = bundle_module._digest

    def digest_before_a_change(path: bytes | Path) -> str:
        digest = real_digest(path)
        source.write_bytes(b"other")
        return digest

    monkeypatch.setattr(bundle_module, "_digest", digest_before_a_change)
    with pytest.raises(UnavailableError, match="changed on the disk") as caught:
        run.seal([file])
    assert caught.value.code == "seal_failed"


def test_a_manifest_that_is_too_large_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundle_module.MAX_MANIFEST_BYTES == 33_554_432
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", 1000)
    with pytest.raises(FormatError, match="limit 1000") as caught:
        run.seal()
    assert caught.value.code == "limit_exceeded"
    assert leftovers(run) == []


def test_names_that_collide_all_find_a_place(run: Run) -> None:
    paths = ["artifacts/a", "artifacts/a", "artifacts/A", "artifacts/a/b", "artifacts/b.Sql", "artifacts/b.sql"]
    bundle = run.seal([SourceFile(path, b"same", "text/plain") for path in paths])
    assert_holds(bundle, [run.signer])
    digest = sha256(b"same").hexdigest()
    assert {file["path"]: file.get("origin") for file in bundle.manifest["files"]} == {
        "artifacts/a": None,
        "artifacts/b.Sql": None,
        f"artifacts/sha256/{digest}": "artifacts/A",
        f"artifacts/sha256/{digest}.2": "artifacts/a",
        f"artifacts/sha256/{digest}.3": "artifacts/a/b",
        f"artifacts/sha256/{digest}.4": "artifacts/b.sql",
        "journal.ndjson": None,
    }


def test_a_large_file_stays_outside_and_is_listed(run: Run, tmp_path: Path, validate: Any) -> None:
    source = tmp_path / "catalog.json"
    source.write_bytes(b"x" * 1001)
    files = [
        SourceFile("artifacts/catalog.json", source, "application/json"),
        SourceFile("artifacts/limit.json", b"x" * 1000, "application/json"),
        SourceFile("Other Name", b"x" * 1001, "application/json"),
    ]
    bundle = run.seal(files, external_over_bytes=1000)
    entries = assert_holds(bundle, [run.signer])
    validate("def_v0", bundle.manifest)
    digest = sha256(b"x" * 1001).hexdigest()
    listed = {file["path"]: file.get("external") for file in bundle.manifest["files"]}
    assert listed["artifacts/catalog.json"] == listed[f"artifacts/sha256/{digest}"] == {}
    assert listed["artifacts/limit.json"] is None
    assert "artifacts/catalog.json" not in entries
    assert run.folder.artifact_path(digest).read_bytes() == b"x" * 1001


def test_files_on_the_disk_and_in_memory_give_equal_bundles(make_run: Callable[[str], Run], tmp_path: Path) -> None:
    data = os.urandom(700_000)
    (tmp_path / "a").write_bytes(data)
    first = make_run("one").seal([SourceFile("artifacts/a", data, "text/plain")])
    second = make_run("two").seal([SourceFile("artifacts/a", tmp_path / "a", "text/plain")])
    assert first.path.read_bytes() == second.path.read_bytes()


def leftovers(run: Run) -> list[str]:
    return [path.name for path in run.folder.bundle_dir.rglob("*") if path.is_file()]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_journal_and_no_half_bundle(
    run: Run, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = run.writer()
    closed = writer.close("completed", run.start_us)
    before = run.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(UnavailableError, match="journal is kept: No space left on device") as caught:
            _seal(run, closed)
    assert caught.value.code == "seal_failed"
    assert leftovers(run) == []
    assert run.path.read_bytes() == before
    assert _seal(run, closed).path.exists()


def _seal(run: Run, closed: Any, **options: Any) -> SealedBundle:
    from clyra.evidence import seal_bundle

    arguments: dict[str, Any] = {
        "files": [NODES],
        "references": [],
        "signers": [run.signer],
        "bundle_id": run.bundle_id,
        "created_at": run.start_us,
        "closed_at": run.start_us + 5,
    }
    return seal_bundle(run.folder, closed, run.record, **(arguments | options))


def test_a_journal_that_cannot_be_removed_does_not_spoil_its_bundle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    closed = run.writer().close("completed", run.start_us)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        assert _seal(run, closed).path.exists()
    assert run.path.exists()
    assert find_open_journals(run.folder) == []
    assert not run.path.exists()


def test_a_folder_that_cannot_be_made_fails_the_seal(run: Run) -> None:
    closed = run.writer().close("completed", run.start_us)
    run.folder.bundle_dir.write_bytes(b"a file in the way")
    with pytest.raises(UnavailableError) as caught:
        _seal(run, closed)
    assert caught.value.code == "seal_failed"
    assert run.path.exists()


def test_a_file_that_vanished_fails_the_seal(run: Run, tmp_path: Path) -> None:
    closed = run.writer().close("completed", run.start_us)
    with pytest.raises(UnavailableError) as caught:
        _seal(run, closed, files=[SourceFile("artifacts/a", tmp_path / "absent", "text/plain")])
    assert caught.value.code == "seal_failed"
    assert leftovers(run) == []


def test_a_journal_that_was_edited_on_the_disk_is_not_sealed(run: Run) -> None:
    closed = run.writer().close("completed", run.start_us)
    run.path.write_bytes(run.path.read_bytes().replace(b"nightly", b"daily  ").replace(b"shop", b"shap"))
    with pytest.raises(UnavailableError, match=r"journal\.ndjson changed on the disk") as caught:
        _seal(run, closed)
    assert caught.value.code == "seal_failed"
    assert leftovers(run) == []


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"ext": {"org.example": {"ratio": 0.5}}}, id="float"),
        pytest.param({"ext": {"org.example": {"n": 2**53}}}, id="large integer"),
        pytest.param({"labels": {1: "x"}}, id="name that is no text"),
    ],
)
def test_a_record_without_canonical_form_is_refused(run: Run, members: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        run.seal(record=replace(run.record, **members))
    assert caught.value.code == "canonical_value"
    assert leftovers(run) == []


def test_texts_of_the_record_that_no_manifest_can_hold_are_replaced(run: Run) -> None:
    manifest = run.seal(record=replace(run.record, labels={"branch": "a\ud800\0"})).manifest
    assert manifest["labels"] == {"branch": "a\ufffd\ufffd"}


def test_a_bundle_of_another_run_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="different bundles"):
        run.seal(record=replace(run.record, tenant="other"))


def test_a_bundle_has_a_signature(run: Run) -> None:
    with pytest.raises(ValueError, match="has a signature"):
        run.seal(signers=[])


def test_the_sigstore_form_is_for_one_signature(run: Run, second_signer: Signer) -> None:
    with pytest.raises(ValueError, match="one only beside its sigstore form; found 2"):
        run.seal(signers=[run.signer, second_signer], with_sigstore=True)


def test_memory_does_not_grow_with_the_files(run: Run, tmp_path: Path) -> None:
    import tracemalloc

    source = tmp_path / "large"
    with source.open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    tracemalloc.start()
    run.seal([SourceFile("artifacts/large", source, "text/plain")], external_over_bytes=1 << 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@given(st.integers(0, 2**48 * 1000 - 1), st.binary(min_size=10, max_size=12))
def test_a_uuid7_has_its_version_variant_and_milliseconds(now_us: int, random: bytes) -> None:
    text = new_uuid7(now_us, random)
    assert (text[14], text[19] in "89ab") == ("7", True)
    assert int(text.replace("-", "")[:12], 16) == now_us // 1000
    assert new_uuid7(now_us, random) == text


def test_the_uuid7_of_the_standard() -> None:
    # RFC 9562, A.6: 2022-02-22T19:22:22Z, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    noise = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert new_uuid7(0x017F22E279B0 * 1000, noise) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_a_uuid7_needs_enough_randomness() -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        new_uuid7(0, bytes(9))


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_769_847_300_000_001, "2026-01-31T08:15:00.000001Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_instants_always_have_six_digits(us: int, text: str) -> None:
    assert instant(us) == text


@pytest.mark.parametrize("us", [-1, 253_402_300_800_000_000])
def test_an_instant_outside_four_digit_years_is_refused(us: int) -> None:
    with pytest.raises(ValueError, match="years 1970 to 9999"):
        instant(us)
