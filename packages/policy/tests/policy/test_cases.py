# SPDX-License-Identifier: Apache-2.0
"""Cases: how they are read, what passes, what a rule is covered by."""

from __future__ import annotations

from datetime import date

import pytest

from clyra.policy.case_files import read_cases
from clyra.policy.cases import Case, coverage, run_case
from clyra.policy.load import LoadedPolicy, read_policy
from clyra.policy.problem import PolicyInvalid

TODAY = date(2026, 6, 1)
POLICY = """\
version: 1
environments:
  production: {targets: [prod], mode: enforce, production: true}
  development: {targets: [dev], mode: shadow}
data_platform:
  rules:
    - id: x_refresh
      effect: require_approval
      mode: enforce
      when:
        - {field: env.production, op: eq, value: true}
        - {field: change.full_refresh, op: eq, value: true}
    - id: x_late
      effect: block
      mode: shadow
      when:
        - any:
            - {field: env.off_hours, op: eq, value: true}
            - {field: env.change_freeze, op: eq, value: true}
        - {field: actor.kind, op: eq, value: human}
      on_missing: ignore
enforcement:
  risk: {thresholds: [{above: 80, effect: require_approval}]}
waivers:
  - id: w_refresh
    rules: [x_refresh]
    when: [{field: change.branch, op: eq, value: hotfix}]
    owner: data
    approved_by: ana
    reason: the hotfix rebuilds
    ticket: OPS-1
    created: "2026-05-01"
    expires: "2026-06-30"
"""


@pytest.fixture(scope="module")
def policy() -> LoadedPolicy:
    return read_policy(POLICY.encode(), now=TODAY)


def read(policy: LoadedPolicy, text: str) -> tuple[Case, ...]:
    rule_ids = [rule.id for rule in policy.compiled.rules]
    return read_cases(text.encode(), name="t.yaml", environments=policy.environments, rule_ids=rule_ids)


def faults(policy: LoadedPolicy, text: str) -> tuple[str, ...]:
    (case,) = read(policy, text)
    return run_case(policy.compiled, policy.environments, case, today=TODAY).faults


ONE = "cases: [{name: a, %s}]\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cases: {}\n", "1:8: error policy_type: cases is a list"),
        ("tests: []\n", '1:1: error policy_key: key "tests" is not known here'),
        ("cases: []\ngivn: {}\n", 'did you mean "given"'),
        ("given: {}\n", 'policy_missing_key: the key "cases" is missing'),
        (ONE % "given: {}", '1:9: error policy_missing_key: the key "expect" is missing'),
        (ONE % "expect: {decision: blok}", '1:38: error policy_value: "blok" is not known'),
        (ONE % "expect: {decision: allow}, point: rum", 'did you mean "run"'),
        (ONE % "expect: {decision: allow}, given: {change.full_refesh: true}", "1:54: error policy_fact: fact"),
        (ONE % "expect: {decision: allow}, given: {change.full_refesh: true}", 'did you mean "change.full_refresh"'),
        (ONE % "expect: {decision: allow}, given: {action.rows: 3}", "policy_fact_point: action.rows is never known"),
        (ONE % "expect: {decision: allow}, given: {change.dirty: 1}", "1:68: error policy_type: change.dirty is 1"),
        (ONE % "expect: {decision: allow}, given: {actor.kind: humam}", 'did you mean "human"'),
        (ONE % "expect: {decision: allow}, given: {dbt.tags: [1]}", "policy_type: dbt.tags is [1]"),
        (ONE % "expect: {decision: allow}, given: [1]", "policy_type: given is facts by name"),
        (ONE % "expect: {decision: allow, rules: {x_refrsh: block}}", 'did you mean "x_refresh"'),
        (ONE % "expect: {decision: allow, rules: [x_refrsh]}", "1:53: error policy_rule_id: the policy has no rule"),
        (ONE % "expect: {decision: allow, rules: x_refresh}", "policy_type: rules is a list of ids"),
        (ONE % "expect: {decision: allow}, environment: produktion", 'did you mean "production"'),
        (ONE % "expect: {decision: allow}, environment: production, target: dev", "is in environment development"),
        (ONE % "expect: {decision: allow}, today: 2026-01-01", "policy_yaml_trap"),
        (ONE % 'expect: {decision: allow}, today: "tomorrow"', "policy_time: today is a day in quotes"),
        ("cases:\n  - {name: a, expect: {decision: allow}}\n  - {name: a, expect: {decision: allow}}\n", "3:12: error"),
        ("cases: [\n", "policy_syntax"),
    ],
)
def test_a_fault_in_a_file_of_cases_has_its_place(policy: LoadedPolicy, text: str, problem: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read(policy, text)
    assert any(problem in str(each) for each in caught.value.problems), list(map(str, caught.value.problems))


def test_a_target_tells_the_facts_of_its_environment(policy: LoadedPolicy) -> None:
    (case,) = read(policy, ONE % "target: prod, expect: {decision: allow}")
    assert case.facts == {
        "env.name": "production",
        "env.production": True,
        "env.change_freeze": False,
        "dbt.target": "prod",
    }


def test_a_target_that_no_environment_lists_leaves_production_unknown(policy: LoadedPolicy) -> None:
    (case,) = read(policy, ONE % "target: laptop, expect: {decision: allow}")
    assert case.facts["env.name"] == "unknown"
    assert "env.production" not in case.facts


def test_a_case_changes_what_its_file_gives_and_null_makes_it_unknown(policy: LoadedPolicy) -> None:
    text = """\
target: prod
given: {change.dirty: false, change.full_refresh: false, action.rows: 7}
cases:
  - name: a
    given: {change.dirty: null, change.full_refresh: true}
    expect: {decision: allow}
  - {name: b, target: dev, expect: {decision: allow}}
  - {name: c, point: rows, expect: {decision: allow}}
"""
    first, second, third = read(policy, text)
    assert "change.dirty" not in first.facts
    assert first.facts["change.full_refresh"] is True
    assert second.facts["dbt.target"] == "dev"
    assert second.facts["env.production"] is False
    # What a point never knows is left out there, and only there.
    assert "action.rows" not in first.facts
    assert third.facts["action.rows"] == 7
    assert (first.line, second.line) == (4, 7)


REFRESH = "target: prod, given: {change.full_refresh: true, actor.kind: service%s}, expect: {%s}"


def test_a_case_passes_that_expects_what_comes_out(policy: LoadedPolicy) -> None:
    wanted = "decision: require_approval, rules: {x_refresh: require_approval}, enforced: require_approval"
    assert faults(policy, ONE % (REFRESH % ("", wanted))) == ()


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ("decision: allow", "expected allow, got require_approval by x_refresh require_approval"),
        ("decision: require_approval, rules: {x_refresh: block}", "expected x_refresh to say block"),
        ("decision: require_approval, rules: []", "x_refresh says require_approval (matched), which was not expected"),
        ("decision: require_approval, rules: [x_refresh, x_late]", "expected x_late to have a say; it has none"),
        ("decision: require_approval, enforced: block", "expected that block is enforced, got require_approval"),
    ],
)
def test_a_case_says_in_what_it_was_wrong(policy: LoadedPolicy, wanted: str, fault: str) -> None:
    (found,) = faults(policy, ONE % (REFRESH % ("", wanted)))
    assert fault in found


def test_a_rule_in_shadow_mode_decides_and_is_not_enforced(policy: LoadedPolicy) -> None:
    given = "target: prod, given: {change.full_refresh: false, env.off_hours: true, actor.kind: human}"
    assert faults(policy, ONE % f"{given}, expect: {{decision: block, rules: [x_late], enforced: allow}}") == ()


def test_an_environment_in_shadow_mode_enforces_nothing(policy: LoadedPolicy) -> None:
    given = "target: dev, given: {env.production: true, change.full_refresh: true, actor.kind: service}"
    assert faults(policy, ONE % f"{given}, expect: {{decision: require_approval, enforced: allow}}") == ()


def test_a_waiver_counts_on_the_day_of_the_case(policy: LoadedPolicy) -> None:
    waived = REFRESH % (", change.branch: hotfix", "decision: warn, rules: {x_refresh: warn}")
    over = REFRESH % (", change.branch: hotfix", "decision: require_approval")
    assert faults(policy, ONE % f'today: "2026-06-30", {waived}') == ()
    assert faults(policy, ONE % f'today: "2026-07-01", {over}') == ()


def test_a_score_is_held_against_the_thresholds(policy: LoadedPolicy) -> None:
    given = "target: prod, given: {change.full_refresh: false, actor.kind: service, risk.score: %s}"
    assert faults(policy, ONE % f"{given % 80}, expect: {{decision: allow, rules: []}}") == ()
    expect = "expect: {decision: require_approval, rules: {risk_threshold: require_approval}}"
    assert faults(policy, ONE % f"{given % 81}, {expect}") == ()


def test_an_unexpected_rule_names_the_facts_it_wants(policy: LoadedPolicy) -> None:
    (fault,) = faults(policy, ONE % "target: prod, expect: {decision: require_approval, rules: []}")
    assert fault == (
        "x_refresh says require_approval (unknown for want of change.full_refresh), which was not expected"
    )


COVERED = """\
cases:
  - {name: hit, target: prod, given: {change.full_refresh: true}, expect: {decision: allow}}
  - {name: other place, target: dev, given: {change.full_refresh: true}, expect: {decision: allow}}
  - {name: neither, target: dev, given: {change.full_refresh: false}, expect: {decision: allow}}
  - {name: unknown, target: prod, given: {env.production: null, change.full_refresh: false}, expect: {decision: allow}}
  - {name: late, given: {env.off_hours: true, env.change_freeze: false, actor.kind: human}, expect: {decision: allow}}
  - {name: no person, given: {env.off_hours: true, actor.kind: agent}, expect: {decision: allow}}
"""


def test_a_near_miss_fails_in_one_condition_and_knows_the_others(policy: LoadedPolicy) -> None:
    refresh, late = coverage(policy.compiled, read(policy, COVERED))
    assert (refresh.hits, refresh.near_misses) == (("hit",), ("other place",))
    # Any of a group is one condition.
    assert (late.hits, late.near_misses) == (("late",), ("no person",))
    assert refresh.is_covered


def test_a_rule_without_a_near_miss_is_not_covered(policy: LoadedPolicy) -> None:
    refresh, late = coverage(policy.compiled, read(policy, COVERED)[:1])
    assert not refresh.is_covered
    assert (late.hits, late.near_misses, late.is_covered) == ((), (), False)
