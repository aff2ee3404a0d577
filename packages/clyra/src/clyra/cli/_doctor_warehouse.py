# SPDX-License-Identifier: Apache-2.0
"""The check of the group ``warehouse`` that is the same for all: which one it is, and whether a package knows it."""

from __future__ import annotations

from collections.abc import Iterator

from clyra.policy.health import Check, CheckContext
from clyra.spec import anchor_kinds

_LATER = {"bigquery": "BigQuery comes in phase 1.5: runs are recorded, nothing of the warehouse is looked at"}


def checks(context: CheckContext) -> Iterator[Check]:
    """Which warehouse the project's target is; the packages of warehouses look closer."""
    if not context.is_asked("warehouse"):
        yield Check("warehouse.target", "skip", "not asked for: clyra doctor --only warehouse connects to it")
        return
    target = context.find_target()
    if target is None:
        yield Check("warehouse.target", "skip", "no dbt project here, or clyra-dbt is not installed")
    elif target.adapter in _LATER:
        yield Check(f"warehouse.{target.adapter}", "skip", _LATER[target.adapter])
    elif anchor_kinds(target.adapter):
        yield Check("warehouse.target", "ok", f"target {target.name} is {target.adapter}")
    else:
        told = f"target {target.name} is {target.adapter}, which keeps no history that evidence could name"
        yield Check("warehouse.target", "ok", told)
