# SPDX-License-Identifier: Apache-2.0
"""One certificate: what a person signed about a request, or about a bundle whose emergency was reviewed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical
from clyra.verify.envelope import MAX_ENVELOPE_BYTES, Envelope, parse_envelope
from clyra.verify.schema import check_schema
from clyra.verify.signers import SignatureTime, check_key, signing_key
from clyra.verify.trust import Trust

PAYLOAD_TYPE = "application/vnd.clyra.certificate+json"

_ALWAYS = frozenset({"spec", "kind", "method", "principal", "role", "approved_at"})
_ABOUT_BUNDLE = frozenset({"bundle_id", "manifest_sha256"})
_ABOUT_REQUEST = frozenset(
    {"request_sha256", "payload_type", "payload_sha256", "payload_hash", "tree", "policy_sha256", "rules"}
)


class Certificate(NamedTuple):
    """A well-formed certificate; who signed it is another question."""

    envelope: Envelope
    body: Mapping[str, Any]


def unproven(message: str) -> Refusal:
    """The one refusal of everything that is wrong with an approval."""
    return Refusal("approval_unproven", message)


def read_certificate(data: bytes) -> Certificate:
    """The certificate in these bytes: a canonical DSSE envelope of its own payload type around a canonical body.

    Raises:
        Refusal: ``approval_unproven``.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise unproven(f"a certificate of more than {MAX_ENVELOPE_BYTES} bytes")
    try:
        envelope = parse_envelope(data, PAYLOAD_TYPE)
        body = read_canonical(envelope.payload)
        check_schema("approval_certificate", body)
    except Refusal as exc:
        raise unproven(f"a certificate is malformed: {exc.message}") from exc
    certificate = Certificate(envelope, cast("Mapping[str, Any]", body))
    _check_members(certificate.body)
    return certificate


def _check_members(body: Mapping[str, Any]) -> None:
    """Check that a body has the members of its kind and no others: it is about a bundle, or about a request."""
    if body["kind"] == "review":
        possible = [_ABOUT_BUNDLE]
    else:
        possible = [_ABOUT_REQUEST | {"run_id"}, _ABOUT_REQUEST | {"standing"}]
    if body.keys() - _ALWAYS not in possible:
        raise unproven(f"a certificate of the kind {body['kind']} has other members than it should")


def check_signed(certificate: Certificate, trust: Trust, manifest: Mapping[str, Any]) -> None:
    """Check that the person whom a certificate names signed it, with a key that was good when they say they did.

    Args:
        certificate: A well-formed one.
        trust: Says which keys are approvers', and whose.
        manifest: Of the bundle, whose tenant and format the key must be for.

    Raises:
        Refusal: ``approval_unproven``.
    """
    body = certificate.body
    signed_at = SignatureTime(body["approved_at"], "claimed")
    faults = []
    for signature in certificate.envelope.signatures:
        try:
            key = signing_key(signature, certificate.envelope.pae, trust, "approver")
            check_key(key, signed_at, manifest)
        except Refusal as fault:
            faults.append(fault.message)
            continue
        if key.principal == body["principal"]:
            return
        faults.append(f"the key {key.keyid} is that of {key.principal}")
    raise unproven(f"the certificate of {body['principal']} is not signed by them: {faults[0]}")
