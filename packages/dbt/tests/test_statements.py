# SPDX-License-Identifier: Apache-2.0
"""One record per statement, from the wrapper round ``add_query`` and dbt's two events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from clyra.dbt import _statements
from clyra.dbt._clock import SystemClock
from clyra.dbt._statements import Active, Call, ThreadState, on_query, on_status, rows_in, settle, wrap_add_query

CLOCK = SystemClock()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def status(text: str = "SELECT 1", query_id: str = "", elapsed: float = 0.25) -> Any:
    return SimpleNamespace(status=text, query_id=query_id, elapsed=elapsed)


def members(state: ThreadState) -> list[dict[str, object]]:
    return [event[2] for event in state.events]


def test_statement_and_its_outcome_make_one_record() -> None:
    state = ThreadState()
    on_query(state, "/* c */\ninsert into t values (1)", "model.a", CLOCK)
    on_status(state, status("INSERT 0 5", "01b2-query"))
    settle(state, CLOCK)
    assert members(state) == [
        {
            "unique_id": "model.a",
            "sent_sha256": digest("/* c */\ninsert into t values (1)"),
            "body_sha256": digest("insert into t values (1)"),
            "verb": "insert",
            "status": "success",
            "rows": 5,
            "query_id": "01b2-query",
            "elapsed_us": 250_000,
        }
    ]
    assert state.sent is None


def test_statement_without_an_outcome_is_unknown_when_the_next_one_comes() -> None:
    state = ThreadState()
    on_query(state, "select 1", None, CLOCK)
    on_query(state, "select 2", None, CLOCK)
    settle(state, CLOCK, status="error")
    assert [(one["status"], one["elapsed_us"] is None) for one in members(state)] == [
        ("unknown", True),
        ("error", False),
    ]


def test_outcome_that_was_reported_outlives_a_later_failure() -> None:
    state = ThreadState()
    on_query(state, "select 1", None, CLOCK)
    on_status(state, status())
    settle(state, CLOCK, status="error")
    assert members(state)[0]["status"] == "success"


@pytest.mark.parametrize("length", [3, 511, 512, 513, 5_000])
def test_text_that_the_event_cut_is_taken_whole_from_the_call(length: int) -> None:
    whole = "delete from t where x = ".ljust(length, "1")[:length]
    state = ThreadState()
    state.call = Call(whole, "", bound=False)
    on_query(state, f"{whole[:512]}...", None, CLOCK)
    settle(state, CLOCK)
    assert members(state)[0]["sent_sha256"] == digest(whole)


def test_text_that_an_adapter_split_off_is_taken_from_the_event() -> None:
    state = ThreadState()
    state.call = Call("select 1; drop table t", "", bound=False)
    for part in ("select 1", "drop table t"):
        on_query(state, part, None, CLOCK)
        on_status(state, status())
    settle(state, CLOCK)
    assert [one["verb"] for one in members(state)] == ["select", "drop"]


def test_batch_is_named_where_there_is_one() -> None:
    state = ThreadState()
    state.batch_id = "20240131"
    on_query(state, "select 1", "model.a", CLOCK)
    settle(state, CLOCK)
    assert members(state)[0]["batch_id"] == "20240131"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("INSERT 0 5", 5),
        ("SELECT 12", 12),
        ("CREATE VIEW", None),
        ("OK", None),
        ("", None),
        ("UPDATE -1", None),
        ("SUCCESS 7", 7),
        ("5.0 rows, 2.0 MiB processed", None),
        ("x 99999999999999999999", None),
    ],
)
def test_rows_are_the_number_a_status_ends_with(text: str, rows: int | None) -> None:
    assert rows_in(text) == rows


def test_sent_bytes_are_those_of_the_driver_where_it_tells_them() -> None:
    assert _statements.sent_by_driver(SimpleNamespace(query=b"insert into t values ('a')")) == digest(
        "insert into t values ('a')"
    )
    assert _statements.sent_by_driver(SimpleNamespace(query=None)) == ""
    assert _statements.sent_by_driver(object()) == ""


class Manager:
    """What dbt's connection managers look like from here."""

    query_header = None

    def add_query(self, sql: str, auto_begin: bool = True, bindings: object = None) -> tuple[str, bool, object]:
        return sql, auto_begin, bindings


class Adapted(Manager):
    """An adapter that inherits ``add_query``."""


@dataclass
class Calls:
    """Takes calls down and passes them on."""

    seen: list[tuple[str, bool]] = field(default_factory=list)

    def around(self, manager: Any, send: Any, call: Call) -> Any:
        self.seen.append((call.sql, call.bound))
        return send()


def test_wrapping_twice_wraps_once_and_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manager, "add_query", Manager.add_query)
    assert wrap_add_query(Adapted)
    assert wrap_add_query(Adapted)
    calls = Calls()
    monkeypatch.setattr(Active, "recorder", calls)
    assert Adapted().add_query("select 1", False) == ("select 1", False, None)
    assert Adapted().add_query("select %s", bindings=(1,)) == ("select %s", True, (1,))
    assert calls.seen == [("select 1", False), ("select %s", True)]


def test_wrapper_stands_aside_when_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manager, "add_query", Manager.add_query)
    wrap_add_query(Manager)
    monkeypatch.setattr(Active, "recorder", None)
    assert Manager().add_query("select 1") == ("select 1", True, None)


def test_class_without_add_query_is_not_wrapped() -> None:
    assert not wrap_add_query(int)
