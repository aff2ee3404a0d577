# SPDX-License-Identifier: Apache-2.0
"""``clyra quickstart`` from an empty folder: evidence, forgeries, an approval, a page; and again, and on DuckDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FORGERIES = {"zip_bytes", "file_digest", "key_unknown"}


def quickstart(folder: Path, *options: str, code: int = 0) -> dict[str, Any]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CLYRA_", "DBT_", "PG"))}
    command = [
        sys.executable,
        "-m",
        "clyra.cli.main",
        "quickstart",
        "--json",
        "--folder",
        str(folder / "demo"),
        *options,
    ]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account of the server can pass through, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def assert_approved(result: dict[str, Any]) -> None:
    """One person, who is not the author, has approved what was refused before."""
    (approval,) = result["approvals"]
    assert (result["approved"], approval["rules"]) == ("valid", ["x_production_full_refresh"])
    assert [each["role"] for each in approval["approvals"]] == ["data_owner"]
    assert result["refused"] != result["bundle"]


def test_postgres_twice(folder: Path) -> None:
    first = quickstart(folder)
    second = quickstart(folder)
    for result in (first, second):
        assert (result["verdict"], result["warnings"]) == ("valid", [])
        assert set(result["forgeries"].values()) == FORGERIES
        assert_approved(result)
        assert Path(result["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert first["bundle"] != second["bundle"]


def test_duckdb(folder: Path) -> None:
    result = quickstart(folder, "--duckdb")
    assert (result["verdict"], result["warnings"]) == ("valid", [])
    assert set(result["forgeries"].values()) == FORGERIES
    assert_approved(result)


def test_a_server_that_is_not_there_is_named(folder: Path) -> None:
    result = quickstart(folder, "--dsn", "postgresql://me@127.0.0.1:1/nothing", code=69)
    assert result["error"]["code"] == "server_unavailable"


def test_two_databases_exclude_each_other(folder: Path) -> None:
    result = quickstart(folder, "--dsn", "postgresql://me@127.0.0.1:1/nothing", "--duckdb", code=64)
    assert result["error"]["code"] == "config_invalid"
