# SPDX-License-Identifier: Apache-2.0
"""What a result says of approvals; what makes them sound is tested by the vectors."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clyra.verify import Verification, verify_bundle
from clyra.verify.conformance import Vector, load_vector, vector_files

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
BEN, CAROL = "oidc:https://sso.acme.example:ben", "oidc:https://sso.acme.example:carol"


def vector(vector_id: str) -> Vector:
    return load_vector(next(path for path in vector_files(suite="approval_bundle") if path.stem.startswith(vector_id)))


def verify(vector_id: str, **options: Any) -> Verification:
    found = vector(vector_id)
    given: dict[str, Any] = {"trust": found.files["trust.json"], "at": AT, "environ": {}}
    return verify_bundle(found.input, **(given | options))


def test_a_proved_approval_is_told_with_who_when_and_for_what() -> None:
    (approval,) = verify("A00a-").as_dict()["approvals"]
    assert approval == {
        "decision": "decision-1",
        "jti": "AAECAwQFBgcICQoLDA0ODw",
        "approvals": [
            {"principal": BEN, "role": "approver", "method": "key", "approved_at": "2026-01-31T08:10:00.000000Z"}
        ],
        "rules": ["x_prod_writes"],
        "run_id": "nightly-2026-01-31",
        "break_glass": False,
    }


def test_everybody_who_approved_is_named() -> None:
    (approval,) = verify("A00b-").as_dict()["approvals"]
    assert {one["principal"] for one in approval["approvals"]} == {BEN, CAROL}


def test_a_standing_approval_tells_how_long_it_stands_and_no_run() -> None:
    (approval,) = verify("A05p-").as_dict()["approvals"]
    assert approval["standing"] == {"valid_until": "2026-02-07T08:10:00.000000Z", "target": "prod"}
    assert "run_id" not in approval


def test_without_a_trust_file_nothing_is_proved(tmp_path: Path) -> None:
    result = verify("A00a-", trust=None, cwd=tmp_path)
    assert result.verdict == "warning"
    assert result.as_dict()["approvals"] == []


def test_of_an_invalid_bundle_no_approval_is_told() -> None:
    result = verify("A11l-")
    assert result.code == "risk_mismatch"
    assert result.approvals
    assert result.as_dict()["approvals"] == []


def test_a_review_is_taken_as_argument_or_found_beside_the_bundle(tmp_path: Path) -> None:
    reviewed = vector("A11n-")
    review = reviewed.files["review.dsse.json"]
    bundle = tmp_path / "run.def.zip"
    bundle.write_bytes(reviewed.input)
    options: dict[str, Any] = {"trust": reviewed.files["trust.json"], "at": AT, "environ": {}}
    assert [warning.code for warning in verify_bundle(bundle, **options).warnings] == ["break_glass_unreviewed"]
    assert verify_bundle(bundle, review=review, **options).verdict == "valid"
    (tmp_path / "019c131e-9fa0-7a51-8c3e-6d1f00000000.review.dsse.json").write_bytes(review)
    assert verify_bundle(bundle, **options).verdict == "valid"


def test_a_review_cannot_be_checked_without_a_trust_file(tmp_path: Path) -> None:
    reviewed = vector("A11n-")
    result = verify_bundle(reviewed.input, review=b"not read", environ={}, cwd=tmp_path, at=AT)
    assert [warning.code for warning in result.warnings] == ["trust_not_evaluated", "break_glass_unreviewed"]


def test_files_of_approvals_are_bounded_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clyra.verify.approval.MAX_DOCUMENT_BYTES", 10)
    result = verify("A00a-")
    assert (result.code, result.stage) == ("approval_unproven", "semantics")
    assert "more than" in (result.message or "")


def test_verifying_an_approval_loads_no_engine_and_no_writer() -> None:
    found = next(path for path in vector_files(suite="approval_bundle") if path.stem.startswith("A00a-"))
    program = (
        "import sys; from clyra.verify import verify_bundle; from clyra.verify.conformance import load_vector\n"
        "from pathlib import Path\n"
        "vector = load_vector(Path(sys.argv[1]))\n"
        "assert verify_bundle(vector.input, trust=vector.files['trust.json']).approvals\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(found)], capture_output=True, check=True, text=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()} | set(run.stdout.split())
    assert not loaded & {"clyra.policy", "clyra.approval", "clyra.evidence", "pydantic", "jsonschema", "yaml"}
