# SPDX-License-Identifier: Apache-2.0
"""``clyra inspect`` on bundles made by the real writer."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clyra.cli import main
from clyra.cli._inspect_text import bundle_text
from clyra.evidence import open_bundle
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.testing.sample_bundle import SampleRun, layered_project, seal_sample
from clyra.verify import verify_bundle

HOSTILE = "a\x1b[31m\u202eb"
FAILED = {"model.shop.int_order_items": "error", "model.shop.fct_orders": "skipped"}


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main.run(["inspect", *map(str, words)])
        shown = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, shown.out, shown.err


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLYRA_TRUST", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def signer() -> Signer:
    return ephemeral_signer()


@pytest.fixture
def bundle(tmp_path: Path, signer: Signer) -> Path:
    return seal_sample(tmp_path / ".clyra", SampleRun(statuses=FAILED), signer=signer).path


def trust_file(folder: Path, signer: Signer) -> Path:
    from base64 import b64encode

    key = {
        "keyid": signer.keyid,
        "public_key": b64encode(signer.public_key).decode(),
        "alg": "ed25519",
        "role": "bundle",
        "valid_from": "2025-01-01T00:00:00.000000Z",
        "valid_to": "2099-01-01T00:00:00.000000Z",
    }
    (folder / "trust.json").write_text(json.dumps({"version": 1, "keys": [key]}))
    return folder / "trust.json"


def test_the_text_says_what_ran_changed_and_failed(bundle: Path, inspect: Command) -> None:
    code, text, error = inspect(bundle)
    assert (code, error) == (0, "")
    assert text.startswith("VALID WITH WARNINGS  dbt build of shop\n  trust_not_evaluated: ")
    assert "by          ci@shop.example (claimed)" in text
    assert "  error       int_order_items\n" in text
    assert re.search(r'"analytics"\."models"\."stg_orders" +create, alter, drop +13,440 rows\n', text)
    assert re.search(r"\n     \+- int_order_items +error +2 tests\n", text)
    assert "postgres: postgres_wal analytics lsn 0/1A2B3C8" in text
    assert f"clyra verify {bundle} --trust clyra.trust.json" in text


def test_digests_are_never_cut(bundle: Path, signer: Signer, inspect: Command) -> None:
    text = inspect(bundle)[1]
    assert signer.keyid in text.replace("\n              ", "")
    assert "9f2c" * 10 in text


def test_a_trusted_key_makes_it_valid(bundle: Path, signer: Signer, tmp_path: Path, inspect: Command) -> None:
    code, text, _ = inspect(bundle, "--trust", trust_file(tmp_path, signer))
    assert code == 0
    assert text.startswith("VALID  dbt build of shop\n")


def test_an_invalid_bundle_is_shown_as_such_and_exits_1(bundle: Path, tmp_path: Path, inspect: Command) -> None:
    code, text, _ = inspect(bundle, "--trust", trust_file(tmp_path, ephemeral_signer()))
    assert code == 1
    assert text.startswith("INVALID  ")
    assert "key_unknown" in text
    assert "what follows is only what the file claims" in text


def test_html_writes_one_page_with_the_verdict(bundle: Path, signer: Signer, tmp_path: Path, inspect: Command) -> None:
    page = tmp_path / "run.html"
    code, text, _ = inspect(bundle, "--html", page, "--trust", trust_file(tmp_path, signer))
    assert (code, text) == (0, f"valid: {page}\n")
    content = page.read_text(encoding="utf-8")
    assert '<h2 id="verdict">Valid</h2>' in content
    assert signer.keyid in content
    assert "<script" not in content


def test_html_goes_to_stdout_on_demand(bundle: Path, inspect: Command) -> None:
    code, text, _ = inspect(bundle, "--html", "-")
    assert code == 0
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>\n")


def test_a_page_that_cannot_be_written_is_said(bundle: Path, tmp_path: Path, inspect: Command) -> None:
    code, _, error = inspect(bundle, "--html", tmp_path / "no" / "run.html")
    assert code == 69
    assert "[evidence_unavailable]" in error


def test_json_has_summary_and_verification(bundle: Path, inspect: Command) -> None:
    code, text, _ = inspect(bundle, "--json")
    document = json.loads(text)
    assert code == 0
    assert document["summary"]["run_id"] == "nightly-0142"
    assert document["verification"]["verdict"] == "warning"
    assert len(document["summary"]["nodes"]) == 32


@pytest.mark.parametrize("content", [None, b"no bundle"], ids=["absent", "text"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes | None, inspect: Command) -> None:
    path = tmp_path / "x.def.zip"
    if content is not None:
        path.write_bytes(content)
    code, text, error = inspect(path)
    assert (code, text) == (1, "")
    assert "[bundle_unreadable]" in error


def test_help_has_an_example(inspect: Command) -> None:
    code, text, _ = inspect("--help")
    assert code == 0
    assert "clyra inspect run.def.zip --html run.html" in text


def text_of(path: Path, width: int) -> str:
    bundle = open_bundle(path)
    said = verify_bundle(path).as_dict()
    return bundle_text(bundle.summary(), bundle.lineage, said, file_name="x.def.zip", width=width)


@pytest.mark.parametrize("width", [56, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, bundle: Path, width: int) -> None:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text_of(bundle, width))
    # All but the warnings and the command to paste, which are never cut.
    body = plain.split("\n\n", 1)[1].rpartition("\n\n")[0]
    assert max(map(len, body.splitlines())) <= width


def test_names_cannot_command_the_terminal(tmp_path: Path, inspect: Command) -> None:
    run = SampleRun(parents={f"model.shop.{HOSTILE}": []}, project=HOSTILE, argv=["dbt", HOSTILE])
    path = seal_sample(tmp_path / ".clyra", run).path
    code, text, _ = inspect(path)
    assert code in (0, 1)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a\\u{1b}[31m\\u{202e}b" in text


def test_a_long_lineage_says_how_much_is_left(tmp_path: Path) -> None:
    path = seal_sample(tmp_path / ".clyra", SampleRun(parents=layered_project(300), tests_each=0)).path
    text = text_of(path, 100)
    assert "more nodes: clyra inspect --html FILE draws all" in text
    assert len(text.splitlines()) < 140


def run_on_a_terminal(environ: dict[str, str], *words: str) -> str:
    main_end, process_end = pty.openpty()
    command = [sys.executable, "-m", "clyra.cli.main", *words]
    with subprocess.Popen(command, stdout=process_end, stderr=process_end, env={**os.environ, **environ}):
        os.close(process_end)
        output = b""
        while True:
            try:
                chunk = os.read(main_end, 65536)
            except OSError:
                break
            if not chunk:
                break
            output += chunk
    os.close(main_end)
    return output.decode()


def test_a_terminal_gets_colour_unless_told_otherwise(bundle: Path) -> None:
    assert "\x1b[" in run_on_a_terminal({"TERM": "xterm", "NO_COLOR": ""}, "inspect", str(bundle))
    assert "\x1b[" not in run_on_a_terminal({"TERM": "xterm", "NO_COLOR": "1"}, "inspect", str(bundle))
