# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.spec import spec_folder
from clyra.verify._refusal import Refusal
from clyra.verify.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from clyra.verify.proof import verify_proof

PUBLIC = spec_folder() / "vectors/public/transparency-dev-merkle/testdata"
CASES = sorted([*PUBLIC.glob("inclusion/**/*.json"), *PUBLIC.glob("consistency/**/*.json")])


# Its roots are the text "don't care 2": the specification says that a hash has 32 bytes, the public set does not.
SHORT_ROOTS = "consistency/additional/sizes-are-equal-one-and-proof-is-empty.json"


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """The largest power of two below the size (RFC 9162, 2.1.1)."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    at = split(len(leaves))
    return node(root(leaves[:at]), root(leaves[at:]))


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    at = split(len(leaves))
    if index < at:
        return [*path(index, leaves[:at]), root(leaves[at:])]
    return [*path(index - at, leaves[at:]), root(leaves[:at])]


def consistency(old: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 9162, 2.1.4.1."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    at = split(len(leaves))
    if old <= at:
        return [*consistency(old, leaves[:at], whole=whole), root(leaves[at:])]
    return [*consistency(old - at, leaves[at:], whole=False), root(leaves[:at])]


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(size)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.relative_to(PUBLIC).with_suffix("")))
def test_the_public_proofs_get_their_verdict(case: Path) -> None:
    is_wrong = json.loads(case.read_bytes())["wantErr"] or case == PUBLIC / SHORT_ROOTS
    assert verify_proof(case).verdict == ("invalid" if is_wrong else "valid")


def test_a_root_that_is_not_32_bytes_has_no_shape() -> None:
    assert verify_proof(PUBLIC / SHORT_ROOTS).code == "proof_shape"


def test_all_public_proofs_are_there() -> None:
    assert len(CASES) == 196


@pytest.mark.parametrize("size", [*range(1, 40), 255, 256, 257])
def test_the_growing_tree_has_the_root_of_the_definition(size: int) -> None:
    assert Tree(leaves_of(size)).root() == root(leaves_of(size))


@given(st.integers(1, 70), st.data())
def test_inclusion_holds_for_its_leaf_index_and_size_alone(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = path(index, leaves)
    verify_inclusion(leaves[index], index, size, proof, root(leaves))
    other = data.draw(st.integers(0, 80))
    if other != index:
        with pytest.raises(Refusal):
            verify_inclusion(leaves[index], other, size, proof, root(leaves))
    with pytest.raises(Refusal):
        verify_inclusion(leaf_hash(b"other"), index, size, proof, root(leaves))
    with pytest.raises(Refusal, match="hashes"):
        verify_inclusion(leaves[index], index, size, [*proof, bytes(32)], root(leaves))


@given(st.integers(1, 70), st.data())
def test_consistency_holds_for_its_sizes_and_roots(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    old = data.draw(st.integers(1, size))
    proof = consistency(old, leaves)
    old_root, new_root = root(leaves[:old]), root(leaves)
    verify_consistency(old, old_root, size, new_root, proof)
    for wrong in ((bytes(32), new_root), (old_root, bytes(32))):
        with pytest.raises(Refusal) as caught:
            verify_consistency(old, wrong[0], size, wrong[1], proof)
        assert caught.value.code == "proof_root"
    for number in range(len(proof)):
        with pytest.raises(Refusal):
            verify_consistency(old, old_root, size, new_root, [*proof[:number], bytes(32), *proof[number + 1 :]])
    with pytest.raises(Refusal, match="hashes"):
        verify_consistency(old, old_root, size, new_root, [*proof, bytes(32)])


@pytest.mark.parametrize(("old", "size"), [(0, 1), (2, 1), (0, 0)])
def test_consistency_of_impossible_sizes_has_no_shape(old: int, size: int) -> None:
    with pytest.raises(Refusal) as caught:
        verify_consistency(old, bytes(32), size, bytes(32), [])
    assert caught.value.code == "proof_shape"


def test_a_proof_beyond_a_mebibyte_is_not_parsed() -> None:
    assert verify_proof(b"[" * (1 << 21)).code == "proof_shape"
