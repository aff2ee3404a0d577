# SPDX-License-Identifier: Apache-2.0
"""Z: containers. Level raw: the bytes of the ZIP file are changed and nothing is redone."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from forge.bundle import ENVELOPE, MANIFEST, Artifact, Layers, bundle, lineage_and_nodes, seal
from forge.case import Case, bundle_case
from forge.container import Fields, Record, assemble, end_record, records_of
from forge.edits import put

NODES = "artifacts/nodes.json"
Records = list[Record]
# A million zero bytes, deflated; written out because builds of zlib compress differently.
BOMB = bytes.fromhex("edc101010000008220ffaf6e484001") + bytes(968) + b"\xaf\x06"


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _whole_files()
    yield from _directories()
    yield from _headers()
    yield from _names()
    yield from _layouts()
    yield from _limits()
    yield from _attestations()


def _raw(id: str, description: str, data: bytes, code: str, stage: str = "container") -> Case:
    return bundle_case(id, description, data, code, stage)


def _good() -> Records:
    return records_of(seal(Layers()).entries)


def _changed(name: str, **members: Any) -> Records:
    """Return the good records with one of them replaced."""
    return [replace(record, **members) if record.name == name.encode() else record for record in _good()]


def _lying(local: Fields, central: Fields | None = None) -> bytes:
    """Return the good container with header values of one entry replaced, in both headers unless told."""
    return assemble(_changed(NODES, local=local, central=local if central is None else central))


def _with(*names: bytes, **members: Any) -> bytes:
    """Return the good container with more entries, all in order."""
    added = [Record(name, b"{}", **members) for name in names]
    return assemble(sorted([*_good(), *added], key=lambda record: record.name))


def _whole_files() -> Iterator[Case]:
    good = bundle()
    trailer = "zip_trailer"
    yield _raw("Z06a", "bytes behind the end record", good + b"\n", trailer)
    yield _raw("Z06b", "end record with a comment", assemble(_good(), end={"comment": b"hello"}), trailer)
    yield _raw("Z29a", "last byte cut off", good[:-1], trailer)
    yield _raw("Z29b", "cut in the middle", good[: len(good) // 2], trailer)
    yield _raw("Z29c", "empty file", b"", trailer)
    yield _raw("Z29d", "21 bytes", good[-21:], trailer)
    yield _raw("Z40a", "gzip instead of ZIP", _gzip(good), trailer)
    yield _raw("Z40b", "tar instead of ZIP", _tar(), trailer)
    yield _raw("Z39", "archive without entries", assemble([]), "zip_empty")


def _gzip(data: bytes) -> bytes:
    """Return a gzip file with one stored block (RFC 1951, 3.2.4)."""
    block = b"\x01" + struct.pack("<2H", len(data), len(data) ^ 0xFFFF) + data
    return bytes.fromhex("1f8b08000000000000ff") + block + struct.pack("<2I", zlib.crc32(data), len(data))


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for record in _good():
            member = tarfile.TarInfo(record.name.decode())
            member.size = len(record.data)
            archive.addfile(member, io.BytesIO(record.data))
    return buffer.getvalue()


def _directories() -> Iterator[Case]:
    good = bundle()
    count = len(_good())
    directory = "zip_directory"
    yield _raw("Z05", "bytes before the first entry, offsets not adjusted", b"MZ" + good, directory)
    yield _raw("Z07", "two archives one behind the other", bundle(signers=()) + good, directory)
    inner = end_record({"disk": 0, "start_disk": 0, "here": 0, "total": 0, "size": 0, "offset": 0, "comment": b""})
    yield _raw("Z08", "end record inside the comment of another", assemble(_good(), end={"comment": inner}), directory)
    lower = {"here": count - 1, "total": count - 1}
    yield _raw("Z26a", "end record counts one entry less", assemble(_good(), end=lower), directory)
    higher = {"here": count + 1, "total": count + 1}
    yield _raw("Z26b", "end record counts one entry more", assemble(_good(), end=higher), directory)
    yield _raw("Z26c", "end record with two different counts", assemble(_good(), end={"here": count - 1}), directory)
    yield _raw("Z31b", "ZIP64 end records", assemble(_good(), before_end=_zip64_end(good, count)), directory)
    yield _raw("Z35a", "end record of the second disk", assemble(_good(), end={"disk": 1}), directory)
    yield _raw("Z35c", "directory starts on the second disk", assemble(_good(), end={"start_disk": 1}), directory)
    magic = {"magic": b"PK\x01\x03"}
    yield _raw("Z43", "central header with another signature", assemble(_changed(NODES, central=magic)), directory)
    spare = assemble(_good(), before_end=b"\x00" * 4)
    size = struct.unpack("<I", good[-10:-6])[0] + 4
    longer = spare[:-10] + struct.pack("<I", size) + spare[-6:]
    yield _raw("Z44", "directory longer than its headers", longer, directory)


def _zip64_end(good: bytes, count: int) -> bytes:
    size, offset = struct.unpack("<2I", good[-10:-2])
    record = struct.pack("<IQ2H2I4Q", 0x06064B50, 44, 0x0314, 45, 0, 0, count, count, size, offset)
    return record + struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)


def _headers() -> Iterator[Case]:
    header = "zip_entry_header"
    zip64 = struct.pack("<2H2Q", 1, 16, 30, 30)
    unicode_path = struct.pack("<2HBI", 0x7075, 5 + 8, 1, zlib.crc32(NODES.encode())) + b"evil.txt"
    tables: list[tuple[str, str, Fields, Fields | None]] = [
        ("Z12", "mode of a symbolic link", {}, {"external": 0o120777 << 16}),
        ("Z18", "CP437 name without the flag for UTF-8", {"flags": 0, "name": b"artifacts/n\x94des.json"}, None),
        ("Z20", "Info-ZIP unicode path in the extra field", {"extra": unicode_path}, None),
        ("Z21", "flag encrypted", {"flags": 0x0801}, None),
        ("Z24a", "two different sizes in both headers", {"packed": 1}, None),
        ("Z30", "comment of an entry", {}, {"comment": b"seen by auditors"}),
        ("Z31a", "ZIP64 extra field", {"extra": zip64}, None),
        ("Z32a", "extra field in the local header alone", {"extra": bytes(8)}, {}),
        ("Z32b", "extra field in the central header alone", {}, {"extra": bytes(8)}),
        ("Z34a", "another date", {"date": 0x5C3F}, None),
        ("Z34b", "another time", {"time": 0x4210}, None),
        ("Z34c", "mode 0755", {}, {"external": 0o100755 << 16}),
        ("Z34d", "text in the internal attributes", {}, {"internal": 1}),
        ("Z34e", "made by DOS", {}, {"made_by": 0x0014}),
        ("Z34f", "version needed 45", {"version": 45}, None),
        ("Z34g", "another date in the local header alone", {"date": 0x5C3F}, {}),
        ("Z34h", "another flag in the local header alone", {"flags": 0}, {}),
        ("Z35b", "entry on the second disk", {}, {"disk": 1}),
    ]
    for id, description, local, central in tables:
        yield _raw(id, description, _lying(local, central), header)
    descriptor = struct.pack("<4I", 0x08074B50, zlib.crc32(b"{}"), 2, 2)
    deferred: Fields = {"flags": 0x0808, "crc": 0, "packed": 0, "size": 0}
    streamed = _changed(NODES, data=b"{}", local=deferred, central={"flags": 0x0808}, after=descriptor)
    yield _raw("Z22", "data descriptor", assemble(streamed), header)
    deflated: Fields = {"method": 8, "size": 1_000_000, "crc": zlib.crc32(bytes(1_000_000))}
    inflating = assemble(_changed(NODES, data=BOMB, local=deflated, central=deflated))
    yield _raw("Z23", "deflated, a thousand times larger inside", inflating, header)


def _names() -> Iterator[Case]:
    collision = "zip_name_collision"
    yield _raw("Z01", "duplicate name", _with(NODES.encode()), collision)
    yield _raw("Z16", "two names that differ by case", _with(b"artifacts/nodeS.json"), collision)
    yield _raw("Z28a", "a file is also a directory", _with(b"artifacts/nodes", b"artifacts/nodes/x"), collision)
    by_case = _with(b"artifacts/nodeS", b"artifacts/nodes/x")
    yield _raw("Z28b", "a file is also a directory, by case", by_case, collision)
    yield _raw("Z28c", "a folder is also a file, by case", _with(b"artifacts/nodeS/x", b"artifacts/nodes"), collision)
    names = {
        "Z09a": ("climbs out of its folder", b"artifacts/../../x"),
        "Z09b": ("begins by climbing out", b"../x"),
        "Z09c": ("single dot segment", b"artifacts/./x"),
        "Z10": ("absolute", b"/artifacts/x"),
        "Z11a": ("backslash", b"artifacts\\x"),
        "Z11b": ("drive letter", b"c:/x"),
        "Z11c": ("UNC", b"//server/x"),
        "Z15a": ("NUL", b"artifacts/a\x00.json"),
        "Z15b": ("control character", b"artifacts/a\n.json"),
        "Z19": ("invalid UTF-8", b"artifacts/\xff\xfe"),
        "Z27": ("directory entry", b"artifacts/"),
        "Z37a": ("Windows device", b"artifacts/con"),
        "Z37b": ("Windows device with extension", b"artifacts/con.tar.gz"),
        "Z37c": ("Windows device in another case", b"artifacts/cOM1.json"),
        "Z37d": ("trailing dot", b"artifacts/nodes."),
        "Z37e": ("trailing space", b"artifacts/nodes "),
        "Z37f": ("Windows device as folder", b"artifacts/aux/x"),
        "Z45a": ("empty", b""),
        "Z45b": ("empty segment", b"artifacts//x"),
        "Z45c": ("segment that begins with a dot", b"artifacts/.hidden"),
        "Z45d": ("segment that begins with a capital", b"artifacts/Nodes.json"),
        "Z45e": ("character outside the set", b"artifacts/a+b"),
    }
    for id, (description, name) in names.items():
        yield _raw(id, f"name: {description}", _with(name), "zip_name")
    composed, decomposed = "artifacts/é".encode(), "artifacts/e\u0301".encode()
    yield _raw("Z17", "name: NFC and NFD of one text", _with(composed, decomposed), "zip_name")
    good = _good()
    first, second = good[0], good[1]
    yield _raw("Z33", "two entries not in order", assemble([second, first, *good[2:]]), "zip_order")


def _layouts() -> Iterator[Case]:
    layout, different = "zip_layout", "zip_bytes"
    good = _good()
    hidden = Record(b"artifacts/hidden.json", b"{}", listed=False)
    yield _raw("Z03a", "local entry that the directory hides", assemble([good[0], hidden, *good[1:]]), layout)
    yield _raw("Z03b", "hidden local entry before the directory", assemble([*good, hidden]), layout)
    yield _raw("Z04", "bytes before the first entry, offsets adjusted", assemble(good, prefix=b"MZ", shift=2), layout)
    pdf = b"%PDF-1.7\n%%EOF\n"
    yield _raw("Z38", "polyglot of PDF and ZIP, offsets adjusted", assemble(good, prefix=pdf, shift=len(pdf)), layout)
    yield _raw("Z24b", "both sizes lie", _lying({"packed": 5, "size": 5}), layout)
    yield _raw("Z25", "overlapping entries", _overlapping(), layout)
    shared = assemble(_changed(NODES, stored=False, central={"offset": 0}))
    yield _raw("Z25b", "two entries share one local header", shared, layout)
    yield _raw("Z25c", "offset behind the file", assemble(_changed(NODES, central={"offset": 0x7FFFFFFF})), layout)
    yield _raw("Z42", "local header with another signature", _lying({"magic": b"PK\x03\x05"}, {}), layout)
    yield _raw("Z46", "gap before the directory", assemble([*good[:-1], replace(good[-1], after=b"\x00")]), layout)
    yield _raw("Z02", "name in the local header differs", _lying({"name": b"artifacts/nodez.json"}, {}), different)
    yield _raw("Z13", "wrong CRC in both headers", _lying({"crc": 1}), different)
    yield _raw("Z14", "wrong CRC in the local header", _lying({"crc": 1}, {}), different)
    yield _raw("Z14b", "wrong CRC in the central header", _lying({}, {"crc": 1}), different)
    yield _raw("Z24c", "sizes lie in the local header alone", _lying({"packed": 5, "size": 5}, {}), different)


def _overlapping() -> bytes:
    """Return a container whose first entry's contents go on over the second's local header and contents."""
    first, second, *rest = _good()
    over = len(first.data) + 30 + len(second.name) + len(second.data)
    whole = assemble([first, second])
    covered = whole[30 + len(first.name) :][:over]
    sizes: Fields = {"packed": over, "size": over, "crc": zlib.crc32(covered)}
    return assemble([replace(first, local=sizes, central=sizes), second, *rest])


def _limits() -> Iterator[Case]:
    limit = "limit_exceeded"
    many = [Record(b"a/%05d" % number, b"") for number in range(65_535 - len(_good()))]
    yield _raw("Z36a", "65535 entries", assemble([*many, *_good()]), limit, "input")
    yield _raw("Z36b", "name of 513 bytes", _with(b"artifacts/" + b"a" * 503), limit, "input")
    big = {"note": "a" * (32 * 1024 * 1024)}
    yield _raw("Z36c", "manifest over 32 MiB", bundle(manifest=put("labels", big)), limit, "manifest")
    envelope = put("signatures/0/keyid", "a" * 65_536)
    yield _raw("Z36d", "envelope over 64 KiB", bundle(envelope=envelope), limit, "envelope")
    artifacts = {**lineage_and_nodes(), "artifacts/" + "a" * 502: Artifact(b"{}")}
    yield bundle_case("Z36e", "name of 512 bytes", bundle(artifacts=artifacts))


def _attestations() -> Iterator[Case]:
    for id, name in (
        ("M15a", "attestations/manifest.tlog-proof"),
        ("M15b", "attestations/manifest.00.tsr"),
        ("M15c", "attestations/manifest.dsse.json.bak"),
        ("M15d", "attestations/x/manifest.dsse.json"),
    ):
        data = bundle(entries=_entry(name))
        yield _raw(id, f"{name} is outside the closed list", data, "attestation_unknown")
    yield _raw("Z41", "no envelope", bundle(entries=_without(ENVELOPE)), "envelope_missing")
    rootless = bundle(artifacts=_nested(), entries=_without(MANIFEST))
    yield _raw("M16", "artifacts/manifest.json and none at the root", rootless, "manifest_missing", "manifest")
    yield bundle_case("M16a", "artifacts/manifest.json beside the one at the root", bundle(artifacts=_nested()))


def _nested() -> dict[str, Artifact]:
    return {**lineage_and_nodes(), "artifacts/manifest.json": Artifact(seal(Layers()).entries[MANIFEST])}


def _entry(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda entries: {**entries, name: b"{}"}


def _without(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda entries: {other: data for other, data in entries.items() if other != name}
