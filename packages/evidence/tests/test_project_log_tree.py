# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.evidence._log_files import write_files
from clyra.evidence._tiles import StoredTree, grow, tile_path
from clyra.spec import ProofError
from clyra.testing.log_oracle import naive_root, verifies_consistency, verifies_inclusion

PUBLIC = Path(__file__).parents[3] / "spec/vectors/public/transparency-dev-merkle/testdata"
# The leaves of Certificate Transparency's reference trees, from which the public vectors are made.
CT_LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
CT_LEAVES.append(bytes(range(0x60, 0x70)))


def stored(folder: Path, *batches: list[bytes]) -> StoredTree:
    size = 0
    for batch in batches:
        write_files(folder, grow(StoredTree(folder, size), batch).files, durable=False)
        size += len(batch)
    return StoredTree(folder, size)


@pytest.mark.parametrize(
    ("level", "index", "width", "name"),
    [
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        ("entries", 0, 17, "tile/entries/000.p/17"),
        (1, 1000, 1, "tile/1/x001/000.p/1"),
    ],
)
def test_tile_names_are_those_of_tlog_tiles(level: int | str, index: int, width: int, name: str) -> None:
    assert tile_path(level, index, width) == name


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5), data=st.data())
def test_tiles_give_the_roots_and_proofs_of_the_naive_tree(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    entries = [b"leaf %d" % number for number in range(sum(sizes))]
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    tree = stored(
        tmp_path_factory.mktemp("log"),
        *(entries[start : start + size] for start, size in zip(starts, sizes, strict=True)),
    )
    root = naive_root(entries)
    assert tree.root() == root
    assert list(tree.entries()) == entries
    index = data.draw(st.integers(0, len(entries) - 1))
    assert verifies_inclusion(entries[index], index, len(entries), tree.inclusion_path(index), root)
    old = data.draw(st.integers(1, len(entries)))
    assert verifies_consistency(old, naive_root(entries[:old]), len(entries), root, tree.consistency_path(old))


def test_a_tree_of_more_than_one_tile_row_is_the_naive_tree(tmp_path: Path) -> None:
    entries = [b"%d" % number for number in range(66_000)]
    tree = stored(tmp_path, entries[:65_000], entries[65_000:])
    assert (tmp_path / "tile/2/000.p/1").stat().st_size == 32
    root = naive_root(entries)
    assert tree.root() == root
    for index in (0, 65_535, 65_536, 65_999):
        assert verifies_inclusion(entries[index], index, len(entries), tree.inclusion_path(index), root)
    for old in (1, 256, 65_535, 65_536, 65_537):
        path = tree.consistency_path(old)
        assert verifies_consistency(old, naive_root(entries[:old]), len(entries), root, path)


@pytest.mark.parametrize("path", sorted(PUBLIC.glob("inclusion/*/happy-path.json")), ids=lambda path: path.parent.name)
def test_inclusion_paths_are_those_of_the_public_vectors(path: Path, tmp_path: Path) -> None:
    vector = json.loads(path.read_bytes())
    tree = stored(tmp_path, CT_LEAVES[: vector["treeSize"]])
    assert tree.root() == b64decode(vector["root"])
    assert tree.inclusion_path(vector["leafIdx"]) == [b64decode(node) for node in vector["proof"] or []]


@pytest.mark.parametrize(
    "path", sorted(PUBLIC.glob("consistency/*/happy-path.json")), ids=lambda path: path.parent.name
)
def test_consistency_paths_are_those_of_the_public_vectors(path: Path, tmp_path: Path) -> None:
    vector = json.loads(path.read_bytes())
    tree = stored(tmp_path, CT_LEAVES[: vector["size2"]])
    assert tree.root() == b64decode(vector["root2"])
    assert tree.consistency_path(vector["size1"]) == [b64decode(node) for node in vector["proof"] or []]


def test_public_vectors_are_there() -> None:
    assert len(list(PUBLIC.glob("*/*/happy-path.json"))) >= 10


def test_growing_never_rewrites_a_file_of_the_smaller_tree(tmp_path: Path) -> None:
    tree = stored(tmp_path, [b"x"] * 200)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    for more in (1, 55, 56, 57, 400):
        assert not there & {str(Path(name)) for name in grow(tree, [b"y"] * more).files}


def test_a_smaller_tree_is_read_from_full_tiles(tmp_path: Path) -> None:
    entries = [b"%d" % number for number in range(256)]
    stored(tmp_path, entries)
    tree = StoredTree(tmp_path, 100)
    assert tree.root() == naive_root(entries[:100])
    assert list(tree.entries(98)) == entries[98:100]


def test_an_absent_tile_is_refused(tmp_path: Path) -> None:
    tree = stored(tmp_path, [b"a", b"b"])
    (tmp_path / "tile/0/000.p/2").unlink()
    with pytest.raises(ProofError, match="missing") as caught:
        tree.root()
    assert caught.value.code == "log_tile"


@pytest.mark.parametrize("name", ["tile/0/000.p/2", "tile/entries/000.p/2"])
def test_a_torn_tile_is_refused(tmp_path: Path, name: str) -> None:
    tree = stored(tmp_path, [b"a", b"b"])
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ProofError) as caught:
        grow(tree, [b"c"])
    assert caught.value.code == "log_tile"


def test_an_entry_that_no_length_can_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="65536"):
        grow(StoredTree(tmp_path, 0), [b"x" * 65_536])
