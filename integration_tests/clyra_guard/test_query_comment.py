# SPDX-License-Identifier: Apache-2.0
"""Every statement carries a comment that says which run, invocation, actor, tenant and node sent it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration_tests.clyra_guard.conftest import Guarded

    from clyra.postgres import Server

COMMENT = re.compile(r"/\* (\{.*?\}) \*/")


def _comments(text: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in COMMENT.findall(text)]


def test_server_log_names_the_node_of_every_statement(postgres_project: Guarded, postgres_server: Server) -> None:
    assert postgres_server.log_path is not None
    offset = postgres_server.log_path.stat().st_size
    postgres_project.dbt("build", CLYRA_RUN_ID="run-7", CLYRA_ACTOR_ID="ana", CLYRA_TENANT_ID="north")
    with postgres_server.log_path.open() as log:
        log.seek(offset)
        logged = log.read()
    metadata = json.loads((postgres_project.path / "target" / "run_results.json").read_text())["metadata"]
    node = {
        "clyra_run": "run-7",
        "invocation": metadata["invocation_id"],
        "actor": "ana",
        "tenant": "north",
        "node": "model.guarded.berths_a",
    }
    create = re.search(r"statement: (/\* \{[^\n]*\} \*/)\s+create  table \"\w+\".\"guarded\".\"berths_a", logged)
    assert create
    assert _comments(create[1]) == [node]
    nodes = {str(comment["node"]) for comment in _comments(logged)}
    assert {"None", "model.guarded.berths_b", "seed.guarded.berths"} <= nodes
    assert any(node.startswith("test.guarded.unique_session_tags_run_id.") for node in nodes)


def test_comment_is_sent_on_duckdb_as_well(duckdb_project: Guarded) -> None:
    duckdb_project.dbt("run", "--select", "session_tags", CLYRA_RUN_ID="run-7")
    comments = _comments((duckdb_project.path / "logs" / "dbt.log").read_text())
    assert {comment["clyra_run"] for comment in comments} == {"run-7"}
    assert "model.guarded.session_tags" in {comment["node"] for comment in comments}


def test_value_that_is_no_tag_is_null_in_the_comment(duckdb_project: Guarded) -> None:
    duckdb_project.dbt("show", "--inline", "select 1 as n", CLYRA_ACTOR_ID="*/ drop table berths /*")
    log = (duckdb_project.path / "logs" / "dbt.log").read_text()
    assert {comment["actor"] for comment in _comments(log)} == {None}
    assert "drop table berths" not in log
