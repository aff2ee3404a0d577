# SPDX-License-Identifier: Apache-2.0
"""What an approver is shown and approves (``spec/approval/README.md``): a canonical document and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clyra.approval._document import check_document, read_document
from clyra.evidence.canonical import canonicalize_integers
from clyra.spec import FormatError

SPEC = "clyra.request/v1"
PLAN_PAYLOAD = "dbt-plan/v1"

PayloadType = Literal["sql-text/v1", "dbt-plan/v1", "json-jcs/v1", "bytes/v1"]
AuthorBasis = Literal["claimed", "signed", "forge"]


@dataclass(frozen=True, slots=True)
class HeldRule:
    """A rule that demands the approval, with the title that the approver reads."""

    id: str
    severity: Literal["critical", "warning", "info"]
    title: str


@dataclass(frozen=True, slots=True)
class Standing:
    """An approval that backs any number of runs on ``target`` until ``valid_until`` (an instant)."""

    valid_until: str
    target: str


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Why one person goes ahead alone (as a digest), and by when another must have looked at it (an instant)."""

    reason_sha256: str
    review_due: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A request as its schema has it; members that are None or empty are left out where the schema allows.

    Exactly one of ``run_id`` and ``standing`` is set. ``actions``, ``resources``, ``rules`` (by id) and
    ``contributors`` are sorted and hold nothing twice.
    """

    request_id: str
    created_at: str
    tenant: str
    project: str
    target: str
    environment: str
    audience: str
    actions: tuple[str, ...]
    payload_type: PayloadType
    payload_sha256: str
    tree: str | None
    commit: str | None
    policy_sha256: str
    decision: str
    point: str
    rules: tuple[HeldRule, ...]
    facts: Mapping[str, Any]
    risk: Mapping[str, Any] | None
    sub: str
    author: str
    author_basis: AuthorBasis
    contributors: tuple[str, ...]
    quorum: int
    resources: tuple[str, ...] = ()
    checkpoint: str | None = None
    run_id: str | None = None
    standing: Standing | None = None
    max_rows: int | None = None
    max_sessions: int | None = None
    break_glass: BreakGlass | None = None
    _bytes: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        document = _document_of(self)
        check_document(document, schema="approval_request", code="request_invalid")
        _check_meaning(self)
        object.__setattr__(self, "_bytes", canonicalize_integers(document))

    @classmethod
    def from_bytes(cls, data: bytes) -> ApprovalRequest:
        """The request in these canonical bytes.

        Raises:
            FormatError: They are no request (``request_invalid``).
        """
        return _request_of(read_document(data, schema="approval_request", code="request_invalid"))

    def to_bytes(self) -> bytes:
        """The canonical bytes: what is hashed, stored and shown."""
        return self._bytes

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of `to_bytes`."""
        return hashlib.sha256(self._bytes).hexdigest()

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """Ids of the rules that the approval lifts, sorted."""
        return tuple(rule.id for rule in self.rules)


def _request_of(document: dict[str, Any]) -> ApprovalRequest:
    members = {name: value for name, value in document.items() if name != "spec"}
    for name in ("actions", "contributors", "resources"):
        if name in members:
            members[name] = tuple(members[name])
    members["rules"] = tuple(HeldRule(**rule) for rule in members["rules"])
    facts = members["facts"].items()
    members["facts"] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts}
    if "standing" in members:
        members["standing"] = Standing(**members["standing"])
    if "break_glass" in members:
        members["break_glass"] = BreakGlass(**members["break_glass"])
    return ApprovalRequest(**members)


_ALWAYS = (
    "request_id", "created_at", "tenant", "project", "target", "environment", "audience", "payload_type",
    "payload_sha256", "tree", "commit", "policy_sha256", "decision", "point", "risk", "sub", "author", "author_basis",
    "quorum",
)  # fmt: skip
_WHERE_SET = ("checkpoint", "run_id", "max_rows", "max_sessions")


def _document_of(request: ApprovalRequest) -> dict[str, Any]:
    document: dict[str, Any] = {"spec": SPEC}
    document |= {name: getattr(request, name) for name in _ALWAYS}
    document |= {name: value for name in _WHERE_SET if (value := getattr(request, name)) is not None}
    document["actions"] = list(request.actions)
    document["contributors"] = list(request.contributors)
    document["facts"] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in request.facts.items()
    }
    document["rules"] = [{"id": rule.id, "severity": rule.severity, "title": rule.title} for rule in request.rules]
    if request.resources:
        document["resources"] = list(request.resources)
    if request.standing is not None:
        document["standing"] = {"valid_until": request.standing.valid_until, "target": request.standing.target}
    if request.break_glass is not None:
        glass = request.break_glass
        document["break_glass"] = {"reason_sha256": glass.reason_sha256, "review_due": glass.review_due}
    return document


def _check_meaning(request: ApprovalRequest) -> None:
    for name, values in (
        ("actions", request.actions),
        ("resources", request.resources),
        ("rules", request.rule_ids),
        ("contributors", request.contributors),
    ):
        if list(values) != sorted(set(values)):
            raise _invalid(f"{name} are not sorted, or hold one twice", f"/{name}")
    if (request.run_id is None) == (request.standing is None):
        raise _invalid("expected either run_id or standing: an approval is for one run or for a time", "/run_id")
    if request.standing is not None and request.standing.target != request.target:
        raise _invalid("the standing approval is for another target than the request", "/standing/target")
    if request.payload_type == PLAN_PAYLOAD and not request.resources:
        raise _invalid("a plan is approved for named resources; list the relations that it writes", "/resources")


def _invalid(message: str, pointer: str) -> FormatError:
    return FormatError(message, code="request_invalid", pointer=pointer)
