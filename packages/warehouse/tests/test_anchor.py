# SPDX-License-Identifier: Apache-2.0
"""Anchors as the manifest has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from clyra.warehouse import Anchor, AnchorCheck, AnchorFinding, AnchorVerdict, no_anchor

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_manifest_form_has_six_digits_and_no_reason() -> None:
    anchor = Anchor("postgres", "postgres_wal", "shop", {"before_lsn": "0/1", "timeline": 1}, captured_at=NOON)
    assert anchor.as_manifest() == {
        "system": "postgres",
        "kind": "postgres_wal",
        "object": "shop",
        "value": {"before_lsn": "0/1", "timeline": 1},
        "captured_at": "2026-03-04T12:00:00.000000Z",
    }


def test_manifest_form_is_in_utc() -> None:
    local = datetime(2026, 3, 4, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert no_anchor("duckdb", "not_supported", local).as_manifest()["captured_at"] == "2026-03-04T12:00:00.000005Z"


@pytest.mark.parametrize(
    ("number", "json_value"),
    [
        pytest.param(2**53 - 1, 2**53 - 1, id="largest safe integer"),
        pytest.param(2**53, "9007199254740992", id="first unsafe integer"),
        pytest.param(-(2**53), "-9007199254740992", id="first unsafe negative integer"),
        pytest.param(2**64 - 1, "18446744073709551615", id="unsigned 64 bits"),
    ],
)
def test_integers_beyond_what_json_readers_hold_become_strings(number: int, json_value: str | int) -> None:
    anchor = Anchor("postgres", "postgres_wal", "shop", {"n": number}, captured_at=NOON)
    assert anchor.as_manifest()["value"] == {"n": json_value}


def test_control_characters_become_escapes() -> None:
    anchor = Anchor("postgres", "postgres_wal", "a\nb\x7fé", {"t": "x\0y"}, captured_at=NOON)
    manifest = anchor.as_manifest()
    assert manifest["object"] == "a\\u000ab\\u007fé"
    assert manifest["value"] == {"t": "x\\u0000y"}


def test_no_anchor_says_why_and_what_was_missing() -> None:
    anchor = no_anchor("postgres", "capture_failed", NOON, detail="no LSN")
    assert anchor.kind == "none"
    assert json.loads(json.dumps(anchor.as_manifest())) == {
        "system": "postgres",
        "kind": "none",
        "object": "",
        "value": {"detail": "no LSN"},
        "captured_at": "2026-03-04T12:00:00.000000Z",
        "reason": "capture_failed",
    }


@pytest.mark.parametrize(
    ("kind", "reason", "at"),
    [
        pytest.param("none", None, NOON, id="none without a reason"),
        pytest.param("postgres_wal", "capture_failed", NOON, id="an anchor with a reason"),
        pytest.param("none", "forgot", NOON, id="a reason nobody knows"),
        pytest.param("none", "not_supported", NOON.replace(tzinfo=None), id="no time zone"),
    ],
)
def test_an_anchor_that_no_schema_allows_cannot_be_made(kind: str, reason: str | None, at: datetime) -> None:
    with pytest.raises(ValueError, match=r"reason|time zone"):
        Anchor("postgres", kind, "shop", captured_at=at, reason=reason)


def _finding(verdict: AnchorVerdict) -> AnchorFinding:
    return AnchorFinding("field", verdict, "")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        pytest.param(["confirmed", "confirmed"], "confirmed", id="all agree"),
        pytest.param(["confirmed", "contradicted", "no_longer_checkable"], "contradicted", id="one contradiction"),
        pytest.param(["confirmed", "no_longer_checkable"], "no_longer_checkable", id="one is forgotten"),
        pytest.param([], "no_longer_checkable", id="nothing was compared"),
    ],
)
def test_verdict_of_several_findings(verdicts: list[str], expected: str) -> None:
    check = AnchorCheck(tuple(_finding(AnchorVerdict(verdict)) for verdict in verdicts))
    assert check.verdict == expected
