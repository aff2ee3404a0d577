# SPDX-License-Identifier: Apache-2.0
"""Merkle trees of RFC 9162, section 2.1: leaf SHA-256(0x00 || entry), node SHA-256(0x01 || left || right).

A tree splits at the largest power of two below its size, a leaf is never doubled, and no tree is empty: the root of
nothing is refused. A root means something only beside its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256


def leaf_hash(entry: bytes) -> bytes:
    """The 32 bytes that stand for ``entry`` in a tree."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32 bytes of the node over two subtrees."""
    return sha256(b"\1" + left + right).digest()


def merkle_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes (already made by `leaf_hash`), 32 bytes.

    Raises:
        ValueError: There is no leaf.
    """
    if not leaf_hashes:
        raise ValueError("a tree has at least one leaf")
    level = list(leaf_hashes)
    # Pairing neighbours and carrying an odd last one upward gives the tree of RFC 9162 without recursion.
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        if len(level) & 1:
            above.append(level[-1])
        level = above
    return level[0]


class Frontier:
    """The right edge of a growing tree: enough to append and to give the root, in O(log n) memory.

    Args:
        size: Number of leaves so far.
        hashes: Roots of the perfect subtrees that ``size`` splits into, largest first; one per set bit of ``size``.

    Raises:
        ValueError: The number of hashes does not fit the size.
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError(f"{len(hashes)} subtree hashes do not fit a tree of {size} leaves")
        self._size = size
        self._hashes = list(hashes)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees, largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the right."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes at the right, in order."""
        hashes, size = self._hashes, self._size
        for node in leaves:
            rest = size
            while rest & 1:
                node = sha256(b"\1" + hashes.pop() + node).digest()
                rest >>= 1
            hashes.append(node)
            size += 1
        self._size = size

    def root(self) -> bytes:
        """The root of the tree, 32 bytes.

        Raises:
            ValueError: There is no leaf.
        """
        if not self._hashes:
            raise ValueError("a tree has at least one leaf")
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from leaf ``index`` upward (RFC 9162, 2.1.3.1).

    Raises:
        ValueError: ``index`` is not one of a leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise ValueError(f"leaf {index} is not in a tree of {len(leaf_hashes)} leaves")
    path: list[bytes] = []
    leaves = leaf_hashes
    while len(leaves) > 1:
        split = _split(len(leaves))
        if index < split:
            path.append(merkle_root(leaves[split:]))
            leaves = leaves[:split]
        else:
            path.append(merkle_root(leaves[:split]))
            leaves = leaves[split:]
            index -= split
    path.reverse()
    return path


def consistency_path(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Hashes showing that the first ``old_size`` leaves are a prefix of the tree (RFC 9162, 2.1.4.1).

    Empty for two trees of one size.

    Raises:
        ValueError: ``old_size`` is not between 1 and the number of leaves.
    """
    if not 1 <= old_size <= len(leaf_hashes):
        raise ValueError(f"a tree of {len(leaf_hashes)} leaves has no earlier size {old_size}")
    path: list[bytes] = []
    leaves = leaf_hashes
    is_known = True
    while old_size < len(leaves):
        split = _split(len(leaves))
        if old_size <= split:
            path.append(merkle_root(leaves[split:]))
            leaves = leaves[:split]
        else:
            path.append(merkle_root(leaves[:split]))
            leaves = leaves[split:]
            old_size -= split
            is_known = False
    # The old root itself is left out where it is a complete subtree: its holder has it.
    if not is_known:
        path.append(merkle_root(leaves))
    path.reverse()
    return path


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)
