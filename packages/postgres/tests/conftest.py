# SPDX-License-Identifier: Apache-2.0
"""Installations to test with, folders of both kinds, and a way to run code without root's rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from clyra.postgres import Binaries
from clyra.postgres.binaries import iter_binaries

PACKAGES = Path(__file__).resolve().parents[2]
RunUnprivileged = Callable[..., subprocess.CompletedProcess[str]]


@cache
def installations() -> tuple[Binaries, ...]:
    """Every installation of this machine, the system's first."""
    return tuple(iter_binaries())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "each_binaries" in metafunc.fixturenames:
        found = [pytest.param(found, id=f"{found.source}-{found.version}") for found in installations()]
        metafunc.parametrize("each_binaries", found)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every account can pass through, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@cache
def _interpreter() -> str | None:
    """A Python that the account nobody can run, together with our packages and a driver."""
    for python in (sys.executable, "/usr/bin/python3"):
        if os.access(python, os.X_OK) and _run(python, "import clyra.postgres, psycopg").returncode == 0:
            return python
    return None


def _run(python: str, code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    is_root = os.geteuid() == 0
    search = [str(folder) for folder in sorted(PACKAGES.glob("*/src"))]
    search += [path for path in sys.path if path.endswith("site-packages")]
    try:
        return subprocess.run(
            [python, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(search), "PYTHONDONTWRITEBYTECODE": "1"},
            user="nobody" if is_root else None,
            group="nogroup" if is_root else None,
            extra_groups=[] if is_root else None,
        )
    except PermissionError as exc:
        return subprocess.CompletedProcess([python], 126, "", str(exc))


@pytest.fixture
def unprivileged() -> RunUnprivileged:
    """Runs Python code as somebody who is not root, with arguments in ``sys.argv``."""
    python = _interpreter()
    if python is None:
        pytest.skip("no Python with our packages that an account other than root can run")
    return lambda code, *arguments: _run(python, code, *arguments)
