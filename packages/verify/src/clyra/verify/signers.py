# SPDX-License-Identifier: Apache-2.0
"""Which signatures of an envelope count (``spec/verification.md``, "Signatures", "Time" and stage ``trust``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from clyra.verify._refusal import Refusal
from clyra.verify.envelope import Envelope, EnvelopeSignature
from clyra.verify.signature import verify_signature
from clyra.verify.trust import Trust, TrustKey


class Signed(NamedTuple):
    """Signature ``number`` of the envelope verifies under this key of the trust file."""

    number: int
    key: TrustKey


class SignatureTime(NamedTuple):
    """When a signature was made: said by a timestamp authority, or claimed as ``closed_at``."""

    value: str
    source: Literal["claimed", "rfc3161"]


def verified_signatures(envelope: Envelope, trust: Trust) -> tuple[list[Signed], list[Refusal]]:
    """The signatures that verify under a key of role ``bundle``, and the faults of the others, in their order."""
    signed: list[Signed] = []
    faults: list[Refusal] = []
    for number, signature in enumerate(envelope.signatures):
        try:
            signed.append(Signed(number, signing_key(signature, envelope.pae, trust, "bundle")))
        except Refusal as fault:
            faults.append(fault)
    return signed, faults


def signing_key(signature: EnvelopeSignature, message: bytes, trust: Trust, role: str) -> TrustKey:
    """The key of the trust file that made this signature over ``message``, which must be of the role.

    Raises:
        Refusal: ``key_role``, ``signature_invalid`` or ``key_unknown``.
    """
    named = trust.keys.get(signature.keyid)
    for key in trust.keys.values() if named is None else (named,):
        try:
            verify_signature(key.alg, key.spki, signature.signature, message)
        except Refusal:
            continue
        if key.role != role:
            raise Refusal("key_role", f"the key {key.keyid} has the role {key.role}, expected the role {role}")
        return key
    if named is not None:
        raise Refusal("signature_invalid", f"the signature does not verify under {named.keyid}, the key that it names")
    raise Refusal("key_unknown", f"no key of the trust file made this signature; it names {signature.keyid[:80]!r}")


def trusted_signatures(
    signed: Iterable[Signed], times: Mapping[int, SignatureTime], manifest: Mapping[str, Any]
) -> tuple[list[Signed], list[Refusal]]:
    """The signatures whose key may sign this bundle and could at that time, and the faults of the others."""
    trusted: list[Signed] = []
    faults: list[Refusal] = []
    for signature in signed:
        try:
            check_key(signature.key, times[signature.number], manifest)
            trusted.append(signature)
        except Refusal as fault:
            faults.append(fault)
    return trusted, faults


def check_key(key: TrustKey, time: SignatureTime, manifest: Mapping[str, Any]) -> None:
    """Check that a key may sign for this bundle, and could at that time.

    Raises:
        Refusal: ``key_scope``, ``key_not_yet_valid``, ``key_expired`` or ``key_revoked``.
    """
    if key.tenants is not None and manifest["tenant"] not in key.tenants:
        raise Refusal("key_scope", f"the key {key.keyid} may not sign for the tenant {manifest['tenant']}")
    if key.specs is not None and manifest["spec"] not in key.specs:
        raise Refusal("key_scope", f"the key {key.keyid} may not sign {manifest['spec']}")
    if time.value < key.valid_from:
        raise Refusal("key_not_yet_valid", f"the key {key.keyid} is valid from {key.valid_from}, signed {time.value}")
    if key.valid_to is not None and time.value > key.valid_to:
        raise Refusal("key_expired", f"the key {key.keyid} was valid to {key.valid_to}, signed {time.value}")
    if key.revoked_at is not None and (time.source == "claimed" or time.value >= key.revoked_at):
        raise Refusal("key_revoked", f"the key {key.keyid} was revoked at {key.revoked_at}; no timestamp from before")


def require_threshold(signed: Sequence[Signed], faults: Sequence[Refusal], threshold: int) -> None:
    """Check that enough distinct keys are left.

    Raises:
        Refusal: The first fault where no key is left, else ``threshold_not_met``.
    """
    distinct = len({signature.key.keyid for signature in signed})
    if distinct >= threshold:
        return
    if distinct == 0 and faults:
        raise faults[0]
    raise Refusal("threshold_not_met", f"{distinct} distinct trusted keys signed, the trust file asks for {threshold}")


def check_policy_pin(manifest: Mapping[str, Any], trust: Trust) -> None:
    """Check that the bundle's policy is one that the trust file pins for its environment, where it pins any.

    Raises:
        Refusal: ``policy_not_pinned``.
    """
    pins = trust.document.get("policies")
    if pins is None:
        return
    policy = manifest["policy"]
    if policy is None:
        raise Refusal("policy_not_pinned", "the trust file pins policies and the bundle was made without one")
    if not any(pin["sha256"] == policy["sha256"] and policy["environment"] in pin["environments"] for pin in pins):
        raise Refusal(
            "policy_not_pinned",
            f"the policy {policy['sha256']} is not pinned for the environment {policy['environment']}",
        )


def expired_since(signers: Iterable[tuple[Signed, SignatureTime]], at: str) -> list[str]:
    """For each key that has expired since and whose time of signing is only claimed, a text that says so."""
    return [
        f"the key {signed.key.keyid} expired at {signed.key.valid_to}; that it signed before is only claimed"
        for signed, time in signers
        if time.source == "claimed" and signed.key.valid_to is not None and signed.key.valid_to < at
    ]


def not_observed(signed: Iterable[Signed], capture: str) -> list[str]:
    """For each key that may not vouch for this kind of capture, a text that says so."""
    return [
        f"the key {signature.key.keyid} does not vouch for bundles with the capture {capture}"
        for signature in signed
        if signature.key.captures is not None and capture not in signature.key.captures
    ]
