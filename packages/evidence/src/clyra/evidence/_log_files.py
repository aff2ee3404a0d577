# SPDX-License-Identifier: Apache-2.0
"""Put the files of a log in place, each whole, in folders that are made as needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clyra.evidence._files import new_file, replace_file, sync_folder


def write_files(folder: Path, files: Mapping[str, bytes], *, durable: bool) -> None:
    """Write each file under ``folder``, in order, replacing what is there.

    One writer at a time: temporary names are fixed, so that what a killed writer left is overwritten by the next.

    Args:
        folder: Base of the names; it exists.
        files: Contents by relative name.
        durable: Whether files and folders reach the disk before this returns, so that they survive a power cut.

    Raises:
        OSError: A file cannot be written.
    """
    for name, data in files.items():
        path = folder / name
        _make_folder(path.parent, durable=durable)
        if durable:
            with new_file(path) as file:
                file.write(data)
        else:
            replace_file(path, data)


def _make_folder(folder: Path, *, durable: bool) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, durable=durable)
    folder.mkdir()
    if durable:
        sync_folder(folder.parent)
