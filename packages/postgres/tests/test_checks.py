# SPDX-License-Identifier: Apache-2.0
"""What doctor finds on a real server, and that the fix it prints works."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import pytest

from clyra.policy.health import Check, CheckContext, Target
from clyra.postgres import Server, connect
from clyra.postgres._checks import check_server, checks, judge_version
from clyra.postgres.binaries import iter_binaries


def found(dsn: str, server: Server) -> dict[str, Check]:
    address = {"host": server.host, "port": str(server.port), "dbname": server.dbname}
    with connect(dsn) as query:
        return {check.id.removeprefix("warehouse.postgres."): check for check in check_server(query, address)}


def psql() -> str:
    on_path = shutil.which("psql")
    places = [on_path] if on_path else [str(each.folder / "psql") for each in iter_binaries()]
    usable = [place for place in places if os.access(place, os.X_OK)]
    if not usable:
        pytest.skip("there is no psql on this machine")
    return usable[0]


def test_a_plain_role_on_a_plain_server_is_well(postgres_server: Server) -> None:
    checks = found(postgres_server.dsn, postgres_server)
    assert {name: check.status for name, check in checks.items()} == {
        "version": "ok",
        "wal_level": "ok",
        "log_parameters": "warn",
        "role": "ok",
        "guard": "skip",
    }


def test_a_superuser_cannot_be_held(postgres_server: Server) -> None:
    assert postgres_server.superuser_dsn is not None
    assert found(postgres_server.superuser_dsn, postgres_server)["role"].status == "warn"


def test_the_guard_is_seen_once_it_is_there(postgres_server: Server) -> None:
    assert postgres_server.superuser_dsn is not None
    with connect(postgres_server.superuser_dsn) as superuser:
        superuser("create schema clyra_guard")
        try:
            assert found(postgres_server.dsn, postgres_server)["guard"].status == "ok"
        finally:
            superuser("drop schema clyra_guard")


def test_values_that_would_be_logged_are_told_and_the_fix_works(postgres_server: Server) -> None:
    check = found(postgres_server.dsn, postgres_server)["log_parameters"]
    assert check.fix is not None
    assert postgres_server.superuser_dsn is not None
    assert postgres_server.password not in check.fix
    superuser = urlsplit(postgres_server.superuser_dsn)
    own = {"PGUSER": unquote(superuser.username or ""), "PGPASSWORD": unquote(superuser.password or "")}
    script = check.fix.replace("psql", shlex.quote(psql()), 1)
    subprocess.run(["sh", "-c", script], env={**os.environ, **own}, check=True, capture_output=True)
    try:
        assert found(postgres_server.dsn, postgres_server)["log_parameters"].status == "ok"
    finally:
        with connect(postgres_server.superuser_dsn) as query:
            query("alter system reset log_parameter_max_length")
            query("select pg_reload_conf()")


@pytest.mark.parametrize(
    ("number", "status"),
    [(120_019, "fail"), (130_014, "warn"), (140_011, "warn"), (150_018, "ok"), (180_004, "ok"), (190_000, "warn")],
)
def test_versions_are_judged(number: int, status: str) -> None:
    assert judge_version(number).status == status


def context(target: Target | None, *asked: str) -> CheckContext:
    return CheckContext(None, {}, datetime(2026, 1, 31, tzinfo=UTC), frozenset(asked), lambda: target)


@contextmanager
def _never() -> Iterator[None]:
    raise AssertionError("nobody asked to connect")
    yield


@pytest.mark.parametrize("asked", [(), ("keys",), ("warehouse.snowflake",)])
def test_nothing_is_connected_to_unless_asked(asked: tuple[str, ...]) -> None:
    target = Target("prod", "postgres", {}, _never)  # type: ignore[arg-type]  # it is never entered
    assert list(checks(context(target, *asked))) == []


@pytest.mark.parametrize("adapter", ["duckdb", "snowflake"])
def test_another_warehouse_is_left_to_its_own_package(adapter: str) -> None:
    target = Target("prod", adapter, {}, _never)  # type: ignore[arg-type]  # it is never entered
    assert list(checks(context(target, "warehouse"))) == []


def test_a_target_that_answers_is_looked_at(postgres_server: Server) -> None:
    target = Target("prod", "postgres", {}, lambda: connect(postgres_server.dsn))
    ids = [check.id for check in checks(context(target, "warehouse.postgres"))]
    assert ids[0] == "warehouse.postgres.connect"
    assert len(ids) == 6
