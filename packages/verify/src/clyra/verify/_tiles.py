# SPDX-License-Identifier: Apache-2.0
"""The tiles of a log in a folder, C2SP tlog-tiles: their names, their entries, and what their hashes must be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from clyra.verify._input import read_file
from clyra.verify._refusal import Refusal
from clyra.verify.merkle import HASH_SIZE, Tree

TILE_WIDTH = 256
# 256 entries, each of at most 65,535 bytes behind its length.
_MAX_ENTRY_TILE = TILE_WIDTH * (2 + 0xFFFF)


def read_file_of(folder: str, name: str, limit: int) -> bytes | None:
    """At most ``limit`` bytes of a file of the log, None where it is not there."""
    path = os.path.join(folder, *name.split("/"))
    return read_file(path, limit) if os.path.isfile(path) else None


def tile_name(level: str, index: int, width: int) -> str:
    """C2SP tlog-tiles: three digits per folder, all but the last marked with an x, a width where it is partial."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(parts))}" + ("" if width == TILE_WIDTH else f".p/{width}")


def _tiles(folder: str, level: str, total: int, limit: int) -> Iterator[tuple[bytes, int, bool, str]]:
    """Contents, wanted width, whether the file is wider than that, and name of the tiles for ``total`` items."""
    for index in range((total + TILE_WIDTH - 1) // TILE_WIDTH):
        width = min(TILE_WIDTH, total - index * TILE_WIDTH)
        name = tile_name(level, index, width)
        data = read_file_of(folder, name, limit + 1)
        is_wider = data is None and width < TILE_WIDTH
        if is_wider:
            # A log that has grown since may have dropped its partial tile.
            name = tile_name(level, index, TILE_WIDTH)
            data = read_file_of(folder, name, limit + 1)
        if data is None:
            raise Refusal("log_tile", f"{name} is missing")
        yield data, width, is_wider, name


def entries(folder: str, size: int) -> Iterator[bytes]:
    """The first ``size`` entries of the log.

    Raises:
        Refusal: ``log_tile``: a tile is absent, short or too long.
    """
    for data, width, is_wider, name in _tiles(folder, "entries", size, _MAX_ENTRY_TILE):
        at = 0
        for _ in range(width):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if len(data) < at + 2 or len(data) < end:
                raise Refusal("log_tile", f"{name} has fewer than {width} entries")
            yield data[at + 2 : end]
            at = end
        if at != len(data) and not is_wider:
            raise Refusal("log_tile", f"{name} has more than {width} entries")


class LevelCheck:
    """Compares the hash tiles of every level with the hashes that the entries give, tile by tile."""

    def __init__(self, folder: str, size: int) -> None:
        self._levels: list[Callable[[bytes | None], None]] = []
        count, level = size, 0
        while count:
            self._levels.append(self._level(_tiles(folder, str(level), count, TILE_WIDTH * HASH_SIZE), level))
            count //= TILE_WIDTH
            level += 1

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self._levels[0](leaf)

    def finish(self) -> None:
        """Compare the partial tiles at the right border."""
        for level in self._levels:
            level(None)

    def _level(self, tiles: Iterator[tuple[bytes, int, bool, str]], level: int) -> Callable[[bytes | None], None]:
        pending: list[bytes] = []

        def add(value: bytes | None) -> None:
            if value is not None:
                pending.append(value)
            if pending and (value is None or len(pending) == TILE_WIDTH):
                data, width, is_wider, name = next(tiles)
                expected = b"".join(pending)
                found = data[: len(expected)] if is_wider else data
                if found != expected or (is_wider and len(data) != TILE_WIDTH * HASH_SIZE):
                    raise Refusal("log_tile", f"{name} does not hold the {width} hashes that the entries give")
                full = len(pending) == TILE_WIDTH
                if full and level + 1 < len(self._levels):
                    self._levels[level + 1](Tree(pending).root())
                pending.clear()

        return add
