# SPDX-License-Identifier: Apache-2.0
"""A run that a rule held and people let go: request, plan, certificates, and the bundle that tells of it.

A ``Story`` says what differs from the good one. What is outside of a difference is made anew over it: a request that
says something else is named by its own digest in the certificates, these by theirs in the journal and the manifest.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge.bundle import Artifact, Layers, Sealed, envelope_of, pae, payload_of, seal, signature
from forge.canonical import canonical, digest
from forge.edits import BytesEdit, DocumentEdit, Json, both, put
from forge.journal import (
    RUN_ID,
    TENANT,
    at,
    closed,
    decision,
    run_events,
    started,
    text_digest,
)
from forge.keys import TestKey
from forge.policy import edited, governed
from forge.trust import BEN, BUNDLE, CAROL, LOG, entry, trust_file

PAYLOAD_TYPE = "application/vnd.clyra.certificate+json"
TREE, COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "8d3f" * 10
DECISION, JTI = "decision-1", "AAECAwQFBgcICQoLDA0ODw"
AUTHOR, DEPLOYER = "oidc:https://sso.acme.example:alice", "svc:deploy"
HELD = "x_prod_writes"
DECIDED_US = 500_000
APPROVED_AT = "2026-01-31T08:10:00.000000Z"
PLAN = "artifacts/plan.json"
ORDERS = "model.jaffle_shop.orders"
TEST = "test.jaffle_shop.not_null_orders_id.cf6c17daed"


def person(key: TestKey) -> str:
    """Return the principal of an approver's key."""
    return f"oidc:https://sso.acme.example:{key.name.rpartition(' ')[2]}"


def approver(key: TestKey = BEN, **members: Any) -> Json:
    """Return the entry of an approver's key in a trust file."""
    return entry(key, "approver", **{"principal": person(key), **members})


def trusted(*keys: Json, **members: Any) -> bytes:
    """Return a trust file with the keys of the good bundle, and those of approvers, two where none is given."""
    return trust_file(entry(BUNDLE), entry(LOG, "log"), *(keys or (approver(BEN), approver(CAROL))), **members)


@dataclass(frozen=True)
class Approver:
    """Who signs a certificate, and how it differs from a good one."""

    key: TestKey = BEN
    body: DocumentEdit = dict
    """Edit of what is signed."""
    payload: BytesEdit = bytes
    payload_type: str = PAYLOAD_TYPE
    envelope: DocumentEdit = dict
    """Edit of the signed envelope."""
    data: BytesEdit = bytes
    signers: Sequence[TestKey] | None = None
    """Who signs, where it is not ``key``."""

    def certificate(self, body: Json) -> bytes:
        """Return the certificate: the bytes of its envelope."""
        told = self.body({**body, "principal": person(self.key)})
        payload = self.payload(canonical(told))
        signers = (self.key,) if self.signers is None else self.signers
        return self.data(canonical(self.envelope(envelope_of(payload, signers, self.payload_type))))


@dataclass(frozen=True)
class Story:
    """What is approved, by whom, and what the bundle says of it."""

    policy: DocumentEdit = dict
    plan: DocumentEdit = dict
    request: DocumentEdit = dict
    approvers: Sequence[Approver] = (Approver(),)
    decision: DocumentEdit = dict
    used: DocumentEdit = dict
    entry: DocumentEdit = dict
    events: Callable[[list[Json]], list[Json]] = list
    """Edit of the journal's events, before its counts follow from them."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """Members of the manifest's ``run`` that differ, by their paths in it."""
    manifest: DocumentEdit | None = None
    drop_role: str | None = None
    """Role of the files that are not in the bundle."""
    files: Callable[[dict[str, Artifact]], dict[str, Artifact]] = dict
    mode: str = "enforce"
    environment: str = "prod"
    layers: Mapping[str, Any] = field(default_factory=dict)

    def seal(self) -> Sealed:
        """Return the sealed bundle."""
        return seal(self.told())

    def told(self) -> Layers:
        """Return the layers of the bundle."""
        policy = edited(put("data_platform/rules", [_RULE]), self.policy)
        plan = canonical(self.plan(plan_document()))
        asked = self.request(request_document(digest(plan), digest(canonical(policy))))
        request = canonical(asked)
        body = certificate_body(asked, digest(request))
        certificates = [approver.certificate(body) for approver in self.approvers]
        digests = sorted(digest(certificate) for certificate in certificates)
        named = {"request_sha256": digest(request), "jti": JTI}
        held = {"id": HELD, "effect": "require_approval", "severity": "warning", "state": "matched"}
        lifted = decision(DECIDED_US, "require_approval", rules=[held], id=DECISION, **named)
        lifted |= {"policy_sha256": digest(canonical(policy)), "risk": 36}
        used: Json = {"type": "approval.used", "occurred_at": at(DECIDED_US), "decision": DECISION, **named}
        used |= {"token_id": text_digest("token")[:16], "cert_sha256": digests, "quorum": 1, "unchecked": []}
        used |= {"break_glass": "break_glass" in asked}
        entry = self.entry({"decision": DECISION, "jti": JTI, "cert_sha256": digests})
        events = _numbered(self.events([started(), self.decision(lifted), self.used(used), *run_events()[1:-1]]))
        files = {PLAN: Artifact(plan, "plan"), **_named(request, "request.json", "approval_request")}
        for certificate in certificates:
            files |= _named(certificate, "dsse.json", "approval_certificate")
        files = self.files({path: file for path, file in files.items() if file.role != self.drop_role})
        edits = [put("governance/approvals", [entry] if entry else ["none"])] if entry else []
        edits += [
            put("run/plan_sha256", digest(plan)),
            *(put(f"run/{path}", value) for path, value in self.run.items()),
        ]
        manifest = both(*edits, *([self.manifest] if self.manifest else []))
        under: Json = {"policy": policy, "mode": self.mode, "environment": self.environment, "artifacts": files}
        return governed(events, manifest=manifest, **under, **self.layers)


_RULE = {"id": HELD, "effect": "require_approval", "mode": "enforce", "on_missing": "require_approval"} | {
    "when": [{"field": "env.production", "op": "eq", "value": True}]
}


def _numbered(events: Sequence[Json]) -> list[Json]:
    return [*events, closed(len(events) + 1)]


def _named(data: bytes, suffix: str, role: str) -> dict[str, Artifact]:
    media_type = PAYLOAD_TYPE if role == "approval_certificate" else "application/json"
    return {f"artifacts/approvals/{digest(data)}.{suffix}": Artifact(data, role, media_type)}


def plan_document() -> Json:
    """Return the plan of the good run, and of a model that it leaves out."""
    names = (ORDERS, "model.jaffle_shop.payments", TEST)
    nodes = [{"unique_id": name, "checksum": text_digest(name), "config_sha256": text_digest("{}")} for name in names]
    plan: Json = {"spec": "dbt-plan/v1", "project": "jaffle_shop", "target": "prod", "tree": TREE, "nodes": nodes}
    plan |= {"macros_sha256": text_digest("macros"), "hooks_sha256": text_digest("hooks"), "env": [], "seeds": []}
    return plan | {"dbt_version": "1.11.0", "adapter": {"type": "postgres", "version": "1.11.0"}}


def request_document(plan_sha256: str, policy_sha256: str) -> Json:
    """Return the request for a plan under a policy."""
    rule = {"id": HELD, "severity": "warning", "title": "writes to production need an approval"}
    request: Json = {"spec": "clyra.request/v1", "request_id": "019c131e-9000-7a51-8c3e-6d1f00000000"}
    request |= {"created_at": "2026-01-31T08:00:00.000000Z", "tenant": TENANT, "project": "jaffle_shop"}
    request |= {"target": "prod", "environment": "prod", "audience": "dbt:jaffle_shop/prod", "actions": ["dbt.run"]}
    request |= {"resources": ["public.orders"], "payload_type": "dbt-plan/v1", "payload_sha256": plan_sha256}
    request |= {"tree": TREE, "commit": COMMIT, "policy_sha256": policy_sha256, "decision": "decision-0"}
    request |= {"point": "run", "rules": [rule], "facts": {"env.production": True}, "risk": None, "quorum": 1}
    request |= {"sub": DEPLOYER, "author": AUTHOR, "author_basis": "signed", "contributors": [AUTHOR]}
    return request | {"run_id": RUN_ID}


def certificate_body(request: Json, request_sha256: str) -> Json:
    """Return the body with which somebody approves a request."""
    kind = "break_glass" if "break_glass" in request else "approval"
    body: Json = {"spec": "clyra.certificate/v1", "kind": kind, "method": "key", "role": "approver"}
    body |= {"approved_at": APPROVED_AT, "request_sha256": request_sha256}
    body |= {name: request[name] for name in ("payload_type", "payload_sha256", "tree", "policy_sha256")}
    body |= {"payload_hash": f"sha256:{request['payload_sha256']}", "rules": [one["id"] for one in request["rules"]]}
    return body | {name: copy.deepcopy(request[name]) for name in ("run_id", "standing") if name in request}


def standing(valid_until: str = "2026-02-07T08:10:00.000000Z", target: str = "prod") -> DocumentEdit:
    """Return an edit of a request that makes it standing; seven days is what the policy allows."""

    def edit(request: Json) -> Json:
        left = {name: value for name, value in request.items() if name != "run_id"}
        return left | {"standing": {"valid_until": valid_until, "target": target}}

    return edit


def broken_glass(review_due: str = "2026-02-01T08:10:00.000000Z") -> DocumentEdit:
    """Return an edit of a request that makes it one of an emergency; a day is what the policy allows."""
    return put("break_glass", {"reason_sha256": text_digest("the shop is down"), "review_due": review_due})


def review(sealed: Sealed, approver: Approver | None = None, **members: Any) -> bytes:
    """Return the certificate of who reviewed a bundle."""
    body: Json = {"spec": "clyra.certificate/v1", "kind": "review", "method": "key", "role": "approver"}
    body |= {"approved_at": "2026-01-31T08:40:00.000000Z", "bundle_id": sealed.manifest["bundle_id"]}
    return (approver or Approver(CAROL)).certificate({**body, "manifest_sha256": sealed.manifest_sha256, **members})


def signed_by(*signers: tuple[Callable[[bytes], bytes], str]) -> DocumentEdit:
    """Return an edit of an envelope that replaces its signatures by these, each with the key id it names."""

    def edit(envelope: Json) -> Json:
        message = pae(payload_of(envelope), envelope["payloadType"])
        return {**envelope, "signatures": [signature(sign(message), keyid) for sign, keyid in signers]}

    return edit
