# SPDX-License-Identifier: Apache-2.0
"""Verify the project's log as a whole: C2SP tlog-tiles in a folder (``spec/log.md``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from clyra.verify._input import PathLike, check_trust, open_file, read_file, read_trust
from clyra.verify._refusal import Refusal
from clyra.verify._tiles import LevelCheck, entries, read_file_of
from clyra.verify.canonical import read_canonical
from clyra.verify.merkle import Tree, leaf_hash
from clyra.verify.note import MAX_NOTE_BYTES, TreeHead, check_log_signature, parse_tree_head
from clyra.verify.result import Verification
from clyra.verify.schema import compiled_type
from clyra.verify.trust import Trust

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
            result.trust = check_trust(data, trust_sha256, result.trust_source)
        with result.checking("log"):
            _check_log(result, root, kept)
    return result


def _check_log(result: Verification, folder: str, kept: bytes | None) -> None:
    if result.trust is None:
        result.warn("trust_not_evaluated", "log", "no trust file was given: who signed the checkpoint is not known")
    head = _checkpoint(read_file_of(folder, "checkpoint", MAX_NOTE_BYTES + 1), result.trust, "the checkpoint")
    # The form of what somebody kept is looked at first: a history is compared only with a true checkpoint.
    old = None if kept is None else _checkpoint(kept, result.trust, "the kept checkpoint")
    if old is not None and old.origin != head.origin:
        raise Refusal("checkpoint_invalid", "the kept checkpoint is of another log")
    bundles = _Bundles()
    tree, old_root = Tree(), None
    hashes = LevelCheck(folder, head.size)
    for entry in entries(folder, head.size):
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
