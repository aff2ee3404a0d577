# SPDX-License-Identifier: Apache-2.0
"""Projects in awkward places: several in one repository, spaces and letters of all kinds, folders nobody may write."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Project

SELECTION = ("--select", "gauges")
IDENTITY = ("-c", "user.name=Harbour", "-c", "user.email=harbour@example.invalid")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def without_root() -> tuple[str, ...]:
    """A command that takes root's right to write everywhere from what it starts; nobody else has it."""
    return ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()


def test_projects_of_one_repository_have_trees_of_their_own(make_tides: Callable[..., Project], tmp_path: Path) -> None:
    north = make_tides("duckdb", tmp_path / "repository" / "north")
    south = make_tides("duckdb", tmp_path / "repository" / "teams" / "south")
    south.write("models/only_here.sql", "select 1 as one")
    root = tmp_path / "repository"
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "Two projects")):
        git(root, *arguments)
    south.write("models/only_here.sql", "select 2 as two")
    (root / "notes.txt").write_text("belongs to no project")
    runs = {path: project.dbt("seed").evidence.run for path, project in (("north", north), ("teams/south", south))}
    for path, run in runs.items():
        assert run["git"]["tree"] == git(root, "rev-parse", f"HEAD:{path}")
        assert run["git"]["commit"] == git(root, "rev-parse", "HEAD")
        assert run["git"]["source"] == "git"
    assert (runs["north"]["git"]["dirty"], runs["teams/south"]["git"]["dirty"]) == (False, True)
    assert len(north.bundle_paths()) == len(south.bundle_paths()) == 1
    # Evidence ignores itself, so a run makes no project dirty.
    assert git(root, "status", "--porcelain", "--", "north").splitlines() in (
        [],
        ["?? north/logs/", "?? north/target/"],
    )
    assert north.dbt("seed").evidence.run["git"]["dirty"] is False


def test_path_with_spaces_and_letters_of_all_kinds(make_tides: Callable[..., Project], tmp_path: Path) -> None:
    project = make_tides("duckdb", tmp_path / "Häfen & Gezeiten" / "潮位 計")
    # The locale of many containers and cron jobs; it knows none of these letters.
    outcome = project.cli("seed", *SELECTION, LC_ALL="C")
    assert outcome.evidence.statuses() == {"seed.tides.gauges": "success"}
    assert "clyra: evidence of this run is in .clyra/evidence/" in outcome.stdout
    assert outcome.stderr == ""


@pytest.fixture
def read_only(make_tides: Callable[..., Project], tmp_path: Path) -> Project:
    """A project in a folder that nobody may write; dbt writes its own files elsewhere."""
    project = make_tides("duckdb", tmp_path / "read_only" / "project")
    project.environ |= {
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
        "TIDES_DUCKDB": str(tmp_path / "gauges.duckdb"),
    }
    for path in (project.path, *project.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return project


def test_read_only_project_leaves_evidence_elsewhere(read_only: Project, tmp_path: Path) -> None:
    read_only.environ["CLYRA_EVIDENCE_DIR"] = str(tmp_path / "evidence of ours")
    outcome = read_only.cli("seed", *SELECTION, before=without_root())
    assert outcome.evidence.path.is_relative_to(tmp_path / "evidence of ours")
    assert set(outcome.evidence.references()) == {"manifest.json", "run_results.json"}
    assert outcome.stderr == ""
    assert not (read_only.path / ".clyra").exists()


def test_read_only_project_runs_without_evidence_and_says_so_once(read_only: Project) -> None:
    outcome = read_only.cli("seed", *SELECTION, before=without_root())
    assert outcome.bundles == ()
    assert "Done. PASS=1" in outcome.stdout
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("clyra: ")
    assert "[evidence_unavailable]" in line
    assert "CLYRA_EVIDENCE_DIR" in line
