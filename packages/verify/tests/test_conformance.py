# SPDX-License-Identifier: Apache-2.0
"""The adapter's command line and the runner that drives verifiers of any language."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from clyra.verify import conformance
from clyra.verify.__main__ import main
from clyra.verify.conformance import load_vector, vector_files


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["verify-everything", "x"],
        ["verify-bundle"],
        ["verify-bundle", "--nope", "x"],
        ["verify-bundle", "--at", "yesterday", "x"],
        ["verify-bundle", "--at", "2026-01-31T09:00:00", "x"],
        ["verify-proof", "x", "y"],
    ],
    ids=shlex.join,
)
def test_wrong_usage_is_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 64
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["verify-bundle", "verify-log", "verify-proof", "canonicalize"])
def test_a_file_that_is_not_there_is_69(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path / "absent")]) == 69
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("[bundle_unreadable]\n")


def test_canonicalize_says_why_a_document_has_no_canonical_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "document").write_text('{"a": 1, "a": 2}')
    assert main(["canonicalize", str(tmp_path / "document")]) == 1
    assert "a member name occurs twice [json_not_canonical]" in capsys.readouterr().err


def test_the_runner_prints_a_line_per_case_and_fails_on_any_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "merkle"
    suite.mkdir()
    for path in vector_files(suite="merkle")[:3]:
        (suite / path.name).write_bytes(path.read_bytes())
    ours = shlex.join([sys.executable, "-m", "clyra.verify"])
    assert conformance.main(["--verifier", ours, "--vectors", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok", "3"]

    changed = json.loads((suite / vector_files(suite="merkle")[0].name).read_bytes())
    changed |= {"expect": "zip_order", "id": "X"}
    (suite / "X.json").write_text(json.dumps(changed))
    assert conformance.main(["--verifier", ours, "--vectors", str(tmp_path), "--suite", "merkle"]) == 1
    assert "FAIL merkle/X; code 'zip_order' expected" in capsys.readouterr().out


def test_a_verifier_that_prints_no_result_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "valid"
    suite.mkdir()
    path = vector_files(suite="valid")[0]
    (suite / path.name).write_bytes(path.read_bytes())
    assert conformance.main(["--verifier", "true", "--vectors", str(tmp_path)]) == 1
    assert "a result 'as JSON on stdout' expected" in capsys.readouterr().out


def test_no_vectors_are_a_failure(tmp_path: Path) -> None:
    assert conformance.main(["--vectors", str(tmp_path)]) == 1


def test_a_vector_file_is_decoded_whole() -> None:
    vector = load_vector(next(path for path in vector_files() if path.name.startswith("JC01-")))
    assert vector.command == "canonicalize"
    assert vector.output is not None
    assert json.loads(vector.output) == json.loads(vector.input)
