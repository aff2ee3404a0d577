# SPDX-License-Identifier: Apache-2.0
"""A run that a checkpoint pauses before it begins: open the pause, or go on from it.

A pause belongs to a run, which goes on from it once. Later invocations of the same run do not pause again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clyra.dbt._private_keys import with_keys
from clyra.spec import BlockedError, ClyraError, UnavailableError

if TYPE_CHECKING:
    from clyra.approval.request import ApprovalRequest
    from clyra.approval.store import ApprovalStore
    from clyra.dbt._approval import Approval, Circumstances
    from clyra.dbt._session import Session
    from clyra.policy.checkpoint import End, PausedRun
    from clyra.policy.rules import Checkpoint


def pause(
    session: Session, store: ApprovalStore, request: ApprovalRequest, checkpoint: Checkpoint, now_s: int
) -> PausedRun:
    """The pause of this run at the checkpoint: the one that waits already, else a new one.

    Args:
        session: The invocation; the event ``checkpoint.opened`` goes into its journal.
        store: The approvals folder.
        request: What is to be approved.
        checkpoint: The policy's.
        now_s: Seconds since the epoch.

    Raises:
        UnavailableError: There is no issuer key for resume tokens (``key_unavailable``), or the folder cannot be
            written.
        ConfigurationError: The issuer key is of a kind that mints no tokens.
    """
    from clyra.evidence import load_signer, new_uuid7
    from clyra.policy.checkpoint import status_of
    from clyra.policy.pause import open_checkpoint

    for paused, end in _pauses(store, request, checkpoint.id, session.identity.run_id):
        if status_of(paused, end, now_s=now_s) == "pending":
            return paused
    issuer = load_signer("issuer", with_keys(session.environ), create=False)
    if issuer.origin == "ephemeral":
        raise UnavailableError(
            "there is no issuer key for the resume token; set CLYRA_ISSUER_KEY", code="key_unavailable"
        )
    clock = session.clock
    paused, _ = open_checkpoint(
        store,
        request,
        checkpoint_id=new_uuid7(clock.now_us(), clock.random(10)),
        checkpoint=checkpoint.id,
        at=checkpoint.at,
        run_id=session.identity.run_id,
        approvals=checkpoint.approvals,
        roles=checkpoint.roles,
        ttl_s=checkpoint.ttl_ms // 1000,
        now_s=now_s,
        random=clock.random(16),
        issuer=issuer,
    )
    session.add("checkpoint.opened", paused.event_members())
    return paused


def go_on(
    approval: Approval, resume_token: bytes, checkpoint: Checkpoint, here: Circumstances
) -> dict[str, object] | None:
    """Members of the event ``checkpoint.resumed``; None where this run went on from the pause before.

    Args:
        approval: The approval that was accepted.
        resume_token: As it was handed over.
        checkpoint: The policy's.
        here: What the run is now.

    Raises:
        ClyraError: It may not go on: the pause is over, something changed, too few people approved, or no resume token
            was handed over (``checkpoint_pending``).
    """
    from clyra.approval.keys import keys_of
    from clyra.policy.checkpoint import Now
    from clyra.policy.pause import check_resume

    request = approval.request
    for _, end in _pauses(here.store, request, checkpoint.id, here.run_id):
        if end is not None and end.kind == "resumed" and end.run_id == here.run_id:
            return None
    if not resume_token:
        raise BlockedError(
            f"the run is paused at {checkpoint.id} and no resume token was handed over; set CLYRA_RESUME_TOKEN_FILE",
            code="checkpoint_pending",
        )
    paused = check_resume(
        here.store,
        resume_token,
        keys=keys_of(here.trust, "issuer"),
        audience=here.audience,
        tenant=here.tenant,
        now=Now(
            run_id=here.run_id,
            payload_sha256=request.payload_sha256,
            tree=here.tree,
            policy_sha256=here.policy.sha256,
            now_s=here.now_s,
        ),
        approval=approval.token,
        roles=here.policy.document["enforcement"]["approvals"]["roles"],
    )
    return paused.event_members()


def _pauses(
    store: ApprovalStore, request: ApprovalRequest, checkpoint: str, run_id: str
) -> Iterator[tuple[PausedRun, End | None]]:
    """The pauses of a run at a checkpoint for one request; damaged ones stand for nothing."""
    from clyra.policy.pause import load_checkpoint

    for name in store.checkpoints():
        try:
            paused, end = load_checkpoint(store, name)
        except ClyraError:
            continue
        if (paused.request_sha256, paused.checkpoint, paused.run_id) == (request.sha256, checkpoint, run_id):
            yield paused, end
