# SPDX-License-Identifier: Apache-2.0
"""Line edits of a dbt project's YAML files that keep comments and can be taken back byte for byte.

Every line that is added ends with ``MARK``, so removing is deleting these lines; nothing else is touched. A file whose
shape leaves no safe place for a line is not edited: the caller shows the line to the user instead. Pure: text in, text
out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = "# added by `clyra dbt init`"
_NO_NEWLINE = " (before it, the file did not end with a line break)"
PRE_HOOK = '+pre-hook: "{{ clyra_guard.set_session() }}"'
QUERY_COMMENT = 'query-comment: "{{ clyra_guard.query_comment(node) }}"'


@dataclass(frozen=True, slots=True)
class Edit:
    """A file's new text, and the lines that the user has to place by hand, if any."""

    text: str
    by_hand: tuple[str, ...] = ()


def remove_marked(text: str) -> str:
    """``text`` without the lines that were added, byte for byte what it was before."""
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        if _NO_NEWLINE in line and MARK in line and kept:
            kept[-1] = kept[-1].rstrip("\r\n")
        if MARK not in line:
            kept.append(line)
    return "".join(kept)


def edit_project(text: str) -> Edit:
    """Add the query comment and the pre-hook to the text of ``dbt_project.yml``."""
    text = remove_marked(text)
    by_hand: list[str] = []
    if _top_level(text, "query-comment") is not None:
        by_hand.append(QUERY_COMMENT)
    else:
        text = _append(text, [QUERY_COMMENT])
    models = _top_level(text, "models")
    if models is None:
        return Edit(_append(text, ["models:", f"  {PRE_HOOK}"]), tuple(by_hand))
    indent = _child_indent(text, models)
    if indent is None or _has_child(text, models, indent, ("+pre-hook", "pre-hook", "+pre_hook", "pre_hook")):
        return Edit(text, (*by_hand, f"models: {{{PRE_HOOK}}}"))
    return Edit(_insert_after(text, models, f"{indent}{PRE_HOOK}"), tuple(by_hand))


def edit_packages(text: str | None, entry: list[str]) -> Edit:
    """Add one package, given as the lines of a list item without indentation, to ``packages.yml``; None is no file."""
    text = remove_marked(text or "")
    item = [f"- {entry[0]}", *(f"  {line}" for line in entry[1:])]
    packages = _top_level(text, "packages")
    if packages is None:
        return Edit(_append(text, ["packages:", *(f"  {line}" for line in item)]))
    indent = _child_indent(text, packages)
    if indent is None:
        return Edit(text, tuple(item))
    for line in reversed(item):
        text = _insert_after(text, packages, f"{indent}{line}")
    return Edit(text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _top_level(text: str, key: str) -> int | None:
    """Index of the line that opens the top-level mapping entry ``key``."""
    pattern = re.compile(rf"""^(?:{re.escape(key)}|"{re.escape(key)}"|'{re.escape(key)}')\s*:""")
    for index, line in enumerate(text.splitlines()):
        if pattern.match(line):
            return index
    return None


def _child_indent(text: str, parent: int) -> str | None:
    """Indentation of the block below line ``parent``; None where that line holds a value of its own."""
    lines = text.splitlines()
    value = lines[parent].split(":", 1)[1].strip()
    if value and not value.startswith("#"):
        return None
    for line in lines[parent + 1 :]:
        if line.strip() and not line.lstrip().startswith("#"):
            indent = line[: len(line) - len(line.lstrip())]
            return indent if indent or line.startswith("- ") else None
    return None


def _has_child(text: str, parent: int, indent: str, keys: tuple[str, ...]) -> bool:
    for line in text.splitlines()[parent + 1 :]:
        if line.strip() and not line.startswith((" ", "\t", "#")):
            return False
        if line.startswith(tuple(f"{indent}{key}" for key in keys)):
            return True
    return False


def _insert_after(text: str, index: int, line: str) -> str:
    lines = text.splitlines(keepends=True)
    lines.insert(index + 1, f"{line}  {MARK}{_newline(text)}")
    return "".join(lines)


def _append(text: str, lines: list[str]) -> str:
    newline = _newline(text)
    if not text or text.endswith("\n"):
        return text + "".join(f"{line}  {MARK}{newline}" for line in lines)
    first, *rest = lines
    added = f"{newline}{first}  {MARK}{_NO_NEWLINE}{newline}"
    return text + added + "".join(f"{line}  {MARK}{newline}" for line in rest)
