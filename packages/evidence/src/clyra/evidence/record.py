# SPDX-License-Identifier: Apache-2.0
"""What a recorder says about its run, apart from the journal: the members of a manifest that it decides.

The record is written beside an open journal as far as it is known, so that the journal of a run that died can be
sealed by somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import orjson

from clyra.evidence.canonical import canonicalize_integers, printable
from clyra.spec import FormatError

NO_GOVERNANCE: Mapping[str, Any] = MappingProxyType(
    {
        "approvals": [],
        "classification": None,
        "frameworks": [],
        "hot_until": None,
        "legal_hold": False,
        "owners": [],
        "retention_until": None,
        "sla": [],
    }
)
"""The manifest's ``governance`` where nobody set anything."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to go into a bundle under ``path``, from memory or from the disk."""

    path: str
    data: bytes | Path
    media_type: str
    role: str = "artifact"


@dataclass(frozen=True, slots=True)
class Reference:
    """Bytes that exist elsewhere and are named by digest; ``size`` in bytes, ``sha256`` in hex."""

    name: str
    role: str
    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of UTF-8 text that goes into the bundle with the record, also where somebody else seals it."""

    path: str
    role: str
    media_type: str
    text: str

    def as_file(self) -> SourceFile:
        """The file."""
        return SourceFile(self.path, self.text.encode(), self.media_type, self.role)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Members of a manifest, spelled as `def_v0.schema.json` spells them.

    ``run`` goes without ``counts`` and ``recovered_by``, which sealing adds. ``attachments`` become files.
    """

    tenant: str
    producer_name: str
    producer_version: str
    run: Mapping[str, object]
    source_digest: str | None = None
    policy: Mapping[str, object] | None = None
    anchors: Sequence[Mapping[str, object]] = ()
    risk: Mapping[str, object] | None = None
    metrics: Mapping[str, int] = field(default_factory=dict)
    governance: Mapping[str, Any] = field(default_factory=lambda: dict(NO_GOVERNANCE))
    payout: Mapping[str, object] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ext: Mapping[str, object] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()

    def to_json(self) -> bytes:
        """Canonical bytes that `from_json` reads.

        Raises:
            FormatError: A member has no canonical form (``canonical_value``).
        """
        return canonicalize_integers(printable(plain(asdict(self))))

    @classmethod
    def from_json(cls, document: bytes) -> RunRecord:
        """The record that `to_json` wrote.

        Raises:
            FormatError: The document is something else (``schema_invalid``).
        """
        try:
            members = orjson.loads(document)
        except orjson.JSONDecodeError as exc:
            raise FormatError("the record beside a journal is no JSON") from exc
        names = {item.name for item in fields(cls)}
        if not isinstance(members, dict) or set(members) != names or not isinstance(members["run"], dict):
            raise FormatError("the record beside a journal has other members than a record has")
        try:
            attachments = tuple(Attachment(**entry) for entry in members.pop("attachments"))
        except TypeError as exc:
            raise FormatError("the record beside a journal has an attachment that is none") from exc
        return cls(**cast("dict[str, Any]", members), attachments=attachments)


def plain(value: object) -> object:
    """``value`` with every mapping as a dict and every other sequence as a list, as the serializers want them."""
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(member) for member in value]
    return value
