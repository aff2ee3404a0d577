# SPDX-License-Identifier: Apache-2.0
"""securesystemslib and in-toto-attestation lead from a key to the manifest of a sealed bundle, without our code."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from google.protobuf import json_format  # type: ignore[import-untyped]
from in_toto_attestation.v1 import statement_pb2  # type: ignore[import-untyped]
from in_toto_attestation.v1.statement import Statement  # type: ignore[import-untyped]
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # it lists no __all__

Sealed = Any  # the class in conftest.py, which tests cannot import


def their_key(sealed: Sealed) -> SSlibKey:
    return SSlibKey.from_crypto(load_der_public_key(sealed.signer.public_key), keyid=sealed.signer.keyid)


def test_the_signed_payload_is_a_valid_statement_about_the_manifest(sealed: Sealed) -> None:
    envelope = Envelope.from_dict(json.loads(sealed.entries["attestations/manifest.dsse.json"]))
    assert list(envelope.verify([their_key(sealed)], 1)) == [sealed.signer.keyid]
    parsed = json_format.Parse(envelope.payload, statement_pb2.Statement())
    statement = Statement.copy_from_pb(parsed)
    statement.validate()
    (subject,) = statement.pb.subject
    assert subject.name == "manifest.json"
    assert dict(subject.digest) == {"sha256": sha256(sealed.entries["manifest.json"]).hexdigest()}


def test_a_changed_payload_does_not_verify(sealed: Sealed) -> None:
    envelope = Envelope.from_dict(json.loads(sealed.entries["attestations/manifest.dsse.json"]))
    envelope.payload = envelope.payload.replace(b"manifest.json", b"manifesT.json")
    with pytest.raises(VerificationError):
        envelope.verify([their_key(sealed)], 1)
