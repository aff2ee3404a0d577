# SPDX-License-Identifier: Apache-2.0
"""A run's two entries in the project's log, and the proof beside the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clyra.spec import UnavailableError

if TYPE_CHECKING:
    from clyra.evidence.bundle import SealedBundle
    from clyra.evidence.project_log import ProjectLog


def leaf_of(
    *, tenant: str, run_id: object, part: object, bundle_id: str, manifest_sha256: str | None
) -> dict[str, object]:
    """The leaf that says a run was opened (no manifest yet) or sealed."""
    return {
        "tenant": tenant,
        "run_id": run_id,
        "part": part,
        "bundle_id": bundle_id,
        "manifest_sha256": manifest_sha256,
    }


def proof_path(bundle: Path, bundle_id: str) -> Path:
    """Where the log's proof for a bundle lies: beside it."""
    return bundle.with_name(f"{bundle_id}.tlog-proof")


def enter(log: ProjectLog, sealed: SealedBundle) -> None:
    """Put a sealed bundle into the log and its proof beside it.

    Raises:
        ClyraError: The log is damaged or cannot be written; the bundle is valid all the same.
    """
    run: Mapping[str, object] = sealed.manifest["run"]
    leaf = leaf_of(
        tenant=sealed.manifest["tenant"],
        run_id=run["run_id"],
        part=run["part"],
        bundle_id=sealed.bundle_id,
        manifest_sha256=sealed.manifest_sha256,
    )
    index = log.append(leaf)
    if index is None:
        # It waits in the spool; the next run takes it in, and `clyra log prove` makes the proof.
        return
    try:
        proof_path(sealed.path, sealed.bundle_id).write_bytes(log.prove(index))
    except OSError as exc:
        raise UnavailableError(f"the proof cannot be written: {exc.strerror}", code="evidence_unavailable") from exc
