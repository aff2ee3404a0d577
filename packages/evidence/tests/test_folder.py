# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest

from clyra.evidence import EvidenceFolder
from clyra.spec import UnavailableError

ELSEWHERE = {"TMPDIR": "/nowhere"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text("name: shop\n")
    return folder


def test_evidence_lies_in_the_project(project: Path) -> None:
    folder = EvidenceFolder.locate(project, ELSEWHERE)
    assert (folder.root, folder.project_root, folder.under_temp) == (project / ".clyra", project, False)
    assert not folder.root.exists()


def test_a_linked_project_file_leads_to_the_real_project(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "dbt_project.yml").symlink_to(project / "dbt_project.yml")
    assert EvidenceFolder.locate(copy, ELSEWHERE).root == project / ".clyra"


def test_a_linked_project_folder_leads_to_the_real_project(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    assert EvidenceFolder.locate(tmp_path / "link", ELSEWHERE).root == project / ".clyra"


def test_the_environment_comes_before_the_configuration(project: Path, tmp_path: Path) -> None:
    environ = ELSEWHERE | {"CLYRA_EVIDENCE_DIR": str(tmp_path / "one")}
    assert EvidenceFolder.locate(project, environ, str(tmp_path / "two")).root == tmp_path / "one"
    assert EvidenceFolder.locate(project, ELSEWHERE, str(tmp_path / "two")).root == tmp_path / "two"
    assert EvidenceFolder.locate(project, ELSEWHERE | {"CLYRA_EVIDENCE_DIR": ""}, "").root == project / ".clyra"


def test_a_relative_folder_counts_from_the_project(project: Path) -> None:
    assert EvidenceFolder.locate(project, ELSEWHERE, "../evidence").root == project.parent / "evidence"


def test_a_folder_for_temporary_files_is_noticed(project: Path, tmp_path: Path) -> None:
    assert EvidenceFolder.locate(project, {"TMPDIR": str(tmp_path)}).under_temp
    assert EvidenceFolder.locate(project, {"TMPDIR": str(tmp_path / "other")}).under_temp is False


def test_preparing_makes_a_folder_that_git_ignores(project: Path) -> None:
    folder = EvidenceFolder.locate(project, ELSEWHERE)
    folder.prepare()
    folder.prepare()
    assert (folder.root / ".gitignore").read_bytes() == b"*\n"
    assert sorted(path.name for path in folder.root.iterdir()) == [".gitignore", "journal", "log"]
    assert list(folder.journal_dir.iterdir()) == []
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project, check=True, capture_output=True, text=True
    ).stdout
    assert status == "?? dbt_project.yml\n"


def test_a_folder_with_other_things_is_never_hidden_from_git(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("mine")
    EvidenceFolder(tmp_path, tmp_path).prepare()
    assert not (tmp_path / ".gitignore").exists()


def test_an_own_ignore_file_is_left_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / ".clyra"
    root.mkdir()
    (root / ".gitignore").write_text("log/\n")
    EvidenceFolder(root, tmp_path).prepare()
    assert (root / ".gitignore").read_text() == "log/\n"


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="make it writable or set CLYRA_EVIDENCE_DIR") as caught:
        EvidenceFolder(tmp_path / "file" / ".clyra", tmp_path).prepare()
    assert caught.value.code == "evidence_unavailable"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system lacks")
def test_a_read_only_folder_is_unavailable() -> None:
    root = Path(tempfile.mkdtemp())
    root.chmod(0o711)
    try:
        folder = EvidenceFolder(root / ".clyra", root)
        folder.prepare()
        folder.journal_dir.chmod(0o555)
        assert _code_for_an_ordinary_user(folder) == "evidence_unavailable"
    finally:
        shutil.rmtree(root)


def _code_for_an_ordinary_user(folder: EvidenceFolder) -> str:
    """The code with which `prepare` refuses; asked as nobody where the tests run as root, who may write anywhere."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = "none"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            folder.prepare()
        except UnavailableError as exc:
            code = exc.code
        finally:
            os.write(writing, code.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = answer.read()
    os.waitpid(child, 0)
    return found


def test_where_journals_and_bundles_lie(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path, tmp_path)
    assert folder.journal_path("id") == tmp_path / "journal" / "id.ndjson"
    assert folder.bundle_path("id", 1_769_847_300_000_000) == tmp_path / "evidence" / "2026" / "01" / "id.def.zip"
    assert folder.log_dir == tmp_path / "log"


@pytest.mark.parametrize("size", [0, 5, 3_000_001])
def test_artifacts_are_kept_under_their_digest(tmp_path: Path, size: int) -> None:
    folder = EvidenceFolder(tmp_path / ".clyra", tmp_path)
    folder.prepare()
    source = tmp_path / "manifest.json"
    source.write_bytes(b"x" * size)
    digest = sha256(b"x" * size).hexdigest()
    stored = folder.store_artifact(source, role="dbt_manifest", media_type="application/json")
    assert (stored.name, stored.role, stored.sha256, stored.size) == ("manifest.json", "dbt_manifest", digest, size)
    assert folder.artifact_path(digest) == folder.root / "artifacts" / "sha256" / digest[:2] / digest
    assert folder.artifact_path(digest).read_bytes() == b"x" * size


def test_equal_artifacts_are_kept_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path, tmp_path)
    first = folder.store_artifact(b"same", name="a")
    before = folder.artifact_path(first.sha256).stat().st_mtime_ns
    assert folder.store_artifact(b"same", name="b").sha256 == first.sha256
    assert folder.artifact_path(first.sha256).stat().st_mtime_ns == before
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == [
        folder.artifact_path(first.sha256)
    ]


def test_a_kept_artifact_does_not_change_with_its_source(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path, tmp_path)
    source = tmp_path / "run_results.json"
    source.write_bytes(b"first")
    stored = folder.store_artifact(source)
    with source.open("r+b") as file:
        file.write(b"later")
    assert folder.artifact_path(stored.sha256).read_bytes() == b"first"


def test_an_artifact_that_cannot_be_read_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path, tmp_path)
    with pytest.raises(UnavailableError) as caught:
        folder.store_artifact(tmp_path / "absent.json")
    assert caught.value.code == "evidence_unavailable"
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []
