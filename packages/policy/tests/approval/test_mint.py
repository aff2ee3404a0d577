# SPDX-License-Identifier: Apache-2.0
"""A runner mints without a person; whatever changed in between is found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.errors import ApprovalRefused
from clyra.approval.jws import encode_part
from clyra.approval.keys import instant_of
from clyra.approval.proof import check_proof, seconds_of
from clyra.approval.request import ApprovalRequest
from clyra.approval.token import CheckedToken
from clyra.spec import PolicyError, VerificationError

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World

STANDING = "enforcement:\n  approvals:\n    standing: {valid_for: 26h, targets: [prod]}\n"
ROLES = """\
enforcement:
  approvals:
    roles:
      sre: ["oidc:https://sso.acme.example:ben"]
      dba: ["oidc:https://sso.acme.example:carol"]
compliance:
  break_glass: {roles: [sre], review_within: 4h}
"""


def refused(code: str, minting: Any, *arguments: Any, **changes: Any) -> str:
    with pytest.raises(ApprovalRefused) as caught:
        minting(*arguments, **changes)
    assert caught.value.code == f"approval_{code}"
    return caught.value.message


def test_an_hourly_job_runs_for_a_day_on_one_certificate_with_no_person(world: World) -> None:
    world.govern(STANDING)
    request = world.standing(hours=25)
    certificate = world.approve(request)
    used: dict[str, str] = {}
    for hour in range(24):
        now_s, run_id = world.NOW_S + hour * 3600, f"hourly-{hour}"
        minted = world.mint(request, [certificate], run_id=run_id, now_s=now_s, random=hour.to_bytes(16))
        token = world.check(minted.token, now_s=now_s + 5, run_id=run_id, used_by=used.get)
        proved = check_proof(token, request, [certificate], policy=world.policy, now_s=now_s + 5)
        assert proved.unchecked == ("commit",)
        used[token.jti] = run_id
        # A retry of the same run presents the same token; a new run gets one of its own.
        assert world.check(minted.token, now_s=now_s + 600, run_id=run_id, used_by=used.get).jti == token.jti
        refused("run_id", world.check, minted.token, now_s=now_s + 5, run_id=f"hourly-{hour + 1}", used_by=used.get)
    assert len(used) == 24


def test_three_hundred_tokens_come_from_one_standing_certificate(world: World) -> None:
    world.govern(STANDING)
    request = world.standing()
    certificate = world.approve(request)
    minted = [
        world.mint(request, [certificate], run_id=f"model-{n}", random=n.to_bytes(16), now_s=world.NOW_S + n)
        for n in range(300)
    ]
    assert len({one.jti for one in minted}) == 300
    for number, one in enumerate(minted):
        token = world.check(one.token, now_s=world.NOW_S + number + 1, run_id=f"model-{number}")
        assert token.cert_sha256 == (certificate.sha256,)


def test_a_standing_approval_ends_and_so_does_its_last_token(world: World) -> None:
    world.govern(STANDING)
    request = world.standing(hours=1)
    certificate = world.approve(request)
    end_s = world.NOW_S + 3600
    last = world.mint(request, [certificate], now_s=end_s - 60)
    assert last.claims["exp"] == end_s
    refused("expired", world.check, last.token, now_s=end_s)
    refused("expired", world.mint, request, [certificate], now_s=end_s)
    refused("expired", world.mint, request, [certificate], now_s=end_s + 1)


def test_a_standing_approval_needs_a_policy_that_allows_it(world: World) -> None:
    request = world.standing()
    refused("policy", world.mint, request, [world.approve(request)])


def test_a_standing_approval_is_for_the_targets_of_the_policy(world: World) -> None:
    world.govern(STANDING)
    request = world.standing(target="staging")
    assert "staging" in refused("policy", world.mint, request, [world.approve(request)])


def test_a_standing_approval_does_not_last_longer_than_the_policy_allows(world: World) -> None:
    world.govern(STANDING)
    request = world.standing(hours=26)
    refused("lifetime", world.mint, request, [world.approve(request, at_s=world.NOW_S - 1)])
    assert world.mint(request, [world.approve(request, at_s=world.NOW_S)]).claims["run_id"] == "run-1"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("run_id", {"run_id": "run-2"}),
        ("aud", {"audience": "dbt:jaffle_shop/staging"}),
        ("presenter", {"presenter": "svc:nightly"}),
        ("tenant", {"tenant": "other"}),
        ("expired", {"now_s": 1_769_850_000 + 900}),
        ("nbf", {"now_s": 1_769_850_000 - 31}),
        ("resource", {"resource": "analytics.orders"}),
        ("action", {"action": "sql.ddl"}),
        ("payload", {"payload_sha256": "0" * 64}),
        ("tree", {"tree": "8e" * 20}),
        ("tree", {"tree": None}),
        ("policy", {"policies": frozenset(("0" * 64,))}),
        ("policy", {"rules": frozenset(("x_other",))}),
        ("quorum", {"quorum": 2}),
    ],
)
def test_a_token_is_good_for_its_run_target_role_and_time_alone(
    world: World, code: str, change: dict[str, Any]
) -> None:
    request = world.request()
    token = world.mint(request, [world.approve(request)]).token
    assert world.check(token).run_id == "run-1"
    refused(code, world.check, token, **change)


def test_a_token_is_refused_once_another_run_has_used_it(world: World) -> None:
    request = world.request()
    minted = world.mint(request, [world.approve(request)])
    refused("used", world.check, minted.token, used_by={minted.jti: "run-0"}.get)
    assert world.check(minted.token, used_by={minted.jti: "run-1"}.get).unchecked == ("certificates", "commit")


def test_a_changed_policy_stops_minting(world: World) -> None:
    request = world.request()
    certificate = world.approve(request)
    world.govern("enforcement: {approvals: {quorum: 2}}\n")
    refused("policy", world.mint, request, [certificate])


@pytest.mark.parametrize("tree", ["8e" * 20, None, ""])
def test_a_changed_dirty_or_unknown_tree_stops_minting(world: World, tree: str | None) -> None:
    request = world.request()
    refused("tree", world.mint, request, [world.approve(request)], tree=tree)


def test_a_request_without_a_tree_mints_only_where_trees_are_not_bound(world: World) -> None:
    request = world.request(tree=None)
    refused("tree", world.mint, request, [world.approve(request)], tree=None)
    world.govern("enforcement: {approvals: {tree_binding: false}}\n")
    request = world.request(tree=None)
    minted = world.mint(request, [world.approve(request)], tree=None)
    assert "tree" not in minted.claims
    assert "tree" in world.check(minted.token, tree=None, tree_binding=False).unchecked


def test_a_withdrawn_request_or_certificate_stops_minting_and_the_tokens_minted_before(world: World) -> None:
    request = world.request()
    certificate = world.approve(request)
    minted = world.mint(request, [certificate])
    for withdrawn in (request.sha256, certificate.sha256):
        refused("revoked", world.mint, request, [certificate], revoked=frozenset((withdrawn,)))
        refused("revoked", world.check, minted.token, revoked=frozenset((withdrawn,)))
    refused("revoked", world.check, minted.token, revoked=frozenset((minted.jti,)))


def test_a_revoked_key_approves_nothing_any_more(world: World) -> None:
    request = world.request()
    world.approve(request)
    world.revoked_people = frozenset((world.BEN,))
    with pytest.raises(VerificationError, match="revoked"):
        world.approve(request)


def test_nothing_is_minted_without_a_certificate(world: World) -> None:
    refused("quorum", world.mint, world.request(), [])


def test_a_certificate_of_another_request_carries_nothing(world: World) -> None:
    other = world.request(payload_sha256="0" * 64)
    refused("unproven", world.mint, world.request(), [world.approve(other)])


def test_a_certificate_from_the_future_carries_nothing(world: World) -> None:
    request = world.request()
    assert world.mint(request, [world.approve(request, at_s=world.NOW_S + 30)]).jti
    refused("unproven", world.mint, request, [world.approve(request, at_s=world.NOW_S + 31)])


def test_an_approval_of_one_run_mints_for_no_other(world: World) -> None:
    request = world.request()
    refused("run_id", world.mint, request, [world.approve(request)], run_id="run-2")


@pytest.mark.parametrize("ttl_s", [0, -1, 901, 86_400])
def test_a_token_lives_no_longer_than_the_policy_allows(world: World, ttl_s: int) -> None:
    request = world.request()
    refused("lifetime", world.mint, request, [world.approve(request)], ttl_s=ttl_s)


def test_no_policy_lets_a_token_live_longer_than_a_day(world: World) -> None:
    world.govern("enforcement: {approvals: {max_ttl: 24h}}\n")
    request = world.request()
    minted = world.mint(request, [world.approve(request)])
    assert minted.claims["exp"] - minted.claims["iat"] == 86_400
    assert world.check(minted.token, max_ttl_s=86_400).jti == minted.jti


def test_one_person_with_two_certificates_is_one_person(world: World) -> None:
    request = world.request(quorum=2)
    twice = [world.approve(request), world.approve(request, at_s=world.NOW_S - 300)]
    assert twice[0].sha256 != twice[1].sha256
    refused("quorum", world.mint, request, twice)
    assert len(world.mint(request, [*twice, world.approve(request, world.CAROL)]).claims["approvals"]) == 2


def test_two_names_of_one_person_are_one_person(world: World) -> None:
    old = "git:" + "d" * 64
    identities = f"compliance: {{segregation_of_duties: {{identities: {{'{world.BEN}': ['{old}']}}}}}}\n"
    world.govern(identities)
    request = world.request(quorum=2)
    refused("quorum", world.mint, request, [world.approve(request), world.approve(request, old)])


def test_the_trust_file_may_ask_for_more_approvers(world: World) -> None:
    request = world.request()
    one = world.approve(request)
    refused("quorum", world.mint, request, [one], threshold=2)
    assert world.mint(request, [one, world.approve(request, world.CAROL)], threshold=2).claims["quorum"] == 2


@pytest.mark.parametrize("person", ["author", "deployer", "contributor", "agent"])
def test_nothing_is_minted_on_the_word_of_who_took_part_or_of_an_agent(world: World, person: str) -> None:
    request = world.request(contributors=(world.CAROL,))
    name = {"author": world.ALICE, "deployer": world.DEPLOY, "contributor": world.CAROL, "agent": "agent:a"}[person]
    refused("duties", world.mint, request, [world.approve(request, name)])
    refused("duties", world.mint, request, [world.approve(request), world.approve(request, name)])


def test_a_policy_that_allows_standing_approvals_takes_those_of_one_run_too(world: World) -> None:
    world.govern(STANDING)
    request = world.request()
    assert world.mint(request, [world.approve(request)]).claims["run_id"] == "run-1"


def test_randomness_is_sixteen_bytes(world: World) -> None:
    request = world.request()
    with pytest.raises(ValueError, match="expected 16 random bytes"):
        world.mint(request, [world.approve(request)], random=b"1")
    assert world.mint(request, [world.approve(request)], random=b"\xff" * 16).jti == encode_part(b"\xff" * 16)


def test_a_policy_that_is_not_normalized_is_refused_as_such(world: World) -> None:
    request = world.request()
    broken = replace(world.policy, document={"enforcement": {}})
    with pytest.raises(PolicyError, match="not normalized"):
        world.mint(request, [world.approve(request)], policy=broken)


def test_a_role_is_one_that_lists_the_approver(world: World) -> None:
    world.govern(ROLES)
    request = world.request()
    assert world.mint(request, [world.approve(request, role="sre")]).claims["approvals"][0]["role"] == "sre"
    refused("unproven", world.mint, request, [world.approve(request, role="dba")])
    refused("unproven", world.mint, request, [world.approve(request, role="owner")])


def test_one_person_of_a_listed_role_breaks_the_glass_alone(world: World) -> None:
    world.govern(ROLES + "environments: {}\n")
    request = world.break_glass(quorum=2, sub=world.BEN)
    certificate = world.approve(request, role="sre", kind="break_glass")
    minted = world.mint(request, [certificate])
    due = world.NOW_S + 3600
    assert minted.claims["break_glass"] == {"reason_sha256": request.break_glass.reason_sha256, "review_due": due}  # type: ignore[union-attr]
    token = world.check(minted.token, quorum=2, presenter=world.BEN)
    assert token.is_break_glass
    assert check_proof(token, request, [certificate], policy=world.policy, now_s=world.NOW_S).is_break_glass


def test_glass_is_broken_by_no_other_role_and_not_without_a_timely_review(world: World) -> None:
    world.govern(ROLES)
    request = world.break_glass()
    refused("duties", world.mint, request, [world.approve(request, world.CAROL, role="dba", kind="break_glass")])
    refused("duties", world.mint, request, [world.approve(request, kind="break_glass")])
    refused("unproven", world.mint, request, [world.approve(request, role="sre")])
    for seconds, is_late in ((0, False), (1, True)):
        due = world.break_glass(review_due=instant_of(world.NOW_S - 600 + 4 * 3600 + seconds))
        certificate = world.approve(due, role="sre", kind="break_glass")
        if is_late:
            refused("lifetime", world.mint, due, [certificate])
        else:
            assert world.mint(due, [certificate]).jti
    plain = world.request()
    refused("unproven", world.mint, plain, [world.approve(plain, role="sre", kind="break_glass")])


def proof(world: World, request: ApprovalRequest) -> CheckedToken:
    return world.check(world.mint(request, [world.approve(request)]).token)


def test_a_token_is_not_proved_by_other_certificates_than_its_own(world: World) -> None:
    request = world.request()
    token = proof(world, request)
    world.people.clear()
    other = world.approve(request)
    for certificates in ([], [other]):
        refused("unproven", check_proof, token, request, certificates, policy=world.policy, now_s=world.NOW_S)


def test_a_token_is_not_proved_by_another_request(world: World) -> None:
    request = world.request()
    certificate = world.approve(request)
    token = world.check(world.mint(request, [certificate]).token)
    other = world.request(decision="decision-2")
    refused("unproven", check_proof, token, other, [certificate], policy=world.policy, now_s=world.NOW_S)


@pytest.mark.parametrize(
    "change",
    [
        {"sub": "svc:other"},
        {"resources": ["analytics.*"]},
        {"max_rows": 10},
        {"rules": ["x_prod_writes", "x_more"]},
        {"commit": "0" * 40},
        {"approvals": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_stolen_issuer_key_is_exposed_by_the_certificates(world: World, change: dict[str, Any]) -> None:
    request = world.request()
    certificate = world.approve(request)
    token = world.check(world.mint(request, [certificate]).token)
    forged = replace(token, claims={**token.claims, **change})
    refused("unproven", check_proof, forged, request, [certificate], policy=world.policy, now_s=world.NOW_S)


def test_a_token_needs_every_certificate_that_it_names(world: World) -> None:
    request = world.request()
    both = [world.approve(request), world.approve(request, world.CAROL)]
    token = world.check(world.mint(request, both).token)
    assert check_proof(token, request, both, policy=world.policy, now_s=world.NOW_S).jti == token.jti
    for one in both:
        refused("unproven", check_proof, token, request, [one], policy=world.policy, now_s=world.NOW_S)


@pytest.mark.parametrize("change", [{"at": 0}, {"role": "owner"}, {"sub": "svc:x"}, {"method": "oidc"}], ids=str)
def test_a_token_says_of_its_certificates_what_they_say(world: World, change: dict[str, Any]) -> None:
    request = world.request()
    certificate = world.approve(request)
    token = world.check(world.mint(request, [certificate]).token)
    claims = {**token.claims, "approvals": [{**token.claims["approvals"][0], **change}]}
    forged = replace(token, claims=claims)
    refused("unproven", check_proof, forged, request, [certificate], policy=world.policy, now_s=world.NOW_S)


def test_a_token_that_outlives_its_standing_approval_is_not_proved(world: World) -> None:
    world.govern(STANDING)
    request = world.standing(hours=1)
    certificate = world.approve(request)
    token = world.check(world.mint(request, [certificate]).token)
    assert check_proof(token, request, [certificate], policy=world.policy, now_s=world.NOW_S + 3599).jti
    refused("unproven", check_proof, token, request, [certificate], policy=world.policy, now_s=world.NOW_S + 3601)


def test_a_token_that_lost_a_limit_of_its_request_is_not_proved(world: World) -> None:
    request = world.request(max_rows=1000)
    certificate = world.approve(request)
    token = world.check(world.mint(request, [certificate]).token)
    claims = {name: value for name, value in token.claims.items() if name != "max_rows"}
    forged = replace(token, claims=claims)
    refused("unproven", check_proof, forged, request, [certificate], policy=world.policy, now_s=world.NOW_S)


def test_a_withdrawn_certificate_unproves_a_token_with_its_own_code(world: World) -> None:
    request = world.request()
    certificate = world.approve(request)
    token = world.check(world.mint(request, [certificate]).token)
    gone = frozenset((certificate.sha256,))
    refused("revoked", check_proof, token, request, [certificate], policy=world.policy, now_s=world.NOW_S, revoked=gone)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("1970-01-01T00:00:00.000000Z", 0),
        ("2026-01-31T09:00:00.000000Z", 1_769_850_000),
        ("2026-01-31T09:00:00.999999Z", 1_769_850_000),
        ("2028-02-29T23:59:59.500000Z", 1_835_481_599),
    ],
)
def test_instants_become_whole_seconds_rounded_down(moment: str, seconds: int) -> None:
    assert seconds_of(moment) == seconds
