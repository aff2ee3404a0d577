# SPDX-License-Identifier: Apache-2.0
"""Write the one ZIP file that exists for given names and contents (``spec/container.md``), in one pass.

Contents are hashed, summed and copied as they stream by; memory grows with the number of entries, not with their
sizes. A container appears under its name whole and durable, or not at all.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from clyra.evidence._files import new_file
from clyra.spec import FormatError

Content = bytes | Path | tuple[int, str, Iterable[bytes]]
"""Bytes, a file, or (size, hex SHA-256, chunks)."""

MAX_ENTRIES = 65_534
MAX_NAME_BYTES = 512
SIZE_LIMIT = 2**32

_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 18
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_VERSION = 20
_MADE_BY = 0x0314
_UTF8_FLAG = 0x0800
_DATE = 0x0021
_MODE = 0o100644 << 16

_NAME = re.compile(r"[a-z0-9_][A-Za-z0-9_.=-]*(?:/[a-z0-9_][A-Za-z0-9_.=-]*)*")
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))])


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it was written."""

    name: str
    size: int
    sha256: str


def is_entry_name(name: str) -> bool:
    """True if ``name`` alone keeps the rules for names; collisions are between names."""
    if len(name) > MAX_NAME_BYTES or _NAME.fullmatch(name) is None:
        return False
    segments = name.split("/")
    return not any(s.endswith(".") or s.split(".", 1)[0].lower() in _DEVICES for s in segments)


class EntryNames:
    """The names that a container already has, to find collisions: equal but for case, or one the other's folder."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> bool:
        """Take ``name`` in if it collides with none so far; says whether it is now in."""
        folded = name.lower()
        parts = folded.split("/")
        folders = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if folded in self._files or folded in self._folders or not folders.isdisjoint(self._files):
            return False
        self._files.add(folded)
        self._folders |= folders
        return True


class ContainerWriter:
    """Writes entries one after the other, in ascending byte order of their names.

    Args:
        file: A new file, at its first byte, that can be read and sought.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._directory: list[bytes] = []
        self._names = EntryNames()
        self._last = ""

    def add(self, name: str, content: Content) -> Entry:
        """Write one entry and say what it held.

        Raises:
            FormatError: A limit is exceeded (``limit_exceeded``), or chunks are not of the size or digest that was
                promised (``file_digest``).
            ValueError: The name breaks the rules or comes out of order.
            OSError: The content cannot be read or the file not written.
        """
        if name <= self._last or not is_entry_name(name) or not self._names.add(name):
            raise ValueError(f"{name!r} cannot be the next entry of a container after {self._last!r}")
        if len(self._directory) >= MAX_ENTRIES:
            raise FormatError(f"a container has at most {MAX_ENTRIES} entries", code="limit_exceeded")
        if isinstance(content, bytes):
            entry, crc = self._whole(name, content)
        elif isinstance(content, Path):
            entry, crc = self._from_file(name, content)
        else:
            entry, crc = self._streamed(name, content[2])
            if (entry.size, entry.sha256) != content[:2]:
                raise FormatError(f"the contents of {name} changed while they were written", code="file_digest")
        encoded = name.encode()
        self._directory.append(_central_header(encoded, entry.size, crc, self._offset))
        self._offset += _LOCAL.size + len(encoded) + entry.size
        self._last = name
        self._check_size()
        return entry

    def finish(self) -> int:
        """Write the directory; gives the size of the container in bytes.

        Raises:
            FormatError: The container would reach 4 GiB (``limit_exceeded``).
            OSError: The file cannot be written.
        """
        directory = b"".join(self._directory)
        count = len(self._directory)
        end = _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), self._offset, 0)
        self._file.write(directory + end)
        size = self._offset + len(directory) + len(end)
        self._check_size(size)
        return size

    def _from_file(self, name: str, path: Path) -> tuple[Entry, int]:
        # Most artifacts are small and many: plain system calls cost half of what a buffered file object does.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            first = os.read(fd, _SMALL_BYTES)
            rest = os.read(fd, _SMALL_BYTES) if first else b""
            return self._streamed(name, _chunks(fd, first + rest)) if rest else self._whole(name, first)
        finally:
            os.close(fd)

    def _whole(self, name: str, content: bytes) -> tuple[Entry, int]:
        crc = crc32(content)
        self._file.write(_local_header(name.encode(), len(content), crc))
        self._file.write(content)
        return Entry(name, len(content), sha256(content).hexdigest()), crc

    def _streamed(self, name: str, chunks: Iterable[bytes]) -> tuple[Entry, int]:
        encoded = name.encode()
        self._file.write(_local_header(encoded, 0, 0))
        size, crc, digest = 0, 0, sha256()
        for chunk in chunks:
            size += len(chunk)
            self._check_size(self._offset + size)
            crc = crc32(chunk, crc)
            digest.update(chunk)
            self._file.write(chunk)
        # Size and CRC are known only now, but stand before the contents.
        self._file.seek(self._offset)
        self._file.write(_local_header(encoded, size, crc))
        self._file.seek(0, os.SEEK_END)
        return Entry(name, size, digest.hexdigest()), crc

    def _check_size(self, size: int | None = None) -> None:
        if (self._offset if size is None else size) >= SIZE_LIMIT:
            raise FormatError("a container stays below 4 GiB; lower external_over_bytes", code="limit_exceeded")


def write_container(target: Path | BinaryIO, entries: Iterable[tuple[str, Content]]) -> int:
    """Write a container of ``entries``, which come in ascending order of their names; gives its size in bytes.

    Raises:
        FormatError: A limit is exceeded (``limit_exceeded``).
        ValueError: A name breaks the rules or comes out of order.
        OSError: Something cannot be read or written.
    """
    if isinstance(target, Path):
        with new_file(target) as file:
            return write_container(file, entries)
    writer = ContainerWriter(target)
    for name, content in entries:
        writer.add(name, content)
    return writer.finish()


def _chunks(fd: int, first: bytes) -> Iterator[bytes]:
    yield first
    while chunk := os.read(fd, _CHUNK_BYTES):
        yield chunk


def _local_header(name: bytes, size: int, crc: int) -> bytes:
    return _LOCAL.pack(b"PK\3\4", _VERSION, _UTF8_FLAG, 0, 0, _DATE, crc, size, size, len(name), 0) + name


def _central_header(name: bytes, size: int, crc: int, offset: int) -> bytes:
    return (
        _CENTRAL.pack(
            b"PK\1\2",
            _MADE_BY,
            _VERSION,
            _UTF8_FLAG,
            0,
            0,
            _DATE,
            crc,
            size,
            size,
            len(name),
            0,
            0,
            0,
            0,
            _MODE,
            offset,
        )
        + name
    )
