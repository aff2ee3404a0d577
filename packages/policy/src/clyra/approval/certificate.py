# SPDX-License-Identifier: Apache-2.0
"""Certificates: what a person signs, in a DSSE envelope with its own payloadType (``spec/approval/certificate.md``).

A certificate is judged at its own time: the approver's key must have been valid when it signed.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from clyra.approval._document import canonical_object, check_document
from clyra.approval.keys import KeyRow
from clyra.approval.request import ApprovalRequest, Standing
from clyra.evidence.canonical import canonicalize_integers
from clyra.evidence.envelope import build_envelope, pae
from clyra.evidence.signer import Signer
from clyra.spec import FormatError, VerificationError

SPEC = "clyra.certificate/v1"
PAYLOAD_TYPE = "application/vnd.clyra.certificate+json"
MAX_CERTIFICATE_BYTES = 64 * 1024

Kind = Literal["approval", "break_glass", "review"]

_ABOUT_REQUEST = frozenset(
    ("request_sha256", "payload_type", "payload_sha256", "payload_hash", "tree", "policy_sha256", "rules")
)
_ABOUT_BUNDLE = frozenset(("bundle_id", "manifest_sha256"))
_ALWAYS = frozenset(("spec", "kind", "method", "principal", "role", "approved_at"))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate whose signature holds; ``sha256`` is the digest of the envelope's bytes, which are kept."""

    body: Mapping[str, Any]
    keyid: str
    sha256: str
    envelope: bytes

    @property
    def kind(self) -> Kind:
        """``approval``, ``break_glass`` or ``review``."""
        kind: Kind = self.body["kind"]
        return kind

    @property
    def principal(self) -> str:
        """Who approved."""
        return str(self.body["principal"])

    @property
    def role(self) -> str:
        """In which role."""
        return str(self.body["role"])

    @property
    def approved_at(self) -> str:
        """When: an instant."""
        return str(self.body["approved_at"])

    @property
    def request_sha256(self) -> str | None:
        """Digest of the request; None in a review."""
        return self.body.get("request_sha256")

    @property
    def standing(self) -> Standing | None:
        """What a standing approval is for."""
        standing = self.body.get("standing")
        return None if standing is None else Standing(**standing)

    def is_about(self, request: ApprovalRequest) -> bool:
        """Whether every member that speaks of the request says what the request says."""
        expected = _about(request)
        return (
            self.kind != "review" and {name: self.body[name] for name in self.body if name not in _ALWAYS} == expected
        )


def certificate_for(
    request: ApprovalRequest,
    *,
    principal: str,
    role: str,
    approved_at: str,
    kind: Literal["approval", "break_glass"] = "approval",
) -> dict[str, Any]:
    """The body with which ``principal`` approves ``request``, to be signed.

    Raises:
        FormatError: A value is not what the schema says (``certificate_invalid``).
    """
    body = _about(request) | {"kind": kind, "principal": principal, "role": role, "approved_at": approved_at}
    return _checked({"spec": SPEC, "method": "key"} | body)


def review_for(*, bundle_id: str, manifest_sha256: str, principal: str, role: str, approved_at: str) -> dict[str, Any]:
    """The body with which ``principal`` says to have reviewed what was done in a break-glass, to be signed.

    Raises:
        FormatError: A value is not what the schema says (``certificate_invalid``).
    """
    body = {"bundle_id": bundle_id, "manifest_sha256": manifest_sha256, "principal": principal, "role": role}
    return _checked({"spec": SPEC, "kind": "review", "method": "key", "approved_at": approved_at} | body)


def sign_certificate(body: Mapping[str, Any], signers: Sequence[Signer]) -> bytes:
    """The canonical DSSE envelope of a body, with one signature per signer.

    Raises:
        FormatError: The body is none (``certificate_invalid``), or too long to be signed (``limit_exceeded``).
        UnavailableError: A key cannot be used now (``key_unavailable``).
    """
    return build_envelope(PAYLOAD_TYPE, canonicalize_integers(_checked(dict(body))), signers)


def read_certificate(data: bytes, approver_keys: Mapping[str, KeyRow]) -> Certificate:
    """The certificate in these bytes, signed by the key of the approver it names.

    Args:
        data: The envelope, at most 64 KiB.
        approver_keys: What `keys_of` gives for the role ``approver``.

    Raises:
        VerificationError: It is malformed, or no key of its principal signed it at a time when it was valid
            (``certificate_invalid``).
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        _refuse(f"found {len(data)} bytes, at most {MAX_CERTIFICATE_BYTES} are allowed")
    payload, signatures = _opened(data)
    body = canonical_object(payload)
    if body is None:
        _refuse("its payload is not canonical JSON")
    try:
        _checked(body)
    except FormatError as exc:
        raise VerificationError(exc.message, code="certificate_invalid") from exc
    if body["method"] != "key":
        _refuse(f"it was given by the method {body['method']}, which cannot be checked here; sign one with a key")
    keyid = _signing_key(body, pae(PAYLOAD_TYPE, payload), signatures, approver_keys)
    return Certificate(body, keyid, hashlib.sha256(data).hexdigest(), data)


def _about(request: ApprovalRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "request_sha256": request.sha256,
        "payload_type": request.payload_type,
        "payload_sha256": request.payload_sha256,
        "payload_hash": f"sha256:{request.payload_sha256}",
        "tree": request.tree,
        "policy_sha256": request.policy_sha256,
        "rules": list(request.rule_ids),
    }
    if request.standing is None:
        return body | {"run_id": request.run_id}
    return body | {"standing": {"valid_until": request.standing.valid_until, "target": request.standing.target}}


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """The body itself, if it has the members of its kind and no others."""
    check_document(body, schema="approval_certificate", code="certificate_invalid")
    members = set(body) - _ALWAYS
    if body["kind"] == "review":
        complete = members == _ABOUT_BUNDLE
    else:
        complete = members in (_ABOUT_REQUEST | {"run_id"}, _ABOUT_REQUEST | {"standing"})
    if not complete:
        raise FormatError(f"a certificate of kind {body['kind']} has other members", code="certificate_invalid")
    if body["kind"] != "review" and body["payload_hash"] != f"sha256:{body['payload_sha256']}":
        raise FormatError("payload_hash and payload_sha256 differ", code="certificate_invalid", pointer="/payload_hash")
    return body


def _opened(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    envelope = canonical_object(data)
    if envelope is None or set(envelope) != {"payload", "payloadType", "signatures"}:
        _refuse("it is not a canonical DSSE envelope")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        _refuse(f"expected the payloadType {PAYLOAD_TYPE}, this is another")
    entries = envelope["signatures"]
    if not isinstance(entries, list) or not entries:
        _refuse("it has no signature")
    signatures = []
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"keyid", "sig"} or type(entry["keyid"]) is not str:
            _refuse("a signature has other members than keyid and sig")
        signatures.append((entry["keyid"], _bytes_of(entry["sig"])))
    return _bytes_of(envelope["payload"]), signatures


def _bytes_of(text: object) -> bytes:
    try:
        data = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if not data or b64encode(data).decode("ascii") != text:
        _refuse("payload and signatures are not canonical base64")
    return data


def _signing_key(
    body: Mapping[str, Any], message: bytes, signatures: Sequence[tuple[str, bytes]], keys: Mapping[str, KeyRow]
) -> str:
    """The id of a key of the principal that signed ``message`` while it was valid."""
    from clyra.approval import _signature

    own = [(keys[keyid], signature) for keyid, signature in signatures if keyid in keys]
    own = [(key, signature) for key, signature in own if key.principal == body["principal"]]
    if not own:
        _refuse(f"no key of {body['principal']} signed it; enrol the key with clyra keys trust FILE --role approver")
    if not all(_signature.verifies(key.alg, key.public_key, signature, message) for key, signature in own):
        _refuse("a signature does not verify under the key that it names")
    faults = {key.kid: key.fault_at(body["approved_at"]) for key, _ in own}
    valid = [kid for kid, fault in faults.items() if fault is None]
    if not valid:
        _refuse(str(next(iter(faults.values()))))
    return valid[0]


def _refuse(message: str) -> NoReturn:
    raise VerificationError(f"the certificate is refused: {message}", code="certificate_invalid")
