# SPDX-License-Identifier: Apache-2.0
"""The generator writes the same project for the same arguments, of the size asked for, and dbt builds it twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.sample_project.conftest import Project

GENERATOR = Path(__file__).parents[1] / "generate_project.py"

MakeProject = Callable[[Path, str], "Project"]


def _generate(out: Path, *arguments: str) -> Path:
    subprocess.run([sys.executable, GENERATOR, "--out", out, *arguments], check=True)
    return out


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first = _generate(tmp_path / "first", "--models", "1000", "--tests")
    second = _generate(tmp_path / "second", "--models", "1000", "--tests")
    assert _contents(first) == _contents(second)


@pytest.mark.parametrize("models", [1, 7, 100, 5000])
def test_project_has_as_many_models_as_asked_for(tmp_path: Path, models: int) -> None:
    folder = _generate(tmp_path / "project", "--models", str(models), "--seeds", "5")
    assert len(list(folder.glob("models/**/*.sql"))) == models
    assert len(list(folder.glob("seeds/*.csv"))) == 5


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    process = subprocess.run(
        [sys.executable, GENERATOR, "--models", "1", "--out", tmp_path], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "is not empty; give a new folder" in process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("target", ["dev", "pg"])
def test_generated_project_builds_twice(tmp_path: Path, make_project: MakeProject, target: str) -> None:
    project = make_project(_generate(tmp_path / "source", "--models", "40", "--seeds", "2", "--tests"), target)
    for _ in range(2):
        assert "WARN=0 ERROR=0 SKIP=0" in project.dbt("build")
    results = project.artifact("run_results.json")["results"]
    kinds = Counter(result["unique_id"].split(".")[0] for result in results)
    assert (kinds["model"], kinds["seed"]) == (40, 2)
    assert kinds["test"] > 40


@pytest.mark.parametrize("target", ["dev", "pg"])
def test_trivial_models_select_one_constant(tmp_path: Path, make_project: MakeProject, target: str) -> None:
    project = make_project(_generate(tmp_path / "source", "--models", "10", "--trivial"), target)
    assert "PASS=10 WARN=0 ERROR=0 SKIP=0" in project.dbt("run")
    nodes = project.artifact("manifest.json")["nodes"].values()
    assert Counter(node["config"]["materialized"] for node in nodes) == {"view": 5, "table": 5}
    schema = next(iter(nodes))["schema"]
    assert project.query(f"select id from {schema}.model_00001 union all select id from {schema}.model_00002") == [
        (1,),
        (1,),
    ]
