# SPDX-License-Identifier: Apache-2.0
"""What is known of the code: git's answers, and what stands in where there is no repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from clyra.dbt._build import Build, BuildProbe, from_ci, parse_git

COMMIT, TREE = "c" * 40, "a" * 40
HEADS = f"project/\n{COMMIT}\n{TREE}\nmain\n"
SOURCES = ["models", "macros"]


@pytest.mark.parametrize(
    ("status", "dirty"),
    [
        ("", False),
        (" M project/README.md\0", True),
        ("D  project/models/a.sql\0", True),
        ("?? project/notes.txt\0", False),
        ("?? project/models/new.sql\0", True),
        ("?? project/models/sub/\0", True),
        ("?? project/models_old/\0", False),
        ("?? project/packages.yml\0", True),
        ("?? project/\0", True),
        ("?? project/target/\0?? project/macros/m.sql\0", True),
    ],
)
def test_dirty_means_modified_or_untracked_where_dbt_reads(status: str, dirty: bool) -> None:
    assert parse_git(HEADS, status, SOURCES) == Build(TREE, COMMIT, dirty, "main", "git")


def test_failed_status_leaves_dirty_unknown() -> None:
    assert parse_git(HEADS, None, SOURCES).dirty is None


def test_project_that_the_commit_does_not_have_has_no_tree() -> None:
    found = parse_git(f"new/\n{COMMIT}\n", "?? new/\0", SOURCES)
    assert (found.commit, found.tree, found.dirty) == (COMMIT, None, True)


def test_detached_head_has_no_branch() -> None:
    assert parse_git(f"\n{COMMIT}\n{TREE}\nHEAD\n", "", SOURCES).branch is None


@pytest.mark.parametrize("heads", ["", "\n", "project/\nHEAD\nHEAD:./\n", "fatal: not a git repository\n"])
def test_no_commit_is_no_knowledge(heads: str) -> None:
    assert parse_git(heads, "", SOURCES) == Build()


def test_folder_outside_of_git_is_asked_and_gives_nothing(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    assert BuildProbe(tmp_path, environ).build(SOURCES) == Build()


def test_machine_without_git_is_no_error(tmp_path: Path) -> None:
    assert BuildProbe(tmp_path, {"PATH": str(tmp_path)}).build(SOURCES) == Build()


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"GITHUB_SHA": COMMIT, "GITHUB_REF_NAME": "main"}, Build(commit=COMMIT, branch="main", source="ci_env")),
        ({"CI_COMMIT_SHA": COMMIT.upper()}, Build(commit=COMMIT, source="ci_env")),
        ({"GITHUB_SHA": "main"}, Build()),
        ({"GITHUB_REF_NAME": "main"}, Build()),
    ],
    ids=["github", "gitlab", "no_commit", "branch_alone"],
)
def test_ci_names_a_commit_or_nothing(environ: dict[str, str], found: Build) -> None:
    assert from_ci(environ) == found
