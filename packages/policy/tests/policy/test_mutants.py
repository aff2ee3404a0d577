# SPDX-License-Identifier: Apache-2.0
"""Mutants: which there are, which a suite notices, and the case that would."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from clyra.policy.case_files import read_cases
from clyra.policy.cases import Case, Expected, run_case
from clyra.policy.effect import EFFECTS
from clyra.policy.engine import compile_policy
from clyra.policy.load import LoadedPolicy, read_policy
from clyra.policy.mutate import mutants
from clyra.policy.survivors import MissingCase, Tried, try_mutants

TODAY = date(2026, 6, 1)
HEAD = """\
version: 1
environments:
  production: {targets: [prod], mode: enforce, production: true}
data_platform:
  rules:
"""
ROWS = """\
    - id: x_rows
      effect: block
      mode: enforce
      when:
        - {field: env.production, op: eq, value: true}
        - {field: action.rows, op: gt, value: 1000}
        - {field: action.schema, op: in, value: [marts, finance]}
"""
WAIVED = """\
waivers:
  - id: w_load
    rules: [x_rows]
    relations: [marts.orders]
    when: [{field: dbt.target, op: eq, value: prod}]
    owner: data
    approved_by: ana
    reason: the yearly load
    ticket: OPS-1
    created: "2026-05-01"
    expires: "2026-06-30"
"""
SUITE = """\
target: prod
point: rows
given: {action.rows: 1001, action.schema: marts, action.target: marts.customers}
cases:
  - {name: one row too many, expect: {decision: block, rules: {x_rows: block}}}
  - {name: in finance too, given: {action.schema: finance}, expect: {decision: block, rules: {x_rows: block}}}
  - {name: the limit itself, given: {action.rows: 1000}, expect: {decision: allow, rules: {}}}
  - {name: elsewhere, given: {action.schema: staging}, expect: {decision: allow, rules: {}}}
  - {name: not in production, given: {env.production: false}, expect: {decision: allow, rules: {}}}
  - {name: rows unknown, given: {action.rows: null}, expect: {decision: block, rules: {x_rows: block}}}
"""
WAIVER_CASES = """\
  - name: the load is waived
    today: "2026-06-30"
    given: {action.target: marts.orders}
    expect: {decision: warn, rules: {x_rows: warn}}
  - name: a day later it is not
    today: "2026-07-01"
    given: {action.target: marts.orders}
    expect: {decision: block, rules: {x_rows: block}}
  - name: nor from another target
    given: {action.target: marts.orders, dbt.target: adhoc}
    expect: {decision: block, rules: {x_rows: block}}
"""


def loaded(rules: str) -> LoadedPolicy:
    return read_policy((HEAD + rules).encode(), now=TODAY)


def cases_of(policy: LoadedPolicy, text: str) -> list[Case]:
    rule_ids = [rule.id for rule in policy.compiled.rules]
    return list(read_cases(text.encode(), name="t.yaml", environments=policy.environments, rule_ids=rule_ids))


def tried(policy: LoadedPolicy, cases: list[Case]) -> list[Tried]:
    return list(try_mutants(policy.document, policy.environments, cases, today=TODAY))


def survivors(policy: LoadedPolicy, text: str) -> set[str]:
    return {each.mutant.change for each in tried(policy, cases_of(policy, text)) if each.outcome == "survived"}


def without(text: str, *names: str) -> str:
    kept = [line for line in text.splitlines() if not any(f"name: {name}," in line for name in names)]
    return "\n".join(kept) + "\n"


def test_a_full_suite_leaves_no_survivor() -> None:
    assert survivors(loaded(ROWS), SUITE) == set()


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        pytest.param(["the limit itself"], {"action.rows gt becomes ge"}),
        pytest.param(["in finance too"], {"action.schema in: finance dropped"}),
        pytest.param(
            ["elsewhere"],
            {'condition removed: action.schema in ["marts", "finance"]'},
        ),
        pytest.param(["not in production"], {"condition removed: env.production eq true"}),
        pytest.param(["rows unknown"], {"on_missing block becomes ignore"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_weak_suite_leaves_exactly_what_it_does_not_look_at(left_out: list[str], expected: set[str]) -> None:
    assert survivors(loaded(ROWS), without(SUITE, *left_out)) == expected


def test_a_suite_that_only_looks_at_the_decision_misses_rules_behind_stronger_ones() -> None:
    rules = ROWS + ROWS.replace("x_rows", "x_behind").replace("effect: block", "effect: warn")
    decision_only = SUITE.replace(", rules: {x_rows: block}", "").replace(", rules: {}", "")
    found = survivors(loaded(rules), decision_only)
    assert {"rule removed", "effect warn weakened to allow"} <= found


def test_the_case_that_is_offered_notices_the_mutant() -> None:
    policy = loaded(ROWS + WAIVED)
    cases = cases_of(policy, without(SUITE, "the limit itself", "elsewhere", "rows unknown"))
    found = [each for each in tried(policy, cases) if each.outcome == "survived"]
    assert len(found) > 5
    for each in found:
        assert each.missing is not None
        case = as_case(policy, each.missing)
        assert run_case(policy.compiled, policy.environments, case, today=TODAY).faults == ()
        changed = compile_policy(each.mutant.document)
        assert run_case(changed, policy.environments, case, today=TODAY).faults, each.mutant.change


def as_case(policy: LoadedPolicy, missing: MissingCase) -> Case:
    """The case as somebody would write it down: beside the one it is like, or alone."""
    before = {} if missing.like is None else missing.like.facts
    facts = {name: value for name, value in {**before, **missing.given}.items() if value is not None}
    decision = next(effect for effect in EFFECTS if effect == missing.decision)
    rules = {name: next(effect for effect in EFFECTS if effect == said) for name, said in missing.rules.items()}
    return Case("new", missing.point, facts, Expected(decision, rules), today=missing.today)


def test_adding_the_offered_cases_one_after_the_other_ends_without_survivors() -> None:
    policy = loaded(ROWS + WAIVED)
    cases = cases_of(policy, without(SUITE, "the limit itself", "elsewhere", "in finance too", "rows unknown"))
    for _ in range(20):
        found = [each for each in tried(policy, cases) if each.outcome == "survived"]
        if not found:
            return
        assert found[0].missing is not None
        cases.append(as_case(policy, found[0].missing))
    pytest.fail(f"still there: {[each.mutant.change for each in found]}")


def test_a_waiver_has_mutants_of_its_own() -> None:
    policy = loaded(ROWS + WAIVED)
    assert survivors(policy, SUITE) == {
        "expires 2026-06-30 extended to 2026-07-01",
        "selector relations removed: it covers more",
        "selector when removed: it covers more",
        "dbt.target eq becomes ne",
        "waiver removed",
    } - {"selector relations removed: it covers more"}
    assert survivors(policy, SUITE + WAIVER_CASES) == set()


@pytest.mark.parametrize(
    ("condition", "change"),
    [
        ("{field: dbt.tags, op: has_any, value: [pii]}", "dbt.tags has_any becomes has_all"),
        ("{field: action.kind, op: eq, value: dbt.run}", None),
    ],
)
def test_a_mutant_that_changes_no_decision_is_equivalent(condition: str, change: str | None) -> None:
    policy = loaded(f"    - {{id: x_one, effect: warn, mode: enforce, when: [{condition}]}}\n")
    assert {each.mutant.change for each in tried(policy, []) if each.outcome == "equivalent"} == {change} - {None}


def test_a_weaker_threshold_behind_a_stronger_one_is_equivalent() -> None:
    thresholds = "[{above: 50, effect: block}, {above: 80, effect: warn}]"
    text = f"version: 1\nenforcement: {{risk: {{thresholds: {thresholds}}}}}\n"
    policy = read_policy(text.encode(), now=TODAY)
    outcomes = {(each.mutant.pointer, each.mutant.change): each.outcome for each in tried(policy, [])}
    place = "/enforcement/risk/thresholds"
    assert outcomes[f"{place}/1/above", "above 80 becomes 81"] == "equivalent"
    assert outcomes[f"{place}/1", "threshold removed"] == "equivalent"
    assert outcomes[f"{place}/0/above", "above 50 becomes 51"] == "survived"


def test_mutants_are_refused_for_cases_that_fail() -> None:
    policy = loaded(ROWS)
    wrong = "cases: [{name: a, expect: {decision: warn}}]\n"
    with pytest.raises(ValueError, match="passes its cases"):
        tried(policy, cases_of(policy, wrong))


EVERYTHING = """\
    - id: x_all
      effect: warn
      mode: enforce
      when:
        - {field: dbt.tags, op: has_any, value: [pii, gdpr]}
        - {field: dbt.groups, op: lacks, value: finance}
        - {field: dbt.packages, op: size_lt, value: 3}
        - {field: dbt.path, op: prefix, value: models/}
        - {field: change.models, op: le, value: 5}
        - {field: data.classification, op: exists, value: true}
        - any:
            - {field: change.dirty, op: eq, value: true}
            - {field: change.branch, op: not_in, value: [main, release]}
      on_missing: ignore
"""


def test_every_kind_of_fault_is_made() -> None:
    changes = [each.change for each in mutants(loaded(EVERYTHING + WAIVED.replace("x_rows", "x_all")).document)]
    for wanted in (
        "effect warn weakened to allow",
        "effect warn raised to require_approval",
        "on_missing ignore becomes warn",
        "dbt.tags has_any becomes has_all",
        "dbt.tags has_any: pii dropped",
        "dbt.groups lacks becomes has",
        "dbt.packages size_lt becomes size_ge",
        "dbt.packages size_lt 3 becomes 2",
        "dbt.packages size_lt 3 becomes 4",
        "dbt.path prefix becomes eq",
        "change.models le becomes lt",
        "change.models le 5 becomes 6",
        "data.classification exists: true becomes false",
        "any of the conditions becomes all of them",
        "condition removed: change.dirty eq true",
        "change.branch not_in: main dropped",
        "rule removed",
        "expires 2026-06-30 extended to 2026-07-01",
        "selector relations removed: it covers more",
        "waiver removed",
    ):
        assert wanted in changes


def test_no_mutant_is_the_policy_itself_and_none_is_made_twice() -> None:
    document = loaded(EVERYTHING + ROWS + WAIVED).document
    made = [each.document for each in mutants(document)]
    assert document not in made
    assert len({str(each) for each in made}) == len(made)


def test_a_mutant_leaves_the_policy_alone() -> None:
    policy = loaded(EVERYTHING + ROWS + WAIVED)
    before = str(policy.document)
    assert list(mutants(policy.document))
    assert str(policy.document) == before


def test_an_extended_waiver_is_told_by_the_day_after_it() -> None:
    policy = loaded(ROWS + WAIVED)
    (extended,) = [
        each for each in tried(policy, cases_of(policy, SUITE)) if each.mutant.pointer == "/waivers/0/expires"
    ]
    assert extended.missing is not None
    assert extended.missing.today == date(2026, 6, 30) + timedelta(days=1)
    assert extended.missing.decision == "block"
