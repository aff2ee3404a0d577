# SPDX-License-Identifier: Apache-2.0
"""The conformance adapter against every shared vector, in this process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clyra.verify.__main__ import main
from clyra.verify.conformance import SUITES, Answer, command_verifier, differences, load_vector, vector_files

FILES = vector_files()


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv("CLYRA_TRUST", raising=False)

    def run(words: Sequence[str], folder: Path) -> Answer:
        written = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", write_through=True))
            patch.chdir(folder)
            return Answer(main(words), written.getvalue())

    return run


def test_there_are_vectors_in_every_suite_that_exists() -> None:
    suites = {path.parent.name for path in FILES}
    assert suites <= set(SUITES)
    assert {"valid", "zip", "json", "manifest", "journal", "merkle", "signature", "time_log", "trust"} <= suites
    assert {"risk", "approval_bundle"} <= suites
    assert len(FILES) > 500


@pytest.mark.vectors
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_vector(path: Path, verify: object) -> None:
    assert callable(verify)
    assert differences(load_vector(path), verify) == []


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["valid/V01-", "zip/Z06a-", "json/JC01-", "merkle/T08a-", "time_log/L13-"])
def test_the_command_line_gives_the_same_answers(name: str) -> None:
    path = next(path for path in FILES if f"{path.parent.name}/{path.name}".startswith(name))
    assert differences(load_vector(path), command_verifier([sys.executable, "-m", "clyra.verify"])) == []


def test_a_verifier_that_says_something_else_is_found_out() -> None:
    path = next(path for path in FILES if path.name.startswith("V01-"))
    vector = load_vector(path)

    def lie(words: Sequence[str], folder: Path) -> Answer:
        assert os.path.isfile(words[-1])
        return Answer(1, b'{"code": "zip_bytes", "stage": "container", "warnings": []}')

    assert len(differences(vector, lie)) == 3
