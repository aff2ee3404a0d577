# SPDX-License-Identifier: Apache-2.0
"""What every implementation of ``clyra.warehouse.Warehouse`` must do, as tests to inherit.

A subclass gives the fixtures at the top; pytest then runs the tests against the real warehouse::

    class TestMyWarehouse(WarehouseContract):
        adapter_type = "mine"
        ...
"""

# The name of a test is its sentence.
# ruff: noqa: D102

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from clyra.warehouse import AnchorVerdict, Query, SessionTags, Warehouse, load_warehouse

Connect = Callable[[Mapping[str, str]], AbstractContextManager[Query]]

_NOW = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
_TAGS = SessionTags("0192f3a1-0000-7000-8000-000000000001", "ci@example.com", "acme:eu")
_WORD = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_VALUE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class WarehouseContract:
    """Inherit, set the class attributes and override the fixtures that raise.

    Attributes:
        adapter_type: dbt's name of the adapter.
        drivers: Modules that may be loaded only when a connection opens.
    """

    adapter_type: ClassVar[str]
    drivers: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def query(self) -> Query:
        """Clyra's own connection to the warehouse under test."""
        raise NotImplementedError

    @pytest.fixture
    def write(self) -> Callable[[], None]:
        """Commits one change on another connection."""
        raise NotImplementedError

    @pytest.fixture
    def foreign_query(self) -> Query:
        """A connection to another warehouse of the same kind."""
        raise NotImplementedError

    @pytest.fixture
    def open_session(self) -> Connect:
        """Opens a session as the user's program would, with these environment variables."""
        raise NotImplementedError

    @pytest.fixture
    def read_tags(self) -> Callable[[Query], SessionTags]:
        """Asks a session for the tags it carries."""
        raise NotImplementedError

    @pytest.fixture
    def own_environment(self) -> Mapping[str, str]:
        """Settings that a user may have before Clyra comes, in the variables that Clyra adds to."""
        raise NotImplementedError

    @pytest.fixture
    def read_own(self) -> Callable[[Query], object]:
        """Asks a session for what ``own_environment`` sets; false without it."""
        raise NotImplementedError

    @pytest.fixture
    def warehouse(self) -> Warehouse:
        """The implementation under test, as the entry point gives it."""
        warehouse = load_warehouse(self.adapter_type)
        assert warehouse is not None
        return warehouse

    def test_entry_point_gives_the_warehouse_of_that_name(self, warehouse: Warehouse) -> None:
        assert isinstance(warehouse, Warehouse)
        assert warehouse.adapter_type == self.adapter_type

    def test_loading_it_loads_no_driver(self) -> None:
        code = (
            "import sys; from clyra.warehouse import load_warehouse; load_warehouse(sys.argv[1]); print(*sys.modules)"
        )
        argv = [sys.executable, "-c", code, self.adapter_type]
        loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
        assert "clyra.warehouse" in loaded
        assert not set(self.drivers) & set(loaded)

    def test_anchor_has_the_form_of_the_manifest(self, warehouse: Warehouse, query: Query) -> None:
        anchor = warehouse.end_anchor(query, warehouse.begin_anchor(query), _NOW).as_manifest()
        assert anchor["system"] == self.adapter_type
        assert anchor["kind"] != "none"
        assert _WORD.fullmatch(str(anchor["kind"]))
        assert anchor["captured_at"] == "2026-03-04T05:06:07.000008Z"
        value = anchor["value"]
        assert isinstance(value, dict)
        assert value
        assert all(_VALUE_NAME.fullmatch(name) for name in value)
        assert json.loads(json.dumps(anchor)) == anchor

    def test_anchor_round_a_committed_change_is_confirmed(
        self, warehouse: Warehouse, query: Query, write: Callable[[], None]
    ) -> None:
        mark = warehouse.begin_anchor(query)
        write()
        anchor = warehouse.end_anchor(query, mark, _NOW)
        write()
        assert warehouse.verify_anchor(query, anchor).verdict is AnchorVerdict.CONFIRMED

    def test_anchors_of_two_changes_differ(self, warehouse: Warehouse, query: Query, write: Callable[[], None]) -> None:
        values = []
        for _ in range(2):
            mark = warehouse.begin_anchor(query)
            write()
            values.append(warehouse.end_anchor(query, mark, _NOW).value)
        assert values[0] != values[1]

    def test_another_warehouse_contradicts_the_anchor(
        self, warehouse: Warehouse, query: Query, foreign_query: Query, write: Callable[[], None]
    ) -> None:
        mark = warehouse.begin_anchor(query)
        write()
        anchor = warehouse.end_anchor(query, mark, _NOW)
        assert warehouse.verify_anchor(foreign_query, anchor).verdict is AnchorVerdict.CONTRADICTED

    def test_ends_in_two_warehouses_give_no_anchor(
        self, warehouse: Warehouse, query: Query, foreign_query: Query
    ) -> None:
        anchor = warehouse.end_anchor(foreign_query, warehouse.begin_anchor(query), _NOW)
        assert (anchor.kind, anchor.reason) == ("none", "capture_failed")
        assert anchor.value["detail"]

    def test_reading_anchors_changes_nothing(self, warehouse: Warehouse, query: Query) -> None:
        statements: list[str] = []

        def listening(statement: str) -> Sequence[Sequence[object]]:
            statements.append(statement)
            return query(statement)

        anchor = warehouse.end_anchor(listening, warehouse.begin_anchor(listening), _NOW)
        warehouse.verify_anchor(listening, anchor)
        assert statements
        assert {statement.split()[0].lower() for statement in statements} <= {"select", "show"}

    def test_sessions_carry_the_tags(
        self, warehouse: Warehouse, open_session: Connect, read_tags: Callable[[Query], SessionTags]
    ) -> None:
        with open_session(warehouse.session_settings(_TAGS).merged({})) as session:
            assert read_tags(session) == _TAGS

    def test_tags_leave_what_the_user_has_set(
        self,
        warehouse: Warehouse,
        open_session: Connect,
        read_tags: Callable[[Query], SessionTags],
        own_environment: Mapping[str, str],
        read_own: Callable[[Query], object],
    ) -> None:
        with open_session(own_environment) as session:
            expected = read_own(session)
        assert expected
        with open_session(warehouse.session_settings(_TAGS).merged({**os.environ, **own_environment})) as session:
            assert read_own(session) == expected
            assert read_tags(session) == _TAGS

    def test_statements_tag_an_open_session(
        self, warehouse: Warehouse, open_session: Connect, read_tags: Callable[[Query], SessionTags]
    ) -> None:
        statements = warehouse.session_settings(_TAGS).statements
        if not statements:
            pytest.skip("sessions of this warehouse are tagged as they open")
        with open_session({}) as session:
            for statement in statements:
                session(statement)
            assert read_tags(session) == _TAGS
