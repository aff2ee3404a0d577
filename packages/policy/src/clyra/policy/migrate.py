# SPDX-License-Identifier: Apache-2.0
"""From an older version of the policy's format to the newest.

Each step changes a tree of mappings and lists in place, so that it serves plain values and a file that is edited with
its comments alike. Version 0 has ``deny`` and ``approve`` for the effects ``block`` and ``require_approval``, and a
text with commas for the list ``targets`` of an environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Any

from clyra.policy.problem import PolicyInvalid
from clyra.policy.source import Fault, quoted
from clyra.spec import PolicyError

NEWEST = 1
RULE_SECTIONS = ("data_platform", "genai_security", "voice_compliance")
OLD_EFFECTS = {"deny": "block", "approve": "require_approval"}


def version_of(document: object) -> object:
    """What the document says its version is; a file without one is of version 1."""
    return document.get("version", NEWEST) if isinstance(document, Mapping) else NEWEST


def migrated(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """``document`` in the newest version, and what is wrong with the version it names; the argument is unchanged."""
    newest = _copy(document)
    version = version_of(newest)
    if type(version) is not int or not 0 <= version <= NEWEST:
        hint = "; it is for a newer engine, upgrade clyra" if type(version) is int and version > NEWEST else ""
        message = f"version is {quoted(version)}; this engine reads 0 to {NEWEST}{hint}"
        newest["version"] = NEWEST
        return newest, [Fault("policy_version", message, ("version",))]
    migrate_in_place(newest)
    return newest, []


def migrate_in_place(document: MutableMapping[str, Any]) -> bool:
    """Bring ``document``, whose version is known, to the newest; True if anything changed."""
    version = document.get("version", NEWEST)
    for number in range(version, NEWEST):
        _STEPS[number](document)
        document["version"] = number + 1
    return bool(version != NEWEST)


def migrate_file(data: bytes, *, name: str) -> tuple[int, str]:
    """The version of the policy file ``data``, and its text in the newest version with its comments.

    Raises:
        PolicyInvalid: It is not YAML of the plain kind, or of no known version; nothing else is held against it.
        UnavailableError: ``ruamel.yaml`` is not installed (``extra_missing``).
    """
    from clyra.policy._yaml import read_yaml

    source = read_yaml(data, name)
    problems = list(source.problems)
    document = source.document if isinstance(source.document, dict) else {}
    newest, faults = migrated(document)
    problems += source.locate(faults)
    if problems:
        raise PolicyInvalid(f"the policy cannot be read: {problems[0]}", problems=problems, first_pass=None)
    text = data.decode("utf-8-sig")
    version = int(document.get("version", NEWEST))
    if version == NEWEST:
        return version, text
    from clyra.policy._round_trip import rewrite

    written = rewrite(text, migrate_in_place)
    if read_yaml(written.encode(), name).document != newest:
        raise PolicyError("the file cannot be rewritten without changing what it says; migrate it by hand")
    return version, written


def _from_0(document: MutableMapping[str, Any]) -> None:
    environments = document.get("environments")
    if isinstance(environments, MutableMapping):
        for environment in environments.values():
            if isinstance(environment, MutableMapping) and isinstance(environment.get("targets"), str):
                environment["targets"] = [name for name in environment["targets"].replace(",", " ").split() if name]
    for section in RULE_SECTIONS:
        holder = document.get(section)
        rules = holder.get("rules") if isinstance(holder, MutableMapping) else None
        for rule in rules if isinstance(rules, MutableSequence) else ():
            if isinstance(rule, MutableMapping):
                for key in ("effect", "on_missing"):
                    if isinstance(rule.get(key), str):
                        rule[key] = OLD_EFFECTS.get(rule[key], rule[key])


_STEPS: Mapping[int, Callable[[MutableMapping[str, Any]], None]] = {0: _from_0}


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(member) for key, member in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value
