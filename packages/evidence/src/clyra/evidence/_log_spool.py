# SPDX-License-Identifier: Apache-2.0
"""Leaves that could not be appended in time: one file each in ``spool/`` of the log, until the next append."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from clyra.evidence._log_files import write_files
from clyra.evidence._log_leaf import decode_leaf
from clyra.evidence.merkle import leaf_hash
from clyra.spec import ProofError, UnavailableError

# A bundle id is time-ordered and `0` (opened) sorts before `1` (sealed), so names are in the order of the runs.
_NAME = re.compile(r"[0-9a-f-]{36}\.[01]\.[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SpooledLeaf:
    """A leaf that waits, and its file."""

    path: Path
    entry: bytes


class LogSpool:
    """The folder of leaves that wait for the log's lock.

    Args:
        folder: Made when the first leaf waits.
        durable: Whether a leaf that was put survives a power cut.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self._durable = durable

    def put(self, entry: bytes) -> None:
        """Keep a leaf for the next append; a leaf that waits already is kept once.

        Raises:
            UnavailableError: The file cannot be written (``evidence_unavailable``).
        """
        leaf = decode_leaf(entry)
        name = f"{leaf['bundle_id']}.{int(leaf['manifest_sha256'] is not None)}.{leaf_hash(entry).hex()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_files(self.folder, {name: entry}, durable=self._durable)
        except OSError as exc:
            raise UnavailableError(
                f"cannot write to {self.folder}: {exc.strerror}; make it writable and free space",
                code="evidence_unavailable",
            ) from exc

    def waiting(self) -> list[SpooledLeaf]:
        """The leaves that wait, in the order of their runs; a file that holds no leaf is passed over."""
        leaves: list[SpooledLeaf] = []
        if not self.folder.is_dir():
            return leaves
        for name in sorted(os.listdir(self.folder)):
            if _NAME.fullmatch(name) is None:
                continue
            path = self.folder / name
            entry = path.read_bytes()
            if leaf_hash(entry).hex() == name.rsplit(".", 1)[1] and _is_leaf(entry):
                leaves.append(SpooledLeaf(path, entry))
        return leaves


def _is_leaf(entry: bytes) -> bool:
    try:
        decode_leaf(entry)
    except ProofError:
        return False
    return True
