# SPDX-License-Identifier: Apache-2.0
"""Runs that stand on another environment: ``state:modified+`` with ``--defer``, and ``clone``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Outcome, Project

STATE = ("--state", "production")
PRODUCTION, DEVELOPMENT = "tides", "tides_dev"
CHANGED = "model.tides.highest"
UNCHANGED = "model.tides.levels_by_gauge"


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def story(request: pytest.FixtureRequest, make_tides: Callable[..., Project]) -> Mapping[str, Outcome]:
    """Production is built whole; development builds what was changed on top of it, and clones the rest."""
    project = make_tides(request.param)
    project.environ["TIDES_SCHEMA"] = PRODUCTION
    project.dbt("build", "--exclude", "yearly")
    shutil.copytree(project.path / "target", project.path / "production", ignore=shutil.ignore_patterns("*.msgpack"))
    changed = (project.path / "models" / "highest.sql").read_text().replace("max(", "min(")
    project.write("models/highest.sql", changed)
    project.environ["TIDES_SCHEMA"] = DEVELOPMENT
    return {
        "deferred": project.dbt("run", "--select", "state:modified+", "--defer", *STATE),
        "cloned": project.dbt("clone", "--exclude", "yearly", *STATE),
        "nothing modified": project.dbt("build", "--select", "state:modified+", "--state", "target"),
    }


def test_only_what_was_modified_is_recorded(story: Mapping[str, Outcome]) -> None:
    deferred = story["deferred"]
    assert deferred.evidence.statuses() == deferred.results
    assert deferred.results.keys() - {"model.tides.counted"} == {CHANGED, "model.tides.highs"}
    assert "--defer" in deferred.evidence.events("run.started")[0]["argv"]


def test_lineage_names_the_relations_that_were_read_and_written(story: Mapping[str, Outcome]) -> None:
    lineage = json.loads(story["deferred"].evidence.read("artifacts/lineage.json"))
    relations = {node["id"]: node["relation"].replace('"', "") for node in lineage["nodes"]}
    assert relations[CHANGED].split(".")[-2:] == [DEVELOPMENT, "highest"]
    assert relations[UNCHANGED].split(".")[-2:] == [PRODUCTION, "levels_by_gauge"]


def test_clones_are_recorded(story: Mapping[str, Outcome]) -> None:
    cloned = story["cloned"]
    assert cloned.evidence.statuses() == cloned.results
    assert cloned.evidence.run["command"] == "clone"
    assert set(cloned.results.values()) == {"success"}
    assert {"seed.tides.gauges", UNCHANGED, "snapshot.tides.gauges_history"} <= cloned.results.keys()


def test_clone_writes_what_is_not_there_yet(story: Mapping[str, Outcome]) -> None:
    evidence = story["cloned"].evidence
    assert {event["verb"] for event in evidence.statements(UNCHANGED)} & {"create"}
    assert evidence.run["counts"]["writes"] >= 2


def test_nothing_modified_is_evidence_of_nothing(story: Mapping[str, Outcome]) -> None:
    evidence = story["nothing modified"].evidence
    assert (evidence.run["status"], evidence.run["counts"]["nodes"]) == ("success", 0)
    # The results that lie in the target folder are the clone's.
    assert set(evidence.references()) <= {"manifest.json", "run_results.json"}
