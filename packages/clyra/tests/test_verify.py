# SPDX-License-Identifier: Apache-2.0
"""``clyra verify`` on bundles of the shared vectors."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from clyra.cli import main
from clyra.cli._verify_text import plain
from clyra.evidence.signer import ephemeral_signer
from clyra.testing.sample_bundle import seal_sample
from clyra.verify.conformance import load_vector, vector_files

AT = ("--at", "2026-01-31T09:00:00Z")


def unpack(folder: Path, vector_id: str, name: str = "run.def.zip") -> Path:
    """Write the bundle and the files of a vector into the folder; returns the bundle."""
    vector = load_vector(next(path for path in vector_files() if path.name.startswith(f"{vector_id}-")))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(vector.input)
    for file, data in vector.files.items():
        (folder / file).write_bytes(data)
    return folder / name


def seal(folder: Path) -> Path:
    """Seal a bundle with a new key, beside it a trust file that has the key: published ones are taken from none."""
    folder.mkdir()
    signer = ephemeral_signer()
    key = {"keyid": signer.keyid, "public_key": b64encode(signer.public_key).decode(), "alg": signer.alg}
    key |= {"role": "bundle", "valid_from": "2026-01-01T00:00:00.000000Z"}
    (folder / "trust.json").write_text(json.dumps({"version": 1, "keys": [key]}))
    return seal_sample(folder / ".clyra", signer=signer).path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLYRA_TRUST", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main.run(["verify", *map(str, words)])
        shown = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, shown.out, shown.err


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_a_good_bundle_is_valid_and_says_who_signed_what(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "V01")
    code, text, error = verify(bundle, "--trust", tmp_path / "trust.json", *AT)
    assert (code, error) == (0, "")
    assert text.startswith("VALID  ")
    keyid = json.loads((tmp_path / "trust.json").read_text())["keys"][0]["keyid"]
    assert f"signed by  {keyid} (ed25519)" in text
    assert "dbt build of jaffle_shop on postgres, target prod" in text
    assert "2 statements (1 write)" in text
    assert "trust.json version 1, from --trust" in text
    assert "A signature shows which key signed, not who used it" in text


def test_json_is_the_result_of_the_schema(tmp_path: Path, verify: Command) -> None:
    import jsonschema
    from referencing import Registry, Resource

    from clyra.spec import schema

    bundle = unpack(tmp_path, "V01")
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", *AT, "--json")
    document = json.loads(text)
    types: Resource[Any] = Resource.from_contents(schema("types"))
    registry: Registry[Any] = Registry().with_resource("https://clyra.io/spec/types.schema.json", types)
    jsonschema.Draft202012Validator(schema("verification"), registry=registry).validate(document)
    assert (code, document["verdict"], document["trust"]["source"]) == (0, "valid", "argument")


def test_a_forged_bundle_is_invalid_and_says_what_to_do(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "C04")
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", *AT)
    assert code == 1
    assert text.startswith("INVALID  ")
    assert "journal_prev at stage journal: line 2 does not follow the line before" in text
    assert "-> the file is not the one that was sealed" in text
    assert "journal failed" in text


def test_without_a_trust_file_the_signer_is_not_known_and_the_next_step_is_named(
    tmp_path: Path, verify: Command
) -> None:
    bundle = unpack(tmp_path, "V01")
    code, text, _ = verify(bundle)
    assert code == 2
    assert "VALID WITH WARNINGS" in text
    assert "signed by  not known; the bundle names" in text
    assert "trust_not_evaluated" in text
    assert "clyra keys trust FILE --role bundle" in text


def test_a_signer_that_nobody_enrolled_is_refused_with_the_way_to_enrol(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "S40")
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", *AT)
    assert code == 1
    assert "key_unknown" in text
    assert "CLYRA_SIGNING_KEY" in text
    assert "clyra keys trust FILE --role bundle" in text


def test_the_trust_file_of_the_project_one_works_in_is_taken(
    tmp_path: Path, verify: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = seal(tmp_path / "mail")
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").touch()
    (tmp_path / "mail/trust.json").rename(project / "clyra.trust.json")
    monkeypatch.chdir(project / "models")
    code, text, _ = verify(bundle, *AT)
    assert code == 0
    assert "version 1, from your project" in text


def test_the_trust_file_of_the_environment_comes_before_the_project(
    tmp_path: Path, verify: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = seal(tmp_path / "mail")
    project = tmp_path / "project"
    project.mkdir()
    (project / "dbt_project.yml").touch()
    (project / "clyra.trust.json").write_text("{}")
    monkeypatch.chdir(project)
    monkeypatch.setenv("CLYRA_TRUST", str(tmp_path / "mail/trust.json"))
    code, text, _ = verify(bundle, *AT)
    assert code == 0
    assert "from CLYRA_TRUST" in text


def test_a_trust_file_beside_the_bundle_is_not_taken(
    tmp_path: Path, verify: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = unpack(tmp_path / "mail", "V01")
    (tmp_path / "mail/trust.json").rename(tmp_path / "mail/clyra.trust.json")
    (tmp_path / "mail/dbt_project.yml").touch()
    monkeypatch.chdir(tmp_path / "mail")
    code, text, _ = verify(bundle, *AT)
    assert code == 2
    assert "trust_not_evaluated" in text


def test_a_pinned_trust_file_that_is_another_one_is_refused(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "V01")
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", "--trust-sha256", "0" * 64, *AT)
    assert code == 1
    assert "trust_pin at stage input" in text


@pytest.mark.parametrize("what", ["absent", "folder"])
def test_a_file_that_cannot_be_read_leaves_with_69(what: str, tmp_path: Path, verify: Command) -> None:
    trust = tmp_path / "trust.json"
    if what == "folder":
        trust.mkdir()
    code, text, error = verify(unpack(tmp_path / "mail", "V01"), "--trust", trust)
    assert (code, text) == (69, "")
    assert error.startswith(f"clyra: cannot read {trust}")
    assert error.endswith("[bundle_unreadable]\n")
    assert verify(tmp_path / "absent.def.zip")[0] == 69


def test_a_folder_is_searched_and_each_bundle_has_a_line(tmp_path: Path, verify: Command) -> None:
    unpack(tmp_path / "evidence/2026/01", "V01", "a.def.zip")
    trust = tmp_path / "evidence/2026/01/trust.json"
    unpack(tmp_path / "evidence/2026/02", "C04", "b.def.zip")
    unpack(tmp_path / "evidence/2026/02", "M22c", "c.def.zip")
    code, text, error = verify(tmp_path / "evidence", "--trust", trust, *AT)
    lines = text.splitlines()
    assert (code, error) == (1, "")
    assert [line.split()[0] for line in lines[:3]] == ["VALID", "INVALID", "WARNING"]
    assert lines[-1].startswith("3 bundles: 1 valid, 1 valid with warnings, 1 invalid")


def test_a_pattern_that_the_shell_left_alone_is_expanded(tmp_path: Path, verify: Command) -> None:
    for name in ("a.def.zip", "b.def.zip"):
        unpack(tmp_path / "bundles", "V01", name)
    pattern = tmp_path / "bundles/*.def.zip"
    code, text, _ = verify(pattern, "--trust", tmp_path / "bundles/trust.json", *AT, "--json")
    documents = json.loads(text)
    assert code == 0
    assert [Path(entry["file"]).name for entry in documents] == ["a.def.zip", "b.def.zip"]
    assert all(entry["result"]["verdict"] == "valid" for entry in documents)


@pytest.mark.parametrize(
    ("vectors", "code"),
    [(["V01", "V01"], 0), (["V01", "M22c"], 2), (["V01", "M22c", None], 69), (["V01", None, "C04"], 1)],
    ids=["all-valid", "a-warning", "one-unreadable", "one-invalid"],
)
def test_the_exit_code_of_many_is_that_of_the_worst(
    vectors: list[str | None], code: int, tmp_path: Path, verify: Command
) -> None:
    paths = [
        tmp_path / "absent.def.zip" if vector is None else unpack(tmp_path / str(number), vector)
        for number, vector in enumerate(vectors)
    ]
    assert verify(*paths, "--trust", tmp_path / "0/trust.json", *AT)[0] == code


def test_a_folder_without_bundles_is_wrong_usage(tmp_path: Path, verify: Command) -> None:
    (tmp_path / "empty").mkdir()
    code, _, error = verify(tmp_path / "empty")
    assert code == 64
    assert "no bundle found" in error


@pytest.mark.parametrize("at", ["yesterday", "2026-01-31T09:00:00", "2026-01-31"])
def test_a_moment_without_zone_is_wrong_usage(at: str, tmp_path: Path, verify: Command) -> None:
    code, _, error = verify(unpack(tmp_path, "V01"), "--at", at)
    assert code == 64
    assert "expected a time with its zone" in error


def test_a_proof_is_about_one_bundle(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "V01")
    code, _, error = verify(bundle, bundle, "--proof", tmp_path / "x.tlog-proof")
    assert code == 64
    assert "--proof is about one bundle" in error


def test_external_files_are_checked_in_the_folder_that_is_given(tmp_path: Path, verify: Command) -> None:
    vector = load_vector(next(path for path in vector_files() if path.name.startswith("M11d-")))
    for name, data in vector.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    bundle = tmp_path / "run.def.zip"
    bundle.write_bytes(vector.input)
    artifacts = tmp_path / vector.arguments[vector.arguments.index("--artifacts") + 1]
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", "--artifacts", artifacts, *AT)
    assert code == 0
    assert "external: 1 of 1 checked" in text
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", *AT)
    assert code == 2
    assert "--artifacts FOLDER" in text


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert plain("a\x1b[31m\u202eb\x9bc \u00e9") == "a\\u001b[31m\\u202eb\\u009bc \u00e9"


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    bundles = [str(unpack(tmp_path / name, "V01")) for name in ("a", "b")]
    command = [sys.executable, "-m", "clyra.cli.main", "verify", *bundles, "--trust", str(tmp_path / "a/trust.json")]
    piped = subprocess.run([*command, *AT], capture_output=True, check=False)
    assert (piped.returncode, piped.stderr) == (0, b"")
    ours, theirs = pty.openpty()
    with subprocess.Popen([*command, *AT], stdout=subprocess.PIPE, stderr=theirs) as process:
        assert process.stdout is not None
        process.stdout.read()
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    assert process.returncode == 0
    assert b"verifying 2 of 2" in shown


BEN = "oidc:https://sso.acme.example:ben"


def test_who_approved_what_is_one_line_for_each_person(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "A00b")
    code, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", *AT)
    assert code == 0
    when = "on 2026-01-31T08:10:00.000000Z for rules x_prod_writes, for this run"
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("approved")]
    assert lines[0].startswith("approved   by oidc:https://sso.acme.example:")
    assert {line.split()[2] for line in lines} == {BEN, BEN.replace("ben", "carol")}
    assert all(line.endswith(f"(approver) {when}") for line in lines)


@pytest.mark.parametrize(
    ("vector_id", "said"),
    [
        ("A05p", "standing to 2026-02-07T08:10:00.000000Z"),
        ("A10a", f"by {BEN} (approver, the identity provider's word) on"),
        ("A11n", f"by emergency (break-glass) of {BEN} (oncall) on"),
    ],
)
def test_how_it_was_approved_is_said(vector_id: str, said: str, tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, vector_id)
    review = tmp_path / "review.dsse.json"
    options = ("--review", review) if review.exists() else ()
    _, text, _ = verify(bundle, "--trust", tmp_path / "trust.json", *options, *AT)
    assert said in text


def test_without_a_trust_file_nothing_is_said_of_approvals(tmp_path: Path, verify: Command) -> None:
    code, text, _ = verify(unpack(tmp_path, "A00a"), *AT)
    assert code == 2
    assert "approved" not in text


def test_of_an_approval_that_does_not_hold_only_that_is_said(tmp_path: Path, verify: Command) -> None:
    code, text, _ = verify(unpack(tmp_path, "A02p"), "--trust", tmp_path / "trust.json", *AT)
    assert code == 1
    assert "approval_unproven at stage semantics" in text
    assert not any(line.strip().startswith(("approved", "risk")) for line in text.splitlines())


def test_the_risk_tells_what_nobody_proved(tmp_path: Path, verify: Command) -> None:
    _, text, _ = verify(unpack(tmp_path, "R03h"), "--trust", tmp_path / "trust.json", *AT)
    assert "risk       35 of 100, medium; asserted: off_hours; unknown: first_time_actor" in text


def test_a_review_is_about_one_bundle(tmp_path: Path, verify: Command) -> None:
    bundle = unpack(tmp_path, "A11n")
    code, _, error = verify(bundle, bundle, "--review", tmp_path / "review.dsse.json")
    assert code == 64
    assert "--review is about one bundle" in error
