# SPDX-License-Identifier: Apache-2.0
"""A run that nobody watched is sealed from its artifacts: valid, without literals, and saying what was not seen."""

from __future__ import annotations

import json
import os
import zipfile
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.dbt._artifacts import Artifacts, read_artifacts
from clyra.dbt._build import Build
from clyra.dbt._clock import SystemClock
from clyra.dbt._command_line import scrub_joined
from clyra.dbt._ingest import Ingested, Known, find_known, identify, ingest, is_held_back, require_same
from clyra.dbt._ingested_run import IngestedRun, RunIds
from clyra.dbt._otel import read_trace
from clyra.dbt._policy import find_governing
from clyra.dbt._project_settings import project_setting
from clyra.evidence import EvidenceFolder, StoredLog, load_signer
from clyra.evidence.reader import open_bundle
from clyra.spec import ConfigurationError, FormatError, UnavailableError
from clyra.verify import Verification, verify_bundle

Documents = dict[str, dict[str, Any]]
Spans = list[dict[str, Any]]

LITERAL = b"geheim-4711"
IDS = RunIds("run-1", "default", "someone", joined=False)
EVERY_CAPTURE = ["recorded", "ingested", "recovered"]

pytestmark = pytest.mark.usefixtures("tmp_clyra_home")


class Project:
    """A project folder with the artifacts of one run."""

    def __init__(self, root: Path, documents: Documents, spans: Spans | None) -> None:
        self.root = root
        self.target = root / "target"
        self.target.mkdir(parents=True)
        (root / "dbt_project.yml").write_text("name: shop\n")
        self.trace_file = None if spans is None else self.target / "otel.jsonl"
        self.write(documents, spans)

    def write(self, documents: Documents, spans: Spans | None = None) -> None:
        for name, document in documents.items():
            (self.target / name).write_text(json.dumps(document))
        if self.trace_file is not None and spans is not None:
            self.trace_file.write_text("".join(json.dumps(span) + "\n" for span in spans))

    @property
    def folder(self) -> EvidenceFolder:
        return EvidenceFolder.locate(self.root, {})

    def artifacts(self) -> Artifacts:
        return read_artifacts(self.target)

    def run(self, ids: RunIds = IDS) -> IngestedRun:
        artifacts = self.artifacts()
        trace = None if self.trace_file is None else read_trace(self.trace_file, artifacts.invocation_id)
        return IngestedRun(artifacts, trace, ids)

    def seal(self, ids: RunIds = IDS) -> Ingested:
        return ingest(self.folder, self.run(ids), self.trace_file, os.environ, SystemClock())


@pytest.fixture
def untraced(tmp_path: Path, documents: Documents) -> Project:
    return Project(tmp_path / "shop", documents, None)


@pytest.fixture
def traced(tmp_path: Path, documents: Documents, trace: Spans) -> Project:
    return Project(tmp_path / "shop", documents, trace)


def trust() -> bytes:
    keys = [
        {
            "keyid": signer.keyid,
            "public_key": b64encode(signer.public_key).decode(),
            "alg": signer.alg,
            "role": role,
            "valid_from": "2020-01-01T00:00:00.000000Z",
            "valid_to": "2100-01-01T00:00:00.000000Z",
            **({"captures": EVERY_CAPTURE} if role == "bundle" else {}),
        }
        for role in ("bundle", "log")
        for signer in (load_signer(role, os.environ),)  # type: ignore[arg-type]  # both are roles
    ]
    return json.dumps({"version": 1, "keys": keys, "require": ["log"]}).encode()


def verify(project: Project, path: Path) -> Verification:
    return verify_bundle(path, trust=trust(), artifacts=project.folder.root / "artifacts", environ={})


def events(path: Path) -> list[dict[str, Any]]:
    return list(open_bundle(path).events())


def entry(path: Path, name: str) -> Any:
    return json.loads(open_bundle(path).read(name))


def test_a_run_without_trace_is_valid_and_says_that_no_statement_was_seen(untraced: Project) -> None:
    sealed = untraced.seal().sealed
    result = verify(untraced, sealed.path)
    assert (result.code, result.exit_code, result.warnings) == (None, 0, [])
    types = [event["type"] for event in events(sealed.path)]
    assert types == ["run.started", *["node.finished"] * 4, "recorder.degraded", "run.finished", "run.closed"]
    degraded = events(sealed.path)[5]
    assert (degraded["code"], degraded["part"], degraded["count"]) == ("recorder_degraded", "statements", 0)
    assert (sealed.manifest["run"]["capture"], sealed.manifest["run"]["status"]) == ("ingested", "failed")
    assert sealed.manifest["anchors"] == []


def test_a_run_with_trace_is_valid_but_for_the_anchor_that_nobody_took(traced: Project) -> None:
    sealed = traced.seal().sealed
    result = verify(traced, sealed.path)
    assert (result.code, [warning.code for warning in result.warnings]) == (None, ["anchor_unavailable"])
    (anchor,) = sealed.manifest["anchors"]
    assert (anchor["system"], anchor["kind"], anchor["reason"]) == ("postgres", "none", "capture_failed")
    assert sealed.manifest["run"]["counts"]["statements"] == 4
    assert sealed.manifest["run"]["counts"]["writes"] == 3


def test_an_adapter_without_anchors_is_valid_without_warning(
    tmp_path: Path, documents: Documents, trace: Spans
) -> None:
    documents["manifest.json"]["metadata"]["adapter_type"] = "duckdb"
    project = Project(tmp_path / "shop", documents, trace)
    sealed = project.seal().sealed
    assert verify(project, sealed.path).exit_code == 0
    assert sealed.manifest["anchors"][0]["reason"] == "not_supported"


def test_what_only_read_needs_no_anchor(tmp_path: Path, documents: Documents, trace: Spans) -> None:
    reading = [span for span in trace if "create" not in str(span) and "delete" not in str(span)]
    project = Project(tmp_path / "shop", documents, [span for span in reading if "drop" not in str(span)])
    sealed = project.seal().sealed
    assert (sealed.manifest["run"]["counts"]["statements"], sealed.manifest["anchors"]) == (1, [])
    assert verify(project, sealed.path).exit_code == 0


def test_a_trace_without_statements_has_not_observed_them(tmp_path: Path, documents: Documents, trace: Spans) -> None:
    project = Project(tmp_path / "shop", documents, [span for span in trace if "Query" not in span["event_type"]])
    assert not project.run().observes_statements
    assert "recorder.degraded" in [event["type"] for event in events(project.seal().sealed.path)]


def test_the_start_says_that_no_gate_was_active_and_which_command_it_was(untraced: Project) -> None:
    started = events(untraced.seal().sealed.path)[0]
    assert set(started["gates"].values()) == {False}
    assert started["policy"] == {"sha256": None, "mode": "record"}
    assert started["argv"] == ["dbt", "build", "--target", "prod", "--vars", "{who: ***}", "..."]
    assert started["versions"]["dbt_core"] == "1.11.16"
    assert (started["target_name"], started["adapter_type"]) == ("prod", "postgres")


def test_events_are_in_the_order_of_time(traced: Project) -> None:
    found = events(traced.seal().sealed.path)
    times = [event["occurred_at"] for event in found]
    assert times == sorted(times)
    assert [event["unique_id"] for event in found if event["type"] == "node.finished"] == [
        "seed.shop.raw",
        "model.shop.a",
        "model.shop.b",
        "test.shop.unique_b_id.1f",
    ]


def test_tests_are_counted(untraced: Project) -> None:
    finished = events(untraced.seal().sealed.path)[-2]
    assert finished["tests"] == {"passed": 0, "failed": 1, "warned": 0, "not_run": 0}
    assert finished["success"] is False


def test_nodes_and_lineage_are_those_of_the_plugin(untraced: Project) -> None:
    path = untraced.seal().sealed.path
    nodes = {node["unique_id"]: node for node in entry(path, "artifacts/nodes.json")["nodes"]}
    assert nodes["model.shop.b"]["materialized"] == "table"
    assert len(nodes["model.shop.b"]["compiled_sha256"]) == 64
    assert nodes["test.shop.unique_b_id.1f"]["tests"] == ["model.shop.b"]
    edges = {(edge["from"], edge["to"]) for edge in entry(path, "artifacts/lineage.json")["edges"]}
    assert edges == {
        ("seed.shop.raw", "model.shop.a"),
        ("model.shop.a", "model.shop.b"),
        ("model.shop.b", "test.shop.unique_b_id.1f"),
    }


def test_no_literal_is_in_the_bundle_and_every_source_is_referenced(traced: Project) -> None:
    sealed = traced.seal().sealed
    with zipfile.ZipFile(sealed.path) as container:
        assert all(LITERAL not in container.read(name) for name in container.namelist())
    references = {reference["name"]: reference["sha256"] for reference in sealed.manifest["references"]}
    assert set(references) == {"manifest.json", "run_results.json", "otel.jsonl"}
    for name, digest in references.items():
        assert traced.folder.artifact_path(digest).read_bytes() == (traced.target / name).read_bytes()


def test_a_node_that_only_the_trace_has_is_recorded(tmp_path: Path, documents: Documents, trace: Spans) -> None:
    results = documents["run_results.json"]["results"]
    documents["run_results.json"]["results"] = [each for each in results if "unique" not in each["unique_id"]]
    project = Project(tmp_path / "shop", documents, trace)
    sealed = project.seal().sealed
    assert sealed.manifest["run"]["counts"]["tests_failed"] == 1
    assert sealed.manifest["run"]["counts"]["nodes"] == 4


def test_a_failure_that_only_the_trace_knows_is_a_failure(tmp_path: Path, documents: Documents, trace: Spans) -> None:
    documents["run_results.json"]["results"] = documents["run_results.json"]["results"][1:]
    invocation = [span for span in trace if "Node" not in span["event_type"]]
    assert Project(tmp_path / "shop", documents, invocation).run().status == "failed"
    assert Project(tmp_path / "other", documents, None).run().status == "success"


def test_hooks_and_operations_are_no_nodes(tmp_path: Path, documents: Documents) -> None:
    common = {"execution_time": 0.1, "message": "no", "timing": []}
    documents["run_results.json"]["results"] = [
        {**common, "unique_id": "operation.shop.shop-on-run-end-1", "status": "success"},
        {**common, "unique_id": "macro.shop.sweep", "status": "error"},
        {**common, "unique_id": "macro.shop.tidy", "status": "success"},
    ]
    sealed = Project(tmp_path / "shop", documents, None).seal().sealed
    found = {event["type"]: event for event in events(sealed.path)}
    assert "node.finished" not in found
    hook, error = found["hook.finished"], found["run.error"]
    assert (hook["name"], hook["status"]) == ("shop.on-run-end.1", "success")
    assert (error["code"], error["unique_id"]) == ("operation_failed", "operation:sweep")
    assert (sealed.manifest["run"]["counts"]["nodes"], sealed.manifest["run"]["status"]) == (0, "failed")
    assert [listed["path"] for listed in sealed.manifest["files"]] == ["journal.ndjson"]


def test_a_run_without_nodes_is_valid(tmp_path: Path, documents: Documents) -> None:
    documents["run_results.json"]["results"] = []
    project = Project(tmp_path / "shop", documents, None)
    sealed = project.seal().sealed
    assert verify(project, sealed.path).exit_code == 0
    assert sealed.manifest["run"]["status"] == "success"


def test_the_log_has_the_opening_and_the_bundle_with_a_proof_beside_it(untraced: Project) -> None:
    done = untraced.seal()
    assert done.log_error is None
    leaves = list(StoredLog(untraced.folder.log_dir).leaves())
    assert [leaf["manifest_sha256"] for leaf in leaves] == [None, done.sealed.manifest_sha256]
    assert done.sealed.path.with_name(f"{done.sealed.bundle_id}.tlog-proof").exists()


def test_nothing_but_bundle_artifacts_and_log_is_left(untraced: Project) -> None:
    untraced.seal()
    root = untraced.folder.root
    assert {path.name for path in root.iterdir()} == {".gitignore", "artifacts", "evidence", "journal", "log"}
    assert list(untraced.folder.journal_dir.iterdir()) == []


def test_sealing_again_finds_the_bundle(untraced: Project) -> None:
    sealed = untraced.seal().sealed
    known = find_known(untraced.folder, untraced.artifacts())
    assert known is not None
    assert known.path == sealed.path
    require_same(known, untraced.artifacts(), with_trace=False)


def test_artifacts_that_were_edited_since_are_refused(untraced: Project, documents: Documents) -> None:
    untraced.seal()
    documents["run_results.json"]["results"][0]["status"] = "pass"
    untraced.write(documents)
    known = find_known(untraced.folder, untraced.artifacts())
    assert known is not None
    with pytest.raises(FormatError, match=r"from other run_results\.json") as caught:
        require_same(known, untraced.artifacts(), with_trace=False)
    assert caught.value.code == "seal_failed"


def test_a_trace_that_comes_later_is_refused(untraced: Project) -> None:
    untraced.seal()
    known = find_known(untraced.folder, untraced.artifacts())
    assert known is not None
    with pytest.raises(FormatError, match="from other statements"):
        require_same(known, untraced.artifacts(), with_trace=True)


def test_a_run_that_was_recorded_is_left_as_it_is(untraced: Project) -> None:
    recorded = {"run": {"capture": "recorded"}, "references": []}
    require_same(Known(Path("a.def.zip"), recorded), untraced.artifacts(), with_trace=True)


def test_other_invocations_and_damaged_bundles_are_not_this_run(untraced: Project, documents: Documents) -> None:
    path = untraced.seal().sealed.path
    path.with_name(path.name.replace("01", "02", 1)).write_bytes(b"no bundle")
    for document in documents.values():
        document["metadata"]["invocation_id"] = "11111111-2222-3333-4444-555555555555"
    untraced.write(documents)
    assert find_known(untraced.folder, untraced.artifacts()) is None


def test_bundles_of_one_run_are_numbered(untraced: Project, documents: Documents) -> None:
    ids = RunIds("shared", "default", "someone", joined=True)
    assert untraced.seal(ids).sealed.manifest["run"]["part"] == 1
    assert untraced.seal(ids).sealed.manifest["run"]["part"] == 2


def test_ids_are_the_user_s(tmp_path: Path) -> None:
    environ = {"CLYRA_RUN_ID": "r-1", "CLYRA_TENANT_ID": "t-1", "CLYRA_ACTOR_ID": "a-1"}
    assert identify(environ, "of-the-project", SystemClock()) == RunIds("r-1", "t-1", "a-1", joined=True)
    assert identify({}, "of-the-project", SystemClock()).tenant == "of-the-project"
    assert identify({}, None, SystemClock()).tenant == "default"
    with pytest.raises(ConfigurationError, match="CLYRA_RUN_ID") as caught:
        identify({"CLYRA_RUN_ID": "a b"}, None, SystemClock())
    assert caught.value.code == "session_tag_invalid"


def git(folder: Path, *arguments: str) -> None:
    import subprocess

    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(("git", *identity, *arguments), cwd=folder, check=True, capture_output=True)


def commit_before_the_run(project: Project, documents: Documents) -> None:
    models = project.root / "models"
    models.mkdir()
    (models / "a.sql").write_text("select 1")
    (project.root / ".gitignore").write_text("target\n.clyra\n")
    git(project.root, "init", "-q")
    git(project.root, "add", ".")
    git(project.root, "commit", "-q", "-m", "first")
    now = datetime.now(UTC)
    for document in documents.values():
        document["metadata"].update(generated_at=now.isoformat(), invocation_started_at=now.isoformat())
    project.write(documents)


def test_the_commit_is_named_where_the_code_is_still_that_of_the_run(untraced: Project, documents: Documents) -> None:
    commit_before_the_run(untraced, documents)
    done = untraced.seal()
    assert done.is_build_known
    found = done.sealed.manifest["run"]["git"]
    assert (found["source"], found["dirty"], len(found["commit"])) == ("git", False, 40)


def test_code_that_was_written_after_the_run_is_not_said_to_have_run(untraced: Project, documents: Documents) -> None:
    commit_before_the_run(untraced, documents)
    (untraced.root / "models" / "a.sql").write_text("select 2")
    later = datetime.now(UTC).timestamp() + 5
    os.utime(untraced.root / "models" / "a.sql", (later, later))
    done = untraced.seal()
    assert not done.is_build_known
    assert done.sealed.manifest["run"]["git"]["source"] == "none"


def test_times_ahead_of_the_clock_make_a_valid_bundle(tmp_path: Path, documents: Documents) -> None:
    documents["run_results.json"]["metadata"]["generated_at"] = "2199-01-01T00:00:00Z"
    project = Project(tmp_path / "shop", documents, None)
    assert project.seal().sealed.manifest["closed_at"] == "2199-01-01T00:00:00.000000Z"


def test_nodes_in_a_circle_are_refused_before_anything_is_written(tmp_path: Path, documents: Documents) -> None:
    documents["manifest.json"]["nodes"]["model.shop.a"]["depends_on"]["nodes"].append("model.shop.b")
    project = Project(tmp_path / "shop", documents, None)
    with pytest.raises(FormatError, match="circle"):
        project.seal()
    assert not project.folder.root.exists()


def test_a_trace_that_changes_meanwhile_is_refused(traced: Project, trace: Spans) -> None:
    run = traced.run()
    traced.write({}, trace[:-1])
    with pytest.raises(FormatError) as caught:
        ingest(traced.folder, run, traced.trace_file, os.environ, SystemClock())
    assert caught.value.code == "artifact_stale"


def test_a_folder_that_is_a_file_is_unavailable(untraced: Project) -> None:
    untraced.folder.root.write_text("")
    with pytest.raises(UnavailableError) as caught:
        untraced.seal()
    assert caught.value.code == "evidence_unavailable"


def test_a_damaged_log_leaves_a_valid_bundle_and_is_told(untraced: Project) -> None:
    log = untraced.folder.log_dir
    (log / "tile").mkdir(parents=True)
    done = untraced.seal()
    assert done.log_error is not None
    assert done.log_error.code == "log_rollback"
    assert verify_bundle(done.sealed.path, environ={}).code is None


def test_a_name_longer_than_a_line_is_refused_or_marked(tmp_path: Path, documents: Documents) -> None:
    documents["manifest.json"]["metadata"]["project_name"] = "x" * 100_000
    with pytest.raises(FormatError) as caught:
        Project(tmp_path / "shop", documents, None).seal()
    assert caught.value.code == "limit_exceeded"
    documents["manifest.json"]["metadata"]["project_name"] = "shop"
    documents["run_results.json"]["results"][0]["unique_id"] = "model.shop." + "x" * 100_000
    path = Project(tmp_path / "other", documents, None).seal().sealed.path
    assert ("recorder.degraded", "limit_exceeded") in [(event["type"], event.get("code")) for event in events(path)]
    assert verify_bundle(path, environ={}).code is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_whatever_is_read_is_sealed_into_a_valid_bundle(
    tmp_path_factory: pytest.TempPathFactory, documents: Documents, data: st.DataObject, value: object
) -> None:
    changed: Documents = json.loads(json.dumps(documents))
    document = data.draw(st.sampled_from(sorted(changed)))
    nodes = [*changed["manifest.json"]["nodes"].values(), *changed["run_results.json"]["results"]]
    place = data.draw(st.sampled_from([changed[document], changed[document]["metadata"], *nodes]))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    project = Project(tmp_path_factory.mktemp("any") / "shop", changed, None)
    with suppress(FormatError):
        result = verify_bundle(project.seal().sealed.path, environ={})
        assert (result.code, result.message) == (None, None)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("dbt run", ["dbt", "run"]),
        ("dbt run --vars {a: secret b} --select x", ["dbt", "run", "--vars", "{a: ***}", "..."]),
        ("dbt run --vars={a: secret b}", ["dbt", "run", "--vars", "{a: ***}", "..."]),
        ("dbt run-operation m --args {x: 1 2}", ["dbt", "run-operation", "m", "--args", "***", "..."]),
        ("dbt compile --inline select 'a' --target t", ["dbt", "compile", "--inline", "***", "..."]),
        ("dbt run --my-token abc def", ["dbt", "run", "--my-token", "***", "..."]),
        ("dbt run --profile p pass word", ["dbt", "run", "--profile", "p", "***"]),
    ],
)
def test_a_joined_command_line_is_kept_up_to_the_first_secret(line: str, kept: list[str]) -> None:
    assert scrub_joined(line, {"DBT_ENV_SECRET_X": "pass word"}, ["a"]) == kept


def test_a_command_line_longer_than_an_event_is_cut() -> None:
    kept = scrub_joined("dbt run --select " + " ".join(["model"] * 50_000), {}, [])
    assert kept[-1] == "..."
    assert len(" ".join(kept)) < 32_768


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("name: shop\n", None),
        ("vars:\n  clyra_tenant_id: acme\n", "acme"),
        ("vars:\n  clyra_tenant_id: 'acme'   # ours\n", "acme"),
        ('vars:\n  shop:\n    clyra_tenant_id: "a me"\n', "a me"),
        ("vars:\n  # clyra_tenant_id: acme\n", None),
        ("vars:\n  clyra_tenant_id: a-b.c # x\n", "a-b.c"),
    ],
)
def test_a_plain_project_setting_is_read_without_dbt(tmp_path: Path, text: str, value: str | None) -> None:
    (tmp_path / "dbt_project.yml").write_text(text)
    assert project_setting(tmp_path, "clyra_tenant_id", instead="CLYRA_TENANT_ID") == value


@pytest.mark.parametrize(
    "text",
    [
        "vars: {clyra_tenant_id: acme}\n",
        "vars:\n  clyra_tenant_id: \"{{ env_var('T') }}\"\n",
        "vars:\n  clyra_tenant_id: acme\n  shop:\n    clyra_tenant_id: other\n",
        "vars:\n  clyra_tenant_id: >\n    acme\n",
        "vars:\n  clyra_tenant_id:\n    acme\n",
        "vars:\n  clyra_tenant_id: *anchor\n",
    ],
)
def test_a_setting_that_only_dbt_can_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dbt_project.yml").write_text(text)
    with pytest.raises(ConfigurationError, match="set CLYRA_TENANT_ID"):
        project_setting(tmp_path, "clyra_tenant_id", instead="CLYRA_TENANT_ID")


POLICY = "version: 1\nname: shop\nenvironments:\n  live: {targets: [prod], mode: MODE, production: true}\n"


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_policy_judges_the_tests_of_a_run_that_nobody_watched(traced: Project, mode: str) -> None:
    (traced.root / "clyra.policy.yaml").write_text(POLICY.replace("MODE", mode))
    governing = find_governing(traced.root, {}, target="prod", today=date(2026, 1, 31))
    run = replace(traced.run(), governing=governing)
    sealed = ingest(traced.folder, run, traced.trace_file, os.environ, SystemClock()).sealed
    assert verify(traced, sealed.path).code is None
    (decision,) = [event for event in events(sealed.path) if event["type"] == "decision"]
    assert (decision["point"], decision["mode"], decision["code"]) == ("tests", mode, "tests_failed")
    assert decision["unique_id"] == "test.shop.unique_b_id.1f"
    assert sealed.manifest["policy"]["environment"] == "live"
    factors = {factor["factor"]: factor["count"] for factor in sealed.manifest["risk"]["factors"]}
    assert (factors["violation_critical"], factors["production"]) == (1, 1)
    assert is_held_back(sealed.manifest) is (mode == "enforce")


def test_events_of_one_input_are_the_same_twice(traced: Project) -> None:
    clock = SystemClock()
    assert traced.run().events(Build(), {}, clock) == traced.run().events(Build(), {}, clock)
