# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM leave a sealed bundle and no query behind; SIGKILL leaves a journal that recovery seals."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from clyra.dbt.recovery import Recovered, recover
from clyra.evidence import EvidenceFolder

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

LOCK = 73_155
WAITING = f"select count(*) from pg_locks where locktype = 'advisory' and objid = {LOCK} and not granted"


@contextmanager
def run_that_waits(ledger: Ledger) -> Iterator[subprocess.Popen[str]]:
    """A run whose second model waits in the server for a lock that the test holds."""
    ledger.write("models/first.sql", "select 1 as id")
    ledger.write("models/waits.sql", f"select id, pg_advisory_lock({LOCK})::text as held from {{{{ ref('first') }}}}")
    with psycopg.connect(ledger.dsn, autocommit=True) as holder:
        holder.execute(f"select pg_advisory_lock({LOCK})")
        process = ledger.start("run", "--select", "first", "waits")
        while not holder.execute(WAITING).fetchall()[0][0]:
            assert process.poll() is None, process.communicate()
            # The server waits, so that the test need not.
            holder.execute("select pg_sleep(0.02)")
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def recovered(ledger: Ledger) -> list[Recovered]:
    return recover(EvidenceFolder.locate(ledger.path, {}), {"HOME": str(ledger.home)})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_interrupted_run_is_sealed_and_its_query_cancelled(on_postgres: Ledger, number: signal.Signals) -> None:
    with run_that_waits(on_postgres) as process:
        process.send_signal(number)
        finished = on_postgres.wait(process, code=2)
        assert on_postgres.execute(WAITING) == [(0,)]
    evidence = on_postgres.bundle()
    assert "clyra: evidence of this run is in" in finished.stdout
    assert evidence.run["status"] == "interrupted"
    assert evidence.statuses()["model.ledger.first"] == "success"
    assert evidence.statuses()["model.ledger.waits"] != "success"
    assert "run_interrupted" in [event["code"] for event in evidence.events("run.error")]
    assert evidence.events("run.closed")[0]["reason"] == "interrupted"
    assert on_postgres.verify(evidence).verdict == "valid"


def test_killed_run_is_recovered_from_its_journal(on_postgres: Ledger) -> None:
    with run_that_waits(on_postgres) as process:
        assert recovered(on_postgres) == [], "the journal of a run that goes on is left alone"
        process.kill()
        process.wait()
    assert on_postgres.bundles() == []
    (result,) = recovered(on_postgres)
    evidence = on_postgres.bundle()
    assert result.sealed is not None
    assert result.sealed.path == evidence.path
    assert (result.error, result.log_error) == (None, None)
    assert (evidence.run["capture"], evidence.run["status"]) == ("recovered", "interrupted")
    assert evidence.statuses() == {"model.ledger.first": "success"}
    assert len(evidence.events("statement")) >= 3
    assert on_postgres.verify(evidence).verdict in ("valid", "warning")
    assert on_postgres.verify(evidence).code is None
    assert recovered(on_postgres) == []


def test_run_after_a_killed_one_leaves_its_own_bundle(on_postgres: Ledger) -> None:
    with run_that_waits(on_postgres) as process:
        process.kill()
        process.wait()
    on_postgres.dbt("run", "--select", "first")
    assert [evidence.run["status"] for evidence in on_postgres.bundles()] == ["success"]
    assert len(on_postgres.journals()) == 1


HOST_WITH_HANDLER = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"host handled it\\n"))
from dbt.cli.main import dbtRunner
from dbt.adapters.factory import FACTORY
def on_event(message):
    if message.info.name == "ConcurrencyLine":
        os.kill(os.getpid(), signal.SIGTERM)
assert dbtRunner(callbacks=[on_event]).invoke(["--quiet", "seed"]).success
"""


def test_host_that_handles_sigterm_keeps_its_handler(on_duckdb: Ledger) -> None:
    finished = on_duckdb.python(HOST_WITH_HANDLER)
    assert finished.stdout == "host handled it\n"
    assert on_duckdb.bundle().run["status"] == "success"


@pytest.mark.kill100
def test_hundred_killed_runs_leave_evidence_each(on_postgres: Ledger, tmp_path: Path) -> None:
    for _ in range(100):
        with run_that_waits(on_postgres) as process:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    results = recovered(on_postgres)
    assert len(results) == len(on_postgres.bundles()) == 100
    assert all(on_postgres.verify(evidence).code is None for evidence in on_postgres.bundles())
