# SPDX-License-Identifier: Apache-2.0
"""Canonical bytes of the integer profile (spec/canonical.md), and digests of them."""

import hashlib
from typing import Any

MAX_INTEGER = 2**53 - 1
_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def canonical(value: Any) -> bytes:
    """Return the canonical bytes of ``value``; a value outside the integer profile is a programming mistake."""
    return _text(value).encode("utf-8")


def digest(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError(f"integer outside the profile: {value}")
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, dict):
        # RFC 8785, 3.2.3: UTF-16 code units, which differ from code points above U+FFFF.
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_string(name)}:{_text(value[name])}" for name in names) + "}"
    raise TypeError(f"no canonical form: {type(value).__name__}")


def _string(text: str) -> str:
    return '"' + "".join(_SHORT.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 else c) for c in text) + '"'
