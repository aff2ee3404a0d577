# SPDX-License-Identifier: Apache-2.0
"""Every session a model runs in carries run_id, actor_id and tenant_id, or dbt refuses before the first node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.clyra_guard.conftest import Guarded

TAGS = {"CLYRA_RUN_ID": "0199a3c2-run", "CLYRA_ACTOR_ID": "ana@harbor.example", "CLYRA_TENANT_ID": "north:quay_2"}
READ_TAGS = "select run_id, actor_id, tenant_id from session_tags"


def test_environment_sets_the_tags_of_every_session(project: Guarded) -> None:
    project.dbt("build", **TAGS)
    assert project.query(READ_TAGS) == [("0199a3c2-run", "ana@harbor.example", "north:quay_2")]
    threads = project.query("select run_id from berths_a union select run_id from berths_b")
    assert threads == [("0199a3c2-run",)]


def test_hooks_of_the_project_find_their_connection_tagged(project: Guarded) -> None:
    project.dbt("run", "--select", "sometimes", **TAGS)
    assert project.query("select run_id from hook_sessions") == [("0199a3c2-run",)]


def test_application_name_starts_with_the_run_id(postgres_project: Guarded) -> None:
    model = "select current_setting('application_name') as application_name"
    (postgres_project.path / "models" / "named.sql").write_text("{{ config(materialized='table') }} " + model)
    postgres_project.dbt("run", "--select", "named", CLYRA_RUN_ID="r" * 128)
    assert postgres_project.query("select application_name from named") == [("clyra:" + "r" * 57,)]


def test_vars_set_the_tags_where_the_environment_does_not(duckdb_project: Guarded) -> None:
    given = {"clyra_run_id": 42, "clyra_actor_id": "from-var", "clyra_tenant_id": "from-var"}
    duckdb_project.dbt("run", "--select", "session_tags", "--vars", json.dumps(given), CLYRA_ACTOR_ID="from-env")
    assert duckdb_project.query(READ_TAGS) == [("42", "from-env", "from-var")]


def test_vars_of_the_project_file_count_too(duckdb_project: Guarded) -> None:
    with (duckdb_project.path / "dbt_project.yml").open("a") as file:
        file.write("vars: {clyra_tenant_id: everywhere, clyra_guard: {clyra_actor_id: package-only}}\n")
    printed = duckdb_project.dbt("run", "--select", "session_tags")
    ((_, _, tenant_id),) = duckdb_project.query(READ_TAGS)
    assert tenant_id == "everywhere"
    assert '"tenant_id": "everywhere"' in printed


def test_unset_or_empty_tags_fall_back_to_what_dbt_knows(project: Guarded) -> None:
    project.dbt("run", "--select", "session_tags", CLYRA_RUN_ID="", CLYRA_ACTOR_ID="", CLYRA_TENANT_ID="")
    invocation_id = json.loads((project.path / "target" / "run_results.json").read_text())["metadata"]["invocation_id"]
    actor_id = project.environment.get("PGUSER", "unknown")
    assert project.query(READ_TAGS) == [(invocation_id, actor_id, "default")]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param("hunter2'; drop table berths; --é", "32 characters with white space, quotes, char", id="kinds"),
        pytest.param("hunter2" * 19, "133 characters, expected 1 to 128 of", id="too-long"),
    ],
)
def test_refuse_a_wrong_tag_before_the_first_node_without_showing_it(
    duckdb_project: Guarded, value: str, kind: str
) -> None:
    code, printed = duckdb_project.dbt_code("build", CLYRA_TENANT_ID=value)
    assert code == 2
    assert f"clyra_guard: tenant_id refused: found {kind}" in printed
    assert "set CLYRA_TENANT_ID or the var clyra_tenant_id" in printed
    assert duckdb_project.query("select table_name from information_schema.tables where table_schema = 'main'") == []
    files = [path for path in duckdb_project.path.rglob("*") if path.is_file()]
    assert "hunter2" not in printed
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


def test_tag_is_one_to_128_of_a_closed_alphabet(duckdb_project: Guarded) -> None:
    good = ["x", "A" * 128, "a.b_c-d:e@f", "0199a3c2-7d1e-7000-8000-000000000001"]
    bad = [
        "",
        "A" * 129,
        "a b",
        "a,b",
        "a\n",
        "\na",
        "a'",
        'a"',
        "a`",
        "a;",
        "a\\",
        "a/",
        "a*",
        "é",
        "٣",
        "ａ",
        "a\u0000",
    ]
    arguments = json.dumps({"values": good + bad})
    printed = duckdb_project.dbt("run-operation", "print_tag_judgements", "--args", arguments)
    judged = [json.loads(line.partition("judged:")[2]) for line in printed.splitlines() if "judged:" in line]
    assert judged == [[value, True] for value in good] + [[value, False] for value in bad]


@pytest.mark.parametrize("command", ["compile", "docs generate"])
def test_commands_that_run_nothing_do_not_judge_tags(duckdb_project: Guarded, command: str) -> None:
    duckdb_project.dbt(*command.split(), CLYRA_TENANT_ID="not a tag")


def test_new_run_id_leaves_nothing_to_parse_again(duckdb_project: Guarded) -> None:
    duckdb_project.dbt("run", "--select", "sometimes", CLYRA_RUN_ID="first")
    duckdb_project.dbt("run", "--select", "sometimes", CLYRA_RUN_ID="second")
    log = (duckdb_project.path / "logs" / "dbt.log").read_text()
    assert log.count("Partial parsing enabled, no changes found, skipping parsing") == 2
