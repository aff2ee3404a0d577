# SPDX-License-Identifier: Apache-2.0
"""Whether a project's files are those of its stamp (``clyra.build.json``), for images without ``.git``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clyra.dbt._build import ROOT_FILES

_CODE = (".sql", ".py", ".yml", ".yaml", ".csv")
# What dbt itself writes into a project.
_NOT_OURS = frozenset(("target", "logs", "dbt_packages", "dbt_modules"))


@dataclass(frozen=True, slots=True)
class Differences:
    """Paths, relative to the project, that have other bytes, are gone, or came in beside what was stamped."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)


def compare(project_dir: Path, files: Mapping[str, object]) -> Differences:
    """How the project differs from a stamp.

    Added is code in a folder that holds stamped files, or one of dbt's own files: dbt would read it.

    Args:
        project_dir: The project folder.
        files: Hex SHA-256 by path relative to it.
    """
    changed, missing = [], []
    for path, expected in files.items():
        try:
            if digest(project_dir / path) != expected:
                changed.append(path)
        except (OSError, ValueError):
            missing.append(path)
    added = [path for path in _code(project_dir, files) if path not in files]
    return Differences(tuple(sorted(changed)), tuple(sorted(missing)), tuple(sorted(added)))


def digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, links followed.

    Raises:
        OSError: It is no file that can be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(project_dir: Path, files: Mapping[str, object]) -> Iterator[str]:
    yield from (name for name in ROOT_FILES if (project_dir / name).exists())
    folders = {path.partition("/")[0] for path in files if "/" in path} - _NOT_OURS
    for folder in sorted(name for name in folders if not name.startswith(".")):
        for parent, _, names in os.walk(project_dir / folder):
            relative = Path(parent).relative_to(project_dir)
            yield from ((relative / name).as_posix() for name in names if name.endswith(_CODE))
