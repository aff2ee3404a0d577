# SPDX-License-Identifier: Apache-2.0
"""What a bundle says of a run that nobody watched: its events, its record and its files, as values.

The run's journal holds what dbt wrote down: outcomes in the order of their times, statements where there is a trace.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from clyra.dbt import _nodes
from clyra.dbt._artifacts import Artifacts, Timed, is_unsuccessful
from clyra.dbt._build import Build
from clyra.dbt._clock import Clock, aware
from clyra.dbt._command_line import scrub_joined
from clyra.dbt._decisions import DecisionLog
from clyra.dbt._governance import Governance
from clyra.dbt._nodes import Outcome
from clyra.dbt._otel import Trace
from clyra.dbt._policy import Governing
from clyra.dbt._record import EXTENSION, PRODUCER
from clyra.dbt._tests_point import judge_tests
from clyra.dbt._version import installed
from clyra.spec import FormatError, anchor_kinds
from clyra.warehouse import no_anchor

if TYPE_CHECKING:
    from clyra.evidence.bundle import RunRecord, SourceFile
    from clyra.policy.facts import FactValue
    from clyra.policy.load import LoadedPolicy

Event = tuple[str, int, dict[str, object]]

_JSON = "application/json"
# In dbt's results, and no nodes: hooks of the project, and the macro of run-operation.
_HOOK, _MACRO = "operation", "macro"
_HOOK_ID = re.compile(r"operation\.([^.]+)\.\1-(on-run-(?:start|end))-([0-9]+)")
_NO_GATES = {"run": False, "statement_wrap": False, "statement_event": False, "row_limit": False}


@dataclass(frozen=True, slots=True)
class RunIds:
    """Which run, whose evidence, who seals it; ``joined`` where the run's id was given and may have other bundles."""

    run_id: str
    tenant: str
    actor: str
    joined: bool


@dataclass(frozen=True, slots=True)
class IngestedRun:
    """A run as its artifacts, and a trace where there is one, describe it; ``governing`` is the policy of today."""

    artifacts: Artifacts
    trace: Trace | None
    ids: RunIds
    governing: Governing | None = None

    @property
    def observes_statements(self) -> bool:
        """Whether anything is known of the statements. A trace without any knows nothing if nodes ran."""
        return self.trace is not None and bool(self.trace.statements or not self.artifacts.results)

    @property
    def outcomes(self) -> list[Timed]:
        """What ended, and how: dbt's results, and nodes that only the trace has."""
        known = {timed.outcome.unique_id for timed in self.artifacts.results}
        traced = [] if self.trace is None else [t for t in self.trace.nodes if t.outcome.unique_id not in known]
        return [*self.artifacts.results, *map(self._described, traced)]

    @property
    def nodes(self) -> list[Outcome]:
        """Outcomes of nodes: without the project's hooks and the macro of an operation."""
        outcomes = [timed.outcome for timed in self.outcomes]
        return [outcome for outcome in outcomes if outcome.resource_type not in (_HOOK, _MACRO)]

    @property
    def status(self) -> Literal["success", "failed"]:
        """What dbt's own exit code said, as far as it follows from the outcomes and the trace."""
        failed = any(is_unsuccessful(timed.outcome) for timed in self.outcomes)
        return "failed" if failed or (self.trace is not None and self.trace.has_failed) else "success"

    @property
    def policy(self) -> LoadedPolicy | None:
        """The policy, if there is one that loads."""
        return None if self.governing is None else self.governing.policy

    def events(self, build: Build, environ: Mapping[str, str], clock: Clock) -> list[Event]:
        """The journal's events but for the last.

        Args:
            build: The code that ran.
            environ: Environment variables; values of dbt's secret ones are hidden.
            clock: Where the ids of decisions come from.
        """
        ended_us = self.artifacts.ended_at_us
        happened: list[Event] = []
        if self.trace is not None:
            happened += [("statement", statement.at_us, statement.members) for statement in self.trace.statements]
        happened += [event for timed in self.outcomes for event in _ending(timed)]
        # What ended in the microsecond of a statement ended after it: the order from before is kept.
        happened.sort(key=lambda event: event[1])
        if not self.observes_statements:
            unseen: dict[str, object] = {"code": "recorder_degraded", "part": "statements", "count": 0}
            happened.append(("recorder.degraded", ended_us, unseen))
        finished: dict[str, object] = {
            "success": self.status == "success",
            "tests": dict(_nodes.counted_tests(self.nodes)),
            "overhead_cpu_us": 0,
        }
        started = ("run.started", self.artifacts.started_at_us, self._started(build, environ))
        return [started, *happened, *self._decisions(clock), ("run.finished", ended_us, finished)]

    def record(self, build: Build, *, part: int, writes: int, captured_at_us: int) -> RunRecord:
        """The record of the run.

        Args:
            build: The code that ran.
            part: Which bundle of the run this is.
            writes: How many statements that write are in the journal.
            captured_at_us: When the warehouse could have been asked for an anchor, and was not.
        """
        from clyra.evidence.bundle import RunRecord

        artifacts = self.artifacts
        run = {
            "run_id": self.ids.run_id,
            "part": part,
            "capture": "ingested",
            "status": self.status,
            "invocation_id": artifacts.invocation_id,
            "command": artifacts.command,
            "project": artifacts.project,
            "adapter": artifacts.adapter_type,
            "target": artifacts.target,
            "git": build.as_manifest(),
        }
        governance = None if self.governing is None else Governance(self.governing)
        return RunRecord(
            tenant=self.ids.tenant,
            producer_name=PRODUCER,
            producer_version=installed().version,
            source_digest=installed().source_digest,
            run=run,
            policy=None if governance is None else governance.policy_member(),
            attachments=() if governance is None else governance.attachments(),
            anchors=self._anchors(writes, captured_at_us),
            metrics={"dbt_run_us": artifacts.elapsed_us},
            ext={EXTENSION: {"session_tags": "none"}},
        )

    def files(self) -> list[SourceFile]:
        """What nodes are and what they read, as with a run that was recorded.

        Raises:
            FormatError: The manifest has nodes that depend on each other in a circle.
        """
        from clyra.evidence.bundle import SourceFile
        from clyra.evidence.canonical import canonicalize_integers

        outcomes = self.nodes
        if not outcomes:
            return []
        manifest = self.artifacts.manifest
        lineage = _nodes.lineage(manifest, outcomes, run_id=self.ids.run_id, system=self.artifacts.adapter_type)
        _check_order(lineage["edges"])
        described = _nodes.describe(manifest, outcomes)
        return [
            SourceFile("artifacts/lineage.json", canonicalize_integers(lineage), _JSON, "lineage"),
            SourceFile("artifacts/nodes.json", canonicalize_integers({"nodes": described}), _JSON, "artifact"),
        ]

    def _described(self, timed: Timed) -> Timed:
        outcome = timed.outcome
        known = _nodes.without_outcome(self.artifacts.manifest, outcome.unique_id, outcome.status)
        return Timed(replace(known, execution_us=outcome.execution_us), timed.at_us)

    def _decisions(self, clock: Clock) -> list[Event]:
        """What the policy says about the tests; of a run that is over, nothing else can be said."""
        policy, governing = self.policy, self.governing
        if policy is None or governing is None:
            return []
        artifacts, environment = self.artifacts, governing.environment
        of_run: dict[str, FactValue] = {
            "dbt.adapter": artifacts.adapter_type,
            "dbt.command": artifacts.command,
            "dbt.project": artifacts.project,
            "env.name": environment.name,
        }
        if artifacts.target is not None:
            of_run["dbt.target"] = artifacts.target
        if environment.production is not None:
            of_run["env.production"] = environment.production
        judged = judge_tests(
            policy,
            self.nodes,
            of_run,
            failures_block=governing.test_failures_block,
            today=aware(artifacts.ended_at_us).date(),
        )
        events: list[Event] = []
        if judged is not None:
            log = DecisionLog(
                clock, environment.mode, lambda kind, members: events.append((kind, artifacts.ended_at_us, members))
            )
            judged.write(log, policy.sha256)
        return events

    def _started(self, build: Build, environ: Mapping[str, str]) -> dict[str, object]:
        artifacts = self.artifacts
        engine = "dbt_core" if artifacts.dbt_version.startswith(("0.", "1.")) else "dbt"
        return {
            "invocation_id": artifacts.invocation_id,
            "project": artifacts.project,
            "command": artifacts.command,
            "argv": scrub_joined(artifacts.command_line, environ, artifacts.variables),
            "target_name": artifacts.target,
            "adapter_type": artifacts.adapter_type,
            "versions": {engine: artifacts.dbt_version, "clyra": installed().version},
            "gates": _NO_GATES,
            "policy": self._policy(),
            "build": build.as_event(),
            "actor_id": self.ids.actor,
            "tenant_id": self.ids.tenant,
        }

    def _policy(self) -> dict[str, object]:
        if self.policy is None or self.governing is None:
            return {"sha256": None, "mode": "record"}
        return {"sha256": self.policy.sha256, "mode": self.governing.environment.mode}

    def _anchors(self, writes: int, captured_at_us: int) -> Sequence[Mapping[str, object]]:
        """None where the warehouse could have given one and nothing says that the run wrote: it may not have."""
        adapter = self.artifacts.adapter_type
        moment = aware(captured_at_us)
        if not anchor_kinds(adapter):
            return [no_anchor(adapter, "not_supported", moment).as_manifest()]
        if not writes:
            return []
        return [no_anchor(adapter, "capture_failed", moment, detail="sealed from artifacts").as_manifest()]


def _ending(timed: Timed) -> Iterator[Event]:
    """The event of something that ended, as the recorder of a run that is watched names it."""
    outcome = timed.outcome
    if outcome.resource_type == _HOOK:
        name = _HOOK_ID.sub(r"\1.\2.\3", outcome.unique_id)
        yield (
            "hook.finished",
            timed.at_us,
            {
                "name": name,
                "status": outcome.status,
                "message_sha256": outcome.message_sha256,
            },
        )
    elif outcome.resource_type != _MACRO:
        yield "node.finished", timed.at_us, outcome.as_members()
    elif is_unsuccessful(outcome):
        name = f"operation:{outcome.unique_id.rpartition('.')[2]}"
        yield (
            "run.error",
            timed.at_us,
            {
                "code": "operation_failed",
                "message_sha256": outcome.message_sha256,
                "unique_id": name,
            },
        )


def _check_order(edges: object) -> None:
    order: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for edge in edges if isinstance(edges, list) else ():
        order.add(edge["to"], edge["from"])
    try:
        order.prepare()
    except graphlib.CycleError as exc:
        raise FormatError("manifest.json has nodes that depend on each other in a circle; make it again") from exc
