# SPDX-License-Identifier: Apache-2.0
"""The report: exactly the refusals that were seeded, the waivers for them, and when a target is ready."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from clyra.policy.load import LoadedPolicy, read_policy
from clyra.policy.problem import PolicyInvalid
from clyra.policy.recorded_runs import DecidedRun as RecordedRun
from clyra.policy.recorded_runs import bundle_paths, read_runs
from clyra.policy.report import Criteria, Finding, Report, build_report, siem_lines, waivers_for
from clyra.policy.yaml_text import items
from clyra.testing.decided_bundle import Asked, DecidedRun, seal_decided

DAY = datetime(2026, 5, 4, 9, tzinfo=UTC)
TODAY = date(2026, 6, 1)
POLICY = """\
version: 1
environments:
  production: {targets: [prod], mode: %s, production: true}
  development: {targets: [dev], mode: shadow}
data_platform:
  rules:
    - id: x_refresh
      effect: require_approval
      mode: enforce
      when: [{field: change.full_refresh, op: eq, value: true}]
    - id: x_untested
      effect: block
      mode: %s
      when: [{field: dbt.has_tests, op: eq, value: false}]
    - id: x_first
      effect: warn
      mode: enforce
      when: [{field: actor.first_time, op: eq, value: true}]
    - id: x_statement
      effect: block
      mode: enforce
      when: [{field: action.verb, op: eq, value: drop}]
"""
CALM = {"change.full_refresh": False, "actor.first_time": False}
FEW = Criteria(runs=3, days=3)


def loaded(more: str = "", *, mode: str = "shadow", rule_mode: str = "enforce") -> LoadedPolicy:
    return read_policy((POLICY % (mode, rule_mode) + more).encode(), now=TODAY)


def node(name: str, *, tested: bool) -> Asked:
    unique_id = f"model.shop.{name}"
    return Asked({"dbt.has_tests": tested, "dbt.node": unique_id}, unique_id=unique_id)


def seeded(root: Path, policy: LoadedPolicy, *runs: list[Asked], target: str = "prod", tests: int = 1) -> None:
    for day, asked in enumerate(runs):
        run = DecidedRun(policy, DAY + timedelta(days=day), asked, target=target, run_id=f"n{day}", tests=tests)
        seal_decided(root, run)


def reported(root: Path, policy: LoadedPolicy | None = None, criteria: Criteria = FEW) -> Report:
    runs = (run for run in read_runs(bundle_paths(root)) if run is not None)
    if policy is None:
        return build_report(runs, criteria=criteria)
    return build_report(runs, policy=policy.compiled, environments=policy.environments, criteria=criteria)


def lines(findings: list[Finding]) -> list[tuple[str, str, str | None, int]]:
    return [(each.kind, each.rule, each.unique_id, each.count) for each in findings]


WEEK = [
    [Asked(CALM), node("a", tested=False), node("b", tested=True)],
    [Asked({**CALM, "change.full_refresh": True}), node("a", tested=False), node("b", tested=False)],
    [Asked({**CALM, "actor.first_time": True}), node("a", tested=True), node("b", tested=True)],
]


def test_the_report_has_exactly_what_was_seeded(tmp_path: Path) -> None:
    policy = loaded()
    seeded(tmp_path, policy, *WEEK)
    report = reported(tmp_path, policy)
    assert (report.runs, report.without_policy, report.unread) == (3, 0, [])
    assert lines(report.findings) == [
        ("would_refuse", "x_untested", "model.shop.a", 2),
        ("would_refuse", "x_untested", "model.shop.b", 1),
        ("would_refuse", "x_refresh", None, 1),
        ("warned", "x_first", None, 1),
    ]
    first = report.findings[0]
    assert (first.effect, first.severity, first.targets, first.runs) == ("block", "critical", {"prod"}, {"n0", "n1"})
    assert (first.first_seen[:10], first.last_seen[:10]) == ("2026-05-04", "2026-05-05")


def test_a_rule_that_fires_for_want_of_a_fact_says_which(tmp_path: Path) -> None:
    policy = loaded()
    seeded(tmp_path, policy, [Asked({"actor.first_time": False})])
    (finding,) = reported(tmp_path, policy).findings
    assert (finding.rule, finding.unknown, finding.missing) == ("x_refresh", 1, {"change.full_refresh"})


def test_what_is_enforced_was_refused_and_what_shadows_would_have_been(tmp_path: Path) -> None:
    policy = loaded(mode="enforce", rule_mode="shadow")
    seeded(tmp_path, policy, [Asked({**CALM, "change.full_refresh": True}), node("a", tested=False)])
    assert lines(reported(tmp_path, policy).findings) == [
        ("would_refuse", "x_untested", "model.shop.a", 1),
        ("refused", "x_refresh", None, 1),
    ]


def test_a_target_is_ready_after_enough_quiet_runs_with_tests(tmp_path: Path) -> None:
    policy = loaded()
    seeded(tmp_path, policy, *[[Asked(CALM), node("a", tested=True)]] * 3)
    (target,) = reported(tmp_path, policy).targets
    assert (target.target, target.environment, target.mode) == ("prod", "production", "shadow")
    assert (target.runs, target.days, target.tests_ran, target.missing) == (3, 3, 3, ())


@pytest.mark.parametrize(
    ("runs", "tests", "criteria", "missing"),
    [
        ([[Asked(CALM)]] * 2, 1, Criteria(3, 2), "1 more run in shadow mode (2 of 3)"),
        ([[Asked(CALM)]] * 2, 1, Criteria(5, 2), "3 more runs in shadow mode (2 of 5)"),
        ([[Asked(CALM)]] * 2, 1, Criteria(2, 4), "2 more days in shadow mode (2 of 4)"),
        ([[Asked(CALM)]] * 2, 0, Criteria(2, 2), "a run whose dbt tests ran"),
        (
            [[Asked(CALM), node("a", tested=False)]] * 2,
            1,
            Criteria(2, 2),
            "a fix or a waiver for x_untested on model.shop.a (2 would-be refusals)",
        ),
    ],
    ids=["a run", "runs", "days", "tests", "refusals"],
)
def test_a_target_that_is_not_ready_says_what_is_missing(
    tmp_path: Path, runs: list[list[Asked]], tests: int, criteria: Criteria, missing: str
) -> None:
    policy = loaded()
    seeded(tmp_path, policy, *runs, tests=tests)
    (target,) = reported(tmp_path, policy, criteria).targets
    assert target.missing == (missing,)


def test_targets_are_judged_apart(tmp_path: Path) -> None:
    policy = loaded()
    seeded(tmp_path, policy, *[[Asked(CALM)]] * 3)
    seeded(tmp_path, policy, *[[Asked(CALM), node("a", tested=False)]] * 3, target="dev")
    dev, prod = reported(tmp_path, policy).targets
    assert (dev.target, bool(dev.missing), prod.target, prod.missing) == ("dev", True, "prod", ())


def test_a_warning_is_not_in_the_way(tmp_path: Path) -> None:
    policy = loaded()
    seeded(tmp_path, policy, *[[Asked({**CALM, "actor.first_time": True})]] * 3)
    assert reported(tmp_path, policy).targets[0].missing == ()


WAIVER = """\
waivers:
  - id: w_a
    rules: [x_untested]
    nodes: [model.shop.a]
    owner: data
    approved_by: ana
    reason: the tests follow
    ticket: OPS-1
    created: "2026-05-01"
    expires: "2026-07-01"
"""


def test_a_waiver_of_today_settles_what_was_recorded_before_it(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *[[Asked(CALM), node("a", tested=False)]] * 3)
    report = reported(tmp_path, loaded(WAIVER))
    (finding,) = report.findings
    assert (finding.kind, finding.count, finding.settled, finding.is_settled) == ("would_refuse", 3, 3, True)
    assert report.targets[0].missing == ()
    assert waivers_for(report, today=TODAY) == []


def test_a_waiver_for_one_node_settles_no_other(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *[[Asked(CALM), node("a", tested=False), node("b", tested=False)]] * 3)
    report = reported(tmp_path, loaded(WAIVER))
    assert report.targets[0].missing == ("a fix or a waiver for x_untested on model.shop.b (3 would-be refusals)",)
    (waiver,) = waivers_for(report, today=TODAY)
    assert waiver["nodes"] == ["model.shop.b"]


def test_a_waived_decision_is_listed_as_waived(tmp_path: Path) -> None:
    policy = loaded(WAIVER)
    seeded(tmp_path, policy, [Asked(CALM), node("a", tested=False)])
    assert lines(reported(tmp_path, policy).findings) == [("waived", "x_untested", "model.shop.a", 1)]


def test_a_rule_that_was_made_milder_is_not_in_the_way(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *[[Asked({**CALM, "change.full_refresh": True})]] * 3)
    milder = read_policy((POLICY % ("shadow", "enforce")).replace("require_approval", "warn").encode(), now=TODAY)
    assert reported(tmp_path, milder).targets[0].missing == ()


def test_what_cannot_be_decided_again_stays_in_the_way(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *[[Asked({**CALM, "change.full_refresh": True})]] * 3)
    narrower = POLICY.replace(
        "change.full_refresh, op: eq, value: true}]",
        "change.full_refresh, op: eq, value: true}, {field: change.branch, op: eq, value: main}]",
    )
    policy = read_policy((narrower % ("shadow", "enforce")).encode(), now=TODAY)
    report = reported(tmp_path, policy)
    assert {each.standing for each in report.occurrences} == {"not decidable"}
    assert report.targets[0].missing == ("a fix or a waiver for x_refresh (3 would-be refusals)",)


def test_a_target_that_enforces_is_told_to_do_so(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), [Asked(CALM)])
    (target,) = reported(tmp_path, loaded(mode="enforce")).targets
    assert (target.mode, target.missing) == ("enforce", ())


def with_waivers(report: Report, *, filled_in: bool) -> str:
    waivers = waivers_for(report, today=TODAY)
    for waiver in waivers if filled_in else ():
        waiver.update(owner="data", approved_by="ana", reason="the tests follow", ticket="OPS-1")
    return "waivers:\n" + "\n".join(items(waivers, 2)) + "\n"


DROPS = Asked({"action.verb": "drop", "action.target": "marts.orders"}, unique_id="model.shop.a", point="statement")


def test_pasted_and_filled_in_waivers_settle_everything(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *WEEK, [DROPS])
    report = reported(tmp_path, loaded())
    settled = reported(tmp_path, loaded(with_waivers(report, filled_in=True)), Criteria(1, 1))
    assert settled.targets[0].missing == ()
    assert all(each.is_settled for each in settled.findings if each.kind == "would_refuse")


def test_a_waiver_that_nobody_filled_in_is_refused(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *WEEK)
    with pytest.raises(PolicyInvalid) as caught:
        loaded(with_waivers(reported(tmp_path, loaded()), filled_in=False))
    assert {problem.pointer.rpartition("/")[2] for problem in caught.value.problems} == {
        "owner",
        "approved_by",
        "reason",
        "ticket",
    }


def test_a_waiver_is_as_narrow_as_the_record_allows(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *WEEK, [DROPS])
    selectors = {
        waiver["rules"][0]: {name for name in ("nodes", "relations", "digests", "when") if name in waiver}
        for waiver in waivers_for(reported(tmp_path, loaded()), today=TODAY)
    }
    assert selectors["x_untested"] == {"nodes"}
    assert selectors["x_refresh"] == {"when"}


def test_the_siem_gets_one_line_per_rule_and_no_person(tmp_path: Path) -> None:
    policy = read_policy(
        (
            POLICY % ("shadow", "enforce")
            + "    - {id: x_bot, effect: warn, mode: enforce, when: [{field: actor.id, op: eq, value: bot}]}\n"
        ).encode(),
        now=TODAY,
    )
    seeded(tmp_path, policy, [Asked({**CALM, "actor.id": "bot"}), node("a", tested=False)])
    untested, bot = sorted(siem_lines(reported(tmp_path, policy)), key=lambda line: str(line["kind"]), reverse=True)
    assert (bot["rule"], bot["kind"], bot["target"], bot["environment"]) == ("x_bot", "warned", "prod", "production")
    assert "actor.id" not in bot["facts"]
    assert (untested["rule"], untested["unique_id"]) == ("x_untested", "model.shop.a")
    assert untested["facts"] == {"dbt.has_tests": False}


def test_a_damaged_bundle_is_named_and_the_others_count(tmp_path: Path) -> None:
    seeded(tmp_path, loaded(), *WEEK)
    path = bundle_paths(tmp_path)[0]
    path.chmod(0o644)
    path.write_bytes(b"not a container")
    report = reported(tmp_path, loaded())
    assert [each.path for each in report.unread] == [path]
    assert report.runs == 2


def own_refusal(run: DecidedRun) -> dict[str, object]:
    """What a gate writes that refuses by itself."""
    return {
        "id": "d-own",
        "point": "run",
        "mode": "shadow",
        "decision": "block",
        "code": "tests_failed",
        "rules": [],
        "missing": [],
        "facts": {},
        "policy_sha256": run.policy.sha256,
        "risk": None,
    }


def test_what_the_gate_itself_would_refuse_is_listed_and_has_no_waiver(tmp_path: Path) -> None:
    policy = loaded()
    run = DecidedRun(policy, DAY, [Asked(CALM)])
    seal_decided(tmp_path, replace(run, more=[own_refusal(run)]))
    report = reported(tmp_path, policy, Criteria(1, 1))
    assert lines(report.findings) == [("would_refuse", "tests_failed", None, 1)]
    assert waivers_for(report, today=TODAY) == []
    assert report.targets[0].missing == ("a fix for tests_failed (1 would-be refusal)",)


def test_one_event_for_the_run_and_its_only_node_is_settled_by_a_waiver_for_the_node(tmp_path: Path) -> None:
    both = Asked({**CALM, "dbt.has_tests": False}, unique_id="model.shop.a", scope="all")
    seeded(tmp_path, loaded(), [both])
    report = reported(tmp_path, loaded(WAIVER), Criteria(1, 1))
    assert [(each.unique_id, each.is_settled) for each in report.findings] == [("model.shop.a", True)]


def test_a_rule_about_several_nodes_is_told_of_each(tmp_path: Path) -> None:
    policy = loaded()
    seeded(tmp_path, policy, [node("a", tested=False)])
    (run,) = (run for run in read_runs(bundle_paths(tmp_path)) if isinstance(run, RecordedRun))
    nodes = ["model.shop.a", "model.shop.b"]
    told = tuple({**event, "rules": [{**rule, "nodes": nodes} for rule in event["rules"]]} for event in run.decisions)
    report = build_report([replace(run, decisions=told)], criteria=FEW)
    assert lines(report.findings) == [("would_refuse", "x_untested", node, 1) for node in nodes]
