# SPDX-License-Identifier: Apache-2.0
"""Tokens (spec/approval/token.md), byte by byte, and the vectors that hold them."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge.edits import DocumentEdit, Json
from forge.journal import text_digest
from forge.keys import TestKey
from forge.trust import ISSUER, RSA_ISSUER, entry

APPROVAL, RESUME = "clyra.approval/v1", "clyra.resume/v1"
APPROVAL_TYP, RESUME_TYP = "clyra-approval+jwt", "clyra-resume+jwt"

NOW_S = 1_769_850_000
"""2026-01-31T09:00:00Z."""

RUN, OTHER_RUN = "019c1352-9f40-7a31-8c55-3b1d8e0f6a21", "019c1352-9f40-7a31-8c55-3b1d8e0f6a22"
AUDIENCE, TENANT = "dbt:jaffle_shop/prod", "acme"
AUTHOR, DEPLOYER = "oidc:https://sso.acme.example:alice", "svc:deploy"
BEN, CAROL = "oidc:https://sso.acme.example:ben", "oidc:https://sso.acme.example:carol"
TREE, COMMIT = "7d1f4a0c" * 5, "2b9e8c11" * 5
JTI = base64.urlsafe_b64encode(bytes(range(16))).decode().rstrip("=")

Sign = Callable[[bytes], bytes]


def alg_of(key: TestKey) -> str:
    """Return the name that the header has for the algorithm of an issuer's key."""
    return "EdDSA" if key.alg == "ed25519" else "RS256"


def issuer(key: TestKey = ISSUER, **members: Any) -> Json:
    """Return the entry of an issuer's key in a trust file."""
    alg = {} if key.alg == "ed25519" else {"alg": "rsa-pkcs1-sha256"}
    return entry(key, "issuer", **alg, **members)


def approval(sub: str = BEN, **members: Any) -> Json:
    """Return the entry of one approver."""
    said: Json = {"sub": sub, "role": "approver", "method": "key", "at": NOW_S - 600}
    return said | {"cert_sha256": text_digest(f"certificate of {sub}")} | members


def approval_claims() -> Json:
    """Return the claims of a token for a dbt run that one person approved."""
    return {
        "v": 1,
        "iss": "clyra",
        "sub": DEPLOYER,
        "author": AUTHOR,
        "author_basis": "signed",
        "aud": AUDIENCE,
        "iat": NOW_S - 60,
        "exp": NOW_S + 240,
        "jti": JTI,
        "tenant": TENANT,
        "run_id": RUN,
        "actions": ["dbt.run", "sql.dml"],
        "resources": ["analytics.customers", "analytics.marts.*"],
        "payload_type": "dbt-plan/v1",
        "payload_sha256": text_digest("plan"),
        "request_sha256": text_digest("request"),
        "policy_sha256": text_digest("policy"),
        "rules": ["x_prod_writes"],
        "tree": TREE,
        "commit": COMMIT,
        "approvals": [approval()],
        "quorum": 1,
    }


def resume_claims() -> Json:
    """Return the claims of a token for a run that is paused at a checkpoint."""
    return {
        "v": 1,
        "iss": "clyra",
        "aud": AUDIENCE,
        "iat": NOW_S - 60,
        "exp": NOW_S + 86_340,
        "jti": JTI,
        "tenant": TENANT,
        "run_id": RUN,
        "checkpoint": "before_publish",
        "state_sha256": text_digest("state"),
        "request_sha256": text_digest("request"),
    }


def approval_expected() -> Json:
    """Return what a consumer expects of the good approval token."""
    return {
        "audience": AUDIENCE,
        "tenant": TENANT,
        "presenter": DEPLOYER,
        "run_id": RUN,
        "payload_type": "dbt-plan/v1",
        "payload_sha256": text_digest("plan"),
        "action": "dbt.run",
        "resource": "analytics.customers",
        "tree": TREE,
        "tree_binding": True,
        "policies": [text_digest("policy")],
        "rules": ["x_prod_writes"],
        "quorum": 1,
        "max_ttl_s": 900,
        "duties": True,
    }


def resume_expected() -> Json:
    """Return what a consumer expects of the good resume token."""
    said: Json = {"audience": AUDIENCE, "tenant": TENANT, "run_id": RUN, "checkpoint": "before_publish"}
    return said | {"state_sha256": text_digest("state"), "request_sha256": text_digest("request")}


def compact(value: object) -> bytes:
    """Return JSON in the order of its members, without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def b64url(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def header_of(key: TestKey = ISSUER, typ: str = APPROVAL_TYP) -> Json:
    """Return the one good header of a token under ``key``."""
    return {"alg": alg_of(key), "kid": key.keyid, "typ": typ}


def jws(header: bytes, claims: bytes, sign: Sign) -> str:
    """Return the compact serialization, signed over whatever the two parts hold."""
    signed = f"{b64url(header)}.{b64url(claims)}"
    return f"{signed}.{b64url(sign(signed.encode()))}"


def signer(key: TestKey) -> Sign:
    """Return how an issuer's key signs."""
    return key.sign if key.alg == "ed25519" else key.sign_pkcs1


def token(
    claims: DocumentEdit | bytes | None = None,
    *,
    header: DocumentEdit | bytes | None = None,
    key: TestKey = ISSUER,
    sign: Sign | None = None,
    typ: str = APPROVAL_TYP,
) -> str:
    """Return the good token of this type, but for the edits or the bytes that are given; signed over them."""
    good = approval_claims() if typ == APPROVAL_TYP else resume_claims()
    parts = [
        edit if isinstance(edit, bytes) else compact(edit(start) if edit else start)
        for start, edit in ((header_of(key, typ), header), (good, claims))
    ]
    return jws(parts[0], parts[1], sign or signer(key))


def both_keys() -> list[Json]:
    """Return the issuer keys that vectors trust unless they say otherwise."""
    return [issuer(), issuer(RSA_ISSUER)]


@dataclass(frozen=True)
class TokenCase:
    """A token, the place where it is shown, and the verdict that it must get there."""

    id: str
    description: str
    input: str
    expect: str = "valid"
    spec: str = APPROVAL
    unchecked: Sequence[str] = ()
    keys: Sequence[Json] = field(default_factory=both_keys)
    expected: Mapping[str, Any] = field(default_factory=approval_expected)
    now: int = NOW_S
    revoked: Sequence[str] = ()
    used: Mapping[str, str] | None = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File name: id and slug."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.description.lower()).strip("-")
        return f"{self.id}-{slug[:60].rstrip('-')}.json"

    def document(self) -> Json:
        """Return what the vector file says."""
        args = {"keys": list(self.keys), "expected": dict(self.expected), "now": self.now}
        args |= {"revoked": list(self.revoked), "used": None if self.used is None else dict(self.used)}
        said: Json = {"id": self.id, "description": self.description, "spec": self.spec, "expect": self.expect}
        said |= {"input": self.input, "args": args}
        if self.expect == "valid" and self.spec == APPROVAL:
            said["unchecked"] = sorted({"certificates", "commit", *self.unchecked})
        return said

    def encode(self) -> bytes:
        """Return the vector file."""
        return json.dumps(self.document(), indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def resume_case(id: str, description: str, input: str, expect: str = "valid", **members: Any) -> TokenCase:
    """Return a vector of a resume token."""
    members.setdefault("expected", resume_expected())
    return TokenCase(id, description, input, expect, spec=RESUME, **members)
