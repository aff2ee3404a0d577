# SPDX-License-Identifier: Apache-2.0
"""Merkle trees and proofs over SHA-256, RFC 9162 section 2.1 (the trees of RFC 6962).

A root means nothing without its size, a hash is 32 bytes, no proof is about an empty tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from clyra.verify._refusal import Refusal

HASH_SIZE = 32
_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || entry)."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node: SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


class Tree:
    """The root of a growing sequence of leaves in memory of O(log size)."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        # Roots of complete subtrees, largest first: one per 1 in the binary form of the size.
        self._subtrees: list[bytes] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        size, subtrees = self.size, self._subtrees
        while size & 1:
            leaf = _sha256(b"\x01" + subtrees.pop() + leaf).digest()
            size >>= 1
        subtrees.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of what was added so far; SHA-256 of nothing where nothing was."""
        if not self._subtrees:
            return _sha256(b"").digest()
        root = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            root = node_hash(left, root)
        return root


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` is entry ``index`` of the tree of ``size`` under ``root`` (RFC 9162, 2.1.3.2).

    Args:
        leaf: The leaf hash, 32 bytes.
        index: From 0.
        size: At least 1.
        proof: Sibling hashes from the leaf upward, 32 bytes each.
        root: Expected root, 32 bytes.

    Raises:
        Refusal: ``proof_shape`` where the parts do not fit each other, ``proof_root`` where the roots differ.
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise Refusal("proof_shape", f"index {index} is not below the tree size {size}")
    # Siblings exist on the levels where the path and the tree's right border differ, then one per left sibling.
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    if len(proof) != inner + border:
        raise Refusal("proof_shape", f"expected {inner + border} hashes for this index and size, found {len(proof)}")
    computed = leaf
    for level, sibling in enumerate(proof):
        is_right = level >= inner or index >> level & 1
        computed = node_hash(sibling, computed) if is_right else node_hash(computed, sibling)
    if computed != root:
        raise Refusal("proof_root", "the proof leads to another root")


def verify_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``size`` under ``root`` begins with the tree of ``old_size`` (RFC 9162, 2.1.4.2).

    Raises:
        Refusal: ``proof_shape`` where the parts do not fit each other, ``proof_root`` where a root differs.
    """
    _check_hashes(old_root, root, *proof)
    if not 1 <= old_size <= size:
        raise Refusal("proof_shape", f"sizes must be 1 <= size1 <= size2, found {old_size} and {size}")
    if len(proof) != _consistency_length(old_size, size):
        raise Refusal("proof_shape", f"expected {_consistency_length(old_size, size)} hashes, found {len(proof)}")
    if old_size == size:
        computed_old = computed = old_root
    else:
        computed_old, computed = _consistent_roots(old_size, old_root, size, list(proof))
    if computed_old != old_root or computed != root:
        raise Refusal("proof_root", "the proof leads to another root")


def _consistency_length(old_size: int, size: int) -> int:
    if old_size == size:
        return 0
    shift = (old_size & -old_size).bit_length() - 1
    index, last = (old_size - 1) >> shift, (size - 1) >> shift
    inner = (index ^ last).bit_length()
    # The first hash is left out where the old tree is one complete subtree: the verifier has its root.
    return inner + (index >> inner).bit_count() + (0 if old_size == 1 << shift else 1)


def _consistent_roots(old_size: int, old_root: bytes, size: int, proof: list[bytes]) -> tuple[bytes, bytes]:
    if old_size & (old_size - 1) == 0:
        proof.insert(0, old_root)
    old_index, index = old_size - 1, size - 1
    while old_index & 1:
        old_index >>= 1
        index >>= 1
    old = new = proof[0]
    for sibling in proof[1:]:
        if old_index & 1 or old_index == index:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while old_index and not old_index & 1:
                old_index >>= 1
                index >>= 1
        else:
            new = node_hash(new, sibling)
        old_index >>= 1
        index >>= 1
    return old, new


def _check_hashes(*hashes: bytes) -> None:
    if any(len(value) != HASH_SIZE for value in hashes):
        raise Refusal("proof_shape", "a hash is not 32 bytes")
