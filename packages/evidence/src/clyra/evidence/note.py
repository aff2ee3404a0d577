# SPDX-License-Identifier: Apache-2.0
"""C2SP signed notes with one Ed25519 signature (algorithm 0x01): checkpoints of a log, notes of an open journal.

A note is a text of lines, an empty line, and one line per signature: an em dash, the key's name, and base64 of a
4-byte key hash followed by the signature.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from clyra.evidence.signer import Signer
from clyra.spec import ConfigurationError

_ED25519 = b"\x01"
_RAW_KEY_BYTES = 32


def sign_note(text: str, key_name: str, signer: Signer) -> bytes:
    """The signed note: ``text``, an empty line and the signature line, in UTF-8.

    Args:
        text: Lines, each ended by a line feed; no other control character.
        key_name: Names the key in the signature line; neither empty nor with white space or ``+``.
        signer: Signs the bytes of the text; must be an Ed25519 key.

    Raises:
        ConfigurationError: The key is of another kind (``key_file_invalid``) or its name cannot stand in a note.
        ValueError: The text is not one of whole lines.
    """
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise ValueError("the text of a note consists of whole lines without control characters")
    if not key_name or "+" in key_name or any(character.isspace() for character in key_name):
        raise ConfigurationError(
            f"the name of a note's key is not empty and has neither white space nor '+', found {key_name!r}"
        )
    message = text.encode()
    signature = key_hash(key_name, signer) + signer.sign(message)
    return message + f"\n\u2014 {key_name} {b64encode(signature).decode()}\n".encode()


def key_hash(key_name: str, signer: Signer) -> bytes:
    """The first 4 bytes of SHA-256(name || LF || 0x01 || raw public key), which name the key in a note.

    Raises:
        ConfigurationError: The key is not an Ed25519 key (``key_file_invalid``).
    """
    if signer.alg != "ed25519":
        raise ConfigurationError(
            f"signed notes need an ed25519 key, found {signer.alg}; configure another key", code="key_file_invalid"
        )
    # The SubjectPublicKeyInfo of an Ed25519 key ends with the raw key (RFC 8410, section 4).
    raw_key = signer.public_key[-_RAW_KEY_BYTES:]
    return sha256(key_name.encode() + b"\n" + _ED25519 + raw_key).digest()[:4]
