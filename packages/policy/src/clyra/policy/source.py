# SPDX-License-Identifier: Apache-2.0
"""A policy file as plain values with the place of each, and what its scalars mean.

Only ``true``, ``false``, ``null``, decimal integers and text exist here. Whatever YAML readers disagree on (``off``,
``010``, ``21:00``, ``1e3``, dates) is refused with the words to write instead, so that no two programs read one policy
in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from clyra.policy.problem import POLICY_FILE, Problem, ProblemSeverity

Path: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the top of a document down to a value."""

MAX_INTEGER = 2**53 - 1
MAX_PROBLEMS = 100
"""A file that is wrong all over would otherwise cost a search for the right word at each of its keys."""

_SHOWN = 60


class Unreadable:
    """Stands for a value that was refused already, so that nothing else is said about it."""

    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE: Final = Unreadable()


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem without its place: ``path`` leads to the value, or to its key where ``on_key``."""

    code: str
    message: str
    path: Path
    on_key: bool = False
    severity: ProblemSeverity = "error"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and where its key does; lines and columns from 1, (0, 0) where unknown."""

    value: tuple[int, int]
    key: tuple[int, int]


NOWHERE = Place((0, 0), (0, 0))


@dataclass(slots=True)
class Source:
    """What was read from a file: the document, as far as it is sound, with the places of its values.

    ``problems`` are those of reading alone. ``complete`` is False where reading had to stop.
    """

    document: object = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = False
    file: str = POLICY_FILE

    def locate(self, faults: Iterable[Fault]) -> Iterator[Problem]:
        """Each fault as a problem with its line and column."""
        for fault in faults:
            place = self._place(fault.path)
            line, column = place.key if fault.on_key else place.value
            yield Problem(
                fault.code, fault.message, line, column, pointer_of(fault.path), fault.severity, file=self.file
            )

    def _place(self, path: Path) -> Place:
        # What was filled in, or came from one text cut in two, has the place of what holds it.
        while path:
            name = path[-1]
            for spelled in (name, f"{name}_s", f"{name}_ms"):
                if place := self.places.get((*path[:-1], spelled)):
                    return place
            path = path[:-1]
        return self.places.get((), NOWHERE)


def pointer_of(path: Path) -> str:
    """The JSON pointer (RFC 6901) of ``path``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def quoted(value: object) -> str:
    """``value`` as a message shows it: JSON, in ASCII, cut where it is long."""
    import json

    shown = json.dumps(value, default=repr)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``; did you mean "x"`` where a known word is close to ``word``, else nothing."""
    if not isinstance(word, str) or len(word) > _SHOWN:
        return ""
    from difflib import get_close_matches

    lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {quoted(lower[close[0]])}" if close else ""


def one_of(words: Iterable[object]) -> str:
    """``"a", "b" or "c"``, for a message."""
    shown = [quoted(word) for word in words]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None, "": None}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_OTHER_WORDS = {
    **dict.fromkeys(("y", "yes", "on", "true"), "true"),
    **dict.fromkeys(("n", "no", "off", "false"), "false"),
    **dict.fromkeys(("~", "null"), "null"),
}
# Each pattern reads its text once: a mebibyte of digits is no time bomb.
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?", re.DOTALL)
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]{1,2})+(\.[0-9_]*)?")
_RADIX = re.compile(r"[-+]?0(x[0-9a-f_]+|o[0-7_]+|b[01_]+|[0-9_]+)", re.IGNORECASE)
_FRACTION = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)(e[-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE)


def resolve(text: str) -> object:
    """What the unquoted scalar ``text`` means.

    Raises:
        TrapError: YAML readers disagree about it, or it is no whole number within 2^53-1.
    """
    if text in _WORDS:
        return _WORDS[text]
    if word := _OTHER_WORDS.get(text.lower()):
        advice = f'{text} without quotes is {word} for some YAML readers; write {word}, or "{text}" for text'
        raise TrapError("policy_yaml_trap", advice)
    # Most scalars are words of the vocabulary: one look at the first character spares them the patterns.
    if text[0] not in "0123456789+-.=":
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > len(str(MAX_INTEGER)) + 1 or abs(int(text)) > MAX_INTEGER:
            raise TrapError("policy_range", f"the number {_cut(text)} is too large; the largest is {MAX_INTEGER}")
        return int(text)
    if found := _advice(text):
        raise TrapError("policy_yaml_trap", found)
    return text


class TrapError(Exception):
    """A scalar that is refused; ``code`` and the message are those of the problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _advice(text: str) -> str | None:
    shown = _cut(text)
    if _DATE.fullmatch(text):
        return f'{shown} without quotes is a date for some YAML readers and text for others; write "{shown}"'
    if _BASE_60.fullmatch(text):
        return f'{shown} without quotes is a number in base 60 for some YAML readers; write "{shown}"'
    if _RADIX.fullmatch(text) or _FRACTION.fullmatch(text) or text == "=":
        plain = text.replace("_", "").lstrip("+0")
        number = f"write {plain}" if plain.isdecimal() else "write a whole number in digits"
        return f'YAML readers differ about {shown} without quotes; {number}, or "{shown}" for text'
    return None


def _cut(text: str) -> str:
    line = text if text.isprintable() else quoted(text)[1:-1]
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
