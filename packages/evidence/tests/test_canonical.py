# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import enum
import json
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.evidence.canonical import canonicalize, canonicalize_integers, canonicalize_trusted, printable
from clyra.spec import FormatError, spec_folder

VECTORS = spec_folder() / "vectors" / "public" / "jcs-cyberphone"


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class OwnText(str):
    __slots__ = ()


class OwnDict(dict[str, int]):
    pass


TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(alphabet='aé\x7f\x00\x1f"\\/\n\b\u2028\ud7ff\ue000\ufb33\uffff\U00010000\U0001f600\U0010ffff€', max_size=5),
    st.text(alphabet=st.sampled_from(["\ud800", "\udfff", "a"]), max_size=2),
)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(2**54), 2**54),
    st.floats(),
    st.floats(1e-8, 1e-3),
    st.floats(-1e22, 1e22),
    st.integers(-(10**18), 10**18).map(float),
    st.sampled_from([2**53, 2**53 - 1, -(2**53), 2**64, -0.0, 1e-5, 1e-6, 9.999999999999999e-6, 1e16, 1e21]),
)
ODD = st.sampled_from([Colour.RED, Level.LOW, OwnText("x"), OwnDict(b=1, a=2), b"x", (1, 2), {1}, object()])
NAMES = st.one_of(TEXTS, TEXTS, TEXTS, st.sampled_from([1, None, Colour.RED, OwnText("k"), True]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, TEXTS, ODD)
ANY_VALUE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(NAMES, inner, max_size=6), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=20,
)
PLAIN_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=10), st.floats(1e-5, 1e16)
)
PLAIN_VALUE = st.recursive(
    PLAIN_SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=6), inner, max_size=6)),
    max_leaves=30,
)
QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


def reference(value: object) -> bytes | None:
    """What rfc8785 gives; None where it refuses, with whatever exception."""
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001
        return None


def ours(value: object) -> bytes | None:
    try:
        return canonicalize(value)
    except FormatError as exc:
        return None if exc.code == "canonical_value" else b"another code"


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_canonical_bytes_of_the_public_vectors(name: str) -> None:
    value = json.loads(_testdata("input", name).read_bytes())
    assert canonicalize(value) == _testdata("output", name).read_bytes()


def _testdata(kind: str, name: str) -> Path:
    return next(VECTORS.rglob(f"{kind}/{name}.json"))


@settings(QUIET, max_examples=1500)
@given(ANY_VALUE)
def test_any_value_has_the_bytes_of_rfc8785_or_is_refused_as_there(value: object) -> None:
    assert ours(value) == reference(value)


@settings(QUIET, max_examples=1500)
@given(PLAIN_VALUE)
def test_plain_values_have_the_bytes_of_rfc8785(value: object) -> None:
    assert ours(value) == reference(value)


@pytest.mark.fuzz
@settings(QUIET, max_examples=100_000)
@given(st.one_of(ANY_VALUE, PLAIN_VALUE))
def test_a_hundred_thousand_values_have_the_bytes_of_rfc8785(value: object) -> None:
    assert ours(value) == reference(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            {"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}', id="names sort by UTF-16 code unit"
        ),
        pytest.param([1.0, -0.0, 1e-6, 1e21], "[1,0,0.000001,1e+21]", id="floats print as ECMAScript prints them"),
        pytest.param({"a": "/\x7f\u2028"}, '{"a":"/\x7f\u2028"}', id="nothing is escaped without need"),
        pytest.param("e\u0301", '"e\u0301"', id="text is not normalized"),
    ],
)
def test_where_a_sorted_dump_would_differ(value: object, expected: str) -> None:
    assert canonicalize(value) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="not a number"),
        pytest.param([float("inf")], id="infinity"),
        pytest.param(2**53, id="integer beyond 2^53-1"),
        pytest.param({"\ud800": 1}, id="lone surrogate in a name"),
        pytest.param("\udfff", id="lone surrogate in a text"),
        pytest.param({1: 2}, id="name that is no text"),
        pytest.param(b"x", id="bytes"),
    ],
)
def test_a_value_without_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(FormatError) as caught:
        canonicalize(value)
    assert caught.value.code == "canonical_value"


def test_a_cycle_is_refused_and_not_followed_for_ever() -> None:
    cycle: list[object] = []
    cycle += [cycle, cycle]
    with pytest.raises(FormatError, match="canonical"):
        canonicalize(cycle)


def nested(levels: int) -> object:
    value: object = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("value", [0.5, {"a": [1.0]}, {"a\0": 1}, ["\0"], nested(65)])
def test_the_integer_profile_refuses(value: object) -> None:
    with pytest.raises(FormatError):
        canonicalize_integers(value)


def test_the_integer_profile_takes_64_levels_and_many_small_ones() -> None:
    assert canonicalize_integers(nested(64)) == b"[" * 64 + b"]" * 64
    assert canonicalize_integers([[]] * 100) == b"[" + b",".join([b"[]"] * 100) + b"]"


def test_a_text_that_only_looks_like_an_escaped_nul_is_kept() -> None:
    assert canonicalize_integers("\\u0000") == b'"\\\\u0000"'


@settings(QUIET, max_examples=300)
@given(st.dictionaries(st.sampled_from(["a", "bc", "z_1"]), st.one_of(st.none(), st.integers(-9, 9), st.text())))
def test_the_trusted_path_gives_the_same_bytes_for_our_own_members(value: dict[str, object]) -> None:
    assert canonicalize_trusted(value) == canonicalize(value)


@settings(QUIET, max_examples=300)
@given(st.recursive(TEXTS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)), max_leaves=8))
def test_printable_text_always_has_a_canonical_form(value: object) -> None:
    assert b"\\u0000" not in canonicalize_integers(printable(value)).replace(b"\\\\", b"")


def test_printable_text_keeps_what_can_be_kept() -> None:
    assert printable({"k\0": ["a\ud800b", "\ud83d\ude00", "ü", 1]}) == {"k\ufffd": ["a\ufffdb", "\U0001f600", "ü", 1]}
