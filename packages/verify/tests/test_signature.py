# SPDX-License-Identifier: Apache-2.0
"""The public sets for signatures: the same acceptance in every language."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from clyra.spec import spec_folder
from clyra.verify._refusal import Refusal
from clyra.verify.signature import check_public_key, verify_signature

PUBLIC = spec_folder() / "vectors/public"
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")


def accepts(alg: str, spki: bytes, signature: bytes, message: bytes) -> bool:
    try:
        check_public_key(alg, spki)
        verify_signature(alg, spki, signature, message)
    except Refusal:
        return False
    return True


def test_208_of_the_914_edge_cases_of_ed25519_are_accepted() -> None:
    cases = json.loads((PUBLIC / "cctv/ed25519vectors.json").read_bytes())
    accepted = [
        case
        for case in cases
        if accepts(
            "ed25519",
            ED25519_SPKI + bytes.fromhex(case["key"]),
            bytes.fromhex(case["sig"]),
            case["msg"].encode(),
        )
    ]
    assert (len(cases), len(accepted)) == (914, 208)
    # Neither the cofactored equation nor another spelling of a point may be what let them through.
    assert not any({"low_order_residue", "non_canonical_R"} & set(case["flags"] or ()) for case in accepted)


WYCHEPROOF = {
    "ed25519_test.json": "ed25519",
    "ecdsa_secp256r1_sha256_test.json": "ecdsa-p256-sha256",
    "rsa_pss_2048_sha256_mgf1_32_test.json": "rsa-pss-sha256",
}


def wycheproof(name: str) -> list[tuple[bytes, dict[str, Any]]]:
    groups = json.loads((PUBLIC / "wycheproof" / name).read_bytes())["testGroups"]
    return [(bytes.fromhex(group["publicKeyDer"]), case) for group in groups for case in group["tests"]]


@pytest.mark.parametrize("name", WYCHEPROOF)
def test_wycheproof_has_no_wrong_verdict(name: str) -> None:
    alg = WYCHEPROOF[name]
    wrong = [
        case["tcId"]
        for spki, case in wycheproof(name)
        if case["result"] in ("valid", "invalid")
        and accepts(alg, spki, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])) != (case["result"] == "valid")
    ]
    assert len(wycheproof(name)) > 80
    assert wrong == []


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys_are_weak(bits: int) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    # A modulus of this length; nobody needs its factors to see that it is short.
    key = RSAPublicNumbers(65537, (1 << bits) - 105).public_key()
    with pytest.raises(Refusal) as caught:
        check_public_key("rsa-pss-sha256", key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert caught.value.code == "key_weak"


@pytest.mark.parametrize("alg", ["ecdsa-p256-sha256", "rsa-pss-sha256", "ed25519"])
@pytest.mark.parametrize("spki", [b"", b"\x30\x00", ED25519_SPKI + bytes(31), ED25519_SPKI + bytes(33)], ids=len)
def test_what_is_no_key_is_refused(alg: str, spki: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        check_public_key(alg, spki)
    assert caught.value.code == "trust_invalid"


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_an_ed25519_signature_has_64_bytes(size: int) -> None:
    spki = base64.b64decode("MCowBQYDK2VwAyEA") + hashlib.sha256(b"x").digest()
    assert not accepts("ed25519", spki, bytes(size), b"")
