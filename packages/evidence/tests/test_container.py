# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import struct
import zipfile
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.evidence import container
from clyra.evidence.container import ContainerWriter, Content, EntryNames, is_entry_name, write_container
from clyra.spec import FormatError


def by_definition(entries: list[tuple[str, bytes]]) -> bytes:
    """The table of container.md, field by field."""
    body, directory = b"", b""
    for name, data in entries:
        sizes = struct.pack("<LLL", crc32(data), len(data), len(data))
        common = struct.pack("<HHHHH", 20, 0x0800, 0, 0, 0x0021) + sizes + struct.pack("<H", len(name))
        directory += b"PK\1\2" + struct.pack("<H", 0x0314) + common + bytes(2 + 2 + 2 + 2)
        directory += struct.pack("<LL", 0o100644 << 16, len(body)) + name.encode()
        body += b"PK\3\4" + common + bytes(2) + name.encode() + data
    count = len(entries)
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end


def write(entries: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    assert write_container(file, entries) == len(file.getvalue())
    return file.getvalue()


def test_the_bytes_are_those_of_the_specification() -> None:
    entries = [("artifacts/a.sql", b"select 1"), ("artifacts/empty", b""), ("manifest.json", b"{}")]
    assert write(entries) == by_definition(entries)


@given(
    st.dictionaries(st.from_regex(r"[a-z0-9_][a-z0-9_=-]{0,20}", fullmatch=True), st.binary(max_size=50), max_size=9)
)
def test_stock_readers_give_the_contents_back(contents: dict[str, bytes]) -> None:
    allowed = sorted((name, data) for name, data in contents.items() if is_entry_name(name))
    data = write(allowed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == allowed
    assert data == by_definition(allowed)


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, (1 << 19) + 3, 3 << 20])
def test_files_stream_with_the_same_bytes_as_contents_in_memory(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    source = tmp_path / "source"
    source.write_bytes(data[:size])
    write_container(tmp_path / "c.zip", [("a", source), ("b", b"after")])
    assert (tmp_path / "c.zip").read_bytes() == by_definition([("a", data[:size]), ("b", b"after")])


def test_chunks_stream_if_they_are_what_was_promised() -> None:
    promised = (4, sha256(b"abcd").hexdigest(), [b"ab", b"cd"])
    file = io.BytesIO()
    write_container(file, [("a", promised), ("b", b"x")])
    assert file.getvalue() == by_definition([("a", b"abcd"), ("b", b"x")])
    with pytest.raises(FormatError, match="changed while they were written"):
        write_container(io.BytesIO(), [("a", (4, promised[1], [b"ab", b"ce"]))])


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "artifacts/a=1/b-2_c.sql", "0", "_", "a" * 512, "console", "artifacts/a.B"],
)
def test_names_that_a_container_may_have(name: str) -> None:
    assert is_entry_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "-a", "A", "a b", "a\\b", "a:b", "ä", "a\0", "a\n", "a."],
        *["a./b", "con", "a/nul.txt", "com0", "lpt9.x.y", "prn/a", "a" * 513],
    ],
)
def test_names_that_a_container_never_has(name: str) -> None:
    assert not is_entry_name(name)
    with pytest.raises(ValueError, match="cannot be the next entry"):
        write_container(io.BytesIO(), [(name, b"")])


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a.b", "a.B"), ("a", "a/b"), ("a/b/c", "a"), ("aB/c", "ab"), ("b", "a")]
)
def test_names_that_collide_or_come_out_of_order_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be the next entry"):
        write_container(io.BytesIO(), [(name, b"") for name in names])


def test_a_collision_is_found_whatever_the_order() -> None:
    names = EntryNames()
    assert names.add("a/b")
    assert not names.add("a")
    assert not names.add("A/B")
    assert not names.add("a/b/c")
    assert names.add("a/c")


def test_more_entries_than_a_container_can_have_are_refused() -> None:
    writer = ContainerWriter(io.BytesIO())
    for number in range(65_534):
        writer.add(f"a{number:05d}", b"")
    with pytest.raises(FormatError, match="at most 65534 entries") as caught:
        writer.add("b", b"")
    assert caught.value.code == "limit_exceeded"


def test_a_container_that_would_reach_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert container.SIZE_LIMIT == 1 << 32
    whole = len(by_definition([("a", b"12345")]))
    monkeypatch.setattr(container, "SIZE_LIMIT", whole)
    write_container(io.BytesIO(), [("a", b"1234")])
    contents: list[Content] = [b"12345", (5, sha256(b"12345").hexdigest(), [b"123", b"45"])]
    contents.append((0, "", iter(lambda: b"endless", b"")))
    for content in contents:
        with pytest.raises(FormatError, match="below 4 GiB") as caught:
            write_container(io.BytesIO(), [("a", content)])
        assert caught.value.code == "limit_exceeded"


def test_a_failure_leaves_neither_the_container_nor_a_part_of_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_container(tmp_path / "c.zip", [("a", b"x"), ("b", tmp_path / "absent")])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_container_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    write_container(path, [("a", b"first")])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="cannot be the next"):
        write_container(path, [("a", b"second"), ("a", b"")])
    assert path.read_bytes() == before
    write_container(path, [("a", b"second")])
    assert path.read_bytes() == by_definition([("a", b"second")])
