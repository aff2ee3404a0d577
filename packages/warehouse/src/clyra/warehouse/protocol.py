# SPDX-License-Identifier: Apache-2.0
"""The Protocol that every warehouse package implements, and the shapes it exchanges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from clyra.warehouse.anchor import Anchor
from clyra.warehouse.anchor_check import AnchorCheck
from clyra.warehouse.session_tags import SessionSettings, SessionTags

Query: TypeAlias = Callable[[str], Sequence[Sequence[object]]]
"""Runs one SQL statement on Clyra's own connection, in autocommit, and returns its rows.

Whoever makes one turns the driver's errors into ``UnavailableError``; it never runs on a connection of the user's.
"""

Mark: TypeAlias = Mapping[str, str | int]
"""What one adapter remembers between the two ends of an anchor. Opaque to everybody else."""


@runtime_checkable
class Warehouse(Protocol):
    """One kind of warehouse. Implementations hold no connection and no state."""

    @property
    def adapter_type(self) -> str:
        """The name dbt has for it, for instance ``postgres``."""

    def begin_anchor(self, query: Query) -> Mark:
        """Read where the warehouse's history stands before the run's first statement.

        Raises:
            UnavailableError: The query failed; the run goes on and its anchor is of kind ``none``.
        """

    def end_anchor(self, query: Query, mark: Mark, now: datetime) -> Anchor:
        """Read where it stands after the last statement, and join both ends.

        The anchor is of kind ``none`` with ``capture_failed`` where the two ends do not belong together.

        Raises:
            UnavailableError: The query failed.
        """

    def verify_anchor(self, query: Query, anchor: Anchor) -> AnchorCheck:
        """Hold an anchor against the warehouse that ``query`` reaches.

        Raises:
            FormatError: The anchor's value is not what its kind promises.
            UnavailableError: The query failed.
        """

    def session_settings(self, tags: SessionTags) -> SessionSettings:
        """How a session of this warehouse is told which run it belongs to. Never holds a token."""
