# SPDX-License-Identifier: Apache-2.0
"""Where a project's evidence lies: bundles, open journals, large artifacts, the log.

::

    .clyra/evidence/<yyyy>/<mm>/<bundle_id>.def.zip     sealed bundles
    .clyra/journal/<bundle_id>.ndjson                   journals of runs that go on or died, with .note and .meta.json
    .clyra/artifacts/sha256/<ab>/<digest>               what is too large for a bundle, once per digest
    .clyra/log/                                         the project's append-only log
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from clyra.evidence._chain import instant
from clyra.evidence._files import sync_folder
from clyra.evidence.record import Reference
from clyra.spec import UnavailableError

FOLDER_NAME = ".clyra"
SETTING = "CLYRA_EVIDENCE_DIR"

_PROJECT_FILE = "dbt_project.yml"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class EvidenceFolder:
    """The evidence folder of one project.

    ``under_temp`` is true where it lies in the system's folder for temporary files, where nobody should leave it.
    """

    root: Path
    project_root: Path
    under_temp: bool = False

    @classmethod
    def locate(cls, project_dir: Path, environ: Mapping[str, str], configured: str | None = None) -> EvidenceFolder:
        """The folder that ``CLYRA_EVIDENCE_DIR``, else ``configured``, names; else ``.clyra`` in the real project.

        A relative name counts from the real project: orchestrators run dbt in temporary folders full of symbolic
        links, so a linked ``dbt_project.yml`` is followed. Nothing is created.
        """
        project_file = project_dir / _PROJECT_FILE
        project_root = project_file.resolve().parent if project_file.exists() else project_dir.resolve()
        named = environ.get(SETTING) or configured
        root = (project_root / named).resolve() if named else project_root / FOLDER_NAME
        return cls(root, project_root, _is_under_temp(root, environ))

    def prepare(self) -> None:
        """Make the folder and prove that it can be written; a new one tells git to ignore all of it.

        Raises:
            UnavailableError: It cannot be made or written (``evidence_unavailable``).
        """
        with _evidence_errors(self.root):
            # Never in a folder that holds other things: they would vanish from version control.
            is_ours = self.root.name == FOLDER_NAME or not self.root.exists() or not any(self.root.iterdir())
            self.journal_dir.mkdir(parents=True, exist_ok=True)
            self.log_dir.mkdir(exist_ok=True)
            ignore = self.root / ".gitignore"
            if is_ours and not ignore.exists():
                ignore.write_bytes(b"*\n")
            with tempfile.TemporaryFile(dir=self.journal_dir) as probe:
                probe.write(b"\n")

    @property
    def log_dir(self) -> Path:
        """Folder of the project's log."""
        return self.root / "log"

    @property
    def journal_dir(self) -> Path:
        """Folder of open journals."""
        return self.root / "journal"

    @property
    def bundle_dir(self) -> Path:
        """Folder of sealed bundles, below it one per year and month."""
        return self.root / "evidence"

    def journal_path(self, bundle_id: str) -> Path:
        """Where the open journal of a bundle lies."""
        return self.journal_dir / f"{bundle_id}.ndjson"

    def bundle_path(self, bundle_id: str, closed_at: int) -> Path:
        """Where a bundle closed at ``closed_at`` (microseconds since the epoch) lies."""
        year, month = instant(closed_at)[:7].split("-")
        return self.bundle_dir / year / month / f"{bundle_id}.def.zip"

    def find_bundle(self, bundle_id: str) -> Path | None:
        """The sealed bundle of this id, whenever it was closed."""
        return next(self.bundle_dir.glob(f"*/*/{bundle_id}.def.zip"), None)

    def artifact_path(self, digest: str) -> Path:
        """Where the artifact of this hex SHA-256 lies or would lie."""
        return self.root / "artifacts" / "sha256" / digest[:2] / digest

    def store_artifact(
        self,
        content: Path | bytes,
        *,
        name: str | None = None,
        role: str = "artifact",
        media_type: str = "application/octet-stream",
    ) -> Reference:
        """Keep a copy of ``content`` under its digest, durable and once for equal bytes, and say what it is.

        It is never a hard link: tools rewrite their files in place, and the kept bytes would change with them.

        Args:
            content: A file or bytes.
            name: Name in the reference; a file's own name where None.
            role: Role in the reference.
            media_type: Media type in the reference.

        Raises:
            UnavailableError: It cannot be read or written (``evidence_unavailable``).
        """
        label = name or (content.name if isinstance(content, Path) else "artifact")
        with _evidence_errors(self.root):
            folder = self.root / "artifacts" / "sha256"
            folder.mkdir(parents=True, exist_ok=True)
            fd, partial = tempfile.mkstemp(dir=folder, prefix=".partial-")
            try:
                with os.fdopen(fd, "wb") as copy:
                    size, digest = _copy(content, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                self._adopt(Path(partial), digest)
            finally:
                Path(partial).unlink(missing_ok=True)
        return Reference(label, role, digest, size, media_type)

    def _adopt(self, partial: Path, digest: str) -> None:
        final = self.artifact_path(digest)
        if not final.exists():
            os.chmod(partial, 0o444)
            final.parent.mkdir(exist_ok=True)
            os.replace(partial, final)
            sync_folder(final.parent)


def _copy(content: Path | bytes, copy: BinaryIO) -> tuple[int, str]:
    if isinstance(content, bytes):
        copy.write(content)
        return len(content), sha256(content).hexdigest()
    size, digest = 0, sha256()
    with content.open("rb", buffering=0) as source:
        while chunk := source.read(_CHUNK_BYTES):
            size += len(chunk)
            digest.update(chunk)
            copy.write(chunk)
    return size, digest.hexdigest()


def _is_under_temp(root: Path, environ: Mapping[str, str]) -> bool:
    named = environ.get("TMPDIR") or environ.get("TEMP") or environ.get("TMP") or tempfile.gettempdir()
    return root.is_relative_to(Path(named).resolve())


@contextmanager
def _evidence_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise UnavailableError(
            f"the evidence folder {root} cannot be written: {exc.strerror or exc}; make it writable or set {SETTING}",
            code="evidence_unavailable",
        ) from exc
