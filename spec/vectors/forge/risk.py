# SPDX-License-Identifier: Apache-2.0
"""Risk scores of method clyra-risk/1 (spec/risk.md), right ones and wrong ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from forge.canonical import canonical, digest
from forge.edits import DocumentEdit, Json

FACTORS = (
    "anomaly",
    "approval_bypassed",
    "check_passed",
    "config_change",
    "data_change",
    "first_time_actor",
    "genai_detection",
    "off_hours",
    "production",
    "schema_change",
    "sql_safety_violation",
    "violation_critical",
    "violation_warning",
)
_SPEC = Path(__file__).resolve().parents[2]
_SECTIONS = ("data_platform", "genai_security", "voice_compliance")

Count = tuple[int, tuple[str, ...]]
"""A count and its flags."""


@dataclass(frozen=True)
class Scoring:
    """How a run's risk is told: right, with some counts and weights replaced, and an edit of the finished document.

    Everything that follows from a replaced count or weight is made anew, so that it is the only fault; ``edit`` comes
    last and is followed by nothing.
    """

    counts: Mapping[str, Count] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    factors: Any = list
    """Edit of the list of factors, before score, band and digest follow from it."""
    edit: DocumentEdit = dict

    def risk(self, events: Sequence[Json], policy: Json, mode: str) -> Json:
        """Return the manifest's member ``risk``."""
        counts = {**counts_of(events, policy, mode), **self.counts}
        policy_weights = policy["enforcement"]["risk"]["weights"]
        weights = {**policy_weights, **self.weights}
        told = self.factors([factor(name, weights[name], *counts[name]) for name in FACTORS])
        score = min(100, sum(one["points"] for one in told))
        band = "critical" if score > 80 else "high" if score > 49 else "medium" if score > 24 else "low"
        risk: Json = {"score": score, "band": band, "method": "clyra-risk/1", "factors": told}
        return self.edit(risk | {"inputs_sha256": inputs_digest(policy_weights, told)})


def factor(name: str, weight: int, count: int, flags: Sequence[str] = ()) -> Json:
    """Return a factor."""
    return {"factor": name, "weight": weight, "count": count, "points": weight * count} | dict.fromkeys(flags, True)


def inputs_digest(weights: Mapping[str, int], factors: Sequence[Json]) -> str:
    """Return the digest of what a score was computed from."""
    return digest(canonical({"method": "clyra-risk/1", "weights": dict(weights), "factors": list(factors)}))


def counts_of(events: Sequence[Json], policy: Json, mode: str) -> dict[str, Count]:
    """Return the counts that follow from a journal and a policy."""
    classes = {_verb(event["verb"]) for event in events if event["type"] == "statement"}
    rules = _violations(events, policy, mode)
    counts = {
        "schema_change": int("ddl" in classes),
        "data_change": int(bool(classes & {"write", "opaque"})),
        "config_change": int("grant" in classes),
        "violation_critical": sum(one["severity"] == "critical" for one in rules),
        "violation_warning": sum(one["severity"] == "warning" for one in rules),
        "sql_safety_violation": sum(one["id"] in sql_rules() for one in rules),
        "check_passed": sum(event["type"] == "node.finished" and _passed(event) for event in events),
        "approval_bypassed": sum(event["type"] == "approval.used" and event["break_glass"] for event in events),
        "genai_detection": 0,
        "anomaly": 0,
        "off_hours": 0,
    }
    told: dict[str, Count] = {name: (count, ()) for name, count in counts.items()}
    target = next(event["target_name"] for event in events if event["type"] == "run.started")
    known = [environment for environment in policy["environments"].values() if target in environment["targets"]]
    told["production"] = (int(known[0]["production"]), ()) if known else (1, ("unknown",))
    told["first_time_actor"] = (1, ("unknown",))
    return told | ({"off_hours": (0, ("asserted",))} if policy["enforcement"]["off_hours"] is not None else {})


def _violations(events: Sequence[Json], policy: Json, mode: str) -> list[Json]:
    conditions = {
        one["id"]: [inner for item in one["when"] for inner in item.get("any", [item])]
        for section in _SECTIONS
        for one in policy[section]["rules"]
    }
    late = {id for id, asked in conditions.items() if any(one["field"] == "risk.score" for one in asked)}
    decisions = [event for event in events if event["type"] == "decision"]
    own = {None, digest(canonical(policy))}
    counted = [
        event
        for event in decisions
        if event["mode"] != "shadow" or (mode != "enforce" and event["policy_sha256"] in own)
    ]
    return [
        one
        for event in counted
        for one in event["rules"]
        if one["state"] in ("matched", "unknown")
        and one["effect"] != "allow"
        and one["id"] not in late | {"risk_threshold"}
    ]


def _passed(event: Json) -> bool:
    return event["resource_type"] in ("test", "unit_test") and event["status"] == "pass"


def _verb(verb: str) -> str:
    known = _read("verbs.json")["verbs"].get(verb, {"class": "opaque", "writes": True})
    return str(known["class"]) if known["writes"] else "read"


def sql_rules() -> list[str]:
    """Return the ids of the rules that are about the safety of SQL."""
    return sorted(_read("policy/sql_rules.json")["rules"])


@cache
def _read(name: str) -> Json:
    document: Json = json.loads((_SPEC / name).read_text(encoding="utf-8"))
    return document
