# SPDX-License-Identifier: Apache-2.0
"""A trace of dbt's gives statements as digests, and how nodes ended; other lines are passed over."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.dbt._otel import Trace, read_trace
from clyra.spec import FormatError, verb_writes

Spans = list[dict[str, Any]]

INVOCATION = "019abf1c-70ba-7a80-8f0b-cf72dacda1e6"
OTHER = "11111111-2222-3333-4444-555555555555"
LITERAL = "geheim-4711"


def write(folder: Path, spans: Spans) -> Path:
    path = folder / "otel.jsonl"
    path.write_bytes(b"".join(json.dumps(span).encode() + b"\n" for span in spans))
    return path


def read(folder: Path, spans: Spans) -> Trace:
    return read_trace(write(folder, spans), INVOCATION)


def query(spans: Spans) -> dict[str, Any]:
    return next(span for span in spans if span["record_type"] == "SpanEnd" and "Query" in span["event_type"])


def test_statements_come_in_the_order_of_their_ends(tmp_path: Path, trace: Spans) -> None:
    statements = read(tmp_path, trace).statements
    assert [each.members["verb"] for each in statements] == ["create", "select", "drop", "delete"]
    assert [each.members["status"] for each in statements] == ["success", "success", "error", "unknown"]
    assert [each.at_us for each in statements] == sorted(each.at_us for each in statements)
    created = statements[0].members
    assert (created["unique_id"], created["query_id"], created["elapsed_us"]) == ("model.shop.b", "01b2-0003", 250_000)
    assert created["sent_sha256"] == sha256(f"create table b as select '{LITERAL}' as x".encode()).hexdigest()


def test_a_body_is_the_statement_without_its_comment(tmp_path: Path, trace: Spans) -> None:
    commented = read(tmp_path, trace).statements[1].members
    assert commented["body_sha256"] == sha256(b"select 1").hexdigest()
    assert commented["sent_sha256"] != commented["body_sha256"]


def test_a_statement_that_began_and_has_no_end_was_sent_all_the_same(tmp_path: Path, trace: Spans) -> None:
    unfinished = read(tmp_path, trace).statements[-1].members
    assert (unfinished["verb"], unfinished["status"], unfinished["elapsed_us"]) == ("delete", "unknown", None)


@pytest.mark.parametrize("outcome", ["QUERY_OUTCOME_CANCELED", "QUERY_OUTCOME_UNSPECIFIED", "new", None])
def test_an_outcome_that_says_nothing_is_unknown(tmp_path: Path, trace: Spans, outcome: str | None) -> None:
    query(trace)["attributes"]["query_outcome"] = outcome
    assert read(tmp_path, trace).statements[0].members["status"] == "unknown"


def test_data_that_is_loaded_without_sql_counts_as_written(tmp_path: Path, trace: Spans) -> None:
    empty = {"sql_hash": "af1349b9f5f9a1a6a0404dea36dcc949", "query_description": "load_dataframe"}
    query(trace)["attributes"] = empty
    loaded = read(tmp_path, trace).statements[0].members
    assert (loaded["verb"], loaded["sent_sha256"]) == ("load_dataframe", sha256(b"").hexdigest())
    assert verb_writes(str(loaded["verb"]))


def test_a_text_that_somebody_removed_is_not_taken_for_an_empty_one(tmp_path: Path, trace: Spans) -> None:
    query(trace)["attributes"] = {"sql_hash": "ab" * 16}
    with pytest.raises(FormatError, match="the statement's text"):
        read(tmp_path, trace)


def test_of_the_text_nothing_is_kept(tmp_path: Path, trace: Spans) -> None:
    assert LITERAL not in repr(read(tmp_path, trace))


def test_nodes_say_how_they_ended(tmp_path: Path, trace: Spans) -> None:
    found = read(tmp_path, trace)
    assert {each.outcome.unique_id: each.outcome.status for each in found.nodes} == {
        "model.shop.b": "success",
        "test.shop.unique_b_id.1f": "fail",
    }
    assert found.has_failed


@pytest.mark.parametrize(
    ("unique_id", "attributes", "status"),
    [
        ("model.shop.a", {"node_outcome": "NODE_OUTCOME_ERROR"}, "error"),
        ("model.shop.a", {"node_outcome": "NODE_OUTCOME_CANCELED"}, "interrupted"),
        ("model.shop.a", {"node_outcome": "NODE_OUTCOME_SKIPPED"}, "skipped"),
        (
            "model.shop.a",
            {"node_outcome": "NODE_OUTCOME_SKIPPED", "node_skip_reason": "NODE_SKIP_REASON_UPSTREAM"},
            "skipped",
        ),
        ("model.shop.a", {"node_outcome": "NODE_OUTCOME_SKIPPED", "node_skip_reason": "CACHED"}, "no-op"),
        ("model.shop.a", {"node_outcome": "NODE_OUTCOME_LATER"}, "unknown"),
        ("test.shop.t.1", {"node_outcome": "NODE_OUTCOME_SUCCESS"}, "pass"),
        (
            "test.shop.t.1",
            {"node_outcome": "NODE_OUTCOME_SUCCESS", "node_test_detail": {"test_outcome": "TEST_OUTCOME_WARNED"}},
            "warn",
        ),
        ("unit_test.shop.m.t", {"node_outcome": "NODE_OUTCOME_ERROR"}, "error"),
    ],
)
def test_each_outcome_has_its_word(
    tmp_path: Path, trace: Spans, unique_id: str, attributes: dict[str, Any], status: str
) -> None:
    node = next(span for span in trace if span["event_type"].endswith("NodeProcessed"))
    node["attributes"] = {"unique_id": unique_id, "in_selection": True, **attributes}
    assert read(tmp_path, trace).nodes[0].outcome.status == status


def test_nodes_that_were_not_selected_are_passed_over(tmp_path: Path, trace: Spans) -> None:
    for span in trace:
        if span["event_type"].endswith("NodeProcessed"):
            span["attributes"]["in_selection"] = False
    assert read(tmp_path, trace).nodes == ()


def test_other_invocations_in_the_file_are_passed_over(tmp_path: Path, trace: Spans) -> None:
    others = [{**span, "trace_id": OTHER.replace("-", "")} for span in trace]
    assert read(tmp_path, [*others, *trace, *others]).statements == read(tmp_path, trace).statements


def test_a_file_without_this_invocation_is_stale(tmp_path: Path, trace: Spans) -> None:
    path = write(tmp_path, trace)
    with pytest.raises(FormatError) as caught:
        read_trace(path, OTHER)
    assert caught.value.code == "artifact_stale"


def test_the_digest_is_that_of_the_whole_file(tmp_path: Path, trace: Spans) -> None:
    path = write(tmp_path, trace)
    assert read_trace(path, INVOCATION).sha256 == sha256(path.read_bytes()).hexdigest()


def test_a_line_that_was_cut_off_is_named(tmp_path: Path, trace: Spans) -> None:
    path = write(tmp_path, trace)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match=rf"line {len(trace)} of otel\.jsonl"):
        read_trace(path, INVOCATION)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="--otel"):
        read_trace(tmp_path / "none.jsonl", INVOCATION)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"end_time_unix_nano": None}, "/end_time_unix_nano"),
        ({"end_time_unix_nano": "9" * 5000}, "/end_time_unix_nano"),
        ({"end_time_unix_nano": "9" * 19}, "/end_time_unix_nano"),
        ({"end_time_unix_nano": "٣٣"}, "/end_time_unix_nano"),
        ({"start_time_unix_nano": -1}, "/start_time_unix_nano"),
        ({"start_time_unix_nano": 1.5}, "/start_time_unix_nano"),
        ({"start_time_unix_nano": float("nan")}, "/start_time_unix_nano"),
        ({"start_time_unix_nano": True}, "/start_time_unix_nano"),
        ({"attributes": None}, "/attributes/sql"),
        ({"attributes": []}, "/attributes"),
        ({"attributes": {"sql": 5}}, "/attributes/sql"),
        ({"attributes": {"sql": "select 1", "query_id": {}}}, "/attributes/query_id"),
        ({"attributes": {"sql": "select 1", "query_outcome": [1]}}, "/attributes/query_outcome"),
        ({"span_id": None}, "/span_id"),
        ({"event_type": 7}, "/event_type"),
    ],
)
def test_a_span_that_lacks_what_it_should_say_is_refused(
    tmp_path: Path, trace: Spans, change: dict[str, Any], pointer: str
) -> None:
    query(trace).update(change)
    with pytest.raises(FormatError, match="line 3") as caught:
        read(tmp_path, trace)
    assert caught.value.pointer == pointer


def test_absurd_texts_are_stored_as_digests_and_short_words(tmp_path: Path, trace: Spans) -> None:
    attributes = query(trace)["attributes"]
    attributes.update(sql="\ud800" + "x" * 300_000, unique_id="model.a\x00\nb", query_id="\x1b[2J")
    members = read(tmp_path, trace).statements[0].members
    assert (members["unique_id"], members["query_id"]) == ("model.a  b", " [2J")
    assert len(str(members["verb"])) <= 64
    assert len(str(members["sent_sha256"])) == 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_value_in_any_place_is_read_or_refused(
    tmp_path: Path, trace: Spans, data: st.DataObject, value: object
) -> None:
    spans: Spans = json.loads(json.dumps(trace))
    span = data.draw(st.sampled_from(spans))
    place = span["attributes"] if span["attributes"] and data.draw(st.booleans()) else span
    place[data.draw(st.sampled_from(sorted(place)))] = value
    with suppress(FormatError):
        read(tmp_path, spans)
