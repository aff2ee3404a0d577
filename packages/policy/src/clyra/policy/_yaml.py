# SPDX-License-Identifier: Apache-2.0
"""The one place that reads YAML: events of the parser, in one pass and without recursion, to a `Source`.

libyaml is asked for events alone. Composing nodes would resolve aliases, which is how a small file becomes a huge
one, and recurse on nested brackets. What YAML has beyond plain mappings, lists and scalars is refused at its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from clyra.policy.problem import Problem
from clyra.policy.source import MAX_PROBLEMS, UNREADABLE, Path, Place, Source, TrapError, pointer_of, quoted, resolve

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_START = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_END = (yaml.MappingEndEvent, yaml.SequenceEndEvent)

_NO_CONTENT = "did not find expected node content"

# What libyaml says, in words that say what to do.
_ADVICE = {
    "mapping values are not allowed": 'a ": " stands where none can; check the indentation, or put the value in quotes',
    "did not find expected key": "this line does not fit the lines above it; give keys of one mapping one indentation",
    "did not find expected '-' indicator": "this line does not fit the list above it; align its items",
    "could not find expected ':'": 'a key without ": " after it',
    "found character that cannot start any token": "a value cannot start with this character; put it in quotes",
    "found unexpected end of stream": "a quote that is opened here is never closed",
    "did not find expected ',' or ']'": "a [ that is never closed, or a comma that is missing",
    "did not find expected ',' or '}'": "a { that is never closed, or a comma that is missing",
    "block sequence entries are not allowed": "a list item stands where none can; begin a new line for it",
    "did not find expected comment or line break": "a value cannot start with > or | here; put it in quotes",
    "found unknown escape character": "an escape that does not exist; write the text in single quotes",
    "found invalid Unicode character escape": "an escape of half a surrogate pair; write the character itself",
    "did not find expected the document start": "text after the end of the document; remove it",
    "did not find expected <document start>": "text after the end of the mapping; give it the indentation of the rest",
    "did not find expected alphabetic or numeric character": "a value starts with & or *; put it in quotes",
    _NO_CONTENT: "a value is missing here",
}

_OPENED_BEFORE = (
    "found unexpected end of stream",
    "could not find expected ':'",
    "did not find expected ',' or",
)


class _Stop(Exception):
    """Reading cannot go on; its problem is recorded."""


def read_yaml(data: bytes, file: str) -> Source:
    """The document in ``data`` with the places of its values; every fault of reading is a problem in it."""
    source = Source(file=file)
    reader = _Reader(source)
    try:
        text = reader.text_of(data)
        reader.read(text)
        source.complete = not any(problem.code == "policy_syntax" for problem in source.problems)
    except _Stop:
        pass
    return source


class _Frame:
    """A container that is open: where it goes on, and the key that waits for its value."""

    __slots__ = ("container", "key", "key_place", "path", "seen")

    def __init__(self, container: dict[str, object] | list[object] | None, path: Path) -> None:
        self.container = container
        self.path = path
        self.key: str | None = None
        self.key_place = (0, 0)
        self.seen = False


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.stack: list[_Frame] = []
        self.documents = 0

    def text_of(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            self._stop(f"the file has {len(data)} bytes; at most {MAX_BYTES} are read", (1, 1))
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            before = data[: exc.start].decode("utf-8-sig", "replace")
            self._stop("bytes that are not UTF-8; save the file as UTF-8", _place_after(before))
        if found := _UNPRINTABLE.search(text):
            self._stop(
                f"a control character {quoted(found[0])}; remove it, or write it as an escape in double quotes",
                _place_after(text[: found.start()]),
            )
        return text

    def read(self, text: str) -> None:
        for event in self._events(text):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, _START):
                self._open(event)
            elif isinstance(event, _END):
                self.stack.pop()
            elif isinstance(event, yaml.AliasEvent):
                place = _place(event)
                self._add("policy_yaml_feature", f"an alias *{event.anchor}; write the value out", place)
                self._put(UNREADABLE, place)
            elif isinstance(event, yaml.DocumentStartEvent):
                self._document(event)
        if self.documents == 0:
            self._stop("the file is empty; begin with version: 1", (1, 1))

    def _events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as exc:
            self._stop(*self._explained(exc, text))
        except (yaml.YAMLError, ValueError, RecursionError) as exc:
            self._stop(f"not YAML: {type(exc).__name__}", (1, 1))

    def _explained(self, error: yaml.MarkedYAMLError, text: str) -> tuple[str, tuple[int, int]]:
        said = error.problem or "not YAML"
        advice = next((words for known, words in _ADVICE.items() if said.startswith(known)), f"not YAML: {said}")
        # What is never closed is best looked for where it was opened.
        mark = error.context_mark if said.startswith(_OPENED_BEFORE) else error.problem_mark
        mark = mark or error.problem_mark or error.context_mark
        if mark is None:
            return advice, (1, 1)
        line, column = mark.line + 1, mark.column + 1
        rest = text.split("\n")[line - 1 :]
        if not "".join(rest).strip() and self.stack and said == _NO_CONTENT:
            return "a [ or { that is opened here is never closed", self.source.places[self.stack[-1].path].value
        return ("a tab; indent with spaces" if rest and rest[0][column - 1 : column] == "\t" else advice), (
            line,
            column,
        )

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self._add("policy_yaml_feature", "a second document; a policy is one document, remove ---", _place(event))
            raise _Stop
        if event.tags:
            self._add("policy_yaml_feature", "a %TAG directive; remove it", _place(event))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        place = _place(event)
        is_plain = event.implicit[0] and not event.style
        self._check_features(event, place)
        value: object = event.value
        try:
            if event.tag is not None:
                value = UNREADABLE
            elif is_plain and event.value == "<<" and self._wants_key():
                self._add("policy_yaml_feature", "a merge key <<; write the keys out", place)
                value = UNREADABLE
            elif is_plain:
                value = resolve(event.value)
            elif "\0" in event.value or any("\ud800" <= char <= "\udfff" for char in event.value):
                raise TrapError("policy_value", "a NUL or half a surrogate pair in a text; remove it")
        except TrapError as exc:
            self._add(exc.code, str(exc), place)
            value = UNREADABLE
        self._put(value, place)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        place = _place(event)
        self._check_features(event, place)
        if len(self.stack) >= MAX_DEPTH:
            self._stop(f"more than {MAX_DEPTH} levels; a policy needs fewer", place)
        container: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._put(UNREADABLE if event.tag is not None else container, place)
        # What has no place in the document is still read, for the problems within.
        self.stack.append(_Frame(container if path is not None else None, path or ()))

    def _check_features(self, event: yaml.NodeEvent, place: tuple[int, int]) -> None:
        if event.anchor is not None:
            self._add("policy_yaml_feature", f"an anchor &{event.anchor}; remove it and write values out", place)
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = quoted(tag.replace("tag:yaml.org,2002:", "!!"))
            self._add("policy_yaml_feature", f"a tag {name}; remove it, and put text in quotes", place)

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].container, dict) and not self.stack[-1].seen

    def _put(self, value: object, place: tuple[int, int]) -> Path | None:
        """Put ``value`` where the document goes on; its path, or None where it has none."""
        if not self.stack:
            self.source.document = value
            self.source.places[()] = Place(place, place)
            return ()
        frame = self.stack[-1]
        if isinstance(frame.container, list):
            path: Path = (*frame.path, len(frame.container))
            frame.container.append(value)
            self.source.places[path] = Place(place, place)
            return path
        if frame.container is None:
            return None
        if not frame.seen:
            frame.key, frame.key_place, frame.seen = self._key(value, frame, place), place, True
            return None
        frame.seen = False
        if frame.key is None:
            return None
        path = (*frame.path, frame.key)
        frame.container[frame.key] = value
        self.source.places[path] = Place(place, frame.key_place)
        return path

    def _key(self, value: object, frame: _Frame, place: tuple[int, int]) -> str | None:
        if not isinstance(value, str):
            if value is not UNREADABLE:
                self._add("policy_type", "a key that is no text; put it in quotes", place)
            return None
        assert isinstance(frame.container, dict)
        if value in frame.container:
            first = self.source.places[(*frame.path, value)].key
            message = f"key {quoted(value)} is there twice, first on line {first[0]}; keep one"
            self._add("policy_duplicate_key", message, place, (*frame.path, value))
            return None
        return value

    def _add(self, code: str, message: str, place: tuple[int, int], path: Path | None = None) -> None:
        if path is None:
            frame = self.stack[-1] if self.stack else None
            path = () if frame is None else frame.path
            if frame is not None and frame.seen and frame.key is not None:
                path = (*path, frame.key)
            elif frame is not None and isinstance(frame.container, list):
                path = (*path, len(frame.container))
        line, column = place
        self.source.problems.append(Problem(code, message, line, column, pointer_of(path), file=self.source.file))
        if len(self.source.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _stop(self, message: str, place: tuple[int, int]) -> None:
        self._add("policy_syntax", message, place)
        raise _Stop


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _place_after(text: str) -> tuple[int, int]:
    """Line and column of the character that follows ``text``."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines), len(lines[-1]) + 1
