# SPDX-License-Identifier: Apache-2.0
"""Find the entry points of one group by reading the installed ``entry_points.txt`` files.

``importlib.metadata`` imports the ``email`` package, which costs three times a bare interpreter's CPU on every call
of the command. The files themselves are one short read each (PyPA specification "Entry points", section "File
format"). Distributions that are not plain folders on ``sys.path`` are left to ``importlib.metadata``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator


def find_entry_points(group: str, search_path: list[str] | None = None) -> dict[str, str]:
    """The entry points of ``group`` as ``{name: "module:attribute"}``, sorted by name.

    Where two distributions offer one name, the one found first on the search path wins.
    """
    found: dict[str, str] = {}
    for text in _entry_point_files(sys.path if search_path is None else search_path):
        for name, target in _parse(text, group):
            found.setdefault(name, target)
    if not found and search_path is None:
        from importlib.metadata import entry_points

        found = {entry.name: entry.value for entry in entry_points(group=group)}
    return dict(sorted(found.items()))


def _entry_point_files(search_path: list[str]) -> Iterator[str]:
    for folder in search_path:
        try:
            names = sorted(name for name in os.listdir(folder or ".") if name.endswith(".dist-info"))
        except OSError:
            continue
        for name in names:
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:
                    yield file.read()
            except OSError:
                continue


def _parse(text: str, group: str) -> Iterator[tuple[str, str]]:
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, target = line.split("=", 1)
            # "module:attribute [extra]": extras are deprecated and decide nothing here.
            yield name.strip(), target.split("[", 1)[0].strip()
