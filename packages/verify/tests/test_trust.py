# SPDX-License-Identifier: Apache-2.0
"""Where trust comes from; the form of a trust file is tested by the vectors."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clyra.verify import verify_bundle
from clyra.verify.conformance import load_vector, vector_files
from clyra.verify.trust import FILE_NAME, find_trust_file


def project(folder: Path, marker: str = "dbt_project.yml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / marker).touch()
    (folder / FILE_NAME).write_text("{}")
    return folder


@pytest.mark.parametrize("marker", ["dbt_project.yml", ".git"])
def test_the_project_of_a_folder_inside_it_is_found(marker: str, tmp_path: Path) -> None:
    root = project(tmp_path / "shop", marker)
    inside = root / "models/staging"
    inside.mkdir(parents=True)
    assert find_trust_file({}, inside) == (str(root / FILE_NAME), "project")


def test_the_environment_comes_first(tmp_path: Path) -> None:
    root = project(tmp_path)
    assert find_trust_file({"CLYRA_TRUST": "/etc/trust.json"}, root) == ("/etc/trust.json", "environment")


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    root = project(tmp_path)
    assert find_trust_file({"CLYRA_TRUST": ""}, root)[1] == "project"


def test_a_folder_that_is_no_project_gives_no_trust(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{}")
    (tmp_path / ".git").mkdir()
    inside = tmp_path / "downloads"
    inside.mkdir()
    (inside / FILE_NAME).write_text("{}")
    assert find_trust_file({}, inside) == (str(tmp_path / FILE_NAME), "project")


def test_a_dbt_project_inside_a_repository_falls_back_to_the_repository(tmp_path: Path) -> None:
    root = project(tmp_path, ".git")
    inside = root / "dbt"
    inside.mkdir()
    (inside / "dbt_project.yml").touch()
    assert find_trust_file({}, inside) == (str(root / FILE_NAME), "project")


def test_the_search_ends_at_the_repository(tmp_path: Path) -> None:
    project(tmp_path)
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    assert find_trust_file({}, repository) == (None, "none")


def test_what_lies_beside_the_bundle_is_never_taken(tmp_path: Path) -> None:
    root = project(tmp_path / "sent")
    assert find_trust_file({}, root, beside=str(root)) == (None, "none")
    link = tmp_path / "link"
    link.symlink_to(root)
    assert find_trust_file({}, root, beside=str(link)) == (None, "none")


@pytest.mark.parametrize("source", ["environment", "project"])
def test_published_test_keys_are_refused_unless_an_argument_gave_them(source: str, tmp_path: Path) -> None:
    good = load_vector(next(path for path in vector_files(suite="valid") if path.name.startswith("V01-")))
    root = project(tmp_path)
    (root / FILE_NAME).write_bytes(good.files["trust.json"])
    environ = {"CLYRA_TRUST": str(root / FILE_NAME)} if source == "environment" else {}
    at = datetime(2026, 1, 31, 9, tzinfo=UTC)
    result = verify_bundle(good.input, environ=environ, cwd=root, at=at)
    assert (result.code, result.stage, result.trust_source) == ("trust_invalid", "input", source)
    assert verify_bundle(good.input, trust=root / FILE_NAME, environ=environ, at=at).verdict == "valid"
