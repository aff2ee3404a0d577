# SPDX-License-Identifier: Apache-2.0
"""T: Merkle trees. A bundle is at level full; a proof stands alone (verify-proof)."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from forge.bundle import Layers, bundle, seal
from forge.canonical import canonical
from forge.case import Case, bundle_case
from forge.edits import Json, flip, put
from forge.keys import b64
from forge.merkle import consistency_path, inclusion_path, leaf_hash, node_hash, root_of

LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(8)]


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _trees()
    yield from _inclusion_shapes()
    yield from _inclusion_roots()
    yield from _consistency()
    yield from _good_proofs()


def _trees() -> Iterator[Case]:
    good = seal(Layers()).manifest
    entries = [canonical(file) for file in good["files"]]
    leaves = [leaf_hash(entry) for entry in entries]
    root = bytes.fromhex(good["tree"]["root"])
    plain = [hashlib.sha256(entry).digest() for entry in entries]
    for id, description, wrong in (
        ("T01", "leaves without the prefix 0x00", root_of(plain)),
        ("T03", "last leaf duplicated", root_of([*leaves, leaves[-1]])),
        ("T04a", "padded with a zero leaf", root_of([*leaves, bytes(32)])),
        ("T04b", "padded with the hash of nothing", root_of([*leaves, leaf_hash(b"")])),
        ("T04c", "nodes without the prefix 0x01", hashlib.sha256(b"".join(leaves)).digest()),
    ):
        data = bundle(sealed_manifest=put("tree/root", wrong.hex()))
        yield bundle_case(id, f"tree: {description}", data, "tree_root", "files")
    for id, size in (("T05a", 4), ("T05b", 2)):
        data = bundle(sealed_manifest=put("tree/size", size))
        yield bundle_case(id, f"tree: size relabelled to {size}", data, "tree_size", "files")
    in_base64 = bundle(sealed_manifest=put("tree/root", b64(root)), statement=put("predicate/merkle_root", root.hex()))
    yield bundle_case("T12a", "tree: root in base64", in_base64, "schema_invalid", "manifest")


def _inclusion(index: int = 5, size: int = 8) -> Json:
    leaves = LEAVES[:size]
    proof = [b64(node) for node in inclusion_path(leaves, index)]
    root = b64(root_of(leaves))
    return {"leafIdx": index, "treeSize": size, "root": root, "leafHash": b64(leaves[index]), "proof": proof}


def _grown(old: int = 5, new: int = 8) -> Json:
    proof = [b64(node) for node in consistency_path(LEAVES[:new], old)]
    roots = {"root1": b64(root_of(LEAVES[:old])), "root2": b64(root_of(LEAVES[:new]))}
    return {"size1": old, "size2": new, **roots, "proof": proof}


def _case(id: str, description: str, proof: Any, code: str = "valid") -> Case:
    data = proof if isinstance(proof, bytes) else json.dumps(proof).encode()
    stage = None if code == "valid" else "proof"
    return Case(id, f"proof: {description}", data, code, stage, command="verify-proof", args=())


def _inclusion_shapes() -> Iterator[Case]:
    good = _inclusion()
    node = b64(node_hash(LEAVES[4], LEAVES[5]))
    short = b64(bytes(31))
    in_hex = base64.b64decode(good["root"]).hex()
    for id, description, proof in (
        ("T02", "node in place of a leaf", {**good, "leafHash": node, "proof": good["proof"][1:]}),
        ("T05c", "size relabelled, another path", {**_inclusion(6), "treeSize": 7}),
        ("T07a", "too short", {**good, "proof": good["proof"][:-1]}),
        ("T07b", "too long", {**good, "proof": [*good["proof"], good["root"]]}),
        ("T07c", "garbage before", {**good, "proof": [b64(bytes(32)), *good["proof"]]}),
        ("T07d", "bytes behind the document", json.dumps(good).encode() + b"{}"),
        ("T09a", "size 0", {**good, "treeSize": 0}),
        ("T09b", "empty root", {**good, "root": ""}),
        ("T09c", "hash of 31 bytes", {**good, "proof": [*good["proof"][:-1], short]}),
        ("T09d", "root of 31 bytes", {**good, "root": short}),
        ("T09e", "leaf hash of 33 bytes", {**good, "leafHash": b64(bytes(33))}),
        ("T12b", "root in hex", {**good, "root": in_hex}),
        ("T12c", "base64 without padding", {**good, "root": good["root"].rstrip("=")}),
        ("T13a", "index is the size", {**good, "leafIdx": 8}),
        ("T13b", "negative index", {**good, "leafIdx": -1}),
        ("T13c", "index as text", {**good, "leafIdx": "5"}),
        ("T13d", "fraction as index", {**good, "leafIdx": 5.5}),
        ("T13e", "index beyond 64 bits", {**good, "leafIdx": 2**64 + 5}),
        ("T14a", "member missing", {name: value for name, value in good.items() if name != "leafHash"}),
        ("T14b", "members of both kinds", {**_grown(), **good}),
        ("T14c", "array", [good]),
        ("T14d", "not JSON", b"proof"),
        ("T14e", "null among the hashes", {**good, "proof": [None, *good["proof"][1:]]}),
        ("T14f", "duplicate key", json.dumps(good).encode().replace(b'{"', b'{"leafIdx": 4, "', 1)),
    ):
        yield _case(id, description, proof, "proof_shape")


def _inclusion_roots() -> Iterator[Case]:
    good = _inclusion()
    hashes = good["proof"]
    bit = b64(flip(base64.b64decode(hashes[1]), 7))
    for id, description, proof in (
        ("T06", "index relabelled", {**good, "leafIdx": 4}),
        ("T08a", "bit flipped", {**good, "proof": [hashes[0], bit, hashes[2]]}),
        ("T08b", "bit of the leaf flipped", {**good, "leafHash": b64(flip(LEAVES[5], 0))}),
        ("T10a", "hashes in reverse order", {**good, "proof": hashes[::-1]}),
        ("T10b", "left and right swapped", {**good, "leafHash": hashes[0], "proof": [good["leafHash"], *hashes[1:]]}),
        ("T15", "another root", {**good, "root": b64(bytes(32))}),
        ("T15b", "tree of one leaf, another root", {**_inclusion(0, 1), "root": b64(bytes(32))}),
    ):
        yield _case(id, description, proof, "proof_root")


def _consistency() -> Iterator[Case]:
    good = _grown()
    equal = {**good, "size1": 8, "root1": good["root2"]}
    turned = {**good, "size1": 8, "size2": 5, "root1": good["root2"], "root2": good["root1"]}
    for id, description, proof in (
        ("T11a", "consistency: old size above the new", turned),
        ("T11b", "consistency: old size 0", {**good, "size1": 0}),
        ("T11c", "consistency: equal sizes with hashes", equal),
        ("T11d", "consistency: too short", {**good, "proof": good["proof"][:-1]}),
        ("T11e", "consistency: too long", {**good, "proof": [*good["proof"], good["root1"]]}),
        ("T11f", "consistency: no hashes", {**good, "proof": None}),
        ("T11g", "consistency: old root of 31 bytes", {**good, "root1": b64(bytes(31))}),
    ):
        yield _case(id, description, proof, "proof_shape")
    bit = b64(flip(base64.b64decode(good["proof"][0]), 31, 0x80))
    for id, description, proof in (
        ("T11h", "consistency: another old root", {**good, "root1": b64(LEAVES[0])}),
        ("T11i", "consistency: another new root", {**good, "root2": b64(LEAVES[0])}),
        ("T11j", "consistency: roots swapped", {**good, "root1": good["root2"], "root2": good["root1"]}),
        ("T11k", "consistency: bit flipped", {**good, "proof": [bit, *good["proof"][1:]]}),
        ("T11l", "consistency: equal sizes, two roots", {**equal, "root1": good["root1"], "proof": []}),
        ("T11m", "consistency: from a power of two, another old root", {**_grown(4), "root1": b64(LEAVES[0])}),
    ):
        yield _case(id, description, proof, "proof_root")


def _good_proofs() -> Iterator[Case]:
    for index, size in ((0, 1), (1, 2), (2, 3), (6, 7), (5, 8)):
        yield _case(f"T20{index}{size}", f"leaf {index} of {size}", _inclusion(index, size))
    for old, new in ((1, 8), (3, 7), (4, 8), (6, 8), (8, 8)):
        yield _case(f"T21{old}{new}", f"consistency: from {old} to {new}", _grown(old, new))
    noted = {**_inclusion(), "desc": "good", "wantErr": False}
    yield _case("T22", "with the notes of the public set", noted)
    yield _case("T23", "null for no hashes", {**_inclusion(0, 1), "proof": None})
