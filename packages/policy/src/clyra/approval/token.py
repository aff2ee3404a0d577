# SPDX-License-Identifier: Apache-2.0
"""Approval tokens (``spec/approval/token.md``): the claims, and the fixed order in which they are judged.

Everybody who takes a token asks the same questions in the same order, so the first failure is the same code everywhere:
in Python, in PL/pgSQL and in the handlers of cloud warehouses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from clyra.approval._claims import check_claims, check_period
from clyra.approval.errors import refuse
from clyra.approval.jws import open_jws, sign_jws, token_id
from clyra.approval.keys import KeyRow
from clyra.approval.request import PLAN_PAYLOAD
from clyra.evidence.signer import Signer

TYP = "clyra-approval+jwt"
MAX_LIFETIME_S = 86_400
DEFAULT_MAX_TTL_S = 900

UsedBy = Callable[[str], str | None]
"""Gives the run that a ``jti`` is bound to, None where it is not bound yet."""

__all__ = [
    "DEFAULT_MAX_TTL_S",
    "MAX_LIFETIME_S",
    "TYP",
    "CheckedToken",
    "Expectation",
    "UsedBy",
    "check_token",
    "covers",
    "encode_token",
    "token_id",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a token must be for, here and now.

    None for ``resource``, ``policies`` or ``presenter`` means that this consumer cannot say; it is then listed as
    unchecked. ``tree`` None means not known or not clean, and is refused unless ``tree_binding`` is off.

    ``rules`` are those that must be lifted. ``quorum`` is the consumer's own least number of approvers. ``duties`` is
    off only where somebody else judges them.
    """

    audience: str
    tenant: str
    run_id: str
    action: str
    payload_type: str
    payload_sha256: str
    policies: frozenset[str] | None
    rules: frozenset[str] = frozenset()
    resource: str | None = None
    presenter: str | None = None
    tree: str | None = None
    tree_binding: bool = True
    quorum: int = 1
    max_ttl_s: int = DEFAULT_MAX_TTL_S
    duties: bool = True


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """A token that was accepted, and the sorted names of what was not checked.

    ``certificates`` is among them until `check_proof` has seen those; ``single_use`` where nothing remembered which
    run used the token.
    """

    claims: Mapping[str, Any]
    keyid: str
    token_id: str
    unchecked: tuple[str, ...]

    @property
    def jti(self) -> str:
        """The token's id."""
        return str(self.claims["jti"])

    @property
    def run_id(self) -> str:
        """The run that it is for."""
        return str(self.claims["run_id"])

    @property
    def request_sha256(self) -> str:
        """Digest of the request that was approved."""
        return str(self.claims["request_sha256"])

    @property
    def cert_sha256(self) -> tuple[str, ...]:
        """Digests of the certificates, in the token's order."""
        return tuple(entry["cert_sha256"] for entry in self.claims["approvals"])

    @property
    def is_break_glass(self) -> bool:
        """Whether one person went ahead alone."""
        return "break_glass" in self.claims


def encode_token(claims: Mapping[str, Any], signer: Signer) -> str:
    """The token over ``claims``, which are not judged here: `mint` makes them.

    Raises:
        ConfigurationError: The key is of a kind that mints no tokens (``key_file_invalid``).
        UnavailableError: The key cannot be used now (``key_unavailable``).
        ApprovalRefused: It would be longer than 8,192 bytes (``approval_size``).
    """
    return sign_jws(claims, typ=TYP, signer=signer)


def check_token(
    token: str | bytes,
    *,
    keys: Mapping[str, KeyRow],
    expected: Expectation,
    now_s: int,
    revoked: Set[str] = frozenset(),
    used_by: UsedBy | None = None,
) -> CheckedToken:
    """The token, if it may be used here and now. Nothing is consumed: the caller binds its ``jti`` to the run.

    Args:
        token: The token, with nothing before or behind it.
        keys: Issuer keys: what `keys_of` gives for the role ``issuer``.
        expected: What it must be for.
        now_s: Seconds since the epoch.
        revoked: Withdrawn ids: of tokens, requests and certificates.
        used_by: The memory of used tokens; None where there is none.

    Raises:
        ApprovalRefused: ``approval_`` and the first word of the order that fails: ``size parts encoding header kid alg
            key_period signature version claims iss expired nbf lifetime jti aud tenant presenter run_id payload action
            resource tree policy quorum duties revoked used``.
    """
    opened = open_jws(token, typ=TYP, keys=keys, now_s=now_s)
    claims = opened.claims
    check_claims(claims, schema="approval_token")
    _check_shape(claims)
    check_period(claims, opened.key, now_s=now_s, max_lifetime_s=min(expected.max_ttl_s, MAX_LIFETIME_S))
    _check_place(claims, expected)
    _check_object(claims, expected)
    _check_approvals(claims, expected)
    _check_use(claims, revoked, used_by)
    return CheckedToken(claims, opened.key.kid, opened.token_id, _unchecked(claims, expected, used_by))


def covers(resources: Sequence[str], name: str) -> bool:
    """Whether ``name`` is one of ``resources`` or below one that ends in ``.*``. Compared byte by byte."""
    return any(
        name == resource or (resource.endswith(".*") and name.startswith(resource[:-1]) and len(name) >= len(resource))
        for resource in resources
    )


def _check_shape(claims: Mapping[str, Any]) -> None:
    if claims["actions"] != sorted(claims["actions"]):
        refuse("claims", "the actions are not sorted")
    if claims["payload_type"] == PLAN_PAYLOAD and "resources" not in claims:
        refuse("claims", "a plan is approved for named resources, and the token names none")


def _check_place(claims: Mapping[str, Any], expected: Expectation) -> None:
    if claims["aud"] != expected.audience:
        refuse("aud", f"the token is for {claims['aud']}, this is {expected.audience}")
    if claims["tenant"] != expected.tenant:
        refuse("tenant", f"the token is for the tenant {claims['tenant']}, this is {expected.tenant}")
    if expected.presenter is not None and claims["sub"] != expected.presenter:
        refuse("presenter", f"the token was given to {claims['sub']}, {expected.presenter} presents it")
    if claims["run_id"] != expected.run_id:
        refuse("run_id", f"the token is for the run {claims['run_id']}, this is {expected.run_id}")


def _check_object(claims: Mapping[str, Any], expected: Expectation) -> None:
    payload = (expected.payload_type, expected.payload_sha256)
    if (claims["payload_type"], claims["payload_sha256"]) != payload:
        refuse("payload", "what would run is not what was approved; ask for a new approval")
    if expected.action not in claims["actions"]:
        refuse("action", f"the token approves {', '.join(claims['actions'])}, not {expected.action}")
    if expected.resource is not None and not covers(claims.get("resources", [expected.resource]), expected.resource):
        refuse("resource", f"the token does not approve {expected.resource}")
    if expected.tree_binding and (expected.tree is None or claims.get("tree") != expected.tree):
        refuse("tree", "the project's tree is not the approved one, not clean or not known")
    if expected.policies is not None and claims["policy_sha256"] not in expected.policies:
        refuse("policy", "the token was given under another policy")
    if not expected.rules <= set(claims["rules"]):
        missing = ", ".join(sorted(expected.rules - set(claims["rules"])))
        refuse("policy", f"the token does not lift {missing}")


def _check_approvals(claims: Mapping[str, Any], expected: Expectation) -> None:
    approvers = [entry["sub"] for entry in claims["approvals"]]
    # A break-glass is one person's, whatever quorum there is: what it owes is the review.
    needed = 1 if "break_glass" in claims else max(claims["quorum"], expected.quorum)
    if len(set(approvers)) != len(approvers) or len(approvers) < needed:
        refuse("quorum", f"{len(set(approvers))} of {needed} persons approved")
    if not expected.duties:
        return
    involved = () if "break_glass" in claims else (claims["author"], claims["sub"])
    for approver in approvers:
        if approver in involved or approver.startswith("agent:"):
            refuse("duties", f"{approver} is the author, the deployer or an agent, and may not approve")


def _check_use(claims: Mapping[str, Any], revoked: Set[str], used_by: UsedBy | None) -> None:
    ids = {claims["jti"], claims["request_sha256"], *(entry["cert_sha256"] for entry in claims["approvals"])}
    if ids & revoked:
        refuse("revoked", "the token, its request or a certificate behind it was withdrawn")
    run = used_by(claims["jti"]) if used_by is not None else None
    if run is not None and (run != claims["run_id"] or claims["payload_type"] != PLAN_PAYLOAD):
        refuse("used", f"the run {run} has used the token")


def _unchecked(claims: Mapping[str, Any], expected: Expectation, used_by: UsedBy | None) -> tuple[str, ...]:
    words = {"certificates"}
    words |= {name for name in ("cnf", "commit", "max_rows", "max_sessions") if name in claims}
    words |= {
        word
        for word, known in (
            ("duties", expected.duties),
            ("policy", expected.policies is not None),
            ("presenter", expected.presenter is not None),
            ("resource", expected.resource is not None or "resources" not in claims),
            ("single_use", used_by is not None),
            ("tree", expected.tree_binding),
        )
        if not known
    }
    return tuple(sorted(words))
