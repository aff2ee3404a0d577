# SPDX-License-Identifier: Apache-2.0
"""Forgeries for the quickstart: what somebody could try who wants a bundle to say something else.

Each one goes a layer deeper than the one before: the bytes, the archive, and everything including a signature, made
with another key.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from clyra.evidence.canonical import canonicalize
from clyra.evidence.container import write_container
from clyra.evidence.envelope import build_envelope
from clyra.evidence.merkle import leaf_hash, merkle_root
from clyra.evidence.signer import ephemeral_signer

_ENVELOPE = "attestations/manifest.dsse.json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_TARGET = "artifacts/nodes.json"


def forgeries(bundle: Path) -> Iterator[tuple[str, bytes]]:
    """What was done, in words, and the forged bundle."""
    yield "one bit changed", _flip_a_bit(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries[_TARGET] = entries[_TARGET].replace(b'"status":"success"', b'"status":"skipped"', 1)
    yield "an outcome rewritten, the archive made anew", _packed(entries)
    yield "every digest made to fit, signed with another key", _packed(_sealed_again(entries))


def _flip_a_bit(bundle: bytes) -> bytes:
    middle = len(bundle) // 2
    return bundle[:middle] + bytes([bundle[middle] ^ 1]) + bundle[middle + 1 :]


def _packed(entries: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    write_container(target, sorted(entries.items()))
    return target.getvalue()


def _sealed_again(entries: dict[str, bytes]) -> dict[str, bytes]:
    manifest = json.loads(entries["manifest.json"])
    for file in manifest["files"]:
        file.update(sha256=sha256(entries[file["path"]]).hexdigest(), size=len(entries[file["path"]]))
    manifest["tree"]["root"] = merkle_root([leaf_hash(canonicalize(file)) for file in manifest["files"]]).hex()
    encoded = canonicalize(manifest)
    journal = manifest["journal"]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "manifest.json", "digest": {"sha256": sha256(encoded).hexdigest()}}],
        "predicateType": "https://clyra.io/def/v0",
        "predicate": {
            "spec": manifest["spec"],
            "bundle_id": manifest["bundle_id"],
            "run_id": manifest["run"]["run_id"],
            "merkle_root": manifest["tree"]["root"],
            "tree_size": manifest["tree"]["size"],
            "journal": {name: journal[name] for name in ("count", "head", "root")},
        },
    }
    envelope = build_envelope(_PAYLOAD_TYPE, canonicalize(statement), [ephemeral_signer()])
    return {**entries, "manifest.json": encoded, _ENVELOPE: envelope}
