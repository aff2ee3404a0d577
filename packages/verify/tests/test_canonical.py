# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

import clyra.verify
from clyra.spec import spec_folder
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import MAX_INTEGER, canonical_bytes, read_canonical, read_strict

JCS = spec_folder() / "vectors/public/jcs-cyberphone/testdata"

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=25,
)


@given(values)
def test_canonical_bytes_are_those_of_rfc_8785(value: object) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(values)
def test_canonical_bytes_are_read_back(value: object) -> None:
    assert read_canonical(canonical_bytes(value)) == value


@given(values, st.data())
def test_any_other_spelling_of_a_value_is_refused(value: object, data: st.DataObject) -> None:
    canonical = canonical_bytes(value)
    at = data.draw(st.integers(0, len(canonical)))
    changed = (
        canonical[:at] + data.draw(st.sampled_from([b" ", b"\n", b"0", b"\\u0061", b"\xef\xbb\xbf"])) + canonical[at:]
    )
    with contextlib.suppress(Refusal):
        assert read_canonical(changed) != value


@pytest.mark.parametrize("name", sorted(path.name for path in (JCS / "input").glob("*.json")))
def test_the_public_cases_without_fractions_give_their_bytes(name: str) -> None:
    source, wanted = (JCS / "input" / name).read_bytes(), (JCS / "output" / name).read_bytes()
    if any(isinstance(value, float) for value in _leaves(json.loads(source))):
        with pytest.raises(ValueError, match="not an integer"):
            read_strict(source)
    else:
        assert canonical_bytes(read_strict(source)) == wanted
        assert read_canonical(wanted) == read_strict(source)


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


@pytest.mark.parametrize("depth", [64, 65])
@pytest.mark.parametrize("shape", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_64_levels_are_read_and_65_are_not(shape: tuple[bytes, bytes], depth: int) -> None:
    data = shape[0] * depth + b"0" + shape[1] * depth
    if depth == 64:
        assert canonical_bytes(read_canonical(data)) == data
    else:
        with pytest.raises(Refusal, match="canonical"):
            read_canonical(data)


def test_wide_documents_are_not_deep() -> None:
    data = b"[" + b",".join([b"[[]]"] * 500) + b"]"
    assert canonical_bytes(read_canonical(data)) == data


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000, b"9" * 100_000, b""], ids=len
)
def test_what_breaks_parsers_is_refused_and_breaks_nothing(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_canonical(data)
    assert caught.value.code == "json_not_canonical"
    with pytest.raises(ValueError, match=r".") as error:
        read_strict(data)
    assert not isinstance(error.value, Refusal)


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":1}', b'{"a":{"b":1,"\\u0062":2}}', b"1.0", b"1e2", b"-0", b"9007199254740992", b"NaN", b'"\\ud800"',
     b"\xef\xbb\xbf1", b'"\xff"', b"1 2"],
)  # fmt: skip
def test_strict_reading_refuses_what_has_no_single_meaning(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_strict(data)


def test_strict_reading_does_not_mind_white_space_and_order() -> None:
    assert read_strict(b' {"b" : 1,\n "a": [ ] }\n') == {"a": [], "b": 1}


def test_this_package_reads_json_with_no_other_parser() -> None:
    folder = Path(clyra.verify.__file__).parent
    users = {
        path.name for path in folder.glob("*.py") if "json.loads" in path.read_text() or "orjson" in path.read_text()
    }
    # proof.py reads 64-bit numbers, which the profile does not have; conformance.py reads our own vectors.
    assert users == {"proof.py", "conformance.py"}
