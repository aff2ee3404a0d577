# SPDX-License-Identifier: Apache-2.0
"""What ``clyra doctor`` collects: checks, each a finding about one thing and one command that puts it right.

A package offers checks as entry points of the group ``clyra.checks``: functions that take a `CheckContext` and give
`Check` objects. The entry is named after the group of its checks, ``project`` or ``project.dbt``, and their ids begin
with that group. A check only looks. It shows no secret: of a key, where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

CheckStatus = Literal["ok", "warn", "fail", "skip"]

ENTRY_POINTS = "clyra.checks"
TARGET_ENTRY_POINTS = "clyra.targets"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        id: ``<group>.<what>``, stable.
        status: ``skip`` where there was nothing to look at, or nobody asked for it.
        summary: What was found; where it is wrong, also what is to be done.
        fix: A command for a shell that puts it right.
        undo: The command that takes the fix back. ``clyra doctor --fix`` runs a fix only where there is one.
    """

    id: str
    status: CheckStatus
    summary: str
    fix: str | None = None
    undo: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where the project in question is built, as its own tool resolves it.

    Attributes:
        name: Such as ``prod``.
        adapter: dbt's name of the kind of warehouse.
        address: Where that is, in libpq's words (``host``, ``port``, ``dbname``), as far as there is such a thing.
        connect: Opens a connection of Clyra's own, on which one statement at a time gives its rows; raises
            UnavailableError where there is none to be had.
    """

    name: str
    adapter: str
    address: Mapping[str, str]
    connect: Callable[[], AbstractContextManager[Callable[[str], Sequence[Sequence[object]]]]]


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What checks may know.

    Attributes:
        project_dir: The project's folder; None where the working directory is in none.
        environ: Environment variables.
        now: The time, UTC.
        asked: The groups that the user named; empty for all.
        find_target: The project's target, or None where nothing installed can tell. Raises ClyraError where the
            project or its profile cannot be read.
    """

    project_dir: Path | None
    environ: Mapping[str, str]
    now: datetime
    asked: frozenset[str]
    find_target: Callable[[], Target | None]

    def is_asked(self, group: str) -> bool:
        """Whether the user named this group, a part of it, or what it is a part of."""
        return any(is_within(group, named) or is_within(named, group) for named in self.asked)


CheckProvider: TypeAlias = Callable[[CheckContext], Iterable[Check]]
"""What an entry point of ``clyra.checks`` is."""


def is_within(name: str, group: str) -> bool:
    """Whether a check or a group of this name belongs to ``group``."""
    return name == group or name.startswith(f"{group}.")
