# SPDX-License-Identifier: Apache-2.0
"""Each adapter gets its own body. Snowflake and Databricks are stand-ins here: what a live account does with these
statements is not shown by these tests."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.clyra_guard.conftest import Guarded

TAGS = {"CLYRA_RUN_ID": "a--b", "CLYRA_ACTOR_ID": "ana", "CLYRA_TENANT_ID": "north"}
CLYRA_MEMBER = {"run": "a--b", "actor": "ana", "tenant": "north"}


def _without_comment(sql: str) -> str:
    return re.sub(r"^/\*.*?\*/", "", sql).strip()


def _query_tags(sent: list[str]) -> set[str]:
    texts = (_without_comment(sql) for sql in sent if "alter session" in sql)
    literals = (re.fullmatch(r"alter session set query_tag = '(.*)'", text) for text in texts)
    return {literal[1].replace("''", "'").replace("\\\\", "\\") for literal in literals if literal}


@pytest.mark.parametrize("stand_in", ["snowflake"], indirect=True)
def test_snowflake_keeps_the_query_tag_it_finds(stand_in: Guarded) -> None:
    existing = {"team": 'o\'neil \\ "x"'}
    stand_in.dbt("run", "--select", "session_tags", GUARDED_QUERY_TAG=json.dumps(existing), **TAGS)
    (tag,) = _query_tags(stand_in.sent())
    assert json.loads(tag) == {**existing, "clyra": CLYRA_MEMBER}


@pytest.mark.parametrize("stand_in", ["snowflake"], indirect=True)
def test_snowflake_tags_the_session_before_the_model_is_created(stand_in: Guarded) -> None:
    stand_in.dbt("run", "--select", "session_tags", **TAGS)
    of_node = [_without_comment(sql) for sql in stand_in.sent() if '"node": "model.guarded.session_tags"' in sql]
    verbs = [sql.split()[0] for sql in of_node]
    assert verbs.index("show") < verbs.index("alter") < verbs.index("create")


@pytest.mark.parametrize("stand_in", ["snowflake"], indirect=True)
def test_snowflake_refuses_to_cut_a_query_tag(stand_in: Guarded) -> None:
    code, printed = stand_in.dbt_code("run", "--select", "session_tags", GUARDED_QUERY_TAG="t" * 1990, **TAGS)
    assert code == 2
    assert "clyra_guard: query_tag refused: found 1990 characters" in printed
    assert "expected at most 2000; shorten query_tag" in printed


def test_query_tag_of_any_form_is_kept_and_merging_again_changes_nothing(duckdb_project: Guarded) -> None:
    kept: dict[str, dict[str, object]] = {
        "": {},
        '{"team": "north", "clyra": {"run": "older"}}': {"team": "north"},
        "nightly 'eu'": {"query_tag": "nightly 'eu'"},
        "[1, 2]": {"query_tag": "[1, 2]"},
        "null": {"query_tag": "null"},
        "{broken": {"query_tag": "{broken"},
    }
    arguments = json.dumps({"texts": list(kept)})
    printed = duckdb_project.dbt("run-operation", "print_merged_query_tags", "--args", arguments)
    merged = [json.loads(found) for found in re.findall(r"merged:(.*)", printed)]
    ours = {"clyra": {"run": "r-1", "actor": "ana", "tenant": "north"}}
    assert [json.loads(once) for once, _ in merged] == [{**members, **ours} for members in kept.values()]
    assert [once for once, _ in merged] == [twice for _, twice in merged]


@pytest.mark.parametrize("stand_in", ["databricks"], indirect=True)
def test_databricks_gets_one_quoted_setting_per_statement(stand_in: Guarded) -> None:
    stand_in.dbt("run", "--select", "session_tags", **TAGS)
    of_node = [_without_comment(sql) for sql in stand_in.sent() if '"node": "model.guarded.session_tags"' in sql]
    assert [sql for sql in of_node if sql.startswith("set ")] == [
        "set `clyra.actor_id` = `ana`",
        "set `clyra.tenant_id` = `north`",
        "set `clyra.run_id` = `a--b`",
    ]


def test_adapter_without_session_settings_gets_no_statement(duckdb_project: Guarded) -> None:
    printed = duckdb_project.dbt("run-operation", "print_default_session")
    assert "default:[]" in printed
