# SPDX-License-Identifier: Apache-2.0
"""What a schema cannot say of rules, checkpoints and waivers: facts, operators, ids, dates, and what never holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from clyra.policy._contradiction import contradiction
from clyra.policy.conditions import OPERATORS
from clyra.policy.durations import parse_date
from clyra.policy.effect import RANK
from clyra.policy.environment import UNKNOWN
from clyra.policy.facts import Fact, decision_points, declared_facts
from clyra.policy.rules import PLACES, SECTIONS
from clyra.policy.source import Fault, Path, did_you_mean, one_of, quoted
from clyra.spec import read_json

Conditions = list[tuple[Path, Mapping[str, Any]]]

WAIVER_DAYS = 90
OWN_PREFIX = "x_"
RESERVED = "risk_threshold"

_SELECTORS = ("relations", "nodes", "digests", "sources", "tools", "routes", "labels", "phrases_sha256", "when")
_NOT_JUDGED = ("sources", "routes", "phrases_sha256")
_ONLY_BY_DIGEST = ("guard_tampering", "unknown_function")
_DIGEST = "action.statement_digest"
_LISTS = frozenset({"in", "not_in", "has_any", "has_all"})
_SIZES = frozenset({"size_lt", "size_ge"})
_TYPE_WORDS = {"bool": "true or false", "integer": "a whole number", "text": "text", "set": "text"}
_PYTHON_TYPES: Mapping[str, type] = {"bool": bool, "integer": int, "text": str, "set": str}


@lru_cache(maxsize=1)
def sql_rules() -> Mapping[str, Mapping[str, str]]:
    """The built-in SQL rules by id."""
    rules: Mapping[str, Mapping[str, str]] = read_json("policy/sql_rules.json")["rules"]
    return rules


@lru_cache(maxsize=1)
def known_ids() -> frozenset[str]:
    """Ids of all built-in rules."""
    return frozenset(sql_rules()) | frozenset(read_json("policy/rule_ids.json")["rules"])


def entries(holder: object, *keys: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Mappings in the list at ``keys``, each with its path; what the schema refused is passed over."""
    for key in keys:
        holder = holder.get(key) if isinstance(holder, dict) else None
    for index, entry in enumerate(holder if isinstance(holder, list) else ()):
        if isinstance(entry, dict):
            yield (*keys, index), entry


def rules_of(document: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every rule of the policy with its path."""
    for section in SECTIONS:
        yield from entries(document, section, "rules")


def check_rules(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of the rules."""
    seen: set[str] = set()
    environments = _environment_names(document)
    for path, rule in rules_of(document):
        if isinstance(rule.get("id"), str):
            yield from _check_id(rule["id"], (*path, "id"), seen)
        yield from check_when(rule.get("when"), (*path, "when"), environments)


def check_checkpoints(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of the checkpoints."""
    environments = _environment_names(document)
    for path, checkpoint in entries(document, "enforcement", "checkpoints"):
        points = next((points for place, points in PLACES.items() if place == checkpoint.get("at")), None)
        yield from check_when(checkpoint.get("when"), (*path, "when"), environments, points)


def check_sql_rules(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of the effects that the policy gives built-in SQL rules."""
    path = ("data_platform", "warehouse_guards", "sql", "rules")
    holder: Any = document
    for key in path:
        holder = holder.get(key, {}) if isinstance(holder, dict) else {}
    for rule, effect in holder.items() if isinstance(holder, dict) else ():
        built_in = sql_rules().get(rule)
        if built_in is None:
            hint = did_you_mean(rule, sql_rules()) or "; rules of your own stand in data_platform.rules"
            yield Fault("policy_rule_id", f"{quoted(rule)} is no built-in SQL rule{hint}", (*path, rule), on_key=True)
        elif built_in["effect"] == "block" and RANK[effect] < RANK["block"]:
            message = f"{rule} blocks, and {quoted(effect)} would lower it; write a waiver instead"
            yield Fault("policy_value", message, (*path, rule))


def check_waivers(document: Mapping[str, Any], now: date) -> Iterator[Fault]:
    """Faults of the waivers on the day ``now``."""
    own = {rule["id"] for _, rule in rules_of(document) if isinstance(rule.get("id"), str)}
    seen: set[str] = set()
    for path, waiver in entries(document, "waivers"):
        if waiver.get("id") in seen:
            yield Fault("policy_waiver", f"waiver id {quoted(waiver['id'])} is there twice", (*path, "id"))
        seen.add(waiver.get("id", ""))
        yield from check_when(waiver.get("when"), (*path, "when"), _environment_names(document))
        yield from _check_waived_rules(waiver, path, own)
        yield from _check_selectors(waiver, path)
        yield from _check_dates(waiver, path, now)


def _check_id(rule_id: str, path: Path, seen: set[str]) -> Iterator[Fault]:
    if rule_id in seen:
        message = f"rule id {quoted(rule_id)} is there twice; give each rule an id of its own"
        yield Fault("policy_rule_id", message, path)
    elif rule_id == RESERVED or (not rule_id.startswith(OWN_PREFIX) and rule_id not in known_ids()):
        hint = did_you_mean(rule_id, known_ids())
        message = f"rule id {quoted(rule_id)} is no built-in rule{hint}; own ids begin with x_: write x_{rule_id}"
        yield Fault("policy_rule_id", message, path)
    seen.add(rule_id)


def check_when(
    when: object, path: Path, environments: Iterable[str], points: Sequence[str] | None = None
) -> Iterator[Fault]:
    """Faults of a list of conditions; ``points`` are the decision points at which it is judged, None for any."""
    alone: Conditions = []
    every: Conditions = []
    for index, item in enumerate(when if isinstance(when, list) else ()):
        if isinstance(item, dict):
            yield from _check_item(item, (*path, index))
            every += _conditions(item, (*path, index))
            alone += [] if "any" in item else [((*path, index), item)]
    faulty: set[Path] = set()
    for place, condition in every:
        for fault in _check_condition(condition, place, environments):
            faulty.add(place)
            yield fault
    yield from _check_points(every, points)
    whole = [(place, each) for place, each in alone if {"field", "op", "value"} <= each.keys()]
    sound = [(place, each) for place, each in whole if place not in faulty and each["field"] in declared_facts()]
    if never := contradiction(sound):
        yield Fault("policy_condition", never[1], never[0])


def _check_item(item: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    if "any" in item and "field" in item:
        message = 'an item with "any" has nothing beside it; put the other condition into an item of its own'
        yield Fault("policy_condition", message, (*path, "field"), on_key=True)
    elif not item:
        yield Fault("policy_missing_key", "an empty condition; expected field, op and value, or any", path)


def _conditions(item: Mapping[str, Any], path: Path) -> Conditions:
    """The item itself, or the conditions of its ``any``."""
    if "any" not in item:
        return [(path, item)]
    return [((*path, *place), each) for place, each in entries(item, "any")]


def _check_condition(condition: Mapping[str, Any], path: Path, environments: Iterable[str]) -> Iterator[Fault]:
    name, op = condition.get("field"), condition.get("op")
    if not isinstance(name, str):
        return
    fact = declared_facts().get(name)
    if fact is None:
        message = f"fact {quoted(name)} is not declared{did_you_mean(name, declared_facts())}"
        yield Fault("policy_fact", message, (*path, "field"))
    elif op is not None and op not in OPERATORS[fact.type]:
        message = (
            f"op {quoted(op)} does not fit {name}, {_fact_words(fact)}; use {one_of(sorted(OPERATORS[fact.type]))}"
        )
        yield Fault("policy_op", message, (*path, "op"))
    elif op is not None and "value" not in condition:
        yield Fault("policy_missing_key", f'key "value" is missing: what {name} is compared with', path)
    elif op is not None:
        yield from _check_value(fact, op, condition["value"], (*path, "value"), environments)


def _check_value(fact: Fact, op: str, value: Any, path: Path, environments: Iterable[str]) -> Iterator[Fault]:
    if op == "exists":
        if not isinstance(value, bool):
            yield Fault("policy_type", f"the value of exists is {quoted(value)}; expected true or false", path)
        return
    if (op in _LISTS) != isinstance(value, list):
        expected = f"a list; write [{value}]" if op in _LISTS else "a single value; for a list use in"
        expected = expected if fact.type != "set" or op in _LISTS else "a single value; for a list use has_any"
        yield Fault("policy_type", f"the value of {fact.name} {op} is {_shown(value)}; expected {expected}", path)
        return
    if value == []:
        yield Fault("policy_value", f"the list of {fact.name} {op} is empty; name at least one value", path)
    wanted = "integer" if op in _SIZES else fact.type
    for index, each in enumerate(value) if isinstance(value, list) else [(None, value)]:
        place = path if index is None else (*path, index)
        if type(each) is not _PYTHON_TYPES[wanted]:
            hint = _retyped(each, wanted)
            message = f"the value of {fact.name} is {quoted(each)}; expected {_TYPE_WORDS[wanted]}{hint}"
            yield Fault("policy_type", message, place)
        elif op != "prefix":
            yield from _check_word(fact, each, place, environments)


def _check_word(fact: Fact, word: Any, path: Path, environments: Iterable[str]) -> Iterator[Fault]:
    if fact.values is not None and fact.type in ("text", "set") and word not in fact.values:
        known = did_you_mean(word, fact.values) or f"; expected {one_of(fact.values)}"
        yield Fault("policy_value", f"{fact.name} is never {quoted(word)}{known}", path)
    if fact.name == "env.name" and word not in environments and word != UNKNOWN:
        hint = did_you_mean(word, environments) or "; add it to environments"
        yield Fault("policy_environment", f"there is no environment {quoted(word)}{hint}", path)


def _check_points(conditions: Conditions, points: Sequence[str] | None) -> Iterator[Fault]:
    """A fault at the first fact that no decision point supplies together with those before it."""
    left = frozenset(decision_points() if points is None else points)
    elsewhere = "this checkpoint does not pause"
    for path, condition in conditions:
        fact = declared_facts().get(condition.get("field", ""))
        if fact is None:
            continue
        if not left & fact.points:
            supplied = ", ".join(sorted(fact.points))
            message = f"{fact.name} is known at {supplied} only, where {elsewhere}"
            yield Fault("policy_fact_point", message, (*path, "field"))
            return
        if not left <= fact.points:
            left, elsewhere = left & fact.points, f"{fact.name} is not; make two rules"


def _check_waived_rules(waiver: Mapping[str, Any], path: Path, own: Iterable[str]) -> Iterator[Fault]:
    known = known_ids().union(own, {RESERVED})
    for index, rule in enumerate(waiver.get("rules", ())):
        if not isinstance(rule, str):
            continue
        if rule not in known:
            message = f"waiver of {quoted(rule)}, which is no rule{did_you_mean(rule, known)}"
            yield Fault("policy_rule_id", message, (*path, "rules", index))
        if (rule.startswith("opaque_") or rule in _ONLY_BY_DIGEST) and not _selects_digest(waiver):
            message = f"{rule} can be waived by digest only; name the statement in digests"
            yield Fault("policy_waiver", message, (*path, "rules", index))


def _selects_digest(waiver: Mapping[str, Any]) -> bool:
    when = waiver.get("when", ())
    named = [each for each in when if isinstance(each, dict) and each.get("field") == _DIGEST]
    return bool(waiver.get("digests")) or any(each.get("op") in ("eq", "in") for each in named)


def _check_selectors(waiver: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    if not any(waiver.get(key) for key in _SELECTORS):
        message = f"the waiver names nothing it is for; add {one_of(_SELECTORS)}"
        yield Fault("policy_waiver", message, path)
    for key in _NOT_JUDGED:
        if waiver.get(key):
            message = f"no gate supplies {key} yet, so the waiver never counts"
            yield Fault("policy_hint", message, (*path, key), on_key=True, severity="warning")
    for place, item in entries(waiver, "when"):
        for here, each in _conditions(item, (*path, *place)):
            if each.get("op") == "exists" and each.get("value") is False:
                message = "a waiver cannot rest on a fact that is absent; select by what is known"
                yield Fault("policy_waiver", message, (*here, "value"))
            elif each.get("field") == "action.target" and each.get("op") == "prefix" and _is_wide(each.get("value")):
                message = f"the prefix {quoted(each['value'])} is wider than a schema; write the schema and a dot"
                yield Fault("policy_waiver", message, (*here, "value"))


def _check_dates(waiver: Mapping[str, Any], path: Path, now: date) -> Iterator[Fault]:
    created, expires = parse_date(waiver.get("created", "")), parse_date(waiver.get("expires", ""))
    if created is None or expires is None:
        return
    if expires < created:
        yield Fault("policy_waiver", f"expires {expires} is before created {created}", (*path, "expires"))
    elif (expires - created).days > WAIVER_DAYS:
        last = created + timedelta(days=WAIVER_DAYS)
        message = f"the waiver lasts {(expires - created).days} days; at most {WAIVER_DAYS}, until {last}"
        yield Fault("policy_waiver", message, (*path, "expires"))
    elif created > now:
        message = f"created {created} lies in the future; write the day it was agreed"
        yield Fault("policy_waiver", message, (*path, "created"))
    elif expires < now:
        message = f"the waiver expired on {expires}, so its rules apply again; remove or renew it"
        yield Fault("policy_waiver_expired", message, (*path, "expires"), severity="warning")


def _environment_names(document: Mapping[str, Any]) -> list[str]:
    environments = document.get("environments")
    return list(environments) if isinstance(environments, dict) else []


def _is_wide(prefix: object) -> bool:
    return isinstance(prefix, str) and "." not in prefix


def _fact_words(fact: Fact) -> str:
    return "a set of texts" if fact.type == "set" else _TYPE_WORDS[fact.type]


def _shown(value: object) -> str:
    return "a list" if isinstance(value, list) else quoted(value)


def _retyped(value: object, wanted: str) -> str:
    if isinstance(value, str) and ((wanted == "integer" and value.isdecimal()) or value in ("true", "false")):
        return "; write it without quotes" if wanted != "text" else ""
    if wanted in ("text", "set") and isinstance(value, int):
        return f'; write "{str(value).lower()}" in quotes'
    return ""
