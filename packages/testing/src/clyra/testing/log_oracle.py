# SPDX-License-Identifier: Apache-2.0
"""Recomputes a whole log from its files, sharing no code with what wrote it."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key


def naive_root(entries: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\x01" + naive_root(entries[:split]) + naive_root(entries[split:])).digest()


def verifies_inclusion(entry: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if index >= size:
        return False
    fn, sn, node = index, size - 1, sha256(b"\x00" + entry).digest()
    for sibling in path:
        if sn == 0:
            return False
        if fn % 2 or fn == sn:
            node = sha256(b"\x01" + sibling + node).digest()
            while fn and not fn % 2:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = sha256(b"\x01" + node + sibling).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == root


def verifies_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2."""
    if old == new:
        return not path and old_root == new_root
    if not path:
        return False
    nodes = [old_root, *path] if old & (old - 1) == 0 else path
    fn, sn = old - 1, new - 1
    while fn % 2:
        fn, sn = fn >> 1, sn >> 1
    first = second = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            return False
        if fn % 2 or fn == sn:
            first = sha256(b"\x01" + node + first).digest()
            second = sha256(b"\x01" + node + second).digest()
            while fn and not fn % 2:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = sha256(b"\x01" + second + node).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


def checked_leaves(folder: Path, public_key: bytes | None = None) -> list[dict[str, object]]:
    """The leaves of a log, after every tile, the root and, given a key, the signature have been recomputed.

    Args:
        folder: The log's folder.
        public_key: SubjectPublicKeyInfo in DER of the key that must have signed the checkpoint.

    Raises:
        AssertionError: Something in the folder is not what the leaves give.
    """
    origin, size_text, root, blank, signature = (folder / "checkpoint").read_text().splitlines()
    size = int(size_text)
    assert blank == ""
    if public_key is not None:
        _check_signature(origin, f"{origin}\n{size}\n{root}\n".encode(), signature, public_key)
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        data = _tile(folder, "entries", index, min(256, size - 256 * index))
        while data:
            length = int.from_bytes(data[:2], "big")
            assert len(data) >= 2 + length
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
    assert len(entries) == size
    assert b64decode(root) == naive_root(entries)
    nodes, level = [sha256(b"\x00" + entry).digest() for entry in entries], 0
    while nodes:
        for start in range(0, len(nodes), 256):
            part = nodes[start : start + 256]
            assert _tile(folder, str(level), start // 256, len(part)) == b"".join(part)
        span = 256 ** (level + 1)
        nodes = [naive_root(entries[at : at + span]) for at in range(0, size - span + 1, span)]
        level += 1
    return [json.loads(entry) for entry in entries]


def _tile(folder: Path, level: str, index: int, width: int) -> bytes:
    assert index < 1000
    name = f"{index:03d}" if width == 256 else f"{index:03d}.p/{width}"
    return (folder / "tile" / level / name).read_bytes()


def _check_signature(origin: str, text: bytes, line: str, public_key: bytes) -> None:
    key = load_der_public_key(public_key)
    assert isinstance(key, Ed25519PublicKey)
    dash, name, encoded = line.split(" ")
    assert (dash, name) == ("\u2014", origin)
    raw = b64decode(encoded)
    assert raw[:4] == sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]
    key.verify(raw[4:], text)
