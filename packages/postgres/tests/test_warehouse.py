# SPDX-License-Identifier: Apache-2.0
"""PostgresWarehouse against real servers: the contract, the write-ahead log, copies, restores and revoked functions."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from clyra.postgres import EmbeddedPostgres, PostgresWarehouse, Server, connect, find_binaries
from clyra.postgres._account import server_account
from clyra.spec.errors import FormatError
from clyra.testing.warehouse_contract import WarehouseContract
from clyra.warehouse import Anchor, AnchorVerdict, Query, SessionTags, no_anchor

NOW = datetime(2026, 3, 4, tzinfo=UTC)
WAREHOUSE = PostgresWarehouse()


@pytest.fixture(scope="module")
def foreign_server() -> Iterator[Server]:
    with EmbeddedPostgres(None, fast=True) as server:
        yield server


@pytest.fixture
def query(postgres_dsn: str) -> Iterator[Query]:
    with connect(postgres_dsn) as session:
        yield session


def superuser_of(server: Server) -> str:
    assert server.superuser_dsn is not None
    return server.superuser_dsn


class TestPostgresWarehouse(WarehouseContract):
    adapter_type: ClassVar[str] = "postgres"
    drivers: ClassVar[tuple[str, ...]] = ("psycopg", "psycopg2")

    @pytest.fixture
    def query(self, postgres_dsn: str) -> Iterator[Query]:
        with connect(postgres_dsn) as session:
            yield session

    @pytest.fixture
    def write(self, postgres_dsn: str) -> Iterator[Callable[[], None]]:
        with connect(postgres_dsn) as session:
            session("create table written (at timestamptz)")
            yield lambda: _ignore(session("insert into written values (now())"))

    @pytest.fixture
    def foreign_query(self, foreign_server: Server) -> Iterator[Query]:
        with connect(foreign_server.dsn) as session:
            yield session

    @pytest.fixture
    def open_session(
        self, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[Mapping[str, str]], AbstractContextManager[Query]]:
        @contextmanager
        def opened(environment: Mapping[str, str]) -> Iterator[Query]:
            with monkeypatch.context() as patched:
                patched.delenv("PGOPTIONS", raising=False)
                for name, value in environment.items():
                    patched.setenv(name, value)
                with connect(postgres_dsn) as session:
                    yield session

        return opened

    @pytest.fixture
    def read_tags(self) -> Callable[[Query], SessionTags]:
        return lambda session: SessionTags(
            *(str(session(f"show clyra.{name}")[0][0]) for name in ("run_id", "actor_id", "tenant_id"))
        )

    @pytest.fixture
    def own_environment(self) -> Mapping[str, str]:
        return {"PGOPTIONS": "-c work_mem=7MB -c DateStyle=SQL,\\ DMY"}

    @pytest.fixture
    def read_own(self) -> Callable[[Query], object]:
        return lambda session: (session("show work_mem"), session("show datestyle"))


def _ignore(rows: object) -> None:
    assert rows == []


def test_statements_name_the_run_in_the_activity_view(query: Query) -> None:
    for statement in WAREHOUSE.session_settings(SessionTags("run-1", "ci", "acme")).statements:
        query(statement)
    assert query("select application_name from pg_stat_activity where pid = pg_backend_pid()") == [("clyra:run-1",)]


def test_settings_hold_the_tags_and_nothing_else() -> None:
    settings = WAREHOUSE.session_settings(SessionTags("run-1", "ci@example", "acme:eu"))
    assert settings.merged({"PGOPTIONS": "-c a=b", "PGPASSWORD": "x"}) == {
        "PGOPTIONS": "-c a=b -c clyra.run_id=run-1 -c clyra.actor_id=ci@example -c clyra.tenant_id=acme:eu"
    }


def test_anchor_has_every_field_for_a_role_without_special_rights(query: Query) -> None:
    anchor = WAREHOUSE.end_anchor(query, WAREHOUSE.begin_anchor(query), NOW)
    assert set(anchor.value) == {
        "system_identifier",
        "timeline",
        "database_oid",
        "server_version_num",
        "before_lsn",
        "after_lsn",
        "before_snapshot",
        "after_snapshot",
    }
    assert anchor.object == query("select current_database()")[0][0]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_commit_lies_within_the_anchor(isolation: str, open_folder: Path) -> None:
    """The server's own tool, reading the log between both ends, finds the commit there and not outside."""
    binaries = find_binaries()
    waldump = binaries.folder / "pg_waldump"
    if not waldump.exists():
        pytest.skip("this installation has no pg_waldump")
    postgres = EmbeddedPostgres(open_folder / "kept", fast=True, settings={"synchronous_commit": "off"})
    with postgres as server, connect(server.dsn) as own, connect(server.dsn) as users:
        users("create table orders (id int)")
        users(f"begin isolation level {isolation}")
        users("insert into orders values (1)")
        (xid,) = users("select pg_current_xact_id()::text::bigint")[0]
        mark = WAREHOUSE.begin_anchor(own)
        users("commit")
        anchor = WAREHOUSE.end_anchor(own, mark, NOW)
        users("insert into orders values (2)")
        assert postgres.data_folder is not None
        data = postgres.data_folder
    range_of_anchor = ["-s", str(anchor.value["before_lsn"]), "-e", str(anchor.value["after_lsn"])]
    listed = subprocess.run(
        [waldump, "-p", data / "pg_wal", "-r", "Transaction", *range_of_anchor],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    commits = [line.split("tx:")[1].split(",")[0].strip() for line in listed.splitlines() if "COMMIT" in line]
    assert commits == [str(xid)]


def test_anchor_grows_with_a_committed_write(query: Query, postgres_dsn: str) -> None:
    mark = WAREHOUSE.begin_anchor(query)
    with connect(postgres_dsn) as other:
        other("create table orders as select generate_series(1, 1000) as id")
    value = WAREHOUSE.end_anchor(query, mark, NOW).value
    assert query(f"select '{value['after_lsn']}'::pg_lsn - '{value['before_lsn']}'::pg_lsn > 1000 * 24") == [(True,)]
    assert value["before_snapshot"] != value["after_snapshot"]


def test_transaction_that_runs_shows_in_the_snapshot(query: Query, postgres_dsn: str) -> None:
    with connect(postgres_dsn) as other:
        other("begin")
        (xid,) = other("select pg_current_xact_id()::text")[0]
        anchor = WAREHOUSE.end_anchor(query, WAREHOUSE.begin_anchor(query), NOW)
        other("rollback")
    assert str(anchor.value["after_snapshot"]).startswith(f"{xid}:")


def test_other_database_of_the_same_server_confirms(query: Query, postgres_server: Server) -> None:
    anchor = WAREHOUSE.end_anchor(query, WAREHOUSE.begin_anchor(query), NOW)
    with connect(postgres_server.dsn) as other:
        assert WAREHOUSE.verify_anchor(other, anchor).verdict is AnchorVerdict.CONFIRMED


def test_database_that_was_dropped_is_no_longer_checkable(postgres_server: Server) -> None:
    with connect(superuser_of(postgres_server)) as superuser:
        superuser("create database short_lived")
        with connect(superuser_of(postgres_server).rpartition("/")[0] + "/short_lived") as own:
            anchor = WAREHOUSE.end_anchor(own, WAREHOUSE.begin_anchor(own), NOW)
        superuser("drop database short_lived with (force)")
        check = WAREHOUSE.verify_anchor(superuser, anchor)
    assert check.verdict is AnchorVerdict.NO_LONGER_CHECKABLE
    assert [finding.check for finding in check.findings if finding.verdict != "confirmed"] == ["database_oid"]


def test_anchor_of_another_kind_is_refused(query: Query) -> None:
    with pytest.raises(FormatError, match="of kind none, not postgres_wal"):
        WAREHOUSE.verify_anchor(query, no_anchor("postgres", "capture_failed", NOW))


@pytest.fixture
def lesser(postgres_server: Server, postgres_dsn: str) -> Iterator[Callable[[str], Query]]:
    """Revokes a function in this test's own database, and connects as the role that can no longer call it."""
    database = postgres_dsn.rpartition("/")[2]
    with (
        connect(f"{superuser_of(postgres_server).rpartition('/')[0]}/{database}") as superuser,
        connect(postgres_dsn) as own,
    ):

        def revoke(function: str) -> Query:
            superuser(f"revoke execute on function {function} from public")
            return own

        yield revoke


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        ("pg_control_system()", "system_identifier"),
        ("pg_current_snapshot()", "snapshot"),
        ("pg_walfile_name(pg_lsn)", "timeline"),
    ],
)
def test_field_that_may_not_be_read_is_left_out_and_named(
    lesser: Callable[[str], Query], function: str, missing: str
) -> None:
    own = lesser(function)
    anchor = WAREHOUSE.end_anchor(own, WAREHOUSE.begin_anchor(own), NOW)
    assert anchor.kind == "postgres_wal"
    assert anchor.value["missing"] == missing
    assert not [name for name in anchor.value if name.endswith(missing)]
    assert WAREHOUSE.verify_anchor(own, anchor).verdict is AnchorVerdict.NO_LONGER_CHECKABLE


def test_without_an_lsn_there_is_no_anchor(lesser: Callable[[str], Query]) -> None:
    own = lesser("pg_current_wal_insert_lsn()")
    anchor = WAREHOUSE.end_anchor(own, WAREHOUSE.begin_anchor(own), NOW)
    assert (anchor.kind, anchor.reason) == ("none", "capture_failed")


def _copy(postgres: EmbeddedPostgres, original: Path, folder: Path, *signals: str) -> EmbeddedPostgres:
    """A copy of a stopped server's folder, as a backup taken then and restored elsewhere."""
    assert postgres.data_folder is not None
    shutil.copytree(original, folder, symlinks=True)
    for name in signals:
        (folder / "data" / name).touch()
    account = server_account()
    for path in [folder / "data", *(folder / "data").rglob("*")]:
        os.chown(path, account.uid, account.gid)
    os.chown(folder, -1, account.gid)
    # A server that is to be promoted takes connections only afterwards.
    hot = "on" if "standby.signal" in signals else "off"
    return EmbeddedPostgres(folder, fast=True, settings={"restore_command": "false", "hot_standby": hot})


@contextmanager
def _anchored(postgres: EmbeddedPostgres) -> Iterator[Anchor]:
    with postgres as server, connect(server.dsn) as own, connect(server.dsn) as users:
        mark = WAREHOUSE.begin_anchor(own)
        users("create table orders as select generate_series(1, 10) as id")
        yield WAREHOUSE.end_anchor(own, mark, NOW)


def _verdicts(server: Server, anchor: Anchor, *, as_superuser: bool = False) -> dict[str, str]:
    with connect(superuser_of(server) if as_superuser else server.dsn) as own:
        check = WAREHOUSE.verify_anchor(own, anchor)
    return {finding.check: str(finding.verdict) for finding in check.findings} | {"all": str(check.verdict)}


def test_copy_from_before_the_run_contradicts_the_anchor(open_folder: Path) -> None:
    postgres = EmbeddedPostgres(open_folder / "original", fast=True)
    with postgres:
        pass
    restored = _copy(postgres, open_folder / "original", open_folder / "restored")
    with _anchored(postgres) as anchor:
        pass
    with restored as server:
        verdicts = _verdicts(server, anchor)
    assert verdicts["system_identifier"] == "confirmed"
    assert verdicts["snapshot"] == "contradicted"
    assert verdicts["all"] == "contradicted"


def test_copy_from_before_the_run_contradicts_it_for_ever_once_promoted(open_folder: Path) -> None:
    postgres = EmbeddedPostgres(open_folder / "original", fast=True)
    with postgres:
        pass
    restored = _copy(postgres, open_folder / "original", open_folder / "restored", "recovery.signal")
    with _anchored(postgres) as anchor:
        pass
    with restored as server, connect(server.dsn) as users:
        for number in range(30):
            users(f"create table later_{number} as select generate_series(1, 1000) as id")
        verdicts = _verdicts(server, anchor, as_superuser=True)
    assert verdicts["snapshot"] == "confirmed"
    assert verdicts["lsn"] == "contradicted"


def test_promoted_copy_from_after_the_run_confirms_the_anchor(open_folder: Path) -> None:
    postgres = EmbeddedPostgres(open_folder / "original", fast=True)
    with _anchored(postgres) as anchor:
        pass
    promoted = _copy(postgres, open_folder / "original", open_folder / "promoted", "recovery.signal")
    with promoted as server:
        assert _verdicts(server, anchor, as_superuser=True)["all"] == "confirmed"
        ordinary = _verdicts(server, anchor)
    assert ordinary["lsn"] == ordinary["all"] == "no_longer_checkable"


def test_standby_is_read_by_what_it_has_replayed(open_folder: Path) -> None:
    postgres = EmbeddedPostgres(open_folder / "original", fast=True)
    with _anchored(postgres) as anchor:
        pass
    standby = _copy(postgres, open_folder / "original", open_folder / "standby", "standby.signal")
    with standby as server, connect(server.dsn) as own:
        assert own("select pg_is_in_recovery()") == [(True,)]
        point = WAREHOUSE.begin_anchor(own)
        assert {"lsn", "timeline", "system_identifier", "snapshot"} <= set(point)
        assert "missing" not in point
        assert WAREHOUSE.verify_anchor(own, anchor).verdict is AnchorVerdict.CONFIRMED
