# SPDX-License-Identifier: Apache-2.0
"""C2SP signed notes."""

import hashlib
from collections.abc import Sequence

from forge.keys import TestKey, b64


def note_text(lines: Sequence[str | bytes]) -> bytes:
    """Return a note's text; bytes among the lines are written as base64."""
    return "".join((b64(line) if isinstance(line, bytes) else line) + "\n" for line in lines).encode()


def key_hash(name: str, key: TestKey) -> bytes:
    """Return the four bytes that name an Ed25519 key in a note signature."""
    return hashlib.sha256(name.encode() + b"\n\x01" + key.raw_public).digest()[:4]


def signature_line(text: bytes, name: str, key: TestKey, *, hint: bytes | None = None) -> bytes:
    """Return the signature line of ``key`` under ``text``."""
    signature = (key_hash(name, key) if hint is None else hint) + key.sign(text)
    return f"\u2014 {name} {b64(signature)}\n".encode()


def signed_note(lines: Sequence[str | bytes], name: str, key: TestKey) -> bytes:
    """Return a note of these lines with one signature."""
    text = note_text(lines)
    return text + b"\n" + signature_line(text, name, key)
