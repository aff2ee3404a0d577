# SPDX-License-Identifier: Apache-2.0
"""Mint tokens on a runner, and say what a token is worth: no person, no prompt, nothing believed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click

from clyra.cli._approval_place import Place, signer_for
from clyra.cli._approval_signing import clock_us

if TYPE_CHECKING:
    from clyra.approval.contributors import ProjectTree
    from clyra.approval.mint import MintedToken
    from clyra.approval.request import ApprovalRequest
    from clyra.approval.token import CheckedToken
    from clyra.evidence import Signer

RUN_ID = "CLYRA_RUN_ID"


@dataclass(frozen=True)
class Issuer:
    """The key that mints here, and the name it is enrolled for."""

    signer: Signer
    iss: str


def this_issuer(place: Place) -> Issuer:
    """The issuer key at hand.

    Raises:
        ApprovalRefused: The trust file does not know it (``approval_kid``), or not at this time
            (``approval_key_period``).
        UnavailableError: There is no key, or no trust file (``key_unavailable``).
    """
    from clyra.approval.errors import refuse
    from clyra.evidence import instant

    signer = signer_for("issuer", place.environ)
    row = place.keys("issuer").get(signer.keyid)
    if row is None:
        refuse(
            "kid",
            f"the key {signer.keyid[:12]} is no issuer key of {place.trust_path}; have its owner add it with "
            "clyra keys trust FILE --role issuer",
        )
    if fault := row.fault_at(instant(clock_us())):
        refuse("key_period", f"the issuer key cannot mint: {fault}")
    return Issuer(signer, row.iss or "clyra")


def mint_token(
    place: Place,
    *,
    target: str | None,
    prefix: str | None,
    run_id: str | None,
    ttl_s: int | None,
) -> tuple[MintedToken, ApprovalRequest]:
    """A token for the request that is named, else for the one that fits what is checked out; remembered as issued.

    Args:
        place: The project.
        target: The dbt target.
        prefix: Beginning of the digest of the request.
        run_id: The run; ``CLYRA_RUN_ID`` where None, else the one that the request is for.
        ttl_s: How long the token lives, in seconds; as the policy says where None.

    Raises:
        ApprovalRefused: The approvals do not carry a token here and now.
        ConfigurationError: There is no such request, or no run is named.
        UnavailableError: A key, the trust file, the policy or the store cannot be had.
    """
    from clyra.approval.errors import ApprovalRefused

    issuer = this_issuer(place)
    tree = place.tree()
    named_run = run_id or place.environ.get(RUN_ID) or None
    first: ApprovalRefused | None = None
    for request in _candidates(place, target, prefix, named_run, tree):
        try:
            return _mint(place, request, issuer, tree, named_run, ttl_s), request
        except ApprovalRefused as exc:
            # A newer request that nobody may rely on does not stand in the way of an older one that carries.
            first = first or exc
    raise first or ValueError("a request is always tried")


def _mint(
    place: Place, request: ApprovalRequest, issuer: Issuer, tree: ProjectTree, run_id: str | None, ttl_s: int | None
) -> MintedToken:
    from clyra.approval.mint import mint

    run = run_id or request.run_id or _no_run()
    place.require_pinned(request.policy_sha256, request.environment)
    certificates, faults = place.certificates(request)
    for fault in faults:
        click.echo(f"clyra: {fault}", err=True)
    minted = mint(
        request,
        certificates,
        policy=place.policy,
        tree=tree.clean,
        run_id=run,
        now_s=clock_us() // 1_000_000,
        random=os.urandom(16),
        issuer=issuer.signer,
        iss=issuer.iss,
        ttl_s=ttl_s,
        threshold=place.threshold,
        revoked=place.store.revoked(),
    )
    record = {"exp": minted.claims["exp"], "iat": minted.claims["iat"], "token_id": minted.token_id}
    record |= {"request_sha256": request.sha256, "run_id": run, "aud": request.audience}
    place.store.issue(minted.jti, record)
    return minted


def check_here(place: Place, token: str) -> tuple[CheckedToken, ApprovalRequest | None]:
    """The token, judged by what is here: keys, policy, tree, certificates and the memory of its use.

    Audience, tenant, run and payload are those that the token names: whoever uses it compares them with its own.

    Raises:
        ApprovalRefused: It would be refused.
        UnavailableError: The trust file or the policy cannot be had.
    """
    from clyra.approval.duties import required_quorum
    from clyra.approval.jws import open_jws
    from clyra.approval.proof import check_proof
    from clyra.approval.terms import approval_terms
    from clyra.approval.token import TYP, Expectation, check_token

    now_s = clock_us() // 1_000_000
    keys = place.keys("issuer")
    said = open_jws(token, typ=TYP, keys=keys, now_s=now_s).claims
    request = _known_request(place, str(said.get("request_sha256", "")))
    terms = approval_terms(place.policy.document)
    is_ours = place.store.is_issued(str(said.get("jti", "")) or "-")
    checked = check_token(
        token,
        keys=keys,
        expected=Expectation(
            audience=str(said.get("aud")),
            tenant=str(said.get("tenant")),
            run_id=str(said.get("run_id")),
            action=str((said.get("actions") or [""])[0]),
            payload_type=str(said.get("payload_type")),
            payload_sha256=str(said.get("payload_sha256")),
            policies=frozenset([place.policy.sha256]),
            tree=place.tree().clean,
            tree_binding=terms.tree_binding,
            quorum=1 if request is None else required_quorum(request, terms, threshold=place.threshold),
            max_ttl_s=terms.max_ttl_s,
        ),
        now_s=now_s,
        revoked=place.store.revoked(),
        used_by=place.store.used_by if is_ours else None,
    )
    if request is None:
        return checked, None
    certificates, _ = place.certificates(request)
    proved = check_proof(
        checked, request, certificates, policy=place.policy, now_s=now_s, revoked=place.store.revoked()
    )
    return proved, request


def _candidates(
    place: Place, target: str | None, prefix: str | None, run_id: str | None, tree: ProjectTree
) -> list[ApprovalRequest]:
    """The request that is named, else those that fit, newest first; never none."""
    from clyra.spec import ConfigurationError

    if prefix is not None:
        request = place.store.request(prefix)
        if target not in (None, request.target):
            raise ConfigurationError(
                f"the request {request.sha256[:12]} is for the target {request.target}, not {target}",
                code="request_unknown",
            )
        return [request]
    if target is None:
        raise ConfigurationError("nothing says what to mint for; add --target or --request")
    approved = [request for request in place.store.approved() if request.target == target]
    fitting = [request for request in approved if not _misfits(place, request, run_id, tree)]
    if not fitting:
        _refuse_misfits(place, target, run_id, tree, approved)
    return fitting


def _misfits(place: Place, request: ApprovalRequest, run_id: str | None, tree: ProjectTree) -> list[str]:
    """Words of refusal that minting for this request would give, as far as they can be told without keys."""
    from clyra.approval.terms import approval_terms

    words = []
    if request.policy_sha256 != place.policy.sha256:
        words.append("policy")
    if approval_terms(place.policy.document).tree_binding and request.tree != tree.clean:
        words.append("tree")
    if request.standing is None and run_id not in (None, request.run_id):
        words.append("run_id")
    return words


def _refuse_misfits(
    place: Place, target: str, run_id: str | None, tree: ProjectTree, approved: list[ApprovalRequest]
) -> NoReturn:
    from clyra.approval.errors import refuse
    from clyra.spec import ConfigurationError

    if not approved:
        raise ConfigurationError(
            f"nothing is approved for the target {target} in {place.store.root}; see clyra approve --list, and "
            "clyra approval import where certificates travel as an artifact",
            code="request_unknown",
        )
    newest = approved[0]
    word = _misfits(place, newest, run_id, tree)[0]
    found = {
        "policy": f"the policy is {place.policy.sha256[:12]}, approved was {newest.policy_sha256[:12]}",
        "tree": _tree_words(tree, newest),
        "run_id": f"the run is {run_id}, approved was {newest.run_id}",
    }
    refuse(word, f"nothing that was approved for {target} fits: {found[word]}; ask for a new approval")


def _tree_words(tree: ProjectTree, request: ApprovalRequest) -> str:
    if tree.tree is None:
        return "the project's git tree is not known here"
    if tree.clean is None:
        return "tracked files of the project are modified"
    return f"the project's tree is {tree.tree[:12]}, approved was {(request.tree or 'none')[:12]}"


def _known_request(place: Place, digest: str) -> ApprovalRequest | None:
    from clyra.spec import ConfigurationError

    try:
        return place.store.request(digest)
    except ConfigurationError:
        return None


def _no_run() -> NoReturn:
    from clyra.spec import ConfigurationError

    raise ConfigurationError(f"a standing approval backs many runs, and no run is named; set {RUN_ID} or --run-id")
