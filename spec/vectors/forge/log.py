# SPDX-License-Identifier: Apache-2.0
"""A project's log as files (spec/log.md): C2SP tlog-tiles, tlog-checkpoint and tlog-proof."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forge.canonical import canonical
from forge.edits import Json
from forge.journal import BUNDLE_ID, RUN_ID, TENANT
from forge.keys import TestKey, b64
from forge.merkle import inclusion_path, leaf_hash, root_of
from forge.note import signed_note
from forge.trust import LOG, ORIGIN

_WIDTH = 256


@dataclass(frozen=True)
class Log:
    """A log of these leaves."""

    leaves: Sequence[bytes]
    origin: str = ORIGIN
    key: TestKey = LOG

    @property
    def hashes(self) -> list[bytes]:
        """The leaf hashes."""
        return [leaf_hash(leaf) for leaf in self.leaves]

    @property
    def body(self) -> list[str | bytes]:
        """The lines of the checkpoint's text."""
        return [self.origin, str(len(self.leaves)), root_of(self.hashes)]

    def checkpoint(self) -> bytes:
        """Return the signed checkpoint."""
        return signed_note(self.body, self.origin, self.key)

    def proof(self, index: int, *, checkpoint: bytes | None = None, said: str | None = None) -> bytes:
        """Return the tlog-proof of a leaf; ``said`` is what its index line says instead."""
        hashes = inclusion_path(self.hashes, index)
        return proof_file(said or str(index), hashes, checkpoint or self.checkpoint())

    def files(self) -> dict[str, bytes]:
        """Return the folder: names below ``log/`` and their bytes."""
        files = {"log/checkpoint": self.checkpoint()}
        for tile in range((len(self.leaves) + _WIDTH - 1) // _WIDTH):
            part = self.leaves[tile * _WIDTH : (tile + 1) * _WIDTH]
            framed = b"".join(len(leaf).to_bytes(2) + leaf for leaf in part)
            files[f"log/tile/entries/{_tile_name(tile, len(part))}"] = framed
        level, nodes = 0, self.hashes
        while nodes:
            for tile in range((len(nodes) + _WIDTH - 1) // _WIDTH):
                hashes = nodes[tile * _WIDTH : (tile + 1) * _WIDTH]
                files[f"log/tile/{level}/{_tile_name(tile, len(hashes))}"] = b"".join(hashes)
            whole = len(nodes) // _WIDTH
            level, nodes = level + 1, [root_of(nodes[n * _WIDTH : (n + 1) * _WIDTH]) for n in range(whole)]
        return files


def proof_file(index: str, hashes: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Return a C2SP tlog-proof."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(b64(node) for node in hashes), ""]
    return "".join(line + "\n" for line in lines).encode() + checkpoint


def leaf(manifest_sha256: str | None, *, bundle_id: str = BUNDLE_ID, run_id: str = RUN_ID, part: int = 1) -> bytes:
    """Return a leaf; without a digest, that of a run which was opened."""
    return canonical(leaf_document(manifest_sha256, bundle_id=bundle_id, run_id=run_id, part=part))


def leaf_document(manifest_sha256: str | None, *, bundle_id: str, run_id: str, part: int = 1) -> Json:
    """Return a leaf as a document."""
    named = {"tenant": TENANT, "run_id": run_id, "part": part}
    return {**named, "bundle_id": bundle_id, "manifest_sha256": manifest_sha256}


def without(files: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    """Return ``files`` without those that must be there by these names."""
    left = dict(files)
    for name in names:
        del left[name]
    return left


def _tile_name(index: int, width: int) -> str:
    # Tile indexes below 1000 need no folder of their own (tlog-tiles, "Merkle Tree").
    return f"{index:03d}" + (f".p/{width}" if width < _WIDTH else "")
