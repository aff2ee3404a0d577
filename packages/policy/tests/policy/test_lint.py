# SPDX-License-Identifier: Apache-2.0
"""One file per fault: `faults/` holds them, each with what is expected of it in its first line."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from clyra.policy.lint import ENGINE_VERSION, check_policy
from clyra.policy.load import read_policy
from clyra.policy.problem import PolicyInvalid, Problem
from clyra.spec import spec_folder

FAULTS = sorted((Path(__file__).parent / "faults").glob("*.yaml"))
TODAY = date(2026, 11, 1)


def problems(text: str) -> tuple[Problem, ...]:
    return check_policy(text.encode(), name="clyra.policy.yaml", now=TODAY).problems


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_a_file_with_one_fault_gives_one_problem_at_its_place(path: Path) -> None:
    expected = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    found = check_policy(path.read_bytes(), name=path.name, now=TODAY).problems
    assert [f"{each.line}:{each.column} {each.severity} {each.code}" for each in found] == [expected]


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_the_loader_refuses_exactly_what_lint_calls_an_error(path: Path) -> None:
    checked = check_policy(path.read_bytes(), name=path.name, now=TODAY)
    if not checked.errors:
        assert read_policy(path.read_bytes(), name=path.name, now=TODAY).warnings == checked.problems
        return
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(path.read_bytes(), name=path.name, now=TODAY)
    assert caught.value.problems == checked.problems
    expected = "policy_requires" if checked.errors[0].code == "policy_requires" else "policy_invalid"
    assert caught.value.code == expected


def test_every_code_of_a_policy_file_has_a_file_with_that_fault() -> None:
    others = {"policy_invalid", "policy_unavailable", "policy_test_failed", "policy_check_failed", "policy_digest"}
    others.add("policy_not_pinned")
    known = set(re.findall(r"^\| `(policy_[a-z_]+)`", (spec_folder() / "errors.md").read_text(), re.MULTILINE)) - others
    shown = {path.read_text(encoding="utf-8").split()[3] for path in FAULTS}
    assert shown == known


def test_all_problems_of_a_file_are_named_in_the_order_of_the_file() -> None:
    text = """version: 1
enviroments: {}
data_platform:
  rules:
    - id: x_a
      effect: blok
      when:
        - {field: change.models, op: gtt, value: 7}
        - {field: dbt.nod, op: eq, value: a}
enforcement: {approvals: {quorum: 9, max_ttl: 3}}
"""
    assert [str(each) for each in problems(text)] == [
        'clyra.policy.yaml:2:1: error policy_key: key "enviroments" is not known here; did you mean "environments"',
        'clyra.policy.yaml:6:15: error policy_value: "effect" is "blok"; expected "block", "require_approval", "warn" '
        'or "allow"; did you mean "block"',
        'clyra.policy.yaml:8:38: error policy_op: op "gtt" is not known; did you mean "gt"',
        'clyra.policy.yaml:9:19: error policy_fact: fact "dbt.nod" is not declared; did you mean "dbt.node"',
        'clyra.policy.yaml:10:35: error policy_range: "quorum" is 9; expected a whole number from 1 to 8',
        'clyra.policy.yaml:10:47: error policy_duration: "max_ttl" is 3; expected a duration with its unit, such as '
        '"60s"; write 3s, or max_ttl_s: 3',
    ]


def test_the_same_file_gives_the_same_problems() -> None:
    text = "b: off\na: {c: on}\nrules: []\nname: 5\n"
    assert problems(text) == problems(text)


@pytest.mark.parametrize(
    ("requires", "engine", "fits"),
    [
        (">=0.1", "0.1.0", True),
        (">=0.1,<0.2", "0.1.9", True),
        (">=0.1, <0.2", "0.2.0", False),
        ("==0.1", "0.1.0", True),
        ("!=0.1", "0.1.0", False),
        (">0.1", "0.1.0", False),
        ("<=1", "1.0.0rc1", True),
        (">=0.10", "0.9", False),
    ],
)
def test_requires_is_held_against_the_version_of_the_engine(requires: str, engine: str, fits: bool) -> None:
    data = f'requires: "{requires}"\n'.encode()
    found = check_policy(data, name="f", now=TODAY, engine=engine).problems
    assert [each.code for each in found] == ([] if fits else ["policy_requires"])


def test_the_engine_version_is_that_of_the_distribution() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == ENGINE_VERSION


@pytest.mark.parametrize(
    "when",
    [
        "[{field: dbt.target, op: eq, value: a}, {field: dbt.target, op: in, value: [a, b]}]",
        "[{field: dbt.target, op: prefix, value: pr}, {field: dbt.target, op: ne, value: prod}]",
        "[{field: change.models, op: ge, value: 10}, {field: change.models, op: le, value: 10}]",
        "[{field: risk.score, op: gt, value: 99}]",
        "[{field: dbt.tags, op: has, value: a}, {field: dbt.tags, op: lacks, value: b}]",
        "[{field: dbt.tags, op: has_any, value: [a, b]}, {field: dbt.tags, op: lacks, value: a}]",
        "[{field: dbt.tags, op: has_all, value: [a, b]}, {field: dbt.tags, op: size_lt, value: 3}]",
        "[{field: dbt.node, op: exists}, {field: dbt.node, op: ne, value: a}]",
        "[{any: [{field: dbt.target, op: eq, value: a}]}, {any: [{field: dbt.target, op: eq, value: b}]}]",
        "[{field: change.dirty, op: ne, value: true}]",
        '[{field: env.name, op: eq, value: "unknown"}]',
    ],
)
def test_conditions_that_can_hold_pass(when: str) -> None:
    text = "data_platform: {rules: [{id: x_a, effect: warn, mode: shadow, when: %s}]}\n" % when  # noqa: UP031 -- braces
    assert problems(text) == ()


@pytest.mark.parametrize(
    "when",
    [
        "[{field: dbt.target, op: eq, value: a}, {field: dbt.target, op: ne, value: a}]",
        "[{field: dbt.target, op: prefix, value: pr}, {field: dbt.target, op: eq, value: dev}]",
        "[{field: dbt.target, op: in, value: [a, b]}, {field: dbt.target, op: not_in, value: [a, b]}]",
        "[{field: change.dirty, op: eq, value: true}, {field: change.dirty, op: ne, value: true}]",
        "[{field: tool.effect, op: not_in, value: [read, write, external, money]}]",
        "[{field: change.models, op: lt, value: 0}]",
        "[{field: change.models, op: in, value: [1, 2]}, {field: change.models, op: gt, value: 2}]",
        "[{field: dbt.tags, op: has_all, value: [a, b]}, {field: dbt.tags, op: size_lt, value: 2}]",
        "[{field: dbt.tags, op: has_any, value: [a]}, {field: dbt.tags, op: lacks, value: a}]",
        "[{field: dbt.tags, op: size_ge, value: 2}, {field: dbt.tags, op: size_lt, value: 2}]",
    ],
)
def test_conditions_that_can_never_hold_are_refused(when: str) -> None:
    text = "data_platform: {rules: [{id: x_a, effect: warn, mode: shadow, when: %s}]}\n" % when  # noqa: UP031 -- braces
    assert [each.code for each in problems(text)] == ["policy_condition"]


def test_a_waiver_of_an_opaque_statement_by_digest_passes() -> None:
    waiver = (
        "waivers: [{id: w, rules: [opaque_call], %s, owner: a, approved_by: b, reason: c, ticket: d, "
        'created: "2026-10-01", expires: "2026-12-30"}]\n'
    )
    assert problems(waiver % 'digests: ["sql/v0:postgres:00"]') == ()
    assert problems(waiver % "when: [{field: action.statement_digest, op: eq, value: a}]") == ()
    assert [each.code for each in problems(waiver % "relations: [a.b]")] == ["policy_waiver"]


@pytest.mark.parametrize(("retention", "frameworks"), [("{keep: 6y}", "[hipaa]"), ("{keep: 7y, hot: 1y}", "[pci]")])
def test_a_retention_at_the_floor_passes(retention: str, frameworks: str) -> None:
    assert problems(f"compliance: {{frameworks: {frameworks}, retention: {retention}}}\n") == ()


def test_a_waiver_holds_on_its_last_day() -> None:
    data = b"""waivers: [{id: w, rules: [truncate], nodes: [a], owner: a, approved_by: b, reason: c, ticket: d,
  created: "2026-08-03", expires: "2026-11-01"}]\n"""
    assert check_policy(data, name="f", now=TODAY).problems == ()
    late = check_policy(data, name="f", now=date(2026, 11, 2)).problems
    assert [each.code for each in late] == ["policy_waiver_expired"]
