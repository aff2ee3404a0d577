# SPDX-License-Identifier: Apache-2.0
"""The container of a bundle, checked against the one byte sequence that ``spec/container.md`` allows.

Every field of the rebuilt file is either a constant, given by the name, or computed from the contents. So comparing
each header with what its name and contents give, and each place with the end of the entry before, is comparing all
bytes, and works in one pass without ever holding the file. No general ZIP reader is involved.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from clyra.verify._refusal import Refusal

MAX_BUNDLE_BYTES = 2**32 - 1
MAX_ENTRIES = 65_534
MAX_NAME_BYTES = 512
_CHUNK = 1 << 20

_END = struct.Struct("<4sHHHHIIH")
# Constant, CRC-32, two sizes, name length, extra and comment length, constant, offset.
_CENTRAL = struct.Struct("<16sIIIHHH8sI")
_LOCAL = struct.Struct("<4s10sIIIHH")
_SHARED = struct.pack("<HHHHH", 20, 0x0800, 0, 0, 0x0021)
_CENTRAL_START = b"PK\x01\x02" + struct.pack("<H", 0x0314) + _SHARED
_CENTRAL_END = struct.pack("<HHI", 0, 0, 0o100644 << 16)

_SEGMENT = rb"[a-z0-9_](?:[A-Za-z0-9_.=-]*[A-Za-z0-9_=-])?"
_NAME = rb"%s(?:/%s)*" % (_SEGMENT, _SEGMENT)
_DEVICE = rb"(?i:(?:^|/)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|/|$))"
_TIMESTAMP = r"attestations/manifest\.(0|[1-9][0-9]{0,8})\.tsr"

ENVELOPE = "attestations/manifest.dsse.json"
SIGSTORE = "attestations/manifest.sigstore.json"
MANIFEST = "manifest.json"


class Entry(NamedTuple):
    """Where the contents of an entry are, and their digest."""

    offset: int
    size: int
    sha256: str


class _Central(NamedTuple):
    name: bytes
    crc: int
    size: int
    offset: int
    header_is_plain: bool


class Container:
    """A container that has passed all checks of its form; entries are read from the open file."""

    def __init__(self, file: BinaryIO, entries: dict[str, Entry]) -> None:
        self._file = file
        self.entries = entries

    def read(self, name: str) -> bytes:
        """The contents of an entry, whole."""
        entry = self.entries[name]
        self._file.seek(entry.offset)
        return self._file.read(entry.size)

    def lines(self, name: str, limit: int) -> Iterator[bytes]:
        """The lines of an entry with their line feeds, each at most ``limit`` + 1 bytes of a line."""
        entry = self.entries[name]
        self._file.seek(entry.offset)
        left = entry.size
        while left > 0:
            line = self._file.readline(min(limit + 1, left))
            left -= len(line)
            yield line

    def last_byte(self, name: str) -> bytes:
        """The last byte of an entry, nothing where it is empty."""
        entry = self.entries[name]
        if entry.size == 0:
            return b""
        self._file.seek(entry.offset + entry.size - 1)
        return self._file.read(1)

    def timestamps(self) -> dict[int, str]:
        """Names of the timestamp tokens by the number of the signature they are about."""
        matches = (re.fullmatch(_TIMESTAMP, name) for name in self.entries if name.endswith(".tsr"))
        return {int(match[1]): match[0] for match in matches if match}

    def listed_names(self) -> list[str]:
        """Names of the entries that a manifest must list, in their order."""
        return [name for name in self.entries if name != MANIFEST and not name.startswith("attestations/")]


def read_container(file: BinaryIO, size: int) -> Container:
    """Check the form of the container, every byte of it.

    Args:
        file: The open file; it stays open and is read again later.
        size: Its length in bytes, at most ``MAX_BUNDLE_BYTES``.

    Raises:
        Refusal: A code ``zip_...``, ``attestation_unknown``, ``envelope_missing`` or ``limit_exceeded``.
    """
    directory_offset, count = _end_record(file, size)
    headers = _directory(file, directory_offset, size - _END.size, count)
    if not headers:
        raise Refusal("zip_empty", "the container has no entry")
    entries = _entries(file, headers, directory_offset)
    _check_attestations(entries)
    return Container(file, entries)


def _end_record(file: BinaryIO, size: int) -> tuple[int, int]:
    file.seek(max(0, size - _END.size))
    record = file.read(_END.size)
    if len(record) < _END.size or record[:4] != b"PK\x05\x06" or record[-2:] != b"\x00\x00":
        raise Refusal("zip_trailer", "the file does not end with an end record without comment: cut off or appended to")
    _, disk, directory_disk, here, total, directory_size, offset, _ = _END.unpack(record)
    if disk or directory_disk or here != total or offset + directory_size + _END.size != size:
        raise Refusal("zip_directory", "the end record does not describe this file")
    return offset, total


def _directory(file: BinaryIO, start: int, end: int, count: int) -> list[_Central]:
    file.seek(start)
    data = file.read(end - start)
    headers: list[_Central] = []
    at = 0
    while at < len(data):
        if len(data) - at < _CENTRAL.size or data[at : at + 4] != b"PK\x01\x02":
            raise Refusal("zip_directory", "the directory holds something that is not an entry")
        first, crc, stored, plain, name_size, extra, comment, last, offset = _CENTRAL.unpack_from(data, at)
        name_end = at + _CENTRAL.size + name_size
        is_plain = first == _CENTRAL_START and last == _CENTRAL_END and stored == plain and not extra and not comment
        headers.append(_Central(data[at + _CENTRAL.size : name_end], crc, plain, offset, is_plain))
        at = name_end + extra + comment
    if at != len(data) or len(headers) != count:
        raise Refusal("zip_directory", f"the end record counts {count} entries, the directory has another number")
    if count > MAX_ENTRIES:
        raise Refusal("limit_exceeded", f"{count} entries, at most {MAX_ENTRIES} are allowed", stage="input")
    return headers


def _entries(file: BinaryIO, headers: list[_Central], directory_offset: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    names = _Names()
    end = 0
    altered: bytes | None = None
    for header in headers:
        file.seek(header.offset)
        local = file.read(_LOCAL.size + len(header.name))
        _check_headers(header, local)
        names.add(header.name)
        if header.offset != end:
            raise Refusal("zip_layout", f"bytes before {header.name!r} belong to no entry, or to two")
        crc, digest = _hash_contents(file, header.size)
        expected = _LOCAL.pack(b"PK\x03\x04", _SHARED, crc, header.size, header.size, len(header.name), 0) + header.name
        if altered is None and (local != expected or crc != header.crc):
            altered = header.name
        end += len(local) + header.size
        entries[header.name.decode()] = Entry(end - header.size, header.size, digest)
    if end != directory_offset:
        raise Refusal("zip_layout", "bytes between the last entry and the directory belong to no entry, or to two")
    # The last of the checks on bytes: a fault of form further on has come before it.
    if altered is not None:
        raise Refusal("zip_bytes", f"the contents of {altered!r} are not those that its headers were made for")
    return entries


def _check_headers(header: _Central, local: bytes) -> None:
    if not header.header_is_plain:
        raise Refusal("zip_entry_header", f"the entry {header.name!r} has a header value that a bundle never has")
    if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04":
        raise Refusal("zip_layout", f"no entry begins where the directory says that {header.name!r} does")
    _, shared, _, _, _, _, extra = _LOCAL.unpack_from(local)
    if shared != _SHARED or extra:
        raise Refusal("zip_entry_header", f"the entry {header.name!r} has a header value that a bundle never has")


def _hash_contents(file: BinaryIO, size: int) -> tuple[int, str]:
    data = file.read(min(size, _CHUNK))
    crc, digest = zlib.crc32(data), hashlib.sha256(data)
    left = size - len(data)
    while left > 0 and data:
        data = file.read(min(left, _CHUNK))
        crc = zlib.crc32(data, crc)
        digest.update(data)
        left -= len(data)
    return crc, digest.hexdigest()


class _Names:
    """The rules on names, one name after the other."""

    def __init__(self) -> None:
        self._last = b""
        self._seen: set[bytes] = set()
        self._folders: set[bytes] = set()

    def add(self, name: bytes) -> None:
        """Check the name against the rules and the names before it.

        Raises:
            Refusal: ``limit_exceeded``, ``zip_name``, ``zip_name_collision`` or ``zip_order``.
        """
        if len(name) > MAX_NAME_BYTES:
            raise Refusal("limit_exceeded", f"a name of {len(name)} bytes, at most 512 are allowed", stage="input")
        if not re.fullmatch(_NAME, name) or re.search(_DEVICE, name):
            raise Refusal("zip_name", f"the name {name!r} is not one that a bundle has")
        folded = name.lower()
        if folded in self._seen or folded in self._folders:
            raise Refusal("zip_name_collision", f"the name {name!r} collides with another one")
        self._seen.add(folded)
        # A folder that is known has been compared with all names, and its parents too.
        folder = folded.rpartition(b"/")[0]
        while folder and folder not in self._folders:
            if folder in self._seen:
                raise Refusal("zip_name_collision", f"a folder of the name {name!r} is also a file")
            self._folders.add(folder)
            folder = folder.rpartition(b"/")[0]
        if name <= self._last:
            raise Refusal("zip_order", f"the entry {name!r} is not in ascending order")
        self._last = name


def _check_attestations(entries: dict[str, Entry]) -> None:
    for name in entries:
        if name.startswith("attestations/") and name not in (ENVELOPE, SIGSTORE) and not re.fullmatch(_TIMESTAMP, name):
            raise Refusal("attestation_unknown", f"{name!r} is not an attestation that the format has")
    if ENVELOPE not in entries:
        raise Refusal("envelope_missing", f"there is no {ENVELOPE}: the bundle was never sealed, or was stripped")
