# SPDX-License-Identifier: Apache-2.0
"""Check values against the JSON Schemas of ``spec/``, compiled into closures.

Only the keywords that those schemas use are known; another one is an error of ours, not of the document. Differences
from a stock validator, all on the strict side and all as ECMA 262 has it: ``$`` does not match before a final line
feed, ``1.0`` is not an integer, ``true`` is not 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from clyra.spec import schema
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import canonical_bytes

# A fault is a JSON pointer's segments from the value inward, and what is wrong there.
Fault = tuple[tuple[str | int, ...], str]
Check = Callable[[Any], Fault | None]

_TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}
_ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description"})


def check_schema(name: str, value: object, *, code: str = "schema_invalid") -> None:
    """Check that ``value`` is what the schema ``name`` of ``spec/`` says.

    Raises:
        Refusal: ``code``, with a JSON pointer (RFC 6901) to the first fault.
    """
    fault = compiled(name)(value)
    if fault is not None:
        path, message = fault
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
        raise Refusal(code, f"{message} at {pointer or 'the top level'}", pointer=pointer)


@lru_cache(maxsize=16)
def compiled(name: str) -> Check:
    """The check of the whole schema ``name``: returns None, or the first fault that was found."""
    return _compile(schema(name), name)


def compiled_type(name: str) -> Check:
    """The check of the definition ``name`` of ``types.schema.json``."""
    return _referenced("types", name)


@lru_cache(maxsize=8)
def _definitions(name: str) -> dict[str, Any]:
    definitions: dict[str, Any] = schema(name)["$defs"]
    return definitions


@lru_cache(maxsize=64)
def definition(document: str, name: str) -> dict[str, Any]:
    """The subschema ``name`` among the ``$defs`` of the schema file ``document``."""
    found: dict[str, Any] = _definitions(document)[name]
    return found


def reference(ref: str, document: str) -> tuple[str, str]:
    """Document and definition that a ``$ref`` of these schemas names."""
    file, _, name = ref.partition("#/$defs/")
    return (file.removesuffix(".schema.json") or document), name


@lru_cache(maxsize=64)
def _referenced(document: str, name: str) -> Check:
    check: list[Check] = []

    def deferred(value: Any) -> Fault | None:
        # Compiled at the first use: definitions may contain themselves, and most runs need few of them.
        if not check:
            check.append(_compile(definition(document, name), document))
        return check[0](value)

    return deferred


def _compile(rules: dict[str, Any] | bool, document: str) -> Check:
    if isinstance(rules, bool):
        return (lambda value: None) if rules else (lambda value: ((), "a member that is not allowed here"))
    # One builder may handle several keywords: it is called once, at the first of them.
    builders = dict.fromkeys(_BUILDERS[word] for word in rules if word not in _ANNOTATIONS)
    checks = [build(rules, document) for build in builders]
    if len(checks) == 1:
        return checks[0]

    def all_of(value: Any) -> Fault | None:
        for check in checks:
            fault = check(value)
            if fault is not None:
                return fault
        return None

    return all_of


def _ref(rules: dict[str, Any], document: str) -> Check:
    return _referenced(*reference(rules["$ref"], document))


def _type(rules: dict[str, Any], _document: str) -> Check:
    words = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    tests = [_TYPES[word] for word in words]
    fault: Fault = ((), f"expected {' or '.join(words)}")
    if len(tests) == 1:
        only = tests[0]
        return lambda value: None if only(value) else fault
    return lambda value: None if any(test(value) for test in tests) else fault


def _enum(rules: dict[str, Any], _document: str) -> Check:
    # The enumerations of these schemas are strings, `const` may also be a boolean: compared with their type.
    allowed = rules["enum"] if "enum" in rules else [rules["const"]]
    members = {(type(item), item) for item in allowed}
    fault: Fault = ((), f"expected {' or '.join(map(repr, allowed))}")

    def check(value: Any) -> Fault | None:
        return None if type(value) in (str, int, bool) and (type(value), value) in members else fault

    return check


def _pattern(rules: dict[str, Any], _document: str) -> Check:
    text: str = rules["pattern"]
    compiled_pattern: list[re.Pattern[str]] = []
    fault: Fault = ((), f"expected text of the form {text}")

    def check(value: Any) -> Fault | None:
        if type(value) is not str:
            return None
        if not compiled_pattern:
            compiled_pattern.append(re.compile(re.sub(r"\$$", r"\\Z", text)))
        return None if compiled_pattern[0].search(value) else fault

    return check


def _bounds(rules: dict[str, Any], _document: str) -> Check:
    low, high = rules.get("minimum"), rules.get("maximum")

    def check(value: Any) -> Fault | None:
        if type(value) is not int:
            return None
        if low is not None and value < low:
            return ((), f"expected at least {low}")
        return ((), f"expected at most {high}") if high is not None and value > high else None

    return check


def _object(rules: dict[str, Any], document: str) -> Check:
    properties = {name: _compile(inner, document) for name, inner in rules.get("properties", {}).items()}
    other = _compile(rules.get("additionalProperties", True), document)
    required = frozenset(rules.get("required", ()))
    names = _compile(rules["propertyNames"], document) if "propertyNames" in rules else None

    def check(value: Any) -> Fault | None:
        if type(value) is not dict:
            return None
        if not required <= value.keys():
            return ((), f"missing member {min(required - value.keys())!r}")
        for name, inner in value.items():
            if names is not None and names(name) is not None:
                return ((name,), "a member name that is not allowed")
            fault = properties.get(name, other)(inner)
            if fault is not None:
                return ((name, *fault[0]), fault[1])
        return None

    return check


def _array(rules: dict[str, Any], document: str) -> Check:
    items = _compile(rules.get("items", True), document)
    low, high, unique = rules.get("minItems", 0), rules.get("maxItems"), rules.get("uniqueItems", False)

    def check(value: Any) -> Fault | None:
        if type(value) is not list:
            return None
        if len(value) < low or (high is not None and len(value) > high):
            return ((), f"expected {low} to {'any number of' if high is None else high} items")
        if unique and len({canonical_bytes(item) for item in value}) != len(value):
            return ((), "an item occurs twice")
        for index, item in enumerate(value):
            fault = items(item)
            if fault is not None:
                return ((index, *fault[0]), fault[1])
        return None

    return check


def _all_of(rules: dict[str, Any], document: str) -> Check:
    checks = [_compile(inner, document) for inner in rules["allOf"]]

    def check(value: Any) -> Fault | None:
        return next((fault for inner in checks if (fault := inner(value)) is not None), None)

    return check


def _any_of(rules: dict[str, Any], document: str) -> Check:
    checks = [_compile(inner, document) for inner in rules["anyOf"]]

    def check(value: Any) -> Fault | None:
        first: Fault | None = None
        for inner in checks:
            fault = inner(value)
            if fault is None:
                return None
            first = first or fault
        return first

    return check


def _one_of(rules: dict[str, Any], document: str) -> Check:
    # Every `oneOf` of these schemas tells its branches apart by the required constant member `type`.
    branches = {branch["properties"]["type"]["const"]: branch for branch in rules["oneOf"]}
    if len(branches) != len(rules["oneOf"]) or not all("type" in branch["required"] for branch in branches.values()):
        raise ValueError("oneOf without distinct constants in the member type is not implemented")
    checks: dict[str, Check] = {}

    def check(value: Any) -> Fault | None:
        if type(value) is not dict:
            return ((), "expected object")
        word = value.get("type")
        if type(word) is not str or word not in branches:
            return (("type",), f"expected one of {', '.join(sorted(branches))}")
        if word not in checks:
            checks[word] = _compile(branches[word], document)
        return checks[word](value)

    return check


def _conditional(rules: dict[str, Any], document: str) -> Check:
    condition = _compile(rules["if"], document)
    then, otherwise = _compile(rules.get("then", True), document), _compile(rules.get("else", True), document)
    return lambda value: then(value) if condition(value) is None else otherwise(value)


# A keyword that is not here is a KeyError: the specification's schemas use no other.
_BUILDERS: dict[str, Callable[[dict[str, Any], str], Check]] = {
    "$ref": _ref,
    "type": _type,
    **dict.fromkeys(("enum", "const"), _enum),
    "pattern": _pattern,
    **dict.fromkeys(("minimum", "maximum"), _bounds),
    **dict.fromkeys(("properties", "required", "additionalProperties", "propertyNames"), _object),
    **dict.fromkeys(("items", "minItems", "maxItems", "uniqueItems"), _array),
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    **dict.fromkeys(("if", "then", "else"), _conditional),
}
