# SPDX-License-Identifier: Apache-2.0
"""The texts of a log: checkpoints (C2SP tlog-checkpoint) and detached proofs (C2SP tlog-proof)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from clyra.spec import ProofError

_HEADER = "c2sp.org/tlog-proof@v1"
_HEAD = re.compile(rb"(?P<origin>[^\x00-\x20\x7f+]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says; who signed it is not looked at here.

    Attributes:
        origin: Which log: ``<project>/<log id>``.
        size: Number of leaves.
        root: Root of their tree, 32 bytes.
        signed: The whole signed note.
    """

    origin: str
    size: int
    root: bytes
    signed: bytes


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that is signed as a checkpoint: three lines."""
    return f"{origin}\n{size}\n{b64encode(root).decode()}\n"


def read_checkpoint(signed: bytes) -> Checkpoint:
    """The checkpoint in a signed note, without a look at the signatures.

    Raises:
        ProofError: The text is not origin, size and root (``checkpoint_invalid``).
    """
    head = _HEAD.match(signed)
    if head is None:
        raise _not_a_checkpoint()
    try:
        origin = head["origin"].decode()
    except UnicodeDecodeError as exc:
        raise _not_a_checkpoint() from exc
    return Checkpoint(origin, int(head["size"]), b64decode(head["root"]), signed)


def format_proof(index: int, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The proof that a leaf is in the tree of a checkpoint, as a file ``.tlog-proof`` holds it.

    Args:
        index: Number of the leaf.
        path: Hashes from the leaf's sibling upward.
        checkpoint: The signed checkpoint, which is taken over verbatim.
    """
    lines = [_HEADER, f"index {index}", *(b64encode(node).decode() for node in path), "", ""]
    return "\n".join(lines).encode() + checkpoint


def _not_a_checkpoint() -> ProofError:
    return ProofError(
        "the checkpoint is not a signed note of origin, size and root; restore the log's folder from a copy",
        code="checkpoint_invalid",
    )
