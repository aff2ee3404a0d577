# SPDX-License-Identifier: Apache-2.0
"""``clyra log`` on logs made by the real writer."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from clyra.cli import main
from clyra.evidence import ProjectLog, SealedBundle
from clyra.evidence.note import sign_note
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.evidence.tlog_proof import checkpoint_text
from clyra.spec import ProofError
from clyra.testing.sample_bundle import seal_sample
from clyra.verify import verify_bundle

KILLED = "018f0000-0000-7000-8000-000000000001"


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main.run(["log", *map(str, words)])
        shown = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, shown.out, shown.err


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(autouse=True)
def _in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLYRA_TRUST", raising=False)
    monkeypatch.delenv("CLYRA_EVIDENCE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def signer() -> Signer:
    return ephemeral_signer()


@pytest.fixture
def sealed(tmp_path: Path, signer: Signer) -> SealedBundle:
    """A sealed bundle whose two leaves are in the log of the project, behind those of a run that was killed."""
    bundle = seal_sample(tmp_path / ".clyra", signer=signer)
    writer = ProjectLog(tmp_path / ".clyra/log", project="shop", signer=signer, durable=False)
    writer.append(leaf(KILLED, None))
    writer.append(leaf(bundle.bundle_id, None))
    writer.append(leaf(bundle.bundle_id, bundle.manifest_sha256))
    return bundle


def leaf(bundle_id: str, digest: str | None) -> dict[str, object]:
    run_id = "nightly-0142" if bundle_id != KILLED else "killed"
    return {"tenant": "default", "run_id": run_id, "part": 1, "bundle_id": bundle_id, "manifest_sha256": digest}


def trust_file(folder: Path, signer: Signer) -> Path:
    key = {
        "keyid": signer.keyid,
        "public_key": b64encode(signer.public_key).decode(),
        "alg": "ed25519",
        "role": "log",
        "valid_from": "2025-01-01T00:00:00.000000Z",
        "valid_to": "2099-01-01T00:00:00.000000Z",
    }
    (folder / "trust.json").write_text(json.dumps({"version": 1, "keys": [key]}))
    return folder / "trust.json"


def test_verify_names_the_run_that_was_opened_and_never_sealed(
    tmp_path: Path, sealed: SealedBundle, signer: Signer, log: Command
) -> None:
    code, text, _ = log("verify", "--trust", trust_file(tmp_path, signer))
    assert code == 2
    assert text.startswith("VALID WITH WARNINGS  ")
    assert "log_run_open" in text
    assert "killed" in text or KILLED in text


def test_verify_accepts_a_log_whose_runs_are_all_sealed(
    tmp_path: Path, sealed: SealedBundle, signer: Signer, log: Command
) -> None:
    ProjectLog(tmp_path / ".clyra/log", project="shop", signer=signer).append(leaf(KILLED, "00" * 32))
    code, text, _ = log("verify", tmp_path / ".clyra", "--trust", trust_file(tmp_path, signer))
    assert code == 0
    assert text.startswith("VALID  ")


def test_verify_refuses_a_log_that_lost_what_a_kept_checkpoint_shows(
    tmp_path: Path, sealed: SealedBundle, signer: Signer, log: Command
) -> None:
    folder = tmp_path / ".clyra/log"
    shutil.copytree(folder, tmp_path / "earlier")
    ProjectLog(folder, project="shop", signer=signer).append(leaf(KILLED, "00" * 32))
    kept = folder / "checkpoint"
    code, text, _ = log("verify", tmp_path / "earlier", "--since", kept)
    assert code == 1
    assert "log_rollback" in text
    assert log("verify", folder, "--since", tmp_path / "earlier" / "checkpoint")[0] == 2


def test_verify_refuses_a_changed_leaf(tmp_path: Path, sealed: SealedBundle, log: Command) -> None:
    entries = tmp_path / ".clyra/log/tile/entries/000.p/3"
    entries.write_bytes(entries.read_bytes().replace(b"killed", b"kIlled"))
    code, text, _ = log("verify", "--json")
    assert code == 1
    assert json.loads(text)["code"] in ("log_tile", "log_root")


def test_a_log_that_has_no_leaf_yet_is_valid(tmp_path: Path, signer: Signer, log: Command) -> None:
    # What a process leaves that dies between the first checkpoint and its first leaf.
    origin = f"shop/{'0' * 32}"
    signed = sign_note(checkpoint_text(origin, 0, sha256(b"").digest()), origin, signer)
    (tmp_path / "checkpoint").write_bytes(signed)
    assert log("show", tmp_path)[1] == f"{origin}\nno leaves, no bundles, 0 open\n"
    assert log("verify", tmp_path, "--trust", trust_file(tmp_path, signer))[0] == 0


def test_show_lists_bundles_with_their_leaves(sealed: SealedBundle, log: Command) -> None:
    code, text, _ = log("show")
    assert code == 0
    lines = text.splitlines()
    assert lines[1] == "3 leaves, 2 bundles, 1 open"
    assert lines[2] == f"open    {KILLED}  killed  opened 0"
    assert lines[3] == f"sealed  {sealed.bundle_id}  nightly-0142  opened 1, sealed 2"


def test_show_as_json_has_every_bundle_and_what_waits(tmp_path: Path, sealed: SealedBundle, log: Command) -> None:
    folder = tmp_path / ".clyra/log"
    (folder / "checkpoint").rename(folder / "kept")
    with pytest.raises(ProofError):
        ProjectLog(folder, project="shop", signer=ephemeral_signer()).append(leaf(KILLED, "11" * 32))
    (folder / "kept").rename(folder / "checkpoint")
    document = json.loads(log("show", "--json")[1])
    assert document["size"] == 3
    assert [entry["sealed"] for entry in document["bundles"]] == [None, 2]
    assert document["bundles"][1]["manifest_sha256"] == sealed.manifest_sha256
    assert [waiting["bundle_id"] for waiting in document["waiting"]] == [KILLED]
    assert "1 leaf waits in the spool" in log("show")[1]


def test_show_cuts_a_long_log_unless_told_otherwise(tmp_path: Path, signer: Signer, log: Command) -> None:
    writer = ProjectLog(tmp_path / ".clyra/log", project="shop", signer=signer, durable=False)
    for number in range(40):
        writer.append(leaf(f"{KILLED[:-2]}{number + 2:02x}", "00" * 32))
    assert len(log("show")[1].splitlines()) == 33
    assert len(log("show", "--all")[1].splitlines()) == 42


def test_prove_writes_a_proof_beside_the_bundle_that_verifies(
    tmp_path: Path, sealed: SealedBundle, log: Command
) -> None:
    code, text, _ = log("prove", sealed.path)
    target = sealed.path.with_name(f"{sealed.bundle_id}.tlog-proof")
    assert (code, text) == (0, f"{target}: leaf 2 of 3\n")
    result = verify_bundle(sealed.path)
    assert result.as_dict()["log"] == {"index": 2, "origin": json.loads(log("show", "--json")[1])["origin"], "size": 3}


@pytest.mark.parametrize("by_number", [True, False], ids=["number", "id"])
def test_prove_takes_a_number_or_an_id(tmp_path: Path, sealed: SealedBundle, log: Command, by_number: bool) -> None:
    target = tmp_path / "p"
    code, text, _ = log("prove", "2" if by_number else sealed.bundle_id, "--output", target, "--json")
    assert code == 0
    assert (json.loads(text)["index"], json.loads(text)["size"]) == (2, 3)
    assert log("prove", "2", "--output", "-")[1] == target.read_text()


@pytest.mark.parametrize(
    ("word", "exit_code", "code"),
    [("9", 1, "proof_shape"), (KILLED, 69, "log_pending"), ("no such thing", 64, "config_invalid")],
)
def test_prove_refuses_what_is_not_there(
    sealed: SealedBundle, log: Command, word: str, exit_code: int, code: str
) -> None:
    left, _, error = log("prove", word)
    assert left == exit_code
    assert f"[{code}]" in error


def test_a_project_without_a_log_is_said(log: Command) -> None:
    code, _, error = log("show")
    assert code == 69
    assert "[evidence_unavailable]" in error


@pytest.mark.parametrize("command", ["verify", "show", "prove"])
def test_help_has_an_example(log: Command, command: str) -> None:
    code, text, _ = log(command, "--help")
    assert code == 0
    assert f"  clyra log {command} " in text or f"  clyra log {command}\n" in text
