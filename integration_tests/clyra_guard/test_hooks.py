# SPDX-License-Identifier: Apache-2.0
"""The package brings its own on-run hooks: one digest line per command that runs something, none otherwise."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration_tests.clyra_guard.conftest import Guarded

DIGEST_LINE = re.compile(r"clyra_guard: (\{.*\})")


def _lines(printed: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in DIGEST_LINE.findall(printed)]


def _digest(results: list[dict[str, Any]]) -> str:
    lines = sorted(
        json.dumps([result["unique_id"], result["status"], result["adapter_response"].get("rows_affected")])
        for result in results
        if not result["unique_id"].startswith("operation.")
    )
    return "md5:" + hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def test_digest_line_can_be_computed_from_run_results(project: Guarded) -> None:
    tags = {"CLYRA_RUN_ID": "run-7", "CLYRA_ACTOR_ID": "ana", "CLYRA_TENANT_ID": "north"}
    (line,) = _lines(project.dbt("build", **tags))
    invocation_id = line.pop("invocation_id")
    assert line == {
        "command": "build",
        "run_id": "run-7",
        "actor_id": "ana",
        "tenant_id": "north",
        "results": 6,
        "statuses": {"success": 5, "pass": 1},
        "digest": _digest(project.results()),
    }
    artifact = json.loads((project.path / "target" / "run_results.json").read_text())
    assert artifact["metadata"]["invocation_id"] == invocation_id


def test_every_command_that_runs_something_logs_one_line(duckdb_project: Guarded) -> None:
    commands = ["seed", "run", "test", "source freshness"]
    lines = {command: _lines(duckdb_project.dbt(*command.split())) for command in commands}
    assert {command: len(found) for command, found in lines.items()} == dict.fromkeys(commands, 1)
    assert lines["source freshness"][0]["statuses"] == {"pass": 1}


def test_failed_run_and_its_retry_log_one_line_each(duckdb_project: Guarded) -> None:
    duckdb_project.dbt("seed")
    code, printed = duckdb_project.dbt_code("run", GUARDED_FAILS="1")
    (failed,) = _lines(printed)
    assert code == 1
    (retried,) = _lines(duckdb_project.dbt("retry"))
    assert failed["statuses"] == {"success": 3, "error": 1}
    assert retried["statuses"] == {"success": 1}
    assert failed["digest"] != retried["digest"]


def test_command_that_runs_nothing_logs_no_line(duckdb_project: Guarded) -> None:
    commands = ["compile", "docs generate", "ls"]
    assert [_lines(duckdb_project.dbt(*command.split())) for command in commands] == [[], [], []]


def test_equal_runs_have_equal_digests(duckdb_project: Guarded) -> None:
    (first,), (second,) = _lines(duckdb_project.dbt("build")), _lines(duckdb_project.dbt("build"))
    assert first["invocation_id"] != second["invocation_id"]
    assert first["digest"] == second["digest"]


def test_hooks_come_with_the_package_and_need_no_line_of_the_project(duckdb_project: Guarded) -> None:
    (duckdb_project.path / "dbt_project.yml").write_text("name: guarded\nprofile: guarded\n")
    printed = duckdb_project.dbt("run", "--select", "sometimes", CLYRA_RUN_ID="run-7")
    assert [line["run_id"] for line in _lines(printed)] == ["run-7"]
    assert printed.count("OK hook: clyra_guard.on-run-start.0") == 1
    assert printed.count("OK hook: clyra_guard.on-run-end.0") == 1
