# SPDX-License-Identifier: Apache-2.0
"""Where the warehouse's own history stood before the first and after the last statement.

Read on a connection of our own, opened by dbt's connection manager with dbt's credentials, closed at once: none is held
for hours, and none of dbt's is touched. The first connection also tries whether the server takes the session tags, as
poolers may refuse them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from clyra.dbt._clock import Clock, aware
from clyra.dbt._process import EnvironmentChange
from clyra.spec import ClyraError, UnavailableError, anchor_kinds
from clyra.warehouse import Anchor, Mark, Query, SessionTags, Warehouse, load_warehouse, no_anchor

_CONNECT_TIMEOUT_S = 5


class AnchorRecorder:
    """Captures the anchor of one run and tags its sessions.

    Args:
        adapter_type: dbt's name of the adapter.
        manager_class: dbt's connection manager class of that adapter.
        credentials: dbt's credentials of the target.
        clock: Where instants come from.
        environ: The environment that drivers read.
    """

    def __init__(
        self,
        adapter_type: str,
        manager_class: Any,
        credentials: Any,
        clock: Clock,
        environ: MutableMapping[str, str],
    ) -> None:
        self.tagged_by = "none"
        self._adapter_type = adapter_type
        self._manager_class = manager_class
        self._credentials = credentials
        self._clock = clock
        self._environ = environ
        self._change = EnvironmentChange(environ)
        self._warehouse: Warehouse | None = None
        self._mark: Mark | None = None
        self._failure = "the run sent no statement"

    def begin(self, tags: SessionTags | None) -> None:
        """Capture where the history stands, and leave the tags for the connections that dbt opens from now on."""
        if not anchor_kinds(self._adapter_type):
            return
        try:
            self._warehouse = load_warehouse(self._adapter_type)
        except ClyraError as exc:
            self._failure = exc.message
            return
        if self._warehouse is None:
            self._failure = f"no installed package anchors {self._adapter_type}"
            return
        if tags is not None and self._begin_tagged(self._warehouse, tags):
            return
        try:
            self._mark = self._read_mark(self._warehouse)
        except ClyraError as exc:
            self._failure = exc.message

    def end(self) -> Anchor:
        """The anchor; of kind ``none`` where the adapter has none or capture failed. Takes the tags back."""
        self.untag()
        now = aware(self._clock.now_us())
        if not anchor_kinds(self._adapter_type):
            return no_anchor(self._adapter_type, "not_supported", now)
        if self._warehouse is None or self._mark is None:
            return no_anchor(self._adapter_type, "capture_failed", now, detail=self._failure)
        try:
            with self.connected() as query:
                return self._warehouse.end_anchor(query, self._mark, now)
        except ClyraError as exc:
            return no_anchor(self._adapter_type, "capture_failed", now, detail=exc.message)

    def untag(self) -> None:
        """Put the environment back; sessions that are open keep their tags."""
        self._change.restore()

    @contextmanager
    def connected(self) -> Iterator[Query]:
        """A connection of our own for the time of the block.

        Raises:
            UnavailableError: The warehouse does not answer.
        """
        handle = self._opened()
        cursor = handle.cursor()

        def query(sql: str) -> Sequence[Sequence[object]]:
            try:
                cursor.execute(sql)
                rows: list[Sequence[object]] = cursor.fetchall()
            except Exception as exc:
                # A driver's message may quote what it was sent; its type is enough.
                raise UnavailableError(f"the warehouse answered {type(exc).__name__}; see its log") from exc
            return rows

        try:
            yield query
        finally:
            with suppress(Exception):
                handle.close()

    def _begin_tagged(self, warehouse: Warehouse, tags: SessionTags) -> bool:
        """Capture over a connection that carries the tags; False, and no tags, where the server refuses them."""
        settings = warehouse.session_settings(tags).merged(self._environ)
        if not settings:
            return False
        self._change.set(settings)
        try:
            self._mark = self._read_mark(warehouse)
        except ClyraError:
            self._change.restore()
            return False
        self.tagged_by = "options" if not getattr(self._credentials, "search_path", None) else "search_path_wins"
        return True

    def _read_mark(self, warehouse: Warehouse) -> Mark:
        with self.connected() as query:
            return warehouse.begin_anchor(query)

    def _opened(self) -> Any:
        from dbt.adapters.contracts.connection import Connection, ConnectionState, Identifier

        try:
            opened = self._manager_class.open(
                Connection(
                    type=Identifier(self._adapter_type),
                    name="clyra",
                    state=ConnectionState.INIT,
                    transaction_open=False,
                    handle=None,
                    credentials=_patient_for_little(self._credentials),
                )
            )
            opened.handle.autocommit = True
        except Exception as exc:
            raise UnavailableError(f"no connection to the warehouse: {type(exc).__name__}") from exc
        return opened.handle


def _patient_for_little(credentials: Any) -> Any:
    """The credentials with a short time-out and our name, for those that have them."""
    ours = copy.copy(credentials)
    if isinstance(getattr(ours, "connect_timeout", None), int):
        ours.connect_timeout = min(ours.connect_timeout, _CONNECT_TIMEOUT_S)
    if hasattr(ours, "application_name"):
        ours.application_name = "clyra"
    return ours
