# SPDX-License-Identifier: Apache-2.0
"""Resume tokens: one run, one state, once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.errors import ApprovalRefused
from clyra.approval.resume import MAX_RESUME_S, CheckedResume, ResumeExpectation, check_resume, mint_resume

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World

PAUSED = ResumeExpectation(
    audience="dbt:jaffle_shop/prod",
    tenant="acme",
    run_id="run-1",
    checkpoint="before_publish",
    state_sha256="a" * 64,
    request_sha256="b" * 64,
)


def minted(world: World, **changes: Any) -> str:
    arguments: dict[str, Any] = {"expected": PAUSED, "now_s": world.NOW_S, "ttl_s": 86_400, "random": bytes(16)}
    return mint_resume(issuer=world.issuer, **(arguments | changes)).token


def check(world: World, token: str, *, now_s: int | None = None, **changes: Any) -> CheckedResume:
    used_by = changes.pop("used_by", None)
    revoked = changes.pop("revoked", frozenset())
    expected, moment = replace(PAUSED, **changes), world.NOW_S if now_s is None else now_s
    return check_resume(
        token, keys=world.issuer_keys, expected=expected, now_s=moment, revoked=revoked, used_by=used_by
    )


def refused(code: str, world: World, token: str, **changes: Any) -> None:
    with pytest.raises(ApprovalRefused) as caught:
        check(world, token, **changes)
    assert caught.value.code == f"approval_{code}"


def test_a_paused_run_goes_on_with_its_token(world: World) -> None:
    resumed = check(world, minted(world))
    assert (resumed.checkpoint, resumed.state_sha256, resumed.request_sha256) == ("before_publish", "a" * 64, "b" * 64)
    assert len(resumed.jti) == 22
    assert len(resumed.token_id) == 16


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("run_id", {"run_id": "run-2"}),
        ("aud", {"audience": "dbt:jaffle_shop/dev"}),
        ("tenant", {"tenant": "other"}),
        ("payload", {"state_sha256": "c" * 64}),
        ("payload", {"request_sha256": "c" * 64}),
        ("resource", {"checkpoint": "after_publish"}),
        ("expired", {"now_s": 1_769_850_000 + 86_400}),
        ("nbf", {"now_s": 1_769_850_000 - 31}),
        ("revoked", {"revoked": frozenset(("b" * 64,))}),
        ("revoked", {"revoked": frozenset(("A" * 22,))}),
        ("used", {"used_by": {"A" * 22: "run-1"}.get}),
        ("used", {"used_by": {"A" * 22: "run-2"}.get}),
    ],
)
def test_a_resume_token_is_for_one_run_one_state_and_one_time(world: World, code: str, changes: dict[str, Any]) -> None:
    refused(code, world, minted(world), **changes)


def test_neither_kind_of_token_passes_for_the_other(world: World) -> None:
    request = world.request()
    approval = world.mint(request, [world.approve(request)]).token
    refused("header", world, approval)
    with pytest.raises(ApprovalRefused) as caught:
        world.check(minted(world))
    assert caught.value.code == "approval_header"


def test_a_caller_may_compare_the_state_itself(world: World) -> None:
    token = minted(world)
    assert check(world, token, state_sha256=None, request_sha256=None, checkpoint=None).state_sha256 == "a" * 64


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_RESUME_S + 1])
def test_a_resume_token_lives_seven_days_at_most(world: World, ttl_s: int) -> None:
    with pytest.raises(ApprovalRefused) as caught:
        minted(world, ttl_s=ttl_s)
    assert caught.value.code == "approval_lifetime"
    assert check(world, minted(world, ttl_s=MAX_RESUME_S), now_s=world.NOW_S + MAX_RESUME_S - 1).jti


def test_a_resume_token_names_everything_that_it_resumes(world: World) -> None:
    everything: list[dict[str, Any]] = [{"checkpoint": None}, {"state_sha256": None}, {"request_sha256": None}]
    for missing in everything:
        with pytest.raises(ValueError, match="needs 16 random bytes"):
            minted(world, expected=replace(PAUSED, **missing))
    with pytest.raises(ValueError, match="needs 16 random bytes"):
        minted(world, random=b"")
