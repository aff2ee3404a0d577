# SPDX-License-Identifier: Apache-2.0
"""What we write and what we verify share no code: here each is asked about the other, over forged bundles."""

from __future__ import annotations

import importlib
import io
import json
import random
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.policy.risk import DEFAULT_WEIGHTS, compute_risk
from clyra.spec import read_json, spec_folder
from clyra.verify import verify_bundle
from clyra.verify.conformance import load_vector, vector_files
from clyra.verify.container import read_container

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
sys.path.insert(0, str(spec_folder() / "vectors"))
approvals, bundles, journals, policies = (
    importlib.import_module(f"forge.{name}") for name in ("approvals", "bundle", "journal", "policy")
)

RISKS = [path for path in vector_files(suite="risk") if json.loads(path.read_bytes())["expect"] == "valid"]
VERBS = [*read_json("verbs.json")["verbs"], "frobnicate"]
RULES = ["x_one", "x_two", "x_late", "risk_threshold", "delete_without_where", "truncate"]
# Replacements that a mutation puts somewhere.
ODD: list[Any] = [None, True, 0, 2**53 - 1, "", "a", "approver", "prod", "0" * 64, "key:" + "0" * 64, [], {}, ["a"]]


def documents(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]:
    """Manifest, events and policy of a bundle."""
    container = read_container(io.BytesIO(data), len(data))
    manifest = json.loads(container.read("manifest.json"))
    events = [json.loads(line) for line in container.read("journal.ndjson").splitlines()]
    held = "artifacts/policy.json" in container.entries
    return manifest, events, json.loads(container.read("artifacts/policy.json")) if held else None


def asserted(risk: Mapping[str, Any], name: str) -> int | None:
    (factor,) = (factor for factor in risk["factors"] if factor["factor"] == name)
    return factor["count"] if "asserted" in factor else None


@pytest.mark.parametrize("path", RISKS, ids=lambda path: path.stem)
def test_the_score_of_a_sound_vector_is_the_one_that_we_compute(path: Path) -> None:
    manifest, events, policy = documents(load_vector(path).input)
    if policy is None:
        assert manifest["risk"] is None
        return
    risk = manifest["risk"]
    first = asserted(risk, "first_time_actor")
    assert risk == compute_risk(
        events,
        policy=policy,
        environment=manifest["policy"]["environment"],
        off_hours=asserted(risk, "off_hours"),
        first_time_actor=1 if first is None else first,
        anomaly=asserted(risk, "anomaly"),
    )


outcomes = st.fixed_dictionaries(
    {
        "id": st.sampled_from(RULES),
        "effect": st.sampled_from(["allow", "warn"]),
        "severity": st.sampled_from(["critical", "warning", "info"]),
        "state": st.sampled_from(["matched", "unknown", "waived"]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_score_that_we_compute_is_counted_again_as_it_is(data: st.DataObject) -> None:
    target = data.draw(st.sampled_from([None, "dev", "prod", "ci", "elsewhere"]))
    environment = {"dev": "dev", "prod": "prod", "ci": "staging", "elsewhere": "unknown"}.get(str(target), "unknown")
    mode = "enforce" if target == "prod" else data.draw(st.sampled_from(["shadow", "enforce"]))
    told = [journals.statement(1000 + n, verb) for n, verb in enumerate(data.draw(st.lists(st.sampled_from(VERBS))))]
    for number, rules in enumerate(data.draw(st.lists(st.lists(outcomes, max_size=4), max_size=4))):
        shadow = data.draw(st.booleans())
        members = {"mode": "shadow" if shadow else "enforce", "id": f"d{number}"}
        told.append(journals.decision(2_000 + number, "warn", rules=rules, **members))
    told.append(journals.node(3_000, "test.t", "test", status=data.draw(st.sampled_from(["pass", "fail", "skipped"]))))
    events = [journals.started(target_name=target), *told, journals.finished()]
    late = policies.rule("x_late", {"any": [{"field": "risk.score", "op": "gt", "value": 1}]})
    edits = [policies.put("data_platform/rules", [late])]
    for name, weight in DEFAULT_WEIGHTS.items():
        if drawn := data.draw(st.sampled_from([0, 1, 40])):
            edits.append(policies.put(f"enforcement/risk/weights/{name}", weight + drawn))
    policy = policies.edited(*edits)
    layers = policies.governed(
        [*events, journals.closed(len(events) + 1)], policy=policy, mode=mode, environment=environment
    )
    computed = compute_risk(
        layers.events,
        policy=policy,
        environment=environment,
        off_hours=None,
        first_time_actor=data.draw(st.sampled_from([0, 1])),
    )
    sealed = bundles.seal(
        policies.replace(layers, manifest=lambda manifest: {**layers.manifest(manifest), "risk": computed})
    )
    result = verify_bundle(sealed.data, trust=approvals.trusted(), at=AT, environ={})
    assert (result.code, result.message) == (None, None)


def mutated(value: Any, chance: random.Random) -> Any:
    """The document with one member or element replaced, removed, added or doubled, wherever."""
    changed = json.loads(json.dumps(value))
    places = [(holder, key) for holder in _holders(changed) for key in _keys(holder)]
    holder, key = chance.choice(places)
    match chance.choice(["replace", "remove", "double", "add"]):
        case "remove":
            del holder[key]
        case "double" if isinstance(holder, list):
            holder.append(holder[key])
        case "add" if isinstance(holder, dict):
            holder["added"] = chance.choice(ODD)
        case _:
            holder[key] = chance.choice(ODD)
    return changed


def _holders(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    inner = [value[key] for key in _keys(value)]
    return [value, *(holder for each in inner for holder in _holders(each))]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def forged(part: str, chance: random.Random) -> bytes | None:
    """A bundle one of whose documents was mutated, everything outside of it made anew; None where that cannot be."""

    def edit(document: Any) -> Any:
        return mutated(document, chance)

    if part == "certificate":
        story = approvals.Story(approvers=[approvals.Approver(body=edit)])
    elif part == "envelope":
        story = approvals.Story(approvers=[approvals.Approver(envelope=edit)])
    else:
        story = approvals.Story(**{part: edit})
    try:
        return bytes(story.seal().data)
    except (KeyError, TypeError, AttributeError, ValueError):
        # The forge reads some members that the mutation took away.
        return None


@pytest.mark.parametrize("part", ["request", "certificate", "envelope", "plan", "decision", "used", "entry", "policy"])
def test_a_mutated_approval_is_refused_or_sound_and_never_a_crash(part: str) -> None:
    codes: list[str | None] = []
    for seed in range(150):
        data = forged(part, random.Random(seed))
        if data is not None:
            codes.append(verify_bundle(data, trust=approvals.trusted(), at=AT, environ={}).code)
    assert len(codes) > 50
    others = {"policy_digest", "risk_mismatch", "schema_invalid", "counts_mismatch", "journal_time"}
    assert set(codes) <= {None, "approval_unproven", *others}
    assert ("policy_digest" if part == "policy" else "approval_unproven") in codes
