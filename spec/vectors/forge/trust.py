# SPDX-License-Identifier: Apache-2.0
"""Trust files (spec/trust.md) over the test keys."""

import json
from typing import Any

from forge.canonical import digest
from forge.edits import Json
from forge.keys import TestKey, b64

BUNDLE = TestKey("bundle")
SECOND = TestKey("second bundle")
STRANGER = TestKey("stranger")
ECDSA = TestKey("bundle ecdsa", "ecdsa-p256-sha256")
RSA = TestKey("bundle rsa", "rsa-pss-sha256")
LOG = TestKey("log")
ISSUER = TestKey("issuer")
RSA_ISSUER = TestKey("rsa issuer", "rsa-pss-sha256")
BEN, CAROL, DORA, ROBOT = (TestKey(f"approver {name}") for name in ("ben", "carol", "dora", "robot"))
ECDSA_APPROVER = TestKey("approver ecdsa", "ecdsa-p256-sha256")
RSA_APPROVER = TestKey("approver rsa", "rsa-pss-sha256")
APPROVERS = (BEN, CAROL, DORA, ROBOT, ECDSA_APPROVER, RSA_APPROVER)
NAMED = (BUNDLE, SECOND, STRANGER, ECDSA, RSA, LOG, ISSUER, RSA_ISSUER, *APPROVERS)

ORIGIN = "jaffle_shop/6f1c2d3e4b5a69788796a5b4c3d2e1f0"
NOW = "2026-01-31T09:00:00.000000Z"


def entry(key: TestKey, role: str = "bundle", **members: Any) -> Json:
    """Return the trust file's entry of a key, valid through the first half of 2026."""
    result: Json = {"keyid": key.keyid, "public_key": b64(key.spki), "alg": key.alg, "role": role}
    result |= {"valid_from": "2026-01-01T00:00:00.000000Z", "valid_to": "2026-07-01T00:00:00.000000Z"}
    return result | members


def raw_entry(spki: bytes, alg: str = "ed25519", **members: Any) -> Json:
    """Return the entry of a key of which only the public half exists."""
    result: Json = {"keyid": digest(spki), "public_key": b64(spki), "alg": alg, "role": "bundle"}
    return result | {"valid_from": "2026-01-01T00:00:00.000000Z", **members}


def trust_document(*keys: Json, **members: Any) -> Json:
    """Return a trust file; without keys, one with the bundle key and the log key of the good bundle."""
    return {"version": 1, "keys": list(keys or (entry(BUNDLE), entry(LOG, "log"))), **members}


def trust_file(*keys: Json, **members: Any) -> bytes:
    """Return the bytes of ``trust_document``, indented: a trust file need not be canonical."""
    return trust_bytes(trust_document(*keys, **members))


def trust_bytes(document: Json) -> bytes:
    """Return a trust file's bytes."""
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
