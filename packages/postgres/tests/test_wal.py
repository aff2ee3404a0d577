# SPDX-License-Identifier: Apache-2.0
"""Points, anchors and verdicts as values, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.postgres.wal_check import judge_anchor, parse_timeline_history
from clyra.postgres.wal_point import join_points, parse_lsn, read_point
from clyra.spec.errors import FormatError, UnavailableError
from clyra.warehouse import AnchorVerdict

NOW = datetime(2026, 3, 4, tzinfo=UTC)
BEFORE: dict[str, str | int] = {
    "database": "shop",
    "database_oid": 16384,
    "server_version_num": 160014,
    "system_identifier": "7711055007533321058",
    "timeline": 2,
    "lsn": "0/3000060",
    "snapshot": "700:702:700",
}
AFTER = {**BEFORE, "lsn": "0/3000F00", "snapshot": "710:710:"}
TODAY = {**BEFORE, "lsn": "1/10", "snapshot": "900:900:"}
VALUE = join_points(BEFORE, AFTER, NOW).value


@given(st.integers(0, 2**64 - 1))
def test_lsn_is_its_position(position: int) -> None:
    assert parse_lsn(f"{position >> 32:X}/{position & 0xFFFFFFFF:X}") == position


@pytest.mark.parametrize(
    "text", ["", "/", "0/", "0", "0/123456789", "-1/0", "0/+1", "0/1_0", " 0/1", "0/1\n", "0/x", "1/2/3"]
)
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no LSN"):
        parse_lsn(text)


def test_anchor_holds_both_ends() -> None:
    anchor = join_points(BEFORE, AFTER, NOW)
    assert anchor.as_manifest() == {
        "system": "postgres",
        "kind": "postgres_wal",
        "object": "shop",
        "value": {
            "database_oid": 16384,
            "server_version_num": 160014,
            "system_identifier": "7711055007533321058",
            "timeline": 2,
            "before_lsn": "0/3000060",
            "after_lsn": "0/3000F00",
            "before_snapshot": "700:702:700",
            "after_snapshot": "710:710:",
        },
        "captured_at": "2026-03-04T00:00:00.000000Z",
    }


def test_promotion_during_the_run_shows() -> None:
    assert join_points(BEFORE, {**AFTER, "timeline": 3}, NOW).value["before_timeline"] == 2


def test_what_could_not_be_read_is_named() -> None:
    lesser = {name: fact for name, fact in AFTER.items() if name != "system_identifier"} | {
        "missing": "system_identifier"
    }
    before = {name: fact for name, fact in BEFORE.items() if name != "system_identifier"}
    value = join_points(before, lesser, NOW).value
    assert value["missing"] == "system_identifier"
    assert "system_identifier" not in value


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        pytest.param({"system_identifier": "1"}, "system_identifier changed", id="another server"),
        pytest.param({"database_oid": 5}, "database_oid changed", id="another database"),
        pytest.param({"lsn": "0/3000000"}, "LSN went backwards", id="an earlier state"),
    ],
)
def test_ends_that_do_not_belong_together_give_no_anchor(change: dict[str, str | int], detail: str) -> None:
    anchor = join_points(BEFORE, {**AFTER, **change}, NOW)
    assert (anchor.kind, anchor.reason) == ("none", "capture_failed")
    assert detail in str(anchor.value["detail"])


@pytest.mark.parametrize("end", ["before", "after"])
def test_no_lsn_gives_no_anchor(end: str) -> None:
    points = {"before": BEFORE, "after": AFTER}
    points[end] = {name: fact for name, fact in points[end].items() if name != "lsn"}
    anchor = join_points(points["before"], points["after"], NOW)
    assert anchor.reason == "capture_failed"
    assert f"no LSN {end} the run" in str(anchor.value["detail"])


@pytest.mark.parametrize("answer", [[], [()], [(1, 2)], [(False,) * 6, (False,) * 6]])
def test_answer_of_another_shape_is_refused(answer: Sequence[Sequence[object]]) -> None:
    with pytest.raises(UnavailableError, match="really Postgres"):
        read_point(lambda statement: answer)


def judged(
    value: Mapping[str, str | int],
    today: Mapping[str, str | int] = TODAY,
    databases: frozenset[int] = frozenset({5, 16384}),
    ended: Mapping[int, int] | None = None,
) -> dict[str, AnchorVerdict]:
    check = judge_anchor(value, today, databases=databases, ended=ended)
    return {finding.check: finding.verdict for finding in check.findings} | {"all": check.verdict}


def test_server_of_the_anchor_confirms_it() -> None:
    assert set(judged(VALUE).values()) == {AnchorVerdict.CONFIRMED}


def test_manifest_form_is_checked_like_the_value() -> None:
    manifest = join_points(BEFORE, AFTER, NOW).as_manifest()["value"]
    assert isinstance(manifest, dict)
    assert judged(manifest)["all"] is AnchorVerdict.CONFIRMED


@pytest.mark.parametrize(
    ("today", "check"),
    [
        pytest.param({"system_identifier": "1"}, "system_identifier", id="another server"),
        pytest.param({"lsn": "0/3000EFF"}, "lsn", id="one byte short"),
        pytest.param({"timeline": 1}, "lsn", id="before the timeline began"),
        pytest.param({"snapshot": "709:709:"}, "snapshot", id="fewer transactions"),
    ],
)
def test_server_that_is_not_the_anchors_contradicts_it(today: dict[str, str | int], check: str) -> None:
    verdicts = judged(VALUE, {**TODAY, **today})
    assert verdicts.pop(check) is AnchorVerdict.CONTRADICTED
    assert verdicts.pop("all") is AnchorVerdict.CONTRADICTED
    assert set(verdicts.values()) == {AnchorVerdict.CONFIRMED}


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        pytest.param({1: 0, 2: parse_lsn("0/3000F00")}, "confirmed", id="left after the anchor"),
        pytest.param({1: 0, 2: parse_lsn("0/3000EFF")}, "contradicted", id="left before the anchor's end"),
        pytest.param({1: 0}, "contradicted", id="never been on it"),
        pytest.param(None, "no_longer_checkable", id="may not be read"),
    ],
)
def test_later_timeline_is_judged_by_where_it_left_the_anchors(ended: dict[int, int] | None, verdict: str) -> None:
    assert judged(VALUE, {**TODAY, "timeline": 3}, ended=ended)["lsn"] == verdict


def test_database_that_is_gone_is_no_longer_checkable() -> None:
    verdicts = judged(VALUE, databases=frozenset({5}))
    assert verdicts["database_oid"] is verdicts["all"] is AnchorVerdict.NO_LONGER_CHECKABLE


@pytest.mark.parametrize("field", ["system_identifier", "timeline", "database_oid", "after_snapshot"])
def test_field_the_anchor_lacks_is_not_confirmed(field: str) -> None:
    value = {name: fact for name, fact in VALUE.items() if name != field}
    assert judged(value)["all"] is AnchorVerdict.NO_LONGER_CHECKABLE


@pytest.mark.parametrize("field", ["system_identifier", "timeline", "lsn", "snapshot"])
def test_field_that_may_not_be_read_today_is_not_confirmed(field: str) -> None:
    today = {name: fact for name, fact in TODAY.items() if name != field}
    assert judged(VALUE, today)["all"] is AnchorVerdict.NO_LONGER_CHECKABLE


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        pytest.param({"before_lsn": "later"}, "/value/before_lsn", id="no LSN"),
        pytest.param({"after_lsn": "0/1"}, "/value/before_lsn", id="ends before it begins"),
        pytest.param({"timeline": "II"}, "/value/timeline", id="no number"),
        pytest.param({"database_oid": "1;drop"}, "/value/database_oid", id="no OID"),
        pytest.param({"after_snapshot": "1:2"}, "/value/after_snapshot", id="no snapshot"),
    ],
)
def test_malformed_anchor_is_refused(change: dict[str, str | int], pointer: str) -> None:
    with pytest.raises(FormatError) as refusal:
        judged({**VALUE, **change})
    assert refusal.value.pointer == pointer


def test_history_file_is_read_as_postgres_writes_it() -> None:
    text = "1\t0/3000060\tno recovery target specified\n\n2\t1/A0000B8\tbefore 2026-01-01 10:00:00+00\n"
    assert parse_timeline_history(text) == {1: 0x3000060, 2: 0x1_0A0000B8}
