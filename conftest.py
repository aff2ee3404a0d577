# SPDX-License-Identifier: Apache-2.0
"""Runs the code in README.md, docs/ and the packages' READMEs: ``python`` blocks here, ``bash`` blocks in a shell.

The documents work in a copy of the sample project that is built once on DuckDB, with keys and a trust file of its own;
``bash`` blocks find it as ``$PROJECT``. The packages' READMEs work in an empty folder. Blocks of other languages
(``sh``, ``text``, ``mermaid``) are only shown.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

pytest_plugins = ["clyra.testing.plugin"]

ROOT = Path(__file__).resolve().parent
PROJECT = "harbor_shop"
# A failing command names itself: a block has many, and most say nothing when they fail.
SHELL = ["bash", "-Eeuo", "pipefail", "-c", """trap 'echo "exit $? of: $BASH_COMMAND"' ERR; eval "$1" """, "bash"]
BUILD = """
git init -q && git add -A
git -c user.name=Docs -c user.email=docs@example.invalid commit -qm 'The sample project'
dbt --quiet build --target dev
for role in bundle log; do
  clyra keys export --role "$role" > "../$role.key.json"
  clyra keys trust "../$role.key.json" --role "$role"
done
"""


@dataclass(frozen=True)
class SampleProject:
    """A built project with evidence, and the environment to work in it."""

    path: Path
    environ: Mapping[str, str]

    def fault_of(self, script: str) -> str | None:
        """Run ``script`` in the project; None if it succeeds, else all that was printed, the failing command last."""
        command = [*SHELL, script]
        done = subprocess.run(
            command, cwd=self.path, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return None if done.returncode == 0 else done.stdout.decode(errors="replace")


@pytest.fixture(scope="session")
def sample_project(tmp_path_factory: pytest.TempPathFactory) -> SampleProject:
    """The one that all documents share."""
    folder = tmp_path_factory.mktemp("documents")
    path = folder / PROJECT
    ignored = shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb*")
    shutil.copytree(ROOT / "examples" / PROJECT, path, ignore=ignored)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CLYRA_")} | {
        "CLYRA_CONFIG_DIR": str(folder / "config"),
        "DBT_PROFILES_DIR": str(path),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PROJECT": str(path),
    }
    sample = SampleProject(path, environ)
    if fault := sample.fault_of(BUILD):
        pytest.fail(f"the sample project could not be built:\n{fault}", pytrace=False)
    return sample


@pytest.fixture
def in_sample_project(sample_project: SampleProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sample project the working directory and its keys the user's."""
    monkeypatch.chdir(sample_project.path)
    for name in [name for name in os.environ if name.startswith("CLYRA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLYRA_CONFIG_DIR", sample_project.environ["CLYRA_CONFIG_DIR"])


@pytest.fixture
def in_empty_folder(tmp_path: Path, tmp_clyra_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an empty folder the working directory, with no keys and no settings."""
    monkeypatch.chdir(tmp_path)


def evaluate_bash(example: Example) -> str | None:
    """Run a ``bash`` block; what is returned is shown as the failure of the example."""
    sample: SampleProject = example.namespace["sample_project"]
    return sample.fault_of(str(example.parsed))


documents = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", evaluate_bash)],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    excludes=["packages/*/README.md"],
    fixtures=["in_sample_project"],
)
package_readmes = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["packages/*/README.md"], fixtures=["in_empty_folder"]
)
pytest_collect_file = (documents + package_readmes).pytest()
