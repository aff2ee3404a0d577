# SPDX-License-Identifier: Apache-2.0
"""Regular expressions that match only canonical lines of one event type, made from its schema.

In canonical form the members of a closed object stand in one order, so most lines of a long journal are a regular
language. A match proves at once that a line is canonical and that it is what the schema says; what does not match is
parsed and decides there. The expression is narrower than both on purpose: text is printable ASCII without escapes,
integers have at most 15 digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from clyra.verify.schema import definition, reference

_COUNT = "(?:0|[1-9][0-9]{0,14})"
_TEXT = r"[ !#-\[\]-~]"
# Definitions of types.schema.json whose pattern allows nothing but plain ASCII, and what stands for the others.
_PLAIN = frozenset({"sha256", "instant", "uuid7", "tag", "word", "member", "git_id"})
_NARROWED = {"name": f'"{_TEXT}+"', "text": f'"{_TEXT}*"', "free_text": f'"{_TEXT}*"', "count": _COUNT}


def line_pattern(branch: dict[str, Any], document: str, captured: Collection[str]) -> re.Pattern[bytes] | None:
    """An expression for whole lines, line feed included, of the closed object that ``branch`` describes.

    Args:
        branch: The schema of the object.
        document: Name of the schema file that it stands in.
        captured: Names of members whose value, without quotes, becomes a group of that name.

    Returns:
        None where the schema holds something that has no expression here.
    """
    try:
        text = _object(branch, document, captured)
    except LookupError:
        return None
    return re.compile(f"{text}\n".encode())


def _object(rules: dict[str, Any], document: str, captured: Collection[str] = ()) -> str:
    required = set(rules["required"])
    if rules["additionalProperties"] is not False or not required or "if" in rules:
        raise LookupError("not a closed object with required members")
    before, after = "", ""
    for name in sorted(rules["properties"]):
        member = f'"{re.escape(name)}":' + _value(rules["properties"][name], document, name if name in captured else "")
        # A comma stands behind what comes before the first member that is always there, and before what follows it.
        if name in required:
            after += f",{member}" if after else member
        elif after:
            after += f"(?:,{member})?"
        else:
            before += f"(?:{member},)?"
    return rf"\{{{before}{after}\}}"


def _value(rules: dict[str, Any], document: str, group: str = "") -> str:
    if "anyOf" in rules:
        return "(?:" + "|".join(_value(inner, document) for inner in rules["anyOf"]) + ")"
    if "enum" in rules:
        return _string("|".join(re.escape(word) for word in rules["enum"]), group)
    if "const" in rules:
        return f'"{re.escape(rules["const"])}"'
    if "$ref" in rules:
        return _definition(*reference(rules["$ref"], document), group)
    return {"null": "null", "boolean": "(?:true|false)"}[rules["type"]]


def _definition(document: str, name: str, group: str) -> str:
    if name in _PLAIN:
        # The patterns are `^...$`; their groups must not become groups of ours.
        inner = definition(document, name)["pattern"][1:-1]
        return _string(re.sub(r"(?<!\\)\((?!\?)", "(?:", inner), group)
    found = _NARROWED[name]
    return f"(?P<{group}>{found})" if group else found


def _string(inner: str, group: str) -> str:
    return f'"(?P<{group}>{inner})"' if group else f'"(?:{inner})"'
