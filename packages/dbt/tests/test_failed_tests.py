# SPDX-License-Identifier: Apache-2.0
"""A test that failed is remembered for its run until it has passed."""

from __future__ import annotations

from pathlib import Path

from clyra.dbt._failed_tests import remember, remembered


def test_what_failed_is_remembered_until_it_passes(tmp_path: Path) -> None:
    remember(tmp_path, "run-1", failed=["test.a", "test.b"], passed=["test.c"])
    remember(tmp_path, "run-1", failed=["test.b"], passed=[])
    assert remembered(tmp_path, "run-1") == ["test.a", "test.b"]
    remember(tmp_path, "run-1", failed=[], passed=["test.a", "test.unknown"])
    assert remembered(tmp_path, "run-1") == ["test.b"]


def test_runs_have_memories_of_their_own(tmp_path: Path) -> None:
    remember(tmp_path, "run-1", failed=["test.a"], passed=[])
    assert remembered(tmp_path, "run-2") == []


def test_run_that_remembers_nothing_needs_no_folder(tmp_path: Path) -> None:
    remember(tmp_path / "none", "run-1", failed=[], passed=["test.a"])
    assert remembered(tmp_path / "none", "run-1") == []
    assert not (tmp_path / "none").exists()
