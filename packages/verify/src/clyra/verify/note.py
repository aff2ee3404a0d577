# SPDX-License-Identifier: Apache-2.0
"""Signed notes and tree heads: C2SP signed-note and tlog-checkpoint, with Ed25519 signatures.

Checkpoints of the log and notes of an open journal have one form: three lines with a name, a size and a root.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from clyra.verify._base64 import decode_standard
from clyra.verify._refusal import Refusal
from clyra.verify.merkle import HASH_SIZE
from clyra.verify.signature import ED25519, raw_ed25519, verify_signature
from clyra.verify.trust import TrustKey

MAX_NOTE_BYTES = 64 * 1024
_SIZE = r"0|[1-9][0-9]{0,18}"
_SIGNATURE = r"\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})"
_ALGORITHM = b"\x01"


class NoteSignature(NamedTuple):
    """A signature line: the key's name, the first 4 bytes of its hash, and the signature."""

    name: str
    key_hash: bytes
    signature: bytes


class TreeHead(NamedTuple):
    """A signed statement that the tree ``origin`` had this root when it had this size."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[NoteSignature, ...]


def parse_tree_head(data: bytes) -> TreeHead:
    """The tree head in the bytes of a signed note.

    Raises:
        ValueError: It is not a note of exactly the three lines, or has no signature line.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise ValueError("a note of more than 64 KiB")
    text, blank, rest = data.decode().rpartition("\n\n")
    lines = text.split("\n")
    # The name is also a key name: no space, no plus sign.
    if not blank or len(lines) != 3 or not re.fullmatch(r"[^\x00-\x20\x7f+]+", lines[0]):
        raise ValueError("not a note of three lines")
    origin, size, root = lines
    if not re.fullmatch(_SIZE, size) or not rest.endswith("\n"):
        raise ValueError("the size is not a decimal number without leading zero, or the last line has no end")
    root_bytes = decode_standard(root)
    if len(root_bytes) != HASH_SIZE:
        raise ValueError("the root is not 32 bytes")
    signatures = tuple(_signature(line) for line in rest[:-1].split("\n"))
    return TreeHead(origin, int(size), root_bytes, (text + "\n").encode(), signatures)


def _signature(line: str) -> NoteSignature:
    match = re.fullmatch(_SIGNATURE, line)
    if match is None:
        raise ValueError("not a signature line")
    data = decode_standard(match[2])
    if len(data) <= 4:
        raise ValueError("a signature without bytes")
    return NoteSignature(match[1], data[:4], data[4:])


def signing_keys(head: TreeHead, keys: Iterable[TrustKey]) -> set[str]:
    """Key ids of those keys that signed the note under its own name.

    A signature of a key that is not among ``keys`` is passed over, as C2SP signed-note says.

    Raises:
        Refusal: ``signature_invalid``: a line names one of the keys and does not verify.
    """
    found: set[str] = set()
    for key in keys:
        if key.alg != ED25519:
            continue
        name = head.origin.encode()
        key_hash = hashlib.sha256(name + b"\n" + _ALGORITHM + raw_ed25519(key.spki)).digest()[:4]
        for line in head.signatures:
            if line.name == head.origin and line.key_hash == key_hash:
                verify_signature(key.alg, key.spki, line.signature, head.text)
                found.add(key.keyid)
    return found


def check_log_signature(head: TreeHead, keys: Iterable[TrustKey], threshold: int) -> None:
    """Check that enough of the log keys signed the checkpoint.

    Raises:
        Refusal: ``checkpoint_invalid``.
    """
    try:
        signed = len(signing_keys(head, keys))
    except Refusal as exc:
        raise Refusal("checkpoint_invalid", "a signature of the checkpoint does not verify") from exc
    if signed < threshold:
        raise Refusal("checkpoint_invalid", f"{signed} trusted log keys signed the checkpoint, {threshold} are needed")
