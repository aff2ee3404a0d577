# SPDX-License-Identifier: Apache-2.0
"""The package installs by local path and out of a git repository, and its files keep to the macro conventions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.clyra_guard.conftest import Guarded

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "dbt_packages" / "clyra_guard"
MACROS = sorted((PACKAGE / "macros").glob("*.sql"))
ADAPTERS = ("default", "postgres", "snowflake", "databricks", "duckdb")


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def bare_repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bare repository with our ignore rules, the package and a file beside it, and the commit to pin."""
    folder = tmp_path_factory.mktemp("repository")
    work = folder / "work"
    shutil.copytree(PACKAGE, work / "dbt_packages" / "clyra_guard")
    shutil.copy(REPOSITORY / ".gitignore", work)
    (work / "dbt_packages" / "dbt_utils").mkdir()
    (work / "dbt_packages" / "dbt_utils" / "dbt_project.yml").write_text("name: dbt_utils\n")
    _git(work, "init", "--quiet")
    _git(work, "add", "--all")
    _git(work, "commit", "--quiet", "--message", "all that is not ignored")
    _git(folder, "clone", "--quiet", "--bare", str(work), "clyra.git")
    return folder / "clyra.git", _git(work, "rev-parse", "HEAD")


def test_git_subdirectory_install_runs(duckdb_project: Guarded, bare_repository: tuple[Path, str]) -> None:
    repository, commit = bare_repository
    package = {"git": repository.as_uri(), "subdirectory": "dbt_packages/clyra_guard", "revision": commit}
    (duckdb_project.path / "packages.yml").write_text(json.dumps({"packages": [package]}))
    (duckdb_project.path / "package-lock.yml").unlink()
    (duckdb_project.path / "dbt_packages" / "clyra_guard").unlink()
    duckdb_project.dbt("deps")
    installed = duckdb_project.path / "dbt_packages" / "clyra_guard"
    assert not installed.is_symlink()
    assert (installed / "macros" / "set_session.sql").is_file()
    duckdb_project.dbt("build", CLYRA_RUN_ID="run-7")
    assert duckdb_project.query("select run_id from session_tags") == [("run-7",)]


def test_ignore_rules_hide_installed_packages_but_not_ours(bare_repository: tuple[Path, str]) -> None:
    repository, commit = bare_repository
    committed = set(_git(repository, "ls-tree", "-r", "--name-only", commit, "dbt_packages/").splitlines())
    ours = {str(path.relative_to(REPOSITORY)) for path in PACKAGE.rglob("*") if path.is_file()}
    assert committed == ours


@pytest.mark.parametrize("path", MACROS, ids=lambda path: path.stem)
def test_macro_file_holds_one_macro_and_its_bodies(path: Path) -> None:
    names = re.findall(r"{% macro (\w+)\(", path.read_text())
    bodies = {f"{adapter}__{path.stem}" for adapter in ADAPTERS}
    assert names[0] == path.stem
    assert set(names[1:]) <= bodies


@pytest.mark.parametrize(
    # dbt renders the query comment where `adapter` is unknown.
    "path",
    [path for path in MACROS if not path.stem.startswith("_") and path.stem != "query_comment"],
    ids=lambda path: path.stem,
)
def test_public_macro_is_one_line_of_dispatch(path: Path) -> None:
    macro = next(line for line in path.read_text().splitlines() if line.startswith("{% macro "))
    call = f"adapter.dispatch('{path.stem}', 'clyra_guard')"
    assert re.fullmatch(
        rf"{{% macro {path.stem}\((\w*)\) %}}{{{{ return\({re.escape(call)}\(\1\)\) }}}}{{% endmacro %}}", macro
    )


def test_public_macros_are_described() -> None:
    described = re.findall(r"^  - name: (\w+)$", (PACKAGE / "macros" / "macros.yml").read_text(), re.MULTILINE)
    public = [path.stem for path in MACROS if not path.stem.startswith("_")]
    assert sorted(described) == public
