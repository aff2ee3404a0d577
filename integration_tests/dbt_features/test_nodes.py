# SPDX-License-Identifier: Apache-2.0
"""Every kind of node that dbt runs is recorded with the status that dbt gives it, on DuckDB and on Postgres."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Outcome, Project

YEARLY = "model.tides.yearly"
COUNTED = "model.tides.counted"


@dataclass(frozen=True)
class Story:
    """Commands that ran one after the other in one project."""

    adapter: str
    steps: Mapping[str, Outcome]

    def __getitem__(self, name: str) -> Outcome:
        return self.steps[name]


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "build": ("build",),
    "seed again": ("seed",),
    "empty": ("run", "--empty"),
    "many threads": ("build", "--threads", "32", "--full-refresh"),
    "parsed anew": ("--no-partial-parse", "run", "--select", "highest"),
    "two batches": ("run", "--select", "yearly", "--event-time-start", "2023-01-01", "--event-time-end", "2025-01-01"),
    "freshness": ("source", "freshness"),
    "snapshot": ("snapshot",),
    "unit tests": ("test", "--select", "test_type:unit"),
    "operation": ("run-operation", "lower_levels", "--args", "{centimetres: 1}"),
    "compile": ("compile", "--select", "highest"),
}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def story(request: pytest.FixtureRequest, make_tides: Callable[..., Project]) -> Story:
    project = make_tides(request.param)
    return Story(request.param, {name: project.dbt(*arguments) for name, arguments in COMMANDS.items()})


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "operation"])
def test_statuses_are_those_of_dbt(story: Story, name: str) -> None:
    step = story[name]
    expected = step.sources if name == "freshness" else step.results
    assert expected
    assert step.evidence.statuses() == expected
    assert step.evidence.run["status"] == "success"
    assert step.evidence.run["adapter"] == story.adapter


def test_every_kind_of_resource_is_there(story: Story) -> None:
    kinds = {event["resource_type"] for event in story["build"].evidence.events("node.finished")}
    assert kinds == {"seed", "model", "snapshot", "test", "unit_test", "exposure"}


def test_batches_are_in_statements_and_nodes(story: Story) -> None:
    evidence = story["two batches"].evidence
    assert evidence.batches(YEARLY) == {"2023": "success", "2024": "success"}
    # DuckDB replaces a batch with a delete and an insert in one string.
    changing = [event for event in evidence.statements(YEARLY) if event["verb"] in ("delete", "merge")]
    assert [event.get("batch_id") for event in changing] == ["2023", "2024"]
    assert [batch["batch_id"] for batch in evidence.nodes()[YEARLY]["batches"]] == ["2023", "2024"]


def test_batches_of_a_first_build_keep_their_statements_apart(story: Story) -> None:
    evidence = story["build"].evidence
    batches = evidence.batches(YEARLY)
    assert set(batches) >= {"2023", "2024", "2025", "2026"}
    assert set(batches.values()) == {"success"}
    creating = [event for event in evidence.statements(YEARLY) if event["verb"] == "create" and "batch_id" in event]
    assert creating
    assert {event["batch_id"] for event in creating} <= set(batches)


def test_enforced_contract_is_named(story: Story) -> None:
    nodes = story["build"].evidence.nodes()
    assert nodes["model.tides.highest"]["contract_enforced"] is True
    assert nodes["model.tides.levels_by_gauge"]["contract_enforced"] is False


def test_unit_test_counts_as_a_test(story: Story) -> None:
    evidence = story["unit tests"].evidence
    assert evidence.statuses() == {"unit_test.tides.highest.highest_takes_the_maximum": "pass"}
    assert (evidence.run["counts"]["tests_passed"], evidence.run["counts"]["nodes"]) == (1, 1)


def test_python_model_is_a_node_whose_own_statements_are_not_seen(story: Story) -> None:
    evidence = story["build"].evidence
    if story.adapter == "postgres":
        assert COUNTED not in evidence.statuses()
        return
    node = evidence.nodes()[COUNTED]
    assert (node["status"], node["language"], node["materialized"]) == ("success", "python", "table")
    # dbt makes the table itself; what the model asks of DuckDB passes dbt's connection by.
    verbs = {event["verb"] for event in evidence.statements(COUNTED)}
    assert "select" not in verbs
    assert b"python_literal_8c42" not in evidence.contents


def test_empty_run_records_nodes_without_rows(story: Story) -> None:
    evidence = story["empty"].evidence
    assert "--empty" in evidence.events("run.started")[0]["argv"]
    affected = [event["rows_affected"] for event in evidence.events("node.finished")]
    assert {rows for rows in affected if rows is not None} <= {0}


def test_many_threads_send_what_few_threads_send(story: Story) -> None:
    evidence = story["many threads"].evidence
    assert evidence.statuses() == story["build"].evidence.statuses()
    per_node = [event["unique_id"] for event in evidence.events("statement")]
    assert {name for name in evidence.statuses() if name.startswith(("model", "seed", "snapshot", "test"))} <= set(
        per_node
    )


def test_second_seed_is_recorded_with_its_truncate(story: Story) -> None:
    evidence = story["seed again"].evidence
    verbs = [event["verb"] for event in evidence.statements("seed.tides.gauges")]
    assert "truncate" in verbs
    assert ("insert" if story.adapter == "postgres" else "copy") in verbs
    assert {event["status"] for event in evidence.events("statement")} == {"success"}


def test_freshness_is_recorded_as_the_source(story: Story) -> None:
    step = story["freshness"]
    assert step.sources == {"source.tides.harbour.levels": "warn"}
    assert step.evidence.run["command"] == "freshness"
    assert step.evidence.statements("source.tides.harbour.levels")


def test_freshness_refers_to_no_results_of_another_command(story: Story) -> None:
    assert set(story["freshness"].evidence.references()) == {"manifest.json", "sources.json"}


def test_operation_is_named_after_its_macro(story: Story) -> None:
    evidence = story["operation"].evidence
    assert {event["unique_id"] for event in evidence.events("statement")} == {"operation:lower_levels"}
    (update,) = [event for event in evidence.events("statement") if event["verb"] == "update"]
    assert update["rows"] == (3 if story.adapter == "postgres" else None)
    assert (evidence.run["command"], evidence.run["counts"]["writes"] >= 1) == ("run-operation", True)


def test_compiling_writes_nothing(story: Story) -> None:
    evidence = story["compile"].evidence
    assert evidence.run["counts"]["writes"] == 0


def test_no_row_value_or_literal_is_in_any_bundle(story: Story) -> None:
    for name, step in story.steps.items():
        for literal in (b"row-value-41d7", b"Kalmar", b"\xc3\x85lesund", b"centimetres >", b"centimetres: 1"):
            assert literal not in step.evidence.contents, name


def test_anchor_is_where_the_warehouse_has_one(story: Story) -> None:
    (anchor,) = story["build"].evidence.manifest["anchors"]
    assert anchor["kind"] == ("postgres_wal" if story.adapter == "postgres" else "none")
