# SPDX-License-Identifier: Apache-2.0
"""Recorded runs under an old and a new policy: how often the new one decides more strictly, or more mildly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clyra.policy._bundles import DecidedRun, Unread, is_gates_own
from clyra.policy._replay import Replayed, Verdict, recorded_of, replay

if TYPE_CHECKING:
    from clyra.policy.engine import CompiledPolicy


@dataclass(slots=True)
class Difference:
    """Decisions that came out alike: at one point, about one node, with one outcome."""

    point: str
    unique_id: str | None
    target: str | None
    outcome: Replayed
    count: int = 0
    bundles: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ReplayResult:
    """What came out.

    Attributes:
        runs: Bundles that were read.
        counts: Decisions by how the new policy decides against the old.
        differences: All that are not the same, weaker ones first.
        unread: What could not be read.
    """

    runs: int = 0
    counts: dict[Verdict, int] = field(
        default_factory=lambda: {"same": 0, "stricter": 0, "weaker": 0, "not decidable": 0}
    )
    differences: list[Difference] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def replay_runs(runs: Iterable[DecidedRun | Unread], old: CompiledPolicy, new: CompiledPolicy) -> ReplayResult:
    """Decide every recorded decision again under both policies, each decision of a run once."""
    result = ReplayResult()
    found: dict[tuple[object, ...], Difference] = {}
    for run in runs:
        if isinstance(run, Unread):
            result.unread.append(run)
            continue
        result.runs += 1
        enforced = {_moment(event) for event in run.decisions if event["mode"] == "enforce"}
        for event in run.decisions:
            # What was enforced and what shadow rules would have done are two events about one decision.
            if event["mode"] == "shadow" and _moment(event) in enforced:
                continue
            if is_gates_own(event):
                continue
            recorded = recorded_of(event, run)
            outcome = replay(recorded, old, new)
            result.counts[outcome.verdict] += 1
            if outcome.verdict != "same":
                place = (event["point"], event.get("unique_id"), run.target)
                difference = found.setdefault((*place, outcome), Difference(*place, outcome))
                difference.count += 1
                difference.bundles.add(run.bundle_id)
    order: list[Verdict] = ["weaker", "not decidable", "stricter"]
    result.differences = sorted(
        found.values(), key=lambda each: (order.index(each.outcome.verdict), -each.count, str(each.unique_id))
    )
    return result


def _moment(event: Mapping[str, Any]) -> tuple[object, ...]:
    return event["point"], event.get("unique_id"), str(sorted(event["facts"].items()))
