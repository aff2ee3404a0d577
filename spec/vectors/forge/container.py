# SPDX-License-Identifier: Apache-2.0
"""ZIP files written field by field (APPNOTE 6.3), so that each of them can lie."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Fields = dict[str, int | bytes]
_LOCAL = ("version", "flags", "method", "time", "date", "crc", "packed", "size")
_CENTRAL_TAIL = ("disk", "internal", "external", "offset")
FILE_MODE = 0o100644 << 16


@dataclass(frozen=True)
class Record:
    """One entry: what is true of it, and what its two headers say instead."""

    name: bytes
    data: bytes
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    after: bytes = b""
    """Bytes behind the contents."""
    listed: bool = True
    """Whether the central directory has it."""
    stored: bool = True
    """Whether it has a local header and contents."""


def records_of(entries: Mapping[str, bytes]) -> list[Record]:
    """Return the records of a canonical container."""
    return [Record(name.encode("ascii"), entries[name]) for name in sorted(entries)]


def assemble(
    records: Sequence[Record],
    *,
    prefix: bytes = b"",
    shift: int = 0,
    before_end: bytes = b"",
    end: Mapping[str, int | bytes] | None = None,
) -> bytes:
    """Return a ZIP file: canonical where records and ``end`` do not say otherwise.

    Args:
        records: Entries in the order of the file.
        prefix: Bytes before the first local header.
        shift: Added to all offsets; ``len(prefix)`` adjusts them.
        before_end: Bytes between directory and end record.
        end: Fields of the end record that are to differ: disk, start_disk, here, total, size, offset, comment.
    """
    body = bytearray(prefix)
    directory = bytearray()
    for record in records:
        offset = len(body) - len(prefix) + shift
        if record.stored:
            body += local_header(record) + record.data + record.after
        if record.listed:
            directory += central_header(record, offset)
    listed = sum(record.listed for record in records)
    values: Fields = {"disk": 0, "start_disk": 0, "here": listed, "total": listed}
    values |= {"size": len(directory), "offset": len(body) - len(prefix) + shift, "comment": b"", **(end or {})}
    return bytes(body + directory + before_end) + end_record(values)


def local_header(record: Record) -> bytes:
    """Return the local header of a record, with its name and extra field."""
    values = _values(record) | record.local
    name, extra = _bytes(values, "name"), _bytes(values, "extra")
    numbers = [_int(values, key) for key in _LOCAL]
    return _bytes(values, "magic") + struct.pack("<5H3I2H", *numbers, len(name), len(extra)) + name + extra


def central_header(record: Record, offset: int) -> bytes:
    """Return the central header of a record, with its name, extra field and comment."""
    values = _values(record) | {"magic": b"PK\x01\x02", "offset": offset} | record.central
    name, extra, comment = (_bytes(values, key) for key in ("name", "extra", "comment"))
    head = struct.pack("<6H3I", *(_int(values, key) for key in ("made_by", *_LOCAL)))
    tail = struct.pack("<2H2I", *(_int(values, key) for key in _CENTRAL_TAIL))
    lengths = struct.pack("<3H", len(name), len(extra), len(comment))
    return _bytes(values, "magic") + head + lengths + tail + name + extra + comment


def end_record(values: Mapping[str, int | bytes]) -> bytes:
    """Return an end record with its comment."""
    numbers = [_int(values, key) for key in ("disk", "start_disk", "here", "total", "size", "offset")]
    comment = _bytes(values, "comment")
    return b"PK\x05\x06" + struct.pack("<4H2IH", *numbers, len(comment)) + comment


def _values(record: Record) -> Fields:
    size = len(record.data)
    values: Fields = {"magic": b"PK\x03\x04", "version": 20, "flags": 0x0800, "method": 0, "time": 0, "date": 0x21}
    values |= {"crc": zlib.crc32(record.data), "packed": size, "size": size, "name": record.name, "extra": b""}
    return values | {"made_by": 0x0314, "comment": b"", "disk": 0, "internal": 0, "external": FILE_MODE}


def _int(values: Mapping[str, int | bytes], key: str) -> int:
    value = values[key]
    if not isinstance(value, int):
        raise TypeError(key)
    return value


def _bytes(values: Mapping[str, int | bytes], key: str) -> bytes:
    value = values[key]
    if not isinstance(value, bytes):
        raise TypeError(key)
    return value
