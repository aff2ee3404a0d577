# SPDX-License-Identifier: Apache-2.0
"""A run that paused for people: its state, and what may follow from it. Values in, values out.

::

    pending --> resumed      the run went on: an approval of the same request, and nothing had changed
            --> denied       somebody said no
            --> expired      nobody did anything in time

A checkpoint ends once. Its state never changes: what a resume token names is the SHA-256 of these bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal

from clyra.evidence import canonicalize, instant
from clyra.spec import BlockedError, FormatError

SPEC = "clyra.checkpoint/v1"
LONGEST_S = 7 * 86_400
"""No pause lasts longer, whatever the policy says."""

EndKind = Literal["resumed", "denied", "expired"]
Status = Literal["pending", "resumed", "denied", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedRun:
    """The state that a pause saves: what is to go on, and as what it must come back.

    ``id`` is this pause's own, ``checkpoint`` the policy's name for where it happened. Instants are canonical texts,
    in whole seconds. The run goes on after ``approvals`` approvals by people of ``roles`` (anybody where it is empty).
    ``jti`` is the id of the resume token, ``iss`` its issuer.
    """

    id: str
    checkpoint: str
    at: str
    tenant: str
    run_id: str
    audience: str
    request_sha256: str
    payload_type: str
    payload_sha256: str
    tree: str | None
    policy_sha256: str
    approvals: int
    roles: tuple[str, ...]
    opened_at: str
    expires_at: str
    iss: str
    jti: str

    def to_bytes(self) -> bytes:
        """The canonical bytes that are kept."""
        return canonicalize({**asdict(self), "roles": list(self.roles), "spec": SPEC})

    @property
    def state_sha256(self) -> str:
        """SHA-256 of `to_bytes`, hex: the resume token names it."""
        return sha256(self.to_bytes()).hexdigest()

    def event_members(self) -> dict[str, object]:
        """Members of the journal's events ``checkpoint.*``."""
        return {
            "checkpoint": self.checkpoint,
            "checkpoint_id": self.id,
            "expires_at": self.expires_at,
            "request_sha256": self.request_sha256,
            "state_sha256": self.state_sha256,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a checkpoint ended; ``run_id`` where the run went on, ``reason`` where somebody gave one."""

    kind: EndKind
    at: str
    run_id: str | None = None
    reason: str | None = None

    def to_bytes(self) -> bytes:
        """The bytes that are kept."""
        return canonicalize(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What a run that wants to go on is now."""

    run_id: str
    payload_sha256: str
    tree: str | None
    policy_sha256: str
    now_s: int


def read_paused(data: bytes) -> PausedRun:
    """The state in these bytes.

    Raises:
        FormatError: They are no checkpoint, or not its canonical bytes (``checkpoint_state``).
    """
    try:
        members = json.loads(data)
        if members.pop("spec") != SPEC:
            raise ValueError("another format")
        paused = PausedRun(**{**members, "roles": tuple(members["roles"])})
        is_same = paused.to_bytes() == data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _damaged() from exc
    if not is_same:
        raise _damaged()
    return paused


def read_end(data: bytes) -> End:
    """The end in these bytes.

    Raises:
        FormatError: They are none (``checkpoint_state``).
    """
    try:
        return End(**json.loads(data))
    except (ValueError, TypeError, RecursionError) as exc:
        raise _damaged() from exc


def status_of(paused: PausedRun, end: End | None, *, now_s: int) -> Status:
    """What has become of it; one whose time is over is expired, whether or not somebody has written that down."""
    if end is not None:
        return end.kind
    return "expired" if now_s >= seconds_of(paused.expires_at) else "pending"


def deny(paused: PausedRun, end: End | None, *, reason: str, now_s: int) -> End:
    """Say no.

    Raises:
        BlockedError: It is over already (``checkpoint_denied``, ``checkpoint_expired``, ``approval_used``).
    """
    refuse_ended(paused, end, now_s=now_s)
    return End(kind="denied", at=instant(now_s * 1_000_000), reason=reason)


def resume(paused: PausedRun, end: End | None, now: Now, approver_roles: Iterable[Iterable[str]]) -> End:
    """Go on, if nothing has changed and those approved whom the checkpoint wants.

    Args:
        paused: The state that was saved.
        end: How it ended, None while it waits.
        now: What wants to go on.
        approver_roles: For each approval that was verified, the roles its person has in the policy.

    Raises:
        BlockedError: It is over (see `refuse_ended`), the run is another (``approval_run_id``), something has changed
            (``checkpoint_state``), or too few people of its roles approved (``checkpoint_pending``).
    """
    refuse_ended(paused, end, now_s=now.now_s)
    if now.run_id != paused.run_id:
        raise BlockedError(
            f"the checkpoint belongs to another run than {now.run_id}; set CLYRA_RUN_ID to {paused.run_id}",
            code="approval_run_id",
        )
    refuse_changed(paused, now)
    fitting = sum(1 for roles in approver_roles if not paused.roles or set(roles) & set(paused.roles))
    if fitting < paused.approvals:
        wanted = f" in the role {' or '.join(paused.roles)}" if paused.roles else ""
        raise BlockedError(
            f"the checkpoint {paused.checkpoint} has {fitting} of {paused.approvals} approvals{wanted}; "
            f"clyra checkpoint approve {paused.id}",
            code="checkpoint_pending",
        )
    return End(kind="resumed", at=instant(now.now_s * 1_000_000), run_id=now.run_id)


def refuse_ended(paused: PausedRun, end: End | None, *, now_s: int) -> None:
    """Let nothing follow from a checkpoint that is over.

    Raises:
        BlockedError: It was denied (``checkpoint_denied``), its time is over (``checkpoint_expired``), or the run went
            on before (``approval_used``).
    """
    status = status_of(paused, end, now_s=now_s)
    if status == "denied":
        reason = f": {end.reason}" if end is not None and end.reason else ""
        raise BlockedError(f"the checkpoint was denied{reason}; change what was asked for", code="checkpoint_denied")
    if status == "expired":
        raise BlockedError(
            f"nobody approved the checkpoint before {paused.expires_at}; run it again to ask again",
            code="checkpoint_expired",
        )
    if status == "resumed":
        raise BlockedError("the run went on from this checkpoint before; a pause is resumed once", code="approval_used")


def refuse_changed(paused: PausedRun, now: Now) -> None:
    """Let nothing go on that is not what it was.

    Raises:
        BlockedError: Tree, policy or payload is another (``checkpoint_state``).
    """
    members: Mapping[str, tuple[Any, Any]] = {
        "the tree": (paused.tree, now.tree),
        "the policy": (paused.policy_sha256, now.policy_sha256),
        "what would run": (paused.payload_sha256, now.payload_sha256),
    }
    changed = [name for name, (then, today) in members.items() if then != today]
    if changed:
        raise BlockedError(
            f"{' and '.join(changed)} changed since the run paused; run it anew and have that approved",
            code="checkpoint_state",
        )


def seconds_of(text: str) -> int:
    """Seconds since the epoch of an instant, its fraction dropped."""
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp())


def _damaged() -> FormatError:
    return FormatError("the saved state of the checkpoint is damaged; run it again", code="checkpoint_state")
