# SPDX-License-Identifier: Apache-2.0
"""The proof that the log has a bundle: C2SP tlog-proof, detached (``spec/verification.md``, "Log proof")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from clyra.verify._base64 import decode_standard
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import canonical_bytes
from clyra.verify.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from clyra.verify.note import MAX_NOTE_BYTES, TreeHead, check_log_signature, parse_tree_head
from clyra.verify.trust import Trust

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES
_INDEX = r"index (0|[1-9][0-9]{0,18})"


class LogEntry(NamedTuple):
    """Where a log of this origin and size has a bundle; positions count from 0."""

    origin: str
    position: int
    size: int


def verify_log_proof(data: bytes, manifest: Mapping[str, Any], manifest_sha256: str, trust: Trust | None) -> LogEntry:
    """Check that the log holds the sealed leaf of this bundle.

    Args:
        data: A detached proof, C2SP tlog-proof.
        manifest: The bundle's checked manifest.
        manifest_sha256: Its digest, lower-case hex.
        trust: Without it the checkpoint's signature is not evaluated.

    Raises:
        Refusal: ``proof_shape``, ``checkpoint_invalid`` or ``proof_root``.
    """
    index, hashes, note = _parse(data)
    try:
        head = parse_tree_head(note)
    except ValueError as exc:
        raise Refusal("checkpoint_invalid", f"the proof's checkpoint is malformed: {exc}") from exc
    leaf = leaf_hash(bundle_leaf(manifest, manifest_sha256))
    try:
        verify_inclusion(leaf, index, head.size, hashes, head.root)
    except Refusal as exc:
        # A proof that leads elsewhere is told only after the checkpoint: its root may be anybody's.
        if exc.code == "proof_root":
            _check_signature(head, trust)
        raise
    _check_signature(head, trust)
    return LogEntry(head.origin, index, head.size)


def bundle_leaf(manifest: Mapping[str, Any], manifest_sha256: str | None) -> bytes:
    """The log's leaf of a bundle (``spec/log.md``)."""
    return canonical_bytes(
        {
            "tenant": manifest["tenant"],
            "run_id": manifest["run"]["run_id"],
            "part": manifest["run"]["part"],
            "bundle_id": manifest["bundle_id"],
            "manifest_sha256": manifest_sha256,
        }
    )


def _check_signature(head: TreeHead, trust: Trust | None) -> None:
    if trust is not None:
        check_log_signature(head, trust.log_keys(head.origin), trust.threshold("log"))


def _parse(data: bytes) -> tuple[int, list[bytes], bytes]:
    head, blank, note = data.partition(b"\n\n")
    try:
        if len(data) > MAX_PROOF_BYTES:
            raise ValueError("a proof of more than 128 KiB")
        lines = head.decode("ascii").split("\n")
        if not blank or lines.pop(0) != HEADER:
            raise ValueError(f"the first line is not {HEADER}")
        if lines and lines[0].startswith("extra "):
            decode_standard(lines.pop(0).removeprefix("extra "))
        match = re.fullmatch(_INDEX, lines.pop(0)) if lines else None
        if match is None:
            raise ValueError("no index")
        return int(match[1]), [decode_hash(line) for line in lines], note
    except ValueError as exc:
        raise Refusal("proof_shape", f"not a C2SP tlog-proof: {exc}") from exc


def decode_hash(text: object) -> bytes:
    """The 32 bytes of a hash in standard base64.

    Raises:
        ValueError: It is something else.
    """
    if type(text) is not str:
        raise ValueError("a hash is not text")
    data = decode_standard(text)
    if len(data) != HASH_SIZE:
        raise ValueError("a hash is not 32 bytes")
    return data
