# SPDX-License-Identifier: Apache-2.0
"""From an older version of the policy's format to the newest.

Each step changes a tree of mappings and lists in place, so that it serves plain values and a file that is edited with
its comments alike. Version 0 has ``deny`` and ``approve`` for the effects ``block`` and ``require_approval``, and a
text with commas for the list ``targets`` of an environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Any

from clyra.policy.source import Fault, did_you_mean, quoted

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
        hint = "; a newer engine wrote it, upgrade clyra" if type(version) is int and version > NEWEST else ""
        message = f"version is {quoted(version)}; this engine reads 0 to {NEWEST}{hint or did_you_mean(version, ())}"
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
