# SPDX-License-Identifier: Apache-2.0
"""What the wizard writes: it lints without a word, its cases pass, and no mutant of it survives."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clyra.policy.case_files import read_cases
from clyra.policy.cases import coverage, run_case
from clyra.policy.diff import diff_policies
from clyra.policy.lint import check_policy
from clyra.policy.load import read_policy
from clyra.policy.project import Project, read_project
from clyra.policy.survivors import try_mutants
from clyra.policy.wizard import Answers, OffHours, cases_text, policy_text, suggested_answers

TODAY = date(2026, 6, 1)
SHOP = Path(__file__).resolve().parents[4] / "examples/harbor_shop"
PLAIN = Answers("shop", ("prod",))
KEY = "key:" + "ab" * 32

VARIANTS = {
    "plain": PLAIN,
    "enforce": replace(PLAIN, mode="enforce", other=("dev", "ci")),
    "personal": replace(PLAIN, personal=("pii", "personal", "gdpr", "phi")),
    "one mark": replace(PLAIN, personal=("pii", "personal", "gdpr")),
    "approvers": replace(PLAIN, approvers=(KEY, "oidc:https://login.example.com:ana"), two_approvers=True),
    "hours": replace(PLAIN, off_hours=OffHours("Europe/Berlin", "08:00", "18:00")),
    "all": Answers(
        name='a "name": with # signs',
        production=("prod", "prod eu"),
        other=("dev",),
        mode="enforce",
        personal=("pii", "personal", "gdpr"),
        approvers=(KEY,),
        two_approvers=True,
        off_hours=OffHours("UTC", "22:00", "06:00", ("sat", "sun")),
        frameworks=("sox", "pci", "hipaa", "eu-ai-act", "nist-rmf", "tcpa"),
    ),
}


@pytest.fixture(params=list(VARIANTS))
def answers(request: pytest.FixtureRequest) -> Answers:
    return VARIANTS[request.param]


def test_it_lints_without_a_word(answers: Answers) -> None:
    checked = check_policy(policy_text(answers).encode(), name="clyra.policy.yaml", now=TODAY)
    assert [str(problem) for problem in checked.problems] == []


def test_its_cases_pass_cover_every_rule_and_let_no_mutant_survive(answers: Answers) -> None:
    policy = read_policy(policy_text(answers).encode(), now=TODAY)
    cases = read_cases(
        cases_text(answers).encode(),
        name="t.yaml",
        environments=policy.environments,
        rule_ids=[rule.id for rule in policy.compiled.rules],
    )
    results = [run_case(policy.compiled, policy.environments, case, today=TODAY) for case in cases]
    assert [result.faults for result in results if result.faults] == []
    assert [rule.rule for rule in coverage(policy.compiled, cases) if not rule.is_covered] == []
    tried = list(try_mutants(policy.document, policy.environments, cases, today=TODAY))
    assert [(each.mutant.owner, each.mutant.change) for each in tried if each.outcome == "survived"] == []
    assert len(tried) > 60


def test_every_rule_has_its_mode_a_title_and_a_way_out(answers: Answers) -> None:
    text = policy_text(answers)
    rules = read_policy(text.encode(), now=TODAY).compiled.rules
    assert text.count("      mode: enforce\n") == len(rules)
    assert all(rule.title and rule.fix for rule in rules)


def test_lines_fit_a_screen(answers: Answers) -> None:
    assert max(map(len, (policy_text(answers) + cases_text(answers)).splitlines())) <= 120


def test_what_is_answered_is_in_the_policy() -> None:
    document = read_policy(policy_text(VARIANTS["all"]).encode(), now=TODAY).document
    assert document["name"] == 'a "name": with # signs'
    assert document["environments"]["production"] == {
        "targets": ["prod", "prod eu"],
        "mode": "enforce",
        "production": True,
        "change_freeze": False,
    }
    assert document["environments"]["development"]["targets"] == ["dev"]
    assert document["enforcement"]["off_hours"]["days"] == ["sat", "sun"]
    assert document["enforcement"]["approvals"]["roles"] == {"data_owner": [KEY]}
    assert document["enforcement"]["approvals"]["quorum"] == 2
    assert document["compliance"]["frameworks"] == list(VARIANTS["all"].frameworks)


def test_enforcing_is_one_word_away_from_shadow() -> None:
    shadow, enforce = policy_text(PLAIN), policy_text(PLAIN).replace("    mode: shadow", "    mode: enforce")
    found = diff_policies(*(read_policy(text.encode(), now=TODAY).document for text in (shadow, enforce)), today=TODAY)
    assert [(change.name, change.direction) for change in found.changes] == [("production", "stricter")]


def test_the_same_answers_give_the_same_text() -> None:
    assert policy_text(VARIANTS["all"]) == policy_text(VARIANTS["all"])
    assert cases_text(VARIANTS["all"]) == cases_text(VARIANTS["all"])


def test_the_sample_project_says_what_is_production() -> None:
    project = read_project(SHOP, {})
    assert project.name == "harbor_shop"
    assert project.targets["dev"] == "duckdb"
    assert project.targets["prod_pg"] == "postgres"
    answers = suggested_answers(project)
    assert "prod_pg" in answers.production
    assert {"dev", "pg"} <= set(answers.other)
    assert project.notes == ()


def test_an_empty_folder_says_nothing_and_gets_a_policy_all_the_same(tmp_path: Path) -> None:
    project = read_project(tmp_path, {"HOME": str(tmp_path)})
    assert project == Project(name=tmp_path.name, targets={})
    assert suggested_answers(project).production == ("prod",)


@pytest.mark.parametrize("target", ["prod", "production", "prod_eu", "eu-prod", "PROD", "live", "analytics_prd"])
def test_a_target_is_taken_for_production_by_its_name(target: str) -> None:
    assert suggested_answers(Project("p", {"dev": "duckdb", target: "postgres"})).production == (target,)


@pytest.mark.parametrize("target", ["dev", "product", "reproduce", "ci", "delivery", "preprod"])
def test_other_names_are_not(target: str) -> None:
    assert suggested_answers(Project("p", {target: "postgres"})).production == ()


def manifest(*nodes: dict[str, Any]) -> str:
    return json.dumps({"nodes": {node["unique_id"]: node for node in nodes}})


def project_with(tmp_path: Path, **files: str) -> Project:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_yml", ".yml").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_project(tmp_path, {"HOME": str(tmp_path / "home")})


def test_personal_data_is_found_by_tags_and_labels_of_nodes_and_columns(tmp_path: Path) -> None:
    nodes: list[dict[str, Any]] = [
        {"unique_id": "model.p.a", "resource_type": "model", "tags": ["pii", "nightly"]},
        {"unique_id": "model.p.b", "resource_type": "model", "columns": {"mail": {"tags": ["GDPR"]}}},
        {"unique_id": "model.p.c", "resource_type": "model", "config": {"meta": {"clyra": {"labels": "phi"}}}},
        {"unique_id": "model.p.d", "resource_type": "model", "columns": {"x": {"config": {"tags": "sensitive"}}}},
        {"unique_id": "model.p.e", "resource_type": "model", "tags": ["nightly"]},
        {
            "unique_id": "test.p.t",
            "resource_type": "test",
            "tags": ["pii"],
            "depends_on": {"nodes": ["model.p.a", "source.p.s"]},
        },
    ]
    project = project_with(tmp_path, target__manifest_json=manifest(*nodes))
    assert project.marks == ("GDPR", "phi", "pii", "sensitive")
    assert project.personal == ("model.p.a", "model.p.b", "model.p.c", "model.p.d")
    assert (project.models, project.tested) == (5, 1)
    assert suggested_answers(project).personal == ("pii", "personal", "GDPR", "phi", "sensitive")


def test_approvers_come_from_the_trust_file(tmp_path: Path) -> None:
    keys = [
        {"role": "approver", "keyid": "aa"},
        {"role": "approver", "keyid": "bb", "principal": "svc:ana"},
        {"role": "approver", "keyid": "cc", "revoked_at": "2026-01-01T00:00:00Z"},
        {"role": "bundle", "keyid": "dd"},
    ]
    project = project_with(tmp_path, **{"clyra.trust_json": json.dumps({"keys": keys})})
    assert project.approvers == ("key:aa", "svc:ana")


PROFILES = """\
p:
  target: "{{ env_var('T') }}"
  outputs:
    dev: {type: duckdb, path: "{{ env_var('P', 'x') }}"}
    "{{ target }}": {type: duckdb}
q:
  outputs:
    prod: {type: postgres}
config: {send_anonymous_usage_stats: false}
"""


def test_targets_are_those_of_the_project_s_profile(tmp_path: Path) -> None:
    project = project_with(tmp_path, dbt_project_yml="{name: p, profile: q}", profiles_yml=PROFILES)
    assert (project.name, dict(project.targets)) == ("p", {"prod": "postgres"})


def test_jinja_is_not_rendered_and_not_guessed(tmp_path: Path) -> None:
    text = """{name: "{{ n }}", profile: "{{ env_var('X') }}"}"""
    project = project_with(tmp_path, dbt_project_yml=text, profiles_yml=PROFILES)
    assert (project.name, dict(project.targets)) == (tmp_path.name, {})


def test_profiles_are_looked_for_where_dbt_looks(tmp_path: Path) -> None:
    profiles = tmp_path / "elsewhere" / "profiles.yml"
    profiles.parent.mkdir()
    profiles.write_text(PROFILES)
    (tmp_path / "dbt_project.yml").write_text("{name: p, profile: q}")
    environ = {"DBT_PROFILES_DIR": str(profiles.parent), "HOME": str(tmp_path)}
    assert dict(read_project(tmp_path, environ).targets) == {"prod": "postgres"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dbt_project_yml", "name: [\n"),
        ("profiles_yml", "a: b: c\n"),
        ("target__manifest_json", "{"),
        ("clyra.trust_json", "\x00"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    project = project_with(tmp_path, **{name: text})
    assert len(project.notes) == 1
    assert name.rpartition("__")[2].replace("_yml", ".yml").replace("_json", ".json") in project.notes[0]


@pytest.mark.parametrize("text", ["[]", "3", '{"nodes": []}', '{"nodes": {"a": 3}, "keys": 4}', "null"])
def test_files_of_another_shape_say_nothing(tmp_path: Path, text: str) -> None:
    files = ("dbt_project_yml", "profiles_yml", "target__manifest_json", "clyra.trust_json")
    project = project_with(tmp_path, **dict.fromkeys(files, text))
    assert (dict(project.targets), project.marks, project.approvers) == ({}, (), ())
