# SPDX-License-Identifier: Apache-2.0
"""The review of a break-glass: what ran, who went ahead alone and why, and another person's signature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clyra.cli._approval_place import Place
from clyra.cli._approval_signing import Approver, clock_us, this_approver
from clyra.cli._approval_text import moment, one_line, short_principal

_REQUEST_SUFFIX = ".request.json"


@dataclass(frozen=True)
class Emergency:
    """A bundle whose run one person let go ahead, and who reviews it now."""

    path: Path
    bundle_id: str
    manifest_sha256: str
    run: Mapping[str, Any]
    requests: Sequence[Mapping[str, Any]]
    declared_by: tuple[str, ...]
    reasons: tuple[str, ...]
    approver: Approver
    role: str
    now_us: int

    def lines(self) -> list[str]:
        """What the reviewer reads."""
        run, counts = self.run, self.run["counts"]
        what = one_line(f"dbt {run['command']} of {run['project']}, target {run['target']}, run {run['run_id']}")
        found = [
            f"Bundle {self.bundle_id}",
            f"  ran       {what}: {run['status']}",
            f"  did       {counts['nodes']} nodes, {counts['writes']} of {counts['statements']} statements write",
            f"  alone     {', '.join(short_principal(name) for name in self.declared_by)}",
        ]
        for request, reason in zip(self.requests, self.reasons, strict=True):
            rules = ", ".join(rule["id"] for rule in request["rules"])
            found.append(f"  lifted    {rules}")
            found.append(f"  reason    {one_line(reason)}")
            found.append(f"  due       {moment(request['break_glass']['review_due'])}")
        return [*found, "", f"  you are   {short_principal(self.approver.principal)}, as {self.role}"]


def find_emergency(place: Place, path: Path, role: str | None) -> Emergency:
    """What is to be reviewed in a bundle that verifies, by the owner of the key at hand.

    Raises:
        ApprovalRefused: This person broke the glass (``approval_duties``).
        ConfigurationError: The bundle holds no break-glass, or the role is not theirs (``config_invalid``).
        VerificationError: The bundle does not verify.
        UnavailableError: The bundle, the trust file or the key cannot be had.
    """
    from clyra.approval.errors import refuse
    from clyra.approval.terms import approval_terms
    from clyra.evidence import open_bundle
    from clyra.spec import ConfigurationError
    from clyra.verify import verify_bundle

    now_us = clock_us()
    verify_bundle(str(path), trust=str(place.trust_path)).raise_for_verdict()
    bundle = open_bundle(path)
    requests = [
        request
        for name in bundle.names
        if name.endswith(_REQUEST_SUFFIX) and "break_glass" in (request := json.loads(bundle.read(name)))
    ]
    if not requests:
        raise ConfigurationError(f"{path} holds no break-glass approval; there is nothing to review")
    terms = approval_terms(json.loads(bundle.read("artifacts/policy.json")))
    approver = this_approver(place, now_us)
    declared = _declared_by(bundle.read(name) for name in bundle.names if name.endswith(".dsse.json"))
    if terms.person(approver.principal) in {terms.person(principal) for principal in declared}:
        refuse("duties", "you went ahead alone yourself; another person must review it")
    taken = role or terms.role_of(approver.principal)
    if taken != "approver" and approver.principal not in terms.roles.get(taken, ()):
        raise ConfigurationError(f"the policy does not list you in the role {taken}; leave --role out")
    return Emergency(
        path=path,
        bundle_id=str(bundle.manifest["bundle_id"]),
        manifest_sha256=bundle.manifest_sha256,
        run=bundle.manifest["run"],
        requests=requests,
        declared_by=tuple(sorted(declared)),
        reasons=tuple(_reason(place, request) for request in requests),
        approver=approver,
        role=taken,
        now_us=now_us,
    )


def sign_review(emergency: Emergency) -> Path:
    """Write the certificate of the review beside the bundle; gives its path.

    Raises:
        UnavailableError: The key cannot be used, or the file not be written.
    """
    from clyra.approval.certificate import review_for, sign_certificate
    from clyra.cli._trust_file import write_text
    from clyra.evidence import instant

    body = review_for(
        bundle_id=emergency.bundle_id,
        manifest_sha256=emergency.manifest_sha256,
        principal=emergency.approver.principal,
        role=emergency.role,
        approved_at=instant(clock_us()),
    )
    path = emergency.path.parent / f"{emergency.bundle_id}.review.dsse.json"
    write_text(path, sign_certificate(body, [emergency.approver.signer]).decode("utf-8"))
    return path


def _declared_by(envelopes: Iterable[bytes]) -> set[str]:
    """Principals of the certificates of kind ``break_glass`` in a bundle that has been verified."""
    from base64 import b64decode

    bodies = [json.loads(b64decode(json.loads(data)["payload"])) for data in envelopes]
    return {body["principal"] for body in bodies if body.get("kind") == "break_glass"}


def _reason(place: Place, request: Mapping[str, Any]) -> str:
    digest = str(request["break_glass"]["reason_sha256"])
    return place.store.reason(digest) or f"not kept here; its SHA-256 begins with {digest[:12]}"
