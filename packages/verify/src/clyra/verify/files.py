# SPDX-License-Identifier: Apache-2.0
"""The listed files against the entries of the container, and the tree over the list (stage ``files``)."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clyra.verify._refusal import Refusal
from clyra.verify.canonical import canonical_bytes
from clyra.verify.container import Container
from clyra.verify.merkle import Tree, leaf_hash

JOURNAL = "journal.ndjson"
_CHUNK = 1 << 20


class Supplied(NamedTuple):
    """How many digests a manifest lists, and how many of them somebody supplied the bytes of."""

    listed: int
    checked: int


def check_files(manifest: Mapping[str, Any], container: Container) -> None:
    """Check that the container holds exactly the listed files, each with its size and digest.

    Raises:
        Refusal: ``file_unlisted``, ``file_missing``, ``file_size`` or ``file_digest``.
    """
    inside = [entry for entry in manifest["files"] if "external" not in entry]
    listed = {entry["path"] for entry in inside}
    present = container.listed_names()
    for name in present:
        if name not in listed:
            raise Refusal("file_unlisted", f"{name!r} is in the container and not listed as a file in it")
    if len(present) != len(listed):
        absent = min(listed.difference(present))
        raise Refusal("file_missing", f"{absent!r} is listed and not in the container")
    if not any(entry["path"] == JOURNAL and entry["role"] == "journal" for entry in inside):
        raise Refusal("file_missing", f"{JOURNAL} with the role journal is not among the files")
    entries = container.entries
    for entry in inside:
        found = entries[entry["path"]]
        if found.size != entry["size"]:
            raise Refusal("file_size", f"{entry['path']!r} has {found.size} bytes, {entry['size']} are listed")
        if found.sha256 != entry["sha256"]:
            raise Refusal("file_digest", f"{entry['path']!r} has other bytes than those that were signed for")


def check_externals(files: Sequence[Mapping[str, Any]], artifacts: str | None) -> Supplied:
    """Check those external files whose bytes are in the folder ``artifacts``.

    Raises:
        Refusal: ``external_digest``.
    """
    externals = [entry for entry in files if "external" in entry]
    return _check_supplied(externals, artifacts, by_path=True)


def check_references(references: Sequence[Mapping[str, Any]], artifacts: str | None) -> Supplied:
    """Check those references whose bytes are in the folder ``artifacts``, by digest.

    Raises:
        Refusal: ``external_digest``.
    """
    return _check_supplied(references, artifacts, by_path=False)


def check_tree(manifest: Mapping[str, Any]) -> None:
    """Check size and root of the tree over ``files``.

    Raises:
        Refusal: ``tree_size`` or ``tree_root``.
    """
    files, tree = manifest["files"], manifest["tree"]
    if tree["size"] != len(files):
        raise Refusal("tree_size", f"the tree has the size {tree['size']}, the list {len(files)} files")
    if Tree(leaf_hash(canonical_bytes(entry)) for entry in files).root().hex() != tree["root"]:
        raise Refusal("tree_root", "the root of the tree is not that of the listed files")


def _check_supplied(entries: Iterable[Mapping[str, Any]], artifacts: str | None, *, by_path: bool) -> Supplied:
    listed = checked = 0
    for entry in entries:
        listed += 1
        found = None if artifacts is None else _find(artifacts, entry, by_path=by_path)
        if found is None:
            continue
        if _digest(found) != (entry["size"], entry["sha256"]):
            raise Refusal("external_digest", f"{found!r} has other bytes than those that were signed for")
        checked += 1
    return Supplied(listed, checked)


def _find(artifacts: str, entry: Mapping[str, Any], *, by_path: bool) -> str | None:
    digest = entry["sha256"]
    candidates = [os.path.join(artifacts, "sha256", digest[:2], digest)]
    if by_path:
        candidates.append(os.path.join(artifacts, *entry["path"].split("/")))
    # Only regular files: opening a pipe or a device waits, or does worse.
    return next((path for path in candidates if _is_regular(path)), None)


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _digest(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
