# SPDX-License-Identifier: Apache-2.0
"""Who may approve, and how many must."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.duties import check_duties, required_quorum
from clyra.approval.errors import ApprovalRefused
from clyra.approval.terms import ApprovalTerms, approval_terms

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World

OLD_NAME = "git:" + "d" * 64
SEPARATE = """\
compliance:
  segregation_of_duties:
    enabled: true
    approver: [leads, "oidc:https://sso.acme.example:carol"]
    deployer: ["svc:deploy"]
    identities: {"oidc:https://sso.acme.example:ben": ["git:DDDD"]}
enforcement:
  approvals:
    roles: {leads: ["oidc:https://sso.acme.example:ben"]}
""".replace("DDDD", "d" * 64)


def terms(world: World) -> ApprovalTerms:
    return approval_terms(world.policy.document)


def refused(world: World, approver: str, **request: Any) -> None:
    with pytest.raises(ApprovalRefused) as caught:
        check_duties(world.request(**request), [world.CAROL, approver], terms=terms(world))
    assert caught.value.code == "approval_duties"


def test_somebody_who_had_no_part_in_it_may_approve(world: World) -> None:
    check_duties(world.request(), [world.BEN, world.CAROL], terms=terms(world))


def test_the_author_approves_nothing_of_their_own(world: World) -> None:
    refused(world, world.ALICE)


def test_the_deployer_approves_nothing_that_they_deploy(world: World) -> None:
    refused(world, world.DEPLOY)


def test_no_contributor_approves_committers_co_authors_and_editors_of_a_rule_alike(world: World) -> None:
    refused(world, world.BEN, contributors=(world.ALICE, world.BEN))


def test_an_agent_approves_nothing_not_even_in_an_emergency(world: World) -> None:
    refused(world, "agent:reviewer")
    with pytest.raises(ApprovalRefused):
        check_duties(world.break_glass(), ["agent:oncall"], terms=terms(world))


def test_another_name_of_an_agent_is_that_agent(world: World) -> None:
    world.govern(f"compliance: {{segregation_of_duties: {{identities: {{'agent:bot': ['{OLD_NAME}']}}}}}}\n")
    refused(world, OLD_NAME)


def test_a_second_name_of_a_contributor_is_that_contributor(world: World) -> None:
    world.govern(SEPARATE)
    refused(world, world.BEN, contributors=(OLD_NAME,))


def test_who_breaks_the_glass_may_be_who_wrote_and_deploys_it(world: World) -> None:
    world.govern(SEPARATE)
    for person in (world.ALICE, world.DEPLOY):
        check_duties(world.break_glass(), [person], terms=terms(world))


def test_where_duties_are_enabled_only_listed_people_approve(world: World) -> None:
    world.govern(SEPARATE)
    check_duties(world.request(), [world.BEN, world.CAROL], terms=terms(world))
    refused(world, "oidc:https://sso.acme.example:dora")


def test_where_duties_are_not_enabled_a_person_may_deploy_what_they_wrote_and_others_approve(world: World) -> None:
    request = world.request(author=world.DEPLOY, contributors=("git:" + "e" * 64,), sub=world.DEPLOY)
    check_duties(request, [world.BEN], terms=terms(world))


def test_an_emergency_waits_for_no_separation_of_author_and_deployer(world: World) -> None:
    world.govern(SEPARATE)
    request = world.break_glass(author="svc:laptop", sub="svc:laptop", contributors=("git:" + "e" * 64,))
    check_duties(request, [world.BEN], terms=terms(world))


def test_where_duties_are_enabled_author_and_deployer_are_two(world: World) -> None:
    world.govern(SEPARATE)
    refused(world, world.BEN, author="svc:deploy")


def test_where_duties_are_enabled_only_a_listed_deployer_deploys(world: World) -> None:
    world.govern(SEPARATE)
    refused(world, world.BEN, sub="svc:laptop")


def test_where_duties_are_enabled_nobody_unknown_took_part(world: World) -> None:
    world.govern(SEPARATE)
    refused(world, world.BEN, contributors=("git:" + "e" * 64,))
    refused(world, world.BEN, author="git:" + "e" * 64)


@pytest.mark.parametrize(
    ("policy", "request_changes", "threshold", "needed"),
    [
        ("", {}, 1, 1),
        ("enforcement: {approvals: {quorum: 3}}\n", {}, 1, 3),
        ("", {"quorum": 4}, 1, 4),
        ("", {}, 2, 2),
        ("", {"author_basis": "claimed"}, 1, 1),
        ("compliance: {segregation_of_duties: {enabled: true}}\n", {"author_basis": "signed"}, 1, 1),
        ("compliance: {segregation_of_duties: {enabled: true}}\n", {"author_basis": "forge"}, 1, 1),
        ("compliance: {segregation_of_duties: {enabled: true}}\n", {"author_basis": "claimed"}, 1, 2),
        ("compliance: {segregation_of_duties: {enabled: true}}\n", {"author_basis": "claimed", "quorum": 3}, 1, 3),
    ],
)
def test_as_many_approve_as_the_strictest_of_all_asks_for(
    world: World, policy: str, request_changes: dict[str, Any], threshold: int, needed: int
) -> None:
    world.govern(policy)
    assert required_quorum(world.request(**request_changes), terms(world), threshold=threshold) == needed


def test_a_break_glass_needs_one(world: World) -> None:
    world.govern("enforcement: {approvals: {quorum: 3}}\n")
    assert required_quorum(world.break_glass(quorum=2), terms(world), threshold=2) == 1


def test_the_role_of_a_person_is_the_first_that_lists_them(world: World) -> None:
    world.govern(SEPARATE.replace("roles: {", f"roles: {{dba: ['{world.CAROL}', '{world.BEN}'], "))
    assert terms(world).role_of(world.BEN) == "dba"
    assert terms(world).role_of(world.ALICE) == "approver"
    assert terms(world).role_of(world.BEN, break_glass=True) == "approver"
