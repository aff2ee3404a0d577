# SPDX-License-Identifier: Apache-2.0
"""A vector: its input, its arguments, the verdict it must get; as a file, and back."""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge.edits import Json
from forge.trust import NOW, trust_file

_PACK_OVER_BYTES = 4096
_BLOBS = ("input", "output")
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


def signature_case(
    id: str, description: str, data: bytes, *verdict: Any, keys: tuple[Json, ...] = (), **members: Any
) -> Case:
    """Return a case with a trust file of ``keys``, and ``threshold`` and the like in it."""
    warnings = members.pop("warnings", ())
    files = {"trust.json": trust_file(*keys, **members)}
    return bundle_case(id, description, data, *verdict, files=files, warnings=warnings)


def invalid_case(id: str, description: str, data: bytes, **members: Any) -> Case:
    """Return a case that is refused as ``signature_invalid``."""
    return signature_case(id, description, data, "signature_invalid", "signature", **members)


def document(case: Case) -> dict[str, Any]:
    """Return what a vector file says of a case, its blobs as bytes."""
    said: dict[str, Any] = {"id": case.id, "description": case.description, "spec": "clyra.def/v0"}
    said |= {"command": case.command, "expect": case.expect, "stage": case.stage, "exit": case.exit}
    said |= {"warnings": sorted(case.warnings), "args": list(case.args)}
    said |= {"input": case.input, "files": dict(case.files)}
    return said if case.output is None else said | {"output": case.output}


def encode(case: Case) -> bytes:
    """Return the vector file of a case."""
    said = document(case)
    blobs = [said["input"], *said["files"].values(), said.get("output", b"")]
    packed = sum(map(len, blobs)) > _PACK_OVER_BYTES

    def text(data: bytes) -> str:
        return base64.b64encode(zlib.compress(data, 9) if packed else data).decode("ascii")

    said |= {name: text(said[name]) for name in _BLOBS if name in said}
    said |= {"files": {name: text(data) for name, data in said["files"].items()}}
    said |= {"encoding": "zlib+base64" if packed else "base64"}
    return json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def decode(vector: bytes) -> dict[str, Any]:
    """Return a vector file's document with its blobs as bytes, as ``document`` does."""
    said: dict[str, Any] = json.loads(vector)
    packed = said.pop("encoding") == "zlib+base64"

    def blob(text: str) -> bytes:
        data = base64.b64decode(text, validate=True)
        return zlib.decompress(data) if packed else data

    said |= {name: blob(said[name]) for name in _BLOBS if name in said}
    return said | {"files": {name: blob(text) for name, text in said["files"].items()}}
