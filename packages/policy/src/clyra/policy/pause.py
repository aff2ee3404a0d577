# SPDX-License-Identifier: Apache-2.0
"""Pause a run and let it go on: the edge between `checkpoint`, the approvals folder and the issuer's key.

A pause is there or it is not: the state is durable before anybody sees a resume token, and whoever is killed in between
leaves a checkpoint that can be resumed, or none. A run goes on once, however many try at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clyra.approval.jws import decode_part, encode_part
from clyra.approval.keys import DEFAULT_ISSUER, KeyRow
from clyra.approval.request import ApprovalRequest
from clyra.approval.resume import CheckedResume, ResumeExpectation, mint_resume
from clyra.approval.resume import check_resume as check_resume_token
from clyra.approval.store import ApprovalStore
from clyra.approval.token import CheckedToken
from clyra.evidence import Signer, instant
from clyra.policy.checkpoint import (
    LONGEST_S,
    End,
    Now,
    PausedRun,
    deny,
    read_end,
    read_paused,
    refuse_ended,
    resume,
    seconds_of,
)
from clyra.spec import BlockedError, FormatError


def open_checkpoint(
    store: ApprovalStore,
    request: ApprovalRequest,
    *,
    checkpoint_id: str,
    checkpoint: str,
    at: str,
    run_id: str,
    approvals: int,
    roles: Sequence[str],
    ttl_s: int,
    now_s: int,
    random: bytes,
    issuer: Signer,
    iss: str = DEFAULT_ISSUER,
) -> tuple[PausedRun, str]:
    """Save a pause; gives its state and the resume token, which may be shown once this returns.

    Args:
        store: Where the request lies already.
        request: What is to be approved.
        checkpoint_id: A new UUIDv7.
        checkpoint: The policy's id of the checkpoint.
        at: Where in the run it is: ``before_run`` and so on.
        run_id: The run that pauses; it must come back under this id.
        approvals: How many people must approve.
        roles: Roles of which they must be; anybody where it is empty.
        ttl_s: How long it waits, in seconds; seven days at most.
        now_s: Seconds since the epoch.
        random: 16 random bytes, never used before.
        issuer: The issuer's key.
        iss: The issuer that the key is enrolled for.

    Raises:
        ConfigurationError: The key is of a kind that mints no tokens (``key_file_invalid``).
        UnavailableError: The key cannot be used (``key_unavailable``) or the state not be saved
            (``evidence_unavailable``); then nothing was saved.
    """
    lasts_s = min(ttl_s, LONGEST_S)
    paused = PausedRun(
        id=checkpoint_id,
        checkpoint=checkpoint,
        at=at,
        tenant=request.tenant,
        run_id=run_id,
        audience=request.audience,
        request_sha256=request.sha256,
        payload_type=request.payload_type,
        payload_sha256=request.payload_sha256,
        tree=request.tree,
        policy_sha256=request.policy_sha256,
        approvals=approvals,
        roles=tuple(sorted(roles)),
        opened_at=instant(now_s * 1_000_000),
        expires_at=instant((now_s + lasts_s) * 1_000_000),
        iss=iss,
        jti=encode_part(random),
    )
    # Signed first: a key that cannot be used leaves no pause that nobody could resume.
    token = resume_token(paused, issuer)
    store.save_checkpoint(paused.id, paused.to_bytes())
    return paused, token


def resume_token(paused: PausedRun, issuer: Signer) -> str:
    """The resume token of a pause, with the same claims each time.

    Raises:
        ConfigurationError: The key is of a kind that mints no tokens (``key_file_invalid``).
        UnavailableError: The key cannot be used now (``key_unavailable``).
    """
    opened_s = seconds_of(paused.opened_at)
    minted = mint_resume(
        expected=ResumeExpectation(
            audience=paused.audience,
            tenant=paused.tenant,
            run_id=paused.run_id,
            checkpoint=paused.id,
            state_sha256=paused.state_sha256,
            request_sha256=paused.request_sha256,
        ),
        now_s=opened_s,
        ttl_s=seconds_of(paused.expires_at) - opened_s,
        random=decode_part(paused.jti.encode("ascii")),
        issuer=issuer,
        iss=paused.iss,
    )
    return minted.token


def load_checkpoint(store: ApprovalStore, prefix: str) -> tuple[PausedRun, End | None]:
    """The pause whose id begins with ``prefix``, and how it ended.

    Raises:
        ConfigurationError: None does, or several do (``checkpoint_unknown``).
        FormatError: Its state is damaged (``checkpoint_state``).
    """
    found, state, end = store.checkpoint(prefix)
    paused = read_paused(state)
    if paused.id != found:
        raise FormatError("the saved state belongs to another checkpoint; run it again", code="checkpoint_state")
    return paused, None if end is None else read_end(end)


def read_resume(
    store: ApprovalStore,
    token: str | bytes,
    *,
    keys: Mapping[str, KeyRow],
    audience: str,
    tenant: str,
    now: Now,
) -> tuple[PausedRun, End | None]:
    """The pause that a resume token is for; nothing is used up.

    Args:
        store: Where the pause was saved.
        token: The resume token.
        keys: Issuer keys: what `keys_of` gives for the role ``issuer``.
        audience: Where the run runs.
        tenant: Whose run it is.
        now: The run that wants to go on.

    Raises:
        ApprovalRefused: The token is refused; see `clyra.approval.resume.check_resume`.
        ConfigurationError: Its pause is not in this store (``checkpoint_unknown``).
        FormatError: The saved state is damaged, or another (``checkpoint_state``).
    """
    checked: CheckedResume = check_resume_token(
        token,
        keys=keys,
        expected=ResumeExpectation(audience=audience, tenant=tenant, run_id=now.run_id),
        now_s=now.now_s,
        revoked=store.revoked(),
    )
    paused, end = load_checkpoint(store, checked.checkpoint)
    if paused.state_sha256 != checked.state_sha256 or paused.id != checked.checkpoint:
        raise FormatError("the saved state is not the one of the resume token; run it again", code="checkpoint_state")
    return paused, end


def check_resume(
    store: ApprovalStore,
    token: str | bytes,
    *,
    keys: Mapping[str, KeyRow],
    audience: str,
    tenant: str,
    now: Now,
    approval: CheckedToken,
    roles: Mapping[str, Sequence[str]],
) -> PausedRun:
    """Let a paused run go on, now and never again; gives its state.

    Args:
        store: Where the pause was saved.
        token: The resume token.
        keys: Issuer keys.
        audience: Where the run runs.
        tenant: Whose run it is.
        now: What the run is now; it must be what it was.
        approval: The approval token of the same request, accepted by `check_token`.
        roles: ``enforcement.approvals.roles`` of the policy: principals by role.

    Raises:
        ApprovalRefused: The resume token is refused.
        BlockedError: The approval is of another request (``approval_payload``), or the run may not go on; see
            `clyra.policy.checkpoint.resume`.
        ConfigurationError: The pause is not in this store (``checkpoint_unknown``).
        FormatError: The saved state is damaged, or another (``checkpoint_state``).
        UnavailableError: The store cannot be written (``evidence_unavailable``).
    """
    paused, end = read_resume(store, token, keys=keys, audience=audience, tenant=tenant, now=now)
    if approval.request_sha256 != paused.request_sha256:
        raise BlockedError(
            f"the approval is for the request {approval.request_sha256[:12]}, the run waits for "
            f"{paused.request_sha256[:12]}; mint a token for that one",
            code="approval_payload",
        )
    resumed = resume(paused, end, now, roles_of(approval, roles))
    if not store.end_checkpoint(paused.id, resumed.to_bytes()):
        # Somebody was faster; what they did is the answer.
        refuse_ended(paused, load_checkpoint(store, paused.id)[1], now_s=now.now_s)
    return paused


def deny_checkpoint(store: ApprovalStore, prefix: str, *, reason: str, now_s: int) -> PausedRun:
    """Say no to a pause and to its request.

    Raises:
        BlockedError: It is over already (``checkpoint_denied``, ``checkpoint_expired``, ``approval_used``).
        ConfigurationError: There is no such checkpoint (``checkpoint_unknown``).
        UnavailableError: The store cannot be written (``evidence_unavailable``).
    """
    paused, end = load_checkpoint(store, prefix)
    denied = deny(paused, end, reason=reason, now_s=now_s)
    if not store.end_checkpoint(paused.id, denied.to_bytes()):
        refuse_ended(paused, load_checkpoint(store, paused.id)[1], now_s=now_s)
    store.deny(paused.request_sha256, reason, at=denied.at)
    return paused


def roles_of(approval: CheckedToken, roles: Mapping[str, Sequence[str]]) -> list[set[str]]:
    """For each approval in a token, all roles of its person: those that the policy lists, and the one it names."""
    return [
        {str(entry["role"])} | {name for name, members in roles.items() if entry["sub"] in members}
        for entry in approval.claims["approvals"]
    ]
