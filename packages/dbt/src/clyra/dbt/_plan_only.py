# SPDX-License-Identifier: Apache-2.0
"""What the gate would say about a run that does not take place: told by the plugin to ``clyra dbt plan``.

``CLYRA_PLAN_ONLY`` is ``1``, or the path of a file that takes the answer as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from clyra.dbt._policy import PLAN_ONLY
from clyra.dbt._refusal import PlanKnown, RunBlocked


def answer(closed: RunBlocked | PlanKnown, environ: Mapping[str, str]) -> dict[str, object]:
    """Write the answer where it is wanted, and give it.

    Args:
        closed: What the gate said.
        environ: Environment variables.

    Raises:
        OSError: The file cannot be written.
    """
    if isinstance(closed, PlanKnown):
        outcome = closed.outcome
    else:
        refusal = closed.refusal
        held = closed.request_sha256 is not None and closed.code != "blocked"
        outcome = {
            "outcome": "requested" if held else "refused",
            "request_sha256": closed.request_sha256,
            "code": closed.code,
            "rules": list(refusal.rules),
            "nodes": list(refusal.nodes),
            "text": refusal.text(),
        }
    if (wanted := environ.get(PLAN_ONLY, "")) not in ("", "1"):
        Path(wanted).write_text(json.dumps(outcome), "utf-8")
    return outcome
