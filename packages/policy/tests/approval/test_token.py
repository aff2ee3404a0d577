# SPDX-License-Identifier: Apache-2.0
"""Tokens against other readers, and against every change of a byte."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.approval import _signature
from clyra.approval.errors import ApprovalRefused
from clyra.approval.jws import MAX_TOKEN_BYTES
from clyra.approval.token import covers, encode_token, token_id
from clyra.evidence.signer import Signer, load_signer
from clyra.spec import ConfigurationError, spec_folder
from clyra.verify.signature import verify_signature

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World

PUBLIC = spec_folder() / "vectors/public"
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")


def issuer_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Signer:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return load_signer("issuer", {"CLYRA_ISSUER_KEY": pem})


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def read_by_pyjwt(world: World, token: str) -> dict[str, Any]:
    key = load_der_public_key(world.issuer.public_key)
    claims: dict[str, Any] = jwt.decode(
        token,
        key,  # type: ignore[arg-type]  # any of the public keys of cryptography
        algorithms=["EdDSA", "RS256"],
        audience="dbt:jaffle_shop/prod",
        issuer="clyra",
        options={"require": ["exp", "iat", "jti", "sub"], "verify_exp": False, "verify_iat": False},
    )
    return claims


def test_a_token_of_ed25519_verifies_with_pyjwt(world: World) -> None:
    minted = world.mint(world.request(), [world.approve(world.request())])
    assert read_by_pyjwt(world, minted.token) == minted.claims
    assert world.check(minted.token).claims == minted.claims


def test_a_token_of_rs256_verifies_with_pyjwt(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    world.issuer = issuer_of(rsa_key)
    assert world.issuer.alg == "rsa-pkcs1-sha256"
    minted = world.mint(world.request(), [world.approve(world.request())])
    assert read_by_pyjwt(world, minted.token) == minted.claims
    assert world.check(minted.token).claims == minted.claims


def test_a_token_that_pyjwt_makes_is_accepted_if_it_is_of_our_form(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    world.issuer = issuer_of(rsa_key)
    minted = world.mint(world.request(), [world.approve(world.request())])
    headers = {"kid": world.issuer.keyid, "typ": "clyra-approval+jwt"}
    theirs = jwt.encode(dict(minted.claims), rsa_key, algorithm="RS256", headers=headers)
    assert world.check(theirs).jti == minted.jti
    with pytest.raises(ApprovalRefused) as caught:
        world.check(jwt.encode(dict(minted.claims), rsa_key, algorithm="PS256", headers=headers))
    assert caught.value.code == "approval_alg"


def test_every_single_changed_character_is_refused(world: World) -> None:
    token = world.mint(world.request(), [world.approve(world.request())]).token
    world.check(token)
    alphabet = string.ascii_letters + string.digits + "-_"
    for position, char in enumerate(token):
        # The neighbour in the alphabet differs in the lowest bit, the one that lenient readers drop.
        near = alphabet[alphabet.index(char) ^ 1] if char in alphabet else "A"
        for other in {near, "A" if char != "A" else "B", ".", "="} - {char}:
            with pytest.raises(ApprovalRefused):
                world.check(token[:position] + other + token[position + 1 :])


def test_every_shortened_token_is_refused(world: World) -> None:
    token = world.mint(world.request(), [world.approve(world.request())]).token
    for end in range(len(token)):
        with pytest.raises(ApprovalRefused):
            world.check(token[:end])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_bytes_in_any_place_are_refused(minted: tuple[World, bytes], data: st.DataObject) -> None:
    world, token = minted
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 6)))
    put = data.draw(st.binary(max_size=6))
    changed = token[:start] + put + token[end:]
    if changed == token:
        return
    with pytest.raises(ApprovalRefused):
        world.check(changed)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_what_is_no_token_is_refused_with_a_code(minted: tuple[World, bytes], text: bytes | str) -> None:
    world, _ = minted
    with pytest.raises(ApprovalRefused) as caught:
        world.check(text)
    assert caught.value.code in ("approval_parts", "approval_encoding", "approval_header")


def test_ed25519_signatures_are_accepted_exactly_where_the_verifier_accepts_them() -> None:
    cases = json.loads((PUBLIC / "cctv/ed25519vectors.json").read_bytes())
    triples = [
        (ED25519_SPKI + bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode()) for case in cases
    ]
    groups = json.loads((PUBLIC / "wycheproof/ed25519_test.json").read_bytes())["testGroups"]
    triples += [
        (bytes.fromhex(group["publicKeyDer"]), bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
        for group in groups
        for case in group["tests"]
    ]
    ours = [_signature.verifies("EdDSA", *triple) for triple in triples]
    assert ours == [accepted_by_the_verifier(*triple) for triple in triples]
    assert sum(ours[: len(cases)]) == 208
    assert len(triples) > 1000


def accepted_by_the_verifier(spki: bytes, signature: bytes, message: bytes) -> bool:
    try:
        verify_signature("ed25519", spki, signature, message)
    except Exception as refusal:
        if getattr(refusal, "code", None) != "signature_invalid":
            raise
        return False
    return True


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_keys_of_an_issuer_have_2048_to_4096_bits(world: World, bits: int) -> None:
    world.issuer = issuer_of(rsa.generate_private_key(65537, bits))
    assert world.check(world.mint(world.request(), [world.approve(world.request())]).token).keyid == world.issuer.keyid


def test_a_longer_rsa_key_mints_nothing() -> None:
    with pytest.raises(ConfigurationError, match="too long"):
        issuer_of(rsa.generate_private_key(65537, 4104))


def test_a_curve_key_mints_nothing() -> None:
    with pytest.raises(ConfigurationError, match="issuer key must be an ed25519 or RSA key"):
        issuer_of(ec.generate_private_key(ec.SECP256R1()))


def test_the_same_rsa_key_signs_bundles_as_before(rsa_key: rsa.RSAPrivateKey) -> None:
    pem = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert load_signer("bundle", {"CLYRA_SIGNING_KEY": pem}).alg == "rsa-pss-sha256"


def test_a_key_that_signs_bundles_with_pss_makes_no_token(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    pem = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ConfigurationError, match="expected ed25519 or RSA"):
        encode_token({"v": 1}, load_signer("bundle", {"CLYRA_SIGNING_KEY": pem}))


def test_no_token_is_longer_than_its_readers_take(world: World) -> None:
    long = tuple(f"analytics.{'x' * 110}{number:02}" for number in range(64))
    request = world.request(resources=long)
    with pytest.raises(ApprovalRefused) as caught:
        world.mint(request, [world.approve(request)])
    assert caught.value.code == "approval_size"
    few = world.request(resources=long[:20])
    assert len(world.mint(few, [world.approve(few)]).token) < MAX_TOKEN_BYTES


@pytest.mark.parametrize(("persons", "most"), [(1, 1550), (2, 1800), (8, 3200)])
def test_tokens_stay_as_small_as_they_are_said_to_be(world: World, persons: int, most: int) -> None:
    request = world.request(quorum=persons)
    certificates = [world.approve(request, f"oidc:https://sso.acme.example:p{n}") for n in range(persons)]
    assert len(world.mint(request, certificates).token) <= most


def test_a_log_shows_sixteen_digits_of_a_token_and_never_the_token(world: World) -> None:
    minted = world.mint(world.request(), [world.approve(world.request())])
    assert world.check(minted.token).token_id == minted.token_id == token_id(minted.token.encode())
    assert len(minted.token_id) == 16
    assert minted.token not in repr(minted)


@pytest.mark.parametrize(
    ("resource", "name", "covered"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", True),
        ("a.*", "ab.x", False),
        ("a.*", "a.", False),
        ("a.*", "a", False),
        ("a.b", "A.B", False),
    ],
)
def test_a_resource_covers_itself_and_a_trailing_star_what_is_below(resource: str, name: str, covered: bool) -> None:
    assert covers(["other", resource], name) is covered
    assert not covers([], name)
