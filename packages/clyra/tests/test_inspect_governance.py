# SPDX-License-Identifier: Apache-2.0
"""``clyra inspect`` on a run under a policy."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path

import pytest

from clyra.cli import main
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.testing.governed_bundle import GovernedRun, seal_governed
from clyra.testing.sample_bundle import seal_sample


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLYRA_TRUST", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as left:
        main.run(["inspect", *map(str, words)])
    assert left.value.code == 0
    return capsys.readouterr().out


def trust_file(folder: Path, **keys: list[Signer]) -> Path:
    entries = [
        {
            "keyid": signer.keyid,
            "public_key": b64encode(signer.public_key).decode(),
            "alg": "ed25519",
            "role": role,
            "valid_from": "2025-01-01T00:00:00.000000Z",
        }
        for role, signers in keys.items()
        for signer in signers
    ]
    path = folder / "trust.json"
    path.write_text(json.dumps({"version": 1, "keys": entries}))
    return path


def test_text_says_what_was_decided_approved_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, seal_governed(tmp_path / ".clyra").path)
    assert "policy harbor shop, environment prod, mode enforce" in told
    assert "let pass by approval  run" in told
    assert "x_untested_marts: Marts have tests, warn, waived by w_history until 2026-02-01" in told
    assert "not known: data.personal" in told
    assert "claimed, not verified here  1 certificate" in told
    assert re.search(r"key:[0-9a-f]{64} as approver, 1 January 2026", told)
    assert "30  schema change (30 × 1)" in told
    assert "first time actor (2 × 1)  not known, so it counts" in told
    assert re.search(r"fct_orders +success .* 2 tests, trust 40", told)


def test_text_calls_an_approval_verified_under_a_trust_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signer, approver = ephemeral_signer(), ephemeral_signer()
    path = seal_governed(tmp_path / ".clyra", signer=signer, approvers=[approver]).path
    told = run(capsys, path, "--trust", trust_file(tmp_path, bundle=[signer], approver=[approver]))
    assert "verified  1 certificate" in told
    assert "claimed, not verified" not in told


def test_json_has_rules_approvals_and_factors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = seal_governed(tmp_path / ".clyra", GovernedRun(approvers=2)).path
    summary = json.loads(run(capsys, path, "--json"))["summary"]
    assert [each["title"] for each in summary["decisions"][0]["rules"]] == [
        "A full refresh in production needs somebody's yes"
    ]
    assert [each["role"] for each in summary["approvals"][0]["certificates"]] == ["approver", "data_owner"]
    assert summary["risk"]["factors"][0] == {
        "factor": "schema_change",
        "weight": 30,
        "count": 1,
        "points": 30,
        "is_asserted": False,
        "is_unknown": False,
    }


def test_text_of_a_run_without_a_policy_has_none_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, seal_sample(tmp_path / ".clyra").path)
    assert not re.search(r"(?m)^(DECIDED|APPROVED|RISK)$", told)
    assert "trust " not in told.replace("no trust file", "").replace("--trust", "")
