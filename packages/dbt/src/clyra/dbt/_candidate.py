# SPDX-License-Identifier: Apache-2.0
"""A candidate policy beside the one in force: would it have decided otherwise about this run?

Loading, judging and telling happen in the sink's own thread. Nothing here delays, changes or fails the run; at its end
the thread gets a moment, and what it has not said by then is not said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from clyra.dbt._judge import Judged, judge

if TYPE_CHECKING:
    from clyra.dbt._facts import NodeFacts, RunFacts
    from clyra.dbt._judge import Planned
    from clyra.policy.environment import Environment
    from clyra.policy.load import LoadedPolicy
    from clyra.policy.shadow import ShadowSink

SETTING = "CLYRA_SHADOW_SINK"
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class OnTrial:
    """What the candidate would have decided, where that differs."""

    policy: LoadedPolicy
    judged: Judged


class CandidateTrial:
    """The trial of one candidate over one run.

    Args:
        path: The candidate's file.
        sink: Where differences are told.
    """

    def __init__(self, path: Path, sink: ShadowSink) -> None:
        self._path = path
        self._sink = sink
        self._found: OnTrial | None = None
        self._fault: Exception | None = None

    @classmethod
    def begin(
        cls,
        path: Path,
        known: tuple[RunFacts, NodeFacts, Planned],
        enforced: Judged,
        *,
        environment: Environment,
        today: date,
        queue: int,
        labels: Mapping[str, str],
        environ: Mapping[str, str],
    ) -> CandidateTrial:
        """Start it; gives back at once.

        Args:
            path: The candidate's file.
            known: Facts and plan, as the policy in force was given them.
            enforced: What that one decided.
            environment: The environment of the policy in force.
            today: The day of the decision.
            queue: How many lines may wait.
            labels: Texts for the line.
            environ: Environment variables.
        """
        from clyra.policy.shadow import ShadowSink

        trial = cls(path, ShadowSink(environ.get(SETTING, "") or os.devnull, queue=queue))
        trial._sink.put(lambda: trial._compared(known, enforced, environment, today, labels))
        return trial

    def end(self) -> OnTrial | None:
        """What would have been otherwise, as far as it is known after a moment at most.

        Raises:
            ClyraError: The candidate does not load.
        """
        self._sink.close(timeout_s=_PATIENCE_S)
        if self._fault is not None:
            raise self._fault
        return self._found

    def _compared(
        self,
        known: tuple[RunFacts, NodeFacts, Planned],
        enforced: Judged,
        environment: Environment,
        today: date,
        labels: Mapping[str, str],
    ) -> Mapping[str, object] | None:
        from clyra.policy.load import load_policy
        from clyra.policy.shadow import compare

        try:
            policy = load_policy(self._path, now=today)
            judged = judge(policy, *known, environment=environment, today=today)
        except Exception as exc:
            self._fault = exc
            raise
        difference = compare(enforced.decision, judged.decision)
        if difference is None:
            return None
        self._found = OnTrial(policy, judged)
        return {**labels, **asdict(difference), "candidate_sha256": policy.sha256}
