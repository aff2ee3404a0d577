# SPDX-License-Identifier: Apache-2.0
"""A bundle from dbt's artifacts alone: the library behind ``clyra dbt seal``.

One invocation has one bundle. Sealing it again gives the bundle that is there, also where the plugin recorded the run:
orchestrators retry their steps, and two bundles of one run would count its changes twice. Artifacts that have other
bytes by then are refused.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.dbt import _schema_text
from clyra.dbt._actor import actor_id
from clyra.dbt._artifacts import Artifacts
from clyra.dbt._build import Build, BuildProbe
from clyra.dbt._clock import Clock
from clyra.dbt._governance import risk_of_journal
from clyra.dbt._identity import DEFAULT_TENANT, claim_part
from clyra.dbt._ingested_run import IngestedRun, RunIds
from clyra.dbt._log_entry import enter, leaf_of
from clyra.spec import ClyraError, ConfigurationError, FormatError, UnavailableError

if TYPE_CHECKING:
    from clyra.evidence.bundle import Reference, SealedBundle
    from clyra.evidence.folder import EvidenceFolder

TRACE_NAME = "otel.jsonl"

_JSON, _NDJSON = "application/json", "application/x-ndjson"
# The clocks of the machine that ran and of the one that sealed may differ by so much.
_SKEW_MS = 300_000


@dataclass(frozen=True, slots=True)
class Ingested:
    """A run sealed from its artifacts.

    Attributes:
        sealed: The bundle.
        is_build_known: Whether the bundle says which code ran.
        log_error: Why the bundle is not in the log yet.
    """

    sealed: SealedBundle
    is_build_known: bool
    log_error: ClyraError | None


@dataclass(frozen=True, slots=True)
class Known:
    """The bundle that an invocation already has."""

    path: Path
    manifest: Mapping[str, Any]


def identify(environ: Mapping[str, str], tenant: str | None, clock: Clock) -> RunIds:
    """The ids that the user set, new ones otherwise.

    Args:
        environ: Environment variables.
        tenant: The project's own setting.
        clock: Where time and randomness come from.

    Raises:
        ConfigurationError: A setting is no id (``session_tag_invalid``).
    """
    from clyra.evidence.bundle import new_uuid7

    settings = {
        "CLYRA_RUN_ID": environ.get("CLYRA_RUN_ID", ""),
        "CLYRA_TENANT_ID": environ.get("CLYRA_TENANT_ID", "") or tenant or "",
        "CLYRA_ACTOR_ID": environ.get("CLYRA_ACTOR_ID", ""),
    }
    for name, value in settings.items():
        if value and not _schema_text.is_tag(value):
            raise ConfigurationError(
                f"{name} is no id; use letters, digits and _ . @ : - only, at most 128", code="session_tag_invalid"
            )
    return RunIds(
        run_id=settings["CLYRA_RUN_ID"] or new_uuid7(clock.now_us(), clock.random(10)),
        tenant=settings["CLYRA_TENANT_ID"] or DEFAULT_TENANT,
        actor=actor_id(environ),
        joined=bool(settings["CLYRA_RUN_ID"]),
    )


def find_known(folder: EvidenceFolder, artifacts: Artifacts) -> Known | None:
    """The bundle of the same invocation, recorded while it ran or sealed before; None if there is none.

    The id of a bundle holds the time at which it was made, so only those made since the run began are opened.
    """
    from clyra.evidence.reader import open_bundle

    since_ms = artifacts.started_at_us // 1000 - _SKEW_MS
    for path in sorted(folder.bundle_dir.glob("*/*/*.def.zip")):
        if _made_ms(path) < since_ms:
            continue
        try:
            manifest = open_bundle(path).manifest
        except FormatError:
            # A damaged bundle says nothing about this run; `clyra verify` says what is wrong with it.
            continue
        run = manifest.get("run")
        if isinstance(run, dict) and run.get("invocation_id") == artifacts.invocation_id:
            return Known(path, manifest)
    return None


def require_same(known: Known, artifacts: Artifacts, *, with_trace: bool) -> None:
    """Check that sealing again would say nothing else.

    Args:
        known: The bundle that is there.
        artifacts: The artifacts as they are now.
        with_trace: Whether a trace is given now.

    Raises:
        FormatError: The artifacts have other bytes, or there was no trace when they were sealed (``seal_failed``).
    """
    if known.manifest["run"].get("capture") != "ingested":
        return
    sealed = {entry["name"]: entry["sha256"] for entry in known.manifest["references"]}
    now = {name: sha256(data).hexdigest() for name, data in artifacts.contents.items()}
    changed = sorted(name for name, digest in now.items() if sealed.get(name) != digest)
    if with_trace and TRACE_NAME not in sealed:
        changed.append("statements")
    if changed:
        raise FormatError(
            f"invocation {artifacts.invocation_id} is already sealed in {known.path}, from other {', '.join(changed)};"
            " one invocation has one bundle: keep it, and find out what changed since",
            code="seal_failed",
        )


def ingest(
    folder: EvidenceFolder, run: IngestedRun, trace_file: Path | None, environ: Mapping[str, str], clock: Clock
) -> Ingested:
    """Seal the run, and put it into the project's log.

    Args:
        folder: From ``EvidenceFolder.locate``.
        run: What the artifacts say.
        trace_file: The file of ``run.trace``.
        environ: Environment variables, for the keys and for git.
        clock: Where time and randomness come from.

    Raises:
        ClyraError: There is no key, the folder cannot be written, or the artifacts make no valid bundle.
    """
    from clyra.evidence.bundle import new_uuid7, seal_bundle
    from clyra.evidence.journal import JournalWriter
    from clyra.evidence.project_log import ProjectLog
    from clyra.evidence.signer import load_signer

    artifacts, ids = run.artifacts, run.ids
    probe = BuildProbe(folder.project_root, environ)
    files = run.files()
    signer, log_signer = load_signer("bundle", environ), load_signer("log", environ)
    folder.prepare()
    references = _references(folder, run, trace_file)
    build = probe.build(artifacts.source_folders)
    if _has_changed_since(folder.project_root, artifacts):
        build = Build()
    part = _part(folder, ids)
    bundle_id = new_uuid7(clock.now_us(), clock.random(10))
    log = ProjectLog(folder.log_dir, project=artifacts.project, signer=log_signer)
    # Not among the journals of runs: were this process killed, there would be nothing to recover, only to seal again.
    with _work_folder(folder) as work:
        path = work / f"{bundle_id}.ndjson"
        journal = JournalWriter.create(path, bundle_id=bundle_id, tenant=ids.tenant, signer=None)
        journal.append(run.events(build, environ, clock))
        opened = leaf_of(tenant=ids.tenant, run_id=ids.run_id, part=part, bundle_id=bundle_id, manifest_sha256=None)
        log_error = _error_of(lambda: log.append(opened))
        writes, closed_at_us = journal.counts["writes"], clock.now_us()
        closed = journal.close("completed", closed_at_us)
        record = run.record(build, part=part, writes=writes, captured_at_us=closed_at_us)
        sealed = seal_bundle(
            folder,
            closed,
            replace(record, risk=_risk(run, closed.path)),
            files=files,
            references=references,
            signers=[signer],
            bundle_id=bundle_id,
            created_at=artifacts.started_at_us,
            closed_at=closed_at_us,
        )
    return Ingested(sealed, build.source != "none", _error_of(lambda: enter(log, sealed)) or log_error)


def is_held_back(manifest: Mapping[str, Any]) -> bool:
    """Whether an enforcing policy says of a sealed run that nothing may follow its failed tests."""
    policy, failed = manifest["policy"], manifest["run"]["counts"]["tests_failed"]
    return policy is not None and policy["mode"] == "enforce" and bool(failed and manifest["decisions"]["block"])


def _risk(run: IngestedRun, journal: Path) -> Mapping[str, object] | None:
    if run.policy is None or run.governing is None:
        return None
    environment = run.governing.environment.name
    return risk_of_journal(journal, run.policy.document, environment, run.artifacts.started_at_us)


def _references(folder: EvidenceFolder, run: IngestedRun, trace_file: Path | None) -> list[Reference]:
    """The files that were read, kept once per digest; they hold literals and stay outside the bundle."""
    references = [
        folder.store_artifact(data, name=name, role=name.removesuffix(".json"), media_type=_JSON)
        for name, data in run.artifacts.contents.items()
    ]
    if trace_file is not None and run.trace is not None:
        stored = folder.store_artifact(trace_file, name=TRACE_NAME, role="trace", media_type=_NDJSON)
        if stored.sha256 != run.trace.sha256:
            raise FormatError(f"{trace_file} changed while it was read; seal when dbt has ended", code="artifact_stale")
        references.append(stored)
    return references


@contextmanager
def _work_folder(folder: EvidenceFolder) -> Iterator[Path]:
    try:
        work = tempfile.TemporaryDirectory(prefix=".ingest-", dir=folder.root)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc
    with work as name:
        yield Path(name)


def _part(folder: EvidenceFolder, ids: RunIds) -> int:
    if not ids.joined:
        return 1
    try:
        return claim_part(folder.journal_dir, ids.run_id)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc


def _has_changed_since(project_root: Path, artifacts: Artifacts) -> bool:
    """Whether code of the project was written after the run began: what git says now is then not what ran."""
    began_s = artifacts.started_at_us / 1_000_000
    for source in artifacts.source_folders:
        for folder, _, names in os.walk(project_root / source):
            if any((Path(folder) / name).lstat().st_mtime > began_s for name in names):
                return True
    return False


def _made_ms(bundle: Path) -> int:
    """Milliseconds since the epoch in the UUIDv7 of a bundle's name (RFC 9562, 5.7); 0 where it has none."""
    try:
        return int(bundle.name[:13].replace("-", ""), 16)
    except ValueError:
        return 0


def _error_of(action: Callable[[], object]) -> ClyraError | None:
    """What went wrong with the log: the bundle is valid without its entry, and `clyra log` gives it one later."""
    try:
        action()
    except ClyraError as exc:
        return exc
    return None


def _unwritable(folder: EvidenceFolder, exc: OSError) -> UnavailableError:
    reason = f"the evidence folder {folder.root} cannot be written: {exc.strerror}; make room, or make it writable"
    return UnavailableError(reason, code="evidence_unavailable")
