# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.evidence.merkle import (
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    merkle_root,
    node_hash,
)

SIZES = st.integers(1, 130)


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(size)]


def root_by_definition(hashes: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(root_by_definition(hashes[:split]), root_by_definition(hashes[split:]))


def root_from_inclusion(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """RFC 9162, 2.1.3.2."""
    position, last, result = index, size - 1, leaf
    for sibling in path:
        assert last > 0
        if position & 1 or position == last:
            result = node_hash(sibling, result)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        position, last = position >> 1, last >> 1
    assert last == 0
    return result


def roots_from_consistency(old: int, new: int, old_root: bytes, path: list[bytes]) -> tuple[bytes, bytes]:
    """RFC 9162, 2.1.4.2."""
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        assert last > 0
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    assert last == 0
    return first, second


def test_leaf_and_node_hashes_have_their_own_prefix() -> None:
    assert leaf_hash(b"x") == sha256(b"\0x").digest()
    assert node_hash(b"l", b"r") == sha256(b"\1lr").digest()


def test_the_root_of_the_eight_entries_of_the_certificate_transparency_tests() -> None:
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashes = [leaf_hash(bytes.fromhex(entry)) for entry in entries]
    assert merkle_root(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(SIZES)
def test_root_and_frontier_follow_the_definition(size: int) -> None:
    hashes = leaves(size)
    frontier = Frontier()
    for leaf in hashes:
        frontier.append(leaf)
    assert merkle_root(hashes) == frontier.root() == root_by_definition(hashes)
    assert frontier.size == size


@given(SIZES, st.data())
def test_a_frontier_goes_on_from_its_saved_state(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    cut = data.draw(st.integers(0, size))
    before = Frontier()
    before.extend(hashes[:cut])
    after = Frontier(before.size, before.hashes)
    after.extend(hashes[cut:])
    assert after.root() == merkle_root(hashes)


@given(SIZES, st.data())
def test_an_inclusion_path_leads_to_the_root(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    assert root_from_inclusion(index, size, hashes[index], inclusion_path(hashes, index)) == merkle_root(hashes)


@given(SIZES, st.data())
def test_a_consistency_path_leads_to_both_roots(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    old = data.draw(st.integers(1, size))
    path = consistency_path(hashes, old)
    if old == size:
        assert path == []
    else:
        old_root = merkle_root(hashes[:old])
        assert roots_from_consistency(old, size, old_root, path) == (old_root, merkle_root(hashes))


def test_a_tree_without_leaves_has_no_root() -> None:
    with pytest.raises(ValueError, match="at least one leaf"):
        merkle_root([])
    with pytest.raises(ValueError, match="at least one leaf"):
        Frontier().root()


def test_a_frontier_of_the_wrong_number_of_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Frontier(3, leaves(1))


@pytest.mark.parametrize("index", [-1, 3])
def test_a_path_from_a_leaf_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_path(leaves(3), index)


@pytest.mark.parametrize("old_size", [0, 4])
def test_a_path_from_a_size_that_never_was_is_refused(old_size: int) -> None:
    with pytest.raises(ValueError, match="no earlier size"):
        consistency_path(leaves(3), old_size)
