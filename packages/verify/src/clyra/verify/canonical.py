# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON under the integer profile of ``spec/canonical.md``, read and written with the standard library.

The invariant of :func:`read_canonical`: what it returns has exactly one byte form, the one that was read. Duplicate
names, other orders, white space, needless escapes, fractions, overlong or broken UTF-8 and whatever else a parser may
let pass all end as a difference between the bytes read and the bytes written again.
"""

from __future__ import annotations

import json
from typing import NoReturn

from clyra.verify._refusal import Refusal

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1


def canonical_bytes(value: object) -> bytes:
    """The canonical bytes of a value made of dict, list, str, int, bool and None.

    Raises:
        UnicodeEncodeError: A string holds a lone surrogate.
    """
    text = _SORTING.encode(value)
    if not text.isascii() and max(text) >= "\U00010000":
        # Code point order and UTF-16 order differ only where such a character is in a name.
        text = _KEEPING.encode(_in_utf16_order(value))
    return text.encode()


def read_canonical(data: bytes) -> object:
    """The value of which ``data`` are the canonical bytes.

    Raises:
        Refusal: ``json_not_canonical``, whatever the cause.
    """
    try:
        value = _PLAIN.decode(data.decode())
        same = not _too_deep(data, value) and canonical_bytes(value) == data
    except (ValueError, RecursionError) as exc:
        raise Refusal("json_not_canonical", "the bytes are not canonical JSON of the integer profile") from exc
    if not same:
        raise Refusal("json_not_canonical", "the bytes are not those that canonical JSON has for this value")
    return value


def read_strict(data: bytes) -> object:
    """The value of JSON text in any spelling, with the integer profile's limits and no name twice.

    Raises:
        ValueError: The text is anything else; nesting deeper than 64 and lone surrogates included.
    """
    try:
        value: object = _STRICT.decode(data.decode())
        if _too_deep(data, value):
            raise ValueError("nested deeper than 64")
        canonical_bytes(value)
    except RecursionError as exc:
        raise ValueError("nested deeper than 64") from exc
    return value


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"not an integer: {text[:24]}")


def _integer(text: str) -> int:
    if len(text) > 17 or text == "-0" or not -MAX_INTEGER <= (value := int(text)) <= MAX_INTEGER:
        raise ValueError("an integer beyond 2^53-1, or -0")
    return value


def without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these members, for a JSON decoder's ``object_pairs_hook``.

    Raises:
        ValueError: A name occurs twice.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice")
    return members


_PLAIN = json.JSONDecoder(parse_float=_refuse_number, parse_int=_integer, parse_constant=_refuse_number)
_STRICT = json.JSONDecoder(
    parse_float=_refuse_number,
    parse_int=_integer,
    parse_constant=_refuse_number,
    object_pairs_hook=without_duplicates,
)
_SORTING = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_KEEPING = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def _in_utf16_order(value: object) -> object:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return {name: _in_utf16_order(value[name]) for name in names}
    if isinstance(value, list):
        return [_in_utf16_order(item) for item in value]
    return value


def _too_deep(data: bytes, value: object) -> bool:
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return False
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True
