# SPDX-License-Identifier: Apache-2.0
"""dbt's artifacts of one invocation, read for evidence: ``manifest.json``, ``run_results.json``, ``sources.json``.

For runs where no Python plugin can work: the dbt platform, and dbt engines without plugins. Files of different
invocations are refused: together they would say something that never happened. Formats: manifest v12, run results v6,
sources v3, and their earlier versions as far as the members used here are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clyra.dbt import _schema_text
from clyra.dbt._nodes import TESTS, Outcome
from clyra.spec import FormatError

MANIFEST, RUN_RESULTS, SOURCES = "manifest.json", "run_results.json", "sources.json"
_VERSIONS = {MANIFEST: range(9, 13), RUN_RESULTS: range(4, 7), SOURCES: range(3, 4)}
_VERSION = re.compile(r"/v(\d+)\.json$")


class JsonNode:
    """A node of ``manifest.json`` with the attributes of dbt's own node objects, as far as evidence asks for them."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def __getattr__(self, name: str) -> Any:
        value = self._members.get(name)
        return JsonNode(value) if isinstance(value, dict) else value

    @property
    def depends_on_nodes(self) -> list[str]:
        """Ids of the nodes that this one reads."""
        depends_on = self._members.get("depends_on")
        return list(depends_on.get("nodes") or ()) if isinstance(depends_on, dict) else []


class JsonManifest:
    """``manifest.json`` with the collections of dbt's own manifest object."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __getattr__(self, name: str) -> Any:
        collection = self._document.get(name)
        if not isinstance(collection, dict):
            return {}
        return _Nodes(collection)


class _Nodes:
    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def get(self, unique_id: str) -> JsonNode | None:
        found = self._members.get(unique_id)
        return JsonNode(found) if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Timed:
    """An outcome and when it was reached, in microseconds since the epoch."""

    outcome: Outcome
    at_us: int


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What the artifacts of one invocation say."""

    invocation_id: str
    project: str
    adapter_type: str | None
    target: str | None
    command: str
    argv: tuple[str, ...]
    dbt_version: str
    started_at_us: int
    ended_at_us: int
    elapsed_us: int
    results: tuple[Timed, ...]
    manifest: JsonManifest
    paths: Mapping[str, Path]


def read_artifacts(target: Path) -> Artifacts:
    """Read the artifacts in dbt's target folder.

    Raises:
        FormatError: A file is missing, is no artifact of a known version (``schema_invalid``), or belongs to another
            invocation than the others (``artifact_stale``).
    """
    manifest = _read(target, MANIFEST)
    if manifest is None:
        raise FormatError(f"no {MANIFEST} in {target}; name dbt's target folder with --target-path")
    found = {name: document for name in (RUN_RESULTS, SOURCES) if (document := _read(target, name)) is not None}
    if not found:
        raise FormatError(f"neither {RUN_RESULTS} nor {SOURCES} in {target}; run dbt first")
    found = _of_one_invocation({MANIFEST: manifest, **found})
    results = sorted(_results(manifest, found), key=lambda timed: (timed.at_us, timed.outcome.unique_id))
    return _artifacts(target, found, tuple(results))


def _artifacts(target: Path, found: Mapping[str, Mapping[str, Any]], results: tuple[Timed, ...]) -> Artifacts:
    main = found.get(RUN_RESULTS) or found[SOURCES]
    metadata, arguments = main["metadata"], main.get("args") or {}
    of_manifest = found[MANIFEST]["metadata"]
    ended = _instant(metadata.get("generated_at"), "/metadata/generated_at")
    elapsed_us = _schema_text.microseconds(float(main.get("elapsed_time") or 0))
    ended = max([ended, *(timed.at_us for timed in results)])
    command = str(arguments.get("which") or ("freshness" if RUN_RESULTS not in found else "unknown"))
    return Artifacts(
        invocation_id=_schema_text.name(str(metadata["invocation_id"])),
        project=_schema_text.name(str(of_manifest.get("project_name") or "unknown")),
        adapter_type=_word_or_none(of_manifest.get("adapter_type")),
        target=_schema_text.name_or_none(arguments.get("target")),
        command=_schema_text.name(command),
        argv=tuple(str(arguments.get("invocation_command") or f"dbt {command}").split()),
        dbt_version=_schema_text.name(str(metadata.get("dbt_version") or "unknown")),
        started_at_us=min([ended - elapsed_us, *(t.at_us - t.outcome.execution_us for t in results)]),
        ended_at_us=ended,
        elapsed_us=elapsed_us,
        results=results,
        manifest=JsonManifest(found[MANIFEST]),
        paths={name: target / name for name in found},
    )


def _read(target: Path, name: str) -> dict[str, Any] | None:
    path = target / name
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise FormatError(f"{name} cannot be read as JSON; run dbt again") from exc
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("invocation_id"), str):
        raise FormatError(f"{name} names no invocation; it is no artifact of dbt", pointer="/metadata/invocation_id")
    version = _VERSION.search(str(metadata.get("dbt_schema_version")))
    if version is None or int(version[1]) not in _VERSIONS[name]:
        expected = f"v{_VERSIONS[name].start} to v{_VERSIONS[name].stop - 1}"
        raise FormatError(
            f"{name} has the schema {metadata.get('dbt_schema_version')!s:.80}, expected {expected}; update clyra-dbt",
            pointer="/metadata/dbt_schema_version",
        )
    return dict(document)


def _of_one_invocation(found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Only what the newest invocation wrote may be there; an older ``sources.json`` or results file is left aside."""
    ids = {name: document["metadata"]["invocation_id"] for name, document in found.items()}
    mine = {name: document for name, document in found.items() if ids[name] == ids[MANIFEST]}
    if len(mine) == 1:
        others = ", ".join(f"{name} {other[:8]}" for name, other in sorted(ids.items()) if name != MANIFEST)
        raise FormatError(
            f"{MANIFEST} belongs to invocation {ids[MANIFEST][:8]}, but {others}; seal right after the run, before"
            " another dbt command writes its artifacts",
            code="artifact_stale",
        )
    return mine


def _results(manifest: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> Iterable[Timed]:
    nodes = JsonManifest(manifest)
    for name in (RUN_RESULTS, SOURCES):
        document = found.get(name)
        if document is None:
            continue
        results = document.get("results")
        if not isinstance(results, list):
            raise FormatError(f"{name} has no list of results", pointer="/results")
        default = _instant(document["metadata"].get("generated_at"), "/metadata/generated_at")
        for index, result in enumerate(results):
            if not isinstance(result, dict) or not isinstance(result.get("unique_id"), str):
                raise FormatError(f"{name} has a result without unique_id", pointer=f"/results/{index}/unique_id")
            yield _timed(result, nodes, default)


def _timed(result: Mapping[str, Any], nodes: JsonManifest, default_us: int) -> Timed:
    unique_id = result["unique_id"]
    node = _find(nodes, unique_id)
    resource_type = _schema_text.word(str(getattr(node, "resource_type", "") or unique_id.partition(".")[0]))
    timing = result.get("timing") or []
    ends = [str(phase["completed_at"]) for phase in timing if isinstance(phase, dict) and phase.get("completed_at")]
    response = result.get("adapter_response")
    rows = response.get("rows_affected") if isinstance(response, dict) else None
    checksum = getattr(getattr(node, "checksum", None), "checksum", None)
    outcome = Outcome(
        unique_id=_schema_text.name(unique_id),
        resource_type=resource_type,
        status=_schema_text.word(str(result.get("status"))),
        execution_us=_schema_text.microseconds(float(result.get("execution_time") or 0)),
        checksum=_schema_text.sha256_or_none(checksum),
        rows_affected=_schema_text.count_or_none(rows),
        failures=_schema_text.count_or_none(result.get("failures")) if resource_type in TESTS else None,
        message_sha256=_schema_text.digest_or_none(_text_or_none(result.get("message"))),
    )
    return Timed(outcome, _instant(max(ends), "/results/timing") if ends else default_us)


def _find(nodes: JsonManifest, unique_id: str) -> JsonNode | None:
    for collection in ("nodes", "sources", "unit_tests", "exposures"):
        found: JsonNode | None = getattr(nodes, collection).get(unique_id)
        if found is not None:
            return found
    return None


def _instant(text: object, pointer: str) -> int:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as exc:
        raise FormatError("an artifact holds a time that is none", pointer=pointer) from exc
    if moment.tzinfo is None:
        raise FormatError("an artifact holds a time without a zone", pointer=pointer)
    return round(moment.timestamp() * 1_000_000)


def _word_or_none(value: object) -> str | None:
    return _schema_text.word(value) if isinstance(value, str) and value else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
