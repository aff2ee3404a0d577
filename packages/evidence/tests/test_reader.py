# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from clyra.evidence import open_bundle
from clyra.evidence.reader import JOURNAL, MANIFEST
from clyra.evidence.summary import short_name
from clyra.spec import FormatError
from clyra.testing.sample_bundle import START_US, SampleRun, seal_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = SampleRun(
        statuses={"model.shop.int_order_items": "error", "model.shop.fct_orders": "skipped"},
        labels={"ticket": "OPS-7"},
        events=[("hook.finished", START_US + 9_000_000, {"name": "grants", "status": "error", "message_sha256": None})],
    )
    return seal_sample(tmp_path_factory.mktemp("sample") / ".clyra", run).path


def rewritten(sample: Path, target: Path, changes: dict[str, bytes | None], *, deflated: bool = False) -> Path:
    """A copy of a bundle with entries replaced or, for None, left out."""
    compression = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(sample) as source, zipfile.ZipFile(target, "w", compression) as copy:
        for name in source.namelist():
            content = changes.get(name, source.read(name))
            if content is not None:
                copy.writestr(name, content)
    return target


def test_manifest_and_identity_are_those_of_the_sealed_bundle(tmp_path: Path) -> None:
    sealed = seal_sample(tmp_path / ".clyra")
    bundle = open_bundle(sealed.path)
    assert bundle.manifest == sealed.manifest
    assert bundle.manifest_sha256 == sealed.manifest_sha256
    assert bundle.keyids == sealed.keyids


def test_events_are_the_lines_of_the_journal_in_order(sample: Path) -> None:
    bundle = open_bundle(sample)
    events = list(bundle.events())
    assert [event["seq"] for event in events] == list(range(bundle.manifest["journal"]["count"]))
    assert [json.loads(line) for line in bundle.read(JOURNAL).splitlines()] == events


def test_the_summary_says_what_the_manifest_counts(sample: Path) -> None:
    bundle = open_bundle(sample)
    summary, counts = bundle.summary(), bundle.manifest["run"]["counts"]
    assert summary.statement_count == counts["statements"]
    assert summary.write_count == counts["writes"]
    assert sum(summary.nodes_by_status.values()) == counts["nodes"]
    assert sum(node.has_failed for node in summary.nodes) == counts["failed_nodes"] == 1
    assert (summary.tests.passed, summary.tests.total) == (counts["tests_passed"], 20)
    assert summary.events == bundle.manifest["journal"]["count"]


def test_the_summary_names_who_ran_what_and_when(sample: Path) -> None:
    summary = open_bundle(sample).summary()
    assert (summary.run_id, summary.actor, summary.project, summary.adapter) == (
        "nightly-0142",
        "ci@shop.example",
        "shop",
        "postgres",
    )
    assert summary.argv == ("dbt", "build", "--target", "prod")
    assert summary.created_at == "2026-01-01T09:15:00.000000Z"
    assert summary.duration_us > 1_000_000
    assert summary.labels == {"ticket": "OPS-7"}
    assert summary.build.branch == "main"
    assert [anchor.kind for anchor in summary.anchors] == ["postgres_wal"]
    assert [(each.kind, each.what) for each in summary.incidents] == [("hook", "grants: error")]


def test_statements_are_counted_by_verb_with_those_that_write_first(sample: Path) -> None:
    statements = open_bundle(sample).summary().statements
    assert [each.writes for each in statements] == sorted((each.writes for each in statements), reverse=True)
    create = next(each for each in statements if each.verb == "create")
    assert (create.verb_class, create.failed, create.count) == ("ddl", 1, 11)


def test_changes_name_the_node_and_its_writing_verbs(sample: Path) -> None:
    changes = {change.unique_id: change for change in open_bundle(sample).summary().changes}
    assert changes["model.shop.int_order_items"].failed == 1
    assert dict(changes["seed.shop.country_codes"].verbs) == {"create": 1, "insert": 1}
    assert "model.shop.fct_orders" not in changes


def test_nodes_carry_relation_statements_and_times(sample: Path) -> None:
    nodes = {node.unique_id: node for node in open_bundle(sample).summary().nodes}
    node = nodes["model.shop.stg_orders"]
    assert (node.name, node.relation, node.materialized) == ("stg_orders", '"analytics"."models"."stg_orders"', "view")
    assert (node.statements, node.writes) == (5, 3)
    assert node.finished_at_us - node.execution_us > START_US


def test_the_slowest_nodes_come_longest_first(sample: Path) -> None:
    slowest = open_bundle(sample).summary().slowest(3)
    durations = [node.execution_us for node in slowest]
    assert len(durations) == 3
    assert durations == sorted(durations, reverse=True)


def test_lineage_has_nodes_and_edges(sample: Path) -> None:
    lineage = open_bundle(sample).lineage
    assert lineage is not None
    assert ("source.shop.raw.orders", "model.shop.stg_orders") in lineage.edges
    assert lineage.nodes["source.shop.raw.orders"]["name"] == "orders"


def test_edges_to_nowhere_are_left_out(sample: Path, tmp_path: Path) -> None:
    document = json.loads(open_bundle(sample).read("artifacts/lineage.json"))
    document["edges"].append({"from": "nowhere", "to": "model.shop.stg_orders", "run_id": "x"})
    copy = rewritten(sample, tmp_path / "x.zip", {"artifacts/lineage.json": json.dumps(document).encode()})
    lineage = open_bundle(copy).lineage
    assert lineage is not None
    assert all(parent != "nowhere" for parent, _ in lineage.edges)


def test_a_bundle_without_lineage_has_none(sample: Path, tmp_path: Path) -> None:
    copy = rewritten(sample, tmp_path / "x.zip", {"artifacts/lineage.json": None, "artifacts/nodes.json": None})
    bundle = open_bundle(copy)
    assert bundle.lineage is None
    assert bundle.summary().nodes[0].relation is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "container"), (b"not a zip", "container"), (b"PK\x05\x06" + bytes(18), "holds no")],
    ids=["absent", "empty", "text", "no entries"],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "x.def.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match=reason) as caught:
        open_bundle(path)
    assert caught.value.code == "bundle_unreadable"


def test_a_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        open_bundle(tmp_path)
    assert caught.value.code == "bundle_unreadable"


@pytest.mark.parametrize("manifest", [b"{", b"[]", b"{}", b'{"spec":"other/v1"}', b'"text"'], ids=repr)
def test_a_manifest_of_something_else_is_refused(sample: Path, tmp_path: Path, manifest: bytes) -> None:
    copy = rewritten(sample, tmp_path / "x.zip", {MANIFEST: manifest})
    with pytest.raises(FormatError) as caught:
        open_bundle(copy)
    assert caught.value.code == "bundle_unreadable"


def test_compressed_entries_are_refused(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="compressed"):
        open_bundle(rewritten(sample, tmp_path / "x.zip", {}, deflated=True))


def broken_manifests(manifest: dict[str, Any]) -> dict[str, bytes]:
    """Manifests in which one member, at the top or in ``run``, is absent or of another kind."""
    variants: dict[str, bytes] = {}
    for owner in (manifest, manifest["run"], manifest["producer"]):
        for name in list(owner):
            kept = owner.pop(name)
            variants[f"no {name}"] = json.dumps(manifest).encode()
            owner[name] = [[]] if not isinstance(kept, list) else {"a": 1}
            variants[f"odd {name}"] = json.dumps(manifest).encode()
            owner[name] = kept
    return variants


def code_of_reading(path: Path) -> str | None:
    try:
        open_bundle(path).to_html()
    except FormatError as exc:
        return exc.code
    return None


def test_a_manifest_of_another_shape_never_raises_anything_else(sample: Path, tmp_path: Path) -> None:
    variants = broken_manifests(open_bundle(sample).manifest)
    assert len(variants) > 60
    codes = {code_of_reading(rewritten(sample, tmp_path / "x.zip", {MANIFEST: each})) for each in variants.values()}
    assert codes == {None, "bundle_unreadable"}


@pytest.mark.parametrize(
    "journal",
    [b"", b"{}\n", b"[]\n", b"not json\n", b'{"type":"statement"}\n', b"x" * 70_000, b'{"type":[]}\n'],
    ids=["empty", "object", "array", "text", "short statement", "long line", "odd type"],
)
def test_a_journal_of_another_shape_is_refused(sample: Path, tmp_path: Path, journal: bytes) -> None:
    bundle = open_bundle(rewritten(sample, tmp_path / "x.zip", {JOURNAL: journal}))
    with pytest.raises(FormatError) as caught:
        bundle.summary()
    assert caught.value.code == "bundle_unreadable"


def test_an_entry_with_a_wrong_checksum_is_refused(sample: Path, tmp_path: Path) -> None:
    data = sample.read_bytes()
    at = data.index(b'"type":"run.started"')
    (tmp_path / "x.zip").write_bytes(data[:at] + b'"type":"run.Started"' + data[at + 20 :])
    with pytest.raises(FormatError) as caught:
        open_bundle(tmp_path / "x.zip").read(JOURNAL)
    assert caught.value.code == "bundle_unreadable"


@pytest.mark.parametrize(
    ("unique_id", "name"),
    [
        ("model.shop.stg_orders", "stg_orders"),
        ("model.shop.stg_orders.v2", "stg_orders.v2"),
        ("source.shop.raw.orders", "raw.orders"),
        ("test.shop.not_null_orders_id.0123abc", "not_null_orders_id"),
        ("test.shop.assert_total", "assert_total"),
        ("odd", "odd"),
    ],
)
def test_short_names_are_what_people_call_a_node(unique_id: str, name: str) -> None:
    assert short_name(unique_id) == name


def test_the_card_of_a_notebook_says_that_nothing_is_verified(sample: Path) -> None:
    card = open_bundle(sample)._repr_html_()
    assert "not verified here" in card
    assert "nightly" not in card
    assert "<script" not in card


def test_writers_do_not_pay_for_the_reader() -> None:
    code = "import sys, clyra.evidence as e; e.open_bundle; print('clyra.evidence.summary' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
