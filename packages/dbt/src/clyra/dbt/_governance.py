# SPDX-License-Identifier: Apache-2.0
"""What a policy decided about a run and what stands behind it, as the bundle is to hold it.

The files go into the record beside the journal as soon as they are known, so that whoever recovers a run that was
killed seals them too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.dbt._clock import aware
from clyra.dbt._facts import is_off_hours

if TYPE_CHECKING:
    from clyra.approval.plan import DbtPlan
    from clyra.dbt._approval import Approval
    from clyra.dbt._policy import Governing
    from clyra.evidence.record import Attachment

POLICY_ENTRY = "artifacts/policy.json"
PLAN_ENTRY = "artifacts/plan.json"
_FOLDER = "artifacts/approvals"
_JSON = "application/json"
_CERTIFICATE = "application/vnd.clyra.certificate+json"


class Governance:
    """What governs one run, and what was decided about it so far.

    Args:
        governing: Policy and environment.
    """

    def __init__(self, governing: Governing) -> None:
        self.governing = governing
        self.approvals: list[dict[str, object]] = []
        self._plan: DbtPlan | None = None
        self._documents: dict[str, tuple[str, str, bytes]] = {}
        if governing.policy is not None:
            self._add(POLICY_ENTRY, "policy", _JSON, governing.policy.canonical)

    @property
    def plan_sha256(self) -> str | None:
        """Digest of the plan that was approved, else of the one that is to run."""
        return None if self._plan is None else self._plan.sha256

    def set_plan(self, plan: DbtPlan) -> None:
        """The plan that the run is judged by; an approved one takes the place of the run's own."""
        self._plan = plan
        self._add(PLAN_ENTRY, "plan", _JSON, plan.to_bytes())

    def add_request(self, sha256: str, data: bytes) -> None:
        """A request that this run led to, or whose approval it used."""
        self._add(f"{_FOLDER}/{sha256}.request.json", "approval_request", _JSON, data)

    def use(self, approval: Approval, decision_id: str) -> None:
        """An approval that lifted a decision."""
        token = approval.token
        self.set_plan(approval.plan)
        self.add_request(token.request_sha256, approval.request.to_bytes())
        for certificate in approval.certificates:
            if certificate.sha256 in token.cert_sha256:
                path = f"{_FOLDER}/{certificate.sha256}.dsse.json"
                self._add(path, "approval_certificate", _CERTIFICATE, certificate.envelope)
        self.approvals.append({"decision": decision_id, "jti": token.jti, "cert_sha256": list(token.cert_sha256)})

    @property
    def frameworks(self) -> list[str]:
        """``compliance.frameworks`` of the policy."""
        policy = self.governing.policy
        return [] if policy is None else [str(name) for name in policy.document["compliance"]["frameworks"]]

    def policy_member(self) -> dict[str, object] | None:
        """The manifest's ``policy``."""
        policy = self.governing.policy
        return None if policy is None else policy_member(self.governing)

    def attachments(self) -> list[Attachment]:
        """The files of the bundle that governance adds."""
        from clyra.evidence.record import Attachment

        return [
            Attachment(path, role, media_type, data.decode())
            for path, (role, media_type, data) in sorted(self._documents.items())
        ]

    def _add(self, path: str, role: str, media_type: str, data: bytes) -> None:
        self._documents[path] = (role, media_type, data)


def policy_member(governing: Governing) -> dict[str, object]:
    """The manifest's ``policy`` for a policy that loads."""
    policy = governing.policy
    if policy is None:
        raise ValueError("there is no policy to name")
    return {
        "name": policy.name,
        "version": policy.version,
        "sha256": policy.sha256,
        "mode": governing.environment.mode,
        "environment": governing.environment.name,
    }


def risk_of_journal(journal: Path, policy: Mapping[str, Any], environment: str, started_at_us: int) -> dict[str, Any]:
    """The manifest's ``risk``, from every line that the journal holds.

    Args:
        journal: The closed journal.
        policy: The normalized policy.
        environment: The manifest's ``policy.environment``.
        started_at_us: When the run began, in microseconds since the epoch, by the runner's clock.
    """
    from clyra.policy.risk import compute_risk

    off_hours = is_off_hours(policy["enforcement"]["off_hours"], aware(started_at_us))
    return compute_risk(
        _events(journal),
        policy=policy,
        environment=environment,
        off_hours=None if off_hours is None else int(off_hours),
        first_time_actor=1,
    )


def used_approvals(journal: Path, claimed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of ``governance.approvals`` whose use the journal holds.

    A run may be killed between writing what it is going to use and using it.
    """
    used = {event["decision"] for event in _events(journal) if event["type"] == "approval.used"}
    return [entry for entry in claimed if entry["decision"] in used]


def _events(journal: Path) -> Iterator[dict[str, Any]]:
    import orjson

    with journal.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
