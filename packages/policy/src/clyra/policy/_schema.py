# SPDX-License-Identifier: Apache-2.0
"""One walk over a document along the policy's schema: every fault at its own place, and the normal form.

A validator of JSON Schema says that a document fits or reports a fault at the parent of its cause, and leaves defaults
and durations to a second walk. This one knows the few keywords that the schema uses; a test holds it against a full
validator. The words in ``$defs`` carry meaning: a ``duration`` becomes milliseconds, a ``git_identity`` a digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from clyra.policy._schema_words import KIND_WORDS, described, label, type_hint
from clyra.policy.durations import milliseconds, parse_date
from clyra.policy.effect import default_severity
from clyra.policy.migrate import OLD_EFFECTS
from clyra.policy.source import MAX_PROBLEMS, UNREADABLE, Fault, Path, Unreadable, did_you_mean, one_of, quoted
from clyra.spec import read_json

SCHEMA = "policy/policy.v1.schema.json"

Schema = Mapping[str, Any]

_REF = "#/$defs/"
_ABSENT: Final = Unreadable()
_KINDS: Mapping[str, type | tuple[type, ...]] = {"object": dict, "array": list, "string": str, "boolean": bool}
_PATTERN_CODES = {
    "duration": "policy_duration",
    "duration_or_null": "policy_duration",
    "date": "policy_time",
    "time_of_day": "policy_time",
    "rule_id": "policy_rule_id",
}
_UNITS_MS = {"seconds": 1000, "milliseconds": 1}


@lru_cache(maxsize=1)
def policy_schema() -> Schema:
    """The published schema."""
    return read_json(SCHEMA)


class TooManyFaultsError(Exception):
    """The file is wrong all over; what was found so far has to do."""


class SchemaWalk:
    """Reads one document; ``faults`` is what is wrong with it."""

    def __init__(self, *, canonical: bool) -> None:
        self.faults: list[Fault] = []
        self._canonical = canonical
        self._defs: Mapping[str, Schema] = policy_schema()["$defs"]
        self._defaults: dict[int, Any] = {}

    def document(self, document: object) -> dict[str, Any]:
        """The normal form of ``document``; what is faulty in it is left out."""
        try:
            found = self._read(document, policy_schema(), ())
        except TooManyFaultsError:
            found = {}
        return found if isinstance(found, dict) else {}

    def _read(self, value: object, schema: Schema, path: Path) -> Any:
        if value is UNREADABLE:
            return _ABSENT
        name = ""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_REF)
            schema = self._defs[name]
        if self._canonical and name in ("duration", "duration_or_null") and type(value) is int:
            return value if value > 0 else self._fault("policy_duration", path, value, "a duration", "")
        if not self._has_type(value, schema, name, path):
            return _ABSENT
        if isinstance(value, dict):
            found: Any = self._object(value, schema, path)
        elif isinstance(value, list):
            found = self._array(value, schema, path)
        else:
            found = self._scalar(value, schema, name, path)
        meaning = _MEANINGS.get(name)
        return found if meaning is None or found is _ABSENT or found is None else meaning(self, found, path)

    def _object(self, value: Mapping[str, object], schema: Schema, path: Path) -> dict[str, Any]:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        others = schema["additionalProperties"]
        found: dict[str, Any] = {}
        for key, member in value.items():
            if key in properties:
                self._member(found, value, key, member, properties[key], path)
            elif others is False:
                self._unknown_key(key, properties, path)
            elif self._is_name(key, schema["propertyNames"], path):
                read = self._read(member, others, (*path, key))
                if read is not _ABSENT:
                    found[key] = read
        self._check_required(value, schema, path)
        for key, rule in properties.items():
            if key not in found and (default := self._default(rule)) is not _ABSENT:
                found[key] = default
        return found

    def _member(
        self, found: dict[str, Any], value: Mapping[str, object], key: str, member: object, schema: Schema, path: Path
    ) -> None:
        read = self._read(member, schema, (*path, key))
        unit = _UNITS_MS.get(schema.get("$ref", "").removeprefix(_REF))
        if unit is not None:
            base = key[: key.rindex("_")]
            other = next((name for name in (base, f"{base}_s", f"{base}_ms") if name in value and name != key), None)
            if other is not None and list(value).index(other) < list(value).index(key):
                message = f"keys {quoted(other)} and {quoted(key)} say the same; keep one"
                self._add("policy_duplicate_key", message, (*path, key), on_key=True)
                return
            key, read = base, read * unit if type(read) is int else read
        if read is not _ABSENT:
            found[key] = read

    def _default(self, schema: Schema) -> Any:
        """What stands for an absent key: its default, else all defaults within it, else nothing."""
        if id(schema) in self._defaults:
            return _copy(self._defaults[id(schema)])
        if "default" in schema:
            found = self._own_words(schema["default"], schema)
        else:
            target = self._defs[schema["$ref"].removeprefix(_REF)] if "$ref" in schema else schema
            is_section = "properties" in target and not target.get("required") and "dependentRequired" not in target
            found = self._own_words({}, schema) if is_section else _ABSENT
        self._defaults[id(schema)] = found
        return _copy(found)

    def _own_words(self, default: object, schema: Schema) -> Any:
        # Defaults are written as people write, whatever the document is written as.
        if default is None:
            return None
        canonical, self._canonical = self._canonical, False
        found = self._read(default, schema, ())
        self._canonical = canonical
        return found

    def _unknown_key(self, key: str, properties: Mapping[str, Schema], path: Path) -> None:
        places = self._homes_of(key)
        hint = f"; it belongs in {one_of(places)}" if places else did_you_mean(key, properties)
        if not hint and len(properties) <= 16:
            hint = f"; expected {one_of(name for name in properties if not _is_alias(properties[name]))}"
        where = f" in {quoted(path[-1])}" if path and isinstance(path[-1], str) else ""
        self._add("policy_key", f"key {quoted(key)} is not known here{where}{hint}", (*path, key), on_key=True)

    def _is_name(self, key: str, schema: Schema, path: Path) -> bool:
        names = self._defs[schema["$ref"].removeprefix(_REF)]
        if _pattern(names["pattern"]).search(key):
            return True
        expected = f"{described(names)}, such as {quoted(names['examples'][0])}"
        message = f"the name {quoted(key)} is not allowed; expected {expected}"
        self._add("policy_value", message, (*path, key), on_key=True)
        return False

    def _homes_of(self, key: str) -> list[str]:
        """Sections in which ``key`` would be known."""
        top: Mapping[str, Schema] = policy_schema()["properties"]
        sections = {name: rule["$ref"].removeprefix(_REF) for name, rule in top.items() if "$ref" in rule}
        homes = [name for name, target in sections.items() if key in self._defs[target].get("properties", {})]
        return homes if len(homes) <= 3 else []

    def _check_required(self, value: Mapping[str, object], schema: Schema, path: Path) -> None:
        needed = list(schema.get("required", ()))
        for key, others in schema.get("dependentRequired", {}).items():
            needed += [other for other in others if key in value and other not in needed]
        for key in needed:
            if key not in value:
                about = described(schema["properties"][key])
                self._add("policy_missing_key", f"key {quoted(key)} is missing: {about}", path)

    def _array(self, value: Sequence[object], schema: Schema, path: Path) -> list[Any]:
        low, high = schema.get("minItems", 0), schema.get("maxItems", 1_000_000)
        if not low <= len(value) <= high:
            limit = f"at least {low}" if len(value) < low else f"at most {high}"
            message = f"{label(path)} has {len(value)} items; expected {limit}: {described(schema)}"
            self._add("policy_range", message, path)
        # What is beyond the limit is not read: work on a list may grow faster than the list.
        read = [self._read(item, schema["items"], (*path, index)) for index, item in enumerate(value[:high])]
        if schema.get("uniqueItems"):
            seen: set[object] = set()
            for index, item in enumerate(read):
                if item is not _ABSENT and item in seen:
                    self._add("policy_value", f"{quoted(value[index])} is there twice; keep one", (*path, index))
                seen.add(item)
        return read

    def _scalar(self, value: Any, schema: Schema, name: str, path: Path) -> Any:
        if "const" in schema and (value != schema["const"] or type(value) is not type(schema["const"])):
            return self._fault("policy_value", path, value, quoted(schema["const"]), "")
        if "enum" in schema and not any(value == word and type(value) is type(word) for word in schema["enum"]):
            return self._not_one_of(value, schema["enum"], path)
        if type(value) is int:
            low, high = schema.get("minimum"), schema.get("maximum")
            if (low is not None and value < low) or (high is not None and value > high):
                return self._fault("policy_range", path, value, f"a whole number from {low} to {high}", "")
        if isinstance(value, str):
            if len(value) > schema.get("maxLength", len(value)):
                message = f"{label(path)} has {len(value)} characters; at most {schema['maxLength']} are allowed"
                self._add("policy_range", message, path)
                return _ABSENT
            if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
                return self._wrong_form(value, schema, name, path)
        return value

    def _not_one_of(self, value: object, words: Sequence[object], path: Path) -> Any:
        is_op = bool(path) and path[-1] == "op"
        what = f"op {quoted(value)} is not known" if is_op else f"{label(path)} is {quoted(value)}"
        synonym = OLD_EFFECTS.get(value) if isinstance(value, str) else None
        hint = did_you_mean(synonym or value, [word for word in words if isinstance(word, str)])
        if isinstance(value, bool) and ("off" if value is False else "on") in words:
            hint = '; write "off" in quotes'
        expected = "" if hint and is_op else f"; expected {one_of(words)}"
        self._add("policy_op" if is_op else "policy_value", f"{what}{expected}{hint}", path)
        return _ABSENT

    def _wrong_form(self, value: str, schema: Schema, name: str, path: Path) -> Any:
        example = f", such as {quoted(schema['examples'][0])}" if "examples" in schema else ""
        about = described(schema)
        code = _PATTERN_CODES.get(name, "policy_value")
        return self._fault(code, path, value, f"{about}{example}", "")

    def _has_type(self, value: object, schema: Schema, name: str, path: Path) -> bool:
        if "type" not in schema:
            if isinstance(value, dict | list):
                self._fault("policy_type", path, value, "a single value", "")
                return False
            return True
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if any(_is_kind(value, kind) for kind in kinds):
            return True
        expected = " or ".join(KIND_WORDS[kind] for kind in kinds)
        code, hint = "policy_type", type_hint(value, kinds)
        if name in ("duration", "duration_or_null") and type(value) is int:
            code, expected = "policy_duration", 'a duration with its unit, such as "60s"'
            hint = f"; write {value}s, or {path[-1]}_s: {value}"
        self._fault(code, path, value, expected, hint)
        return False

    def _fault(self, code: str, path: Path, value: object, expected: str, hint: str) -> Any:
        shown = "empty" if value is None else quoted(value)
        if isinstance(value, dict | list):
            shown = "a mapping" if isinstance(value, dict) else "a list"
        self._add(code, f"{label(path)} is {shown}; expected {expected}{hint}", path)
        return _ABSENT

    def _add(self, code: str, message: str, path: Path, *, on_key: bool = False) -> None:
        self.faults.append(Fault(code, message, path, on_key))
        if len(self.faults) >= MAX_PROBLEMS:
            raise TooManyFaultsError

    def to_milliseconds(self, value: Any, path: Path) -> Any:
        """The meaning of ``duration``."""
        if isinstance(value, int):
            return value
        found = milliseconds(value)
        return self._fault("policy_duration", path, value, "at most 200y", "") if found is None else found

    def to_date(self, value: str, path: Path) -> Any:
        """The meaning of ``date``."""
        if parse_date(value) is None:
            return self._fault("policy_time", path, value, "a day of the calendar", "")
        return value


def _rule(_walk: SchemaWalk, rule: dict[str, Any], _path: Path) -> dict[str, Any]:
    effect = rule.get("effect")
    if effect is not None:
        rule.setdefault("severity", default_severity(effect))
        rule.setdefault("on_missing", effect)
    return rule


def _condition(_walk: SchemaWalk, condition: dict[str, Any], _path: Path) -> dict[str, Any]:
    if condition.get("op") == "exists":
        condition.setdefault("value", True)
    return condition


def _requirement(_walk: SchemaWalk, value: object, _path: Path) -> object:
    return {True: "required", False: "off"}.get(value, value) if isinstance(value, bool) else value


def _git_identity(_walk: SchemaWalk, value: str, _path: Path) -> str:
    if value.startswith("git:"):
        return value
    from hashlib import sha256

    return "git:" + sha256(value.strip().lower().encode()).hexdigest()


def _standing(walk: SchemaWalk, standing: dict[str, Any], path: Path) -> dict[str, Any]:
    target = standing.pop("target", None)
    if target is not None:
        if standing.get("targets"):
            message = 'keys "target" and "targets" say the same; keep "targets"'
            walk.faults.append(Fault("policy_duplicate_key", message, (*path, "target"), on_key=True))
        standing["targets"] = [target]
    return standing


_MEANINGS: Mapping[str, Callable[[SchemaWalk, Any, Path], Any]] = {
    "duration": SchemaWalk.to_milliseconds,
    "duration_or_null": SchemaWalk.to_milliseconds,
    "date": SchemaWalk.to_date,
    "rule": _rule,
    "condition": _condition,
    "condition_or_any": _condition,
    "requirement": _requirement,
    "git_identity": _git_identity,
    "standing": _standing,
}


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    # In JSON Schema $ is the end of the text; Python's $ also stands before a last line feed.
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def _is_kind(value: object, kind: str) -> bool:
    if kind == "integer":
        return type(value) is int
    return value is None if kind == "null" else isinstance(value, _KINDS[kind])


def _is_alias(schema: Schema) -> bool:
    return schema.get("$ref", "").removeprefix(_REF) in _UNITS_MS


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
