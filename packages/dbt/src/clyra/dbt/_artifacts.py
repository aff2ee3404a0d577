# SPDX-License-Identifier: Apache-2.0
"""dbt's artifacts of one invocation, read for evidence: ``manifest.json``, ``run_results.json``, ``sources.json``.

For runs where no Python plugin can work: the dbt platform, and dbt engines without plugins. Files of different
invocations are never mixed: together they would say something that never happened. Formats: manifest v12, run results
v6, sources v3, and those of their other versions in which the members used here are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from clyra.dbt import _nodes, _schema_text
from clyra.dbt._json_view import JsonView
from clyra.dbt._nodes import Outcome
from clyra.spec import FormatError

MANIFEST, RUN_RESULTS, SOURCES = "manifest.json", "run_results.json", "sources.json"

# Engines of dbt 2 called the same manifest v20 before they called it v12.
_VERSIONS = {MANIFEST: (9, 10, 11, 12, 20), RUN_RESULTS: (4, 5, 6), SOURCES: (3,)}
_VERSION = re.compile(r"/v(\d{1,4})\.json$")
# What dbt itself ends with a failure for; it skips a node because another one failed.
_UNSUCCESSFUL = _nodes.FAILED | {"skipped", "partial_success"}


@dataclass(frozen=True, slots=True)
class ManifestNode:
    """A node of ``manifest.json`` with the attributes that evidence asks of dbt's own node objects."""

    resource_type: str | None
    name: str | None
    package_name: str | None
    original_file_path: str | None
    relation_name: str | None
    language: str | None
    compiled_code: str | None
    checksum: SimpleNamespace
    config: SimpleNamespace
    contract: SimpleNamespace
    depends_on_nodes: tuple[str, ...]


class ArtifactManifest:
    """``manifest.json`` with the collections of dbt's own manifest object, such as ``nodes``."""

    def __init__(self, document: JsonView) -> None:
        self._document = document

    def __getattr__(self, collection: str) -> NodeCollection:
        return NodeCollection(self._document.view(collection))

    def source_folders(self, project: str) -> tuple[str, ...]:
        """Names of the folders, directly under the project's, from which dbt read the project's own code."""
        folders: set[str] = set()
        for collection in ("nodes", "macros", "sources", "unit_tests"):
            members = self._document.view(collection)
            for node in map(members.view, members.names()):
                folder, slash, _ = (node.text_or_none("original_file_path") or "").replace("\\", "/").partition("/")
                if slash and folder and not folder.startswith(".") and node.value("package_name") == project:
                    folders.add(folder)
        return tuple(sorted(folders))


class NodeCollection:
    """Nodes by their ids; each is checked when it is asked for."""

    def __init__(self, members: JsonView) -> None:
        self._members = members

    def get(self, unique_id: str) -> ManifestNode | None:
        """The node of this id.

        Raises:
            FormatError: A member of it is of another kind than dbt writes.
        """
        return None if self._members.value(unique_id) is None else _node(self._members.view(unique_id))


@dataclass(frozen=True, slots=True)
class Timed:
    """An outcome and when it was reached, in microseconds since the epoch."""

    outcome: Outcome
    at_us: int


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What the artifacts of one invocation say.

    Attributes:
        command_line: As it was typed, secrets included and without its quotes; never stored as it is.
        variables: Names of the variables on the command line.
        source_folders: Folders of the project with the code that ran.
        contents: The files by their names, byte for byte.
        left_aside: Files of older invocations that lay there too.
    """

    invocation_id: str
    project: str
    adapter_type: str
    target: str | None
    command: str
    command_line: str
    variables: tuple[str, ...]
    dbt_version: str
    started_at_us: int
    ended_at_us: int
    elapsed_us: int
    results: tuple[Timed, ...]
    manifest: ArtifactManifest
    source_folders: tuple[str, ...]
    contents: Mapping[str, bytes]
    left_aside: tuple[str, ...]


def is_unsuccessful(outcome: Outcome) -> bool:
    """Whether dbt ends with a failure because of this outcome."""
    return outcome.status in _UNSUCCESSFUL and (outcome.status, outcome.resource_type) != ("skipped", "exposure")


def read_artifacts(target: Path) -> Artifacts:
    """Read the artifacts in dbt's target folder.

    Raises:
        FormatError: A file is missing or is no artifact of a known version (``schema_invalid``), or the manifest and
            the results are of different invocations (``artifact_stale``).
    """
    contents = {name: data for name in _VERSIONS if (data := _read(target / name)) is not None}
    if MANIFEST not in contents:
        raise FormatError(f"no {MANIFEST} in {target}; name dbt's target folder with --target-path")
    if len(contents) == 1:
        raise FormatError(f"neither {RUN_RESULTS} nor {SOURCES} in {target}; run dbt first")
    found = {name: JsonView.parse(name, data) for name, data in contents.items()}
    mine = _of_one_invocation(found)
    for name in mine:
        _check_version(name, found[name].view("metadata"))
    documents = {name: found[name] for name in mine}
    left_aside = tuple(name for name in found if name not in mine)
    return _artifacts(documents, {name: contents[name] for name in mine}, left_aside)


def _artifacts(
    documents: Mapping[str, JsonView], contents: Mapping[str, bytes], left_aside: tuple[str, ...]
) -> Artifacts:
    main = documents.get(RUN_RESULTS) or documents[SOURCES]
    metadata, arguments = main.view("metadata"), main.view("args")
    of_manifest = documents[MANIFEST].view("metadata")
    manifest = ArtifactManifest(documents[MANIFEST])
    results = tuple(sorted(_results(documents, manifest), key=lambda timed: (timed.at_us, timed.outcome.unique_id)))
    ended_at_us = max([metadata.instant_us("generated_at"), *(timed.at_us for timed in results)])
    elapsed_us = main.seconds_us("elapsed_time")
    has_start = metadata.value("invocation_started_at") is not None
    started_at_us = metadata.instant_us("invocation_started_at") if has_start else max(0, ended_at_us - elapsed_us)
    default_command = "unknown" if RUN_RESULTS in documents else "freshness"
    command = arguments.text_or_none("which") or arguments.text_or_none("command") or default_command
    variables = arguments.value("vars")
    return Artifacts(
        invocation_id=metadata.text("invocation_id"),
        project=_schema_text.name(of_manifest.text_or_none("project_name") or "unknown"),
        adapter_type=_schema_text.word(of_manifest.text("adapter_type")),
        target=_schema_text.name_or_none(arguments.text_or_none("target")),
        command=_schema_text.name(command),
        command_line=arguments.text_or_none("invocation_command") or f"dbt {command}",
        variables=tuple(variables) if isinstance(variables, dict) else (),
        dbt_version=_schema_text.name(metadata.text_or_none("dbt_version") or "unknown"),
        started_at_us=started_at_us,
        ended_at_us=ended_at_us,
        elapsed_us=elapsed_us,
        results=results,
        manifest=manifest,
        source_folders=manifest.source_folders(of_manifest.text_or_none("project_name") or ""),
        contents=contents,
        left_aside=left_aside,
    )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise FormatError(f"{path.name} cannot be read: {exc.strerror}; make it readable") from exc


def _check_version(name: str, metadata: JsonView) -> None:
    version = _VERSION.search(metadata.text("dbt_schema_version"))
    if version is None or int(version[1]) not in _VERSIONS[name]:
        known = ", ".join(f"v{number}" for number in _VERSIONS[name])
        found = f"v{version[1]}" if version else "none"
        raise FormatError(
            f"{name} has the schema version {found}, expected one of {known}; update clyra-dbt",
            pointer="/metadata/dbt_schema_version",
        )


def _of_one_invocation(found: Mapping[str, JsonView]) -> list[str]:
    """Names of the files that the manifest's invocation wrote.

    dbt leaves the files of older commands where they are: ``sources.json`` of the last freshness check lies beside the
    results of a build. A file that is newer than the manifest is another matter: then the manifest is the stale one.
    """
    metadata = {name: document.view("metadata") for name, document in found.items()}
    ids = {name: _invocation_id(members) for name, members in metadata.items()}
    mine = [name for name in found if ids[name] == ids[MANIFEST]]
    written_us = {name: members.instant_us("generated_at") for name, members in metadata.items()}
    newer = [name for name in found if name not in mine and written_us[name] > written_us[MANIFEST]]
    if newer or mine == [MANIFEST]:
        others = ", ".join(f"{name} is of {ids[name]}" for name in found if name not in mine)
        raise FormatError(
            f"{MANIFEST} is of invocation {ids[MANIFEST]}, but {others}; seal right after the run, before another dbt"
            " command writes its artifacts",
            code="artifact_stale",
        )
    return mine


def _invocation_id(metadata: JsonView) -> str:
    invocation_id = metadata.text("invocation_id")
    if not _schema_text.is_tag(invocation_id):
        metadata.refuse("invocation_id", "an id")
    return invocation_id


def _results(documents: Mapping[str, JsonView], manifest: ArtifactManifest) -> Iterator[Timed]:
    seen: set[str] = set()
    for name in (RUN_RESULTS, SOURCES):
        document = documents.get(name)
        if document is None:
            continue
        if document.value("results") is None:
            document.refuse("results", "a list of results")
        default_us = document.view("metadata").instant_us("generated_at")
        for result in document.views("results"):
            timed = _timed(result, manifest, default_us)
            if timed.outcome.unique_id in seen:
                result.refuse("unique_id", "an id that occurs once")
            seen.add(timed.outcome.unique_id)
            yield timed


def _timed(result: JsonView, manifest: ArtifactManifest, default_us: int) -> Timed:
    unique_id = result.text("unique_id")
    node = _nodes.find(manifest, unique_id)
    resource_type = _schema_text.word((node and node.resource_type) or unique_id.partition(".")[0])
    ends = [phase.instant_us("completed_at") for phase in result.views("timing") if phase.value("completed_at")]
    # A freshness check that failed has `error` in place of a message, perhaps a number.
    message = result.value("message") or result.value("error")
    if message is not None and not isinstance(message, str | int):
        result.refuse("message", "a text")
    outcome = Outcome(
        unique_id=_schema_text.name(unique_id),
        resource_type=resource_type,
        status=_schema_text.word(result.text("status")),
        execution_us=result.seconds_us("execution_time"),
        checksum=_schema_text.sha256_or_none(node.checksum.checksum if node else None),
        rows_affected=_schema_text.count_or_none(result.view("adapter_response").value("rows_affected")),
        failures=_schema_text.count_or_none(result.value("failures")) if resource_type in _nodes.TESTS else None,
        message_sha256=_schema_text.digest(str(message)) if message else None,
    )
    return Timed(outcome, max(ends, default=default_us))


def _node(members: JsonView) -> ManifestNode:
    config, contract = members.view("config"), members.view("contract")
    return ManifestNode(
        resource_type=members.text_or_none("resource_type"),
        name=members.text_or_none("name"),
        package_name=members.text_or_none("package_name"),
        original_file_path=members.text_or_none("original_file_path"),
        relation_name=members.text_or_none("relation_name"),
        language=members.text_or_none("language"),
        compiled_code=members.text_or_none("compiled_code"),
        checksum=SimpleNamespace(checksum=_checksum(members)),
        config=SimpleNamespace(
            materialized=config.text_or_none("materialized"), severity=config.text_or_none("severity")
        ),
        contract=SimpleNamespace(enforced=bool(contract.value("enforced"))),
        depends_on_nodes=tuple(members.view("depends_on").texts("nodes")),
    )


def _checksum(members: JsonView) -> str | None:
    # Of unit tests, and in older engines of other nodes too, dbt writes the digest itself in place of an object.
    if isinstance(members.value("checksum"), str):
        return members.text_or_none("checksum")
    return members.view("checksum").text_or_none("checksum")
