# SPDX-License-Identifier: Apache-2.0
"""What this package writes, the verifier accepts, which shares no code with it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clyra.evidence import SealedBundle, Signer, SourceFile, load_signer, recover_journal, seal_bundle
from clyra.verify import Verification, verify_bundle

Run = Any  # the class in conftest.py, which tests cannot import

AT = datetime(2026, 2, 1, tzinfo=UTC)
FILES = [
    SourceFile("artifacts/nodes.json", b'{"nodes":[]}', "application/json"),
    SourceFile("artifacts/lineage.json", b'{"edges":[],"nodes":[]}', "application/json", "lineage"),
]


def trust(*signers: Signer) -> bytes:
    entries = [
        {
            "keyid": signer.keyid,
            "alg": signer.alg,
            "public_key": b64encode(signer.public_key).decode(),
            "role": "bundle",
            "valid_from": "2026-01-01T00:00:00.000000Z",
        }
        for signer in signers
    ]
    return json.dumps({"version": 1, "keys": entries}).encode()


def verify(bundle: SealedBundle, *signers: Signer, artifacts: Path | None = None) -> Verification:
    return verify_bundle(bundle.path, trust=trust(*signers), artifacts=artifacts, at=AT)


def assert_valid(result: Verification) -> None:
    document = result.as_dict()
    assert (result.verdict, result.code, document["warnings"]) == ("valid", None, []), document


def test_a_sealed_bundle_is_valid(run: Run) -> None:
    assert_valid(verify(run.seal(FILES, events=[run.statement(1, verb="insert"), run.node(1)]), run.signer))


def test_a_bundle_without_files_is_valid(run: Run) -> None:
    assert_valid(verify(run.seal(), run.signer))


def test_a_bundle_of_broken_names_and_odd_texts_is_valid(run: Run) -> None:
    files = [SourceFile(name, b"same", "text/plain") for name in ("A", "B", "../x", "artifacts/con", "a\ud800\0\n")]
    record = replace(run.record, labels={"\U0001f600": "\0", "\ufb33": "\ud800"}, ext={"org.example": {"a": [[], {}]}})
    events = [run.statement(1, query_id="\ud800\0 \u2028"), run.node(1, failures=0.5)]
    assert_valid(verify(run.seal(files, events=events, record=record), run.signer))


def test_a_bundle_of_two_signers_with_the_sigstore_form_of_one_is_valid(
    make_run: Callable[[str], Run], second_signer: Signer
) -> None:
    run = make_run("two")
    assert_valid(verify(run.seal(signers=[run.signer, second_signer]), run.signer, second_signer))
    run = make_run("one")
    assert_valid(verify(run.seal(with_sigstore=True), run.signer))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_bundles_of_other_algorithms_are_valid(run: Run, kind: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signer = load_signer("bundle", {"CLYRA_SIGNING_KEY": pem})
    assert_valid(verify(run.seal(FILES, signers=[signer]), signer))


def test_external_files_are_checked_in_the_folder_where_sealing_put_them(run: Run) -> None:
    bundle = run.seal([SourceFile("artifacts/large", b"x" * 100, "text/plain")], external_over_bytes=99)
    assert verify(bundle, run.signer).verdict == "warning"
    assert_valid(verify(bundle, run.signer, artifacts=run.folder.root / "artifacts"))


@pytest.mark.parametrize("notes", [1, 1000, None])
@pytest.mark.parametrize("outcome", ["died", "finished", "closed"])
def test_a_recovered_bundle_is_valid(run: Run, notes: int | None, outcome: str) -> None:
    options: dict[str, object] = {"signer": None} if notes is None else {"note_every_events": notes}
    writer = run.writer(**options)
    writer.append([run.statement(1, verb="insert"), run.statement(2), run.node(2)])
    if outcome != "died":
        writer.append([run.finished()])
    if outcome == "closed":
        writer.close("completed", run.start_us + 900).release()
    else:
        writer._file.close()
    recovered = recover_journal(run.path, now_us=lambda: run.start_us + 10**6)
    assert recovered is not None
    bundle = seal_bundle(
        run.folder,
        recovered.journal,
        recovered.record,
        files=recovered.files,
        references=[],
        signers=[run.signer],
        bundle_id=run.bundle_id,
        created_at=recovered.journal.first_at,
        closed_at=recovered.journal.last_at,
    )
    result = verify(bundle, run.signer)
    assert_valid(result)
    assert result.as_dict()["capture"] == "recovered"


def test_a_stranger_s_bundle_is_not_valid(run: Run, second_signer: Signer) -> None:
    result = verify(run.seal(FILES), second_signer)
    assert (result.verdict, result.code) == ("invalid", "key_unknown")
