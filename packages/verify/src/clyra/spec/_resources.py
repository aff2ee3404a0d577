# SPDX-License-Identifier: Apache-2.0
"""Read the files of ``spec/``: packed in the wheel, or those of the checkout in an editable install.

``json`` and ``pathlib`` are imported where they are used: every command imports this package for its errors alone.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pathlib import Path


def spec_folder() -> Path:
    """The folder that holds the specification's files.

    Raises:
        FileNotFoundError: Neither a packed copy nor a checkout is there: a broken installation.
    """
    from pathlib import Path

    return Path(_folder())


@lru_cache(maxsize=1)
def _folder() -> str:
    here = os.path.dirname(os.path.abspath(__file__))
    packed = os.path.join(here, "data")
    if os.path.isdir(packed):
        return packed
    checkout = os.path.join(here, *[os.pardir] * 5, "spec")
    if os.path.isfile(os.path.join(checkout, "errors.md")):
        return os.path.normpath(checkout)
    raise FileNotFoundError("the clyra-verify installation holds no specification data; install it again")


def read_json(name: str) -> dict[str, Any]:
    """The JSON document ``name``, a path relative to the specification's folder."""
    import json

    with open(os.path.join(_folder(), *name.split("/")), "rb") as file:
        return cast("dict[str, Any]", json.loads(file.read()))


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of ``name``, the file ``<name>.schema.json`` in one of the schema folders.

    Raises:
        KeyError: There is no such schema.
    """
    for folder in ("def/schemas", "common/schemas", "approval/schemas"):
        if os.path.isfile(os.path.join(_folder(), folder, f"{name}.schema.json")):
            return read_json(f"{folder}/{name}.schema.json")
    raise KeyError(name)


def verb_writes(verb: str) -> bool:
    """True unless ``verbs.json`` knows that statements of this verb do not write."""
    entry = _verbs().get(verb)
    return True if entry is None else bool(entry["writes"])


def verb_class(verb: str) -> str | None:
    """Class of the verb in ``verbs.json``, such as ``read`` or ``ddl``; None where it is not listed."""
    entry = _verbs().get(verb)
    return None if entry is None else str(entry["class"])


@lru_cache(maxsize=1)
def _verbs() -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", read_json("verbs.json")["verbs"])


@lru_cache(maxsize=1)
def _anchors() -> dict[str, list[str]]:
    return cast("dict[str, list[str]]", read_json("anchors.json")["adapters"])


def anchor_kinds(adapter: str) -> tuple[str, ...]:
    """Kinds of anchor that ``anchors.json`` lists for the adapter; empty where it gives none."""
    return tuple(_anchors().get(adapter, ()))
