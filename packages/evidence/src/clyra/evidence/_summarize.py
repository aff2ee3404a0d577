# SPDX-License-Identifier: Apache-2.0
"""Gather the summary of a bundle in one pass over its journal.

Every value is checked for its kind on the way in, so that what comes out has the types that it says, whatever the file
holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clyra.evidence.governance import (
    NO_NOTES,
    Certificate,
    Decision,
    Pause,
    PolicyNotes,
    approvals_of,
    decision_of,
    pause_of,
    risk_of,
)
from clyra.evidence.summary import (
    GOOD,
    Anchor,
    Build,
    Change,
    Incident,
    Listed,
    NodeRun,
    OutcomeCounts,
    Recovery,
    Summary,
    VerbCount,
    at_us,
    short_name,
)
from clyra.spec import read_json, verb_writes


class _Gathered:
    """Running totals over the events of a journal."""

    def __init__(self, notes: PolicyNotes) -> None:
        self.notes = notes
        self.started: Mapping[str, Any] = {}
        self.recovered: Mapping[str, Any] | None = None
        self.events = 0
        self.verbs: dict[str, list[int | None]] = {}
        self.sent: Counter[str | None] = Counter()
        self.changes: dict[str | None, Counter[str]] = defaultdict(Counter)
        self.change_rows: dict[str | None, int] = {}
        self.change_failed: Counter[str | None] = Counter()
        self.finished: list[Mapping[str, Any]] = []
        self.decisions: list[Decision] = []
        self.used: list[Mapping[str, Any]] = []
        self.pauses: list[Pause] = []
        self.incidents: list[Incident] = []

    def add(self, event: Mapping[str, Any]) -> None:
        self.events += 1
        kind = _text(event["type"])
        if kind == "statement":
            self._add_statement(event)
        elif kind == "node.finished":
            self.finished.append(event)
        elif kind == "run.started":
            self.started = event
        elif kind == "run.recovered":
            self.recovered = event
        elif kind == "decision":
            self.decisions.append(decision_of(event, self.notes))
        elif kind == "approval.used":
            self.used.append(event)
        elif kind.startswith("checkpoint."):
            self.pauses.append(pause_of(event))
        elif kind in ("run.error", "recorder.degraded", "hook.finished", "approval.refused"):
            self._add_incident(kind, event)

    def _add_statement(self, event: Mapping[str, Any]) -> None:
        verb, unique_id = _text(event["verb"]), _text_or_none(event["unique_id"])
        totals = self.verbs.setdefault(verb, [0, 0, None])
        has_failed = event["status"] == "error"
        totals[0] = (totals[0] or 0) + 1
        totals[1] = (totals[1] or 0) + has_failed
        if event["elapsed_us"] is not None:
            totals[2] = (totals[2] or 0) + int(event["elapsed_us"])
        self.sent[unique_id] += 1
        if verb_writes(verb):
            self.changes[unique_id][verb] += 1
            self.change_failed[unique_id] += has_failed
            if event["rows"] is not None:
                self.change_rows[unique_id] = self.change_rows.get(unique_id, 0) + int(event["rows"])

    def _add_incident(self, kind: str, event: Mapping[str, Any]) -> None:
        at = at_us(event["occurred_at"])
        if kind == "run.error":
            where = f" in {event['unique_id']}" if "unique_id" in event else ""
            self.incidents.append(Incident("error", f"{event['code']}{where}", at))
        elif kind == "approval.refused":
            self.incidents.append(Incident("token refused", str(event["code"]), at))
        elif kind == "recorder.degraded":
            what = f"{event['part']}: {event['code']} ({event['count']} times)"
            self.incidents.append(Incident("not recorded", what, at))
        elif event["status"] not in GOOD:
            self.incidents.append(Incident("hook", f"{event['name']}: {event['status']}", at))


def summarize(
    manifest: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    *,
    manifest_sha256: str,
    keyids: Sequence[str],
    described: Sequence[Mapping[str, Any]] = (),
    notes: PolicyNotes = NO_NOTES,
    certificates: Mapping[str, Certificate] | None = None,
) -> Summary:
    """The summary of a manifest and its journal.

    Args:
        manifest: Of the shape that ``def_v0.schema.json`` gives.
        events: The journal's, in their order; read once.
        manifest_sha256: Hex SHA-256 of the manifest's bytes.
        keyids: Key ids that the signatures hint at.
        described: The nodes of the artifact ``nodes.json``.
        notes: What the bundle's policy says about its rules.
        certificates: Approval certificates of the bundle by their digests.

    Raises:
        KeyError: A member is absent. Also TypeError, ValueError, AttributeError where one is of another kind.
    """
    gathered = _Gathered(notes)
    for event in events:
        gathered.add(event)
    run, started, counts = manifest["run"], gathered.started, manifest["run"]["counts"]
    nodes = _nodes(gathered, {each["unique_id"]: each for each in described})
    return Summary(
        spec=_text(manifest["spec"]),
        bundle_id=_text(manifest["bundle_id"]),
        manifest_sha256=manifest_sha256,
        tenant=_text(manifest["tenant"]),
        run_id=_text(run["run_id"]),
        part=int(run["part"]),
        capture=_text(run["capture"]),
        status=_text(run["status"]),
        invocation_id=_text_or_none(run["invocation_id"]),
        command=_text(run["command"]),
        argv=tuple(map(str, started["argv"])),
        project=_text(run["project"]),
        adapter=_text_or_none(run["adapter"]),
        target=_text_or_none(run["target"]),
        actor=_text(started["actor_id"]),
        producer=f"{manifest['producer']['name']} {manifest['producer']['version']}",
        signer=_text(manifest["producer"]["signer"]),
        keyids=tuple(keyids),
        versions=_texts(started["versions"]),
        created_at=_text(manifest["created_at"]),
        closed_at=_text(manifest["closed_at"]),
        duration_us=at_us(manifest["closed_at"]) - at_us(manifest["created_at"]),
        recorder_us=_int_or_none(manifest["metrics"].get("recorder_us")),
        build=_build(run["git"], started["build"]),
        policy=manifest["policy"] and _scalars(manifest["policy"]),
        risk=risk_of(manifest["risk"]),
        events=gathered.events,
        statements=_statements(gathered.verbs),
        changes=_changes(gathered),
        nodes=nodes,
        nodes_by_status=dict(Counter(node.status for node in nodes if node.batch_id is None)),
        tests=OutcomeCounts(*(int(counts[f"tests_{name}"]) for name in ("passed", "failed", "warned", "not_run"))),
        decisions=tuple(gathered.decisions),
        approvals=approvals_of(manifest, gathered.used, certificates or {}),
        pauses=tuple(gathered.pauses),
        incidents=tuple(gathered.incidents),
        anchors=tuple(_anchor(each) for each in manifest["anchors"]),
        recovery=_recovery(gathered.recovered, run),
        files=tuple(
            _listed(each, "path", "external" if "external" in each else "bundle") for each in manifest["files"]
        ),
        references=tuple(_listed(each, "name", "reference") for each in manifest["references"]),
        labels=_texts(manifest["labels"]),
    )


def _nodes(gathered: _Gathered, described: Mapping[str, Mapping[str, Any]]) -> tuple[NodeRun, ...]:
    nodes = []
    for event in gathered.finished:
        unique_id = _text(event["unique_id"])
        known = described.get(unique_id, {})
        nodes.append(
            NodeRun(
                unique_id=unique_id,
                name=str(known.get("name") or short_name(unique_id)),
                resource_type=_text(event["resource_type"]),
                status=_text(event["status"]),
                execution_us=int(event["execution_us"]),
                finished_at_us=at_us(event["occurred_at"]),
                batch_id=_text_or_none(event.get("batch_id")),
                checksum=_text_or_none(event["checksum"]),
                rows_affected=_int_or_none(event["rows_affected"]),
                failures=_int_or_none(event["failures"]),
                statements=gathered.sent[unique_id],
                writes=gathered.changes[unique_id].total() if unique_id in gathered.changes else 0,
                relation=_text_or_none(known.get("relation")),
                materialized=_text_or_none(known.get("materialized")),
            )
        )
    return tuple(nodes)


def _statements(verbs: Mapping[str, Sequence[int | None]]) -> tuple[VerbCount, ...]:
    classes = read_json("verbs.json")["verbs"]
    counted = [
        VerbCount(
            verb=verb,
            verb_class=str(classes[verb]["class"]) if verb in classes else "unknown",
            writes=verb_writes(verb),
            count=count or 0,
            failed=failed or 0,
            elapsed_us=elapsed,
        )
        for verb, (count, failed, elapsed) in verbs.items()
    ]
    return tuple(sorted(counted, key=lambda each: (not each.writes, each.verb_class, -each.count, each.verb)))


def _changes(gathered: _Gathered) -> tuple[Change, ...]:
    return tuple(
        Change(
            unique_id=unique_id,
            verbs=dict(verbs.most_common()),
            rows=gathered.change_rows.get(unique_id),
            failed=gathered.change_failed[unique_id],
        )
        for unique_id, verbs in gathered.changes.items()
    )


def _build(git: Mapping[str, Any], started: Mapping[str, Any]) -> Build:
    return Build(
        source=_text(git["source"]),
        tree=_text_or_none(git["tree"]),
        commit=_text_or_none(git["commit"]),
        branch=_text_or_none(started["branch"]),
        dirty=None if git["dirty"] is None else bool(git["dirty"]),
        author_basis=_text(git["author_basis"]),
    )


def _anchor(anchor: Mapping[str, Any]) -> Anchor:
    return Anchor(
        system=_text(anchor["system"]),
        kind=_text(anchor["kind"]),
        object=_text(anchor["object"]),
        value=_scalars(anchor["value"]),
        captured_at=_text(anchor["captured_at"]),
        reason=_text_or_none(anchor.get("reason")),
    )


def _recovery(event: Mapping[str, Any] | None, run: Mapping[str, Any]) -> Recovery | None:
    if event is None:
        return None
    return Recovery(
        torn_bytes=int(event["torn_bytes"]),
        note_size=_int_or_none(event["note_size"]),
        open_nodes=tuple(map(_text, event["open_nodes"])),
        unknown=tuple(map(_text, event["unknown"])),
        recovered_by=_text(run["recovered_by"]),
    )


def _listed(entry: Mapping[str, Any], name: str, place: str) -> Listed:
    return Listed(
        name=_text(entry.get("origin") or entry[name]),
        path=_text(entry[name]),
        role=_text(entry["role"]),
        sha256=_text(entry["sha256"]),
        size=int(entry["size"]),
        place=place,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _int_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


def _texts(value: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(member) for name, member in value.items()}


def _scalars(value: Mapping[str, object]) -> dict[str, str | int]:
    return {name: member if isinstance(member, int) else _text(member) for name, member in value.items()}
