# SPDX-License-Identifier: Apache-2.0
"""Which commands leave evidence, what they refer to, and what they print about it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Evidence, Keyring, Outcome, Project

SILENT = (
    ("ls",),
    ("list", "--output", "json"),
    ("parse",),
    ("show", "--select", "highs"),
    ("show", "--inline", "select 1 as one"),
    ("docs", "generate"),
    ("debug",),
    ("deps",),
    ("clean",),
)
CLOSING = "clyra: evidence of this run is in "


@pytest.fixture(scope="module")
def project(make_tides: Callable[..., Project]) -> Project:
    made = make_tides("duckdb")
    made.dbt("build", "--exclude", "yearly", CLYRA_DISABLED="1")
    return made


def invocation_of(project: Project, evidence: Evidence, name: str) -> str:
    """The id in the artifact that a bundle refers to, from the copy in the evidence folder."""
    digest = evidence.references()[name]
    content = (project.evidence_folder / "artifacts" / "sha256" / digest[:2] / digest).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    found: str = json.loads(content)["metadata"]["invocation_id"]
    return found


def test_commands_that_change_nothing_leave_no_trace(project: Project) -> None:
    for arguments in SILENT:
        if arguments == ("clean",):
            project.write("packages/left_over.txt", "")
        outcome = project.dbt(*arguments)
        assert outcome.bundles == (), arguments
        assert "clyra" not in (outcome.stdout + outcome.stderr).lower(), arguments
    assert not project.evidence_folder.exists()


def test_switched_off_plugin_says_so_once_and_leaves_no_trace(project: Project) -> None:
    outcome = project.dbt("run", "--select", "highs", CLYRA_DISABLED="1")
    assert outcome.stderr.count("clyra: switched off by CLYRA_DISABLED") == 1
    assert not project.evidence_folder.exists()


@pytest.fixture(scope="module")
def artifacts(project: Project) -> dict[str, Outcome]:
    """Commands that write all, some and none of dbt's artifacts, one after the other in one target folder."""
    return {
        "all": project.dbt("run", "--select", "highs"),
        "none": project.dbt("--no-write-json", "run", "--select", "highs"),
        "sources": project.dbt("source", "freshness"),
        "all again": project.dbt("--write-json", "run", "--select", "highs"),
        "elsewhere": project.dbt("source", "freshness", "--output", "target/elsewhere.json"),
        "other target": project.dbt("run", "--select", "highs", "--target-path", "other target"),
    }


def test_references_are_the_artifacts_of_this_invocation(project: Project, artifacts: dict[str, Outcome]) -> None:
    expected = {
        "all": {"manifest.json", "run_results.json"},
        "none": set(),
        "sources": {"manifest.json", "sources.json"},
        "all again": {"manifest.json", "run_results.json"},
        "elsewhere": {"manifest.json", "sources.json"},
        "other target": {"manifest.json", "run_results.json"},
    }
    for name, outcome in artifacts.items():
        evidence = outcome.evidence
        assert set(evidence.references()) == expected[name], name
        for reference in evidence.references():
            assert invocation_of(project, evidence, reference) == evidence.run["invocation_id"], (name, reference)


def test_bundle_without_references_has_nodes_and_statements_all_the_same(artifacts: dict[str, Outcome]) -> None:
    evidence = artifacts["none"].evidence
    assert evidence.statuses() == {"model.tides.highs": "success"}
    assert evidence.run["counts"]["writes"] >= 1
    assert evidence.nodes()["model.tides.highs"]["compiled_sha256"] is not None


def test_closing_line_names_the_bundle(project: Project, artifacts: dict[str, Outcome]) -> None:
    for outcome in artifacts.values():
        (line,) = [line for line in outcome.stdout.splitlines() if CLOSING in line]
        named = Path(line.partition(CLOSING)[2].partition("; ")[0])
        assert project.path / named == outcome.evidence.path
        assert outcome.stderr == ""


def test_closing_line_is_one_of_the_json_lines(project: Project) -> None:
    outcome = project.dbt("--log-format", "json", "run", "--select", "highs")
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    (closing,) = [line["info"] for line in lines if CLOSING in line["info"]["msg"]]
    assert (closing["name"], closing["level"]) == ("Note", "info")
    assert str(outcome.evidence.path.relative_to(project.path)) in closing["msg"]
    assert outcome.stderr == ""


@pytest.mark.parametrize("flags", [("--quiet",), ("--log-level", "error"), ("--log-level", "none")], ids=" ".join)
def test_closing_line_keeps_quiet_where_dbt_does(project: Project, flags: tuple[str, ...]) -> None:
    outcome = project.dbt(*flags, "run", "--select", "highs")
    assert outcome.stdout + outcome.stderr == ""
    assert outcome.evidence.run["status"] == "success"


def test_closing_line_is_in_the_log_file(project: Project) -> None:
    outcome = project.dbt("--quiet", "run", "--select", "highs")
    logged = (project.path / "logs" / "dbt.log").read_text()
    assert str(outcome.evidence.path.relative_to(project.path)) in logged


def test_partial_parsing_changes_nothing_in_the_record(project: Project) -> None:
    (project.path / "target" / "partial_parse.msgpack").unlink()
    told = [
        project.dbt(*flags, "run", "--select", "highest+").evidence
        for flags in ((), (), ("--no-partial-parse",), ("--no-use-experimental-parser", "--no-static-parser"))
    ]
    nodes = [
        {name: (node["status"], node["checksum"], node["compiled_sha256"]) for name, node in evidence.nodes().items()}
        for evidence in told
    ]
    assert nodes[0] == nodes[1] == nodes[2] == nodes[3]
    assert len(nodes[0]) == 3


def test_auditor_verifies_all_bundles_and_the_log_with_the_command(
    project: Project, keyring: Keyring, artifacts: dict[str, Outcome]
) -> None:
    folder = project.evidence_folder
    for arguments in (
        ("verify", folder / "evidence", "--artifacts", folder / "artifacts"),
        ("log", "verify", folder / "log"),
    ):
        clyra = Path(sys.executable).with_name("clyra")
        command = [clyra, *arguments, "--trust", keyring.config / "clyra.trust.json"]
        done = subprocess.run(command, env=project.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.bundle_paths()) >= len(artifacts)
