# SPDX-License-Identifier: Apache-2.0
"""The risk score of a run, method ``clyra-risk/1``: ``min(100, sum(weight x count))`` over thirteen factors.

Every count is a function of the journal and of the policy; what they do not give is marked ``asserted``, what nobody
knows is counted and marked ``unknown``. Integers only. Verifiers compute the same from the same bundle
(``spec/risk.md``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, cast

from clyra.policy.rules import RISK_SCORE, RISK_THRESHOLD, SECTIONS, member
from clyra.spec import read_json

METHOD = "clyra-risk/1"
MOST = 100
BANDS = ((24, "low"), (49, "medium"), (80, "high"), (MOST, "critical"))
"""Highest score of each band."""

DEFAULT_WEIGHTS: Mapping[str, int] = MappingProxyType(
    {
        "anomaly": 0,
        "approval_bypassed": 5,
        "check_passed": 0,
        "config_change": 5,
        "data_change": 15,
        "first_time_actor": 2,
        "genai_detection": 10,
        "off_hours": 1,
        "production": 2,
        "schema_change": 30,
        "sql_safety_violation": 3,
        "violation_critical": 10,
        "violation_warning": 3,
    }
)
"""Every factor with the weight that it has where the policy says nothing."""

Mark = Literal["asserted", "unknown"]
Count = tuple[int, Mark | None]


def compute_risk(
    events: Iterable[Mapping[str, Any]],
    *,
    policy: Mapping[str, Any],
    environment: str,
    off_hours: int | None,
    first_time_actor: int,
    anomaly: int | None = None,
) -> dict[str, Any]:
    """The manifest's ``risk``.

    Args:
        events: The journal's, from ``run.started`` on.
        policy: The normalized document, a bundle's ``policy.json``; all weights are there.
        environment: The manifest's ``policy.environment``.
        off_hours: 1 outside the working hours that the policy gives, else 0, as the runner's clock has it. Without
            working hours in the policy it is not looked at; None where there are some counts.
        first_time_actor: 0 where an earlier bundle of the actor is known, else 1.
        anomaly: What a detector outside counted, if there is one.
    """
    tally = _Tally(policy)
    for event in events:
        tally.add(event)
    hours = member(policy, "enforcement", "off_hours")
    counts: dict[str, Count] = {
        **{factor: (tally.counts[factor], None) for factor in _COUNTED},
        "production": _production(policy, environment, tally.target),
        "off_hours": (0, None) if hours is None else (0 if off_hours == 0 else 1, "asserted"),
        "first_time_actor": (0, "asserted") if first_time_actor == 0 else (1, "unknown"),
        "anomaly": (0, None) if anomaly is None else (anomaly, "asserted"),
    }
    return risk_of(counts, member(policy, "enforcement", "risk", "weights"))


def risk_of(counts: Mapping[str, Count], weights: Mapping[str, int]) -> dict[str, Any]:
    """The manifest's ``risk`` where the counts of all factors are known; ``weights`` are the policy's, complete."""
    from clyra.evidence.canonical import canonicalize_integers

    factors = [_factor(name, weights[name], *counts[name]) for name in sorted(DEFAULT_WEIGHTS)]
    score = min(MOST, sum(factor["points"] for factor in factors))
    inputs = canonicalize_integers({"method": METHOD, "weights": dict(weights), "factors": factors})
    return {
        "score": score,
        "band": band(score),
        "method": METHOD,
        "factors": factors,
        "inputs_sha256": sha256(inputs).hexdigest(),
    }


def band(score: int) -> str:
    """The band of a score: ``low`` to 24, ``medium`` to 49, ``high`` to 80, then ``critical``."""
    return next(name for highest, name in BANDS if score <= highest)


_COUNTED = frozenset(DEFAULT_WEIGHTS) - {"production", "off_hours", "first_time_actor", "anomaly"}
_VERB_FACTORS = {"ddl": "schema_change", "write": "data_change", "opaque": "data_change", "grant": "config_change"}


class _Tally:
    """Counts what the journal itself says."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        self.counts: Counter[str] = Counter()
        self.target: str | None = None
        self._enforced = False
        self._own: tuple[object, ...] = (None,)
        self._after_risk = frozenset(_rules_after_risk(policy))

    def add(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "run.started":
                self.target = event["target_name"]
                self._enforced = event["policy"]["mode"] == "enforce"
                self._own = (None, event["policy"].get("sha256"))
            case "statement":
                if factor := _factor_of_verb(event["verb"]):
                    # Once per run: a run of a thousand models is one change.
                    self.counts[factor] = 1
            case "node.finished":
                is_test = event["resource_type"] in ("test", "unit_test")
                self.counts["check_passed"] += is_test and event["status"] == "pass"
            case "decision":
                self._add_decision(event)
            case "approval.used":
                self.counts["approval_bypassed"] += event["break_glass"] is True
            case "detection":
                self.counts["genai_detection"] += 1

    def _add_decision(self, event: Mapping[str, Any]) -> None:
        # What would have been does not count beside what was, and a candidate's word does not count at all.
        if event["mode"] == "shadow" and (self._enforced or event.get("policy_sha256") not in self._own):
            return
        for rule in event["rules"]:
            if rule["state"] == "waived" or rule["effect"] == "allow" or rule["id"] in self._after_risk:
                continue
            if rule["severity"] in ("critical", "warning"):
                self.counts[f"violation_{rule['severity']}"] += 1
            self.counts["sql_safety_violation"] += rule["id"] in _sql_rules()


def _factor_of_verb(verb: str) -> str | None:
    entry = _verbs().get(verb)
    if entry is None:
        return "data_change"
    if entry["class"] == "ddl" and not entry["writes"]:
        return None
    return _VERB_FACTORS.get(entry["class"])


def _rules_after_risk(policy: Mapping[str, Any]) -> Iterator[str]:
    """Ids of what is judged by the score, and so may not feed it."""
    yield RISK_THRESHOLD
    for section in SECTIONS:
        for rule in member(policy, section, "rules") or ():
            conditions = (each for item in rule["when"] for each in item.get("any", (item,)))
            if any(condition["field"] == RISK_SCORE for condition in conditions):
                yield rule["id"]


def _production(policy: Mapping[str, Any], environment: str, target: str | None) -> Count:
    """Not known counts: an environment that nobody described may be production."""
    entry = (policy.get("environments") or {}).get(environment)
    if entry is None or target not in entry["targets"]:
        return 1, "unknown"
    return int(entry["production"]), None


def _factor(name: str, weight: int, count: int, mark: Mark | None) -> dict[str, Any]:
    factor: dict[str, Any] = {"factor": name, "weight": weight, "count": count, "points": weight * count}
    return factor if mark is None else {**factor, mark: True}


@lru_cache(maxsize=1)
def _verbs() -> Mapping[str, Mapping[str, Any]]:
    return cast("dict[str, dict[str, Any]]", read_json("verbs.json")["verbs"])


@lru_cache(maxsize=1)
def _sql_rules() -> frozenset[str]:
    return frozenset(read_json("policy/sql_rules.json")["rules"])
