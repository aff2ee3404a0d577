# SPDX-License-Identifier: Apache-2.0
"""Write and read signed, tamper-evident evidence bundles."""

from clyra.evidence.bundle import (
    Reference,
    RunRecord,
    SealedBundle,
    SourceFile,
    instant,
    new_uuid7,
    seal_bundle,
)
from clyra.evidence.canonical import canonicalize
from clyra.evidence.folder import EvidenceFolder
from clyra.evidence.journal import ClosedJournal, JournalWriter
from clyra.evidence.project_log import ProjectLog, StoredLog
from clyra.evidence.reader import Bundle, open_bundle
from clyra.evidence.recovery import OpenJournal, RecoveredJournal, find_open_journals, recover_journal
from clyra.evidence.signer import Signer, load_signer

__all__ = [
    "Bundle",
    "ClosedJournal",
    "EvidenceFolder",
    "JournalWriter",
    "OpenJournal",
    "ProjectLog",
    "RecoveredJournal",
    "Reference",
    "RunRecord",
    "SealedBundle",
    "Signer",
    "SourceFile",
    "StoredLog",
    "canonicalize",
    "find_open_journals",
    "instant",
    "load_signer",
    "new_uuid7",
    "open_bundle",
    "recover_journal",
    "seal_bundle",
]
