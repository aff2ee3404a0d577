# SPDX-License-Identifier: Apache-2.0
"""``clyra dbt init`` edits a project once, keeps every comment and takes its edits back byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from clyra.dbt._init import VENDORED, GuardSource, apply, plan_init, plan_remove
from clyra.dbt._project_edits import edit_packages, edit_project, remove_marked
from clyra.dbt.commands import dbt
from clyra.spec import ConfigurationError

PLAIN = b"name: shop  # ours\nversion: '1.0'\nprofile: shop\n"
COMMENTED = b"""# top
name: shop

models:   # all of them
    # marts first
    shop:
        marts: {+materialized: table}  # keep
vars: {a: 1}
"""
SHAPES = {
    "plain": PLAIN,
    "commented": COMMENTED,
    "no_final_newline": PLAIN.rstrip(b"\n"),
    "crlf": COMMENTED.replace(b"\n", b"\r\n"),
    "crlf_no_final_newline": PLAIN.replace(b"\n", b"\r\n").rstrip(b"\r\n"),
    "own_query_comment": PLAIN + b"query-comment: 'mine'\n",
    "own_pre_hook": b"name: shop\nmodels:\n  +pre-hook: select 1\n",
    "flow_models": b"name: shop\nmodels: {shop: {+enabled: true}}\n",
    "empty_models": b"name: shop\nmodels:\n",
}


def project(tmp_path: Path, text: bytes, packages: bytes | None = None) -> Path:
    (tmp_path / "dbt_project.yml").write_bytes(text)
    if packages is not None:
        (tmp_path / "packages.yml").write_bytes(packages)
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("packages", [None, b"packages:\n    - package: a/b  # theirs\n      version: 1.0.0", b""])
def test_remove_restores_every_byte(tmp_path: Path, text: bytes, packages: bytes | None) -> None:
    folder = project(tmp_path, text, packages)
    before = everything(folder)
    apply(plan_init(folder, GuardSource()))
    assert everything(folder) != before
    apply(plan_remove(folder))
    after = everything(folder)
    assert {name: after.get(name, b"") for name in before} == before
    assert after.keys() <= before.keys()


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
def test_a_second_init_changes_nothing(tmp_path: Path, text: bytes) -> None:
    folder = project(tmp_path, text)
    apply(plan_init(folder, GuardSource()))
    once = everything(folder)
    assert plan_init(folder, GuardSource()).is_empty
    apply(plan_init(folder, GuardSource()))
    assert everything(folder) == once


def test_lines_go_where_dbt_reads_them() -> None:
    text = edit_project(COMMENTED.decode()).text
    assert '\n    +pre-hook: "{{ clyra_guard.set_session() }}"' in text
    assert text.index("models:") < text.index("+pre-hook") < text.index("# marts first")
    assert 'query-comment: "{{ clyra_guard.query_comment(node) }}"' in text.splitlines()[-1]


def test_a_place_of_the_users_own_is_left_to_the_user() -> None:
    edit = edit_project("name: a\nquery-comment: x\nmodels:\n  +pre-hook: y\n")
    assert len(edit.by_hand) == 2
    assert edit.text == "name: a\nquery-comment: x\nmodels:\n  +pre-hook: y\n"


def test_packages_in_flow_form_are_left_to_the_user() -> None:
    assert edit_packages("packages: []\n", ["local: x"]).by_hand == ("- local: x",)


def test_packages_listed_in_dependencies_are_edited_there(tmp_path: Path) -> None:
    folder = project(tmp_path, PLAIN)
    (folder / "dependencies.yml").write_text("projects:\n  - name: up\npackages:\n- package: a/b\n  version: 1.0.0\n")
    apply(plan_init(folder, GuardSource()))
    assert f"- local: {VENDORED}" in (folder / "dependencies.yml").read_text()
    assert not (folder / "packages.yml").exists()


def test_git_source_names_the_subdirectory(tmp_path: Path) -> None:
    folder = project(tmp_path, PLAIN)
    apply(plan_init(folder, GuardSource("https://example.org/clyra.git", "v0.1.0")))
    text = (folder / "packages.yml").read_text()
    assert "subdirectory: dbt_packages/clyra_guard" in text
    assert not (folder / VENDORED).exists()


def test_a_changed_copy_of_the_macros_survives_removal(tmp_path: Path) -> None:
    folder = project(tmp_path, PLAIN)
    apply(plan_init(folder, GuardSource()))
    (folder / VENDORED / "dbt_project.yml").write_text("name: mine\n")
    plan = plan_remove(folder)
    apply(plan)
    assert (folder / VENDORED / "dbt_project.yml").read_text() == "name: mine\n"
    assert VENDORED in plan.by_hand


def test_refuse_a_folder_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no dbt_project\.yml"):
        plan_init(tmp_path, GuardSource())


def test_refuse_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        plan_init(project(tmp_path, b"name: \xff\n"), GuardSource())


def test_check_tells_and_dry_run_shows_without_changing(tmp_path: Path) -> None:
    folder = project(tmp_path, PLAIN)
    runner = CliRunner()
    assert runner.invoke(dbt, ["init", "--project-dir", str(folder), "--check"]).exit_code == 1
    shown = runner.invoke(dbt, ["init", "--project-dir", str(folder), "--dry-run", "--json"])
    assert "+models:" in json.loads(shown.stdout)["diff"]
    assert everything(folder) == {"dbt_project.yml": PLAIN}
    assert runner.invoke(dbt, ["init", "--project-dir", str(folder)]).exit_code == 0
    assert runner.invoke(dbt, ["init", "--project-dir", str(folder), "--check"]).exit_code == 0


def test_command_writes_a_policy_once_and_takes_it_back_unless_it_was_changed(tmp_path: Path) -> None:
    folder = project(tmp_path, PLAIN)
    runner = CliRunner()
    init = ["init", "--project-dir", str(folder)]
    assert runner.invoke(dbt, [*init, "--enforce", "prod"]).exit_code == 0
    policy = folder / "clyra.policy.yaml"
    assert 'targets: ["prod"]' in policy.read_text()
    assert "nothing to do" in runner.invoke(dbt, [*init, "--enforce", "prod"]).stderr
    assert "list staging in the targets" in runner.invoke(dbt, [*init, "--enforce", "staging"]).stderr
    assert runner.invoke(dbt, [*init, "--remove"]).exit_code == 0
    assert everything(folder) == {"dbt_project.yml": PLAIN}
    runner.invoke(dbt, init)
    policy.write_text(policy.read_text().replace("mode: shadow", "mode: enforce"))
    kept = policy.read_bytes()
    assert "this policy is your own by now" in runner.invoke(dbt, [*init, "--remove"]).stderr
    assert everything(folder) == {"dbt_project.yml": PLAIN, "clyra.policy.yaml": kept}


@given(st.lists(st.sampled_from(["models:", "  a: 1", "# c", "", "x: {y: 2}", "query-comment: z"]), max_size=8))
def test_any_file_comes_back_as_it_was(lines: list[str]) -> None:
    for newline in ("\n", "\r\n"):
        for end in ("", newline):
            text = newline.join(lines) + end
            if text == text.rstrip("\r\n") + end:
                assert remove_marked(edit_project(text).text) == text
