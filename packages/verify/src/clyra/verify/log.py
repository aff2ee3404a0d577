# SPDX-License-Identifier: Apache-2.0
"""Verify the project's log as a whole: C2SP tlog-tiles in a folder (``spec/log.md``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from clyra.verify._input import PathLike, check_trust, open_file, read_file, read_trust
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical
from clyra.verify.merkle import HASH_SIZE, Tree, leaf_hash
from clyra.verify.note import MAX_NOTE_BYTES, TreeHead, check_log_signature, parse_tree_head
from clyra.verify.result import Verification
from clyra.verify.schema import compiled_type
from clyra.verify.trust import Trust

TILE_WIDTH = 256
# 256 entries, each of at most 65,535 bytes behind its length.
_MAX_ENTRY_TILE = TILE_WIDTH * (2 + 0xFFFF)
# Members of a leaf and the definitions of types.schema.json that they are of.
_MEMBERS = {"tenant": "tag", "run_id": "tag", "part": "count", "bundle_id": "uuid7", "manifest_sha256": "sha256"}


def verify_log(
    folder: PathLike,
    *,
    since: PathLike | bytes | None = None,
    trust: PathLike | bytes | None = None,
    trust_sha256: str | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: PathLike | None = None,
) -> Verification:
    """Say whether a log is whole, has one history, and continues one that was seen before.

    Args:
        folder: The log's folder, with ``checkpoint`` and ``tile/``.
        since: A checkpoint that was kept earlier.
        trust: The trust file, as in ``verify_bundle``.
        trust_sha256: Lower-case hex SHA-256 that the trust file must have.
        environ: Environment variables, the process's where None.
        cwd: Working directory, the process's where None.

    Raises:
        UnavailableError: ``folder``, the trust file or the kept checkpoint cannot be read.
    """
    result = Verification(stages=("input", "log"))
    environ = os.environ if environ is None else environ
    data, result.trust_source, result.trust_path = read_trust(trust, environ, cwd, beside=os.fspath(folder))
    kept = None if since is None else read_file(since, MAX_NOTE_BYTES + 1)
    root = os.fspath(folder)
    if not os.path.isdir(root):
        # The same error as for any file that is not there.
        open_file(root).close()
    with suppress(Refusal):
        with result.checking("input"):
            result.trust = check_trust(data, trust_sha256)
        with result.checking("log"):
            _check_log(result, root, kept)
    return result


def _check_log(result: Verification, folder: str, kept: bytes | None) -> None:
    if result.trust is None:
        result.warn("trust_not_evaluated", "log", "no trust file was given: who signed the checkpoint is not known")
    head = _checkpoint(_read(folder, "checkpoint", MAX_NOTE_BYTES + 1), result.trust, "the checkpoint")
    # The form of what somebody kept is looked at first: a history is compared only with a true checkpoint.
    old = None if kept is None else _checkpoint(kept, result.trust, "the kept checkpoint")
    if old is not None and old.origin != head.origin:
        raise Refusal("checkpoint_invalid", "the kept checkpoint is of another log")
    bundles = _Bundles()
    tree, old_root = Tree(), None
    hashes = _LevelCheck(folder, head.size)
    for entry in _entries(folder, head.size):
        if old is not None and tree.size == old.size:
            old_root = tree.root()
        leaf = leaf_hash(entry)
        tree.append(leaf)
        hashes.append(leaf)
        bundles.add(entry, tree.size - 1)
    hashes.finish()
    if tree.root() != head.root:
        raise Refusal("log_root", "the entries do not give the checkpoint's root")
    bundles.check_forks()
    if old is not None:
        _check_since(old, head, old_root if old.size < head.size else tree.root())
    if bundles.open_runs():
        result.warn("log_run_open", "log", f"opened and never sealed: {', '.join(bundles.open_runs())}")


def _checkpoint(data: bytes | None, trust: Trust | None, what: str) -> TreeHead:
    if data is None:
        raise Refusal("checkpoint_invalid", f"there is no file for {what}")
    try:
        head = parse_tree_head(data)
    except ValueError as exc:
        raise Refusal("checkpoint_invalid", f"{what} is malformed: {exc}") from exc
    if trust is not None:
        check_log_signature(head, trust.log_keys(head.origin), trust.threshold("log"))
    return head


def _check_since(old: TreeHead, head: TreeHead, root_then: bytes | None) -> None:
    if old.size > head.size:
        raise Refusal("log_rollback", f"the log has {head.size} entries, it had {old.size}")
    if root_then != old.root:
        raise Refusal("log_fork", f"the first {old.size} entries are not those that the kept checkpoint is about")


def _read(folder: str, name: str, limit: int) -> bytes | None:
    path = os.path.join(folder, *name.split("/"))
    return read_file(path, limit) if os.path.isfile(path) else None


def _tile_name(level: str, index: int, width: int) -> str:
    """C2SP tlog-tiles: three digits per folder, all but the last marked with an x, a width where it is partial."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(parts))}" + ("" if width == TILE_WIDTH else f".p/{width}")


def _tiles(folder: str, level: str, total: int, limit: int) -> Iterator[tuple[bytes, int, bool, str]]:
    """Contents, wanted width, whether the file is wider than that, and name of the tiles for ``total`` items."""
    for index in range((total + TILE_WIDTH - 1) // TILE_WIDTH):
        width = min(TILE_WIDTH, total - index * TILE_WIDTH)
        name = _tile_name(level, index, width)
        data = _read(folder, name, limit + 1)
        is_wider = data is None and width < TILE_WIDTH
        if is_wider:
            # A log that has grown since may have dropped its partial tile.
            name = _tile_name(level, index, TILE_WIDTH)
            data = _read(folder, name, limit + 1)
        if data is None:
            raise Refusal("log_tile", f"{name} is missing")
        yield data, width, is_wider, name


def _entries(folder: str, size: int) -> Iterator[bytes]:
    for data, width, is_wider, name in _tiles(folder, "entries", size, _MAX_ENTRY_TILE):
        at = 0
        for _ in range(width):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if len(data) < at + 2 or len(data) < end:
                raise Refusal("log_tile", f"{name} has fewer than {width} entries")
            yield data[at + 2 : end]
            at = end
        if at != len(data) and not is_wider:
            raise Refusal("log_tile", f"{name} has more than {width} entries")


class _LevelCheck:
    """Compares the hash tiles of every level with the hashes that the entries give, tile by tile."""

    def __init__(self, folder: str, size: int) -> None:
        self._levels: list[Callable[[bytes | None], None]] = []
        count, level = size, 0
        while count:
            self._levels.append(self._level(_tiles(folder, str(level), count, TILE_WIDTH * HASH_SIZE), level))
            count //= TILE_WIDTH
            level += 1

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self._levels[0](leaf)

    def finish(self) -> None:
        """Compare the partial tiles at the right border."""
        for level in self._levels:
            level(None)

    def _level(self, tiles: Iterator[tuple[bytes, int, bool, str]], level: int) -> Callable[[bytes | None], None]:
        pending: list[bytes] = []

        def add(value: bytes | None) -> None:
            if value is not None:
                pending.append(value)
            if pending and (value is None or len(pending) == TILE_WIDTH):
                data, width, is_wider, name = next(tiles)
                expected = b"".join(pending)
                found = data[: len(expected)] if is_wider else data
                if found != expected or (is_wider and len(data) != TILE_WIDTH * HASH_SIZE):
                    raise Refusal("log_tile", f"{name} does not hold the {width} hashes that the entries give")
                full = len(pending) == TILE_WIDTH
                if full and level + 1 < len(self._levels):
                    self._levels[level + 1](Tree(pending).root())
                pending.clear()

        return add


class _Bundles:
    """What the leaves say of each bundle: opened, sealed with which manifest."""

    def __init__(self) -> None:
        self._manifests: dict[str, set[str]] = {}

    def add(self, entry: bytes, index: int) -> None:
        """Read a leaf.

        Raises:
            Refusal: ``log_leaf``.
        """
        try:
            leaf: Any = read_canonical(entry)
        except Refusal as exc:
            raise Refusal("log_leaf", f"entry {index} is not canonical JSON") from exc
        if not _is_leaf(leaf):
            raise Refusal("log_leaf", f"entry {index} is not a leaf of this log")
        manifests = self._manifests.setdefault(leaf["bundle_id"], set())
        if leaf["manifest_sha256"] is not None:
            manifests.add(leaf["manifest_sha256"])

    def check_forks(self) -> None:
        """Check that no bundle has two manifests.

        Raises:
            Refusal: ``log_fork``.
        """
        for bundle_id, manifests in self._manifests.items():
            if len(manifests) > 1:
                raise Refusal("log_fork", f"the bundle {bundle_id} is in the log with {len(manifests)} manifests")

    def open_runs(self) -> list[str]:
        """Ids of the bundles that were opened and never sealed, in the order of the log."""
        return [bundle_id for bundle_id, manifests in self._manifests.items() if not manifests]


def _is_leaf(leaf: Any) -> bool:
    if type(leaf) is not dict or leaf.keys() != _MEMBERS.keys() or leaf["part"] == 0:
        return False
    return all(
        (name == "manifest_sha256" and leaf[name] is None) or compiled_type(kind)(leaf[name]) is None
        for name, kind in _MEMBERS.items()
    )
