# SPDX-License-Identifier: Apache-2.0
"""Whole files: whatever is changed, taken out, put in twice or moved, a bundle is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.spec import UnavailableError
from clyra.verify import Verification, verify_bundle
from clyra.verify.conformance import Vector, load_vector, vector_files
from clyra.verify.container import read_container

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)


@cache
def vector(vector_id: str) -> Vector:
    return load_vector(next(path for path in vector_files() if path.name.startswith(f"{vector_id}-")))


def verify(data: bytes, *, trust: bytes | None = None, **options: Any) -> Verification:
    trusted = vector("V01").files["trust.json"] if trust is None else trust
    return verify_bundle(data, trust=trusted, at=AT, environ={}, **options)


GOOD = vector("V01").input


def entries(data: bytes = GOOD) -> list[tuple[bytes, bytes]]:
    container = read_container(io.BytesIO(data), len(data))
    return [(name.encode(), container.read(name)) for name in container.entries]


def archive(files: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A container of these entries in this order, written by nothing that the verifier uses."""
    body, directory, count = b"", b"", 0
    for name, data in files:
        fixed = struct.pack("<HHHHHIIIHH", 20, 0x0800, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 0x0314) + fixed
        directory += struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, len(body)) + name
        body += b"PK\x03\x04" + fixed + name + data
        count += 1
    return body + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)


def compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    at = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(leaves[:at]) + root(leaves[at:])).digest()


class Sealer:
    """Seals changed contents again, with a key of its own that its trust file names."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.keyid = hashlib.sha256(spki).hexdigest()
        entry = {"keyid": self.keyid, "public_key": base64.b64encode(spki).decode(), "alg": "ed25519", "role": "bundle"}
        self.trust = compact({"version": 1, "keys": [entry | {"valid_from": "2026-01-01T00:00:00.000000Z"}]})

    def seal(self, changes: dict[bytes, bytes]) -> bytes:
        """The good bundle with these contents: digests, tree and signature are made anew, ``journal`` stays."""
        files = dict(entries()) | changes
        manifest = json.loads(files[b"manifest.json"])
        for entry in manifest["files"]:
            data = files[entry["path"].encode()]
            entry |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        leaves = [hashlib.sha256(b"\x00" + compact(entry)).digest() for entry in manifest["files"]]
        manifest["tree"]["root"] = root(leaves).hex()
        return self.sign(files, compact(manifest))

    def sign(self, files: dict[bytes, bytes], manifest: bytes) -> bytes:
        """The bundle with this manifest, signed."""
        document = json.loads(manifest)
        envelope = json.loads(files[b"attestations/manifest.dsse.json"])
        statement = json.loads(base64.b64decode(envelope["payload"]))
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(manifest).hexdigest()
        statement["predicate"]["merkle_root"] = document["tree"]["root"]
        payload = compact(statement)
        signed = b"DSSEv1 %d %b %d %b" % (28, b"application/vnd.in-toto+json", len(payload), payload)
        signature = {"keyid": self.keyid, "sig": base64.b64encode(self._key.sign(signed)).decode()}
        envelope |= {"payload": base64.b64encode(payload).decode(), "signatures": [signature]}
        files = files | {b"manifest.json": manifest, b"attestations/manifest.dsse.json": compact(envelope)}
        return archive(sorted(files.items()))


SEALER = Sealer()


def test_the_good_bundle_is_valid_and_this_writer_makes_the_same_bytes() -> None:
    assert verify(GOOD).verdict == "valid"
    assert archive(entries()) == GOOD


@pytest.mark.parametrize("part", range(8))
def test_any_byte_flipped_is_refused(part: int) -> None:
    # Every byte of the file, with a bit that walks; eight tests so that one failure does not hide the rest.
    for at in range(part, len(GOOD), 8):
        changed = bytearray(GOOD)
        changed[at] ^= 1 << (at // 8 % 8)
        assert verify(bytes(changed)).verdict == "invalid", at


def test_any_byte_removed_is_refused() -> None:
    for at in range(0, len(GOOD), 3):
        assert verify(GOOD[:at] + GOOD[at + 1 :]).verdict == "invalid", at


def test_any_cut_is_refused() -> None:
    for at in range(0, len(GOOD), 7):
        assert verify(GOOD[:at]).verdict == "invalid", at
        assert verify(GOOD[at + 1 :]).verdict == "invalid", at


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=4), st.integers(0, 60))
def test_any_bytes_put_in_or_over_others_are_refused(at: int, put: bytes, over: int) -> None:
    changed = GOOD[:at] + put + GOOD[at + over :]
    assert changed == GOOD or verify(changed).verdict == "invalid"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda data: GOOD[:200] + data + GOOD[-200:]))
def test_no_bytes_at_all_break_the_verifier(data: bytes) -> None:
    assert verify(data).verdict == "invalid"


@pytest.mark.parametrize("number", range(len(entries())))
def test_any_entry_removed_doubled_or_emptied_is_refused(number: int) -> None:
    files = entries()
    name, data = files[number]
    variants = {
        "removed": files[:number] + files[number + 1 :],
        "doubled": [*files[:number], files[number], *files[number:]],
        "emptied": [*files[:number], (name, b""), *files[number + 1 :]],
        "cut": [*files[:number], (name, data[:-1]), *files[number + 1 :]],
        "longer": [*files[:number], (name, data + b"\n"), *files[number + 1 :]],
        "renamed": sorted([*files[:number], (name[:-1] + b"x", data), *files[number + 1 :]]),
        "copied": sorted([*files, (b"artifacts/copy", data)]),
        "swapped": [*files[:number], (name, files[number - 1][1]), *files[number + 1 :]],
    }
    for how, changed in variants.items():
        result = verify(archive(changed))
        assert (result.verdict, result.stage) != ("valid", None), how
        assert result.verdict == "invalid", how


def test_entries_in_any_other_order_are_refused() -> None:
    files = entries()
    for number in range(len(files) - 1):
        files[number], files[number + 1] = files[number + 1], files[number]
        assert verify(archive(files)).code == "zip_order"
        files[number], files[number + 1] = files[number + 1], files[number]


def test_contents_sealed_again_unchanged_are_valid() -> None:
    assert verify(SEALER.seal({}), trust=SEALER.trust).verdict == "valid"


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        (b"manifest.json", {"subject_mismatch"}),
        (b"journal.ndjson", {"file_digest"}),
        (b"artifacts/nodes.json", {"file_digest"}),
        (b"attestations/manifest.dsse.json", {"envelope_invalid", "payload_type", "signature_invalid", "key_unknown"}),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_any_byte_of_an_entry_changed_in_a_flawless_archive_is_refused(name: bytes, codes: set[str]) -> None:
    files = dict(entries())
    data = files[name]
    changed_keyids = 0
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        result = verify(archive(sorted((files | {name: changed}).items())))
        if result.code is None:
            # A key id is a hint that nobody signed; with another one the signature is found all the same.
            assert b'"keyid":"' in data[at - 73 : at]
            changed_keyids += 1
        else:
            assert result.code in codes
    assert changed_keyids == (64 if name == b"attestations/manifest.dsse.json" else 0)


@pytest.mark.parametrize("flip", [0x01, 0x20])
def test_any_byte_of_the_journal_changed_and_sealed_again_is_refused(flip: int) -> None:
    journal = dict(entries())[b"journal.ndjson"]
    for at in range(0, len(journal), 2):
        changed = journal[:at] + bytes([journal[at] ^ flip]) + journal[at + 1 :]
        result = verify(SEALER.seal({b"journal.ndjson": changed}), trust=SEALER.trust)
        assert (result.verdict, result.stage) == ("invalid", "journal"), at


def test_any_line_removed_doubled_or_moved_and_sealed_again_is_refused() -> None:
    lines = dict(entries())[b"journal.ndjson"].splitlines(keepends=True)
    for number in range(len(lines)):
        removed = lines[:number] + lines[number + 1 :]
        for changed in (removed, [*lines[:number], lines[number], *lines[number:]], [lines[number], *removed]):
            if changed != lines:
                result = verify(SEALER.seal({b"journal.ndjson": b"".join(changed)}), trust=SEALER.trust)
                assert (result.verdict, result.stage) == ("invalid", "journal"), number


def test_any_byte_of_the_manifest_changed_and_signed_again_is_canonical_or_refused() -> None:
    files = dict(entries())
    data = files[b"manifest.json"]
    accepted = []
    for at in range(0, len(data), 2):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            signed = SEALER.sign(files, changed)
        except (ValueError, KeyError, TypeError):
            continue
        result = verify(signed, trust=SEALER.trust)
        if result.verdict == "valid":
            accepted.append(at)
    # What may say something else is what the signer alone knows: names, versions, times, labels, metrics.
    spans = [json.loads(data)[name] for name in ("tree", "journal", "files", "decisions")]
    for at in accepted:
        for span in spans:
            start = data.index(compact(span))
            assert not start <= at < start + len(compact(span)) or b"media_type" in data[at - 40 : at], at


def test_any_byte_of_the_signature_changed_is_refused() -> None:
    files = dict(entries())
    envelope = json.loads(files[b"attestations/manifest.dsse.json"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    for at in range(len(signature)):
        changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        envelope["signatures"][0]["sig"] = base64.b64encode(changed).decode()
        result = verify(archive(sorted((files | {b"attestations/manifest.dsse.json": compact(envelope)}).items())))
        assert (result.code, result.stage) == ("signature_invalid", "signature")


def test_a_timestamp_token_is_never_taken_for_a_time() -> None:
    files = dict(entries())
    with_token = archive(sorted((files | {b"attestations/manifest.0.tsr": b"not a token"}).items()))
    assert (verify(with_token).code, verify(with_token).stage) == ("timestamp_invalid", "time")
    stray = archive(sorted((files | {b"attestations/manifest.1.tsr": b""}).items()))
    assert verify(stray).code == "attestation_mismatch"
    unjudged = verify_bundle(with_token, at=AT, environ={}, cwd="/")
    assert (unjudged.verdict, [warning.code for warning in unjudged.warnings]) == ("warning", ["trust_not_evaluated"])
    assert unjudged.signers == []


@pytest.mark.parametrize("at", [AT, datetime(2026, 1, 31, 10, tzinfo=timezone(timedelta(hours=1)))])
def test_the_moment_may_be_in_any_zone(at: datetime) -> None:
    result = verify_bundle(GOOD, trust=vector("V01").files["trust.json"], at=at, environ={})
    assert result.verdict == "valid"


def test_a_moment_without_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        verify_bundle(GOOD, at=datetime(2026, 1, 31), environ={})


@pytest.mark.parametrize("what", ["absent", "folder", "pipe"])
def test_a_path_that_is_no_file_is_not_available(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)
    with pytest.raises(UnavailableError) as caught:
        verify_bundle(path, environ={})
    assert caught.value.code == "bundle_unreadable"


def test_the_proof_beside_the_bundle_is_found_and_one_of_another_name_is_not(tmp_path: Path) -> None:
    case = vector("L20a")
    bundle = tmp_path / "any-name.def.zip"
    bundle.write_bytes(case.input)
    proof = next(data for name, data in case.files.items() if name.endswith("proof"))
    trust = case.files["trust.json"]
    bundle_id = json.loads(dict(entries(case.input))[b"manifest.json"])["bundle_id"]
    (tmp_path / "other.tlog-proof").write_bytes(proof)
    assert verify_bundle(bundle, trust=trust, at=AT, environ={}).log is None
    (tmp_path / f"{bundle_id}.tlog-proof").write_bytes(proof)
    found = verify_bundle(bundle, trust=trust, at=AT, environ={})
    assert found.verdict == "valid"
    assert found.log is not None
    (tmp_path / f"{bundle_id}.tlog-proof").write_bytes(b"")
    assert verify_bundle(bundle, trust=trust, at=AT, environ={}).code == "proof_shape"


def large_bundle(path: Path, megabytes: int) -> None:
    """A container with one large artifact: not what was signed, but read whole to find that out."""
    files = dict(entries()) | {b"artifacts/large.bin": os.urandom(1 << 20) * megabytes}
    path.write_bytes(archive(sorted(files.items())))


def test_memory_does_not_grow_with_the_artifacts(tmp_path: Path) -> None:
    peaks = {}
    for megabytes in (4, 64):
        path = tmp_path / f"{megabytes}.def.zip"
        large_bundle(path, megabytes)
        tracemalloc.start()
        result = verify_bundle(path, trust=vector("V01").files["trust.json"], at=AT, environ={})
        peaks[megabytes] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (result.code, result.checks["container"]) == ("file_unlisted", "pass")
    assert peaks[64] < 6 << 20
    assert peaks[64] - peaks[4] < 1 << 20


def test_importing_the_package_loads_no_cryptography_and_no_framework() -> None:
    code = "import sys, clyra.verify; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"cryptography", "pydantic", "jsonschema", "rfc8785", "orjson", "click", "email"})
    assert "clyra.evidence" not in done.stdout.split()


def test_a_notebook_shows_the_verdict_and_escapes_what_it_shows() -> None:
    result = verify(GOOD)
    assert "VALID" in result._repr_html_()
    result.message, result.code, result.stage = "<script>", "zip_bytes", "container"
    assert "<script>" not in result._repr_html_()
    assert "&lt;script&gt;" in result._repr_html_()
