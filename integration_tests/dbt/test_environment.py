# SPDX-License-Identifier: Apache-2.0
"""Where evidence goes and what it says about code, keys and sessions, in the surroundings dbt is run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clyra.verify import verify_log

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Evidence, Ledger


DBT = Path(sys.executable).with_name("dbt")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ana", "-c", "user.email=ana@harbour.example")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def build_of(evidence: Evidence) -> dict[str, object]:
    build: dict[str, object] = evidence.events("run.started")[0]["build"]
    return build


def test_build_names_the_tree_of_the_project_and_whether_it_is_dirty(on_duckdb: Ledger) -> None:
    repository = on_duckdb.path.parent
    (repository / ".gitignore").write_text("home\ntarget\nlogs\n*.duckdb\n")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "ledger")
    tree, commit = git(repository, "rev-parse", "HEAD:project", "HEAD").split()
    on_duckdb.dbt("seed")
    (on_duckdb.path / "notes.txt").write_text("untracked, and nothing dbt reads")
    on_duckdb.dbt("seed")
    on_duckdb.write("models/new.sql", "select 1 as id")
    on_duckdb.dbt("seed")
    clean, noted, dirty = on_duckdb.bundles()
    known = {"tree": tree, "commit": commit, "branch": "main", "source": "git"}
    assert build_of(clean) == {**known, "dirty": False}
    assert build_of(noted) == {**known, "dirty": False}
    assert build_of(dirty) == {**known, "dirty": True}
    assert clean.run["git"] == {
        **{name: known[name] for name in ("tree", "commit", "source")},
        "dirty": False,
        "author_basis": "claimed",
    }
    assert git(repository, "status", "--porcelain").splitlines() == [
        "?? project/models/new.sql",
        "?? project/notes.txt",
    ]


def test_image_says_what_was_stamped_into_it(on_duckdb: Ledger) -> None:
    repository = on_duckdb.path.parent
    (repository / ".gitignore").write_text("home\ntarget\nlogs\n*.duckdb\n")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "ledger")
    tree, commit = git(repository, "rev-parse", "HEAD:project", "HEAD").split()
    clyra = on_duckdb.start("dbt", "stamp", program=DBT.with_name("clyra"))
    on_duckdb.wait(clyra, code=0)
    shutil.rmtree(repository / ".git")
    on_duckdb.dbt("seed", GITHUB_SHA="c" * 40)
    on_duckdb.write("models/heavy.sql", "select 1 as id, 2 as tons")
    on_duckdb.dbt("seed")
    stamped, edited = on_duckdb.bundles()
    known = {"tree": tree, "commit": commit, "branch": "main", "source": "image"}
    assert build_of(stamped) == {**known, "dirty": False}
    assert build_of(edited) == {**known, "dirty": True}


def test_ci_service_names_the_commit_of_a_checkout_without_git(on_duckdb: Ledger) -> None:
    commit = "c" * 40
    on_duckdb.dbt("seed", GITHUB_SHA=commit, GITHUB_REF_NAME="release")
    known = {"tree": None, "commit": commit, "dirty": None, "branch": "release", "source": "ci_env"}
    assert build_of(on_duckdb.bundle()) == known


def test_evidence_folder_is_named_by_variable_and_by_environment(on_duckdb: Ledger, tmp_path: Path) -> None:
    on_duckdb.dbt("seed", "--vars", "{clyra_evidence_dir: kept}")
    assert len(list(on_duckdb.path.glob("kept/evidence/*/*/*.def.zip"))) == 1
    on_duckdb.dbt("seed", "--vars", "{clyra_evidence_dir: kept}", CLYRA_EVIDENCE_DIR=str(tmp_path / "other"))
    assert len(list((tmp_path / "other").glob("evidence/*/*/*.def.zip"))) == 1
    assert not on_duckdb.folder.exists()


def test_pod_without_a_home_seals_with_a_key_of_the_moment(on_duckdb: Ledger) -> None:
    for variable in ("HOME", "USERPROFILE"):
        on_duckdb.environment.pop(variable, None)
    on_duckdb.dbt("seed")
    evidence = on_duckdb.bundle()
    assert evidence.manifest["producer"]["signer"] == "ephemeral"
    assert on_duckdb.bundle().run["status"] == "success"


def test_sessions_of_models_carry_the_ids_of_the_run(on_postgres: Ledger) -> None:
    read = ", ".join(f"current_setting('clyra.{name}', true) as {name}" for name in ("run_id", "actor_id", "tenant_id"))
    on_postgres.write("models/tagged.sql", f"select {read}, current_setting('statement_timeout') as own")
    ids = {"CLYRA_RUN_ID": "run-7", "CLYRA_ACTOR_ID": "ana@harbour.example", "CLYRA_TENANT_ID": "north"}
    on_postgres.dbt("run", "--select", "tagged", environment=ids, PGOPTIONS="-c statement_timeout=54321")
    assert on_postgres.execute("select * from ledger.tagged") == [("run-7", "ana@harbour.example", "north", "54321ms")]
    evidence = on_postgres.bundle()
    assert evidence.run["run_id"] == "run-7"
    assert evidence.manifest["tenant"] == "north"
    assert evidence.events("run.started")[0]["actor_id"] == "ana@harbour.example"
    assert evidence.manifest["ext"] == {"io.clyra.dbt": {"session_tags": "options"}}
    (anchor,) = evidence.manifest["anchors"]
    assert anchor["kind"] == "postgres_wal"
    assert on_postgres.verify(evidence).verdict == "valid"


def test_search_path_of_a_profile_keeps_the_tags_out_and_the_bundle_says_so(on_postgres: Ledger) -> None:
    on_postgres.execute("create schema ledger")
    on_postgres.write("models/tagged.sql", "select current_setting('clyra.run_id', true) as run_id")
    on_postgres.dbt("run", "--select", "tagged", "--target", "searching", CLYRA_RUN_ID="run-8")
    assert on_postgres.execute("select run_id from ledger.tagged") == [(None,)]
    assert on_postgres.bundle().manifest["ext"] == {"io.clyra.dbt": {"session_tags": "search_path_wins"}}


def orchestrated(ledger: Ledger, number: int, folder: Path) -> None:
    """Run one model as orchestrators do: in a temporary folder full of links to the project."""
    copy = folder / f"task-{number}"
    copy.mkdir()
    for source in ledger.path.iterdir():
        if source.name not in ("target", "logs", ".clyra") and source.suffix != ".duckdb":
            (copy / source.name).symlink_to(source)
    shutil.copytree(ledger.path / "target", copy / "target")
    replace(ledger, path=copy).dbt("--quiet", "run", "--select", "one", CLYRA_RUN_ID="nightly")


def run_orchestrated(ledger: Ledger, folder: Path, count: int, at_once: int) -> None:
    ledger.write("models/one.sql", "select 1 as id")
    ledger.dbt("--quiet", "parse")
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda number: orchestrated(ledger, number, folder), range(count)))
    bundles = ledger.bundles()
    assert len(bundles) == count
    assert sorted(evidence.run["part"] for evidence in bundles) == list(range(1, count + 1))
    assert {evidence.run["run_id"] for evidence in bundles} == {"nightly"}
    assert all(ledger.verify(evidence).code is None for evidence in bundles)
    log = verify_log(ledger.folder / "log", trust=ledger.trust)
    assert (log.code, log.warnings) == (None, [])


def test_parallel_invocations_from_linked_folders_leave_a_bundle_each(on_duckdb: Ledger, tmp_path: Path) -> None:
    run_orchestrated(on_duckdb, tmp_path, 20, 8)


@pytest.mark.kill100
def test_three_hundred_invocations_sixteen_at_a_time(on_duckdb: Ledger, tmp_path: Path) -> None:
    run_orchestrated(on_duckdb, tmp_path, 300, 16)
