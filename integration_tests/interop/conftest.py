# SPDX-License-Identifier: Apache-2.0
"""A sealed bundle with its sigstore form and a trust file, for tests with programs that are not ours."""

from __future__ import annotations

import json
import zipfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clyra.evidence import (
    EvidenceFolder,
    JournalWriter,
    RunRecord,
    Signer,
    SourceFile,
    instant,
    load_signer,
    new_uuid7,
    seal_bundle,
)
from clyra.verify import verify_bundle

START_US = 1_767_258_900_000_000
GIT = {"tree": "c" * 40, "commit": "d" * 40, "dirty": False}


@dataclass(frozen=True)
class Sealed:
    """A bundle in the evidence folder of a project, its entries by name and the key that signed it."""

    project: Path
    path: Path
    entries: dict[str, bytes]
    signer: Signer


@pytest.fixture
def seal(tmp_path: Path) -> Callable[[str], Sealed]:
    """A function that seals a bundle with a new key, which the project's trust file has; our verifier accepts it."""

    def seal_with(alg: str) -> Sealed:
        signer = new_signer(alg)
        project = tmp_path / signer.keyid[:8]
        folder = EvidenceFolder(project / ".clyra", project)
        folder.prepare()
        trust = project / "clyra.trust.json"
        trust.write_text(json.dumps({"version": 1, "keys": [trusted(new_signer("ed25519")), trusted(signer)]}))
        path = seal_run(folder, signer)
        verification = verify_bundle(path, trust=trust)
        assert verification.verdict == "valid", verification.as_dict()
        with zipfile.ZipFile(path) as archive:
            return Sealed(project, path, {name: archive.read(name) for name in archive.namelist()}, signer)

    return seal_with


@pytest.fixture
def sealed(seal: Callable[[str], Sealed]) -> Sealed:
    """A bundle as Clyra seals it where nobody configured a key: with Ed25519."""
    return seal("ed25519")


def new_signer(alg: str) -> Signer:
    makers: dict[str, Callable[[], Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]] = {
        "ed25519": Ed25519PrivateKey.generate,
        "ecdsa-p256-sha256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "rsa-pss-sha256": lambda: rsa.generate_private_key(65537, 2048),
    }
    pem = makers[alg]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signer = load_signer("bundle", {"CLYRA_SIGNING_KEY": pem})
    assert signer.alg == alg
    return signer


def trusted(signer: Signer) -> dict[str, object]:
    """The entry of a trust file."""
    key = {"keyid": signer.keyid, "public_key": b64encode(signer.public_key).decode(), "alg": signer.alg}
    return {**key, "role": "bundle", "valid_from": instant(START_US)}


def seal_run(folder: EvidenceFolder, signer: Signer) -> Path:
    bundle_id = new_uuid7(START_US, bytes(10))
    writer = JournalWriter.create(folder.journal_path(bundle_id), bundle_id=bundle_id, tenant="default", signer=signer)
    writer.append([("run.started", START_US, started()), ("run.finished", START_US + 5, finished())])
    return seal_bundle(
        folder,
        writer.close("completed", START_US + 6),
        record(),
        files=[SourceFile("artifacts/nodes.json", b'{"nodes":[]}', "application/json")],
        references=[],
        signers=[signer],
        bundle_id=bundle_id,
        created_at=START_US,
        closed_at=START_US + 7,
        with_sigstore=True,
    ).path


def started() -> dict[str, object]:
    return {
        "invocation_id": "5a0a1f9e-0000-4000-8000-000000000001",
        "project": "shop",
        "command": "compile",
        "argv": ["dbt", "compile"],
        "target_name": "dev",
        "adapter_type": "duckdb",
        "versions": {"python": "3.12.4"},
        "gates": {"run": False, "statement_wrap": False, "statement_event": False, "row_limit": False},
        "policy": {"sha256": None, "mode": "record"},
        "build": {**GIT, "branch": "main", "source": "git"},
        "actor_id": "ci@shop.example",
        "tenant_id": "default",
    }


def finished() -> dict[str, object]:
    tests = {"passed": 0, "failed": 0, "warned": 0, "not_run": 0}
    return {"success": True, "tests": tests, "overhead_cpu_us": 900}


def record() -> RunRecord:
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
            "command": "compile",
            "project": "shop",
            "adapter": "duckdb",
            "target": "dev",
            "git": {**GIT, "source": "git", "author_basis": "claimed"},
        },
    )
