# SPDX-License-Identifier: Apache-2.0
"""Runs in which something fails or nothing happens are recorded as dbt saw them, and so is what ``retry`` mends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Outcome, Project

YEARLY = "model.tides.yearly"
HIGHEST = "model.tides.highest"
HIGHS = "model.tides.highs"
COUNTED = "model.tides.counted"
FAIL_FAST = "first failure ended it"
RANGE = ("--event-time-start", "2023-01-01", "--event-time-end", "2026-01-01")
SOUND = "select gauge_id, cast(max(centimetres) as integer) as centimetres from {{ ref('levels_by_gauge') }} group by 1"

Story = Mapping[str, "Outcome"]


def spoiled(batch: str) -> tuple[str, ...]:
    """Options that make one batch of the microbatch model fail."""
    return ("--vars", json.dumps({"spoiled_batch": batch}))


def tell(project: Project) -> Story:
    """Everything that goes wrong, one after the other, and what makes it good."""
    told: dict[str, Outcome] = {}

    def run(name: str, *arguments: str, code: int) -> None:
        told[name] = project.dbt(*arguments, code=code)

    project.dbt("build", "--exclude", "yearly")
    run("last batches skipped", "run", "--select", "yearly", *RANGE, *spoiled("2023"), code=1)
    run("one batch failed", "run", "--select", "yearly", *RANGE, *spoiled("2024"), code=1)
    run("batch retried", "retry", *spoiled(""), code=0)
    project.write("models/highest.sql", "select absent_column_3f from {{ ref('levels_by_gauge') }}")
    run("model failed", "run", "--select", "highest+", code=1)
    run("retried in vain", "retry", code=1)
    project.write("models/highest.sql", SOUND)
    run("retried", "retry", code=0)
    project.write(
        "models/highest.sql", "{% if execute %}{{ exceptions.raise_compiler_error('no') }}{% endif %} " + SOUND
    )
    run("model did not compile", "run", "--select", "highest+", code=1)
    project.write("models/highest.sql", SOUND.replace("as integer", "as bigint"))
    run("contract broken", "run", "--select", "highest+", code=1)
    project.write("models/highest.sql", SOUND.replace("max", "min"))
    run("unit test failed", "build", "--select", "highest+", code=1)
    project.write("models/highest.sql", SOUND)
    run("warning became an error", "--warn-error", "test", "--select", "few_levels_are_below_zero", code=1)
    for number in range(4):
        project.write(f"tests/finds_gauges_{number}.sql", "select * from {{ ref('gauges') }}")
    run("tests failed", "test", "--select", "test_type:data", code=1)
    run(
        FAIL_FAST,
        *("test", "--select", "finds_gauges_0", "finds_gauges_1", "finds_gauges_2", "finds_gauges_3"),
        *("--fail-fast", "--threads", "1"),
        code=1,
    )
    return told


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def story(request: pytest.FixtureRequest, make_tides: Callable[..., Project]) -> Story:
    return tell(make_tides(request.param))


@pytest.fixture(scope="module")
def on_duckdb(make_tides: Callable[..., Project]) -> Project:
    return make_tides("duckdb")


def test_statuses_are_those_of_dbt(story: Story) -> None:
    for name, outcome in story.items():
        # --fail-fast has a test of its own.
        assert name == FAIL_FAST or outcome.evidence.statuses() == outcome.results, name
        assert outcome.evidence.run["status"] == ("success" if outcome.code == 0 else "failed"), name


def test_batches_behind_a_failed_first_one_are_skipped(story: Story) -> None:
    evidence = story["last batches skipped"].evidence
    assert evidence.statuses() == {YEARLY: "error"}
    assert evidence.batches(YEARLY) == {"2023": "error", "2024": "skipped", "2025": "skipped"}
    failed = [event for event in evidence.statements(YEARLY) if event["status"] == "error"]
    assert [event["batch_id"] for event in failed] == ["2023"]


def test_failed_batch_makes_a_partial_success(story: Story) -> None:
    evidence = story["one batch failed"].evidence
    assert evidence.statuses() == {YEARLY: "partial_success"}
    assert evidence.batches(YEARLY) == {"2023": "success", "2024": "error", "2025": "success"}


def test_retry_runs_the_failed_batch_alone(story: Story) -> None:
    evidence = story["batch retried"].evidence
    assert evidence.statuses() == {YEARLY: "success"}
    assert evidence.batches(YEARLY) == {"2024": "success"}


def test_nodes_behind_a_failed_model_are_skipped(story: Story) -> None:
    evidence = story["model failed"].evidence
    statuses = evidence.statuses()
    assert statuses.pop(COUNTED, "skipped") == "skipped"
    assert statuses == {HIGHEST: "error", HIGHS: "skipped"}
    (event,) = [event for event in evidence.events("node.finished") if event["unique_id"] == HIGHEST]
    assert event["message_sha256"] is not None
    assert b"absent_column_3f" not in evidence.contents


def test_retry_names_what_it_runs_again(story: Story) -> None:
    in_vain, retried = story["retried in vain"].evidence, story["retried"].evidence
    assert in_vain.statuses() == story["model failed"].evidence.statuses()
    assert retried.statuses().keys() == in_vain.statuses().keys()
    assert set(retried.statuses().values()) == {"success"}
    assert {retried.run["command"], in_vain.run["command"]} == {"retry"}
    ids = {evidence.run["invocation_id"] for evidence in (story["model failed"].evidence, in_vain, retried)}
    assert len(ids) == 3


@pytest.mark.parametrize("name", ["model did not compile", "contract broken"])
def test_model_that_is_refused_by_dbt_sends_no_table(story: Story, name: str) -> None:
    evidence = story[name].evidence
    assert evidence.statuses()[HIGHEST] == "error"
    assert evidence.statuses()[HIGHS] == "skipped"
    written = {event["unique_id"] for event in evidence.events("statement") if event["verb"] in ("create", "insert")}
    assert HIGHS not in written
    if name == "model did not compile":
        assert HIGHEST not in written


def test_failed_unit_test_counts_and_its_model_is_skipped(story: Story) -> None:
    evidence = story["unit test failed"].evidence
    assert evidence.run["counts"]["tests_failed"] == 1
    assert evidence.statuses()[HIGHEST] == "skipped"


def test_warning_that_became_an_error_is_a_failed_test(story: Story) -> None:
    evidence = story["warning became an error"].evidence
    assert evidence.statuses() == {"test.tides.few_levels_are_below_zero": "fail"}
    counts = evidence.run["counts"]
    assert (counts["tests_failed"], counts["tests_warned"]) == (1, 0)


def test_failed_tests_are_counted_beside_those_that_passed(story: Story) -> None:
    evidence = story["tests failed"].evidence
    counts = evidence.run["counts"]
    assert (counts["tests_failed"], counts["tests_warned"], counts["tests_passed"]) == (4, 1, 2)
    finds = [event for event in evidence.events("node.finished") if "finds_gauges" in event["unique_id"]]
    assert {event["failures"] for event in finds} == {3}


def test_tests_that_fail_fast_left_out_are_not_run(story: Story) -> None:
    outcome = story[FAIL_FAST]
    statuses = outcome.evidence.statuses()
    assert statuses.keys() == outcome.results.keys()
    # dbt calls everything skipped that ended after the first failure, also a test that had begun by then.
    late = {name for name, status in statuses.items() if status != outcome.results[name]}
    assert all(outcome.results[name] == "skipped" and outcome.evidence.statements(name) for name in late)
    counts = outcome.evidence.run["counts"]
    assert (counts["tests_failed"], counts["tests_not_run"]) == (1 + len(late), 3 - len(late))
    assert counts["tests_not_run"] >= 1


def test_invalid_project_leaves_evidence_of_a_failed_run(on_duckdb: Project) -> None:
    on_duckdb.write("models/broken.sql", "select {{ no_such_macro_77( }}")
    outcome = on_duckdb.dbt("build", code=2)
    evidence = outcome.evidence
    (on_duckdb.path / "models/broken.sql").unlink()
    assert evidence.run["status"] == "failed"
    assert evidence.run["counts"]["statements"] == evidence.run["counts"]["nodes"] == 0
    assert evidence.references() == {}
    assert [event["code"] for event in evidence.events("run.error")] == ["run_failed"]
    assert b"no_such_macro_77" not in evidence.contents


def test_empty_selection_leaves_evidence_of_nothing(on_duckdb: Project) -> None:
    evidence = on_duckdb.dbt("run", "--select", "no_such_model").evidence
    assert evidence.run["status"] == "success"
    assert evidence.run["counts"]["statements"] == evidence.run["counts"]["nodes"] == 0


def test_failed_operation_is_recorded(on_duckdb: Project) -> None:
    evidence = on_duckdb.dbt("run-operation", "no_such_macro", code=2).evidence
    assert evidence.run["status"] == "failed"


def test_error_after_the_last_node_is_sealed_too(on_duckdb: Project) -> None:
    on_duckdb.dbt("seed")
    deprecated = ("source", "freshness", "--output", "target/elsewhere.json")
    outcome = on_duckdb.dbt("--warn-error-options", '{"error": ["DeprecationsSummary"]}', *deprecated, code=2)
    assert outcome.evidence.run["status"] == "failed"
    assert outcome.evidence.run["counts"]["nodes"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "--select", "broken+"), 1),
        (("build", "--select", "broken+", "gauges", "--fail-fast"), 1),
        (("--warn-error", "run", "--select", "no_such_model"), 2),
        (("run", "--select", "state:modified"), 2),
        (("retry", "--threads", "1"), 1),
        (("run-operation", "no_such_macro"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_failing_command_ends_as_it_does_without_clyra(
    on_duckdb: Project, arguments: tuple[str, ...], code: int
) -> None:
    on_duckdb.write("models/broken.sql", "select absent_column from {{ ref('gauges') }}")
    on_duckdb.write("models/behind.sql", "select * from {{ ref('broken') }}")
    on_duckdb.dbt("run", "--select", "broken+", code=1, CLYRA_DISABLED="1")
    with_plugin = on_duckdb.dbt(*arguments, code=code)
    on_duckdb.dbt("run", "--select", "broken+", code=1, CLYRA_DISABLED="1")
    without = on_duckdb.dbt(*arguments, code=code, CLYRA_DISABLED="1")
    for name in ("broken", "behind"):
        (on_duckdb.path / f"models/{name}.sql").unlink()
    assert with_plugin.results == without.results
    assert (len(with_plugin.bundles), len(without.bundles)) == (1, 0)


def test_usage_error_leaves_nothing(on_duckdb: Project) -> None:
    assert on_duckdb.dbt("build", "--no-such-option", code=2).bundles == ()
