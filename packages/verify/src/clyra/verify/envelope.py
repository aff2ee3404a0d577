# SPDX-License-Identifier: Apache-2.0
"""The DSSE envelope of a bundle and its copy as a sigstore bundle (``spec/def/def_v0.md``)."""

from __future__ import annotations

from typing import Any, NamedTuple

from clyra.verify._base64 import decode_either
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 64 * 1024
MAX_PAE_BYTES = 4096
SIGSTORE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class EnvelopeSignature(NamedTuple):
    """A signature of the envelope; ``keyid`` is a hint and nothing more."""

    keyid: str
    signature: bytes


class Envelope(NamedTuple):
    """What was signed, the bytes that the signatures are over, and the signatures."""

    payload: bytes
    pae: bytes
    signatures: tuple[EnvelopeSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(data: bytes, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """The envelope in these bytes, of which there are at most ``MAX_ENVELOPE_BYTES``.

    Raises:
        Refusal: ``limit_exceeded``, ``envelope_invalid`` or ``payload_type``.
    """
    try:
        document: Any = read_canonical(data)
        kind, payload, signatures = _members(document)
    except (Refusal, ValueError) as exc:
        raise Refusal("envelope_invalid", "the envelope is not a canonical DSSE envelope with a signature") from exc
    if kind != payload_type:
        raise Refusal("payload_type", f"the envelope signs {kind!r}, expected {payload_type!r}")
    signed = pae(kind, payload)
    if len(signed) > MAX_PAE_BYTES:
        raise Refusal("limit_exceeded", f"{len(signed)} signed bytes, at most {MAX_PAE_BYTES} are allowed")
    return Envelope(payload, signed, signatures)


def check_sigstore(data: bytes, envelope: Envelope) -> None:
    """Check that the sigstore bundle v0.3 in these bytes holds the same payload and signatures.

    Raises:
        Refusal: ``attestation_mismatch``.
    """
    try:
        document: Any = read_canonical(data)
        _expect(document, "dsseEnvelope", "mediaType", "verificationMaterial")
        _expect(document["verificationMaterial"], "publicKey")
        _expect(document["verificationMaterial"]["publicKey"], "hint")
        kind, payload, signatures = _members(document["dsseEnvelope"])
        hint = document["verificationMaterial"]["publicKey"]["hint"]
        same = document["mediaType"] == SIGSTORE_MEDIA_TYPE and type(hint) is str and kind == PAYLOAD_TYPE
    except (Refusal, ValueError) as exc:
        raise Refusal("attestation_mismatch", "manifest.sigstore.json is not a sigstore bundle v0.3") from exc
    if not same or payload != envelope.payload or signatures != envelope.signatures:
        raise Refusal("attestation_mismatch", "manifest.sigstore.json holds another envelope than manifest.dsse.json")


def _members(document: Any) -> tuple[str, bytes, tuple[EnvelopeSignature, ...]]:
    _expect(document, "payload", "payloadType", "signatures")
    if type(document["signatures"]) is not list or not document["signatures"]:
        raise ValueError("no signatures")
    for entry in document["signatures"]:
        _expect(entry, "keyid", "sig")
    kind = _text(document["payloadType"])
    signatures = tuple(
        EnvelopeSignature(_text(entry["keyid"]), decode_either(_text(entry["sig"]))) for entry in document["signatures"]
    )
    return kind, decode_either(_text(document["payload"])), signatures


def _expect(document: Any, *members: str) -> None:
    if type(document) is not dict or set(document) != set(members):
        raise ValueError(f"expected the members {', '.join(members)}")


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("expected text")
    return value
