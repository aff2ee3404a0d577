# SPDX-License-Identifier: Apache-2.0
"""The vectors of tokens are as generated, and their forgeries are real: a careless reader would take them."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

VECTORS = Path(__file__).resolve().parent


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clyra_token_vectors", VECTORS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
from forge import ed25519  # noqa: E402  (the generator puts the toolkit on the path)
from forge.keys import TestKey  # noqa: E402
from forge.suites.token_order import FAULTS, ORDER  # noqa: E402
from forge.token import APPROVAL, RESUME, TokenCase  # noqa: E402
from forge.trust import ISSUER, RSA_ISSUER  # noqa: E402


@cache
def cases() -> dict[str, TokenCase]:
    return {case.id: case for case in generate.vectors("approval").values()}


def parts(case: TokenCase) -> tuple[bytes, bytes]:
    """The signed bytes and the signature of a token."""
    message, _, signature = case.input.rpartition(".")
    return message.encode(), base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))


def test_generated_files_are_what_their_generator_says() -> None:
    assert generate.differences("approval") == []


def test_ids_and_names_are_those_of_no_other_vector() -> None:
    paths = [path for suite in generate.FOLDERS for path in generate.vectors(suite)]
    ids = [case.id.lower() for suite in generate.FOLDERS for case in generate.vectors(suite).values()]
    assert len(set(ids)) == len(ids)
    assert len({path.name.lower() for path in paths}) == len(paths)


def test_no_two_vectors_ask_the_same() -> None:
    seen: dict[str, str] = {}
    for case in cases().values():
        asked = json.dumps([case.spec, case.input, case.document()["args"]], sort_keys=True)
        assert asked not in seen, f"{case.id} asks what {seen[asked]} asks"
        seen[asked] = case.id


def test_the_order_is_that_of_errors_md() -> None:
    section = (VECTORS.parent / "errors.md").read_text("utf-8").split("## Approval tokens", 1)[1].split("\n## ", 1)[0]
    listed = [line.split("`")[1].removeprefix("approval_") for line in section.splitlines() if line.startswith("| `")]
    assert tuple(listed[: len(ORDER)]) == ORDER == tuple(reversed(FAULTS))
    assert listed[len(ORDER) :] == ["single_use", "guard_absent"]


def test_every_word_of_the_order_has_a_vector_of_its_own_and_one_in_the_order() -> None:
    for word in ORDER:
        found = [case.id for case in cases().values() if case.expect == f"approval_{word}" and case.spec == APPROVAL]
        assert len(found) >= 2, word
        assert any(id.startswith("TO") for id in found), word


@pytest.mark.parametrize("spec", [APPROVAL, RESUME])
def test_something_is_accepted_too(spec: str) -> None:
    assert sum(case.expect == "valid" for case in cases().values() if case.spec == spec) >= 5


def test_the_identity_as_a_key_verifies_any_message() -> None:
    case = cases()["TK110"]
    message, signature = parts(case)
    key = load_der_public_key(base64.b64decode(case.keys[0]["public_key"]))
    key.verify(signature, message)  # type: ignore[union-attr, call-arg]


def test_the_forged_cube_looks_like_a_signature_to_who_does_not_read_to_its_end() -> None:
    message, signature = parts(cases()["TK106"])
    cube = TestKey("cube issuer", "rsa-pss-sha256", exponent=3)
    block = pow(int.from_bytes(signature), 3, _modulus(cube)).to_bytes(256)
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    assert block.startswith(b"\x00\x01" + b"\xff" * 8 + b"\x00" + info)


def test_the_signature_above_the_modulus_is_good_modulo_the_modulus() -> None:
    message, signature = parts(cases()["TS70"])
    number, modulus = int.from_bytes(signature), _modulus(RSA_ISSUER)
    assert number >= modulus
    assert len(signature) == 256
    assert (number % modulus).to_bytes(256) == RSA_ISSUER.sign_pkcs1(message)


def test_s_beyond_the_order_satisfies_the_equation() -> None:
    (case,) = (case for case in cases().values() if case.description == "Ed25519: S + L")
    message, signature = parts(case)
    assert int.from_bytes(signature[32:], "little") >= ed25519.L
    assert ed25519.verifies(ISSUER.raw_public, signature, message)


def test_r_of_mixed_order_satisfies_the_cofactored_equation_alone() -> None:
    (case,) = (case for case in cases().values() if case.description == "Ed25519: R of mixed order")
    message, signature = parts(case)
    assert ed25519.verifies(ISSUER.raw_public, signature, message, cofactor=8)
    assert not ed25519.verifies(ISSUER.raw_public, signature, message)


def test_forged_blocks_of_pkcs1_hold_the_digest_of_the_message() -> None:
    for case in cases().values():
        if case.description.startswith("RS256: bytes behind the digest") or "garbage" in case.description:
            message, signature = parts(case)
            block = pow(int.from_bytes(signature), 65537, _modulus(RSA_ISSUER)).to_bytes(256)
            assert block.startswith(b"\x00\x01\xff\xff")
            assert hashlib.sha256(message).digest() in block, case.id


def test_what_a_lenient_json_reader_takes_is_refused_as_encoding() -> None:
    taken = 0
    for case in cases().values():
        if case.id.startswith("TJ") and case.expect == "approval_encoding":
            header, claims, _ = case.input.split(".")
            taken += all(_is_taken(part) for part in (header, claims))
    # Names twice, NaN, fractions, exponents, great integers, lone surrogates, NUL, depth: Python's reader takes them.
    assert taken >= 20


def _is_taken(part: str) -> bool:
    try:
        value: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def test_signatures_of_faults_in_claims_are_good() -> None:
    for case in cases().values():
        if case.id[:2] in ("TC", "TM", "TJ") and case.input.count(".") == 2:
            message, signature = parts(case)
            assert signature == ISSUER.sign(message), case.id


def _modulus(key: TestKey) -> int:
    numbers = load_der_public_key(key.spki).public_numbers()  # type: ignore[union-attr]
    modulus: int = numbers.n
    return modulus
