# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clyra.evidence import open_bundle
from clyra.policy.risk import DEFAULT_WEIGHTS, band, compute_risk
from clyra.spec import spec_folder

VECTORS = {
    path.stem: vector
    for path in sorted((spec_folder() / "vectors" / "risk").glob("R*.json"))
    if (vector := json.loads(path.read_bytes()))["expect"] == "valid"
}

POLICY: Mapping[str, Any] = {
    "environments": {
        "prod": {"targets": ["prod"], "production": True},
        "dev": {"targets": ["dev", "ci"], "production": False},
    },
    "data_platform": {
        "rules": [
            {"id": "x_a", "when": [{"field": "env.ci", "op": "eq", "value": True}]},
            {"id": "x_risk", "when": [{"any": [{"field": "risk.score", "op": "gt", "value": 1}]}]},
        ]
    },
    "enforcement": {"off_hours": None, "risk": {"weights": dict(DEFAULT_WEIGHTS)}},
}
STARTED = {"type": "run.started", "target_name": "dev", "policy": {"mode": "shadow"}}


def entry(name: str, severity: str, state: str = "matched", effect: str = "block") -> dict[str, str]:
    return {"id": name, "severity": severity, "state": state, "effect": effect}


def decision(*rules: Mapping[str, str], mode: str = "shadow") -> dict[str, Any]:
    return {"type": "decision", "mode": mode, "rules": list(rules)}


def statement(verb: str) -> dict[str, Any]:
    return {"type": "statement", "verb": verb}


def finished(kind: str, status: str) -> dict[str, Any]:
    return {"type": "node.finished", "resource_type": kind, "status": status}


def risk(*events: Mapping[str, Any], started: Mapping[str, Any] = STARTED, **arguments: Any) -> dict[str, Any]:
    given = {"policy": POLICY, "environment": "dev", "off_hours": None, "first_time_actor": 0, **arguments}
    return compute_risk([started, *events], **given)


def count(factor: str, *events: Mapping[str, Any], **arguments: Any) -> int:
    return int(marked(factor, *events, **arguments)["count"])


def marked(factor: str, *events: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    found = {each["factor"]: each for each in risk(*events, **arguments)["factors"]}
    return dict(found[factor])


def with_hours() -> dict[str, Any]:
    hours = {"timezone": "UTC", "from": "08:00", "to": "18:00", "days": ["mon"]}
    return {**POLICY, "enforcement": {**POLICY["enforcement"], "off_hours": hours}}


def test_all_factors_are_there_in_order_of_their_names_with_weight_and_points() -> None:
    found = risk(statement("create"))
    assert [each["factor"] for each in found["factors"]] == sorted(DEFAULT_WEIGHTS)
    assert all(each["points"] == each["weight"] * each["count"] for each in found["factors"])
    assert (found["score"], found["band"], found["method"]) == (30, "medium", "clyra-risk/1")


@pytest.mark.parametrize(
    ("verb", "factor"),
    [
        ("create", "schema_change"),
        ("drop", "schema_change"),
        ("insert", "data_change"),
        ("truncate", "data_change"),
        ("call", "data_change"),
        ("frobnicate", "data_change"),
        ("grant", "config_change"),
        ("select", None),
        ("set", None),
        ("vacuum", None),
    ],
)
def test_a_verb_counts_once_per_run_in_the_factor_of_its_class(verb: str, factor: str | None) -> None:
    changes = ("schema_change", "data_change", "config_change")
    found = {name: count(name, statement(verb), statement(verb)) for name in changes}
    assert found == {name: int(name == factor) for name in changes}


def test_violations_are_rules_that_matched_or_could_not_be_judged_by_severity() -> None:
    events = [
        decision(entry("x_a", "critical"), entry("x_b", "warning", "unknown"), entry("x_c", "info")),
        decision(
            entry("x_a", "critical"), entry("x_d", "critical", "waived"), entry("x_e", "critical", effect="allow")
        ),
    ]
    assert count("violation_critical", *events) == 2
    assert count("violation_warning", *events) == 1


def test_what_is_judged_by_the_score_does_not_feed_it() -> None:
    event = decision(entry("x_risk", "critical"), entry("risk_threshold", "critical"))
    assert count("violation_critical", event) == 0


def test_what_would_have_been_does_not_count_beside_what_was() -> None:
    events = decision(entry("x_a", "critical")), decision(entry("x_a", "critical"), mode="enforce")
    enforced = {**STARTED, "policy": {"mode": "enforce"}}
    assert count("violation_critical", *events, started=enforced) == 1
    assert count("violation_critical", *events) == 2


def test_a_rule_of_sql_safety_counts_beside_its_severity() -> None:
    event = decision(entry("delete_without_where", "critical"), entry("x_a", "critical"))
    assert (count("sql_safety_violation", event), count("violation_critical", event)) == (1, 2)


def test_passed_tests_count_and_other_nodes_and_outcomes_do_not() -> None:
    events = [
        finished("test", "pass"),
        finished("unit_test", "pass"),
        finished("test", "fail"),
        finished("model", "pass"),
    ]
    assert count("check_passed", *events) == 2


@pytest.mark.parametrize(
    ("target", "environment", "expected"),
    [
        ("prod", "prod", {"count": 1, "points": 2}),
        ("dev", "dev", {"count": 0, "points": 0}),
        ("ci", "dev", {"count": 0, "points": 0}),
        ("other", "unknown", {"count": 1, "points": 2, "unknown": True}),
        (None, "unknown", {"count": 1, "points": 2, "unknown": True}),
        (None, "dev", {"count": 1, "points": 2, "unknown": True}),
        ("prod", "dev", {"count": 1, "points": 2, "unknown": True}),
    ],
)
def test_production_is_the_environment_that_lists_the_target(
    target: str | None, environment: str, expected: dict[str, Any]
) -> None:
    started = {**STARTED, "target_name": target}
    found = marked("production", started=started, environment=environment)
    assert found == {"factor": "production", "weight": 2, **expected}


@pytest.mark.parametrize(("told", "counted"), [(0, 0), (1, 1), (None, 1)])
def test_off_hours_are_asserted_where_the_policy_has_hours(told: int | None, counted: int) -> None:
    found = marked("off_hours", policy=with_hours(), off_hours=told)
    assert (found["count"], found["asserted"]) == (counted, True)


def test_off_hours_do_not_count_where_the_policy_has_none() -> None:
    assert marked("off_hours", off_hours=1) == {"factor": "off_hours", "weight": 1, "count": 0, "points": 0}


def test_an_actor_without_history_counts_as_unknown_and_one_with_it_is_asserted() -> None:
    unknown, known = marked("first_time_actor", first_time_actor=1), marked("first_time_actor", first_time_actor=0)
    assert (unknown["count"], unknown["unknown"]) == (1, True)
    assert (known["count"], known["asserted"]) == (0, True)


def test_an_anomaly_is_asserted_or_nothing() -> None:
    assert marked("anomaly") == {"factor": "anomaly", "weight": 0, "count": 0, "points": 0}
    assert marked("anomaly", anomaly=3)["asserted"] is True


def test_emergency_access_and_detections_count_each_time() -> None:
    used: dict[str, Any] = {"type": "approval.used", "break_glass": True}
    events = [used, used, {**used, "break_glass": False}, {"type": "detection"}]
    assert (count("approval_bypassed", *events), count("genai_detection", *events)) == (2, 1)


def test_the_score_ends_at_100() -> None:
    found = risk(decision(*(entry(f"x_{number}", "critical") for number in range(20))))
    assert (found["score"], found["band"]) == (100, "critical")


@pytest.mark.parametrize(
    ("score", "name"),
    [(0, "low"), (24, "low"), (25, "medium"), (49, "medium"), (50, "high"), (80, "high"), (81, "critical")],
)
def test_bands_begin_and_end_where_the_specification_says(score: int, name: str) -> None:
    assert band(score) == name


def test_weights_are_the_policys() -> None:
    weights = {**DEFAULT_WEIGHTS, "schema_change": 7}
    policy = {**POLICY, "enforcement": {"off_hours": None, "risk": {"weights": weights}}}
    changed = risk(statement("create"), policy=policy)
    assert changed["score"] == 7
    assert changed["inputs_sha256"] != risk(statement("create"))["inputs_sha256"]


@pytest.mark.vectors
@pytest.mark.parametrize("name", VECTORS)
def test_a_valid_bundle_of_the_vectors_has_the_risk_that_is_computed_here(name: str, tmp_path: Path) -> None:
    file = tmp_path / "run.def.zip"
    file.write_bytes(zlib.decompress(base64.b64decode(VECTORS[name]["input"])))
    bundle = open_bundle(file)
    expected, named = bundle.manifest["risk"], bundle.manifest["policy"]
    if named is None:
        assert expected is None
        return
    told = {factor["factor"]: factor for factor in expected["factors"]}
    found = compute_risk(
        bundle.events(),
        policy=json.loads(bundle.read("artifacts/policy.json")),
        environment=named["environment"],
        off_hours=told["off_hours"]["count"],
        first_time_actor=told["first_time_actor"]["count"],
        anomaly=told["anomaly"]["count"] if "asserted" in told["anomaly"] else None,
    )
    assert found == expected


def test_there_are_vectors() -> None:
    assert len(VECTORS) > 40
