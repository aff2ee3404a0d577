# SPDX-License-Identifier: Apache-2.0
"""What the tests of this package share: one run, its events, and the keys that sign it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clyra.evidence import (
    EvidenceFolder,
    JournalWriter,
    RunRecord,
    SealedBundle,
    Signer,
    SourceFile,
    instant,
    load_signer,
    seal_bundle,
)

START_US = 1_769_847_300_000_000
BUNDLE_ID = "019c1328-3fa0-7e01-8a10-0123456789ab"
DIGEST = "ab" * 32

Event = tuple[str, int, dict[str, object]]


@dataclass(frozen=True)
class Run:
    """One run of a dbt project, in a temporary folder."""

    folder: EvidenceFolder
    signer: Signer
    record: RunRecord
    bundle_id: str = BUNDLE_ID
    start_us: int = START_US

    @property
    def path(self) -> Path:
        return self.folder.journal_path(self.bundle_id)

    def writer(self, **options: Any) -> JournalWriter:
        """A journal with its first line."""
        known: dict[str, Any] = {"bundle_id": self.bundle_id, "signer": self.signer, "record": self.record}
        writer = JournalWriter.create(self.path, tenant=self.record.tenant, **(known | options))
        writer.append([self.started()])
        return writer

    def started(self, **members: object) -> Event:
        return (
            "run.started",
            self.start_us,
            {
                "invocation_id": "5a0a1f9e-0000-4000-8000-000000000001",
                "project": "shop",
                "command": "build",
                "argv": ["dbt", "build"],
                "target_name": "dev",
                "adapter_type": "postgres",
                "versions": {"dbt": "1.11.16", "clyra": "0.1.0"},
                "gates": {"run": True, "statement_wrap": True, "statement_event": True, "row_limit": False},
                "policy": {"sha256": None, "mode": "record"},
                "build": {"tree": "c" * 40, "commit": "d" * 40, "dirty": False, "branch": "main", "source": "git"},
                "actor_id": "ana@example.org",
                "tenant_id": "default",
            }
            | members,
        )

    def statement(self, number: int = 0, **members: object) -> Event:
        return (
            "statement",
            self.start_us + number,
            {
                "unique_id": f"model.shop.m_{number}",
                "sent_sha256": DIGEST,
                "body_sha256": DIGEST,
                "verb": "select",
                "status": "success",
                "rows": number,
                "query_id": None,
                "elapsed_us": 1200,
            }
            | members,
        )

    def node(self, number: int = 0, **members: object) -> Event:
        return (
            "node.finished",
            self.start_us + number,
            {
                "unique_id": f"model.shop.m_{number}",
                "resource_type": "model",
                "status": "success",
                "checksum": None,
                "rows_affected": None,
                "execution_us": 4000,
                "failures": None,
                "message_sha256": None,
            }
            | members,
        )

    def finished(self, *, success: bool = True) -> Event:
        tests = {"passed": 0, "failed": 0, "warned": 0, "not_run": 0}
        return ("run.finished", self.start_us + 500, {"success": success, "tests": tests, "overhead_cpu_us": 900})

    def seal(
        self, files: Sequence[SourceFile] = (), events: Sequence[Event] | None = None, **options: Any
    ) -> SealedBundle:
        """The bundle of a run with ``events`` after its first."""
        writer = self.writer()
        writer.append([self.statement(1), self.node(1), self.finished()] if events is None else events)
        closed = writer.close("completed", self.start_us + 1000)
        arguments: dict[str, Any] = {
            "files": files,
            "references": [],
            "signers": [self.signer],
            "bundle_id": self.bundle_id,
            "created_at": self.start_us,
            "closed_at": self.start_us + 2000,
            "perf_counter_ns": lambda: 0,
        }
        record = options.pop("record", self.record)
        return seal_bundle(self.folder, closed, record, **(arguments | options))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = EvidenceFolder(tmp_path / ".clyra", tmp_path)
    folder.prepare()
    return Run(folder, key(7), run_record())


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Run]:
    """The same run in a folder of another name."""

    def make(name: str) -> Run:
        folder = EvidenceFolder(tmp_path / name / ".clyra", tmp_path / name)
        folder.prepare()
        return Run(folder, key(7), run_record())

    return make


@pytest.fixture
def second_signer() -> Signer:
    return key(8)


def key(seed: int) -> Signer:
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return load_signer("bundle", {"CLYRA_SIGNING_KEY": pem})


def run_record() -> RunRecord:
    return RunRecord(
        tenant="default",
        producer_name="clyra-dbt",
        producer_version="0.1.0",
        run={
            "run_id": "nightly-42",
            "part": 1,
            "capture": "recorded",
            "status": "success",
            "invocation_id": "5a0a1f9e-0000-4000-8000-000000000001",
            "command": "build",
            "project": "shop",
            "adapter": "postgres",
            "target": "dev",
            "git": {"tree": "c" * 40, "commit": "d" * 40, "dirty": False, "source": "git", "author_basis": "claimed"},
        },
        anchors=[
            {
                "system": "postgres",
                "kind": "postgres_wal",
                "object": "shop",
                "value": {"lsn": "0/16B3748"},
                "captured_at": instant(START_US),
            }
        ],
        metrics={"recorder_us": 1500, "dbt_run_us": 2_000_000},
    )
