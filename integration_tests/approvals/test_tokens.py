# SPDX-License-Identifier: Apache-2.0
"""Minting, what a token is worth elsewhere, and what is left when something behind it is withdrawn."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.errors import ApprovalRefused
from clyra.approval.keys import KeyRow
from clyra.approval.request import ApprovalRequest
from clyra.approval.store import ApprovalStore
from clyra.approval.token import CheckedToken, Expectation, check_token

if TYPE_CHECKING:
    from integration_tests.approvals.conftest import Clone, Team

HOUR_US = 3_600_000_000


def presented(
    token: str, request: ApprovalRequest, keys: Mapping[str, KeyRow], store: ApprovalStore, **changes: Any
) -> CheckedToken:
    """The token as the gate of a run takes it: checked, then bound to the run."""
    now_s = changes.pop("now_s", None)
    expected: dict[str, Any] = {
        "audience": request.audience,
        "tenant": request.tenant,
        "run_id": request.run_id,
        "action": "dbt.run",
        "resource": request.resources[0],
        "payload_type": request.payload_type,
        "payload_sha256": request.payload_sha256,
        "policies": frozenset([request.policy_sha256]),
        "tree": request.tree,
        "rules": frozenset(request.rule_ids),
        "presenter": request.sub,
    }
    expected |= changes
    issued = json.loads(_claims(token))["jti"]
    checked = check_token(
        token,
        keys=keys,
        expected=Expectation(**expected),
        now_s=now_s or int(json.loads(_claims(token))["iat"]) + 1,
        revoked=store.revoked(),
        used_by=store.used_by if store.is_issued(issued) else None,
    )
    if "single_use" not in checked.unchecked and store.bind(checked.jti, expected["run_id"]) != expected["run_id"]:
        raise ApprovalRefused("another run was faster", code="approval_used")
    return checked


def _claims(token: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(token.split(".")[1] + "==")


def code_of(refused: pytest.ExceptionInfo[ApprovalRefused]) -> str:
    return refused.value.code


@pytest.fixture
def approved(project: Clone) -> ApprovalRequest:
    request = project.request()
    project.approve("ben", request)
    return request


def test_the_token_goes_to_stdout_alone_or_into_a_file_of_its_owner(
    project: Clone, approved: ApprovalRequest, tmp_path: Path
) -> None:
    said = project.run("runner", "approval", "mint", "--target", "prod")
    assert said.out.count(".") == 2
    assert len(said.out.splitlines()) == 1
    assert "minted" in said.err
    file = tmp_path / "token"
    said = project.run("runner", "approval", "mint", "--target", "prod", "--out", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    assert token not in said.out + said.err
    assert project.run("runner", "approval", "verify", str(file)).out.startswith("valid")
    remembered = b"".join(path.read_bytes() for path in project.store.root.rglob("*") if path.is_file())
    assert token.rpartition(".")[2].encode() not in remembered
    assert approved.sha256.encode() in remembered


def test_the_same_run_may_present_its_token_again_and_no_other_run_at_all(
    project: Clone, approved: ApprovalRequest, issuer_keys: Any
) -> None:
    token = project.mint()["token"]
    for _ in range(3):
        presented(token, approved, issuer_keys, project.store)
    with pytest.raises(ApprovalRefused) as refused:
        presented(token, approved, issuer_keys, project.store, run_id="run-2")
    assert code_of(refused) == "approval_run_id"


@pytest.mark.parametrize("attempt", range(10))
def test_of_eight_runs_with_one_token_at_once_one_wins(project: Clone, team: Team, attempt: int) -> None:
    """A stolen token, presented under eight names at the same time: the first is the run it belongs to."""
    store = project.store
    store.issue(f"{attempt}".rjust(22, "C"), {"run_id": "run-1"})
    with ThreadPoolExecutor(8) as pool:
        owners = list(pool.map(lambda run: store.bind(f"{attempt}".rjust(22, "C"), f"run-{run}"), range(8)))
    assert len(set(owners)) == 1
    assert sum(owner == f"run-{run}" for run, owner in enumerate(owners)) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"run_id": "run-2"}, "approval_run_id"),
        ({"audience": "dbt:harbor/dev"}, "approval_aud"),
        ({"tenant": "other"}, "approval_tenant"),
        ({"presenter": "svc:thief"}, "approval_presenter"),
        ({"resource": "db.main.salaries"}, "approval_resource"),
        ({"action": "sql.truncate"}, "approval_action"),
        ({"payload_sha256": "0" * 64}, "approval_payload"),
        ({"tree": "0" * 40}, "approval_tree"),
        ({"tree": None}, "approval_tree"),
        ({"policies": frozenset(["0" * 64])}, "approval_policy"),
        ({"rules": frozenset(["x_tables", "x_other"])}, "approval_policy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_stolen_token_is_refused_outside_of_what_it_is_for(
    project: Clone, approved: ApprovalRequest, issuer_keys: Any, changes: dict[str, Any], code: str
) -> None:
    token = project.mint()["token"]
    with pytest.raises(ApprovalRefused) as refused:
        presented(token, approved, issuer_keys, project.store, **changes)
    assert code_of(refused) == code


def test_in_another_store_nobody_can_say_that_a_token_is_unused(
    project: Clone, approved: ApprovalRequest, issuer_keys: Any, tmp_path: Path
) -> None:
    token = project.mint()["token"]
    elsewhere = presented(token, approved, issuer_keys, ApprovalStore(tmp_path / "elsewhere"))
    assert "single_use" in elsewhere.unchecked
    assert "single_use" not in presented(token, approved, issuer_keys, project.store).unchecked


@pytest.mark.parametrize(
    ("shift_s", "code"),
    [(-3600, "approval_nbf"), (900, "approval_expired"), (86_400, "approval_expired")],
)
def test_a_clock_that_is_wrong_opens_nothing(
    project: Clone, approved: ApprovalRequest, issuer_keys: Any, shift_s: int, code: str
) -> None:
    token = project.mint()["token"]
    with pytest.raises(ApprovalRefused) as refused:
        presented(token, approved, issuer_keys, project.store, now_s=json.loads(_claims(token))["iat"] + shift_s)
    assert code_of(refused) == code


def test_a_clock_that_was_set_back_frees_no_token_that_was_used(
    project: Clone, approved: ApprovalRequest, issuer_keys: Any
) -> None:
    token = project.mint()["token"]
    store = project.store
    store.bind(json.loads(_claims(token))["jti"], "run-9")
    for shift_s in (0, 100, 50, 10):
        with pytest.raises(ApprovalRefused) as refused:
            presented(token, approved, issuer_keys, store, now_s=json.loads(_claims(token))["iat"] + shift_s)
        assert code_of(refused) == "approval_used"


@pytest.mark.parametrize("what", ["token", "request", "certificate"])
def test_what_is_withdrawn_does_not_count_any_more(
    project: Clone, approved: ApprovalRequest, issuer_keys: Any, what: str
) -> None:
    minted = project.mint()
    certificate = next(iter(project.store.certificates()))
    name = {"token": minted["jti"], "request": approved.sha256, "certificate": certificate}[what]
    project.run("ana", "approval", "revoke", name, "--reason", "lost")
    with pytest.raises(ApprovalRefused) as refused:
        presented(minted["token"], approved, issuer_keys, project.store)
    assert code_of(refused) == "approval_revoked"
    said = project.run("runner", "approval", "verify", "-", given=minted["token"], expect=1)
    assert said.error == "approval_revoked"
    if what != "token":
        assert project.refused("runner", "approval", "mint", "--target", "prod") in (
            "request_unknown",
            "approval_quorum",
        )


def test_the_list_says_what_became_of_each_token(project: Clone, approved: ApprovalRequest, issuer_keys: Any) -> None:
    assert "No token was minted" in project.run("ana", "approval", "list").out
    used, unused, revoked = (project.mint() for _ in range(3))
    presented(used["token"], approved, issuer_keys, project.store)
    project.run("ana", "approval", "revoke", revoked["jti"], "--reason", "lost")
    listed = {row["jti"]: row["state"] for row in project.run("ana", "approval", "list", "--json").json["tokens"]}
    assert listed == {used["jti"]: "used", unused["jti"]: "unused", revoked["jti"]: "revoked"}
    assert len(project.run("ana", "approval", "list").out.splitlines()) == 3


def test_an_hourly_job_runs_a_day_on_one_standing_approval(
    project: Clone, issuer_keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clyra.cli import _approval_minting, _approval_signing

    start_us = _approval_signing.clock_us()
    asked = project.request()
    standing = project.approve("ben", asked, "--standing", "24h")["request_sha256"]
    request = project.store.request(standing)
    for hour in range(24):
        monkeypatch.setattr(_approval_minting, "clock_us", lambda hour=hour: start_us + hour * HOUR_US)
        minted = project.mint("--run-id", f"hourly-{hour}")
        assert minted["request_sha256"] == standing
        presented(minted["token"], request, issuer_keys, project.store, run_id=f"hourly-{hour}")
    monkeypatch.setattr(_approval_minting, "clock_us", lambda: start_us + 25 * HOUR_US)
    assert project.refused("runner", "approval", "mint", "--target", "prod", "--run-id", "late") == "approval_expired"
    assert len(list(project.store.issued())) == 24


def test_three_hundred_runs_are_minted_on_one_standing_approval(project: Clone, issuer_keys: Any) -> None:
    asked = project.request()
    request = project.store.request(project.approve("ben", asked, "--standing", "8h")["request_sha256"])
    seen = set()
    for number in range(300):
        minted = project.mint("--run-id", f"model-{number}")
        checked = presented(minted["token"], request, issuer_keys, project.store, run_id=f"model-{number}")
        seen.add(checked.jti)
    assert len(seen) == 300
    assert len(project.store.certificates()) == 1
    assert {record["run_id"] for record in project.store.issued()} == {f"model-{number}" for number in range(300)}


def test_minting_needs_a_key_that_the_trust_file_knows_as_issuer(
    project: Clone, approved: ApprovalRequest, team: Team
) -> None:
    assert project.refused("ben", "approval", "mint", "--target", "prod") == "key_unavailable"
    team.write_trust({"ben": {}})
    assert project.refused("runner", "approval", "mint", "--target", "prod") == "approval_kid"
    team.write_trust({"ben": {}, "runner": {"revoked_at": "2021-01-01T00:00:00.000000Z"}})
    assert project.refused("runner", "approval", "mint", "--target", "prod") == "approval_key_period"


def test_an_approver_whom_the_trust_file_forgets_carries_nothing(
    project: Clone, approved: ApprovalRequest, team: Team
) -> None:
    team.write_trust({"cem": {}, "runner": {}})
    said = project.run("runner", "approval", "mint", "--target", "prod", expect=1)
    assert said.error == "approval_quorum"
    assert "no key of" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "config_invalid"),
        (("--target", "dev"), "request_unknown"),
        (("--request", "ffffffff"), "request_unknown"),
        (("--target", "prod", "--ttl", "1h"), "approval_lifetime"),
        (("--target", "prod", "--ttl", "1.5s"), "config_invalid"),
        (("--target", "prod", "--run-id", "run-2"), "approval_run_id"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_minted_says_why(
    project: Clone, approved: ApprovalRequest, words: tuple[str, ...], code: str
) -> None:
    assert project.refused("runner", "approval", "mint", *words) == code
    assert list(project.store.issued()) == []


def test_a_newer_request_that_nobody_may_rely_on_is_not_in_the_way(project: Clone, approved: ApprovalRequest) -> None:
    """Certificates in the folder are anybody's to write; those that no approver signed are passed over."""
    from dataclasses import replace

    from clyra.approval.certificate import certificate_for, sign_certificate
    from clyra.evidence import instant
    from clyra.evidence.signer import ephemeral_signer

    thief, now_us = ephemeral_signer(), time.time_ns() // 1000
    later = replace(approved, created_at=instant(now_us))
    project.store.replace_request(replace(approved, run_id="run-0"), later.to_bytes())
    body = certificate_for(
        later, principal=f"key:{thief.keyid}", role="approver", approved_at=instant(now_us), kind="approval"
    )
    project.store.add_certificate(sign_certificate(body, [thief]))
    assert project.mint()["request_sha256"] == approved.sha256


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "x" * 9000, "ey.\u00e9.x"])
def test_what_is_no_token_is_refused(project: Clone, text: str) -> None:
    said = project.run("runner", "approval", "verify", "-", given=text, expect=1)
    assert said.error in ("approval_parts", "approval_encoding", "approval_size")


def test_a_token_file_that_is_not_there_is_told(project: Clone) -> None:
    assert "cannot be read" in project.run("runner", "approval", "verify", "no-such-file", expect=69).err


def test_revoking_nothing_is_told(project: Clone) -> None:
    assert project.refused("ana", "approval", "revoke", "ffff", "--reason", "x") == "request_unknown"
