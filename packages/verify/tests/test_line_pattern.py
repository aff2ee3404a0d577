# SPDX-License-Identifier: Apache-2.0
"""What the expressions for journal lines may say: only what parsing the line would have said too."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clyra.spec import schema
from clyra.verify._line_pattern import line_pattern
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import canonical_bytes, read_canonical
from clyra.verify.schema import check_schema

CAPTURED = ("event_id", "occurred_at", "prev", "seq", "verb", "resource_type", "status")
COMMON: dict[str, Any] = {
    "event_id": "019c1328-3fa0-7e01-8a10-000000000001",
    "occurred_at": "2026-01-31T08:15:00.000000Z",
    "prev": "ab" * 32,
    "seq": 17,
}
STATEMENT = COMMON | {
    "type": "statement", "unique_id": "model.shop.orders", "sent_sha256": "cd" * 32, "body_sha256": "ef" * 32,
    "verb": "create", "status": "success", "rows": None, "query_id": None, "elapsed_us": 12,
}  # fmt: skip
NODE = COMMON | {
    "type": "node.finished", "unique_id": "test.shop.not_null.0a1b", "resource_type": "test", "status": "pass",
    "checksum": None, "rows_affected": 3, "execution_us": 0, "failures": 0, "message_sha256": None,
}  # fmt: skip
TEXTS = ["", "a", "a b", "é", "\u2028", "\x7f", "\x1f", '"', "\\", "a\n", "model.x", "0" * 64, "A" * 129, "create"]
NUMBERS = [0, 1, 10**14, 10**15, 10**15 - 1, 2**53 - 1, 2**53, -1, True]


@cache
def pattern(kind: str) -> re.Pattern[bytes]:
    branch = next(branch for branch in schema("journal_event")["oneOf"] if branch["title"] == kind)
    found = line_pattern(branch, "journal_event", CAPTURED)
    assert found is not None
    return found


def is_right(line: bytes) -> bool:
    try:
        check_schema("journal_event", read_canonical(line))
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("event", [STATEMENT, NODE, STATEMENT | {"batch_id": "b 1"}, STATEMENT | {"rows": 10**15 - 1}])
def test_ordinary_lines_match_and_give_their_members(event: dict[str, Any]) -> None:
    match = pattern(event["type"]).fullmatch(canonical_bytes(event) + b"\n")
    assert match is not None
    for name, value in match.groupdict().items():
        assert value.decode() == str(event[name])


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_a_line_that_matches_is_canonical_and_of_the_schema(data: st.DataObject) -> None:
    event = dict(data.draw(st.sampled_from([STATEMENT, NODE])))
    for name in data.draw(st.lists(st.sampled_from([*event, "batch_id", "extra"]), max_size=2)):
        event[name] = data.draw(st.sampled_from([*TEXTS, *NUMBERS, None]) | st.text(max_size=5))
    try:
        line = canonical_bytes(event)
    except UnicodeEncodeError:
        return
    if pattern(str(event["type"]) if event["type"] in ("statement", "node.finished") else "statement").fullmatch(
        line + b"\n"
    ):
        assert is_right(line)


@settings(max_examples=3000, deadline=None)
@given(st.sampled_from([STATEMENT, NODE]), st.integers(0, 600), st.binary(max_size=2), st.integers(0, 2))
@example(STATEMENT, 2, b"", 1)
def test_a_changed_line_that_matches_is_canonical_and_of_the_schema(
    event: dict[str, Any], at: int, put: bytes, cut: int
) -> None:
    line = canonical_bytes(event)
    changed = line[:at] + put + line[at + cut :]
    if pattern(event["type"]).fullmatch(changed + b"\n"):
        assert is_right(changed)


def test_a_schema_without_an_expression_gives_none() -> None:
    branch = next(branch for branch in schema("journal_event")["oneOf"] if branch["title"] == "decision")
    assert line_pattern(branch, "journal_event", CAPTURED) is None
