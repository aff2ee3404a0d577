# SPDX-License-Identifier: Apache-2.0
"""The ids of a run: which run, which bundle, whose evidence, who acts; and what to do when recording fails."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from clyra.dbt import _schema_text
from clyra.dbt._actor import actor_id
from clyra.dbt._clock import Clock
from clyra.dbt._invocation import DbtInvocation

OnFailure = Literal["continue", "stop"]

DEFAULT_TENANT = "default"


class Identity(NamedTuple):
    """Ids of one invocation; ``refused`` names the settings that were no ids and were passed over."""

    bundle_id: str
    run_id: str
    tenant: str
    actor: str
    joined: bool
    refused: tuple[str, ...]


def identify(dbt: DbtInvocation, environ: Mapping[str, str], clock: Clock) -> Identity:
    """The ids that the user set, new ones otherwise."""
    from clyra.evidence.bundle import new_uuid7

    settings = {
        "CLYRA_RUN_ID": environ.get("CLYRA_RUN_ID", ""),
        "CLYRA_TENANT_ID": environ.get("CLYRA_TENANT_ID", "") or str(dbt.var("clyra_tenant_id") or ""),
        "CLYRA_ACTOR_ID": environ.get("CLYRA_ACTOR_ID", ""),
    }
    good = {name: value for name, value in settings.items() if _schema_text.is_tag(value)}
    now_us = clock.now_us()
    return Identity(
        bundle_id=new_uuid7(now_us, clock.random(10)),
        run_id=good.get("CLYRA_RUN_ID") or new_uuid7(now_us, clock.random(10)),
        tenant=good.get("CLYRA_TENANT_ID", DEFAULT_TENANT),
        actor=actor_id(environ),
        joined="CLYRA_RUN_ID" in good,
        refused=tuple(name for name, value in settings.items() if value and name not in good),
    )


def claim_part(folder: Path, run_id: str) -> int:
    """The number of this bundle in its run, from 1, given out once each to invocations that share a run id.

    One byte per invocation is appended to a file of the run. The system moves the position of an appending writer
    behind its own byte in the same step, so parallel invocations get different numbers without waiting.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / f"{hashlib.sha256(run_id.encode()).hexdigest()[:32]}.parts"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(fd, b".")
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)


def on_recorder_failure(dbt: DbtInvocation, environ: Mapping[str, str], policy: str | None) -> OnFailure:
    """``stop`` where it is said so: in ``CLYRA_ON_RECORDER_FAILURE``, else by the variable, else by the policy."""
    setting = environ.get("CLYRA_ON_RECORDER_FAILURE", "") or dbt.var("clyra_on_recorder_failure") or policy
    return "stop" if str(setting).strip().lower() == "stop" else "continue"
