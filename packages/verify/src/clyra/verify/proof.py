# SPDX-License-Identifier: Apache-2.0
"""Bare inclusion and consistency proofs in the JSON form of transparency-dev/merkle (``verify-proof``)."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from clyra.verify._input import PathLike, read_file
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import without_duplicates
from clyra.verify.log_proof import decode_hash
from clyra.verify.merkle import verify_consistency, verify_inclusion
from clyra.verify.result import Verification

MAX_PROOF_BYTES = 1 << 20


def verify_proof(source: PathLike | bytes) -> Verification:
    """Say whether a bare inclusion or consistency proof holds, in the JSON form of transparency-dev/merkle.

    Args:
        source: A file with the proof, or its bytes.

    Raises:
        UnavailableError: The file cannot be read.
    """
    result = Verification(stages=("proof",))
    data = read_file(source, MAX_PROOF_BYTES + 1)
    with suppress(Refusal), result.checking("proof"):
        if len(data) > MAX_PROOF_BYTES:
            raise Refusal("proof_shape", "a proof of more than 1 MiB")
        check_proof_document(data)
    return result


def check_proof_document(data: bytes) -> None:
    """Check a bare inclusion or consistency proof, in the JSON form of transparency-dev/merkle.

    Raises:
        Refusal: ``proof_shape`` or ``proof_root``.
    """
    try:
        document: Any = json.loads(data.decode(), object_pairs_hook=without_duplicates)
        if type(document) is not dict:
            raise ValueError("not a JSON object")
        members = set(document) - {"desc", "wantErr"}
        if members == {"leafIdx", "treeSize", "root", "leafHash", "proof"}:
            verify_inclusion(
                decode_hash(document["leafHash"]),
                _number(document["leafIdx"]),
                _number(document["treeSize"]),
                _hashes(document["proof"]),
                decode_hash(document["root"]),
            )
        elif members == {"size1", "size2", "root1", "root2", "proof"}:
            verify_consistency(
                _number(document["size1"]),
                decode_hash(document["root1"]),
                _number(document["size2"]),
                decode_hash(document["root2"]),
                _hashes(document["proof"]),
            )
        else:
            raise ValueError("the members are neither those of an inclusion nor of a consistency proof")
    except (ValueError, RecursionError) as exc:
        raise Refusal("proof_shape", f"the proof is malformed: {exc}") from exc


def _hashes(value: object) -> list[bytes]:
    if value is not None and type(value) is not list:
        raise ValueError("the proof is neither an array nor null")
    return [decode_hash(item) for item in value or ()]


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError("a size or index is not a 64-bit integer")
    return value
