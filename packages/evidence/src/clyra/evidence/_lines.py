# SPDX-License-Identifier: Apache-2.0
"""Read the lines of a journal back, in memory that does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import FileIO
from typing import Any

import orjson

_BLOCK_BYTES = 65_536
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def whole_lines(file: FileIO) -> tuple[int, int]:
    """Size of the whole lines, and of the torn one behind them, in bytes."""
    size = end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        last_lf = read_at(file, start, end - start).rfind(b"\n")
        if last_lf >= 0:
            return start + last_lf + 1, size - start - last_lf - 1
        end = start
    return 0, size


def lines_of(file: FileIO, end: int) -> Iterator[bytes]:
    """The lines of the first ``end`` bytes, which end with one, without their LF."""
    offset, rest = 0, b""
    while offset < end:
        block = read_at(file, offset, min(_BLOCK_BYTES, end - offset))
        offset += len(block)
        *whole, rest = (rest + block).split(b"\n")
        yield from whole


def read_at(file: FileIO, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset`` on.

    Raises:
        OSError: The file ends before.
    """
    file.seek(offset)
    found = b""
    while len(found) < size:
        block = file.read(size - len(found))
        if not block:
            raise OSError(f"the file ends at {offset + len(found)}, expected {offset + size} bytes")
        found += block
    return found


def parse_line(line: bytes) -> dict[str, Any]:
    """The event of a line, empty where it is none."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def microseconds(text: str) -> int:
    """Microseconds since the epoch of an instant.

    Raises:
        ValueError: The text is no instant.
    """
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
