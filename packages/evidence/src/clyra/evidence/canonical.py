# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON (RFC 8785): the bytes that are hashed and signed.

orjson's sorted, compact output equals RFC 8785 for most values, and is several times faster than code made for RFC
8785. `canonicalize` takes it only where a look at the value proves the two equal; everything else goes to ``rfc8785``.
What must be looked for, because orjson differs there and says nothing: floats that are integers, very small or not
finite; names that hold a code point from U+10000 upward, which sort by UTF-16 code unit; enumerations, UUIDs and
subclasses.
"""

from __future__ import annotations

from gc import get_referents

import orjson

from clyra.spec import FormatError

_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_SCALARS: frozenset[type] = frozenset((str, int, bool, type(None)))
_INTEGER_KINDS = _SCALARS | {dict, list, tuple}
_KINDS = _INTEGER_KINDS | {float}
_LEAST_FLOAT = 1e-5
_FLOAT_LIMIT = 1e16
_MAX_DEPTH = 64


def canonicalize(value: object) -> bytes:
    """The RFC 8785 bytes of ``value``.

    Raises:
        FormatError: The value has none: another type, an integer beyond 2^53-1, a float that is not finite, a lone
            surrogate, a cycle (``canonical_value``).
    """
    # orjson comes first: it ends on a cycle, so the walk that follows ends too.
    try:
        fast = orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, TypeError):
        return _canonicalize_slowly(value)
    return fast if _is_plain(value, fast) else _canonicalize_slowly(value)


def canonicalize_integers(value: object) -> bytes:
    """The canonical bytes of ``value`` under the integer profile of ``spec/canonical.md``.

    Raises:
        FormatError: The value has none, or holds a float, a NUL or more than 64 levels (``canonical_value``).
    """
    encoded = canonicalize(value)
    # Fewer brackets than levels prove that the depth is kept, at a fraction of the cost of a walk.
    is_flat = encoded.count(b"[") + encoded.count(b"{") <= _MAX_DEPTH
    if not is_flat or b"\\u0000" in encoded or not _is_plain(value, encoded, _INTEGER_KINDS):
        _check_profile(value)
    return encoded


def canonicalize_trusted(value: object) -> bytes:
    """The canonical bytes of a value made by our own code, without proof.

    Right only for ASCII member names and without floats; nothing here checks that.

    Raises:
        FormatError: A type, integer or text that JSON cannot hold (``canonical_value``).
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, TypeError) as exc:
        raise _no_canonical_form(str(exc)) from exc


def printable(value: object) -> object:
    """``value`` with U+FFFD for every lone surrogate and NUL in its texts, names included.

    Such text comes from outside (arguments, file names, messages) and must not stop a recorder.
    """
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {printable(name): printable(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [printable(member) for member in value]
    return value


def _canonicalize_slowly(value: object) -> bytes:
    import rfc8785

    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # it refuses what it cannot take
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, TypeError, AttributeError, RecursionError) as exc:
        raise _no_canonical_form(type(exc).__name__) from exc


def _is_plain(root: object, encoded: bytes, kinds: frozenset[type] = _KINDS) -> bool:
    """True only where orjson's bytes ``encoded`` are those of RFC 8785, and no other types than ``kinds`` occur."""
    # Names are known to be text, and where no character of the document is astral, none of a name is.
    if not encoded.isascii() and _has_astral(encoded.decode()):
        return False
    # `get_referents` gives the members of all containers of a level at once, without a step of Python for each.
    level = [root]
    while not _SCALARS.issuperset(map(type, level)):
        found = set(map(type, level))
        if not kinds.issuperset(found):
            return False
        if float in found and not all(_is_plain_float(member) for member in level if type(member) is float):
            return False
        level = get_referents(*level)
    return True


def _has_astral(text: str) -> bool:
    return len(text.encode("utf-16-le")) != 2 * len(text)


def _is_plain_float(number: float) -> bool:
    return _LEAST_FLOAT <= abs(number) < _FLOAT_LIMIT and not number.is_integer()


def _check_profile(value: object, depth: int = 1) -> None:
    if isinstance(value, float):
        raise _no_canonical_form("a number with a fraction; write decimals as text")
    if isinstance(value, str) and "\0" in value:
        raise _no_canonical_form("a NUL character in a text")
    if isinstance(value, dict | list | tuple):
        if depth > _MAX_DEPTH:
            raise _no_canonical_form(f"more than {_MAX_DEPTH} levels")
        members = [*value, *value.values()] if isinstance(value, dict) else value
        for member in members:
            _check_profile(member, depth + 1)


def _no_canonical_form(found: str) -> FormatError:
    return FormatError(f"a value has no canonical JSON form: {found}", code="canonical_value")
