# SPDX-License-Identifier: Apache-2.0
"""All that can be wrong with a policy file, in one function that the loader and ``clyra policy lint`` both run.

A file is read, its first pass taken, its version migrated, the schema walked, and what a schema cannot say checked.
Every stage goes on where it can, so that one run names all faults; each is a `Problem` at its own line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain, islice
from typing import Any

from clyra.policy import _lint_rules
from clyra.policy._lint_rules import entries, rules_of
from clyra.policy._schema import SchemaWalk
from clyra.policy.durations import UNITS_MS, duration_text
from clyra.policy.environment import UNKNOWN
from clyra.policy.first_pass import FirstPass, first_pass_of
from clyra.policy.migrate import NEWEST, migrated, version_of
from clyra.policy.problem import Problem
from clyra.policy.source import MAX_PROBLEMS, Fault, Path, did_you_mean, quoted

ENGINE_VERSION = "0.1.0"
"""What ``requires`` is held against: the version of this distribution."""

_DAY_MS = UNITS_MS["d"]
# Framework, member of compliance.retention, floor in ms, the words to write. Six calendar years have two leap days at
# most, twelve months 366 days, six months 184.
_FLOORS = (
    ("hipaa", "keep", 2192 * _DAY_MS, "6y", "45 CFR 164.316(b)(2)(i)"),
    ("pci", "keep", 366 * _DAY_MS, "1y", "PCI DSS 10.5.1"),
    ("pci", "hot", 366 * _DAY_MS, "1y", "PCI DSS 10.5.1"),
    ("eu-ai-act", "logs", 184 * _DAY_MS, "184d", "EU AI Act, Article 19(1)"),
)
_LONGEST: tuple[tuple[Path, int], ...] = (
    (("enforcement", "approvals", "max_ttl"), 24 * UNITS_MS["h"]),
    (("genai_security", "bec", "ttl"), 15 * UNITS_MS["m"]),
)
_BURSTS: tuple[Path, ...] = (
    ("enforcement", "velocity"),
    ("data_platform", "activation_enforcement", "rate_limits"),
)
_FIRST_KEYS = ("version", "name", "requires", "environments")
_SPECIFIER = re.compile(r"(>=|<=|==|!=|>|<) ?([0-9]+(?:\.[0-9]+){0,3})")
_BUILT_IN_ROLE = "approver"


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found out about a policy file; ``document`` is its normal form where there are no errors."""

    document: dict[str, Any]
    problems: tuple[Problem, ...]
    first_pass: FirstPass

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems for which the policy cannot be used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def check_policy(data: bytes, *, name: str, now: date, engine: str = ENGINE_VERSION) -> Checked:
    """Every problem of the policy in ``data``, in the order of the file, judged on the day ``now``.

    Args:
        data: Bytes of the file.
        name: What the problems call the file.
        now: The day by which waivers expire.
        engine: Version that ``requires`` is held against.
    """
    from clyra.policy._yaml import read_yaml

    source = read_yaml(data, name)
    first = first_pass_of(source)
    document: dict[str, Any] = {}
    faults: list[Fault] = []
    # A file for another engine would be full of keys that are unknown here: only the reason is of use.
    if first.requires is not None and (unmet := _unmet(first.requires, engine)):
        source.problems.clear()
        faults = [Fault("policy_requires", unmet, ("requires",))]
    elif source.complete:
        document, faults = _check_document(source.document, now)
    problems = {*source.problems, *source.locate(faults)}
    ordered = sorted(problems, key=lambda each: (each.line, each.column, each.code, each.message))
    if len(ordered) >= MAX_PROBLEMS:
        message = "these are many problems; there may be more once they are fixed"
        ordered.append(replace(ordered[-1], code="policy_hint", message=message, severity="note"))
    return Checked(document, tuple(ordered), first)


def check_canonical(document: object) -> tuple[dict[str, Any], list[Fault]]:
    """The normal form of a policy that was sealed, and what is wrong with it; how old it is does not count."""
    if not isinstance(document, dict):
        return {}, [Fault("policy_type", f"the policy is {_kind(document)}; expected a mapping", ())]
    newest, faults = migrated(document)
    walk = SchemaWalk(canonical=True)
    normal = walk.document(newest)
    return normal, [*faults, *walk.faults]


def _check_document(document: object, now: date) -> tuple[dict[str, Any], list[Fault]]:
    if not isinstance(document, dict):
        message = f"the policy is {_kind(document)}; expected keys and values, beginning with version: 1"
        return {}, [Fault("policy_type", message, ())]
    newest, faults = migrated(document)
    if faults:
        return {}, faults
    if version_of(document) != NEWEST:
        message = f"version {version_of(document)} is read as version {NEWEST}; run clyra policy migrate"
        faults.append(Fault("policy_version", message, ("version",), severity="warning"))
    walk = SchemaWalk(canonical=False)
    normal = walk.document(newest)
    found = islice(chain(_meaning(normal, now), _hints(document, normal)), MAX_PROBLEMS)
    return normal, [*faults, *walk.faults, *found]


def _meaning(normal: Mapping[str, Any], now: date) -> Iterator[Fault]:
    yield from _check_environments(normal)
    yield from _lint_rules.check_rules(normal)
    yield from _lint_rules.check_sql_rules(normal)
    yield from _lint_rules.check_checkpoints(normal)
    yield from _lint_rules.check_waivers(normal, now)
    yield from _check_roles(normal)
    yield from _check_limits(normal)
    yield from _check_off_hours(normal)
    yield from _check_retention(normal)


def _check_environments(normal: Mapping[str, Any]) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    for name, environment in _member(normal, "environments", default={}).items():
        if name == UNKNOWN:
            message = "the name unknown stands for what no environment knows; take another"
            yield Fault("policy_environment", message, ("environments", name), on_key=True)
        for index, target in enumerate(environment.get("targets", ())):
            if not isinstance(target, str):
                continue
            if (owner := owners.setdefault(target, name)) != name:
                message = f"target {quoted(target)} is in environment {quoted(owner)} already; keep it in one"
                yield Fault("policy_environment", message, ("environments", name, "targets", index))


def _check_roles(normal: Mapping[str, Any]) -> Iterator[Fault]:
    roles = _member(normal, "enforcement", "approvals", "roles", default={})
    glass: Path = ("compliance", "break_glass", "roles")
    named: list[tuple[Path, list[object]]] = [(glass, _member(normal, *glass, default=[]))]
    for path, checkpoint in entries(normal, "enforcement", "checkpoints"):
        named.append(((*path, "roles"), checkpoint.get("roles", [])))
    for path, words in named:
        for index, role in enumerate(words):
            if isinstance(role, str) and role not in roles and role != _BUILT_IN_ROLE:
                hint = did_you_mean(role, roles) or "; list its principals in enforcement.approvals.roles"
                yield Fault("policy_value", f"nobody has the role {quoted(role)}{hint}", (*path, index))


def _check_limits(normal: Mapping[str, Any]) -> Iterator[Fault]:
    longest = [(path, _member(normal, *path), limit) for path, limit in _LONGEST]
    for path, checkpoint in entries(normal, "enforcement", "checkpoints"):
        longest.append(((*path, "ttl"), checkpoint.get("ttl"), 7 * _DAY_MS))
    for path, detector in entries(normal, "genai_security", "detectors", "external"):
        longest.append(((*path, "timeout"), detector.get("timeout"), 500))
    for path, value, limit in longest:
        if isinstance(value, int) and value > limit:
            message = f"{quoted(path[-1])} is {duration_text(value)}; at most {duration_text(limit)} is allowed"
            yield Fault("policy_range", message, path)
    for path in _BURSTS:
        burst, most = _member(normal, *path, "burst"), _member(normal, *path, "max")
        if isinstance(burst, int) and isinstance(most, int) and burst >= most:
            message = f"burst {burst} is not below max {most}; lower it"
            yield Fault("policy_range", message, (*path, "burst"))


def _check_off_hours(normal: Mapping[str, Any]) -> Iterator[Fault]:
    path = ("enforcement", "off_hours")
    hours = _member(normal, *path, default={})
    if hours.get("from") is not None and hours.get("from") == hours.get("to"):
        yield Fault("policy_value", f"working hours begin and end at {hours['to']}; write two times", (*path, "to"))
    if isinstance(zone := hours.get("timezone"), str) and (fault := _zone_fault(zone, (*path, "timezone"))):
        yield fault


def _zone_fault(zone: str, path: Path) -> Fault | None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()
        if not known:
            message = "this machine has no time zone database, so the zone is not checked; install the package tzdata"
            return Fault("policy_hint", message, path, severity="warning")
        hint = did_you_mean(zone, sorted(known)) or ', such as "Europe/Berlin"'
        return Fault("policy_value", f"there is no time zone {quoted(zone)}{hint}", path)
    return None


def _check_retention(normal: Mapping[str, Any]) -> Iterator[Fault]:
    frameworks = _member(normal, "compliance", "frameworks", default=[])
    for framework, member, floor, words, source in _FLOORS:
        path = ("compliance", "retention", member)
        value = _member(normal, *path)
        if framework in frameworks and isinstance(value, int) and value < floor:
            message = f"{quoted(member)} is {duration_text(value)}; {framework} asks for {words} ({source})"
            yield Fault("policy_retention", message, path)


def _hints(written: Mapping[str, Any], normal: Mapping[str, Any]) -> Iterator[Fault]:
    keys = list(written)
    for key in ("requires", "environments"):
        if key in keys and any(before in normal and before not in _FIRST_KEYS for before in keys[: keys.index(key)]):
            message = f"put {key} at the top: it is read even where a later line is broken"
            yield Fault("policy_hint", message, (key,), on_key=True, severity="warning")
    environments = _member(normal, "environments", default={})
    enforcing = [name for name, each in environments.items() if each.get("mode") == "enforce"]
    for path, rule in rules_of(written) if enforcing else ():
        if "mode" not in rule:
            message = f"no mode, so it only records, in {quoted(enforcing[0])} too; write mode: shadow or mode: enforce"
            yield Fault("policy_hint", message, path, severity="warning")


def _unmet(requires: str, engine: str) -> str | None:
    """Why ``engine`` is not what the file asks for; None where it is, or where the text says nothing sound."""
    wanted = [_SPECIFIER.fullmatch(part.strip()) for part in requires.split(",")]
    have = _numbers(engine)
    for found in wanted:
        if found is None:
            return None
        order = (have > _numbers(found[2])) - (have < _numbers(found[2]))
        holds = {">=": order >= 0, "<=": order <= 0, "==": order == 0, "!=": order != 0, ">": order > 0, "<": order < 0}
        if not holds[found[1]]:
            return f"this policy asks for clyra {found[0]}, and this is {engine}; install a version that fits"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version as four numbers; what follows them, such as ``rc1``, does not count."""
    found = re.match(r"[0-9.]*", version)
    numbers = [int(part) for part in (found[0] if found else "").split(".") if part]
    return tuple((numbers + [0] * 4)[:4])


def _member(document: Mapping[str, Any], *path: str | int, default: Any = None) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return default if value is None else value


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else quoted(value)
