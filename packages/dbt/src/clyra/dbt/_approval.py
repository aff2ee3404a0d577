# SPDX-License-Identifier: Apache-2.0
"""An approval token at the run gate: is it good for this run, and what proves it.

The token is judged in the fixed order that every consumer keeps, then its certificates against the approver keys of the
trust file, then the plan of this run against the approved one. Only then its ``jti`` is bound to the run.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clyra.dbt._facts import Presented
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.approval.certificate import Certificate
    from clyra.approval.plan import DbtPlan
    from clyra.approval.request import ApprovalRequest
    from clyra.approval.store import ApprovalStore
    from clyra.approval.token import CheckedToken
    from clyra.policy.load import LoadedPolicy

_SINGLE_USE = "approval_single_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a token must be for, here and now.

    ``trust`` is the parsed trust file, empty where there is none; ``tree`` None where nothing stands for the project's
    files; ``resources`` are the relations that the run writes.
    """

    audience: str
    tenant: str
    run_id: str
    tree: str | None
    resources: Sequence[str]
    policy: LoadedPolicy
    trust: Mapping[str, Any]
    store: ApprovalStore
    now_s: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A token that was accepted, with all that stands behind it; nothing was consumed yet."""

    token: CheckedToken
    request: ApprovalRequest
    plan: DbtPlan
    certificates: Sequence[Certificate]

    @property
    def presented(self) -> Presented:
        """What rules may ask about it."""
        entries = self.token.claims["approvals"]
        roles = tuple(sorted({str(entry["role"]) for entry in entries}))
        return Presented(len(entries), roles, self.token.is_break_glass)

    def used_members(self, decision_id: str) -> dict[str, object]:
        """The members of the journal event ``approval.used``."""
        return {
            "decision": decision_id,
            "jti": self.token.jti,
            "token_id": self.token.token_id,
            "request_sha256": self.token.request_sha256,
            "cert_sha256": list(self.token.cert_sha256),
            "quorum": int(self.token.claims["quorum"]),
            "break_glass": self.token.is_break_glass,
            "unchecked": list(self.token.unchecked),
        }


def audience_of(policy: LoadedPolicy, project: str, target: str) -> str:
    """Whom tokens for a dbt target must name: the policy's audience of the warehouse, else the target itself."""
    entry = policy.document["data_platform"]["warehouses"].get(target) or {}
    return str(entry.get("audience") or f"dbt:{project}/{target}")


def accept(token: bytes, actual: DbtPlan, rules: frozenset[str], here: Circumstances) -> Approval:
    """The approval that ``token`` carries for a run with the plan ``actual``.

    Args:
        token: As it was handed over.
        actual: What would run.
        rules: Ids of the rules that it must lift.
        here: What it must be for.

    Raises:
        ApprovalRefused: ``approval_`` and a word of the fixed order, or ``unproven``, ``single_use``, ``guard_absent``.
        BlockedError: What would run is not covered by what was approved (``plan_changed``).
        UnavailableError: The approvals folder cannot be read.
    """
    from clyra.approval.errors import refuse
    from clyra.approval.keys import approver_threshold, keys_of
    from clyra.approval.proof import check_proof
    from clyra.approval.token import check_token

    approved = _approved_plan(token, here.store)
    checked = check_token(
        token,
        keys=keys_of(here.trust, "issuer"),
        expected=_expectation(here, approved or actual, rules),
        now_s=here.now_s,
        revoked=here.store.revoked(),
        used_by=here.store.used_by,
    )
    _check_resources(checked, here.resources)
    request = _request_of(checked, here.store)
    certificates = _certificates_of(checked, here)
    checked = check_proof(
        checked,
        request,
        certificates,
        policy=here.policy,
        now_s=here.now_s,
        threshold=approver_threshold(here.trust),
        revoked=here.store.revoked(),
    )
    if approved is None:
        refuse("unproven", "the approved plan is not at hand; set CLYRA_APPROVALS_DIR to the folder that has it")
    _check_covered(approved, actual)
    if not here.store.is_issued(checked.jti):
        refuse("single_use", f"{here.store.root} did not mint the token and cannot say who else has used it")
    if here.audience.startswith("pg:"):
        refuse("guard_absent", f"the token is for {here.audience}, whose guard is not there")
    return Approval(checked, request, approved, certificates)


def consume(approval: Approval, here: Circumstances) -> None:
    """Bind the token to this run, which may present it again.

    Raises:
        ApprovalRefused: Another run was faster (``approval_used``).
        UnavailableError: The approvals folder cannot be written.
    """
    from clyra.approval.errors import refuse

    bound_to = here.store.bind(approval.token.jti, here.run_id)
    if bound_to != here.run_id:
        refuse("used", f"the run {bound_to} has used the token")


def _expectation(here: Circumstances, plan: DbtPlan, rules: frozenset[str]) -> Any:
    from clyra.approval.terms import approval_terms
    from clyra.approval.token import Expectation

    terms = approval_terms(here.policy.document)
    return Expectation(
        audience=here.audience,
        tenant=here.tenant,
        run_id=here.run_id,
        action="dbt.run",
        payload_type="dbt-plan/v1",
        payload_sha256=plan.sha256,
        policies=frozenset((here.policy.sha256,)),
        rules=rules,
        resource=here.resources[0] if here.resources else None,
        tree=here.tree,
        tree_binding=terms.tree_binding,
        quorum=terms.quorum,
        max_ttl_s=terms.max_ttl_s,
    )


def _approved_plan(token: bytes, store: ApprovalStore) -> DbtPlan | None:
    """The plan whose digest the token names, if it is at hand. The token is not believed yet, only looked up."""
    from clyra.approval.plan import DbtPlan

    try:
        part = token.split(b".")[1]
        claims = json.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
        data = store.plan(str(claims["payload_sha256"]))
        return None if data is None else DbtPlan.from_bytes(data)
    except (ClyraError, ValueError, IndexError, KeyError, TypeError, RecursionError):
        return None


def _check_resources(token: CheckedToken, resources: Sequence[str]) -> None:
    from clyra.approval.errors import refuse
    from clyra.approval.token import covers

    granted = [str(name) for name in token.claims.get("resources", ())]
    for name in resources:
        if not covers(granted, name):
            refuse("resource", f"the token does not approve {name}")


def _request_of(token: CheckedToken, store: ApprovalStore) -> ApprovalRequest:
    from clyra.approval.errors import refuse

    try:
        return store.request(token.request_sha256)
    except ClyraError as exc:
        refuse("unproven", f"the request behind the token cannot be read: {exc.message}")


def _certificates_of(token: CheckedToken, here: Circumstances) -> list[Certificate]:
    """The certificates that the token names and that hold under approver keys of the trust file."""
    from hashlib import sha256

    from clyra.approval.certificate import read_certificate
    from clyra.approval.errors import refuse
    from clyra.approval.keys import keys_of

    keys, found = keys_of(here.trust, "approver"), []
    for data in here.store.certificates_for(token.request_sha256):
        if sha256(data).hexdigest() not in token.cert_sha256:
            continue
        try:
            found.append(read_certificate(data, keys))
        except ClyraError as exc:
            refuse("unproven", exc.message)
    return found


def _check_covered(approved: DbtPlan, actual: DbtPlan) -> None:
    from clyra.approval.plan import plan_differences
    from clyra.spec import BlockedError

    if differences := plan_differences(approved, actual):
        shown = "; ".join(differences[:5])
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise BlockedError(f"what would run differs from what was approved: {shown}{more}", code="plan_changed")
