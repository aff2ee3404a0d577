# SPDX-License-Identifier: Apache-2.0
"""Whether certificates carry a request: what minting rechecks, and what proves a token to a gate.

Pure: keys were checked when the certificates were read, everything else is judged here at one given time.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

from clyra.approval.certificate import Certificate
from clyra.approval.duties import check_duties, required_quorum
from clyra.approval.errors import ApprovalRefused, refuse
from clyra.approval.keys import instant_of
from clyra.approval.request import ApprovalRequest
from clyra.approval.terms import ApprovalTerms, PolicyDocument, approval_terms
from clyra.approval.token import CheckedToken
from clyra.verify.instant import seconds_between

SKEW_S = 30
"""By how much an approver's clock may be ahead of ours, in seconds."""


def check_approvals(
    request: ApprovalRequest,
    certificates: Sequence[Certificate],
    *,
    policy: PolicyDocument,
    tree: str | None,
    run_id: str,
    now_s: int,
    threshold: int = 1,
    revoked: Set[str] = frozenset(),
) -> tuple[Certificate, ...]:
    """The certificates that carry ``request`` for this run: the earliest of each person, by time.

    Args:
        request: What was approved.
        certificates: Certificates that `read_certificate` accepted; those of other requests are refused, not ignored.
        policy: The policy that is in force now.
        tree: Git tree of the project path now; None where it is not known or not clean.
        run_id: The run that is to be allowed.
        now_s: Seconds since the epoch.
        threshold: How many approvers the trust file asks for: `approver_threshold`.
        revoked: Ids that were withdrawn: digests of requests and certificates.

    Raises:
        ApprovalRefused: ``approval_`` and ``revoked``, ``policy``, ``tree``, ``run_id``, ``expired``, ``lifetime``,
            ``unproven``, ``quorum`` or ``duties``.
    """
    terms = approval_terms(policy.document)
    if request.sha256 in revoked:
        refuse("revoked", "the request was withdrawn; ask for a new approval")
    if request.policy_sha256 != policy.sha256:
        refuse("policy", "the policy has changed since the request; ask for a new approval")
    if terms.tree_binding and (tree is None or request.tree != tree):
        refuse("tree", "the project's tree is not the approved one, not clean or not known; ask for a new approval")
    _check_run(request, run_id, now_s, terms)
    for certificate in certificates:
        _check_certificate(certificate, request, now_s, revoked, terms)
    carrying = _one_per_person(certificates, terms)
    needed = required_quorum(request, terms, threshold=threshold)
    if len(carrying) < needed:
        refuse("quorum", f"{len(carrying)} of {needed} persons have approved; ask another one for clyra approve")
    check_duties(request, [certificate.principal for certificate in carrying], terms=terms)
    return carrying


def check_proof(
    token: CheckedToken,
    request: ApprovalRequest,
    certificates: Sequence[Certificate],
    *,
    policy: PolicyDocument,
    now_s: int,
    threshold: int = 1,
    revoked: Set[str] = frozenset(),
) -> CheckedToken:
    """The token again, with ``certificates`` no longer among what is unchecked.

    Args:
        token: What `check_token` accepted.
        request: The request that the token names.
        certificates: Certificates that `read_certificate` accepted; those that the token does not name are ignored.
        policy: The policy that is in force now.
        now_s: Seconds since the epoch.
        threshold: How many approvers the trust file asks for: `approver_threshold`.
        revoked: Ids that were withdrawn.

    Raises:
        ApprovalRefused: Token, request and certificates do not belong together, or do not carry the request now
            (``approval_unproven``), or one was withdrawn (``approval_revoked``).
    """
    claims = token.claims
    if claims_of_request(request) != {name: claims[name] for name in claims if name in CLAIMS_OF_REQUEST}:
        refuse("unproven", "the token says something else than its request; mint it again")
    by_digest = {certificate.sha256: certificate for certificate in certificates}
    named = [by_digest.get(entry["cert_sha256"]) for entry in claims["approvals"]]
    found = [certificate for certificate in named if certificate is not None]
    if [approval_of(certificate) for certificate in found] != claims["approvals"]:
        refuse("unproven", "a certificate that the token names is missing or says something else")
    try:
        check_approvals(
            request,
            found,
            policy=policy,
            tree=claims.get("tree"),
            run_id=claims["run_id"],
            now_s=now_s,
            threshold=threshold,
            revoked=revoked,
        )
    except ApprovalRefused as exc:
        code = exc.code if exc.code == "approval_revoked" else "approval_unproven"
        raise ApprovalRefused(exc.message, code=code) from exc
    return replace(token, unchecked=tuple(word for word in token.unchecked if word != "certificates"))


CLAIMS_OF_REQUEST = frozenset(
    (
        "sub", "author", "author_basis", "aud", "tenant", "actions", "resources", "payload_type", "payload_sha256",
        "request_sha256", "policy_sha256", "rules", "tree", "commit", "max_rows", "max_sessions", "break_glass",
    )
)  # fmt: skip
"""Claims that are copied from the request."""


def claims_of_request(request: ApprovalRequest) -> dict[str, Any]:
    """The claims that a token takes from its request; what the request does not have is absent."""
    claims: dict[str, Any] = {
        "sub": request.sub,
        "author": request.author,
        "author_basis": request.author_basis,
        "aud": request.audience,
        "tenant": request.tenant,
        "actions": list(request.actions),
        "payload_type": request.payload_type,
        "payload_sha256": request.payload_sha256,
        "request_sha256": request.sha256,
        "policy_sha256": request.policy_sha256,
        "rules": list(request.rule_ids),
    }
    if request.resources:
        claims["resources"] = list(request.resources)
    for name in ("tree", "commit", "max_rows", "max_sessions"):
        if (value := getattr(request, name)) is not None:
            claims[name] = value
    if request.break_glass is not None:
        due = seconds_of(request.break_glass.review_due)
        claims["break_glass"] = {"reason_sha256": request.break_glass.reason_sha256, "review_due": due}
    return claims


def approval_of(certificate: Certificate) -> dict[str, Any]:
    """The entry of ``approvals`` in a token that names this certificate."""
    return {
        "sub": certificate.principal,
        "role": certificate.role,
        "method": "key",
        "at": seconds_of(certificate.approved_at),
        "cert_sha256": certificate.sha256,
    }


def seconds_of(moment: str) -> int:
    """Whole seconds since the epoch of an instant, rounded down."""
    return int(seconds_between(_EPOCH, moment) // 1)


_EPOCH = "1970-01-01T00:00:00.000000Z"


def _check_run(request: ApprovalRequest, run_id: str, now_s: int, terms: ApprovalTerms) -> None:
    standing = request.standing
    if standing is None:
        if request.run_id != run_id:
            refuse("run_id", f"the approval is for the run {request.run_id}, this is {run_id}")
        return
    if terms.standing_valid_for_ms is None:
        refuse("policy", "the policy allows no standing approvals; set enforcement.approvals.standing.valid_for")
    if terms.standing_targets and standing.target not in terms.standing_targets:
        refuse("policy", f"the policy allows no standing approvals on {standing.target}")
    if instant_of(now_s) > standing.valid_until:
        refuse("expired", f"the standing approval ended at {standing.valid_until}; ask for a new one")


def _check_certificate(
    certificate: Certificate, request: ApprovalRequest, now_s: int, revoked: Set[str], terms: ApprovalTerms
) -> None:
    if certificate.sha256 in revoked:
        refuse("revoked", f"the certificate of {certificate.principal} was withdrawn")
    kind = "approval" if request.break_glass is None else "break_glass"
    if certificate.kind != kind or not certificate.is_about(request):
        refuse("unproven", f"the certificate of {certificate.principal} is not about this request")
    if certificate.approved_at > instant_of(now_s + SKEW_S):
        refuse("unproven", f"the certificate of {certificate.principal} is from the future: {certificate.approved_at}")
    _check_role(certificate, request, terms)
    if request.standing is not None and terms.standing_valid_for_ms is not None:
        lasts_s = seconds_between(certificate.approved_at, request.standing.valid_until)
        if lasts_s * 1000 > terms.standing_valid_for_ms:
            refuse("lifetime", "the standing approval lasts longer than the policy allows")


def _check_role(certificate: Certificate, request: ApprovalRequest, terms: ApprovalTerms) -> None:
    if certificate.role != "approver" and certificate.principal not in terms.roles.get(certificate.role, ()):
        refuse("unproven", f"the policy does not list {certificate.principal} in the role {certificate.role}")
    glass = request.break_glass
    if glass is None:
        return
    if certificate.role not in terms.break_glass_roles:
        refuse("duties", f"{certificate.principal} has no role that may break the glass")
    if seconds_between(certificate.approved_at, glass.review_due) * 1000 > terms.review_within_ms:
        refuse("lifetime", "the review of the break-glass is due later than the policy allows")


def _one_per_person(certificates: Sequence[Certificate], terms: ApprovalTerms) -> tuple[Certificate, ...]:
    first: dict[str, Certificate] = {}
    for certificate in sorted(certificates, key=lambda one: (one.approved_at, one.sha256)):
        first.setdefault(terms.person(certificate.principal), certificate)
    return tuple(first.values())
