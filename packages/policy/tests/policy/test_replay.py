# SPDX-License-Identifier: Apache-2.0
"""Recorded decisions under another policy: exactly what was seeded, and no more than the record tells."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from clyra.evidence.signer import ephemeral_signer
from clyra.policy.load import LoadedPolicy, read_policy
from clyra.policy.recorded_runs import DecidedRun as Read
from clyra.policy.recorded_runs import Unread, bundle_paths, checked_decision, read_runs
from clyra.policy.replay import ReplayResult, replay_runs
from clyra.spec import FormatError
from clyra.testing.decided_bundle import Asked, DecidedRun, seal_decided
from clyra.verify import verify_bundle

DAY = datetime(2026, 5, 4, 9, tzinfo=UTC)
TODAY = date(2026, 6, 1)
HEAD = """\
version: 1
environments:
  production: {targets: [prod], mode: %s, production: true}
data_platform:
  rules:
"""
REFRESH = """\
    - id: x_refresh
      effect: %s
      mode: %s
      when:
        - {field: env.production, op: eq, value: true}
        - {field: change.full_refresh, op: eq, value: true}
"""
UNTESTED = """\
    - id: x_untested
      effect: warn
      mode: enforce
      when: [{field: dbt.has_tests, op: eq, value: false}]
"""
BRANCH = """\
    - id: x_branch
      effect: block
      mode: enforce
      when: [{field: change.branch, op: ne, value: main}]
"""
ACTOR = """\
    - id: x_actor
      effect: block
      mode: enforce
      when: [{field: actor.id, op: eq, value: "agent:bot"}]
"""
SCORE = """\
    - id: x_score
      effect: %s
      mode: enforce
      when: [{field: risk.score, op: gt, value: %d}]
"""
CALM = {"env.production": True, "change.full_refresh": False}
BOLD = {"env.production": True, "change.full_refresh": True}


def loaded(*rules: str, mode: str = "shadow") -> LoadedPolicy:
    return read_policy((HEAD % mode + "".join(rules)).encode(), now=TODAY)


APPROVED = REFRESH % ("require_approval", "enforce")


def replayed(root: Path, old: LoadedPolicy, new: LoadedPolicy) -> ReplayResult:
    runs = read_runs(bundle_paths(root))
    return replay_runs((run for run in runs if run is not None), old.compiled, new.compiled)


def counts(result: ReplayResult) -> dict[str, int]:
    return {str(verdict): count for verdict, count in result.counts.items() if count}


def seeded(root: Path, policy: LoadedPolicy, *asked: Asked, days: int = 1) -> None:
    for day in range(days):
        seal_decided(root, DecidedRun(policy, DAY + timedelta(days=day), asked, run_id=f"n{day}"))


def test_seeded_bundles_are_valid_evidence(tmp_path: Path) -> None:
    signer = ephemeral_signer()
    policy = loaded(APPROVED, UNTESTED)
    sealed = seal_decided(tmp_path, DecidedRun(policy, DAY, [Asked(BOLD)]), signer=signer)
    result = verify_bundle(sealed.path)
    assert (result.verdict, result.code) == ("warning", None)
    assert {warning.code for warning in result.warnings} == {"trust_not_evaluated"}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (REFRESH % ("require_approval", "enforce"), {"same": 3}),
        (REFRESH % ("warn", "enforce"), {"same": 2, "weaker": 1}),
        (REFRESH % ("block", "enforce"), {"same": 2, "stricter": 1}),
        # As long as it only shadows, it refuses nothing.
        (REFRESH % ("require_approval", "shadow"), {"same": 2, "weaker": 1}),
        ("", {"same": 2, "weaker": 1}),
    ],
    ids=["same", "weakened", "stricter", "shadow", "removed"],
)
def test_decisions_are_made_again(tmp_path: Path, new: str, expected: dict[str, int]) -> None:
    old = loaded(APPROVED)
    seeded(tmp_path, old, Asked(CALM), Asked(BOLD), Asked(CALM))
    changed = loaded(new) if new else read_policy(b"version: 1\n", now=TODAY)
    assert counts(replayed(tmp_path, old, changed)) == expected


def test_what_differs_is_counted_by_node_and_outcome(tmp_path: Path) -> None:
    old = loaded(UNTESTED)
    bare = Asked({"dbt.has_tests": False}, unique_id="model.shop.a")
    seeded(tmp_path, old, Asked({}), bare, Asked({"dbt.has_tests": True}, unique_id="model.shop.b"), days=3)
    result = replayed(tmp_path, old, loaded(UNTESTED.replace("warn", "block")))
    assert counts(result) == {"same": 6, "stricter": 3}
    (difference,) = result.differences
    assert (difference.unique_id, difference.target, difference.count) == ("model.shop.a", "prod", 3)
    assert (difference.outcome.old, difference.outcome.new) == (("warn",), ("block",))
    assert len(difference.bundles) == 3


def test_a_fact_that_nobody_asked_for_leaves_a_decision_open(tmp_path: Path) -> None:
    old = loaded(APPROVED)
    seeded(tmp_path, old, Asked({**CALM, "change.branch": "main"}))
    result = replayed(tmp_path, old, loaded(APPROVED, BRANCH))
    assert counts(result) == {"not decidable": 1}
    assert result.differences[0].outcome.untold == ("change.branch",)
    assert (result.differences[0].outcome.old, result.differences[0].outcome.new) == (("allow",), ("allow", "block"))


def test_an_open_fact_that_makes_no_difference_leaves_nothing_open(tmp_path: Path) -> None:
    # Whatever the branch was, a block is no less than the approval.
    old = loaded(REFRESH % ("block", "enforce"))
    seeded(tmp_path, old, Asked(BOLD))
    assert counts(replayed(tmp_path, old, loaded(REFRESH % ("block", "enforce"), BRANCH))) == {"same": 1}


def test_a_fact_that_was_asked_for_and_unknown_stays_unknown(tmp_path: Path) -> None:
    old = loaded(BRANCH)
    seeded(tmp_path, old, Asked({}))
    assert counts(replayed(tmp_path, old, loaded(BRANCH + "      on_missing: warn\n"))) == {"weaker": 1}


def test_a_fact_that_is_a_digest_is_not_told(tmp_path: Path) -> None:
    old = loaded(ACTOR)
    seeded(tmp_path, old, Asked({"actor.id": "ana"}))
    assert counts(replayed(tmp_path, old, loaded(ACTOR))) == {"same": 1}
    weaker = replayed(tmp_path, old, loaded(ACTOR.replace("block", "warn")))
    assert counts(weaker) == {"not decidable": 1}
    assert weaker.differences[0].outcome.untold == ("actor.id",)


def test_rules_on_risk_are_judged_by_the_score_of_that_time(tmp_path: Path) -> None:
    old = loaded(SCORE % ("block", 50))
    seal_decided(tmp_path, DecidedRun(old, DAY, [Asked({})], risk=60))
    assert counts(replayed(tmp_path, old, loaded(SCORE % ("block", 60)))) == {"weaker": 1}
    assert counts(replayed(tmp_path, old, loaded(SCORE % ("block", 59)))) == {"same": 1}


def test_a_new_rule_on_nodes_says_nothing_of_nodes_that_nobody_asked_about(tmp_path: Path) -> None:
    old = loaded(APPROVED)
    seeded(tmp_path, old, Asked(CALM))
    result = replayed(tmp_path, old, loaded(APPROVED, UNTESTED))
    assert counts(result) == {"not decidable": 1}
    assert result.differences[0].outcome.untold == ("dbt.has_tests",)


def test_one_decision_that_left_two_events_counts_once(tmp_path: Path) -> None:
    old = loaded(REFRESH % ("block", "shadow"), UNTESTED, mode="enforce")
    seeded(tmp_path, old, Asked(BOLD))
    (run,) = read_runs(bundle_paths(tmp_path))
    assert isinstance(run, Read)
    assert [event["mode"] for event in run.decisions] == ["enforce", "shadow"]
    assert counts(replayed(tmp_path, old, loaded(REFRESH % ("block", "enforce"), UNTESTED))) == {"stricter": 1}


def test_a_damaged_bundle_is_named(tmp_path: Path) -> None:
    old = loaded(APPROVED)
    seeded(tmp_path, old, Asked(CALM), days=3)
    paths = bundle_paths(tmp_path)
    paths[1].chmod(0o644)
    paths[1].write_bytes(paths[1].read_bytes()[:500])
    result = replayed(tmp_path, old, old)
    assert (result.runs, counts(result)) == (2, {"same": 2})
    (unread,) = result.unread
    assert (unread.path, type(unread)) == (paths[1], Unread)


def test_bundles_of_before_are_left_out(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(APPROVED), Asked(CALM), days=5)
    since = DAY + timedelta(days=3)
    kept = [run for run in read_runs(bundle_paths(tmp_path), since=since) if run is not None]
    assert [run.run_id for run in kept if isinstance(run, Read)] == ["n3", "n4"]


def test_one_event_for_the_run_and_a_node_is_judged_by_all_rules(tmp_path: Path) -> None:
    old = loaded(APPROVED, UNTESTED)
    both = Asked({**BOLD, "dbt.has_tests": False}, unique_id="model.shop.a", scope="all")
    seeded(tmp_path, old, both)
    weaker = replayed(tmp_path, old, loaded(REFRESH % ("warn", "enforce"), UNTESTED))
    assert counts(weaker) == {"weaker": 1}


def test_nodes_that_share_an_event_tell_only_what_they_agree_on(tmp_path: Path) -> None:
    old = loaded(APPROVED, UNTESTED)
    # Of two nodes, one tested and one not, the gate keeps no fact.
    seeded(tmp_path, old, Asked(CALM, scope="all"))
    assert counts(replayed(tmp_path, old, loaded(APPROVED, UNTESTED.replace("warn", "block")))) == {"not decidable": 1}


def test_what_a_gate_refused_by_itself_is_not_made_again(tmp_path: Path) -> None:
    old = loaded(APPROVED)
    own = {"id": "d-own", "point": "run", "mode": "shadow", "decision": "block", "code": "tests_failed", "rules": []}
    more: list[dict[str, object]] = [{**own, "missing": [], "facts": {}, "policy_sha256": old.sha256, "risk": None}]
    seal_decided(tmp_path, DecidedRun(old, DAY, [Asked(CALM)], more=more))
    assert counts(replayed(tmp_path, old, loaded(REFRESH % ("warn", "enforce")))) == {"same": 1}


@pytest.mark.parametrize(
    "spoiled",
    [
        {"rules": [{"id": "x_a", "effect": "destroy", "severity": "critical", "state": "matched"}]},
        {"rules": [{"id": "x_a", "effect": "block", "severity": "critical"}]},
        {"rules": None},
        {"facts": []},
        {"missing": [1]},
        {"point": "nowhere"},
        {"decision": "maybe"},
        {"unique_id": 3},
        {"occurred_at": "yesterday"},
    ],
    ids=str,
)
def test_a_decision_that_is_none_spoils_its_bundle_alone(spoiled: dict[str, object]) -> None:
    sound = {"id": "d", "point": "run", "mode": "shadow", "decision": "allow", "rules": [], "missing": [], "facts": {}}
    event = {**sound, "occurred_at": "2026-01-01T00:00:00Z"}
    assert checked_decision(event) == event
    with pytest.raises((FormatError, KeyError, TypeError, ValueError)):
        checked_decision({**event, **spoiled})
