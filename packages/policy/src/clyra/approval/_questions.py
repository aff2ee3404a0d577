# SPDX-License-Identifier: Apache-2.0
"""Which requests ask the same, and which of several files a prefix names. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from clyra.approval.request import ApprovalRequest
from clyra.spec import ConfigurationError, FormatError

_LEAST_PREFIX = 4


def seconds_of(instant: object) -> int:
    """Seconds since the epoch of an instant of the form ``2027-01-31T08:00:00.000000Z``, the fraction dropped.

    Raises:
        FormatError: The text is none (``request_invalid``).
    """
    try:
        return int(datetime.fromisoformat(str(instant)).timestamp())
    except ValueError as exc:
        raise FormatError(f"{instant!r} is no instant", code="request_invalid") from exc


def only_one(prefix: str, known: Sequence[str], kind: str, root: Path, code: str = "request_unknown") -> str:
    """The one of ``known`` that begins with ``prefix``; ``kind`` and ``root`` say in messages what was looked for.

    Raises:
        ConfigurationError: None does, several do, or the prefix is too short (``code``).
    """
    if prefix in known:
        return prefix
    if len(prefix) < _LEAST_PREFIX:
        raise ConfigurationError(
            f"{prefix!r} is too short to name a {kind}; give at least {_LEAST_PREFIX} characters", code=code
        )
    found = [name for name in known if name.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigurationError(
            f"no {kind} in {root} begins with {prefix!r}; {len(known)} are there; "
            "see clyra approve --list, and set CLYRA_APPROVALS_DIR if they lie elsewhere",
            code=code,
        )
    several = ", ".join(name[:12] for name in found[:4])
    raise ConfigurationError(f"{prefix!r} begins {len(found)} of them: {several}; give more characters", code=code)


def slot(request: ApprovalRequest) -> tuple[object, ...]:
    """What at most one open request may be about."""
    return request.tenant, request.project, request.tree, request.audience, request.actions


def slot_id(request: ApprovalRequest) -> str:
    """The slot as a name of files."""
    return sha256(repr(slot(request)).encode()).hexdigest()[:32]


def question(request: ApprovalRequest) -> tuple[object, ...]:
    """What the approver is asked, apart from when and for which run."""
    return (
        request.payload_sha256,
        request.policy_sha256,
        request.rule_ids,
        request.checkpoint,
        request.sub,
        request.resources,
        request.max_rows,
    )


def age(request: ApprovalRequest) -> tuple[str, str]:
    """Sorts requests from the oldest on."""
    return request.created_at, request.sha256


def beneficiary(request: ApprovalRequest) -> tuple[object, ...]:
    """For which run the question is asked, or whether for a time or an emergency."""
    return request.run_id, request.standing is not None, request.break_glass is not None


def wanted(request: ApprovalRequest) -> int:
    """How many approvals close the request; an emergency is one person's."""
    return 1 if request.break_glass is not None else request.quorum


def still_open(old: ApprovalRequest) -> ConfigurationError:
    """Why another request cannot be asked now."""
    return ConfigurationError(
        f"the request {old.sha256[:12]} for the same tree, audience and actions is open; approve it, or close it with "
        f"clyra approval revoke {old.sha256[:12]} --reason ...",
        code="request_open",
    )
