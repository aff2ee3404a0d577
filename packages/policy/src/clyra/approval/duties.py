# SPDX-License-Identifier: Apache-2.0
"""Who may approve, and how many must: segregation of duties.

An approver is neither author nor deployer nor contributor of what is approved, nor a machine that acts for somebody.
One person with two names would defeat two persons, so identities that the policy maps are one.
"""

from __future__ import annotations

from collections.abc import Iterable

from clyra.approval.errors import refuse
from clyra.approval.request import ApprovalRequest
from clyra.approval.terms import ApprovalTerms

_TWO = 2


def required_quorum(request: ApprovalRequest, terms: ApprovalTerms, *, threshold: int = 1) -> int:
    """How many distinct persons must approve: the most that policy, request, trust and claimed authorship ask for.

    A break-glass is one person's; what it owes is the review.

    Args:
        request: What is to be approved.
        terms: What the policy says.
        threshold: How many approvers the trust file asks for: `approver_threshold`.
    """
    if request.break_glass is not None:
        return 1
    claimed = _TWO if terms.duties_enabled and request.author_basis == "claimed" else 1
    return max(terms.quorum, request.quorum, threshold, claimed)


def check_duties(request: ApprovalRequest, approvers: Iterable[str], *, terms: ApprovalTerms) -> None:
    """Check that each of ``approvers`` may approve ``request``.

    In a break-glass the deployer, author or a contributor may act alone; an agent never may. Where duties are enabled,
    author and deployer differ too, approvers and deployer are of those that the policy lists, and everybody who took
    part is mapped to a person: of an unknown one nobody can say that it is not the approver.

    Raises:
        ApprovalRefused: ``approval_duties``.
    """
    alone = request.break_glass is not None
    involved = {terms.person(one) for one in (request.author, request.sub, *request.contributors)}
    for approver in approvers:
        person = terms.person(approver)
        if _is_agent(approver) or _is_agent(person):
            refuse("duties", f"{approver} is an agent; a person must approve")
        if person in involved and not alone:
            refuse("duties", f"{approver} is author, deployer or contributor of what it approves; ask somebody else")
        if terms.duties_enabled and terms.approver and not alone and not terms.holds(approver, terms.approver):
            refuse("duties", f"{approver} is not among the approvers that the policy lists")
    if terms.duties_enabled and not alone:
        _check_parties(request, involved, terms)


def _check_parties(request: ApprovalRequest, involved: Iterable[str], terms: ApprovalTerms) -> None:
    if terms.person(request.author) == terms.person(request.sub):
        refuse("duties", f"{request.sub} is author and deployer; deploy under another identity")
    if terms.deployer and not terms.holds(request.sub, terms.deployer):
        refuse("duties", f"{request.sub} is not among the deployers that the policy lists")
    unmapped = sorted(person for person in involved if person.startswith("git:"))
    if unmapped:
        refuse("duties", f"{unmapped[0]} is mapped to nobody; add the committer to segregation_of_duties.identities")


def _is_agent(principal: str) -> bool:
    return principal.startswith("agent:")
