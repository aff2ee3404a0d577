# SPDX-License-Identifier: Apache-2.0
"""Who may approve: enough different people of the right roles, and nobody what is their own work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clyra.verify.certificate import unproven
from clyra.verify.policy import Policy

APPROVER = "approver"
"""The role of whoever is listed in none: being an approver of the trust file is enough for it."""


def check_people(
    bodies: Sequence[Mapping[str, Any]], request: Mapping[str, Any], policy: Policy, threshold: int
) -> None:
    """Check roles, number and independence of the people who signed the certificates of one decision.

    Args:
        bodies: Of the certificates.
        request: What they approved.
        policy: In force.
        threshold: How many approvers the trust file asks for.

    Raises:
        Refusal: ``approval_unproven``.
    """
    is_emergency = "break_glass" in request
    persons = _persons(policy)
    people = {_check_person(body, policy, persons) for body in bodies}
    if is_emergency and any(body["role"] not in policy["compliance"]["break_glass"]["roles"] for body in bodies):
        raise unproven("somebody declared an emergency in a role that may not")
    if not is_emergency:
        _check_independence(bodies, request, policy, persons)
    # An emergency is one person's; the review by another follows.
    needed = 1 if is_emergency else max(threshold, _quorum(request, policy))
    if len(people) < needed:
        raise unproven(f"{len(people)} persons approved, {needed} are needed")


def check_reviewer(body: Mapping[str, Any], declared: Sequence[Mapping[str, Any]], policy: Policy) -> None:
    """Check that who reviewed emergencies has the role they say, and is nobody who declared one.

    Args:
        body: Of the review.
        declared: Bodies of the certificates of the emergencies.
        policy: In force.

    Raises:
        Refusal: ``approval_unproven``.
    """
    persons = _persons(policy)
    if _check_person(body, policy, persons) in {_check_person(each, policy, persons) for each in declared}:
        raise unproven("an emergency is reviewed by another person than the one who declared it")


def _check_person(body: Mapping[str, Any], policy: Policy, persons: Mapping[str, str]) -> str:
    """Who signed, by the one name that the policy has for them."""
    principal: str = body["principal"]
    role: str = body["role"]
    person = persons.get(principal, principal)
    if principal.startswith("agent:") or person.startswith("agent:"):
        raise unproven(f"{principal} is an agent, and agents approve nothing")
    if role != APPROVER and principal not in policy["enforcement"]["approvals"]["roles"].get(role, ()):
        raise unproven(f"the policy does not list {principal} in the role {role}")
    return person


def _check_independence(
    bodies: Sequence[Mapping[str, Any]], request: Mapping[str, Any], policy: Policy, persons: Mapping[str, str]
) -> None:
    took_part = {persons.get(name, name) for name in (request["author"], request["sub"], *request["contributors"])}
    duties = policy["compliance"]["segregation_of_duties"]
    for body in bodies:
        principal = body["principal"]
        if persons.get(principal, principal) in took_part:
            raise unproven(f"{principal} is the author, deployer or a contributor of what they approved")
        if duties["enabled"] and not _is_listed(principal, duties["approver"], policy):
            raise unproven(f"{principal} is not among the approvers that the policy lists")
    if not duties["enabled"]:
        return
    if persons.get(request["author"], request["author"]) == persons.get(request["sub"], request["sub"]):
        raise unproven("author and deployer are one person")
    if not _is_listed(request["sub"], duties["deployer"], policy):
        raise unproven(f"{request['sub']} is not among the deployers that the policy lists")
    if any(person.startswith("git:") for person in took_part):
        raise unproven("somebody who took part is mapped to no person, and may be who approved")


def _is_listed(principal: str, listed: Sequence[str], policy: Policy) -> bool:
    """Whether a list of principals and roles names the principal; one that is empty names everybody."""
    roles = policy["enforcement"]["approvals"]["roles"]
    return not listed or any(principal == entry or principal in roles.get(entry, ()) for entry in listed)


def _quorum(request: Mapping[str, Any], policy: Policy) -> int:
    duties = policy["compliance"]["segregation_of_duties"]
    # Whose work it is rests on a claim: then nobody's word alone is enough.
    claimed = 2 if duties["enabled"] and request["author_basis"] == "claimed" else 1
    return int(max(policy["enforcement"]["approvals"]["quorum"], request["quorum"], claimed))


def _persons(policy: Policy) -> dict[str, str]:
    """Of each identity that the policy lists, the principal to whom it belongs."""
    listed = policy["compliance"]["segregation_of_duties"]["identities"]
    return {identity: person for person, identities in sorted(listed.items()) for identity in identities}
