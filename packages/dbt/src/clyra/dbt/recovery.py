# SPDX-License-Identifier: Apache-2.0
"""Seal what dbt processes left that were killed: the library behind ``clyra dbt seal --recover``.

A journal whose process lives is locked and left alone. What is not known of a run that died is said in the bundle; its
capture is ``recovered`` and it names the key that sealed it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clyra.dbt._log_entry import enter
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.evidence.bundle import RunRecord, SealedBundle
    from clyra.evidence.folder import EvidenceFolder
    from clyra.evidence.recovery import RecoveredJournal
    from clyra.evidence.signer import Signer


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of one open journal.

    Attributes:
        bundle_id: The journal's, and the bundle's.
        sealed: The bundle; None where there was nothing to seal, or an error.
        error: Why it could not be sealed; its journal is kept.
        log_error: Why the bundle is not in the log yet.
    """

    bundle_id: str
    sealed: SealedBundle | None = None
    error: ClyraError | None = None
    log_error: ClyraError | None = None


def recover(
    folder: EvidenceFolder,
    environ: Mapping[str, str],
    *,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> list[Recovered]:
    """Seal every dead journal of an evidence folder, oldest first. One that is damaged does not stop the others.

    Args:
        folder: From ``EvidenceFolder.locate``.
        environ: Environment variables, for the keys.
        now_us: Clock in microseconds since the epoch.

    Raises:
        ClyraError: There is no key to sign with.
    """
    from clyra.evidence.recovery import find_open_journals
    from clyra.evidence.signer import load_signer

    found = find_open_journals(folder)
    if not found:
        return []
    signer = load_signer("bundle", environ)
    results = []
    for journal in found:
        try:
            sealed = _seal(folder, journal.bundle_id, signer, now_us)
        except ClyraError as exc:
            results.append(Recovered(journal.bundle_id, error=exc))
        else:
            results.append(Recovered(journal.bundle_id, sealed, log_error=_logged(folder, sealed, environ)))
    return results


def _seal(folder: EvidenceFolder, bundle_id: str, signer: Signer, now_us: Callable[[], int]) -> SealedBundle | None:
    from clyra.evidence.bundle import seal_bundle
    from clyra.evidence.recovery import recover_journal

    recovered = recover_journal(folder.journal_path(bundle_id), now_us=now_us)
    if recovered is None:
        return None
    return seal_bundle(
        folder,
        recovered.journal,
        _governed(recovered),
        files=recovered.files,
        references=[],
        signers=[signer],
        bundle_id=bundle_id,
        created_at=recovered.journal.first_at,
        closed_at=recovered.journal.last_at,
    )


def _governed(recovered: RecoveredJournal) -> RunRecord:
    """The record with what follows from a policy: the risk of what the journal holds, and the approvals it used."""
    from clyra.dbt._governance import risk_of_journal, used_approvals

    record, journal = recovered.record, recovered.journal
    policy = next((attachment.text for attachment in record.attachments if attachment.role == "policy"), None)
    if policy is None or record.policy is None:
        return record
    risk = risk_of_journal(journal.path, json.loads(policy), str(record.policy["environment"]), journal.first_at)
    approvals = used_approvals(journal.path, record.governance["approvals"])
    return replace(record, risk=risk, governance={**record.governance, "approvals": approvals})


def _logged(folder: EvidenceFolder, sealed: SealedBundle | None, environ: Mapping[str, str]) -> ClyraError | None:
    from clyra.evidence.project_log import ProjectLog
    from clyra.evidence.signer import load_signer

    if sealed is None:
        return None
    try:
        project = str(sealed.manifest["run"]["project"])
        enter(ProjectLog(folder.log_dir, project=project, signer=load_signer("log", environ)), sealed)
    except ClyraError as exc:
        return exc
    return None
