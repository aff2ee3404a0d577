# SPDX-License-Identifier: Apache-2.0
"""The cases of the templates: they pass, reach every rule, and notice every mutant."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from clyra.policy.case_files import read_cases
from clyra.policy.cases import Case, coverage, run_case
from clyra.policy.load import LoadedPolicy, read_policy
from clyra.policy.survivors import try_mutants

HERE = Path(__file__).resolve().parent
CASES = HERE.parent / "templates"
TEMPLATES = HERE.parents[1] / "src/clyra/policy/templates"
TODAY = date(2026, 6, 1)
ALONE = ("data_platform", "genai_security", "voice_compliance", "enforcement", "compliance")

# The template with everything is held to the cases of all of its parts.
SUITES = {name: (name,) for name in ALONE} | {"full": ALONE[:4]}


@pytest.fixture(params=sorted(SUITES))
def suite(request: pytest.FixtureRequest) -> tuple[LoadedPolicy, list[Case]]:
    policy = read_policy((TEMPLATES / f"{request.param}.yaml").read_bytes(), now=TODAY)
    rule_ids = [rule.id for rule in policy.compiled.rules]
    cases: list[Case] = []
    for name in SUITES[request.param]:
        data = (CASES / f"{name}.yaml").read_bytes()
        cases += read_cases(data, name=name, environments=policy.environments, rule_ids=rule_ids)
    return policy, cases


def test_every_template_has_cases() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.yaml")} == set(SUITES)


def test_the_cases_of_a_template_pass(suite: tuple[LoadedPolicy, list[Case]]) -> None:
    policy, cases = suite
    faults = [
        (case.name, fault)
        for case in cases
        for fault in run_case(policy.compiled, policy.environments, case, today=TODAY).faults
    ]
    assert not faults


def test_they_hit_and_just_miss_every_rule(suite: tuple[LoadedPolicy, list[Case]]) -> None:
    policy, cases = suite
    assert [rule.rule for rule in coverage(policy.compiled, cases) if not rule.is_covered] == []


def test_no_mutant_of_a_template_survives(suite: tuple[LoadedPolicy, list[Case]]) -> None:
    policy, cases = suite
    tried = list(try_mutants(policy.document, policy.environments, cases, today=TODAY))
    survivors = [(each.mutant.owner, each.mutant.change) for each in tried if each.outcome == "survived"]
    assert survivors == []
    assert bool(tried) == bool(policy.compiled.rules or policy.compiled.thresholds)
