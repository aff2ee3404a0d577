# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree of a log as C2SP tlog-tiles files: read any subtree, say which files a longer tree needs.

A tile is 256 hashes: level 0 holds leaf hashes, each hash of level ``l + 1`` is the root of one full tile of level
``l``. A partial tile is stored as ``<index>.p/<width>`` and kept until the full one exists. Nothing here writes:
``grow`` returns names and bytes, and the file of a tree that a checkpoint covers is never among them, so that files
may be put in place in any order before the checkpoint that covers them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from clyra.evidence.merkle import leaf_hash, merkle_root
from clyra.spec import ProofError

TILE_WIDTH = 256
HASH_BYTES = 32
MAX_ENTRY_BYTES = 65_535
ENTRIES = "entries"

_LENGTH_BYTES = 2


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """The name of a tile relative to the log's folder, as tlog-tiles writes it (``tile/0/x001/x234/067.p/17``).

    Args:
        level: Level of the tile, or ``"entries"`` for the leaves themselves.
        index: Number of the tile within its level.
        width: Number of hashes or entries; 256 is a full tile.
    """
    elements = [f"{index % 1000:03d}"]
    while index := index // 1000:
        elements.insert(0, f"x{index % 1000:03d}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(elements)}{partial}"


class StoredTree:
    """The tree of the first ``size`` leaves of a log, read from its tiles as far as an answer needs them."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._rows: dict[tuple[int, int], list[bytes]] = {}

    def row(self, level: int, index: int) -> list[bytes]:
        """The hashes of one tile that belong to this tree; none for the tile that would come next.

        Raises:
            ProofError: The tile is absent or has another length (``log_tile``).
        """
        known = self._rows.get((level, index))
        if known is None:
            width = self._width(level, index)
            data = self._read(level, index, width) if width else b""
            if len(data) < width * HASH_BYTES:
                raise ProofError(
                    f"tile {tile_path(level, index, width)} has {len(data)} bytes, expected {width * HASH_BYTES}; "
                    "restore the log's folder from a copy",
                    code="log_tile",
                )
            known = [data[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]
            self._rows[level, index] = known
        return known

    def bundle(self, index: int) -> bytes:
        """The bytes of one entry bundle, cut to this tree; nothing for the one that would come next.

        Raises:
            ProofError: The bundle is absent or torn (``log_tile``).
        """
        width = self._width(0, index)
        data = self._read(ENTRIES, index, width) if width else b""
        end = 0
        for _ in range(width):
            end = _entry_end(data, end)
        return data[:end]

    def bundle_entries(self, index: int) -> list[bytes]:
        """The entries of one bundle.

        Raises:
            ProofError: The bundle is absent or torn (``log_tile``).
        """
        data = self.bundle(index)
        entries: list[bytes] = []
        at = 0
        while at < len(data):
            end = _entry_end(data, at)
            entries.append(data[at + _LENGTH_BYTES : end])
            at = end
        return entries

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """The entries from number ``start`` on, in their order, reading one bundle at a time."""
        for index in range(start // TILE_WIDTH, self.bundle_count):
            yield from self.bundle_entries(index)[max(0, start - index * TILE_WIDTH) :]

    @property
    def bundle_count(self) -> int:
        """Number of entry bundles, the partial one included."""
        return -(-self.size // TILE_WIDTH)

    def root(self) -> bytes:
        """The root of this tree (RFC 9162, 2.1.1); SHA-256 of nothing for the empty one."""
        return self._subtree(0, self.size) if self.size else sha256(b"").digest()

    def inclusion_path(self, index: int) -> list[bytes]:
        """The hashes that lead from leaf ``index`` to the root, the leaf's sibling first (RFC 9162, 2.1.3.1)."""
        path: list[bytes] = []
        low, high = 0, self.size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        return path[::-1]

    def consistency_path(self, old_size: int) -> list[bytes]:
        """The hashes that show that this tree continues the one of ``old_size`` leaves (RFC 9162, 2.1.4.1)."""
        path: list[bytes] = []
        low, high, left_edge = 0, self.size, True
        while old_size != high:
            middle = low + _split(high - low)
            if old_size <= middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low, left_edge = middle, False
        if not left_edge:
            path.append(self._subtree(low, high))
        return path[::-1]

    def _width(self, level: int, index: int) -> int:
        return min(TILE_WIDTH, max(0, (self.size >> (8 * level)) - index * TILE_WIDTH))

    def _read(self, level: int | str, index: int, width: int) -> bytes:
        # A partial tile is removed once the full one is there, which begins with the same hashes.
        for name in (tile_path(level, index, width), tile_path(level, index)):
            try:
                with open(os.path.join(self.folder, name), "rb") as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise ProofError(
            f"tile {tile_path(level, index, width)} is missing; restore the log's folder from a copy", code="log_tile"
        )

    def _subtree(self, low: int, high: int) -> bytes:
        count = high - low
        if count & (count - 1) == 0 and low % count == 0:
            level, rest = divmod(count.bit_length() - 1, 8)
            index, start = divmod(low >> (8 * level), TILE_WIDTH)
            return merkle_root(self.row(level, index)[start : start + (1 << rest)])
        middle = low + _split(count)
        return merkle_root([self._subtree(low, middle), self._subtree(middle, high)])


@dataclass(frozen=True, slots=True)
class Growth:
    """What a longer tree needs: its files by name, in the order of writing, and its root."""

    files: dict[str, bytes]
    root: bytes


def grow(tree: StoredTree, entries: Sequence[bytes]) -> Growth:
    """The files and the root of ``tree`` with ``entries`` behind its leaves.

    Raises:
        ProofError: A tile that must be continued is absent, short or torn (``log_tile``).
        ValueError: An entry is longer than 65,535 bytes.
    """
    files = _grown_bundles(tree, entries)
    fresh = [leaf_hash(entry) for entry in entries]
    edge: bytes | None = None
    level = 0
    while fresh or tree.size >> (8 * level):
        index = (tree.size >> (8 * level)) // TILE_WIDTH
        row = tree.row(level, index) + fresh
        parents: list[bytes] = []
        changed = bool(fresh)
        while len(row) >= TILE_WIDTH:
            files[tile_path(level, index)] = b"".join(row[:TILE_WIDTH])
            parents.append(merkle_root(row[:TILE_WIDTH]))
            row, index = row[TILE_WIDTH:], index + 1
        if row and changed:
            files[tile_path(level, index, len(row))] = b"".join(row)
        # A subtree of 256^l leaves is one hash here, so the rest of the level below is just one leaf more.
        if right := row if edge is None else [*row, edge]:
            edge = merkle_root(right)
        fresh, level = parents, level + 1
    return Growth(files, edge or sha256(b"").digest())


def _grown_bundles(tree: StoredTree, entries: Sequence[bytes]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    index, width = divmod(tree.size, TILE_WIDTH)
    data = bytearray(tree.bundle(index))
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes, at most {MAX_ENTRY_BYTES} fit")
        data += struct.pack(">H", len(entry)) + entry
        width += 1
        if width == TILE_WIDTH:
            files[tile_path(ENTRIES, index)] = bytes(data)
            index, width, data = index + 1, 0, bytearray()
    if width and entries:
        files[tile_path(ENTRIES, index, width)] = bytes(data)
    return files


def _entry_end(data: bytes, at: int) -> int:
    end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
    if at + _LENGTH_BYTES > len(data) or end > len(data):
        raise ProofError("an entry bundle is cut off; restore the log's folder from a copy", code="log_tile")
    return end


def _split(count: int) -> int:
    """The largest power of two below ``count``: where RFC 9162 splits a tree."""
    return 1 << ((count - 1).bit_length() - 1)
