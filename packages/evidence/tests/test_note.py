# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clyra.evidence.note import sign_note
from clyra.evidence.signer import ephemeral_signer, load_signer
from clyra.spec import ConfigurationError

TEXT = "shop/0123\n7\nAAAA\n"


def test_a_note_is_its_text_and_one_signature_over_it() -> None:
    signer = ephemeral_signer()
    text, signature_line = sign_note(TEXT, "shop/0123", signer).decode().split("\n\n")
    assert text + "\n" == TEXT
    dash, name, encoded = signature_line.removesuffix("\n").split(" ")
    assert (dash, name) == ("—", "shop/0123")
    blob = b64decode(encoded, validate=True)
    raw_key = signer.public_key[-32:]
    assert blob[:4] == sha256(b"shop/0123\n\x01" + raw_key).digest()[:4]
    Ed25519PublicKey.from_public_bytes(raw_key).verify(blob[4:], TEXT.encode())


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\n"])
def test_a_key_name_that_cannot_stand_in_a_note_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name of a note's key"):
        sign_note(TEXT, name, ephemeral_signer())


@pytest.mark.parametrize("text", ["", "no line feed", "a\tb\n", "a\r\n"])
def test_a_text_that_is_not_of_whole_plain_lines_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole lines"):
        sign_note(text, "k", ephemeral_signer())


def test_only_ed25519_keys_sign_notes() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signer = load_signer("bundle", {"CLYRA_SIGNING_KEY": pem})
    with pytest.raises(ConfigurationError, match="need an ed25519 key"):
        sign_note(TEXT, "k", signer)
