# SPDX-License-Identifier: Apache-2.0
"""Small changes to documents and bytes; each refuses to change nothing, so that no vector tests the good bundle."""

import copy
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
DocumentEdit = Callable[[Json], Json]
BytesEdit = Callable[[bytes], bytes]


def put(path: str, value: Any) -> DocumentEdit:
    """Return an edit that sets the member or array element at ``path`` (``a/0/b``) to ``value``."""

    def edit(document: Json) -> Json:
        changed = copy.deepcopy(document)
        holder, last = _holder(changed, path)
        if isinstance(holder, dict) and last in holder and _same(holder[last], value):
            raise ValueError(f"{path} already is {value!r}")
        holder[last] = copy.deepcopy(value)
        return changed

    return edit


def drop(path: str) -> DocumentEdit:
    """Return an edit that removes the member or array element at ``path``."""

    def edit(document: Json) -> Json:
        changed = copy.deepcopy(document)
        holder, last = _holder(changed, path)
        del holder[last]
        return changed

    return edit


def rename(old: str, new: str) -> DocumentEdit:
    """Return an edit that renames a top-level member."""

    def edit(document: Json) -> Json:
        changed = copy.deepcopy(document)
        changed[new] = changed.pop(old)
        return changed

    return edit


def both(*edits: DocumentEdit) -> DocumentEdit:
    """Return an edit that applies several, in order."""

    def edit(document: Json) -> Json:
        for one in edits:
            document = one(document)
        return document

    return edit


def swap(old: bytes, new: bytes) -> BytesEdit:
    """Return an edit that replaces the only occurrence of ``old``."""

    def edit(data: bytes) -> bytes:
        if data.count(old) != 1 or old == new:
            raise ValueError(f"{data.count(old)} occurrences of {old!r}")
        return data.replace(old, new)

    return edit


def wrap(before: bytes, after: bytes) -> BytesEdit:
    """Return an edit that puts bytes around the whole."""
    return lambda data: before + data + after


def flip(data: bytes, position: int, mask: int = 1) -> bytes:
    """Return ``data`` with bits of one byte flipped."""
    changed = bytearray(data)
    changed[position] ^= mask
    return bytes(changed)


def _same(old: Any, new: Any) -> bool:
    return type(old) is type(new) and bool(old == new)


def _holder(document: Any, path: str) -> tuple[Any, Any]:
    *steps, last = path.split("/")
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    return document, int(last) if isinstance(document, list) else last
