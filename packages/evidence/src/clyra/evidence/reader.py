# SPDX-License-Identifier: Apache-2.0
"""Read a bundle for people and scripts.

Nothing is verified here: what is read is what the file says. Whether it may be believed is answered by
``clyra.verify.verify_bundle``, which shares no code with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from clyra.spec import FormatError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

    from clyra.evidence.summary import Summary

ENVELOPE = "attestations/manifest.dsse.json"
JOURNAL = "journal.ndjson"
MANIFEST = "manifest.json"
NODES = "artifacts/nodes.json"

_SPECS = ("clyra.def/v0", "clyra.pef/v0")
_STORED = 0
_MAX_LINE_BYTES = 65_536
_MAX_DOCUMENT_BYTES = 1 << 28
_SHAPE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The artifact ``lineage``: nodes by id in the order of the file, and what reads from what as (from, to)."""

    nodes: Mapping[str, Mapping[str, Any]]
    edges: tuple[tuple[str, str], ...]


class Bundle:
    """A bundle opened for reading; make one with `open_bundle`.

    The file is opened for each read and closed again, so a bundle needs no closing.

    Attributes:
        path: The file.
        names: Names of its entries.
        manifest: The parsed manifest, as the file says it.
        manifest_sha256: Hex SHA-256 of the manifest's bytes: with ``bundle_id`` the identity of the bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as archive:
            self.names = tuple(archive.namelist())
        document = self.read(MANIFEST)
        self.manifest: dict[str, Any] = _json_object(document, MANIFEST)
        self.manifest_sha256 = sha256(document).hexdigest()
        if self.manifest.get("spec") not in _SPECS:
            raise _unreadable(path, "its manifest is not one of clyra.def/v0")

    def read(self, name: str) -> bytes:
        """The bytes of an entry.

        Raises:
            FormatError: There is no such entry, as with files that are kept outside, or it cannot be read
                (``bundle_unreadable``).
        """
        with self._opened() as archive:
            info = _entry(archive, name, self.path)
            if info.file_size > _MAX_DOCUMENT_BYTES:
                raise _unreadable(self.path, f"{name} has {info.file_size} bytes; take it out with unzip")
            return archive.read(info)

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of the journal, one after the other, without holding them all.

        Raises:
            FormatError: A line is too long or no JSON object (``bundle_unreadable``).
        """
        with self._opened() as archive, archive.open(_entry(archive, JOURNAL, self.path)) as journal:
            while line := journal.readline(_MAX_LINE_BYTES + 1):
                if len(line) > _MAX_LINE_BYTES:
                    raise _unreadable(self.path, f"a line of its journal is longer than {_MAX_LINE_BYTES} bytes")
                yield _json_object(line, JOURNAL)

    @cached_property
    def lineage(self) -> Lineage | None:
        """What reads from what, or None where the bundle does not hold it.

        Raises:
            FormatError: The artifact is of another shape (``bundle_unreadable``).
        """
        name = next((name for _, name in self._of_role("lineage")), None)
        if name is None:
            return None
        document = _json_object(self.read(name), name)
        try:
            nodes = {str(node["id"]): node for node in document["nodes"]}
            edges = tuple((str(edge["from"]), str(edge["to"])) for edge in document["edges"])
        except _SHAPE_ERRORS as exc:
            raise _unreadable(self.path, f"{name} is not a lineage artifact") from exc
        return Lineage(nodes, tuple(edge for edge in edges if edge[0] in nodes and edge[1] in nodes))

    @cached_property
    def keyids(self) -> tuple[str, ...]:
        """Key ids that the signatures name; hints, which prove nothing.

        Raises:
            FormatError: There is no envelope, or it is of another shape (``bundle_unreadable``).
        """
        envelope = _json_object(self.read(ENVELOPE), ENVELOPE)
        try:
            return tuple(str(signature["keyid"]) for signature in envelope["signatures"])
        except _SHAPE_ERRORS as exc:
            raise _unreadable(self.path, "its envelope has no signatures") from exc

    def summary(self) -> Summary:
        """The bundle in brief; reads the journal once. Nothing of it is verified.

        Raises:
            FormatError: Manifest or journal are of another shape (``bundle_unreadable``).
        """
        return self._summary

    @cached_property
    def _summary(self) -> Summary:
        # As with the archive: who only writes does not pay for it.
        from clyra.evidence._summarize import summarize
        from clyra.evidence.governance import NO_NOTES, read_certificate, read_policy_notes

        try:
            certificates = {
                digest: found
                for digest, name in self._of_role("approval_certificate")
                if (found := read_certificate(digest, self.read(name))) is not None
            }
            policies = [name for _, name in self._of_role("policy")]
            described = orjson.loads(self.read(NODES))["nodes"] if NODES in self.names else []
            return summarize(
                self.manifest,
                self.events(),
                manifest_sha256=self.manifest_sha256,
                keyids=self.keyids,
                described=described,
                notes=read_policy_notes(self.read(policies[0])) if policies else NO_NOTES,
                certificates=certificates,
            )
        except _SHAPE_ERRORS as exc:
            raise _unreadable(self.path, "its manifest or journal is not what the format says; verify it") from exc

    def to_html(self, verification: Mapping[str, Any] | None = None) -> str:
        """One self-contained page without script about this bundle.

        Args:
            verification: What ``clyra.verify`` said, in the form of ``verification.schema.json``
                (``verify_bundle(path).as_dict()``); without it the page says that nothing was verified.

        Raises:
            FormatError: Manifest or journal are of another shape, or the verification is of another bundle
                (``bundle_unreadable``).
        """
        from clyra.evidence.page import render_page

        return render_page(self, verification)

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r})"

    def _repr_html_(self) -> str:
        from clyra.evidence.page import render_card

        return render_card(self.summary())

    def _of_role(self, role: str) -> Iterator[tuple[str, str]]:
        """Digest, as the manifest gives it, and name of the files of a role that the bundle holds."""
        files = self.manifest.get("files")
        for entry in files if isinstance(files, list) else ():
            if isinstance(entry, dict) and entry.get("role") == role and entry.get("path") in self.names:
                yield str(entry.get("sha256")), str(entry["path"])

    @contextmanager
    def _opened(self) -> Iterator[ZipFile]:
        # Writers import this package on the path of every dbt run and read no bundle.
        from zipfile import BadZipFile, ZipFile

        try:
            with ZipFile(self.path) as archive:
                yield archive
        except OSError as exc:
            raise _unreadable(self.path, exc.strerror or str(exc)) from exc
        except (BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as exc:
            raise _unreadable(self.path, "it is not a bundle's container") from exc


def open_bundle(path: str | PathLike[str]) -> Bundle:
    """The bundle in the file ``path``, for reading; nothing is verified.

    Raises:
        FormatError: The file cannot be read or is not a bundle (``bundle_unreadable``).
    """
    return Bundle(Path(path))


def _entry(archive: ZipFile, name: str, path: Path) -> ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError as exc:
        raise _unreadable(path, f"it holds no {name}") from exc
    # Bundles are stored, so nothing can unfold to more than the file has.
    if info.compress_type != _STORED or info.flag_bits & 1:
        raise _unreadable(path, f"{name} is compressed or encrypted, which a bundle's entries never are")
    return info


def _json_object(document: bytes, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(document)
    except orjson.JSONDecodeError as exc:
        raise FormatError(f"{name} is not JSON; verify the bundle", code="bundle_unreadable") from exc
    if not isinstance(value, dict):
        raise FormatError(f"{name} is not a JSON object; verify the bundle", code="bundle_unreadable")
    return value


def _unreadable(path: Path, reason: str) -> FormatError:
    return FormatError(f"cannot read {path}: {reason}; expected a bundle (*.def.zip)", code="bundle_unreadable")
