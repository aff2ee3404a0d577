# SPDX-License-Identifier: Apache-2.0
"""A vector: its input, its arguments, the verdict it must get; as a file, and back."""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge.trust import NOW, trust_file

_PACK_OVER_BYTES = 4096
TRUSTED = ("--trust", "trust.json", "--at", NOW)


@dataclass(frozen=True)
class Case:
    """One input with one fault, or none."""

    id: str
    description: str
    input: bytes = b""
    expect: str = "valid"
    stage: str | None = None
    warnings: tuple[str, ...] = ()
    command: str = "verify-bundle"
    files: Mapping[str, bytes] = field(default_factory=dict)
    args: Sequence[str] = TRUSTED
    output: bytes | None = None

    @property
    def exit(self) -> int:
        """The verifier's exit code."""
        if self.expect != "valid":
            return 1
        return 2 if self.warnings else 0

    @property
    def name(self) -> str:
        """File name: id and slug."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.description.lower()).strip("-")
        return f"{self.id}-{slug[:60].rstrip('-')}.json"


def bundle_case(
    id: str, description: str, data: bytes, code: str = "valid", stage: str | None = None, **members: Any
) -> Case:
    """Return a case of verify-bundle, with the good bundle's trust file unless ``files`` or ``args`` are given."""
    members.setdefault("files", {"trust.json": trust_file()} if "args" not in members else {})
    return Case(id, description, data, code, stage, **members)


def encode(case: Case) -> bytes:
    """Return the vector file of a case."""
    blobs = [case.input, *case.files.values(), case.output or b""]
    packed = sum(map(len, blobs)) > _PACK_OVER_BYTES

    def text(data: bytes) -> str:
        return base64.b64encode(zlib.compress(data, 9) if packed else data).decode("ascii")

    document: dict[str, Any] = {"id": case.id, "description": case.description, "spec": "clyra.def/v0"}
    document |= {"command": case.command, "expect": case.expect, "stage": case.stage, "exit": case.exit}
    document |= {"warnings": sorted(case.warnings), "args": list(case.args)}
    document |= {"encoding": "zlib+base64" if packed else "base64"}
    document |= {"input": text(case.input)}
    document |= {"files": {name: text(data) for name, data in sorted(case.files.items())}}
    if case.output is not None:
        document["output"] = text(case.output)
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def decode(vector: bytes) -> dict[str, Any]:
    """Return a vector file's document with its blobs as bytes."""
    document: dict[str, Any] = json.loads(vector)
    packed = document.pop("encoding") == "zlib+base64"

    def blob(text: str) -> bytes:
        data = base64.b64decode(text, validate=True)
        return zlib.decompress(data) if packed else data

    for name in ("input", "output"):
        if document.get(name) is not None:
            document[name] = blob(document[name])
    document["files"] = {name: blob(text) for name, text in document["files"].items()}
    return document
