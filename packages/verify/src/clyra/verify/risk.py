# SPDX-License-Identifier: Apache-2.0
"""The risk score, counted again from the journal and the policy (``spec/risk.md``, method ``clyra-risk/1``).

Written from the specification alone: it shares nothing with the code that computes scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from clyra.spec import read_json, verb_class, verb_writes
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import canonical_bytes
from clyra.verify.journal import Recount
from clyra.verify.policy import UNKNOWN, Policy, environment_of, rules_of

METHOD = "clyra-risk/1"
MAX_SCORE = 100
# Bands: the lowest score of each.
_BANDS = ((81, "critical"), (50, "high"), (25, "medium"), (0, "low"))
_THRESHOLD = "risk_threshold"

# A count and what is said of it: nothing, that it is `asserted`, or that it is `unknown`.
_Count = tuple[int, str]


def check_risk(manifest: Mapping[str, Any], policy: Policy | None, recount: Recount) -> None:
    """Check that the risk of a bundle is what its journal and its policy give.

    Raises:
        Refusal: ``risk_mismatch``.
    """
    risk = manifest["risk"]
    if manifest["policy"] is None:
        if risk is not None:
            raise Refusal("risk_mismatch", "there is a risk score and no policy whose weights it could have")
        return
    if policy is None or risk is None:
        raise Refusal("risk_mismatch", "a run under a policy has a risk score and the policy among its files")
    _check_environment(manifest, policy, recount)
    allowed = _allowed_counts(manifest["policy"], policy, recount)
    weights = policy["enforcement"]["risk"]["weights"]
    _check_factors(risk["factors"], weights, allowed)
    _check_score(risk)
    inputs = {"method": METHOD, "weights": weights, "factors": risk["factors"]}
    if risk["inputs_sha256"] != hashlib.sha256(canonical_bytes(inputs)).hexdigest():
        raise Refusal("risk_mismatch", "inputs_sha256 is not the digest of method, weights and factors")


def _check_environment(manifest: Mapping[str, Any], policy: Policy, recount: Recount) -> None:
    named, mode = manifest["policy"]["environment"], manifest["policy"]["mode"]
    found = environment_of(policy, recount.started["target_name"])
    if found is not None:
        possible = {found[0]}
    elif recount.started["target_name"] is None:
        possible = {UNKNOWN, *policy["environments"]}
    else:
        possible = {UNKNOWN}
    if named not in possible:
        raise Refusal("risk_mismatch", f"the environment of the run's target is not {named!r}")
    if mode == "shadow" and policy["environments"].get(named, {}).get("mode") == "enforce":
        raise Refusal("risk_mismatch", f"the policy enforces in {named!r} and the run says that it did not")


def _check_factors(
    factors: Iterable[Mapping[str, Any]], weights: Mapping[str, int], allowed: Mapping[str, list[_Count] | None]
) -> None:
    names = [factor["factor"] for factor in factors]
    if names != sorted(allowed):
        raise Refusal("risk_mismatch", "the factors are not those of the method, each once and in order of their names")
    for factor in factors:
        name, count = factor["factor"], factor["count"]
        if factor["weight"] != weights[name]:
            raise Refusal("risk_mismatch", f"the weight of {name} is not the policy's, {weights[name]}")
        if factor["points"] != factor["weight"] * count:
            raise Refusal("risk_mismatch", f"the points of {name} are not weight times count")
        mark = "+".join(word for word in ("asserted", "unknown") if word in factor)
        if not _is_possible((count, mark), allowed[name]):
            said = f"{count} {mark}".rstrip()
            raise Refusal("risk_mismatch", f"the count of {name}, {said}, does not follow from journal and policy")


def _is_possible(found: _Count, allowed: list[_Count] | None) -> bool:
    return found == (0, "") or found[1] == "asserted" if allowed is None else found in allowed


def _check_score(risk: Mapping[str, Any]) -> None:
    score = min(MAX_SCORE, sum(factor["points"] for factor in risk["factors"]))
    if risk["score"] != score:
        raise Refusal("risk_mismatch", f"the risk score is {risk['score']}, its factors give {score}")
    band = next(name for lowest, name in _BANDS if score >= lowest)
    if risk["band"] != band:
        raise Refusal("risk_mismatch", f"the risk band is {risk['band']}, the score {score} is {band}")


def _allowed_counts(named: Mapping[str, Any], policy: Policy, recount: Recount) -> dict[str, list[_Count] | None]:
    """Of each factor the counts that it may have, with what must be said of them; None where any may be asserted."""
    classes = {verb_class(verb) or "opaque" for verb in recount.verbs if verb_writes(verb)}
    violations = list(_violations(named, policy, recount))
    has_hours = policy["enforcement"]["off_hours"] is not None
    return {
        "schema_change": [(int("ddl" in classes), "")],
        "data_change": [(int(not classes.isdisjoint({"write", "opaque"})), "")],
        "config_change": [(int("grant" in classes), "")],
        "violation_critical": [(sum(rule["severity"] == "critical" for rule in violations), "")],
        "violation_warning": [(sum(rule["severity"] == "warning" for rule in violations), "")],
        "sql_safety_violation": [(sum(rule["id"] in _sql_rules() for rule in violations), "")],
        "check_passed": [(recount.counts["tests_passed"], "")],
        "production": [_production(policy, recount)],
        "off_hours": [(0, "asserted"), (1, "asserted")] if has_hours else [(0, "")],
        "approval_bypassed": [(sum(used["break_glass"] for used in recount.used), "")],
        # No journal of DEF has such an event.
        "genai_detection": [(0, "")],
        "first_time_actor": [(1, "unknown"), (0, "asserted")],
        "anomaly": None,
    }


def _production(policy: Policy, recount: Recount) -> _Count:
    found = environment_of(policy, recount.started["target_name"])
    return (1, "unknown") if found is None else (int(found[1]["production"]), "")


def _violations(named: Mapping[str, Any], policy: Policy, recount: Recount) -> Iterable[Mapping[str, Any]]:
    """The entries that count; ``named`` is the policy as the manifest names it."""
    own = (None, named["sha256"])
    left_out = {rule["id"] for rule in rules_of(policy) if "risk.score" in _facts_asked(rule)} | {_THRESHOLD}
    for decision in recount.decided:
        if decision["mode"] == "shadow" and (named["mode"] == "enforce" or decision["policy_sha256"] not in own):
            continue
        for rule in decision["rules"]:
            if rule["state"] != "waived" and rule["effect"] != "allow" and rule["id"] not in left_out:
                yield rule


def _facts_asked(rule: Mapping[str, Any]) -> set[object]:
    branches = [inner for item in rule["when"] for inner in item.get("any", [item])]
    return {branch.get("field") for branch in branches}


@lru_cache(maxsize=1)
def _sql_rules() -> frozenset[str]:
    return frozenset(read_json("policy/sql_rules.json")["rules"])
