# SPDX-License-Identifier: Apache-2.0
"""The published schema: closed, described, whole in one file, and read by our walk as by a full validator."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.policy import load
from clyra.policy._schema import SchemaWalk, policy_schema
from clyra.policy.effect import EFFECTS
from clyra.policy.facts import declared_facts
from clyra.policy.rules import PLACES
from clyra.spec import read_json

SCHEMA: dict[str, Any] = json.loads(json.dumps(policy_schema()))
# Those that another reader of YAML takes too.
FAULTS = sorted(
    path
    for path in (Path(__file__).parent / "faults").glob("*.yaml")
    if not path.stem.startswith(("syntax_", "second_document"))
)
ORACLE = jsonschema_rs.validator_for(SCHEMA)

# What the walk finds and the keywords of the schema cannot say.
BEYOND = ("policy_duplicate_key", "expected a day of the calendar", "expected at most 200y")


def objects(schema: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if "properties" in schema and "additionalProperties" in schema:
            yield path, schema
        for key, member in schema.items():
            yield from objects(member, f"{path}/{key}")


def keywords(schema: dict[str, Any]) -> Iterator[str]:
    for keyword, value in schema.items():
        yield keyword
        if keyword in ("properties", "$defs"):
            for member in value.values():
                yield from keywords(member)
        elif keyword in ("items", "additionalProperties", "propertyNames") and isinstance(value, dict):
            yield from keywords(value)


def test_it_is_a_json_schema_of_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_an_unknown_key_is_an_error_at_every_level() -> None:
    found = dict(objects(SCHEMA))
    assert len(found) > 50
    assert [path for path, schema in found.items() if schema["additionalProperties"] is not False] == []


def test_every_key_says_what_it_is_for() -> None:
    lacking = [f"{path}/{key}" for path, each in objects(SCHEMA) for key in each["properties"]
               if not each["properties"][key].get("description")]  # fmt: skip
    assert lacking == []
    assert [path for path, each in objects(SCHEMA) if not each.get("title")] == []


def test_every_key_is_required_or_has_a_default() -> None:
    computed = {"severity", "on_missing", "field", "op", "value", "any", "target"}
    lacking = []
    for path, each in objects(SCHEMA):
        for key, member in each["properties"].items():
            target = SCHEMA["$defs"].get(member.get("$ref", "").removeprefix("#/$defs/"), {})
            is_alias = member.get("$ref", "").endswith(("/seconds", "/milliseconds"))
            is_section = "properties" in target and not target.get("required")
            is_optional = "default" in member or is_section or is_alias or key in computed
            if key not in each.get("required", ()) and not is_optional:
                lacking.append(f"{path}/{key}")
    assert lacking == []


def test_every_duration_may_be_written_in_seconds_and_milliseconds() -> None:
    for path, each in objects(SCHEMA):
        for key, member in each["properties"].items():
            if member.get("$ref") in ("#/$defs/duration", "#/$defs/duration_or_null"):
                assert {f"{key}_s", f"{key}_ms"} <= each["properties"].keys(), f"{path}/{key}"


def test_it_is_whole_in_one_file_and_has_no_definition_that_nothing_uses() -> None:
    references = {part.split('"')[0] for part in json.dumps(SCHEMA).split('"$ref": "')[1:]}
    assert references == {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


def test_it_uses_only_keywords_that_the_walk_knows() -> None:
    annotations = {"$schema", "$id", "$defs", "title", "description", "examples", "default", "$ref"}
    known = {
        "type",
        "enum",
        "const",
        "pattern",
        "minimum",
        "maximum",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
    }
    known |= {"items", "properties", "required", "additionalProperties", "propertyNames", "dependentRequired"}
    assert set(keywords(SCHEMA)) <= known | annotations


def test_its_words_are_those_of_the_engine() -> None:
    defs = SCHEMA["$defs"]
    assert set(defs["effect"]["enum"]) == set(EFFECTS)
    assert set(defs["checkpoint"]["properties"]["at"]["enum"]) == set(PLACES)
    commands = defs["record"]["properties"]["commands"]["items"]["enum"]
    assert tuple(commands) == declared_facts()["dbt.command"].values


def test_built_in_sql_rules_have_known_effects() -> None:
    rules = read_json("policy/sql_rules.json")["rules"]
    assert {rule["effect"] for rule in rules.values()} <= set(EFFECTS)
    assert not rules.keys() & read_json("policy/rule_ids.json")["rules"].keys()


def walk(document: object) -> list[str]:
    reader = SchemaWalk(canonical=False)
    reader.document(copy.deepcopy(document))
    return [f"{fault.code} {fault.message}" for fault in reader.faults]


def agree(document: object) -> None:
    faults = walk(document)
    if ORACLE.is_valid(document):
        assert [fault for fault in faults if not any(words in fault for words in BEYOND)] == []
    else:
        assert faults != []


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_the_walk_agrees_with_a_validator_on_faulty_files(path: Path) -> None:
    agree(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))


FULL = yaml.safe_load((Path(load.__file__).parent / "templates" / "full.yaml").read_text(encoding="utf-8"))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 200),
    st.sampled_from(["", "60s", "2027-01-31", "25:00", "block", "x_a", "a\nb", "svc:a", "eq", "mode", "null"]),
    st.lists(st.sampled_from(["a", 1, {}]), max_size=2),
    st.fixed_dictionaries({}, optional={"mode": st.just("enforce"), "ttl_s": st.integers(-1, 3), "x": st.none()}),
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, member in members for found in places(member, (*path, key)))]


@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_walk_agrees_with_a_validator_on_random_edits(data: st.DataObject) -> None:
    document = copy.deepcopy(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(document)[1:]))
        holder: Any = document
        for key in path[:-1]:
            holder = holder[key]
        edit = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if edit == "remove":
            del holder[path[-1]]
        elif edit == "add" and isinstance(holder, dict):
            holder[data.draw(st.sampled_from(["mode", "x", "ttl_s", "any", "value", "targets"]))] = data.draw(VALUES)
        else:
            holder[path[-1]] = data.draw(VALUES)
    agree(document)
