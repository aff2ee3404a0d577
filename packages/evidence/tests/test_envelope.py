# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # it lists no __all__

from clyra.evidence.canonical import canonicalize
from clyra.evidence.envelope import build_envelope, pae, sigstore_bundle
from clyra.evidence.signer import Signer, ephemeral_signer, public_key_of
from clyra.spec import FormatError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def openssl() -> str | None:
    path = shutil.which("openssl")
    if path is None:
        return None
    version = subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout
    return path if version.startswith("OpenSSL") and int(version.split()[1].split(".")[0]) >= 3 else None


def test_the_signed_bytes_are_those_of_dsse() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_an_envelope_is_canonical_and_names_its_signers() -> None:
    signers = [ephemeral_signer(), ephemeral_signer()]
    envelope = build_envelope(PAYLOAD_TYPE, PAYLOAD, signers)
    members = json.loads(envelope)
    assert canonicalize(members) == envelope
    assert set(members) == {"payload", "payloadType", "signatures"}
    assert b64decode(members["payload"], validate=True) == PAYLOAD
    assert [signature["keyid"] for signature in members["signatures"]] == [signer.keyid for signer in signers]


def test_securesystemslib_verifies_the_envelope() -> None:
    signer = ephemeral_signer()
    envelope = Envelope.from_dict(json.loads(build_envelope(PAYLOAD_TYPE, PAYLOAD, [signer])))
    assert list(envelope.verify([_their_key(signer)], 1)) == [signer.keyid]
    assert envelope.payload == PAYLOAD
    with pytest.raises(VerificationError):
        envelope.verify([_their_key(ephemeral_signer())], 1)


def _their_key(signer: Signer) -> SSlibKey:
    return SSlibKey.from_crypto(load_der_public_key(signer.public_key), keyid=signer.keyid)


@pytest.mark.skipif(openssl() is None, reason="no openssl from version 3 on the path")
def test_openssl_verifies_the_signed_bytes(tmp_path: Path) -> None:
    signer = ephemeral_signer()
    members = json.loads(build_envelope(PAYLOAD_TYPE, PAYLOAD, [signer]))
    (tmp_path / "pae").write_bytes(pae(PAYLOAD_TYPE, PAYLOAD))
    (tmp_path / "signature").write_bytes(b64decode(members["signatures"][0]["sig"]))
    (tmp_path / "key.der").write_bytes(public_key_of(signer.public_key))
    command = [str(openssl()), "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "key.der"]
    command += ["-in", "pae", "-sigfile", "signature"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "pae").write_bytes(pae(PAYLOAD_TYPE, PAYLOAD + b" "))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_the_signed_bytes_may_have_4096_bytes_and_no_more() -> None:
    overhead = len(pae(PAYLOAD_TYPE, b"x" * 4000)) - 4000
    build_envelope(PAYLOAD_TYPE, b"x" * (4096 - overhead), [ephemeral_signer()])
    with pytest.raises(FormatError, match="4097, limit 4096") as caught:
        build_envelope(PAYLOAD_TYPE, b"x" * (4097 - overhead), [ephemeral_signer()])
    assert caught.value.code == "limit_exceeded"


def test_a_sigstore_bundle_holds_the_same_envelope() -> None:
    signer = ephemeral_signer()
    envelope = build_envelope(PAYLOAD_TYPE, PAYLOAD, [signer])
    bundle = json.loads(sigstore_bundle(envelope))
    assert bundle["dsseEnvelope"] == json.loads(envelope)
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": signer.keyid}}
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"


def test_a_sigstore_bundle_holds_one_signature_only() -> None:
    envelope = build_envelope(PAYLOAD_TYPE, PAYLOAD, [ephemeral_signer(), ephemeral_signer()])
    with pytest.raises(ValueError, match="one signature, found 2"):
        sigstore_bundle(envelope)


def test_an_envelope_without_signature_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        build_envelope(PAYLOAD_TYPE, PAYLOAD, [])
