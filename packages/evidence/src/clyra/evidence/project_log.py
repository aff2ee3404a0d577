# SPDX-License-Identifier: Apache-2.0
"""A project's append-only log of runs and bundles (``spec/log.md``): C2SP tlog-tiles on plain files.

Invariants:

- ``checkpoint`` is replaced last and atomically. What lies on the disk beyond its size is not part of the log and is
  written again by the next append, so a process may be killed at any point.
- A file that a checkpoint covers never changes. Partial tiles stay until the full tile is covered by a checkpoint.
- A log begins with the checkpoint of the empty tree, which holds its origin. Tiles without a checkpoint are therefore
  never a crash but a loss, and are refused instead of overwritten.
- One writer at a time, by a file lock. Who waits too long leaves the leaf in ``spool/``.
- Each writer signs with its own log key; a log may be continued under another key.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from clyra.evidence._locks import FileLock
from clyra.evidence._log_files import write_files
from clyra.evidence._log_leaf import LogLeaf, decode_leaf, encode_leaf
from clyra.evidence._log_spool import LogSpool, SpooledLeaf
from clyra.evidence._tiles import ENTRIES, TILE_WIDTH, StoredTree, grow, tile_path
from clyra.evidence.note import sign_note
from clyra.evidence.signer import Signer
from clyra.evidence.tlog_proof import Checkpoint, checkpoint_text, format_proof, read_checkpoint
from clyra.spec import ClyraError, ProofError, UnavailableError

CHECKPOINT = "checkpoint"

_LOCK = ".lock"
_SPOOL = "spool"
_LOG_ID_BYTES = 16
# What would be read as the end of a key name, or of the line, in a signed note.
_NOT_IN_ORIGIN = re.compile(r"[^A-Za-z0-9_.-]")
# With the caller's own leaf at most one tile is completed per checkpoint, so one partial one is superseded.
_BATCH = TILE_WIDTH - 1


class StoredLog:
    """A log as its checkpoint says it is: read leaves and proofs, without a key and without a lock.

    Raises:
        UnavailableError: There is no log in the folder (``evidence_unavailable``).
        ProofError: The checkpoint is malformed (``checkpoint_invalid``).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            signed = (folder / CHECKPOINT).read_bytes()
        except OSError as exc:
            raise UnavailableError(
                f"{folder} holds no log that can be read: {exc.strerror}; name the folder with the file 'checkpoint'",
                code="evidence_unavailable",
            ) from exc
        self.checkpoint: Checkpoint = read_checkpoint(signed)
        self.tree = StoredTree(folder, self.checkpoint.size)

    def leaves(self, start: int = 0) -> Iterator[LogLeaf]:
        """The leaves from number ``start`` on.

        Raises:
            ProofError: A tile is absent or torn (``log_tile``), or an entry is no leaf (``log_leaf``).
        """
        return map(decode_leaf, self.tree.entries(start))

    def waiting(self) -> list[LogLeaf]:
        """Leaves in the spool, which the next append takes in."""
        return [decode_leaf(leaf.entry) for leaf in LogSpool(self.folder / _SPOOL).waiting()]

    def find(self, bundle_id: str) -> int:
        """The number of the leaf of a sealed bundle; the last one, were there several.

        Raises:
            UnavailableError: The log does not have it (``log_pending``).
            ProofError: A tile is absent or torn (``log_tile``), or an entry is no leaf (``log_leaf``).
        """
        wanted = bundle_id.encode()
        for bundle in reversed(range(self.tree.bundle_count)):
            for offset, entry in reversed(list(enumerate(self.tree.bundle_entries(bundle)))):
                if wanted in entry and _is_sealed(decode_leaf(entry), bundle_id):
                    return bundle * TILE_WIDTH + offset
        raise UnavailableError(
            f"bundle {bundle_id} is not in the log of {self.folder}; a leaf in its spool is taken in by the next run",
            code="log_pending",
        )

    def prove(self, leaf: int | str) -> bytes:
        """The C2SP tlog-proof of a leaf in the tree of the checkpoint.

        Args:
            leaf: Number of the leaf, or the id of a sealed bundle.

        Raises:
            ProofError: There is no leaf of that number (``proof_shape``), or a tile is absent or torn (``log_tile``).
            UnavailableError: The log does not have the bundle (``log_pending``).
        """
        index = self.find(leaf) if isinstance(leaf, str) else leaf
        if not 0 <= index < self.checkpoint.size:
            raise ProofError(
                f"the log has {self.checkpoint.size} leaves, none with the number {index}", code="proof_shape"
            )
        return format_proof(index, self.tree.inclusion_path(index), self.checkpoint.signed)

    def consistency(self, old_size: int) -> list[bytes]:
        """Hashes that show that the checkpoint's tree continues the one of ``old_size`` leaves (RFC 9162, 2.1.4).

        Raises:
            ProofError: The log is shorter than that (``log_rollback``), or ``old_size`` is not positive
                (``proof_shape``).
        """
        if old_size > self.checkpoint.size:
            raise ProofError(f"the log has {self.checkpoint.size} leaves, it had {old_size}", code="log_rollback")
        if old_size < 1:
            raise ProofError(f"a tree of {old_size} leaves has no consistency proof", code="proof_shape")
        return self.tree.consistency_path(old_size)


class ProjectLog:
    """A log that can be appended to.

    Args:
        folder: The log's folder, made by the first append.
        project: First part of the origin of a log that begins.
        signer: An Ed25519 log key.
        durable: Whether an append that returned survives a power cut; off it still survives a killed process.
    """

    def __init__(self, folder: Path, *, project: str, signer: Signer, durable: bool = True) -> None:
        self.folder = folder
        self._project = project
        self._signer = signer
        self._durable = durable
        self._spool = LogSpool(folder / _SPOOL, durable=durable)

    def append(self, leaf: Mapping[str, object], *, timeout_s: float = 2.0) -> int | None:
        """The number that the log gave to ``leaf``, or None where it waits in the spool.

        Leaves that waited are taken in first. Never reads more than the last tiles.

        Args:
            leaf: ``tenant``, ``run_id``, ``part``, ``bundle_id``, ``manifest_sha256`` (None when a run opens).
            timeout_s: How long to wait for other writers.

        Raises:
            ProofError: The leaf is malformed (``log_leaf``), or the log on the disk is damaged (``log_tile``,
                ``log_root``, ``log_rollback``, ``checkpoint_invalid``); the leaf then waits in the spool.
            UnavailableError: Neither log nor spool can be written (``evidence_unavailable``).
        """
        entry = encode_leaf(leaf)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / _LOCK).held(timeout_s=timeout_s):
                return self._append_all(entry)
        except (OSError, UnavailableError):
            self._spool.put(entry)
            return None
        except ClyraError:
            self._spool.put(entry)
            raise

    def checkpoint(self) -> bytes:
        """The signed checkpoint."""
        return self.stored().checkpoint.signed

    def prove(self, leaf: int | str) -> bytes:
        """See `StoredLog.prove`."""
        return self.stored().prove(leaf)

    def consistency(self, old_size: int) -> list[bytes]:
        """See `StoredLog.consistency`."""
        return self.stored().consistency(old_size)

    def stored(self) -> StoredLog:
        """The log as it is now, for reading."""
        return StoredLog(self.folder)

    def _append_all(self, entry: bytes) -> int:
        waiting = self._spool.waiting()
        while len(waiting) > _BATCH:
            self._commit(waiting[:_BATCH])
            waiting = waiting[_BATCH:]
        return self._commit(waiting, entry) - 1

    def _commit(self, waiting: Sequence[SpooledLeaf], *own: bytes) -> int:
        """Put leaves under a new checkpoint, forget those of the spool, and say how many the log has now."""
        stored = self._open()
        tree = stored.tree
        if tree.root() != stored.checkpoint.root:
            raise ProofError(
                f"the tiles in {self.folder} do not give the checkpoint's root; restore the folder from a copy, or "
                "move it away to begin a new log",
                code="log_root",
            )
        # A process killed between checkpoint and spool left leaves there that the log already ends with.
        known = set(tree.entries(max(0, tree.size - TILE_WIDTH))) if waiting else set()
        entries = [*(leaf.entry for leaf in waiting if leaf.entry not in known), *own]
        if entries:
            growth = grow(tree, entries)
            write_files(self.folder, growth.files, durable=self._durable)
            self._sign(stored.checkpoint.origin, tree.size + len(entries), growth.root)
        for leaf in waiting:
            leaf.path.unlink(missing_ok=True)
        self._remove_superseded(tree.size + len(entries))
        return tree.size + len(entries)

    def _open(self) -> StoredLog:
        if not (self.folder / CHECKPOINT).exists():
            if (self.folder / "tile").exists():
                raise ProofError(
                    f"{self.folder} has tiles and no checkpoint; restore the folder from a copy, or move it away to "
                    "begin a new log",
                    code="log_rollback",
                )
            name = _NOT_IN_ORIGIN.sub("_", self._project) or "project"
            self._sign(f"{name}/{secrets.token_hex(_LOG_ID_BYTES)}", 0, sha256(b"").digest())
        return StoredLog(self.folder)

    def _sign(self, origin: str, size: int, root: bytes) -> None:
        signed = sign_note(checkpoint_text(origin, size, root), origin, self._signer)
        write_files(self.folder, {CHECKPOINT: signed}, durable=self._durable)

    def _remove_superseded(self, size: int) -> None:
        """Remove the partial forms of the tiles that were completed last, on every level."""
        level = 0
        while count := size >> (8 * level):
            if complete := count // TILE_WIDTH:
                for kind in (level, ENTRIES) if level == 0 else (level,):
                    partial = self.folder / (tile_path(kind, complete - 1) + ".p")
                    if partial.is_dir():
                        shutil.rmtree(partial)
            level += 1


def _is_sealed(leaf: LogLeaf, bundle_id: str) -> bool:
    return leaf["bundle_id"] == bundle_id and leaf["manifest_sha256"] is not None
