# SPDX-License-Identifier: Apache-2.0
"""Small files that appear whole or not at all, and the ones that only the first of many may write.

A record is written beside its place, made durable, and then linked or renamed into it. Whoever is killed in between
leaves a ``.partial`` file that nobody reads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clyra.spec import UnavailableError


def put(path: Path, content: bytes) -> None:
    """Put ``content`` in place of ``path``, for its owner alone; durable when this returns.

    Raises:
        UnavailableError: It cannot be written (``evidence_unavailable``).
    """
    with _partial(path, content) as partial:
        os.replace(partial, path)


def put_first(path: Path, content: bytes) -> bool:
    """Put ``content`` at ``path`` unless something is there; says whether we were first.

    Of any number of processes that try, one is told that it was. Readers never see the file without its contents,
    which ``O_CREAT | O_EXCL`` alone would let them.

    Raises:
        UnavailableError: It cannot be written (``evidence_unavailable``).
    """
    with _partial(path, content) as partial:
        try:
            if os.name == "nt":
                # There, rename refuses a name that is taken.
                os.rename(partial, path)
            else:
                os.link(partial, path)
        except FileExistsError:
            return False
    return True


def read(path: Path) -> bytes | None:
    """The contents of ``path``, None where it is absent.

    Raises:
        UnavailableError: It is there and cannot be read (``evidence_unavailable``).
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _unavailable(path, exc) from exc


def names(folder: Path, suffix: str) -> list[str]:
    """Names in ``folder`` that end with ``suffix``, without it, sorted; none where there is no folder.

    Raises:
        UnavailableError: The folder cannot be read (``evidence_unavailable``).
    """
    try:
        found = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise _unavailable(folder, exc) from exc
    return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix) and not name.startswith("."))


@contextmanager
def _partial(path: Path, content: bytes) -> Iterator[str]:
    """A durable file beside ``path`` with ``content``; afterwards the folder is durable and the file is gone."""
    try:
        # Two steps, because `parents` makes folders for everybody.
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # mkstemp makes files for their owner only.
        fd, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:32]}.", suffix=".partial")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield partial
        finally:
            Path(partial).unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as exc:
        raise _unavailable(path, exc) from exc


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unavailable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"{path} cannot be read or written: {error.strerror or error}; make its folder yours, on a file system with "
        "hard links, or set CLYRA_APPROVALS_DIR",
        code="evidence_unavailable",
    )
