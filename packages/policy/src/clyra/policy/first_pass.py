# SPDX-License-Identifier: Apache-2.0
"""What can be known of a policy that does not load: the version it asks for, and where it enforces.

Read from the parser's events up to the first error, so that "a policy that does not load" is decidable: it blocks
where this or ``CLYRA_MODE`` enforces, and is recorded loudly elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clyra.policy.environment import UNKNOWN, Environment
from clyra.policy.source import Source


@dataclass(frozen=True, slots=True)
class FirstPass:
    """``requires`` and ``environments`` as far as they could be read; ``complete`` if the file is sound YAML."""

    requires: str | None
    environments: Mapping[str, Environment]
    complete: bool


def first_pass(data: bytes) -> FirstPass:
    """What the events of the policy file's parser say up to the first error; never raises."""
    from clyra.policy._yaml import read_yaml

    return first_pass_of(read_yaml(data, ""))


def first_pass_of(source: Source) -> FirstPass:
    """The same of a source that was read already.

    A mode that is there and is not ``shadow`` counts as ``enforce``: somebody wanted something.
    """
    document = source.document if isinstance(source.document, dict) else {}
    requires = document.get("requires")
    environments = document.get("environments")
    found = environments if isinstance(environments, dict) else {}
    return FirstPass(
        requires=requires if isinstance(requires, str) else None,
        environments={name: _environment(name, entry) for name, entry in found.items() if name != UNKNOWN},
        complete=source.complete,
    )


def _environment(name: str, entry: object) -> Environment:
    members = entry if isinstance(entry, dict) else {}
    targets = members.get("targets", [])
    if isinstance(targets, str):
        targets = targets.replace(",", " ").split()
    production = members.get("production", False)
    return Environment(
        name=name,
        mode="shadow" if members.get("mode", "shadow") == "shadow" else "enforce",
        production=production if isinstance(production, bool) else None,
        change_freeze=members.get("change_freeze") is True,
        targets=tuple(target for target in targets if isinstance(target, str)) if isinstance(targets, list) else (),
    )
