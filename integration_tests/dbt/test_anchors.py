# SPDX-License-Identifier: Apache-2.0
"""Anchors and session tags where the warehouse does not play along."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from clyra.dbt._anchors import AnchorRecorder
from clyra.dbt._clock import SystemClock
from clyra.warehouse import SessionTags

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

TAGS = SessionTags("run-9", "ana", "north")


@dataclass
class Credentials:
    """What dbt's own look like from here."""

    connect_timeout: int = 10
    application_name: str = "dbt"


@dataclass
class ManagerOf:
    """Opens real connections as dbt's connection manager does, and refuses some as servers and poolers do."""

    dsn: str
    refuses_options: bool = False
    opens: int = 9
    opened: list[str] = field(default_factory=list)

    def open(self, connection: Any) -> Any:
        options = os.environ.get("PGOPTIONS", "")
        if len(self.opened) >= self.opens or (self.refuses_options and options):
            raise RuntimeError("unsupported startup parameter: options; password=hunter2")
        self.opened.append(options)
        connection.handle = psycopg.connect(self.dsn)
        return connection


@pytest.fixture(autouse=True)
def own_options() -> Iterator[None]:
    os.environ.pop("PGOPTIONS", None)
    yield
    assert "PGOPTIONS" not in os.environ


def recorder_of(manager: ManagerOf) -> AnchorRecorder:
    return AnchorRecorder("postgres", manager, Credentials(), SystemClock(), os.environ)


def test_tags_are_set_between_begin_and_end(on_postgres: Ledger) -> None:
    manager = ManagerOf(on_postgres.dsn)
    recorder = recorder_of(manager)
    recorder.begin(TAGS)
    assert os.environ["PGOPTIONS"] == "-c clyra.run_id=run-9 -c clyra.actor_id=ana -c clyra.tenant_id=north"
    anchor = recorder.end()
    assert (anchor.kind, anchor.reason, recorder.tagged_by) == ("postgres_wal", None, "options")
    assert manager.opened[0] != ""


def test_pooler_that_refuses_options_gets_none_and_the_anchor_is_there(on_postgres: Ledger) -> None:
    manager = ManagerOf(on_postgres.dsn, refuses_options=True)
    recorder = recorder_of(manager)
    recorder.begin(TAGS)
    assert "PGOPTIONS" not in os.environ
    assert recorder.end().kind == "postgres_wal"
    assert recorder.tagged_by == "none"
    assert manager.opened == ["", ""]


@pytest.mark.parametrize("opens", [0, 1], ids=["at_the_begin", "at_the_end"])
def test_server_that_is_away_makes_an_anchor_that_says_so(on_postgres: Ledger, opens: int) -> None:
    recorder = recorder_of(ManagerOf(on_postgres.dsn, opens=opens))
    recorder.begin(TAGS)
    anchor = recorder.end()
    assert (anchor.kind, anchor.reason) == ("none", "capture_failed")
    assert "hunter2" not in str(anchor.as_manifest())


def test_adapter_without_anchors_opens_nothing() -> None:
    manager = ManagerOf("", opens=0)
    recorder = AnchorRecorder("duckdb", manager, Credentials(), SystemClock(), os.environ)
    recorder.begin(TAGS)
    anchor = recorder.end()
    assert (anchor.kind, anchor.reason, manager.opened) == ("none", "not_supported", [])


def test_adapter_whose_package_is_not_installed_says_so() -> None:
    recorder = AnchorRecorder("snowflake", ManagerOf(""), Credentials(), SystemClock(), os.environ)
    recorder.begin(TAGS)
    anchor = recorder.end()
    assert (anchor.reason, anchor.value) == (
        "capture_failed",
        {"detail": "no installed package anchors snowflake"},
    )
