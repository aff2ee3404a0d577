# SPDX-License-Identifier: Apache-2.0
"""M and X: the manifest, the files it lists, and what follows from both, risk and approvals apart. Level full."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from forge.bundle import (
    JOURNAL,
    MANIFEST,
    Artifact,
    Entries,
    Layers,
    anchor,
    bundle,
    lineage,
    lineage_and_nodes,
    seal,
)
from forge.canonical import canonical, digest
from forge.case import TRUSTED, Case, bundle_case
from forge.edits import DocumentEdit, Json, both, drop, flip, put
from forge.journal import OTHER_BUNDLE_ID, RUN_ID, closed, decision, finished, run_events, started, statement
from forge.trust import trust_file

NODES = "artifacts/nodes.json"
LARGE = Artifact(canonical({"rows": list(range(100))}), members={"external": {}}, inside=False)
LARGE_PATH = "artifacts/large.json"


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _files()
    yield from _forms()
    yield from _externals()
    yield from _addresses()
    yield from _anchors()
    yield from _predicate()
    yield from _lineage()
    yield from _counts()


def _files() -> Iterator[Case]:
    def case(id: str, description: str, code: str, **layers: Any) -> Case:
        return bundle_case(id, description, bundle(**layers), code, "files")

    nodes = lineage_and_nodes()[NODES].data
    yield case("M01", "unlisted file", "file_unlisted", entries=_add("artifacts/extra.json", b"{}"))
    yield case("M07", "path differs by case", "file_unlisted", entries=_move(NODES, "artifacts/nodeS.json"))
    yield case("M02", "listed file is absent", "file_missing", entries=_move(NODES, None))
    yield case("M03", "file with other bytes", "file_digest", entries=_add(NODES, flip(nodes, 12)))
    yield case("M03b", "wrong SHA-256 in the manifest", "file_digest", manifest=put("files/1/sha256", "0" * 64))
    yield case("M04", "file is longer", "file_size", entries=_add(NODES, nodes + b"\n"))
    yield case("M04b", "wrong size in the manifest", "file_size", manifest=put("files/1/size", len(nodes) + 1))
    yield case("M25a", "no journal", "file_missing", manifest=drop("files/2"), entries=_move(JOURNAL, None))
    yield case("M25b", "journal of another role", "file_missing", manifest=put("files/2/role", "artifact"))
    outside = put("files/2/external", {})
    yield case("M25c", "journal is external", "file_missing", manifest=outside, entries=_move(JOURNAL, None))
    yield case("M25d", "external file in the container", "file_unlisted", manifest=put("files/1/external", {}))
    other = seal(Layers(bundle_id=OTHER_BUNDLE_ID)).entries[MANIFEST]
    exchanged = bundle(entries=_add(MANIFEST, other))
    yield bundle_case("M14", "manifest of another bundle", exchanged, "subject_mismatch", "manifest")
    for id, description, edit in (
        ("M05", "a path twice", lambda files: [files[0], *files]),
        ("M06", "paths not in order", lambda files: [files[1], files[0], *files[2:]]),
    ):
        data = bundle(manifest=_files_edit(edit))
        yield bundle_case(id, description, data, "files_order", "manifest")


def _forms() -> Iterator[Case]:
    nodes = digest(lineage_and_nodes()[NODES].data)
    tables: tuple[tuple[str, str, DocumentEdit], ...] = (
        ("M08", "digest in upper-case hex", put("files/1/sha256", nodes.upper())),
        ("M09", "truncated digest", put("files/1/sha256", nodes[:63])),
        ("M10a", "sha1 in place of sha256", both(drop("files/1/sha256"), put("files/1/sha1", nodes[:40]))),
        ("M10b", "md5 beside sha256", put("files/1/md5", nodes[:32])),
        ("M17a", "threats, a member of PEF", put("threats", [])),
        ("M17b", "mcp, a member of PEF", put("mcp", {})),
        ("M21a", "no run.capture", drop("run/capture")),
        ("M21b", "unknown run.capture", put("run/capture", "observed")),
        ("M21c", "recovered_by of a recorded run", put("run/recovered_by", "0" * 64)),
        ("M21d", "recovered without recovered_by", put("run/capture", "recovered")),
        ("M23a", "unknown role of a file", put("files/1/role", "note")),
        ("M23b", "path that climbs", put("files/1/path", "artifacts/../x")),
        ("M23c", "no files", put("files", [])),
        ("M23d", "journal elsewhere", put("journal/path", "artifacts/journal.ndjson")),
    )
    for id, description, edit in tables:
        yield bundle_case(id, description, bundle(manifest=edit), "schema_invalid", "manifest")
    sha1 = bundle(sealed_manifest=put("tree/hash", "sha1"))
    yield bundle_case("M10c", "tree of another hash", sha1, "schema_invalid", "manifest")


def _externals() -> Iterator[Case]:
    data = bundle(artifacts={**lineage_and_nodes(), LARGE_PATH: LARGE})
    by_digest = f"blobs/sha256/{digest(LARGE.data)[:2]}/{digest(LARGE.data)}"
    args = ("--artifacts", "blobs", *TRUSTED)
    missing = ("external_missing",)
    yield bundle_case("M11", "external file absent", data, warnings=missing)
    others = {"trust.json": trust_file(), "blobs/other.json": b"{}"}
    yield bundle_case("M11b", "external file not among those supplied", data, warnings=missing, files=others, args=args)
    for id, description, files, good in (
        ("M11d", "external file supplied by path", {f"blobs/{LARGE_PATH}": LARGE.data}, True),
        ("M12a", "external file with other bytes", {by_digest: flip(LARGE.data, 9)}, False),
        ("M12b", "external file with other bytes, by path", {f"blobs/{LARGE_PATH}": flip(LARGE.data, 9)}, False),
        ("M12c", "external file cut off", {by_digest: LARGE.data[:-1]}, False),
    ):
        verdict = ("valid", None) if good else ("external_digest", "files")
        yield bundle_case(id, description, data, *verdict, files={"trust.json": trust_file(), **files}, args=args)


_REFUSED = (
    "file:///etc/passwd",
    "http://evidence.example.com/large.json",
    "ftp://evidence.example.com/large.json",
    "https://localhost/large.json",
    "https://evidence/large.json",
    "https://evidence.internal/large.json",
    "https://evidence.corp/large.json",
    "https://printer.local/large.json",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::1]/large.json",
    "https://2130706433/large.json",
    "https://0x7f.1/large.json",
    "https://user@evidence.example.com/large.json",
    "https://user:secret@evidence.example.com/large.json",
    "https://evidence.example.com:8443/large.json",
    "https:///large.json",
    "s3:///large.json",
    "//evidence.example.com/large.json",
    "artifacts/large.json",
    "javascript:alert(1)",
    "data:,x",
)
_ACCEPTED = (
    "https://evidence.example.com/large.json",
    "s3://evidence-bucket/large.json",
    "gs://evidence-bucket/large.json",
)


def _addresses() -> Iterator[Case]:
    for number, uri in enumerate(_REFUSED):
        data = bundle(artifacts=_external_at(uri))
        yield bundle_case(f"M13{chr(97 + number)}", f"external at {uri}", data, "external_uri", "manifest")
    for number, uri in enumerate(_ACCEPTED, 1):
        data = bundle(artifacts=_external_at(uri))
        yield bundle_case(f"M24{chr(96 + number)}", f"external at {uri}", data, warnings=("external_missing",))


def _external_at(uri: str) -> dict[str, Artifact]:
    return {**lineage_and_nodes(), LARGE_PATH: Artifact(LARGE.data, members={"external": {"uri": uri}}, inside=False)}


def _anchors() -> Iterator[Case]:
    def case(id: str, description: str, anchors: list[Json], *verdict: str, warn: bool = False, **layers: Any) -> Case:
        edit = layers.pop("manifest", None)
        anchored = put("anchors", anchors)
        data = bundle(manifest=both(anchored, edit) if edit else anchored, **layers)
        return bundle_case(id, description, data, *verdict, warnings=("anchor_unavailable",) if warn else ())

    missing = ("anchor_missing", "semantics")
    schema = ("schema_invalid", "manifest")
    duckdb, unlisted = put("run/adapter", "duckdb"), put("run/adapter", "sqlite")
    yield case("M19a", "a write and no anchor", [], *missing)
    yield case("M19b", "a write and an anchor of another system", [_none("duckdb", "not_supported")], *missing)
    unknown = _writing("frobnicate")
    yield case("M19c", "an unknown verb writes", [], *missing, events=unknown)
    yield case("M19d", "a failed write is a write", [], *missing, events=_writing("update", status="error"))
    yield case("M19e", "no write and no anchor", [], events=_writing("select"))
    yield case("M19f", "an anchor of another system beside the right one", [_none("duckdb", "not_supported"), anchor()])
    yield case("M22a", "DuckDB has no anchors", [_none("duckdb", "not_supported")], manifest=duckdb)
    yield case("M22b", "Postgres has anchors", [_none("postgres", "not_supported")], warn=True)
    yield case("M22c", "capture failed", [_none("postgres", "capture_failed")], warn=True)
    yield case("M22d", "capture failed on DuckDB", [_none("duckdb", "capture_failed")], manifest=duckdb, warn=True)
    yield case("M22e", "an adapter that is not listed", [_none("sqlite", "not_supported")], manifest=unlisted)
    without = {name: value for name, value in _none("postgres", "").items() if name != "reason"}
    yield case("M22f", "no reason", [without], *schema)
    yield case("M22g", "reason of an anchor that was had", [anchor(reason="capture_failed")], *schema)


def _none(system: str, reason: str) -> Json:
    return anchor(system=system, kind="none", value={}, object="", reason=reason)


def _writing(verb: str, **members: Any) -> list[Json]:
    """Return the events of a run with one statement."""
    return [started(), statement(1_000_000, verb, **members), finished(), closed(4)]


def _predicate() -> Iterator[Case]:
    zeros = "0" * 64
    for letter, member, value in (
        ("a", "bundle_id", OTHER_BUNDLE_ID),
        ("b", "run_id", "nightly-2026-02-01"),
        ("c", "merkle_root", zeros),
        ("d", "tree_size", 4),
        ("e", "journal/count", 8),
        ("f", "journal/head", zeros),
        ("g", "journal/root", zeros),
    ):
        data = bundle(statement=put(f"predicate/{member}", value))
        yield bundle_case(f"X01{letter}", f"predicate's {member} differs", data, "predicate_mismatch", "manifest")
    ext = put("ext", {"org.example.tool": {"c2pa": {"unknown": 1}, "mcp": {"calls": []}}})
    yield bundle_case("X08a", "unknown extension", bundle(manifest=ext))
    critical = both(ext, put("crit", ["org.example.tool"]))
    yield bundle_case("X08b", "unknown extension in crit", bundle(manifest=critical), "crit_unknown", "manifest")


def _lineage() -> Iterator[Case]:
    good = lineage()
    source = good["nodes"][1]["id"]
    edge = good["edges"][0]
    back = {"from": edge["to"], "to": edge["from"], "run_id": RUN_ID}
    for id, description, document in (
        ("X03a", "edge from a node that does not exist", {**good, "edges": [{**edge, "from": "postgres:public.x"}]}),
        ("X03b", "edge to a node that does not exist", {**good, "edges": [{**edge, "to": "postgres:public.x"}]}),
        ("X03c", "node twice", {**good, "nodes": [*good["nodes"], good["nodes"][0]]}),
        ("X03d", "edge twice", {**good, "edges": [edge, edge]}),
        ("X03e", "cycle of two", {**good, "edges": [edge, back]}),
        ("X03f", "node that comes from itself", {**good, "edges": [{"from": source, "to": source, "run_id": RUN_ID}]}),
    ):
        artifacts = {**lineage_and_nodes(), "artifacts/lineage.json": Artifact(canonical(document), "lineage")}
        yield bundle_case(id, f"lineage: {description}", bundle(artifacts=artifacts), "lineage_invalid", "semantics")
    unreadable = {**lineage_and_nodes(), "artifacts/lineage.json": Artifact(b"digraph {}", "lineage")}
    yield bundle_case("X03h", "lineage: not JSON", bundle(artifacts=unreadable), "lineage_invalid", "semantics")
    other = canonical({**good, "nodes": [*good["nodes"], {"id": "postgres:public.x"}]})
    incomplete = {**lineage_and_nodes(), "artifacts/lineage.json": Artifact(other, "lineage")}
    yield bundle_case(
        "X03i", "lineage: node without members", bundle(artifacts=incomplete), "lineage_invalid", "semantics"
    )
    long = [f"postgres:public.t{number}" for number in range(3000)]
    nodes = [{**good["nodes"][0], "id": name} for name in long]
    edges = [{"from": a, "to": b, "run_id": RUN_ID} for a, b in pairwise(long)]
    artifacts = {**lineage_and_nodes()}
    artifacts["artifacts/lineage.json"] = Artifact(canonical({"nodes": nodes, "edges": edges}), "lineage")
    yield bundle_case("X03g", "lineage: chain of 3000 nodes", bundle(artifacts=artifacts))


def _counts() -> Iterator[Case]:
    for number, name in enumerate(("statements", "writes", "nodes", "failed_nodes", "tests_passed", "tests_not_run")):
        data = bundle(manifest=put(f"run/counts/{name}", 9))
        yield bundle_case(
            f"X11{chr(97 + number)}", f"{name} is not the journal's", data, "counts_mismatch", "semantics"
        )
    waived = {"id": "sql.no_where", "effect": "block", "severity": "critical", "state": "waived", "waiver": "w1"}
    made = [decision(500_000), decision(600_000, "warn"), decision(700_000, rules=[waived])]
    events = [started(), *made, *run_events()[1:-1], closed(10)]
    yield bundle_case("X11p", "decisions are the journal's", bundle(events=events))
    for letter, member, tally in (("q", "allow", 3), ("r", "waived", 0), ("s", "block", 1)):
        data = bundle(events=events, manifest=put(f"decisions/{member}", tally))
        description = f"decisions.{member} is not the journal's"
        yield bundle_case(f"X11{letter}", description, data, "counts_mismatch", "semantics")


def _add(name: str, data: bytes) -> Any:
    def edit(entries: Mapping[str, bytes]) -> Entries:
        if entries.get(name) == data:
            raise ValueError(name)
        return {**entries, name: data}

    return edit


def _move(name: str, to: str | None) -> Any:
    def edit(entries: Entries) -> Entries:
        left = dict(entries)
        data = left.pop(name)
        return {**left, to: data} if to else left

    return edit


def _files_edit(change: Any) -> DocumentEdit:
    return lambda manifest: {**manifest, "files": change(manifest["files"])}
