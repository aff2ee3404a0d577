# SPDX-License-Identifier: Apache-2.0
"""The end of a run: the last events, what goes beside the journal, the bundle, the log, the closing line.

dbt fires ``CommandCompleted`` in a ``finally``, so this runs after success, failure and Ctrl-C alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clyra.dbt import _nodes, _schema_text, _statements
from clyra.dbt._dbt_object import DbtObject
from clyra.dbt._log_entry import enter
from clyra.dbt._record import run_record
from clyra.dbt._session import Session, tell
from clyra.spec import ClyraError, UnavailableError

if TYPE_CHECKING:
    from clyra.dbt._events import EventRecorder
    from clyra.evidence.bundle import Reference, SealedBundle, SourceFile
    from clyra.evidence.journal import ClosedJournal, JournalWriter
    from clyra.evidence.signer import Signer
    from clyra.warehouse import Anchor

_JSON = "application/json"
# dbt writes the invocation's id into `metadata`, ahead of everything large.
_METADATA_BYTES = 65_536

Status = Literal["success", "failed", "refused", "interrupted"]


def finish(recorder: EventRecorder, data: DbtObject) -> None:
    """Seal the run that dbt has completed, and give back what was changed in the process.

    Args:
        recorder: What recorded it.
        data: dbt's data of ``CommandCompleted``.

    Raises:
        ExceptionExit: The bundle cannot be sealed and ``on_recorder_failure`` is ``stop``; dbt then exits with 2.
    """
    session = recorder.session
    recorder.termination.ignore()
    try:
        if not recorder.refused:
            session.open()
        if session.journal is not None and session.signer is not None:
            sealed = _seal(recorder, data, session.journal, session.signer)
            _note(_closing_line(session, sealed))
    except (ClyraError, OSError) as exc:
        _failed(session, exc)
    finally:
        if session.anchors is not None:
            session.anchors.untag()
        session.abandon()
        recorder.termination.restore()


def _seal(recorder: EventRecorder, data: DbtObject, journal: JournalWriter, signer: Signer) -> SealedBundle:
    from clyra.evidence.bundle import seal_bundle

    session, clock = recorder.session, recorder.session.clock
    cpu_before = clock.cpu_us()
    _settle_all(session)
    _add_missing_outcomes(session)
    holds = _judge_end(recorder)
    status = _status(recorder, success=bool(data.success) and not holds)
    anchors = _anchors(session, journal)
    references = _references(session)
    files = _files(session)
    recorder_us = session.cpu_us() + clock.cpu_us() - cpu_before
    _append_end(session, journal, success=status == "success", recorder_us=recorder_us)
    closed = journal.close("interrupted" if status == "interrupted" else "completed", clock.now_us())
    metrics = {"recorder_us": recorder_us, "dbt_run_us": _schema_text.microseconds(data.elapsed)}
    sealed = seal_bundle(
        session.folder,
        closed,
        run_record(session, status=status, anchors=anchors, metrics=metrics, risk=_risk(session, closed)),
        files=files,
        references=references,
        signers=[signer],
        bundle_id=session.identity.bundle_id,
        created_at=session.created_at_us,
        closed_at=clock.now_us(),
        perf_counter_ns=lambda: clock.elapsed_us() * 1000,
    )
    _log(session, sealed)
    return sealed


def _judge_end(recorder: EventRecorder) -> bool:
    """What the policy says at the end of the run; whether it says that nothing may follow."""
    gate, governance = recorder.gate, recorder.session.governance
    if gate is None or governance is None:
        return False
    from clyra.dbt._end import judge_end

    try:
        return judge_end(recorder.session, gate, governance, refused=recorder.refused)
    except Exception as exc:  # noqa: BLE001 - what has run cannot be refused any more
        recorder.session.degrade("gate", exc)
        return False


def _risk(session: Session, journal: ClosedJournal) -> Mapping[str, object] | None:
    governance = session.governance
    policy = None if governance is None else governance.governing.policy
    if governance is None or policy is None:
        return None
    from clyra.dbt._governance import risk_of_journal

    environment = governance.governing.environment.name
    return risk_of_journal(journal.path, policy.document, environment, session.created_at_us)


def _status(recorder: EventRecorder, *, success: bool) -> Status:
    if recorder.refused:
        return "refused"
    if recorder.interrupted:
        return "interrupted"
    return "success" if success else "failed"


def _settle_all(session: Session) -> None:
    """Take in what threads still hold; those that dbt cut off will not do it themselves."""
    for state in session.threads():
        _statements.settle(state, session.clock)
        session.drain(state)


def _add_missing_outcomes(session: Session) -> None:
    """Selected nodes without a result: cut off if they had begun, else never reached, as with ``--fail-fast``."""
    dbt = session.dbt
    # retry replaces dbt's selection and leaves that of another command in the global.
    if not session.announced or dbt.command == "retry":
        selected = frozenset(session.begun)
    else:
        selected = dbt.selected | session.begun
    finished = {unique_id for unique_id, _ in session.outcomes}
    state = session.thread()
    for unique_id in sorted(selected - finished):
        status = "interrupted" if unique_id in session.begun else "skipped"
        session.finish_node(state, _nodes.without_outcome(dbt.manifest, unique_id, status))


def _anchors(session: Session, journal: JournalWriter) -> list[Anchor]:
    if session.anchors is None or not journal.counts["statements"]:
        return []
    return [session.anchors.end()]


def _append_end(session: Session, journal: JournalWriter, *, success: bool, recorder_us: int) -> None:
    now_us = session.clock.now_us()
    events: list[_statements.Event] = [
        ("recorder.degraded", now_us, {"code": code, "part": part, "count": count})
        for (part, code), count in sorted(session.degraded.items())
    ]
    members: dict[str, object] = {
        "success": success,
        "tests": dict(_nodes.counted_tests(session.outcomes.values())),
        "overhead_cpu_us": recorder_us,
    }
    journal.append([*events, ("run.finished", now_us, members)])


def _references(session: Session) -> list[Reference]:
    """dbt's own artifacts of this invocation, kept once per digest; they hold literals and stay outside the bundle."""
    references: list[Reference] = []
    for role, path in session.dbt.artifact_paths().items():
        try:
            if _is_of(path, session.dbt.invocation_id):
                stored = session.folder.store_artifact(path, name=f"{role}.json", role=role, media_type=_JSON)
                references.append(stored)
        except (ClyraError, OSError) as exc:
            session.degrade("references", exc)
    return references


def _is_of(path: Path, invocation_id: str) -> bool:
    """Whether dbt wrote the file in this invocation: with ``--no-write-json`` an older run's lies there."""
    try:
        with path.open("rb") as file:
            return invocation_id.encode() in file.read(_METADATA_BYTES)
    except FileNotFoundError:
        return False


def _files(session: Session) -> Sequence[SourceFile]:
    from clyra.evidence.bundle import SourceFile
    from clyra.evidence.canonical import canonicalize_integers

    if not session.outcomes:
        return []
    manifest, outcomes = session.dbt.manifest, session.outcomes.values()
    described = _nodes.describe(manifest, outcomes)
    edges = _lineage(session, manifest)
    return [
        SourceFile("artifacts/lineage.json", canonicalize_integers(edges), _JSON, "lineage"),
        SourceFile("artifacts/nodes.json", canonicalize_integers({"nodes": described}), _JSON, "artifact"),
    ]


def _lineage(session: Session, manifest: DbtObject) -> Mapping[str, object]:
    governance, outcomes = session.governance, session.outcomes.values()
    run_id, system = session.identity.run_id, session.dbt.adapter_type or "unknown"
    is_deferred = session.dbt.is_deferred
    if governance is None:
        return _nodes.lineage(manifest, outcomes, run_id=run_id, system=system, is_deferred=is_deferred)
    enforced = governance.governing.enforces
    return _nodes.trusted_lineage(
        manifest, outcomes, run_id=run_id, system=system, enforced=enforced, is_deferred=is_deferred
    )


def _log(session: Session, sealed: SealedBundle) -> None:
    """Put the bundle into the project's log and its proof beside it; without the log it is sealed all the same."""
    if session.log is None:
        return
    try:
        enter(session.log, sealed)
    except (ClyraError, OSError) as exc:
        tell(f"the bundle is sealed and its entry in the log is pending: {_reason(exc)}")


def _failed(session: Session, exc: ClyraError | OSError) -> None:
    from dbt_common.events.functions import fire_event

    from clyra.dbt.errors import RecorderStop
    from dbt.cli.exceptions import ExceptionExit
    from dbt.events.types import MainEncounteredError

    with suppress(ClyraError, OSError, ValueError):
        # The journal's lock goes, so that `clyra dbt seal --recover` finds it once there is room again.
        if session.journal is not None:
            session.journal.close("completed", session.clock.now_us()).release()
    if session.on_failure == "stop":
        stop = RecorderStop.after_the_run(
            exc if isinstance(exc, ClyraError) else UnavailableError(_reason(exc), code="seal_failed")
        )
        fire_event(MainEncounteredError(exc=str(stop)))
        raise ExceptionExit(stop) from exc
    code = exc.code if isinstance(exc, ClyraError) else "seal_failed"
    tell(f"{_reason(exc)} [{code}]; clyra dbt seal --recover seals what was recorded")


def _reason(exc: ClyraError | OSError) -> str:
    return exc.message if isinstance(exc, ClyraError) else f"{exc.strerror or type(exc).__name__}"


def _closing_line(session: Session, sealed: SealedBundle) -> str:
    path, here = sealed.path, Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    line = f"clyra: evidence of this run is in {path}"
    if session.folder.under_temp:
        line += "; that is a temporary folder, set CLYRA_EVIDENCE_DIR to keep it"
    return line


def _note(text: str) -> None:
    from dbt_common.events.functions import fire_event
    from dbt_common.events.types import Note

    fire_event(Note(msg=text))
