# SPDX-License-Identifier: Apache-2.0
"""Values as YAML that the policy's reader takes for exactly these values. Nothing of a YAML library is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from clyra.policy.source import TrapError, resolve

_PLAIN = re.compile(r"[A-Za-z_/][\w ./()<>=*+'-]*(?<! )|[A-Za-z_][\w.-]*:[\w.:/-]*[\w/-]")
_WIDTH = 110
_FEW = 4


def scalar(value: object) -> str:
    """A scalar, in quotes where anybody's reader might take it for something else."""
    if isinstance(value, str):
        return value if _is_plain(value) else '"' + "".join(map(_escaped, value)) + '"'
    return json.dumps(value)


def flow(value: object) -> str:
    """Any value in one line: ``{field: change.dirty, op: eq, value: true}``."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if _is_list(value):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def block(value: Mapping[str, object], indent: int = 0) -> Iterator[str]:
    """The lines of a mapping; what does not fit into one line is broken down."""
    blank = " " * indent
    for key, each in value.items():
        short = f"{blank}{scalar(key)}: {flow(each)}"
        if _is_list(each) and (len(short) > _WIDTH or any(isinstance(item, Mapping) for item in each)):
            yield f"{blank}{scalar(key)}:"
            yield from items(each, indent + 2)
        elif isinstance(each, Mapping) and each and len(short) > _WIDTH:
            yield f"{blank}{scalar(key)}:"
            yield from block(each, indent + 2)
        else:
            yield short


def items(values: Sequence[object], indent: int = 0) -> Iterator[str]:
    """The lines of a list, one item after the other."""
    blank = " " * indent
    for each in values:
        short = f"{blank}- {flow(each)}"
        if isinstance(each, Mapping) and (len(short) > _WIDTH or len(each) > _FEW):
            first, *rest = block(each, indent + 2)
            yield f"{blank}- {first[indent + 2 :]}"
            yield from rest
        else:
            yield short


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    # YAML's escapes, not JSON's: half a surrogate pair is no character there.
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _is_plain(text: str) -> bool:
    if _PLAIN.fullmatch(text) is None or not text.isascii():
        return False
    try:
        return resolve(text) == text
    except TrapError:
        return False
