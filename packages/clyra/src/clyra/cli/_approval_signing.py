# SPDX-License-Identifier: Apache-2.0
"""What stands between an approver and the signature: may this key approve this request, and in which form."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clyra.cli._approval_place import Place, signer_for

if TYPE_CHECKING:
    from clyra.approval.certificate import Certificate
    from clyra.approval.contributors import Contributors
    from clyra.approval.request import ApprovalRequest
    from clyra.approval.terms import ApprovalTerms
    from clyra.evidence import Signer


@dataclass(frozen=True)
class Approver:
    """A person with a key of the trust file."""

    signer: Signer
    principal: str


@dataclass(frozen=True)
class Approval:
    """A signature that would count: who gives it, in which role, and which are there already."""

    approver: Approver
    role: str
    given: tuple[Certificate, ...]
    needed: int
    known: Contributors | None


def clock_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def this_approver(place: Place, now_us: int) -> Approver:
    """Who the key at hand belongs to.

    Raises:
        ConfigurationError: The key is no approver's, or not at this time (``certificate_invalid``).
        UnavailableError: There is no key, or no trust file (``key_unavailable``).
    """
    from clyra.evidence import instant
    from clyra.spec import ConfigurationError

    signer = signer_for("approver", place.environ)
    row = place.keys("approver").get(signer.keyid)
    if row is None:
        raise ConfigurationError(
            f"your key {signer.keyid[:12]} is no approver key of {place.trust_path}; send the owner of that file what "
            "clyra keys request writes",
            code="certificate_invalid",
        )
    if fault := row.fault_at(instant(now_us)):
        raise ConfigurationError(f"your key {signer.keyid[:12]} cannot approve: {fault}", code="certificate_invalid")
    return Approver(signer, row.principal or f"key:{signer.keyid}")


def prepare(
    place: Place, request: ApprovalRequest, approver: Approver, *, role: str | None, base: str | None, now_us: int
) -> Approval:
    """The signature that this person may give, judged as minting will judge it.

    Raises:
        ApprovalRefused: They may not approve this, have done so already, or the request cannot be approved at all.
        ConfigurationError: They do not have the role (``config_invalid``).
        VerificationError: The trust file pins another policy (``policy_not_pinned``).
    """
    from clyra.approval.duties import required_quorum
    from clyra.approval.terms import approval_terms

    terms = approval_terms(place.policy.document)
    _require_same_policy(place, request)
    _require_not_withdrawn(place, request)
    known = _contributors_here(place, request, base)
    taken_role = _role(terms, approver, role, alone=request.break_glass is not None)
    _require_may_approve(request, approver, known, terms)
    given, _ = place.certificates(request)
    _require_new_person(given, approver, terms)
    _require_carries(place, request, approver, taken_role, now_us)
    return Approval(
        approver, taken_role, tuple(given), required_quorum(request, terms, threshold=place.threshold), known
    )


def as_standing(request: ApprovalRequest, *, lasts: str, now_us: int, random: bytes) -> ApprovalRequest:
    """The same question for a time instead of one run.

    Raises:
        ConfigurationError: ``lasts`` is no duration, or the request is a standing one already.
    """
    from clyra.approval.request import Standing
    from clyra.evidence import instant, new_uuid7
    from clyra.policy.durations import milliseconds
    from clyra.spec import ConfigurationError

    lasts_ms = milliseconds(lasts)
    if not lasts_ms:
        raise ConfigurationError(f"--standing is {lasts!r}; expected a duration like 8h or 30d")
    if request.standing is not None:
        raise ConfigurationError("the request is a standing one already; approve it without --standing")
    until = instant((now_us // 1_000_000) * 1_000_000 + lasts_ms * 1000)
    return replace(
        request,
        request_id=new_uuid7(now_us, random),
        created_at=instant(now_us),
        run_id=None,
        standing=Standing(until, request.target),
    )


def as_break_glass(
    request: ApprovalRequest, *, reason_sha256: str, review_within_ms: int, now_us: int, random: bytes
) -> ApprovalRequest:
    """The same question, to be answered by one person alone and reviewed by another."""
    from clyra.approval.request import BreakGlass
    from clyra.evidence import instant, new_uuid7

    due = instant((now_us // 1_000_000) * 1_000_000 + review_within_ms * 1000)
    return replace(
        request,
        request_id=new_uuid7(now_us, random),
        created_at=instant(now_us),
        break_glass=BreakGlass(reason_sha256, due),
    )


def sign(request: ApprovalRequest, approval: Approval, *, clock: Callable[[], int] = clock_us) -> bytes:
    """The certificate, signed now.

    Raises:
        UnavailableError: The key cannot be used now (``key_unavailable``).
    """
    from clyra.approval.certificate import certificate_for, sign_certificate
    from clyra.evidence import instant

    body = certificate_for(
        request,
        principal=approval.approver.principal,
        role=approval.role,
        approved_at=instant(clock()),
        kind="approval" if request.break_glass is None else "break_glass",
    )
    return sign_certificate(body, [approval.approver.signer])


def _require_same_policy(place: Place, request: ApprovalRequest) -> None:
    from clyra.approval.errors import refuse

    if place.policy.sha256 != request.policy_sha256:
        refuse(
            "policy",
            f"the request was made under the policy {request.policy_sha256[:12]}, here is {place.policy.sha256[:12]}; "
            f"check out the commit {(request.commit or 'of the request')[:12]}, or have it asked again",
        )
    place.require_pinned(request.policy_sha256, request.environment)


def _require_not_withdrawn(place: Place, request: ApprovalRequest) -> None:
    from clyra.approval.errors import refuse

    gone = place.store.withdrawal(request.sha256)
    if gone is not None:
        refuse("revoked", f"the request was {gone.kind} at {gone.at}: {gone.reason}; approve the one that replaced it")


def _contributors_here(place: Place, request: ApprovalRequest, base: str | None) -> Contributors | None:
    """Who contributed as git says it here, where the checkout is the one of the request; else None."""
    tree = place.tree()
    if tree.clean is None or tree.clean != request.tree or tree.commit is None:
        return None
    from clyra.spec import ConfigurationError

    try:
        return place.contributors(request.rule_ids, request.audience, base)
    except ConfigurationError:
        if base is not None:
            raise
        # An image, or a clone without its history: then the request is all there is, and the text says so.
        return None


def _role(terms: ApprovalTerms, approver: Approver, role: str | None, *, alone: bool) -> str:
    from clyra.spec import ConfigurationError

    if role is None:
        return terms.role_of(approver.principal, break_glass=alone)
    listed = terms.roles.get(role, ())
    if approver.principal not in listed and (role != "approver" or role in terms.roles):
        raise ConfigurationError(
            f"the policy does not list {approver.principal[:24]} under enforcement.approvals.roles.{role}; "
            "leave --role out, or have it listed there"
        )
    return role


def _require_may_approve(
    request: ApprovalRequest, approver: Approver, known: Contributors | None, terms: ApprovalTerms
) -> None:
    from clyra.approval.duties import check_duties
    from clyra.approval.errors import refuse

    check_duties(request, [approver.principal], terms=terms)
    if known is None or request.break_glass is not None:
        return
    if terms.duties_enabled:
        known.refuse_unmapped()
    if terms.person(approver.principal) in {terms.person(one) for one in known.principals}:
        refuse(
            "duties",
            "git names you as author, committer or co-author of this change, or as editor of a rule that holds it; "
            "ask somebody else",
        )


def _require_new_person(given: list[Certificate], approver: Approver, terms: ApprovalTerms) -> None:
    from clyra.approval.errors import refuse

    if terms.person(approver.principal) in {terms.person(certificate.principal) for certificate in given}:
        refuse("quorum", "you have approved this already; another approval must be another person's")


def _require_carries(place: Place, request: ApprovalRequest, approver: Approver, role: str, now_us: int) -> None:
    """Sign for trial with a key of the moment: whatever minting would object to, but too few people, comes now."""
    from clyra.approval.certificate import Certificate, certificate_for
    from clyra.approval.errors import ApprovalRefused
    from clyra.approval.proof import check_approvals
    from clyra.evidence import instant

    body = certificate_for(
        request,
        principal=approver.principal,
        role=role,
        approved_at=instant(now_us),
        kind="approval" if request.break_glass is None else "break_glass",
    )
    try:
        check_approvals(
            request,
            [Certificate(body, approver.signer.keyid, "0" * 64, b"")],
            policy=place.policy,
            tree=request.tree,
            run_id=request.run_id or "",
            now_s=now_us // 1_000_000,
        )
    except ApprovalRefused as exc:
        if exc.code != "approval_quorum":
            raise
