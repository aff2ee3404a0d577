# SPDX-License-Identifier: Apache-2.0
"""The compiled checks against jsonschema, on valid documents of the vectors and on what mutation makes of them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from clyra.spec import schema
from clyra.verify._refusal import Refusal
from clyra.verify.certificate import PAYLOAD_TYPE
from clyra.verify.conformance import load_vector, vector_files
from clyra.verify.container import Container, read_container
from clyra.verify.envelope import parse_envelope
from clyra.verify.schema import check_schema, compiled

BUNDLED = ("approval_request", "approval_certificate", "dbt_plan", "policy_members")
NAMES = ("def_v0", "statement", "journal_event", "trust", "lineage", *BUNDLED, "verification")
TOKENS = ("approval_token", "resume_token")
ROLES = {"approval_request": "approval_request", "plan": "dbt_plan", "policy": "policy_members"}
# Values that a mutation puts somewhere: of every type, and at the borders of every keyword.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2**53 - 1, 2**53, 101, "", "a", "A", "a\n", "\x00", "\x7f", "none", "recovered",
    "success", "0" * 64, "0" * 64 + "\n", "2026-01-31T08:15:00.000000Z", "clyra.def/v0", [], {}, ["a", "a"], [0, False],
    {"a": 1}, {"a": {"b": [1, None]}}, {"com.example.x": {}},
]  # fmt: skip


def ecma(rules: Any) -> Any:
    """The schema with ``$`` at the end of patterns as ECMA 262 has it; Python's matches before a last line feed."""
    if isinstance(rules, dict):
        return {
            name: re.sub(r"\$$", r"\\Z", inner) if name == "pattern" and isinstance(inner, str) else ecma(inner)
            for name, inner in rules.items()
        }
    return [ecma(inner) for inner in rules] if isinstance(rules, list) else rules


@cache
def oracle(name: str) -> jsonschema.Draft202012Validator:
    types: Resource[Any] = Resource.from_contents(ecma(schema("types")))
    registry: Registry[Any] = Registry().with_resource("https://clyra.io/spec/types.schema.json", types)
    # The stock checker takes 1.0 for an integer; documents of the integer profile have no such number.
    return jsonschema.Draft202012Validator(ecma(schema(name)), registry=registry)


def documents_of(path: Any) -> Iterator[tuple[str, Any]]:
    import io

    vector = load_vector(path)
    if vector.expect != "valid" or vector.command != "verify-bundle" or len(vector.input) > 100_000:
        return
    container: Container = read_container(io.BytesIO(vector.input), len(vector.input))
    yield "def_v0", json.loads(container.read("manifest.json"))
    yield "statement", json.loads(parse_envelope(container.read("attestations/manifest.dsse.json")).payload)
    for line in container.read("journal.ndjson").splitlines():
        yield "journal_event", json.loads(line)
    if "artifacts/lineage.json" in container.entries:
        yield "lineage", json.loads(container.read("artifacts/lineage.json"))
    for file in json.loads(container.read("manifest.json"))["files"]:
        # One vector has a file that only claims to be a request, and that nothing names.
        if file["role"] in ROLES and file["path"] in container.entries and file["path"] != "artifacts/other.json":
            yield ROLES[file["role"]], json.loads(container.read(file["path"]))
        elif file["role"] == "approval_certificate":
            envelope = parse_envelope(container.read(file["path"]), PAYLOAD_TYPE)
            yield "approval_certificate", json.loads(envelope.payload)
    if "trust.json" in vector.files:
        yield "trust", json.loads(vector.files["trust.json"])


SUITES = ("valid", "manifest", "journal", "approval_bundle")


@cache
def documents() -> list[tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for path in [path for suite in SUITES for path in vector_files(suite=suite)]:
        for name, document in documents_of(path):
            found.setdefault(json.dumps([name, _shape(document)], sort_keys=True), (name, document))
    return list(found.values())


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value[:3]]
    return type(value).__name__ if not isinstance(value, str) else value[:12]


def test_documents_of_every_kind_are_there() -> None:
    assert {name for name, _ in documents()} == set(NAMES) - {"verification"}
    kinds = {document["type"] for name, document in documents() if name == "journal_event"}
    assert kinds == {branch["title"] for branch in schema("journal_event")["oneOf"]}


@pytest.mark.parametrize("name", [*NAMES, *TOKENS, "types"])
def test_every_schema_is_valid_and_can_be_compiled(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    compiled(name)({})


def test_valid_documents_pass_both() -> None:
    for name, document in documents():
        oracle(name).validate(document)
        assert compiled(name)(document) is None


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []:
        yield value, key
        yield from places(value[key])


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_a_mutated_document_gets_the_verdict_of_jsonschema(data: st.DataObject) -> None:
    name, original = data.draw(st.sampled_from(documents()))
    document = copy.deepcopy(original)
    for _ in range(data.draw(st.integers(1, 2))):
        found = list(places(document))
        if not found:
            break
        place, key = data.draw(st.sampled_from(found))
        match data.draw(st.sampled_from(["replace", "remove", "rename", "add", "swap"])):
            case "replace":
                place[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
            case "remove":
                del place[key]
            case "rename" if isinstance(place, dict):
                place[data.draw(st.sampled_from(["x", "Files", "__proto__", "reason", "asserted", ""]))] = place.pop(
                    key
                )
            case "add" if isinstance(place, list):
                place.insert(key, copy.deepcopy(place[key]))
            case _:
                other, other_key = data.draw(st.sampled_from(found))
                place[key] = copy.deepcopy(other[other_key] if other_key in other or isinstance(other, list) else None)
    assert (compiled(name)(document) is None) == oracle(name).is_valid(document)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.recursive(st.sampled_from(ODD), lambda inner: st.lists(inner, max_size=3)))
def test_odd_values_get_the_verdict_of_jsonschema(name: str, value: Any) -> None:
    assert (compiled(name)(value) is None) == oracle(name).is_valid(value)


def test_a_fault_is_told_with_its_pointer() -> None:
    document = next(document for name, document in documents() if name == "def_v0")
    changed = copy.deepcopy(document)
    changed["files"][0]["a/b~"] = 1
    with pytest.raises(Refusal) as caught:
        check_schema("def_v0", changed)
    assert (caught.value.code, caught.value.pointer) == ("schema_invalid", "/files/0/a~1b~0")


@pytest.mark.parametrize("text", ["0" * 64 + "\n", "0" * 63 + "\u0660"])
def test_a_pattern_ends_where_the_text_ends_and_knows_ascii_digits_only(text: str) -> None:
    document = next(document for name, document in documents() if name == "def_v0")
    changed = copy.deepcopy(document)
    changed["tree"]["root"] = text
    assert compiled("def_v0")(changed) is not None
