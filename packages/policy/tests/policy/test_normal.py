# SPDX-License-Identifier: Apache-2.0
"""The digest of a policy: equal for whatever is written differently and means the same, different for any meaning."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.evidence.canonical import canonicalize_integers
from clyra.policy._schema import policy_schema
from clyra.policy._yaml import read_yaml
from clyra.policy.durations import duration_text, milliseconds
from clyra.policy.normal import normalize
from clyra.policy.problem import PolicyInvalid

UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "y": 31_622_400_000}
DEFS = policy_schema()["$defs"]
Schema = Any
Path = tuple[str | int, ...]

# Samples that may stand without quotes.
PLAIN = {"prod", "eu-1", "finance", "pg:shop", "svc:a", "agent:a", "block", "enforce", "x_a", "60s", "ana@example.com"}


def digest(text: str) -> str:
    source = read_yaml(text.encode(), "f")
    assert source.problems == []
    assert isinstance(source.document, dict)
    return sha256(canonicalize_integers(normalize(source.document))).hexdigest()


def resolved(schema: Schema) -> tuple[str, Schema]:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return name, DEFS[name] if name else schema


SAMPLES: dict[str, st.SearchStrategy[Any]] = {
    "duration": st.builds("{}{}".format, st.integers(1, 90), st.sampled_from(["ms", "s", "m", "h", "d"])),
    "duration_or_null": st.one_of(st.none(), st.builds("{}{}".format, st.integers(1, 9), st.sampled_from(["d", "y"]))),
    "seconds": st.integers(1, 10**6),
    "milliseconds": st.integers(1, 10**6),
    "date": st.dates().map(str),
    "time_of_day": st.times().map(lambda time: time.strftime("%H:%M")),
    "timezone": st.sampled_from(["Europe/Berlin", "UTC", "America/New_York"]),
    "principal": st.sampled_from(["svc:a", "svc:b", "agent:a", "oidc:https://id.example:ana"]),
    "git_identity": st.sampled_from(["ana@example.com", "ben@example.com", "git:" + "0" * 64]),
    "audience": st.sampled_from([None, "pg:shop", "dbt:shop/prod", "snowflake:acme/shop"]),
    "rule_id": st.sampled_from(["x_a", "x_b", "truncate", "opaque_call"]),
    "sha256": st.sampled_from(["0" * 64, "f" * 64]),
    "environment_name": st.sampled_from(["prod", "eu-1", "off", "1.5"]),
    "word": st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True),
    "name": st.sampled_from(["off", "010", "1e3", "2027-01-31", "a: b", "é", "-", "#x", "'", '"', "\\", "\U0001f6a2"]),
    "text": st.sampled_from(["", "off", "two\nlines\n", "tab\there", "[1, 2]", "~"]),
    "optional_name": st.sampled_from([None, "null", "finance"]),
}


@st.composite
def values(draw: st.DrawFn, schema: Schema, *, small: bool = False) -> Any:
    """A value that fits ``schema``, as a person might write it."""
    name, schema = resolved(schema)
    if name in SAMPLES:
        return draw(SAMPLES[name])
    if name.startswith("condition"):
        return {"field": "dbt.node", "op": "in", "value": draw(st.lists(st.sampled_from(["a", "b", 1]), max_size=2))}
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = draw(st.sampled_from(kinds))
    if kind == "null":
        return None
    if kind == "boolean":
        return draw(st.booleans())
    if kind == "integer":
        return draw(st.integers(schema.get("minimum", 0), min(schema.get("maximum", 10**9), 10**9)))
    if kind == "string":
        return draw(st.sampled_from([">=0.1", ">=0.1, <2"])) if "pattern" in schema else draw(SAMPLES["text"])
    if kind == "array":
        low, high = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
        items = draw(st.lists(values(schema["items"]), min_size=low, max_size=high))
        unique = [item for index, item in enumerate(items) if item not in items[:index]]
        return unique if len(unique) >= low else items[:low]
    return draw(mappings(schema, small=small))


@st.composite
def mappings(draw: st.DrawFn, schema: Schema, *, small: bool = False) -> dict[str, Any]:
    if schema["additionalProperties"] is not False:
        keys = draw(st.lists(values(schema["propertyNames"]), max_size=2, unique=True))
        return {key: draw(values(schema["additionalProperties"])) for key in keys}
    properties = {
        key: rule for key, rule in schema["properties"].items() if resolved(rule)[0] not in ("seconds", "milliseconds")
    }
    properties.pop("target", None)
    required = [key for key in schema.get("required", ()) if key in properties]
    others = [key for key in properties if key not in required]
    chosen = draw(st.lists(st.sampled_from(others), max_size=2 if small else 4, unique=True)) if others else []
    return {key: draw(values(properties[key])) for key in [*required, *chosen]}


documents = mappings(policy_schema())


def scalar_text(value: Any, dice: random.Random) -> str:
    """One of the ways to write a scalar."""
    if not isinstance(value, str):
        return json.dumps(value)
    styles = [json.dumps(value, ensure_ascii=False)]
    if value.isprintable():
        styles.append("'" + value.replace("'", "''") + "'")
    if value in PLAIN:
        styles.append(value)
    return dice.choice(styles)


def member_texts(value: dict[str, Any], schema: Schema, dice: random.Random) -> Iterator[tuple[str, Any, Schema]]:
    """The members in some order, durations in one of their forms; a text that is done has no schema."""
    members = list(value.items())
    dice.shuffle(members)
    for key, member in members:
        rule = schema.get("properties", {}).get(key, schema["additionalProperties"])
        if resolved(rule)[0].startswith("duration") and isinstance(member, str):
            total = meaning(member, rule)
            forms = [(key, member), (key, f"{total}ms"), (f"{key}_ms", f"{total}")]
            forms += [(key, f"{total // 1000}s"), (f"{key}_s", f"{total // 1000}")] if total % 1000 == 0 else []
            yield (*dice.choice(forms), None)
        else:
            yield key, member, rule


def flow_text(value: Any, schema: Schema, dice: random.Random) -> str:
    """``value`` in one line."""
    schema = schema and resolved(schema)[1]
    if isinstance(value, dict) and "additionalProperties" in schema:
        members = member_texts(value, schema, dice)
        return "{" + ", ".join(f"{scalar_text(k, dice)}: {flow_text(v, rule, dice)}" for k, v, rule in members) + "}"
    if isinstance(value, dict | list):
        items = schema.get("items", {})
        return "[" + ", ".join(flow_text(item, items, dice) for item in value) + "]"
    return value if schema is None else scalar_text(value, dice)


def block_lines(value: Any, schema: Schema, dice: random.Random) -> list[str]:
    """``value``, a container that is not empty, in lines."""
    schema = resolved(schema)[1]
    lines: list[str] = []
    if isinstance(value, list):
        for item in value:
            first, *rest = child_lines(item, schema["items"], dice)
            lines += [f"- {first}".rstrip(), *(f"  {line}" for line in rest)]
        return lines
    for key, member, rule in member_texts(value, schema, dice):
        first, *rest = child_lines(member, rule, dice)
        lines += dice.choice([[], ["# why"], [""]])
        lines += [f"{scalar_text(key, dice)}: {first}".rstrip(), *(f"  {line}" for line in rest)]
    return lines


def child_lines(value: Any, schema: Schema, dice: random.Random) -> list[str]:
    """``value`` behind its key: in the same line, or in lines of its own after an empty one."""
    if not value or not isinstance(value, dict | list) or dice.random() < 0.3:
        return [flow_text(value, schema, dice)]
    return ["", *block_lines(value, schema, dice)]


def written(document: dict[str, Any], seed: int) -> str:
    dice = random.Random(seed)
    text = "\n".join(block_lines(document, policy_schema(), dice)) + "\n"
    return dice.choice([text, text.replace("\n", "\r\n"), "\ufeff" + text, "# first\n" + text])


@given(documents.filter(bool), st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_digest_is_the_same_however_the_file_is_written(document: dict[str, Any], one: int, two: int) -> None:
    assert digest(written(document, one)) == digest(written(document, two))


def leaves(value: Any, schema: Schema, path: Path = ()) -> list[tuple[Path, Schema]]:
    name, target = resolved(schema)
    if name.startswith("condition"):
        return []
    if isinstance(value, dict):
        rules = {key: target.get("properties", {}).get(key, target["additionalProperties"]) for key in value}
        return [found for key, member in value.items() for found in leaves(member, rules[key], (*path, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in leaves(item, target["items"], (*path, index))]
    return [(path, schema)]


def meaning(value: Any, schema: Schema) -> Any:
    """What a value stands for, worked out apart from the code under test."""
    name, _ = resolved(schema)
    if name.startswith("duration") and isinstance(value, str):
        return int(value.rstrip("mshdy")) * UNITS[value.lstrip("0123456789")]
    if name == "requirement":
        return {"True": "required", "False": "off"}.get(str(value), value)
    return (type(value).__name__, value)


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_digest_changes_with_any_meaning(data: st.DataObject) -> None:
    document = data.draw(documents.filter(bool))
    found = leaves(document, policy_schema())
    if not found:
        return
    path, schema = data.draw(st.sampled_from(found))
    changed = copy.deepcopy(document)
    holder: Any = changed
    for key in path[:-1]:
        holder = holder[key]
    old, new = holder[path[-1]], data.draw(values(schema))
    holder[path[-1]] = new
    try:
        after = digest(written(changed, 1))
    except PolicyInvalid:
        return
    same = meaning(old, schema) == meaning(new, schema)
    assert (digest(written(document, 1)) == after) == same


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("enforcement: {approvals: {max_ttl: 60s}}", "enforcement: {approvals: {max_ttl: 60000ms}}"),
        ("enforcement: {approvals: {max_ttl: 60s}}", "enforcement: {approvals: {max_ttl_s: 60}}"),
        ("enforcement: {approvals: {max_ttl: 1m}}", "enforcement: {approvals: {max_ttl_ms: 60000}}"),
        ("compliance: {retention: {keep: 6y}}", "compliance: {retention: {keep: 2196d}}"),
        ("version: 1", "name: policy"),
        ("version: 1", "gateway: {limits: {depth: 64}}"),
        ("version: 1", "enforcement: {approvals: {quorum: 1, max_ttl: 15m}}"),
        ("data_platform: {rules: []}", "waivers: []"),
        (
            "compliance: {segregation_of_duties: {identities: {'svc:a': ['Ana@Example.com']}}}",
            "compliance: {segregation_of_duties: {identities: {'svc:a': ['ana@example.com']}}}",
        ),
        (
            "enforcement: {approvals: {standing: {valid_for: 30d, target: prod}}}",
            "enforcement: {approvals: {standing: {valid_for: 30d, targets: [prod]}}}",
        ),
        (
            "data_platform: {activation_enforcement: {idempotency: true}}",
            "data_platform: {activation_enforcement: {idempotency: required}}",
        ),
    ],
)
def test_two_ways_to_say_one_thing_have_one_digest(one: str, two: str) -> None:
    assert digest(one + "\n") == digest(two + "\n")


def test_the_normal_form_holds_no_address_and_no_duration_as_text() -> None:
    normal = normalize(
        {
            "compliance": {
                "segregation_of_duties": {"service_committers": ["bot@example.com"]},
                "retention": {"keep": "7y"},
            },
            "enforcement": {"velocity": {"max": 5, "window_s": 60}},
        }
    )
    expected = "git:" + sha256(b"bot@example.com").hexdigest()
    assert normal["compliance"]["segregation_of_duties"]["service_committers"] == [expected]
    assert normal["compliance"]["retention"]["keep"] == 7 * UNITS["y"]
    assert normal["enforcement"]["velocity"] == {"per": "actor", "window": 60_000, "max": 5, "burst": 0}


def test_a_rule_gets_severity_and_on_missing_from_its_effect() -> None:
    when = [{"field": "dbt.node", "op": "exists"}]
    rules = [
        {"id": "x_a", "effect": "block", "when": when},
        {"id": "x_b", "effect": "warn", "when": when, "on_missing": "ignore"},
    ]
    first, second = normalize({"data_platform": {"rules": rules}})["data_platform"]["rules"]
    assert (first["severity"], first["on_missing"], first["mode"]) == ("critical", "block", "shadow")
    assert (second["severity"], second["on_missing"]) == ("warning", "ignore")
    assert first["when"] == [{"field": "dbt.node", "op": "exists", "value": True}]


def test_normalizing_changes_nothing_that_was_given() -> None:
    given_document = {"enforcement": {"approvals": {"standing": {"target": "prod"}}}}
    normalize(given_document)
    assert given_document == {"enforcement": {"approvals": {"standing": {"target": "prod"}}}}


def test_the_defaults_of_two_policies_share_nothing() -> None:
    one, two = normalize({}), normalize({})
    one["enforcement"]["risk"]["weights"]["production"] = 99
    one["waivers"].append("x")
    assert two["enforcement"]["risk"]["weights"]["production"] == 2
    assert two["waivers"] == []


@pytest.mark.parametrize(
    ("text", "value"), [("250ms", 250), ("60s", 60_000), ("24h", 86_400_000), ("1y", 31_622_400_000)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, value: int) -> None:
    assert milliseconds(text) == value
    assert milliseconds(duration_text(value)) == value


@pytest.mark.parametrize("text", ["", "60", "0s", "-1s", "1.5h", "60 s", "1h30m", "1w", "201y", "1S", "٣s", "1s\n"])
def test_anything_else_is_no_duration(text: str) -> None:
    assert milliseconds(text) is None
