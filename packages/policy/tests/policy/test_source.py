# SPDX-License-Identifier: Apache-2.0
"""Reading the file: what its scalars mean, where things stand, and what is refused however it is spelled."""

from __future__ import annotations

import time
from datetime import date

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.policy._yaml import MAX_BYTES, read_yaml
from clyra.policy.lint import check_policy
from clyra.policy.load import read_policy
from clyra.policy.problem import PolicyInvalid
from clyra.policy.source import MAX_PROBLEMS

TODAY = date(2026, 11, 1)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("9007199254740991", 2**53 - 1),
        ("text", "text"),
        ("60s", "60s"),
        ("1.2.3", "1.2.3"),
        ("5-6", "5-6"),
        ("é", "é"),
        ('"off"', "off"),
        ("'010'", "010"),
        ('"21:00"', "21:00"),
        ('"2027-01-31"', "2027-01-31"),
    ],
)
def test_a_scalar_is_true_false_null_a_decimal_integer_or_text(written: str, meant: object) -> None:
    source = read_yaml(f"a: {written}\n".encode(), "f")
    assert isinstance(source.document, dict)
    found = source.document["a"]
    assert (found, type(found), source.problems) == (meant, type(meant), [])


@given(st.from_regex(r"[-+~.=0-9a-fxoyYnNtTeErRuUsSlL_:]{1,12}", fullmatch=True))
@settings(max_examples=600, deadline=None)
def test_what_pyyaml_does_not_read_as_we_do_is_refused(scalar: str) -> None:
    source = read_yaml(f"a: {scalar}\n".encode(), "f")
    if source.problems or not isinstance(source.document, dict):
        return
    ours = source.document.get("a")
    try:
        theirs = yaml.safe_load(f"a: {scalar}\n")
    except ValueError:
        pytest.fail(f"{scalar} is a date that does not exist to PyYAML, and text to us")
    assert not isinstance(theirs, dict) or (ours, type(ours)) == (theirs["a"], type(theirs["a"]))


def test_line_ends_a_mark_at_the_start_and_comments_change_nothing() -> None:
    plain = b"version: 1\nname: 'a\n  b'\nenvironments:\n  prod: {targets: [prod]}\n"
    written = plain.replace(b"\n", b" # why\r\n").replace(b"'a # why", b"'a")
    assert read_yaml(b"\xef\xbb\xbf" + written, "f").document == read_yaml(plain, "f").document


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"# c\n", b"\xef\xbb\xbf# \xc3\xa9\r\n"])
def test_columns_count_characters_from_one_after_any_start(start: bytes) -> None:
    line = start.count(b"\n") + 1
    (problem,) = read_yaml(start + "é: {ü: off}\n".encode(), "f").problems
    assert (problem.line, problem.column, problem.pointer) == (line, 8, "/é/ü")


def test_every_fault_of_reading_is_named_not_only_the_first() -> None:
    source = read_yaml(b"a: off\nb: &x 1\nc: *x\na: 2\nd: !t 3\n", "f")
    assert [(problem.line, problem.code) for problem in source.problems] == [
        (1, "policy_yaml_trap"),
        (2, "policy_yaml_feature"),
        (3, "policy_yaml_feature"),
        (4, "policy_duplicate_key"),
        (5, "policy_yaml_feature"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a: \xff\n", id="not UTF-8"),
        pytest.param("version: 1\n".encode("utf-16"), id="UTF-16"),
        pytest.param(b"a: b\x00c\n", id="NUL"),
        pytest.param(b'a: "\\0"\n', id="escaped NUL"),
        pytest.param(b'a: "\\ud800"\n', id="half a surrogate pair"),
        pytest.param(b"\x80", id="control character"),
        pytest.param(b"%TAG ! tag:x,2000:\n---\na: 1\n", id="tag directive"),
        pytest.param(b"&a [*a]", id="alias to itself"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_bytes_that_are_no_plain_yaml_are_refused_with_a_place(data: bytes) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(data, now=TODAY)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in caught.value.problems)


BOMBS = {
    "brackets": b"[" * 20_000,
    "braces": b"{a: " * 20_000,
    "block levels": b"\n".join(b" " * depth + b"a:" for depth in range(1_300)),
    "dashes": b"- " * 20_000,
    "questions": b"? " * 20_000,
    "aliases": b"a: &a [x, x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (n, n) for n in range(20_000)),
    "unknown keys": b"".join(b"key%d: 1\n" % n for n in range(90_000)),
    "equal keys": b"a: 1\n" * 200_000,
    "one long key": b"a" * (MAX_BYTES - 10) + b": 1\n",
    "digits": b"a: " + b"1" * (MAX_BYTES - 10) + b"x\n",
    "underscores": b"a: 1" + b"_" * (MAX_BYTES - 10) + b"x\n",
    "long list": b"compliance: {frameworks: [" + b"sox, " * 200_000 + b"]}\n",
    "many rules": b"data_platform:\n  rules:\n" + b"    - {id: a}\n" * 70_000,
    "misspelled facts": b"data_platform:\n  rules:\n"
    + b"    - {id: x_a, effect: warn, when: [{field: dbt.nod, op: exists}]}\n" * 15_000,
    "one rule": b"data_platform: {rules: [{id: x_a, effect: warn, when: ["
    + b"{field: dbt.node, op: exists}, " * 30_000
    + b"]}]}\n",
    "one fact": b"data_platform: {rules: [{id: x_a, effect: warn, when: ["
    + b"{field: dbt.node, op: eq, value: a}, " * 25_000
    + b"]}]}\n",
    "waivers": b"waivers:\n" + b"  - {id: w, rules: [truncat], owner: a}\n" * 25_000,
    "environments": b"environments:\n" + b"".join(b"  e%d: {targets: [t]}\n" % n for n in range(40_000)),
    "quotes": b'"' * 100_000,
    "too large": b"#" * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_no_file_is_a_time_bomb(data: bytes) -> None:
    start = time.process_time()
    checked = check_policy(data, name="f", now=TODAY)
    assert checked.errors
    assert len(checked.problems) <= 2 * MAX_PROBLEMS + 1
    # A sound file of that size takes about as long; quadratic work would take minutes.
    assert time.process_time() - start < 20


ALPHABET = "{}[]:,-?*&!|>'\"%@`#\\ \n\r\t~=<0123456789.eEabcnoffy_xé\u2028\ufeff\0\x85"
WORDS = st.sampled_from(
    ["version: 1", "environments:", "  prod: {mode: enforce}", "data_platform:", "  rules:", "    - id: x_a", "on: off"]
)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet=ALPHABET, max_size=80).map(lambda text: text.encode()),
        st.lists(st.one_of(WORDS, st.text(alphabet=ALPHABET, max_size=20)), max_size=12).map(
            lambda lines: "\n".join(lines).encode()
        ),
    )
)
@settings(max_examples=1500, deadline=None)
def test_any_bytes_give_problems_or_a_policy(data: bytes) -> None:
    refused = None
    try:
        read_policy(data, now=TODAY)
    except PolicyInvalid as exc:
        refused = exc
    errors = check_policy(data, name="clyra.policy.yaml", now=TODAY).errors
    assert (refused is None) == (errors == ())
    if refused is not None:
        assert refused.first_pass is not None
        assert all(each.line >= 1 and each.column >= 1 for each in refused.problems)
        assert len(str(refused)) < 2_000
