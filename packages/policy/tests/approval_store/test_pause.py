# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.keys import KeyRow
from clyra.approval.request import ApprovalRequest
from clyra.approval.store import ApprovalStore
from clyra.approval.token import CheckedToken
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.policy.checkpoint import End, Now, PausedRun, read_end, read_paused, status_of
from clyra.policy.pause import check_resume, deny_checkpoint, load_checkpoint, open_checkpoint, resume_token
from clyra.spec import ClyraError, FormatError

if TYPE_CHECKING:
    from packages.policy.tests.approval_store.conftest import Killing
    from packages.policy.tests.approval_store.conftest import Samples as SamplesClass

    Samples = type[SamplesClass]

ID = "01920000-0000-7000-8000-00000000000a"
NOW_S = 1_793_520_600
PERSON = f"key:{'1' * 64}"


class Desk:
    """A store with one request, an issuer, and a run that pauses and comes back."""

    def __init__(self, root: Path, request: ApprovalRequest, issuer: Signer) -> None:
        self.store = ApprovalStore(root)
        self.request = request
        self.issuer = issuer
        if not (root / "requests").exists():
            self.store.add_request(request.to_bytes())

    @property
    def keys(self) -> Mapping[str, KeyRow]:
        row = KeyRow(
            kid=self.issuer.keyid,
            alg="EdDSA",
            public_key=self.issuer.public_key,
            iss="clyra",
            valid_from="2020-01-01T00:00:00.000000Z",
        )
        return {row.kid: row}

    @property
    def now(self) -> Now:
        return Now(
            run_id="run-1",
            payload_sha256=self.request.payload_sha256,
            tree=self.request.tree,
            policy_sha256=self.request.policy_sha256,
            now_s=NOW_S + 60,
        )

    def pause(self, **changes: Any) -> tuple[PausedRun, str]:
        members: dict[str, Any] = {
            "checkpoint_id": ID,
            "checkpoint": "x_pause",
            "at": "before_run",
            "run_id": "run-1",
            "approvals": 1,
            "roles": (),
            "ttl_s": 3600,
            "now_s": NOW_S,
            "random": bytes(16),
            "issuer": self.issuer,
        }
        return open_checkpoint(self.store, self.request, **(members | changes))

    def approval(self, *people: str, role: str = "approver", request_sha256: str | None = None) -> CheckedToken:
        """An approval token as a gate has accepted it."""
        claims = {
            "approvals": [{"sub": person, "role": role} for person in people],
            "request_sha256": request_sha256 or self.request.sha256,
        }
        return CheckedToken(claims, self.issuer.keyid, "0" * 16, ())

    def resume(
        self, token: str, *, now: Now | None = None, approval: CheckedToken | None = None, **more: Any
    ) -> PausedRun:
        expected: dict[str, Any] = {"audience": self.request.audience, "tenant": "default", "roles": {}}
        return check_resume(
            self.store,
            token,
            keys=self.keys,
            now=now or self.now,
            approval=approval or self.approval(PERSON),
            **(expected | more),
        )


@pytest.fixture
def desk(tmp_path: Path, samples: Samples) -> Desk:
    return Desk(tmp_path / "approvals", samples.request(), ephemeral_signer())


def code_of(refused: pytest.ExceptionInfo[ClyraError]) -> str:
    return refused.value.code


def test_a_run_pauses_is_approved_and_goes_on(desk: Desk) -> None:
    paused, token = desk.pause()
    assert load_checkpoint(desk.store, ID[:6]) == (paused, None)
    assert desk.resume(token) == paused
    _, end = load_checkpoint(desk.store, ID)
    assert end is not None
    assert (end.kind, end.run_id) == ("resumed", "run-1")


def test_the_state_is_saved_before_the_token_is_seen(desk: Desk) -> None:
    paused, token = desk.pause()
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["state_sha256"] == paused.state_sha256
    assert read_paused((desk.store.root / "checkpoints" / f"{ID}.json").read_bytes()) == paused


def test_a_token_that_was_lost_is_made_again_with_the_same_claims(desk: Desk) -> None:
    paused, token = desk.pause()
    assert resume_token(paused, desk.issuer) == token


def test_a_pause_is_resumed_once(desk: Desk) -> None:
    _, token = desk.pause()
    desk.resume(token)
    with pytest.raises(ClyraError) as refused:
        desk.resume(token)
    assert code_of(refused) == "approval_used"


@pytest.mark.parametrize("attempt", range(10))
def test_of_eight_that_resume_at_once_one_goes_on(desk: Desk, attempt: int) -> None:
    _, token = desk.pause(random=bytes([attempt] * 16))

    def go_on(_: int) -> str:
        try:
            return desk.resume(token).id
        except ClyraError as exc:
            return exc.code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(go_on, range(8))) == [ID] + ["approval_used"] * 7


@pytest.mark.parametrize(
    "change", [{"tree": "e" * 40}, {"tree": None}, {"policy_sha256": "e" * 64}, {"payload_sha256": "e" * 64}], ids=str
)
def test_nothing_goes_on_that_has_changed(desk: Desk, change: dict[str, Any]) -> None:
    _, token = desk.pause()
    with pytest.raises(ClyraError) as refused:
        desk.resume(token, now=replace(desk.now, **change))
    assert code_of(refused) == "checkpoint_state"
    assert load_checkpoint(desk.store, ID)[1] is None, "the run may still come back as it was"


def test_another_run_does_not_go_on(desk: Desk) -> None:
    _, token = desk.pause()
    with pytest.raises(ClyraError) as refused:
        desk.resume(token, now=replace(desk.now, run_id="run-2"))
    assert code_of(refused) == "approval_run_id"


def test_elsewhere_it_does_not_go_on(desk: Desk) -> None:
    _, token = desk.pause()
    with pytest.raises(ClyraError) as refused:
        desk.resume(token, audience="dbt:other/prod")
    assert code_of(refused) == "approval_aud"
    with pytest.raises(ClyraError) as refused:
        desk.resume(token, tenant="other")
    assert code_of(refused) == "approval_tenant"


def test_after_its_time_it_does_not_go_on(desk: Desk) -> None:
    paused, token = desk.pause()
    late = replace(desk.now, now_s=NOW_S + 3600)
    with pytest.raises(ClyraError) as refused:
        desk.resume(token, now=late)
    assert code_of(refused) == "approval_expired"
    assert status_of(paused, None, now_s=late.now_s) == "expired"
    with pytest.raises(ClyraError) as refused:
        deny_checkpoint(desk.store, ID, reason="too late", now_s=late.now_s)
    assert code_of(refused) == "checkpoint_expired"


def test_no_pause_is_longer_than_a_week(desk: Desk) -> None:
    paused, _ = desk.pause(ttl_s=30 * 86_400)
    assert paused.expires_at == "2026-11-08T08:10:00.000000Z"


def test_what_was_denied_does_not_go_on(desk: Desk) -> None:
    _, token = desk.pause()
    deny_checkpoint(desk.store, ID, reason="not on a Friday", now_s=NOW_S + 5)
    assert desk.request.sha256 in desk.store.revoked()
    with pytest.raises(ClyraError) as refused:
        desk.resume(token)
    assert code_of(refused) == "approval_revoked"
    (desk.store.root / "revoked" / f"{desk.request.sha256}.json").unlink()
    with pytest.raises(ClyraError) as refused:
        desk.resume(token)
    assert code_of(refused) == "checkpoint_denied"
    assert "not on a Friday" in refused.value.message


def test_what_went_on_is_not_denied(desk: Desk) -> None:
    _, token = desk.pause()
    desk.resume(token)
    with pytest.raises(ClyraError) as refused:
        deny_checkpoint(desk.store, ID, reason="too late", now_s=NOW_S + 70)
    assert code_of(refused) == "approval_used"
    assert desk.store.revoked() == frozenset()


def test_an_approval_of_another_request_does_not_let_it_go_on(desk: Desk) -> None:
    _, token = desk.pause()
    with pytest.raises(ClyraError) as refused:
        desk.resume(token, approval=desk.approval(PERSON, request_sha256="e" * 64))
    assert code_of(refused) == "approval_payload"


def test_too_few_approvals_do_not_let_it_go_on(desk: Desk) -> None:
    _, token = desk.pause(approvals=2)
    with pytest.raises(ClyraError) as refused:
        desk.resume(token)
    assert code_of(refused) == "checkpoint_pending"
    assert desk.resume(token, approval=desk.approval(PERSON, f"key:{'2' * 64}"))


def test_people_of_other_roles_do_not_let_it_go_on(desk: Desk) -> None:
    _, token = desk.pause(roles=("data_owner", "cfo"))
    with pytest.raises(ClyraError) as refused:
        desk.resume(token)
    assert code_of(refused) == "checkpoint_pending"
    assert "cfo or data_owner" in refused.value.message
    assert desk.resume(token, roles={"cfo": [PERSON]})


def test_a_token_of_another_issuer_does_not_let_it_go_on(desk: Desk) -> None:
    paused, _ = desk.pause()
    with pytest.raises(ClyraError) as refused:
        desk.resume(resume_token(paused, ephemeral_signer()))
    assert code_of(refused) == "approval_kid"


def test_a_state_that_was_edited_does_not_go_on(desk: Desk) -> None:
    paused, token = desk.pause(approvals=2)
    desk.store.save_checkpoint(ID, replace(paused, approvals=1).to_bytes())
    with pytest.raises(FormatError) as refused:
        desk.resume(token)
    assert code_of(refused) == "checkpoint_state"


def test_a_pause_that_is_not_here_does_not_go_on(desk: Desk, tmp_path: Path) -> None:
    _, token = desk.pause()
    elsewhere = Desk(tmp_path / "other", desk.request, desk.issuer)
    with pytest.raises(ClyraError) as refused:
        elsewhere.resume(token)
    assert code_of(refused) == "checkpoint_unknown"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"spec":"clyra.checkpoint/v1"}', b"[" * 5000])
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as refused:
        read_paused(data)
    assert code_of(refused) == "checkpoint_state"


def test_a_state_with_other_spelling_is_refused(desk: Desk) -> None:
    paused, _ = desk.pause()
    with pytest.raises(FormatError):
        read_paused(paused.to_bytes() + b"\n")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"kind":"resumed"}', b'{"other":1}'])
def test_what_is_no_end_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_end(data)


def test_an_end_comes_back_as_it_was() -> None:
    end = End(kind="denied", at="2026-11-01T08:00:00.000000Z", reason="no")
    assert read_end(end.to_bytes()) == end


def test_whoever_is_killed_while_pausing_leaves_a_pause_that_can_be_resumed_or_none(
    tmp_path: Path, samples: Samples, killing: Killing
) -> None:
    request, issuer = samples.request(), ephemeral_signer()
    left = set()
    for root in killing(lambda root: Desk(root, request, issuer).pause(), tmp_path):
        store = ApprovalStore(root)
        left.add(len(store.checkpoints()))
        for name in store.checkpoints():
            paused, _ = load_checkpoint(store, name)
            assert store.request(paused.request_sha256) == request
            assert Desk(root, request, issuer).resume(resume_token(paused, issuer)) == paused
    assert left == {0, 1}


def test_whoever_is_killed_while_going_on_has_gone_on_or_not(
    tmp_path: Path, samples: Samples, killing: Killing
) -> None:
    request, issuer = samples.request(), ephemeral_signer()

    def work(root: Path) -> None:
        desk = Desk(root, request, issuer)
        _, token = desk.pause()
        desk.resume(token)

    ends = set()
    for root in killing(work, tmp_path):
        store = ApprovalStore(root)
        for name in store.checkpoints():
            paused, end = load_checkpoint(store, name)
            ends.add(None if end is None else end.kind)
            if end is None:
                Desk(root, request, issuer).resume(resume_token(paused, issuer))
    assert ends == {None, "resumed"}
