# SPDX-License-Identifier: Apache-2.0
"""Clyra's own connection: autocommit, and errors that say what to do without repeating the DSN."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clyra.postgres import Server, connect
from clyra.spec.errors import UnavailableError


@pytest.fixture(params=["psycopg", "psycopg2"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each driver in turn, the other one as if it were not installed."""
    name = str(request.param)
    pytest.importorskip(name)
    other = {"psycopg": "psycopg2", "psycopg2": "psycopg"}[name]
    monkeypatch.setitem(sys.modules, other, None)
    return name


@pytest.mark.usefixtures("driver")
def test_rows_come_back_and_changes_stay(postgres_dsn: str) -> None:
    with connect(postgres_dsn) as query:
        assert list(query("create table orders (id int, note text)")) == []
        query("insert into orders values (1, '100%'), (2, null)")
        with connect(postgres_dsn) as other:
            assert other("select id, note from orders order by id") == [(1, "100%"), (2, None)]


@pytest.mark.usefixtures("driver")
def test_connection_goes_on_after_a_statement_that_failed(postgres_dsn: str) -> None:
    with connect(postgres_dsn) as query:
        with pytest.raises(UnavailableError, match="failed with SQLSTATE 42P01") as refusal:
            query("select secret_value from secret_table")
        assert "secret" not in refusal.value.message
        assert query("select 1") == [(1,)]


@pytest.mark.usefixtures("driver")
def test_connection_says_where_it_leads(postgres_server: Server) -> None:
    with connect(postgres_server.dsn) as query:
        info = query.info
    assert (info.host, info.port, info.dbname, info.user) == ("127.0.0.1", postgres_server.port, "clyra", "clyra")
    assert info.password == postgres_server.password
    assert postgres_server.password not in repr(info)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        pytest.param(lambda dsn: dsn.rpartition("/")[0] + "/absent", "database does not exist", id="database"),
        pytest.param(lambda dsn: dsn.replace("//clyra:", "//absent:"), "password or the role is wrong", id="role"),
        pytest.param(lambda dsn: dsn.replace("//clyra:", "//clyra:x"), "password or the role is wrong", id="password"),
        pytest.param(
            lambda dsn: "postgresql://clyra@127.0.0.1:1/clyra", "nothing listens at that host and port", id="port"
        ),
        pytest.param(lambda dsn: "postgresql://clyra:pass@word@127.0.0.1/clyra", "host is unknown", id="host"),
        pytest.param(lambda dsn: dsn + "?sslmode=require", "disagree about SSL", id="ssl"),
        pytest.param(lambda dsn: "password word", "not understood", id="no DSN"),
        pytest.param(lambda dsn: "postgresql://clyra:word@127.0.0.1:port/clyra", "not understood", id="no port"),
    ],
)
def test_wrong_dsn_is_told_without_repeating_it(postgres_server: Server, change: object, cause: str) -> None:
    assert callable(change)
    with pytest.raises(UnavailableError, match=f"{cause}; check host, port, database, role and password") as refusal:
        connect(change(postgres_server.dsn)).__enter__()
    assert refusal.value.code == "server_unavailable"
    assert "word@" not in refusal.value.message
    assert postgres_server.password not in refusal.value.message


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match=r"pip install .clyra-postgres\[psycopg\]") as refusal:
        connect("postgresql:///").__enter__()
    assert refusal.value.code == "extra_missing"


def test_import_loads_neither_a_driver_nor_the_embedded_server() -> None:
    code = "import sys, clyra.postgres; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "clyra.postgres.warehouse" in loaded
    assert not {"psycopg", "psycopg2", "clyra.postgres.embedded", "clyra.postgres.connection"} & set(loaded)


def test_every_public_name_can_be_imported() -> None:
    import clyra.postgres

    for name in clyra.postgres.__all__:
        assert getattr(clyra.postgres, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = clyra.postgres.absent
