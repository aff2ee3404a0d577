# SPDX-License-Identifier: Apache-2.0
"""Certificates: made, signed, read, and refused whatever is wrong with them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clyra.approval.certificate import (
    MAX_CERTIFICATE_BYTES,
    PAYLOAD_TYPE,
    certificate_for,
    read_certificate,
    review_for,
    sign_certificate,
)
from clyra.approval.keys import instant_of
from clyra.approval.request import ApprovalRequest
from clyra.evidence.canonical import canonicalize
from clyra.evidence.envelope import build_envelope
from clyra.evidence.signer import Signer, ephemeral_signer, load_signer
from clyra.spec import FormatError, VerificationError
from clyra.verify.envelope import parse_envelope

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World


def body_of(world: World, request: ApprovalRequest | None = None, **changes: Any) -> dict[str, Any]:
    plain = certificate_for(
        request or world.request(),
        principal=world.BEN,
        role="approver",
        approved_at=instant_of(world.NOW_S - 600),
    )
    return {name: value for name, value in (plain | changes).items() if value is not ...}


def forged(world: World, body: Any, signer: Signer | None = None, kind: str = PAYLOAD_TYPE) -> bytes:
    """An envelope around whatever body, signed by Ben."""
    payload = body if isinstance(body, bytes) else canonicalize(body)
    return build_envelope(kind, payload, [signer or world.key(world.BEN)])


def refused(world: World, data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        read_certificate(data, world.approver_keys)
    assert caught.value.code == "certificate_invalid"
    return caught.value.message


def test_what_a_person_signs_is_what_is_read(world: World) -> None:
    request = world.request()
    certificate = world.approve(request)
    assert (certificate.kind, certificate.principal, certificate.role) == ("approval", world.BEN, "approver")
    assert certificate.approved_at == "2026-01-31T08:50:00.000000Z"
    assert certificate.request_sha256 == request.sha256
    assert certificate.keyid == world.key(world.BEN).keyid
    assert certificate.is_about(request)
    assert not certificate.is_about(world.request(decision="decision-2"))


def test_a_certificate_is_an_envelope_that_verifiers_of_bundles_can_open(world: World) -> None:
    certificate = world.approve(world.request())
    envelope = parse_envelope(certificate.envelope, PAYLOAD_TYPE)
    assert json.loads(envelope.payload) == certificate.body


def test_a_standing_certificate_says_until_when_and_for_which_target(world: World) -> None:
    certificate = world.approve(world.standing())
    assert certificate.standing is not None
    assert certificate.standing.target == "prod"
    assert "run_id" not in certificate.body


def test_a_review_is_about_a_bundle_and_about_no_request(world: World) -> None:
    body = review_for(
        bundle_id="019c1328-3fa0-7e01-8a10-0123456789ab",
        manifest_sha256="a" * 64,
        principal=world.CAROL,
        role="approver",
        approved_at=instant_of(world.NOW_S),
    )
    signer = world.key(world.CAROL)
    review = read_certificate(sign_certificate(body, [signer]), world.approver_keys)
    assert review.kind == "review"
    assert review.request_sha256 is None
    assert not review.is_about(world.request())


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_approvers_may_have_other_kinds_of_keys(world: World, kind: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    world.people[world.BEN] = load_signer("approver", {"CLYRA_APPROVER_KEY": pem})
    assert world.approve(world.request()).principal == world.BEN


def test_several_may_sign_one_envelope_and_it_is_still_the_principals(world: World) -> None:
    ben, carol = world.key(world.BEN), world.key(world.CAROL)
    data = sign_certificate(body_of(world), [carol, ben])
    assert read_certificate(data, world.approver_keys).keyid == ben.keyid


def test_an_approver_without_a_principal_is_named_by_the_key(world: World) -> None:
    signer = ephemeral_signer()
    world.people[f"key:{signer.keyid}"] = signer
    trust = world.trust
    del trust["keys"][1]["principal"]
    assert world.approve(world.request(), f"key:{signer.keyid}").principal == f"key:{signer.keyid}"


def test_a_strangers_signature_is_none(world: World) -> None:
    world.key(world.BEN)
    assert "no key of" in refused(world, forged(world, body_of(world), ephemeral_signer()))


def test_a_persons_signature_under_another_name_is_none(world: World) -> None:
    assert "no key of" in refused(world, forged(world, body_of(world, principal=world.CAROL)))


def test_an_issuers_or_bundles_key_approves_nothing(world: World) -> None:
    world.key(world.BEN)
    principal = f"key:{world.issuer.keyid}"
    assert "no key of" in refused(world, forged(world, body_of(world, principal=principal), world.issuer))


def test_a_key_approves_only_while_it_is_valid(world: World) -> None:
    early = body_of(world, approved_at="2025-12-31T23:59:59.999999Z")
    assert "not valid before" in refused(world, forged(world, early))
    data = forged(world, body_of(world))
    world.revoked_people = frozenset((world.BEN,))
    assert "revoked" in refused(world, data)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": "clyra.certificate/v2"},
        {"kind": "denial"},
        {"method": "oidc"},
        {"principal": "ben@acme.example"},
        {"role": "Approver"},
        {"approved_at": "2026-01-31T08:50:00Z"},
        {"request_sha256": ...},
        {"request_sha256": "A" * 64},
        {"payload_hash": "sha256:" + "0" * 64},
        {"payload_hash": ...},
        {"tree": ...},
        {"rules": []},
        {"rules": ["x_a", "x_a"]},
        {"run_id": ...},
        {"standing": {"target": "prod", "valid_until": "2026-02-01T00:00:00.000000Z"}},
        {"bundle_id": "019c1328-3fa0-7e01-8a10-0123456789ab"},
        {"kind": "review"},
        {"comment": "fine with me"},
    ],
    ids=str,
)
def test_a_body_with_a_fault_is_refused_though_it_is_signed(world: World, changes: dict[str, Any]) -> None:
    refused(world, forged(world, body_of(world, **changes)))


@pytest.mark.parametrize(
    "kind",
    ["application/vnd.in-toto+json", "application/vnd.clyra.certificate+JSON", "", "application/vnd.clyra.trust+json"],
)
def test_another_payload_type_is_no_certificate(world: World, kind: str) -> None:
    refused(world, forged(world, body_of(world), kind=kind))


def test_another_payload_type_written_over_a_good_signature_is_no_certificate(world: World) -> None:
    document = json.loads(forged(world, body_of(world)))
    refused(world, canonicalize({**document, "payloadType": "application/vnd.in-toto+json"}))


def test_a_certificate_has_64_kib_at_most(world: World) -> None:
    document = json.loads(forged(world, body_of(world)))
    foreign = {"keyid": "0" * 64, "sig": document["signatures"][0]["sig"]}
    most = next(
        count
        for count in range(1000, 0, -1)
        if len(canonicalize({**document, "signatures": [*document["signatures"], *[foreign] * count]}))
        <= MAX_CERTIFICATE_BYTES
    )
    large = canonicalize({**document, "signatures": [*document["signatures"], *[foreign] * most]})
    assert read_certificate(large, world.approver_keys).principal == world.BEN
    refused(world, canonicalize({**document, "signatures": [*document["signatures"], *[foreign] * (most + 1)]}))


def test_a_signature_has_one_spelling(world: World) -> None:
    document = json.loads(forged(world, body_of(world)))
    good = document["signatures"][0]
    # 64 bytes end in a character of which four bits are unused.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(good["sig"][-3]) | 1]
    respelled = good["sig"][:-3] + last + "=="
    assert b64decode(respelled) == b64decode(good["sig"])
    assert respelled != good["sig"]
    refused(world, canonicalize({**document, "signatures": [{**good, "sig": respelled}]}))


def test_a_payload_that_is_not_canonical_is_refused_though_it_is_signed(world: World) -> None:
    plain = canonicalize(body_of(world))
    for payload in (
        plain + b" ",
        plain.replace(b":", b": ", 1),
        b"[]",
        b"",
        b"\xff",
        plain.replace(b"{", b'{"kind":"a",', 1),
    ):
        refused(world, forged(world, payload))


def test_an_envelope_that_is_not_exactly_one_is_refused(world: World) -> None:
    good = forged(world, body_of(world))
    document = json.loads(good)
    signature = document["signatures"][0]
    for changed in (
        {**document, "signatures": []},
        {**document, "signatures": None},
        {**document, "extra": 1},
        {**document, "signatures": [{**signature, "alg": "none"}]},
        {**document, "signatures": [{"sig": signature["sig"]}]},
        {**document, "signatures": [signature["sig"]]},
        {**document, "signatures": [{**signature, "keyid": None}]},
        {**document, "signatures": [{**signature, "sig": signature["sig"].rstrip("=")}]},
        {**document, "payload": urlsafe_b64encode(b"\xff" * 30).decode()},
        {**document, "payload": document["payload"] + "\n"},
        {**document, "payload": ""},
        {name: document[name] for name in ("payload", "payloadType")},
    ):
        refused(world, canonicalize(changed))
    for data in (
        b"",
        b"{}",
        b"null",
        good + b"\n",
        good[:-1],
        good.decode().encode("utf-16"),
        b" " * MAX_CERTIFICATE_BYTES,
    ):
        refused(world, data)
    refused(world, good + b" " * MAX_CERTIFICATE_BYTES)


def test_a_flipped_bit_anywhere_in_payload_or_signature_is_refused(world: World) -> None:
    document = json.loads(forged(world, body_of(world)))
    payload, signature = b64decode(document["payload"]), b64decode(document["signatures"][0]["sig"])
    for position in range(len(payload)):
        changed = bytearray(payload)
        changed[position] ^= 1
        refused(world, canonicalize({**document, "payload": b64encode(changed).decode()}))
    for position in range(len(signature)):
        changed = bytearray(signature)
        changed[position] ^= 1
        entry = {**document["signatures"][0], "sig": b64encode(changed).decode()}
        refused(world, canonicalize({**document, "signatures": [entry]}))


def test_a_wrong_signature_is_refused_even_beside_a_good_one(world: World) -> None:
    document = json.loads(forged(world, body_of(world)))
    good = document["signatures"][0]
    wrong = {**good, "sig": b64encode(bytes(64)).decode()}
    for signatures in ([good, wrong], [wrong, good]):
        refused(world, canonicalize({**document, "signatures": signatures}))
    foreign = {"keyid": "0" * 64, "sig": good["sig"]}
    data = canonicalize({**document, "signatures": [foreign, good]})
    assert read_certificate(data, world.approver_keys).principal == world.BEN


def test_what_cannot_be_signed_says_so(world: World) -> None:
    with pytest.raises(FormatError) as caught:
        sign_certificate(body_of(world, role="Approver"), [world.key(world.BEN)])
    assert caught.value.code == "certificate_invalid"
    with pytest.raises(FormatError) as caught:
        certificate_for(world.request(), principal="ben@acme.example", role="approver", approved_at=instant_of(0))
    assert caught.value.pointer == "/principal"
