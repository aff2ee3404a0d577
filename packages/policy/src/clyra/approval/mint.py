# SPDX-License-Identifier: Apache-2.0
"""Mint a token: no person is needed, and nothing is believed. Time and randomness are arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from clyra.approval._claims import VERSION
from clyra.approval.certificate import Certificate
from clyra.approval.duties import required_quorum
from clyra.approval.errors import refuse
from clyra.approval.jws import encode_part
from clyra.approval.keys import DEFAULT_ISSUER
from clyra.approval.proof import approval_of, check_approvals, claims_of_request, seconds_of
from clyra.approval.request import ApprovalRequest
from clyra.approval.terms import PolicyDocument, approval_terms
from clyra.approval.token import MAX_LIFETIME_S, encode_token, token_id
from clyra.evidence.signer import Signer

JTI_BYTES = 16
MAX_APPROVALS = 8


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A token and what it says; ``token`` itself belongs in a 0600 file or on standard output, nowhere else."""

    token: str
    jti: str
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"MintedToken(token_id={self.token_id!r}, jti={self.jti!r})"

    @property
    def token_id(self) -> str:
        """What logs may show: 16 hex digits of its SHA-256."""
        return token_id(self.token)


def mint(
    request: ApprovalRequest,
    certificates: Sequence[Certificate],
    *,
    policy: PolicyDocument,
    tree: str | None,
    run_id: str,
    now_s: int,
    random: bytes,
    issuer: Signer,
    iss: str = DEFAULT_ISSUER,
    ttl_s: int | None = None,
    threshold: int = 1,
    revoked: Set[str] = frozenset(),
) -> MintedToken:
    """A token for one run, backed by ``certificates``; everything behind it is checked again.

    Args:
        request: What was approved.
        certificates: What `read_certificate` accepted for it.
        policy: The policy that is in force now.
        tree: Git tree of the project path now; None where it is not known or not clean.
        run_id: The run that may present the token.
        now_s: Seconds since the epoch.
        random: 16 random bytes, never used before.
        issuer: The issuer's key, Ed25519 or RSA for PKCS #1 v1.5.
        iss: The issuer that the key is enrolled for.
        ttl_s: How long the token lives; the policy's ``max_ttl`` where it is None. A standing approval may end it
            earlier.
        threshold: How many approvers the trust file asks for: `approver_threshold`.
        revoked: Withdrawn ids: digests of requests and certificates.

    Raises:
        ApprovalRefused: What stands behind the token does not carry it; see `check_approvals`. ``approval_lifetime``
            also where ``ttl_s`` is more than the policy allows.
        ConfigurationError: The key is of a kind that mints no tokens (``key_file_invalid``).
        UnavailableError: The key cannot be used now (``key_unavailable``).
        ValueError: ``random`` is not 16 bytes.
    """
    if len(random) != JTI_BYTES:
        raise ValueError(f"expected {JTI_BYTES} random bytes, found {len(random)}")
    carrying = check_approvals(
        request,
        certificates,
        policy=policy,
        tree=tree,
        run_id=run_id,
        now_s=now_s,
        threshold=threshold,
        revoked=revoked,
    )
    terms = approval_terms(policy.document)
    claims = claims_of_request(request) | {
        "v": VERSION,
        "iss": iss,
        "iat": now_s,
        "exp": _end(request, now_s, ttl_s, min(terms.max_ttl_s, MAX_LIFETIME_S)),
        "jti": encode_part(random),
        "run_id": run_id,
        "approvals": [approval_of(certificate) for certificate in carrying[:MAX_APPROVALS]],
        "quorum": required_quorum(request, terms, threshold=threshold),
    }
    return MintedToken(encode_token(claims, issuer), claims["jti"], claims)


def _end(request: ApprovalRequest, now_s: int, ttl_s: int | None, max_ttl_s: int) -> int:
    lifetime_s = max_ttl_s if ttl_s is None else ttl_s
    if not 0 < lifetime_s <= max_ttl_s:
        refuse("lifetime", f"asked for {lifetime_s} s, at most {max_ttl_s} s are allowed by enforcement.approvals")
    end = now_s + lifetime_s
    if request.standing is not None:
        end = min(end, seconds_of(request.standing.valid_until))
    if end <= now_s:
        refuse("expired", "the standing approval ends now; ask for a new one")
    return end
