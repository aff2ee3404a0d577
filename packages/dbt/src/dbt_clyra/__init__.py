# SPDX-License-Identifier: Apache-2.0
"""The door through which dbt finds Clyra: dbt loads every top-level module named ``dbt_*`` and reads ``plugins``.

Nothing here may break a dbt command. ``plugins`` exists only while Clyra can be used and is not switched off; dbt asks
for it once per invocation, so ``CLYRA_DISABLED`` also works between two invocations of one process.
"""

from __future__ import annotations

import os
import sys
import time


def __getattr__(name: str) -> list[type]:
    if name != "plugins":
        raise AttributeError(name)
    if os.environ.get("CLYRA_DISABLED", "").strip() not in ("", "0"):
        _say("switched off by CLYRA_DISABLED; this run leaves no evidence")
        raise AttributeError(name)
    before_ns = time.thread_time_ns()
    try:
        from clyra.dbt.plugin import ClyraPlugin
    except Exception as exc:
        _say(f"cannot be loaded ({type(exc).__name__}: {exc}); this run leaves no evidence; reinstall clyra-dbt")
        raise AttributeError(name) from exc
    # Loading is part of what recording costs, so the run's own account of it holds this too.
    ClyraPlugin.load_us += (time.thread_time_ns() - before_ns) // 1000
    return [ClyraPlugin]


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"clyra: {text}", file=sys.stderr)
