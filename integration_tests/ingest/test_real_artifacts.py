# SPDX-License-Identifier: Apache-2.0
"""Artifacts of real dbt runs become valid evidence: the same as the plugin's, as far as artifacts go."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from clyra.evidence.reader import open_bundle

if TYPE_CHECKING:
    from integration_tests.ingest.conftest import Harbour, Opened

LITERAL = b"Sturmflut-1962"


def statuses(bundle: Opened) -> dict[str, str]:
    return {event["unique_id"]: event["status"] for event in bundle.events("node.finished")}


def hooks(bundle: Opened) -> dict[str, str]:
    return {event["name"]: event["status"] for event in bundle.events("hook.finished")}


def results_of(harbour: Harbour) -> dict[str, str]:
    results = json.loads((harbour.path / "target" / "run_results.json").read_text())["results"]
    nodes = (found for found in results if not found["unique_id"].startswith(("operation.", "macro.")))
    return {found["unique_id"]: found["status"].replace(" ", "_") for found in nodes}


def git(harbour: Harbour, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(("git", *identity, *words), cwd=harbour.path, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_build_is_sealed_into_a_valid_bundle(harbour: Harbour) -> None:
    bundle = harbour.seal()
    result = harbour.verify(bundle)
    assert (result.exit_code, result.code, result.warnings) == (0, None, [])
    assert statuses(bundle) == results_of(harbour)
    assert (bundle.run["capture"], bundle.run["status"], bundle.run["adapter"]) == ("ingested", "failed", "duckdb")
    counts = bundle.run["counts"]
    assert (counts["tests_failed"], counts["tests_warned"], counts["tests_passed"]) == (1, 1, 1)
    assert counts["tests_not_run"] == 1
    assert counts["nodes"] == len(results_of(harbour))
    assert [event["part"] for event in bundle.events("recorder.degraded")] == ["statements"]
    summary = open_bundle(bundle.path).summary()
    assert (summary.capture, summary.tests.failed, summary.statement_count) == ("ingested", 1, 0)


def test_the_fixture_s_artifacts_do_hold_the_literal_that_no_bundle_may_hold(harbour: Harbour) -> None:
    for name in ("manifest.json", "run_results.json"):
        assert LITERAL in (harbour.path / "target" / name).read_bytes()
    assert LITERAL not in harbour.seal().all_bytes


def test_the_command_is_kept_without_its_variables(harbour: Harbour) -> None:
    (started,) = harbour.seal().events("run.started")
    assert started["argv"] == ["dbt", "build", "--vars", "{fail: ***, word: ***}", "..."]
    assert started["command"] == "build"


def test_another_command_in_between_makes_the_artifacts_stale(harbour: Harbour) -> None:
    harbour.dbt("--quiet", "ls")
    done = harbour.clyra("seal", "--json", code=1)
    assert json.loads(done.stdout)["error"]["code"] == "artifact_stale"
    assert "seal right after the run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_freshness_check_beside_an_older_build_is_sealed_by_itself(harbour: Harbour) -> None:
    harbour.dbt("--quiet", "source", "freshness")
    done = harbour.clyra("seal")
    assert "run_results.json is of an older invocation" in done.stderr
    (bundle,) = harbour.bundles()
    assert statuses(bundle)["source.harbour.main.berths_raw"] == "warn"
    assert (bundle.run["command"], bundle.run["status"]) == ("freshness", "success")
    assert harbour.verify(bundle).exit_code == 0


def test_every_command_that_leaves_results_can_be_sealed(harbour: Harbour) -> None:
    sweep = ("run-operation", "sweep", "--args", "{word: Sturmflut-1962}")
    # In the results of a retry dbt names the command that is repeated.
    for words, command, code in ((("retry",), "build", 1), (sweep, "run-operation", 0)):
        harbour.dbt("--quiet", *words, code=code)
        bundle = harbour.seal()
        assert bundle.run["command"] == command
        assert statuses(bundle) == results_of(harbour)
        assert LITERAL not in bundle.all_bytes
        assert harbour.verify(bundle).exit_code == 0


def test_a_recorded_run_has_its_bundle_already_and_artifacts_say_the_same(harbour: Harbour) -> None:
    harbour.dbt("build", code=0, recorded=True)
    (recorded,) = harbour.bundles()
    done = harbour.clyra("seal")
    assert done.stdout.strip() == str(recorded.path)
    assert "already has its bundle" in done.stderr
    shutil.copytree(harbour.path / "target", harbour.path / "copied")
    ingested = harbour.seal("--target-path", "copied", "--evidence-dir", "elsewhere")
    assert comparable(ingested) == comparable(recorded)
    assert edges(ingested) == edges(recorded)
    assert hooks(ingested) == hooks(recorded) == {"harbour.on-run-start.0": "success"}
    assert described(ingested) == described(recorded)
    assert ingested.run["invocation_id"] == recorded.run["invocation_id"]
    assert ingested.run["status"] == recorded.run["status"] == "success"


def comparable(bundle: Opened) -> dict[str, tuple[Any, ...]]:
    """What both ways of recording know of a node."""
    members = ("resource_type", "status", "rows_affected", "failures")
    return {
        event["unique_id"]: (*(event[member] for member in members), checksum_of(event))
        for event in bundle.events("node.finished")
    }


def checksum_of(node: dict[str, Any]) -> str | None:
    # dbt's events lack those of unit tests.
    checksum: str | None = node["checksum"]
    return None if node["resource_type"] == "unit_test" else checksum


def edges(bundle: Opened) -> set[tuple[str, str]]:
    return {(edge["from"], edge["to"]) for edge in json.loads(bundle.read("artifacts/lineage.json"))["edges"]}


def described(bundle: Opened) -> dict[str, dict[str, Any]]:
    # dbt's objects have a language where its artifacts leave it out, as with seeds.
    own = ("execution_us", "message_sha256", "language")
    nodes = json.loads(bundle.read("artifacts/nodes.json"))["nodes"]
    return {
        node["unique_id"]: {name: value for name, value in node.items() if name not in own}
        | {"checksum": checksum_of(node)}
        for node in nodes
    }


def test_an_image_with_a_stamp_names_the_commit_it_was_built_from(harbour: Harbour) -> None:
    (harbour.path / ".gitignore").write_text("target\nlogs\n*.duckdb\nclyra.build.json\n")
    git(harbour, "init", "-q")
    git(harbour, "add", ".")
    git(harbour, "commit", "-q", "-m", "first")
    harbour.clyra("stamp")
    commit, tree = git(harbour, "rev-parse", "HEAD"), git(harbour, "rev-parse", "HEAD:./")
    shutil.rmtree(harbour.path / ".git")
    harbour.dbt("--quiet", "run", "--select", "berths", recorded=True)
    (harbour.path / "models" / "later.sql").write_text("select 1 as x")
    harbour.dbt("--quiet", "run", "--select", "berths", recorded=True)
    as_built, changed = harbour.bundles()
    author = {"author_basis": "claimed"}
    known = {"commit": commit, "tree": tree, "source": "image", **author}
    assert as_built.run["git"] == {**known, "dirty": False}
    assert changed.run["git"] == {**known, "dirty": True}
    assert "added: models/later.sql" in harbour.clyra("stamp", "--check", code=1).stdout


@pytest.mark.parametrize("name", ["manifest.json", "run_results.json"])
def test_artifacts_that_were_cut_off_are_refused_in_one_line(harbour: Harbour, name: str) -> None:
    artifact = harbour.path / "target" / name
    artifact.write_bytes(artifact.read_bytes()[:-100])
    done = harbour.clyra("seal", code=1)
    assert done.stderr == f"clyra: {name} is no JSON, or cut off; make it again [schema_invalid]\n"
    assert not harbour.bundles()
