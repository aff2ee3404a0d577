# SPDX-License-Identifier: Apache-2.0
"""Run a verifier against the shared vectors: ``python -m clyra.verify.conformance --verifier CMD [--suite S]``.

One line per case; any difference in exit code, code, stage, warnings or output fails. The verifier is any command
with the arguments of ``spec/verification.md``, so the same runner drives those in other languages.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shlex
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clyra.spec import spec_folder

TIMEOUT_S = 120
# What a vector's verdict may hang on, taken out of the environment of the verifier.
_HIDDEN = ("CLYRA_TRUST",)


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector file, decoded."""

    suite: str
    id: str
    command: str
    arguments: tuple[str, ...]
    expect: str
    stage: str | None
    exit_code: int
    warnings: tuple[str, ...]
    input: bytes
    files: dict[str, bytes]
    output: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verifier said: its exit code and what it printed."""

    exit_code: int
    output: bytes


# Runs the words of the conformance command line in a folder.
Verifier = Callable[[Sequence[str], Path], Answer]


SUITES = (
    "valid", "zip", "json", "manifest", "journal", "merkle", "signature", "time_log", "trust", "risk",
    "approval_bundle", "receipt",
)  # fmt: skip


def vector_files(folder: Path | None = None, suite: str | None = None) -> list[Path]:
    """The vector files of one suite, or of all, in the order of suites and names."""
    root = spec_folder() / "vectors" if folder is None else folder
    return [path for name in ([suite] if suite else SUITES) for path in sorted((root / name).glob("*.json"))]


def load_vector(path: Path) -> Vector:
    """The vector in this file."""
    document = json.loads(path.read_bytes())

    def blob(text: str) -> bytes:
        data = base64.b64decode(text)
        return zlib.decompress(data) if document["encoding"] == "zlib+base64" else data

    return Vector(
        suite=path.parent.name,
        id=document["id"],
        command=document["command"],
        arguments=tuple(document["args"]),
        expect=document["expect"],
        stage=document["stage"],
        exit_code=document["exit"],
        warnings=tuple(document["warnings"]),
        input=blob(document["input"]),
        files={name: blob(text) for name, text in document["files"].items()},
        output=blob(document["output"]) if document.get("output") is not None else None,
    )


def differences(vector: Vector, verify: Verifier) -> list[str]:
    """Where the verifier's answer is not what the vector asks for; nothing where it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answer = verify(_lay_out(vector, folder), folder)
    if vector.command == "canonicalize":
        found: list[tuple[str, object, object]] = [("exit", vector.exit_code, answer.exit_code)]
        if vector.expect == "valid":
            found.append(("output", vector.output, answer.output))
    else:
        found = _compare(vector, answer)
    return [f"{what} {wanted!r} expected, {given!r} found" for what, wanted, given in found if wanted != given]


def _compare(vector: Vector, answer: Answer) -> list[tuple[str, object, object]]:
    try:
        result = json.loads(answer.output)
        warnings = tuple(sorted(warning["code"] for warning in result["warnings"]))
        code, stage = result["code"], result["stage"]
    except (ValueError, KeyError, TypeError):
        return [("a result", "as JSON on stdout", answer.output[-200:])]
    return [
        ("exit", vector.exit_code, answer.exit_code),
        ("code", vector.expect, "valid" if code is None else code),
        ("stage", vector.stage, stage),
        # What was open until a failure ended the checks is not compared.
        ("warnings", vector.warnings, warnings if code is None else vector.warnings),
    ]


def _lay_out(vector: Vector, folder: Path) -> list[str]:
    for name, data in vector.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if vector.command == "verify-log":
        subject = folder / "log"
    else:
        subject = folder / "input"
        subject.write_bytes(vector.input)
    arguments = [str(folder / word) if _is_file_of(vector, word) else word for word in vector.arguments]
    return [vector.command, *arguments, str(subject)]


def _is_file_of(vector: Vector, word: str) -> bool:
    return any(name == word or name.startswith(f"{word}/") for name in vector.files)


def command_verifier(command: Sequence[str]) -> Verifier:
    """The verifier that is this command."""
    environment = {name: value for name, value in os.environ.items() if name not in _HIDDEN}

    def verify(words: Sequence[str], folder: Path) -> Answer:
        done = subprocess.run(
            [*command, *words], cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        return Answer(done.returncode, done.stdout)

    return verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the vectors; returns 0 where every answer is the right one, else 1."""
    parser = argparse.ArgumentParser(prog="clyra.verify.conformance", description=__doc__)
    parser.add_argument("--verifier", default=f"{shlex.quote(sys.executable)} -m clyra.verify", help="command to run")
    parser.add_argument("--suite", help="one suite; all where it is not given")
    parser.add_argument("--vectors", type=Path, help="folder of the suites")
    given = parser.parse_args(arguments)
    verify = command_verifier(shlex.split(given.verifier))
    total = failed = 0
    for path in vector_files(given.vectors, given.suite):
        vector = load_vector(path)
        found = differences(vector, verify)
        total += 1
        failed += bool(found)
        print(f"{'FAIL' if found else 'ok'} {vector.suite}/{vector.id}" + "".join(f"; {line}" for line in found))
    print(f"{total - failed} of {total} as expected")
    return 0 if total and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
