# SPDX-License-Identifier: Apache-2.0
"""What a policy says about approvals: read once from its normalized document, as plain values.

The document is the one that is hashed: every section is there, durations are integers of milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clyra.spec import PolicyError


class PolicyDocument(Protocol):
    """A loaded policy, as far as approvals need it."""

    @property
    def document(self) -> Mapping[str, Any]:
        """The normalized policy."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its canonical bytes, hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalTerms:
    """Sections ``enforcement.approvals``, ``compliance.segregation_of_duties`` and ``compliance.break_glass``.

    ``standing_valid_for_ms`` is None where standing approvals are not allowed; ``standing_targets`` empty means any
    target. ``approver`` and ``deployer`` hold principals or names of roles; empty means anybody. ``persons`` maps
    every identity that the policy lists to the principal it belongs to.
    """

    quorum: int
    max_ttl_s: int
    tree_binding: bool
    standing_valid_for_ms: int | None
    standing_targets: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]
    duties_enabled: bool
    approver: tuple[str, ...]
    deployer: tuple[str, ...]
    persons: Mapping[str, str]
    break_glass_roles: tuple[str, ...]
    review_within_ms: int

    def person(self, principal: str) -> str:
        """The principal that this identity belongs to; itself where the policy maps it to none."""
        return self.persons.get(principal, principal)

    def holds(self, principal: str, listed: tuple[str, ...]) -> bool:
        """Whether ``principal`` is in the list, or in a role that the list names."""
        return any(principal == entry or principal in self.roles.get(entry, ()) for entry in listed)

    def role_of(self, principal: str, *, break_glass: bool = False) -> str:
        """The role in which ``principal`` approves: the first by name that lists it, else ``approver``.

        Args:
            principal: Who approves.
            break_glass: Take only roles that may break the glass; ``approver`` where there is none.
        """
        names = sorted(name for name, members in self.roles.items() if principal in members)
        if break_glass:
            names = [name for name in names if name in self.break_glass_roles]
        return names[0] if names else "approver"


def approval_terms(document: Mapping[str, Any]) -> ApprovalTerms:
    """The terms of a normalized policy.

    Raises:
        PolicyError: A section is missing or of another shape: this is not a normalized policy (``policy_invalid``).
    """
    try:
        return _terms(document)
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise PolicyError(
            f"the policy document is not normalized: {type(exc).__name__} at {exc}; load it with the policy loader",
            code="policy_invalid",
        ) from exc


def _terms(document: Mapping[str, Any]) -> ApprovalTerms:
    approvals = document["enforcement"]["approvals"]
    duties = document["compliance"]["segregation_of_duties"]
    glass = document["compliance"]["break_glass"]
    valid_for = approvals["standing"]["valid_for"]
    return ApprovalTerms(
        quorum=int(approvals["quorum"]),
        max_ttl_s=int(approvals["max_ttl"]) // 1000,
        tree_binding=bool(approvals["tree_binding"]),
        standing_valid_for_ms=None if valid_for is None else int(valid_for),
        standing_targets=tuple(approvals["standing"]["targets"]),
        roles={name: tuple(members) for name, members in approvals["roles"].items()},
        duties_enabled=bool(duties["enabled"]),
        approver=tuple(duties["approver"]),
        deployer=tuple(duties["deployer"]),
        persons={identity: person for person, listed in sorted(duties["identities"].items()) for identity in listed},
        break_glass_roles=tuple(glass["roles"]),
        review_within_ms=int(glass["review_within"]),
    )
