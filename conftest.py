# SPDX-License-Identifier: Apache-2.0
"""Runs the code in README.md and docs/: ``python`` blocks in this process, ``bash`` blocks in a shell.

Both work in a copy of the sample project that was built once on DuckDB, with keys and a trust file of its own; ``bash``
blocks find it as ``$PROJECT``. Blocks of other languages (``sh``, ``text``, ``mermaid``) are only shown.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

pytest_plugins = ["clyra.testing.plugin"]

ROOT = Path(__file__).resolve().parent
PROJECT = "harbor_shop"


@lru_cache(maxsize=1)
def sample() -> tuple[Path, dict[str, str]]:
    """A built project with evidence, and the environment to work in it."""
    folder = Path(tempfile.mkdtemp(prefix="clyra-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    project = folder / PROJECT
    ignored = shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb*")
    shutil.copytree(ROOT / "examples" / PROJECT, project, ignore=ignored)
    environ = {
        **os.environ,
        "CLYRA_CONFIG_DIR": str(folder / "config"),
        "DBT_PROFILES_DIR": str(project),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PROJECT": str(project),
    }
    script = """
    git init -q && git add -A
    git -c user.name=Docs -c user.email=docs@example.invalid commit -qm 'The sample project'
    dbt --quiet build --target dev
    for role in bundle log; do
      clyra keys export --role "$role" > "../$role.key.json"
      clyra keys trust "../$role.key.json" --role "$role"
    done
    """
    run_bash(script, project, environ)
    return project, environ


def run_bash(script: str, cwd: Path, environ: dict[str, str]) -> str:
    """The script's output; a failing command fails the example with everything that was printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def evaluate_bash(example: Example) -> None:
    """Run a ``bash`` block."""
    project, environ = sample()
    run_bash(str(example.parsed), project, environ)


def enter_sample(namespace: dict[str, object]) -> None:
    """Make the sample project the working directory of a document's ``python`` blocks."""
    namespace["_cwd"] = os.getcwd()
    os.chdir(sample()[0])


def leave_sample(namespace: dict[str, object]) -> None:
    """Go back to where the tests run."""
    os.chdir(str(namespace["_cwd"]))


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", evaluate_bash)],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=enter_sample,
    teardown=leave_sample,
).pytest()
