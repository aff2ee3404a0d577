# SPDX-License-Identifier: Apache-2.0
"""When recording fails, dbt's result stays what it was and somebody is told; with ``stop`` nothing runs unrecorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clyra.dbt.recovery import recover
from clyra.evidence import EvidenceFolder

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

STOP = {"CLYRA_ON_RECORDER_FAILURE": "stop"}


def block_folder(ledger: Ledger) -> None:
    """Make the evidence folder impossible for root too: a file has its place."""
    ledger.folder.write_text("not a folder")


def tables(ledger: Ledger) -> set[str]:
    found = ledger.execute("select table_name from information_schema.tables where table_schema = 'ledger'")
    return {name for (name,) in found}


def test_folder_that_cannot_be_written_is_told_once(on_duckdb: Ledger) -> None:
    block_folder(on_duckdb)
    finished = on_duckdb.dbt("build")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("clyra: the evidence folder")
    assert "[evidence_unavailable]" in line
    assert "Done. PASS=11" in finished.stdout
    assert "clyra: evidence of this run" not in finished.stdout


def test_stop_refuses_before_the_first_statement(on_postgres: Ledger) -> None:
    block_folder(on_postgres)
    finished = on_postgres.dbt("build", code=2, environment=STOP)
    assert "the run is refused before its first statement" in finished.stdout
    assert "[evidence_unavailable]" in finished.stdout
    assert tables(on_postgres) == set()


def test_stop_as_a_variable_refuses_a_run_operation(on_postgres: Ledger) -> None:
    block_folder(on_postgres)
    arguments = ("run-operation", "repaint", "--args", "{name: red}", "--vars", "{clyra_on_recorder_failure: stop}")
    finished = on_postgres.dbt(*arguments, code=1)
    assert "the run is refused before its first statement" in finished.stdout
    assert on_postgres.execute("select to_regclass('paint')") == [(None,)]


def test_stop_refuses_a_key_that_cannot_sign(on_duckdb: Ledger) -> None:
    on_duckdb.write("key.pem", "no key")
    finished = on_duckdb.dbt("seed", code=2, environment=STOP, CLYRA_SIGNING_KEY="key.pem")
    assert "[key_file_invalid]" in finished.stdout
    assert on_duckdb.bundles() == []


def test_stop_records_a_good_run_as_ever(on_duckdb: Ledger) -> None:
    on_duckdb.dbt("seed", environment=STOP)
    evidence = on_duckdb.bundle()
    assert evidence.run["status"] == "success"
    assert evidence.events("run.started")[0]["gates"]["run"] is True


def test_disk_that_fills_up_during_the_run(on_postgres: Ledger) -> None:
    on_postgres.dbt("seed", CLYRA_DISABLED="1")
    # The journal fits until the models run; dbt itself writes nothing larger with these flags.
    full = on_postgres.start("--no-write-json", "--log-level-file", "none", "run", largest_file=6_000)
    finished = on_postgres.wait(full, code=0)
    assert "Done. PASS=" in finished.stdout
    assert "clyra: cannot write" in finished.stderr.splitlines()[0]
    assert "[seal_failed]" in finished.stderr or "[evidence_unavailable]" in finished.stderr
    assert tables(on_postgres) >= {"ships", "heavy", "totals", "log"}
    assert on_postgres.bundles() == []
    (result,) = recover(EvidenceFolder.locate(on_postgres.path, {}), {"HOME": str(on_postgres.home)})
    assert result.error is None
    evidence = on_postgres.bundle()
    assert evidence.run["capture"] == "recovered"
    assert on_postgres.verify(evidence).code is None


def test_disk_that_fills_up_at_the_seal_with_stop(on_postgres: Ledger) -> None:
    on_postgres.dbt("seed", CLYRA_DISABLED="1")
    flags = ("--no-write-json", "--log-level-file", "none")
    finished = on_postgres.wait(on_postgres.start(*flags, "run", largest_file=6_000, environment=STOP), code=2)
    assert "its evidence is not sealed" in finished.stdout
    assert tables(on_postgres) >= {"ships", "heavy", "totals", "log"}


def test_damaged_log_is_told_and_the_run_recorded(on_duckdb: Ledger) -> None:
    on_duckdb.write(".clyra/log/checkpoint", "no checkpoint")
    finished = on_duckdb.dbt("seed")
    assert "[checkpoint_invalid]" in finished.stderr
    evidence = on_duckdb.bundle()
    assert evidence.run["status"] == "success"
    assert [(event["part"], event["code"]) for event in evidence.events("recorder.degraded")] == [
        ("log", "checkpoint_invalid")
    ]
    assert "[checkpoint_invalid]" in on_duckdb.dbt("seed", code=2, environment=STOP).stdout


def test_broken_installation_breaks_no_command(on_duckdb: Ledger) -> None:
    on_duckdb.write("shadow/sitecustomize.py", "import sys\nsys.modules['clyra.dbt.plugin'] = None\n")
    finished = on_duckdb.dbt("seed", PYTHONPATH=str(on_duckdb.path / "shadow"))
    (line,) = finished.stderr.splitlines()
    assert line.startswith("clyra: cannot be loaded (ModuleNotFoundError")
    assert on_duckdb.bundles() == []


def test_switched_off_plugin_says_so(on_duckdb: Ledger) -> None:
    finished = on_duckdb.dbt("seed", CLYRA_DISABLED="1")
    assert finished.stderr == "clyra: switched off by CLYRA_DISABLED; this run leaves no evidence\n"
    assert not on_duckdb.folder.exists()


def test_id_that_is_none_is_passed_over_and_recorded(on_duckdb: Ledger) -> None:
    finished = on_duckdb.dbt("seed", CLYRA_RUN_ID="no id; drop table")
    assert "CLYRA_RUN_ID is no id" in finished.stderr
    evidence = on_duckdb.bundle()
    (degraded,) = evidence.events("recorder.degraded")
    assert (degraded["code"], degraded["part"], degraded["count"]) == ("session_tag_invalid", "identity", 1)
    assert b"drop table" not in evidence.all_bytes


FAULTY = """
from clyra.dbt import _events
def broken(*_):
    raise RuntimeError("a bug of ours: row-value-9f3a")
_events.outcome_of = broken
from dbt.cli.main import dbtRunner
result = dbtRunner().invoke(["--quiet", "seed"])
assert result.success, result.exception
"""


def test_bug_of_ours_is_recorded_and_dbt_goes_on(on_duckdb: Ledger) -> None:
    finished = on_duckdb.python(FAULTY)
    assert finished.stderr == (
        "clyra: recording failed: RuntimeError [recorder_degraded]; the run goes on, its evidence is incomplete\n"
    )
    evidence = on_duckdb.bundle()
    (degraded,) = evidence.events("recorder.degraded")
    assert (degraded["code"], degraded["part"]) == ("recorder_degraded", "events")
    assert b"row-value" not in evidence.all_bytes
