# SPDX-License-Identifier: Apache-2.0
"""What is written as YAML is read as the same values, by the policy's reader and by PyYAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.policy._yaml import read_yaml
from clyra.policy.yaml_text import block, flow, items, scalar

texts = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30),
    st.sampled_from(
        ["true", "off", "y", "null", "~", "010", "1e3", "21:00", "2026-01-01", "<<", "- a", "a: b", "a #b"]
    ),
    st.sampled_from(["", " ", "a ", "key:abc", "oidc:https://a.example:b", "*", "&a", "!b", "%", "@", "`", ">x", "|"]),
)
scalars = st.one_of(texts, st.booleans(), st.none(), st.integers(-(2**53) + 1, 2**53 - 1))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


def read(text: str) -> Any:
    source = read_yaml(text.encode(), "t.yaml")
    assert source.problems == [], text
    return source.document


@settings(deadline=None)
@given(value=st.dictionaries(texts.filter(bool), values, min_size=1, max_size=4))
def test_a_mapping_comes_back_as_it_was(value: dict[str, Any]) -> None:
    assert read("\n".join(block(value)) + "\n") == value
    assert yaml.safe_load("\n".join(block(value)) + "\n") == value


@settings(deadline=None)
@given(value=st.lists(values, min_size=1, max_size=4))
def test_a_list_comes_back_as_it_was(value: list[Any]) -> None:
    assert read("\n".join(items(value)) + "\n") == value
    assert read("a: " + flow(value) + "\n") == {"a": value}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("production", "production"),
        ("clyra dbt stamp", "clyra dbt stamp"),
        ("key:abc", "key:abc"),
        ("model.shop.orders", "model.shop.orders"),
        ("run-operation", "run-operation"),
        ("21:00", '"21:00"'),
        ("off", '"off"'),
        ("é", '"é"'),
        ("", '""'),
        (True, "true"),
        (None, "null"),
        (7, "7"),
    ],
)
def test_plain_words_stay_plain_and_traps_are_quoted(value: object, text: str) -> None:
    assert scalar(value) == text
