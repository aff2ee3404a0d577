# SPDX-License-Identifier: Apache-2.0
"""The state of one recorded invocation: its journal, what threads have collected, and what could not be recorded.

Invariants:

- Nothing of ours changes dbt's result, unless ``on_recorder_failure`` is ``stop``: then a run that cannot be recorded
  is refused before its first node.
- A failure is told once on stderr and counted; the count goes into the journal while that can be written.
- Each thread collects its own events; they are handed to the journal under one lock when a node has finished, or when
  the oldest of them has waited a second.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections import Counter
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from clyra.dbt import _schema_text
from clyra.dbt._actor import scrub_argv, shortened
from clyra.dbt._anchors import AnchorRecorder
from clyra.dbt._build import Build, BuildProbe
from clyra.dbt._clock import Clock
from clyra.dbt._identity import Identity, claim_part, identify, on_recorder_failure
from clyra.dbt._invocation import DbtInvocation
from clyra.dbt._log_entry import leaf_of
from clyra.dbt._nodes import Outcome
from clyra.dbt._private_keys import with_keys
from clyra.dbt._statements import Event, ThreadState
from clyra.dbt._version import installed
from clyra.spec import ClyraError, UnavailableError
from clyra.warehouse import SessionTags

if TYPE_CHECKING:
    from pathlib import Path

    from clyra.dbt._governance import Governance
    from clyra.evidence.folder import EvidenceFolder
    from clyra.evidence.journal import JournalWriter
    from clyra.evidence.project_log import ProjectLog
    from clyra.evidence.signer import Signer

_LONGEST_WAIT_US = 1_000_000
_LEAST_FREE_BYTES = 64 * 1024 * 1024
_BACKLOG_EVENTS = 50_000


class Session:
    """One invocation that is recorded.

    Args:
        dbt: What dbt says about it.
        environ: The environment; session tags are set in it for the time of the run.
        clock: Where time and randomness come from.
        governance: What governs it, where there is a policy.
    """

    def __init__(
        self,
        dbt: DbtInvocation,
        environ: MutableMapping[str, str],
        clock: Clock,
        governance: Governance | None = None,
    ) -> None:
        from clyra.evidence.folder import EvidenceFolder

        self.dbt = dbt
        self.environ = environ
        self.clock = clock
        self.governance = governance
        wanted = None if governance is None else governance.governing.on_recorder_failure
        self.on_failure = on_recorder_failure(dbt, environ, wanted)
        self.identity: Identity = identify(dbt, environ, clock)
        configured = dbt.var("clyra_evidence_dir")
        self.folder: EvidenceFolder = EvidenceFolder.locate(
            dbt.project_dir, environ, str(configured) if configured else None
        )
        self.outcomes: dict[tuple[str, str | None], Outcome] = {}
        self.begun: set[str] = set()
        self.degraded: Counter[tuple[str, str]] = Counter()
        self.is_open = False
        self.is_anchored = False
        self.announced = False
        self.wrapped = False
        self.part = 1
        self.created_at_us = 0
        self.signer: Signer | None = None
        self.log: ProjectLog | None = None
        self.journal: JournalWriter | None = None
        self.anchors: AnchorRecorder | None = None
        self._probe = BuildProbe(self.folder.project_root, environ)
        self._build: Build | None = None
        self._local = threading.local()
        self._threads: list[ThreadState] = []
        self._backlog: list[Event] = []
        self._lock = threading.RLock()
        self._refusal: ClyraError | None = None
        self._told = False

    def thread(self) -> ThreadState:
        """What the calling thread has collected."""
        state: ThreadState | None = getattr(self._local, "state", None)
        if state is None:
            state = self._local.state = ThreadState()
            self._threads.append(state)
        return state

    def threads(self) -> list[ThreadState]:
        """What every thread has collected."""
        return list(self._threads)

    def cpu_us(self) -> int:
        """CPU time that recording has taken so far, in microseconds."""
        return sum(state.cpu_us for state in self._threads)

    @property
    def build(self) -> Build:
        """The code that runs; asking the first time waits for git."""
        if self._build is None:
            self._build = self._probe.build(self.dbt.source_paths)
        return self._build

    def open(self) -> None:
        """Open key, folder, journal and log, once; before the first statement of the run.

        Raises:
            ClyraError: The run cannot be recorded and must not go on (``stop``).
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if self.is_open:
                return
            self.is_open = True
            for part, step in (("journal", self._open_journal), ("log", self._open_log)):
                try:
                    step()
                except (ClyraError, OSError) as exc:
                    if self.on_failure == "stop":
                        self._refusal = _as_unavailable(exc)
                        raise self._refusal from exc
                    self.degrade(part, exc)
                    if self.journal is None:
                        return

    def begin_anchor(self) -> None:
        """Capture where the warehouse's history stands, once; before the first statement is sent.

        Threads that come meanwhile wait, so that none sends before the capture.
        """
        with self._lock:
            if self.is_anchored:
                return
            self.is_anchored = True
            dbt, identity = self.dbt, self.identity
            if dbt.adapter_type:
                self.anchors = AnchorRecorder(
                    dbt.adapter_type, dbt.manager_class, dbt.credentials, self.clock, self.environ
                )
                self.anchors.begin(SessionTags(identity.run_id, identity.actor, identity.tenant))

    def drain_if_due(self, state: ThreadState) -> None:
        """Hand over what this thread has collected if it has waited long, or if no node will finish on this thread."""
        events = state.events
        if not events:
            return
        unique_id = events[-1][2].get("unique_id")
        outside = not isinstance(unique_id, str) or unique_id.startswith("operation")
        if outside or self.clock.now_us() - events[0][1] > _LONGEST_WAIT_US:
            self.drain(state)

    def drain(self, state: ThreadState) -> None:
        """Hand over what this thread has collected."""
        if not state.events or not self.is_open:
            return
        with self._lock:
            events, state.events = [*self._backlog, *state.events], []
            self._backlog = []
            if self.journal is None:
                return
            try:
                self.journal.append(events)
            except (ClyraError, OSError) as exc:
                # The disk may have room again later; what does not fit the backlog is lost and counted.
                self._backlog = events[:_BACKLOG_EVENTS]
                self.degrade("journal", exc)

    def add(self, kind: str, members: dict[str, object]) -> None:
        """An event of the calling thread, in the journal before this returns if there is one."""
        self.add_all((kind, members))

    def add_all(self, *events: tuple[str, dict[str, object]]) -> None:
        """Events that mean something only together: a process that is killed leaves all of them or none."""
        state, now_us = self.thread(), self.clock.now_us()
        state.events.extend((kind, now_us, members) for kind, members in events)
        self.drain(state)

    def keep_record(self) -> None:
        """Keep what is known of the run by now beside its journal, for whoever recovers it."""
        from clyra.dbt._record import run_record

        with self._lock:
            if self.journal is None:
                return
            try:
                self.journal.write_record(run_record(self, status="interrupted"))
            except (ClyraError, OSError) as exc:
                self.degrade("journal", exc)

    def finish_node(self, state: ThreadState, outcome: Outcome) -> None:
        """A node, or a batch of one, has ended."""
        self.outcomes[outcome.unique_id, outcome.batch_id] = outcome
        state.events.append(("node.finished", self.clock.now_us(), outcome.as_members()))
        self.drain(state)

    def degrade(self, part: str, exc: BaseException, details: Sequence[str] = ()) -> None:
        """Count a failure of ours in ``part``, and tell the first one on stderr, with details where there are any."""
        code = exc.code if isinstance(exc, ClyraError) else "recorder_degraded"
        self.degraded[part, code] += 1
        if details or not self._told:
            self._told = True
            tell(f"{_explained(exc)} [{code}]; the run goes on, its evidence is incomplete")
            for detail in details:
                tell(f"  {detail}")

    def abandon(self) -> None:
        """Leave no process behind."""
        self._probe.abandon()

    def _open_journal(self) -> None:
        from clyra.dbt._record import run_record
        from clyra.evidence.journal import JournalWriter
        from clyra.evidence.signer import load_signer

        self.created_at_us = self.clock.now_us()
        self.folder.prepare()
        if self.on_failure == "stop":
            _check_space(self.folder.root)
        identity = self.identity
        if identity.joined:
            self.part = claim_part(self.folder.journal_dir, identity.run_id)
        self.signer = load_signer("bundle", with_keys(self.environ))
        journal = JournalWriter.create(
            self.folder.journal_path(identity.bundle_id),
            bundle_id=identity.bundle_id,
            tenant=identity.tenant,
            signer=self.signer,
            record=run_record(self, status="interrupted"),
        )
        journal.append([("run.started", self.created_at_us, self._started())])
        self.journal = journal
        for setting in identity.refused:
            self.degrade("identity", ClyraError(f"{setting} is no id and was passed over", code="session_tag_invalid"))

    def _open_log(self) -> None:
        """Put the run into the project's log, so that one that is never sealed shows there."""
        from clyra.evidence.project_log import ProjectLog
        from clyra.evidence.signer import load_signer

        identity = self.identity
        log_signer = load_signer("log", with_keys(self.environ))
        log = ProjectLog(self.folder.log_dir, project=self.dbt.project_name, signer=log_signer)
        log.append(
            leaf_of(
                tenant=identity.tenant,
                run_id=identity.run_id,
                part=self.part,
                bundle_id=identity.bundle_id,
                manifest_sha256=None,
            )
        )
        self.log = log

    def _started(self) -> dict[str, object]:
        dbt, identity = self.dbt, self.identity
        return {
            "invocation_id": _schema_text.name(dbt.invocation_id),
            "project": _schema_text.name(dbt.project_name),
            "command": _schema_text.name(dbt.command),
            "argv": shortened(scrub_argv(dbt.argv, self.environ, dbt.dictionary_names())),
            "target_name": _schema_text.name_or_none(dbt.target_name),
            "adapter_type": None if dbt.adapter_type is None else _schema_text.word(dbt.adapter_type),
            "versions": {**dbt.versions(), "clyra": installed().version},
            "gates": {
                "run": self.on_failure == "stop" or self._is_judged,
                "statement_wrap": False,
                "statement_event": False,
                "row_limit": False,
            },
            "policy": self._policy(),
            "build": self.build.as_event(),
            "actor_id": identity.actor,
            "tenant_id": identity.tenant,
        }

    @property
    def _is_judged(self) -> bool:
        governing = None if self.governance is None else self.governance.governing
        return governing is not None and (governing.policy is not None or governing.enforces)

    def _policy(self) -> dict[str, object]:
        named = None if self.governance is None else self.governance.policy_member()
        return (
            {"sha256": None, "mode": "record"} if named is None else {name: named[name] for name in ("sha256", "mode")}
        )


def tell(text: str) -> None:
    """Say something on stderr, where dbt's own log does not go."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(f"clyra: {text}", file=sys.stderr, flush=True)


def _as_unavailable(exc: ClyraError | OSError) -> ClyraError:
    if isinstance(exc, ClyraError):
        return exc
    return UnavailableError(f"evidence cannot be written: {exc.strerror or exc}", code="evidence_unavailable")


def _explained(exc: BaseException) -> str:
    return exc.message if isinstance(exc, ClyraError) else f"recording failed: {type(exc).__name__}"


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise UnavailableError(
            f"{folder} has {free} bytes left, at least {_LEAST_FREE_BYTES} are wanted; make room or set "
            "CLYRA_EVIDENCE_DIR",
            code="evidence_unavailable",
        )
