# SPDX-License-Identifier: Apache-2.0
"""The verb of a statement decides whether it counts as one that writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.dbt._verbs import body_of, verb_of
from clyra.spec import verb_writes


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("select 1", "select"),
        ("  \n SELECT 1", "select"),
        ("/* {} */ -- why\n create table x as (select 1)", "create"),
        ("(select 1) union (select 2)", "select"),
        ("with a as (select 1) select * from a", "select"),
        ("with recursive a(x) as (values (1)) insert into t select * from a", "insert"),
        ("with a as (select 1) (select * from a) union all (select 2)", "select"),
        ("with a as materialized (select 1) (delete from b)", "delete"),
        ("with a as (delete from b returning *) select * from a", "delete"),
        ("with a as (select ')' || \"(\" /* ( */ from t) update b set c = 1", "update"),
        ("with a as (select $q$ ) delete $q$) select 1", "select"),
        ("explain select 1", "explain"),
        ("explain analyze delete from t", "delete"),
        ("explain (analyze, buffers) with a as (select 1) update t set x = 1", "update"),
        ("explain analyze select 1", "select"),
        ("pragma table_info('t')", "pragma_read"),
        ("pragma memory_limit='1GB'", "pragma"),
        ("select ';' from t;", "select"),
        ("select 1; drop table t", "drop"),
        ("begin; truncate t; commit", "truncate"),
        ("begin delete from t; end;", "delete"),
        ("set x = 1; set y = 2;", "set"),
        ("select * into copied from t", "select_into"),
        ("select extract(day from (select 1 into_date))", "select"),
        ("select 'into' as word", "select"),
        ("vacuum", "vacuum"),
        ("", "unknown"),
        ("-- nothing", "unknown"),
        ("'a string'", "unknown"),
    ],
)
def test_verb_is_found(sql: str, verb: str) -> None:
    assert verb_of(sql) == verb


@given(st.text(max_size=80), st.sampled_from(["delete from t", "update t set x = 1", "insert into t values (1)"]))
def test_no_prefix_of_comments_and_reads_hides_a_write(text: str, write: str) -> None:
    comment = text.replace("*/", "").replace("/*", "")
    assert verb_writes(verb_of(f"/* {comment} */ {write}"))
    assert verb_writes(verb_of(f"select 1; /* {comment} */ {write}"))


@given(st.text(max_size=200))
def test_any_text_has_a_verb_that_the_schema_takes(text: str) -> None:
    verb = verb_of(text)
    assert verb[0].islower()
    assert len(verb) <= 64
    assert verb.replace("_", "a").isalnum()


COMMENT = '{"app": "dbt", "node_id": "model.x"}'


@pytest.mark.parametrize(
    ("sql", "comment"),
    [
        (f"/* {COMMENT} */\ncreate view v as (select 1)", COMMENT),
        (f"create view v as (select 1)\n/* {COMMENT} */", COMMENT),
        (f"create view v as (select 1)\n/* {COMMENT} */;", COMMENT),
        ("/* whoever wrote this */ create view v as (select 1)", None),
        ("create view v as (select 1)", ""),
    ],
    ids=["leading", "trailing", "trailing_semicolon", "unknown", "none"],
)
def test_body_is_the_statement_without_the_query_comment(sql: str, comment: str | None) -> None:
    assert body_of(sql, comment) == "create view v as (select 1)"


def test_body_keeps_comments_that_are_not_the_query_comment() -> None:
    assert body_of("/* mine */ select 1", COMMENT) == "/* mine */ select 1"
