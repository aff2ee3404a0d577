# SPDX-License-Identifier: Apache-2.0
"""JSON that others wrote, read member by member: what is not of the expected kind is refused by file and pointer.

Only what is asked for is looked at, so a document may hold anything beside it. A refusal never quotes a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from clyra.spec import FormatError

MAX_US = 2**53 - 1
"""The largest number of microseconds that evidence can hold: the year 2255 as an instant."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class JsonView:
    """One object of a JSON document.

    Args:
        source: The file's name, for messages.
        members: The object's members.
        pointer: Where in the document it is, a JSON pointer (RFC 6901).
    """

    __slots__ = ("_members", "_pointer", "_source")

    def __init__(self, source: str, members: Mapping[str, Any], pointer: str = "") -> None:
        self._source = source
        self._members = members
        self._pointer = pointer

    @classmethod
    def parse(cls, source: str, data: bytes) -> JsonView:
        """The object in ``data``.

        Raises:
            FormatError: It is no JSON, nested too deep, or no object.
        """
        try:
            members = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise FormatError(f"{source} is no JSON, or cut off; make it again") from exc
        if not isinstance(members, dict):
            raise FormatError(f"{source} holds no JSON object; name the file that dbt wrote", pointer="")
        return cls(source, members)

    def names(self) -> Iterator[str]:
        """Names of the members."""
        yield from self._members

    def value(self, name: str) -> Any:
        """The member as it is, None where it is absent."""
        return self._members.get(name)

    def text(self, name: str) -> str:
        """A text that must be there and not be empty."""
        return self.text_or_none(name) or self.refuse(name, "a text that is not empty")

    def text_or_none(self, name: str) -> str | None:
        """A text; None where it is absent, null or empty."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, str):
            self.refuse(name, "a text")
        return value or None

    def texts(self, name: str) -> list[str]:
        """A list of texts, empty where it is absent or null."""
        items = self._list(name)
        if not all(isinstance(item, str) for item in items):
            self.refuse(name, "a list of texts")
        return items

    def seconds_us(self, name: str) -> int:
        """A duration in seconds as microseconds; 0 where it is absent, null, or negative because a clock was set."""
        value = self._members.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_US / 1_000_000:
            self.refuse(name, "a number of seconds")
        seconds: float = value
        return max(0, round(seconds * 1_000_000))

    def instant_us(self, name: str) -> int:
        """An instant of RFC 3339 as microseconds since the epoch."""
        try:
            moment = datetime.fromisoformat(self.text(name))
            microseconds = (moment - _EPOCH) // _MICROSECOND
        except (ValueError, TypeError, OverflowError):
            self.refuse(name, "an instant with a time zone")
        if not 0 <= microseconds <= MAX_US:
            self.refuse(name, "an instant from 1970 on")
        return microseconds

    def view(self, name: str) -> JsonView:
        """An object, one without members where it is absent or null."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, "an object")
        return JsonView(self._source, value or {}, self._at(name))

    def views(self, name: str) -> Iterator[JsonView]:
        """The objects of a list, none where it is absent or null."""
        for index, item in enumerate(self._list(name)):
            if not isinstance(item, dict):
                self.refuse(name, "a list of objects")
            yield JsonView(self._source, item, f"{self._at(name)}/{index}")

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Say that a member is not what it should be.

        Raises:
            FormatError: Always.
        """
        pointer = self._at(name)
        shown = "".join(char if char.isprintable() else "?" for char in pointer[-200:])
        raise FormatError(f"{self._source} has not {expected} at {shown}; make it again", pointer=pointer)

    def _list(self, name: str) -> list[Any]:
        value = self._members.get(name)
        if value is not None and not isinstance(value, list):
            self.refuse(name, "a list")
        return value or []

    def _at(self, name: str) -> str:
        return f"{self._pointer}/{name.replace('~', '~0').replace('/', '~1')}"
