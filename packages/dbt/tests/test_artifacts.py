# SPDX-License-Identifier: Apache-2.0
"""dbt's artifacts are read as one invocation wrote them; anything else is refused with a code and a place."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.dbt import _nodes
from clyra.dbt._artifacts import Artifacts, is_unsuccessful, read_artifacts
from clyra.spec import FormatError

Documents = dict[str, dict[str, Any]]
Change = Callable[[Documents], object]

OTHER = "11111111-2222-3333-4444-555555555555"


def write(folder: Path, documents: Documents) -> Path:
    folder.mkdir(exist_ok=True)
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    return folder


def read(folder: Path, documents: Documents) -> Artifacts:
    return read_artifacts(write(folder, documents))


def sources(documents: Documents, *, invocation_id: str, second: int) -> dict[str, Any]:
    metadata = {
        **documents["manifest.json"]["metadata"],
        "dbt_schema_version": "https://schemas.getdbt.com/dbt/sources/v3.json",
        "invocation_id": invocation_id,
        "generated_at": f"2026-01-31T08:15:{second:02}Z",
    }
    results = [
        {"unique_id": "source.shop.raw.orders", "status": "pass", "execution_time": 0.1, "timing": []},
        {"unique_id": "source.shop.raw.late", "status": "runtime error", "error": 7},
    ]
    return {"metadata": metadata, "results": results, "elapsed_time": 0.5}


def result(documents: Documents, at: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = documents["run_results.json"]["results"][at]
    return found


def test_outcomes_come_in_the_order_in_which_nodes_ended(tmp_path: Path, documents: Documents) -> None:
    artifacts = read(tmp_path, documents)
    ids = [timed.outcome.unique_id for timed in artifacts.results]
    assert ids == ["seed.shop.raw", "model.shop.a", "model.shop.b", "test.shop.unique_b_id.1f"]
    assert [timed.at_us for timed in artifacts.results] == sorted(timed.at_us for timed in artifacts.results)
    seed, *_, test = [timed.outcome for timed in artifacts.results]
    assert (seed.rows_affected, seed.checksum, seed.failures, seed.execution_us) == (3, "ab" * 32, None, 250_000)
    assert (test.status, test.failures, test.checksum) == ("fail", 2, None)
    assert is_unsuccessful(test)
    assert not is_unsuccessful(seed)


def test_the_run_is_described_as_dbt_describes_it(tmp_path: Path, documents: Documents) -> None:
    artifacts = read(tmp_path, documents)
    assert (artifacts.project, artifacts.adapter_type, artifacts.target) == ("shop", "postgres", "prod")
    assert (artifacts.command, artifacts.variables) == ("build", ("who",))
    assert artifacts.ended_at_us - artifacts.started_at_us == 6_000_000
    assert artifacts.elapsed_us == 5_500_000
    assert artifacts.source_folders == ("models", "seeds", "tests")
    assert set(artifacts.contents) == {"manifest.json", "run_results.json"}


def test_a_start_that_nobody_wrote_down_follows_from_the_duration(tmp_path: Path, documents: Documents) -> None:
    del documents["run_results.json"]["metadata"]["invocation_started_at"]
    artifacts = read(tmp_path, documents)
    assert artifacts.ended_at_us - artifacts.started_at_us == 5_500_000


def test_nodes_are_those_of_the_manifest(tmp_path: Path, documents: Documents) -> None:
    manifest = read(tmp_path, documents).manifest
    found = _nodes.find(manifest, "model.shop.b")
    assert (found.name, found.config.materialized, found.contract.enforced) == ("b", "table", False)
    assert found.depends_on_nodes == ("model.shop.a", "model.shop.b")
    assert _nodes.find(manifest, "model.shop.gone") is None


def test_files_of_different_invocations_are_refused(tmp_path: Path, documents: Documents) -> None:
    documents["manifest.json"]["metadata"]["invocation_id"] = OTHER
    with pytest.raises(FormatError, match="seal right after the run") as caught:
        read(tmp_path, documents)
    assert caught.value.code == "artifact_stale"


def test_a_file_of_an_older_invocation_is_left_aside(tmp_path: Path, documents: Documents) -> None:
    documents["sources.json"] = sources(documents, invocation_id=OTHER, second=0)
    artifacts = read(tmp_path, documents)
    assert artifacts.left_aside == ("sources.json",)
    assert "sources.json" not in artifacts.contents
    assert len(artifacts.results) == 4


def test_a_file_of_a_newer_invocation_is_refused(tmp_path: Path, documents: Documents) -> None:
    documents["sources.json"] = sources(documents, invocation_id=OTHER, second=30)
    with pytest.raises(FormatError) as caught:
        read(tmp_path, documents)
    assert caught.value.code == "artifact_stale"


def test_a_freshness_check_is_a_run_of_its_own(tmp_path: Path, documents: Documents) -> None:
    mine = documents["manifest.json"]["metadata"]["invocation_id"]
    del documents["run_results.json"]
    documents["sources.json"] = sources(documents, invocation_id=mine, second=5)
    artifacts = read(tmp_path, documents)
    assert artifacts.command == "freshness"
    assert [timed.outcome.status for timed in artifacts.results] == ["runtime_error", "pass"]
    late = artifacts.results[0].outcome
    assert (late.resource_type, late.message_sha256 is not None) == ("source", True)


@pytest.mark.parametrize("version", [9, 12, 20])
def test_manifests_of_known_versions_are_read(tmp_path: Path, documents: Documents, version: int) -> None:
    documents["manifest.json"]["metadata"]["dbt_schema_version"] = f"https://x/dbt/manifest/v{version}.json"
    assert read(tmp_path, documents).project == "shop"


def test_a_checksum_without_its_algorithm_is_read(tmp_path: Path, documents: Documents) -> None:
    documents["manifest.json"]["nodes"]["seed.shop.raw"]["checksum"] = "cd" * 32
    assert read(tmp_path, documents).results[0].outcome.checksum == "cd" * 32


def test_a_clock_that_was_set_back_gives_no_negative_duration(tmp_path: Path, documents: Documents) -> None:
    result(documents)["execution_time"] = -0.5
    assert read(tmp_path, documents).results[-1].outcome.execution_us == 0


@pytest.mark.parametrize(
    ("status", "unique_id", "fails"),
    [
        ("success", "model.shop.a", False),
        ("warn", "test.shop.t.1", False),
        ("no-op", "model.shop.a", False),
        ("error", "model.shop.a", True),
        ("fail", "test.shop.t.1", True),
        ("runtime error", "source.shop.raw.late", True),
        ("partial success", "model.shop.a", True),
        ("skipped", "model.shop.a", True),
        ("skipped", "exposure.shop.e", False),
    ],
)
def test_dbt_s_own_verdict_follows_from_the_outcomes(
    tmp_path: Path, documents: Documents, status: str, unique_id: str, fails: bool
) -> None:
    documents["run_results.json"]["results"] = [{"status": status, "unique_id": unique_id, "timing": []}]
    found = {timed.outcome.unique_id: timed.outcome for timed in read(tmp_path, documents).results}
    assert is_unsuccessful(found[unique_id]) is fails


REFUSED: dict[str, tuple[Change, str]] = {
    "manifest_version": (
        lambda d: d["manifest.json"]["metadata"].update(dbt_schema_version="https://x/dbt/manifest/v13.json"),
        "/metadata/dbt_schema_version",
    ),
    "no_version": (lambda d: d["manifest.json"]["metadata"].pop("dbt_schema_version"), "/metadata/dbt_schema_version"),
    "results_version": (
        lambda d: d["run_results.json"]["metadata"].update(dbt_schema_version="v7"),
        "/metadata/dbt_schema_version",
    ),
    "no_metadata": (lambda d: d["manifest.json"].pop("metadata"), "/metadata/invocation_id"),
    "metadata_list": (lambda d: d["manifest.json"].update(metadata=[]), "/metadata"),
    "no_invocation": (lambda d: d["run_results.json"]["metadata"].pop("invocation_id"), "/metadata/invocation_id"),
    "invocation_with_escapes": (
        lambda d: [each["metadata"].update(invocation_id="\x1b[2J../x") for each in d.values()],
        "/metadata/invocation_id",
    ),
    "no_adapter": (lambda d: d["manifest.json"]["metadata"].update(adapter_type=None), "/metadata/adapter_type"),
    "no_results": (lambda d: d["run_results.json"].pop("results"), "/results"),
    "results_text": (lambda d: d["run_results.json"].update(results="x"), "/results"),
    "result_number": (lambda d: d["run_results.json"].update(results=[1]), "/results"),
    "no_unique_id": (lambda d: result(d).pop("unique_id"), "/results/0/unique_id"),
    "unique_id_number": (lambda d: result(d).update(unique_id=5), "/results/0/unique_id"),
    "twice": (lambda d: result(d, 1).update(unique_id="model.shop.a"), "/results/3/unique_id"),
    "no_status": (lambda d: result(d, 2).pop("status"), "/results/2/status"),
    "nan": (lambda d: d["run_results.json"].update(elapsed_time=float("nan")), "/elapsed_time"),
    "infinite": (lambda d: result(d).update(execution_time=float("inf")), "/results/0/execution_time"),
    "huge": (lambda d: result(d).update(execution_time=10**400), "/results/0/execution_time"),
    "too_long": (lambda d: result(d).update(execution_time=1e13), "/results/0/execution_time"),
    "seconds_text": (lambda d: d["run_results.json"].update(elapsed_time="5"), "/elapsed_time"),
    "seconds_bool": (lambda d: d["run_results.json"].update(elapsed_time=True), "/elapsed_time"),
    "no_time": (lambda d: d["run_results.json"]["metadata"].pop("generated_at"), "/metadata/generated_at"),
    "no_zone": (
        lambda d: d["run_results.json"]["metadata"].update(generated_at="2026-01-31T08:15:00"),
        "/metadata/generated_at",
    ),
    "before_1970": (
        lambda d: d["run_results.json"]["metadata"].update(generated_at="0001-01-01T00:00:00+23:59"),
        "/metadata/generated_at",
    ),
    "year_9999": (
        lambda d: result(d)["timing"][0].update(completed_at="9999-12-31T23:59:59Z"),
        "/results/0/timing/0/completed_at",
    ),
    "time_word": (lambda d: result(d)["timing"][1].update(completed_at="soon"), "/results/0/timing/1/completed_at"),
    "timing_text": (lambda d: result(d).update(timing="x"), "/results/0/timing"),
    "response_list": (lambda d: result(d).update(adapter_response=[1]), "/results/0/adapter_response"),
    "message_object": (lambda d: result(d).update(message={"a": 1}), "/results/0/message"),
    "nodes_list": (lambda d: d["manifest.json"].update(nodes=[1]), "/nodes"),
    "node_text": (lambda d: d["manifest.json"]["nodes"].update({"model.shop.a": "x"}), "/nodes/model.shop.a"),
    "depends_on_number": (
        lambda d: d["manifest.json"]["nodes"]["model.shop.a"].update(depends_on={"nodes": [7]}),
        "/nodes/model.shop.a/depends_on/nodes",
    ),
    "compiled_code_list": (
        lambda d: d["manifest.json"]["nodes"]["model.shop.a"].update(compiled_code=["x"]),
        "/nodes/model.shop.a/compiled_code",
    ),
    "args_text": (lambda d: d["run_results.json"].update(args="x"), "/args"),
}


@pytest.mark.parametrize(("change", "pointer"), REFUSED.values(), ids=REFUSED.keys())
def test_what_dbt_never_writes_is_refused_by_its_place(
    tmp_path: Path, documents: Documents, change: Change, pointer: str
) -> None:
    change(documents)
    with pytest.raises(FormatError) as caught:
        read(tmp_path, documents)
    assert (caught.value.code, caught.value.pointer) == ("schema_invalid", pointer)
    assert "\x1b" not in caught.value.message


BYTES: dict[str, bytes] = {
    "empty": b"",
    "cut_off": b'{"metadata": {"invocation_id": "0',
    "deep": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "deep_list": b"[" * 200_000,
    "many_digits": b'{"elapsed_time": ' + b"9" * 5000 + b"}",
    "list": b"[]",
    "number": b"1",
    "binary": bytes(range(256)),
    "half_a_character": b'{"a": "\xc3"}',
}


@pytest.mark.parametrize("name", ["manifest.json", "run_results.json"])
@pytest.mark.parametrize("data", BYTES.values(), ids=BYTES.keys())
def test_bytes_that_are_no_artifact_are_refused(tmp_path: Path, documents: Documents, name: str, data: bytes) -> None:
    write(tmp_path, documents)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=name):
        read_artifacts(tmp_path)


@pytest.mark.parametrize(("kept", "advice"), [((), "--target-path"), (("manifest.json",), "run dbt first")])
def test_a_missing_file_is_named(tmp_path: Path, documents: Documents, kept: tuple[str, ...], advice: str) -> None:
    with pytest.raises(FormatError, match=advice):
        read(tmp_path, {name: documents[name] for name in kept})
    with pytest.raises(FormatError, match="--target-path"):
        read_artifacts(tmp_path / "nowhere")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path, documents: Documents) -> None:
    write(tmp_path, documents)
    (tmp_path / "sources.json").mkdir()
    with pytest.raises(FormatError, match=r"sources\.json cannot be read"):
        read_artifacts(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: object) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    found: list[tuple[Any, Any]] = []
    members: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    for key in members:
        found.append((value, key))
        found += places(value[key])  # type: ignore[index]  # a container, as it has keys
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_value_in_any_place_is_read_or_refused(
    tmp_path: Path, documents: Documents, data: st.DataObject, value: object
) -> None:
    changed: Documents = json.loads(json.dumps(documents))
    container, key = data.draw(st.sampled_from(places(changed)))
    container[key] = value
    with suppress(FormatError):
        artifacts = read(tmp_path, changed)
        outcomes = [timed.outcome for timed in artifacts.results]
        _nodes.describe(artifacts.manifest, outcomes)
        _nodes.lineage(artifacts.manifest, outcomes, run_id="r", system=artifacts.adapter_type)
