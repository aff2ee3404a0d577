# SPDX-License-Identifier: Apache-2.0
"""Which environment of the policy a run or request is in, and whether it enforces there.

A dbt run is in the environment that lists its target, and in no other: a variable cannot move it. Elsewhere
``CLYRA_ENVIRONMENT`` names the environment. What no environment knows is ``unknown`` and shadow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clyra.policy.effect import Mode

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment of the policy; ``production`` is None where nothing is known, and ``known`` then False."""

    name: str
    mode: Mode = "shadow"
    production: bool | None = None
    change_freeze: bool = False
    targets: tuple[str, ...] = ()
    known: bool = True


UNKNOWN_ENVIRONMENT = Environment(UNKNOWN, known=False)


def environment_for(
    environments: Mapping[str, Environment], *, target: str | None, environ: Mapping[str, str]
) -> Environment:
    """The environment of ``target``; without one that which ``CLYRA_ENVIRONMENT`` names; else ``unknown``, shadow.

    ``CLYRA_MODE=enforce`` raises the mode and nothing lowers it. A word there that is neither ``enforce`` nor
    ``shadow`` raises it too, since whoever set it wanted something.
    """
    if target is None:
        found = environments.get(environ.get("CLYRA_ENVIRONMENT", ""), UNKNOWN_ENVIRONMENT)
    else:
        found = next((each for each in environments.values() if target in each.targets), UNKNOWN_ENVIRONMENT)
    return found if environ.get("CLYRA_MODE", "") in ("", "shadow") else replace(found, mode="enforce")
