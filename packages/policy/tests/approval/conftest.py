# SPDX-License-Identifier: Apache-2.0
"""People, keys, a policy and a request, as they meet when a change is approved and deployed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256
from typing import Any, ClassVar, Literal

import pytest

from clyra.approval.certificate import Certificate, certificate_for, read_certificate, sign_certificate
from clyra.approval.keys import KeyRow, instant_of, keys_of
from clyra.approval.mint import MintedToken, mint
from clyra.approval.request import ApprovalRequest, BreakGlass, HeldRule, Standing
from clyra.approval.token import CheckedToken, Expectation, check_token
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.policy.load import LoadedPolicy, read_policy

NOW_S = 1_769_850_000
TREE = "7d1f4a0c" * 5
ALICE, BEN, CAROL = (f"oidc:https://sso.acme.example:{name}" for name in ("alice", "ben", "carol"))
DEPLOY = "svc:deploy"


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def load(text: str = "") -> LoadedPolicy:
    """A policy with these sections, as the loader gives it."""
    return read_policy(f"version: 1\nname: acme\n{text}".encode(), now=date(2026, 1, 31))


def row(signer: Signer, role: str, **members: str) -> dict[str, str]:
    """The entry of a signer's key in a trust file."""
    entry = {"keyid": signer.keyid, "public_key": b64encode(signer.public_key).decode(), "alg": signer.alg}
    return entry | {"role": role, "valid_from": "2026-01-01T00:00:00.000000Z"} | members


@dataclass
class World:
    """Everything that a token rests on; each test changes the one thing that it is about.

    Alice writes, Ben and Carol approve, ``svc:deploy`` deploys.
    """

    NOW_S: ClassVar[int] = NOW_S
    TREE: ClassVar[str] = TREE
    ALICE: ClassVar[str] = ALICE
    BEN: ClassVar[str] = BEN
    CAROL: ClassVar[str] = CAROL
    DEPLOY: ClassVar[str] = DEPLOY

    policy: LoadedPolicy = field(default_factory=load)
    issuer: Signer = field(default_factory=ephemeral_signer)
    people: dict[str, Signer] = field(default_factory=dict)
    revoked_people: frozenset[str] = frozenset()

    def govern(self, text: str) -> None:
        """Put another policy in force."""
        self.policy = load(text)

    def key(self, person: str) -> Signer:
        return self.people.setdefault(person, ephemeral_signer())

    @property
    def trust(self) -> dict[str, Any]:
        keys = [row(self.issuer, "issuer")]
        for person, signer in self.people.items():
            revoked = {"revoked_at": instant_of(NOW_S)} if person in self.revoked_people else {}
            keys.append(row(signer, "approver", principal=person, **revoked))
        return {"version": 1, "keys": keys}

    @property
    def approver_keys(self) -> Mapping[str, KeyRow]:
        return keys_of(self.trust, "approver")

    @property
    def issuer_keys(self) -> Mapping[str, KeyRow]:
        return keys_of(self.trust, "issuer")

    def later_issuer(self, signer: Signer) -> None:
        """Let another key mint."""
        self.issuer = signer

    def request(self, **changes: Any) -> ApprovalRequest:
        plain = ApprovalRequest(
            request_id="019c1352-9f40-7a31-8c55-3b1d8e0f6a21",
            created_at=instant_of(NOW_S - 7200),
            tenant="acme",
            project="jaffle_shop",
            target="prod",
            environment="production",
            audience="dbt:jaffle_shop/prod",
            actions=("dbt.run", "sql.dml"),
            resources=("analytics.customers", "analytics.marts.*"),
            payload_type="dbt-plan/v1",
            payload_sha256=digest("plan"),
            tree=TREE,
            commit="2b9e8c11" * 5,
            policy_sha256=self.policy.sha256,
            decision="decision-1",
            point="run",
            rules=(HeldRule("x_prod_writes", "warning", "writes to production"),),
            facts={"env.name": "production", "change.tables": ("customers", "orders")},
            risk=None,
            sub=DEPLOY,
            author=ALICE,
            author_basis="signed",
            contributors=(),
            quorum=1,
            run_id="run-1",
        )
        return replace(plain, **changes)

    def standing(self, hours: int = 24, **changes: Any) -> ApprovalRequest:
        until = instant_of(NOW_S + hours * 3600)
        return self.request(run_id=None, standing=Standing(until, changes.get("target", "prod")), **changes)

    def break_glass(self, **changes: Any) -> ApprovalRequest:
        glass = BreakGlass(digest("pipeline down"), changes.pop("review_due", instant_of(NOW_S + 3600)))
        return self.request(break_glass=glass, **changes)

    def approve(
        self,
        request: ApprovalRequest,
        person: str = BEN,
        *,
        role: str = "approver",
        at_s: int = NOW_S - 600,
        kind: Literal["approval", "break_glass"] = "approval",
    ) -> Certificate:
        signer = self.key(person)
        body = certificate_for(request, principal=person, role=role, approved_at=instant_of(at_s), kind=kind)
        return read_certificate(sign_certificate(body, [signer]), self.approver_keys)

    def mint(self, request: ApprovalRequest, certificates: Sequence[Certificate], **changes: Any) -> MintedToken:
        arguments: dict[str, Any] = {
            "policy": self.policy,
            "tree": TREE,
            "run_id": "run-1",
            "now_s": NOW_S,
            "random": bytes(range(16)),
            "issuer": self.issuer,
        }
        return mint(request, certificates, **(arguments | changes))

    def expected(self, **changes: Any) -> Expectation:
        plain = Expectation(
            audience="dbt:jaffle_shop/prod",
            tenant="acme",
            run_id="run-1",
            action="dbt.run",
            payload_type="dbt-plan/v1",
            payload_sha256=digest("plan"),
            policies=frozenset((self.policy.sha256,)),
            rules=frozenset(("x_prod_writes",)),
            resource="analytics.customers",
            presenter=DEPLOY,
            tree=TREE,
        )
        return replace(plain, **changes)

    def check(self, token: str | bytes, *, now_s: int = NOW_S, **changes: Any) -> CheckedToken:
        members = {name: changes.pop(name) for name in ("revoked", "used_by", "keys") if name in changes}
        members.setdefault("keys", self.issuer_keys)
        return check_token(token, expected=self.expected(**changes), now_s=now_s, **members)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def minted() -> tuple[World, bytes]:
    """A world that nobody changes, and its token."""
    world = World()
    request = world.request()
    return world, world.mint(request, [world.approve(request)]).token.encode()
