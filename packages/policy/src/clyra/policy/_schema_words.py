# SPDX-License-Identifier: Apache-2.0
"""Words in which the walk along the schema says what it found and what to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clyra.policy.source import Path, quoted

KIND_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
}
"""Types of JSON Schema, for people."""


def described(schema: Mapping[str, Any]) -> str:
    """What the schema says a value is, to go on a sentence with."""
    text = str(schema.get("description", ""))
    return (text if text[1:2].isupper() else text[:1].lower() + text[1:]).rstrip(".")


def type_hint(value: object, kinds: Sequence[str]) -> str:
    """What to write instead of ``value``, which is none of ``kinds``; nothing where that is not known."""
    if value is None:
        return "; write [] or remove the key" if "array" in kinds else "; remove the key, or give it a value"
    if "array" in kinds and not isinstance(value, dict):
        return f"; write [{value}]" if isinstance(value, str | int) and len(str(value)) <= 40 else ""
    if "boolean" in kinds and value in ("true", "false"):
        return f"; write {value} without quotes"
    if "integer" in kinds and isinstance(value, str) and value.isdecimal():
        return "; write it without quotes"
    if "string" in kinds and isinstance(value, int):
        shown = str(value).lower() if isinstance(value, bool) else value
        return f'; write "{shown}" in quotes'
    return ""


def label(path: Path) -> str:
    """The value at ``path`` as a sentence begins with it."""
    if not path:
        return "the policy"
    if isinstance(path[-1], str):
        return quoted(path[-1])
    owner = next((part for part in reversed(path) if isinstance(part, str)), "list")
    return f"item {path[-1] + 1} of {quoted(owner)}"
