# SPDX-License-Identifier: Apache-2.0
"""DSSE envelopes (secure-systems-lab, v1.0) and their form as a sigstore bundle v0.3.

What is signed is the PAE of payload type and payload, at most 4,096 bytes, so that every key service can sign the
message itself.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import cast

import orjson

from clyra.evidence.canonical import canonicalize_trusted
from clyra.evidence.signer import Signer
from clyra.spec import FormatError

MAX_PAE_BYTES = 4096

_SIGSTORE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature covers (pre-authentication encoding)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def build_envelope(payload_type: str, payload: bytes, signers: Sequence[Signer]) -> bytes:
    """The canonical bytes of the envelope, with one signature per signer in their order.

    Raises:
        FormatError: The signed bytes exceed 4,096 (``limit_exceeded``).
        UnavailableError: A key cannot be used now (``key_unavailable``).
        ValueError: There is no signer.
    """
    if not signers:
        raise ValueError("an envelope has at least one signature")
    message = pae(payload_type, payload)
    if len(message) > MAX_PAE_BYTES:
        raise FormatError(
            f"the bytes to sign are {len(message)}, limit {MAX_PAE_BYTES}; shorten the run id", code="limit_exceeded"
        )
    signatures = [{"keyid": signer.keyid, "sig": b64encode(signer.sign(message)).decode()} for signer in signers]
    return canonicalize_trusted(
        {"payload": b64encode(payload).decode(), "payloadType": payload_type, "signatures": signatures}
    )


def sigstore_bundle(envelope: bytes) -> bytes:
    """The same envelope as a sigstore bundle v0.3 for a key that its reader already has; canonical bytes.

    Raises:
        ValueError: The envelope has several signatures, which that form cannot hold.
    """
    dsse = cast("dict[str, object]", orjson.loads(envelope))
    signatures = cast("list[dict[str, str]]", dsse["signatures"])
    if len(signatures) != 1:
        raise ValueError(f"a sigstore bundle holds one signature, found {len(signatures)}")
    return canonicalize_trusted(
        {
            "dsseEnvelope": dsse,
            "mediaType": _SIGSTORE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signatures[0]["keyid"]}},
        }
    )
