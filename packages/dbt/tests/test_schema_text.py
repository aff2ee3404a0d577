# SPDX-License-Identifier: Apache-2.0
"""Foreign text is fitted into what the schema takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.dbt import _schema_text
from clyra.spec import read_json

TYPES = read_json("common/schemas/types.schema.json")["$defs"]
ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


def fits(kind: str, text: str) -> bool:
    text.encode()
    return re.search(TYPES[kind]["pattern"], text) is not None


@given(ANY_TEXT)
def test_every_text_becomes_a_name_a_word_and_a_free_text(text: str) -> None:
    assert fits("name", _schema_text.name(text))
    assert fits("word", _schema_text.word(text))
    assert fits("free_text", _schema_text.free_text(text))
    tag = _schema_text.tag(text)
    assert not tag or fits("tag", tag)


@pytest.mark.parametrize(
    ("text", "word"), [("partial success", "partial_success"), ("no-op", "no-op"), ("Runtime Error", "runtime_error")]
)
def test_status_of_dbt_becomes_a_word(text: str, word: str) -> None:
    assert _schema_text.word(text) == word


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7.0, 7), (-1, None), (None, None), (True, None), ("3", None), (2**53, None), (float("nan"), None)],
)
def test_count_is_a_number_that_can_be_one(value: object, count: int | None) -> None:
    assert _schema_text.count_or_none(value) == count


def test_checksum_that_is_a_path_is_none() -> None:
    assert _schema_text.sha256_or_none("seeds/large.csv") is None
    assert _schema_text.sha256_or_none("ab" * 32) == "ab" * 32
