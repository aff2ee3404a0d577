# SPDX-License-Identifier: Apache-2.0
"""K: the trust file (stage input), and what its pins and dates say of a bundle (stage trust)."""

from collections.abc import Iterator
from typing import Any

from forge.bundle import Artifact, bundle, lineage_and_nodes, pae, payload_of, signature
from forge.canonical import canonical, digest
from forge.case import Case, bundle_case
from forge.edits import Json, drop, put, rename
from forge.keys import TestKey, b64
from forge.log import Log, leaf
from forge.policy import edited, governed_bundle, policy_document
from forge.trust import (
    BUNDLE,
    ECDSA,
    ISSUER,
    LOG,
    NOW,
    RSA,
    RSA_ISSUER,
    SECOND,
    entry,
    trust_bytes,
    trust_document,
    trust_file,
)


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _forms()
    yield from _issuers()
    yield from _test_keys()
    yield from _pins()
    yield from _policies()
    yield from _absent()
    yield from _dates()


def _case(id: str, description: str, trust: bytes, *verdict: Any, data: bytes | None = None, **members: Any) -> Case:
    return bundle_case(id, description, data or bundle(), *verdict, files={"trust.json": trust}, **members)


def _forms() -> Iterator[Case]:
    good, document = trust_file(), trust_document()
    p384 = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE" + "A" * 128
    for id, description, trust in (
        ("K01a", "key without a role", trust_bytes(drop("keys/0/role")(document))),
        ("K01b", "unknown role", trust_bytes(put("keys/0/role", "admin")(document))),
        ("K01c", "key twice", trust_file(entry(BUNDLE), entry(BUNDLE))),
        ("K01d", "key twice with two roles", trust_file(entry(BUNDLE), entry(BUNDLE, "log"))),
        ("K01e", "duplicate member", good.replace(b'"version": 1', b'"version": 1, "version": 1')),
        ("K01f", "keyid of another key", trust_file(entry(BUNDLE, keyid=SECOND.keyid))),
        ("K01g", "public key is no key", trust_file(_key_of(b"no key"))),
        ("K01h", "algorithm of another kind of key", trust_file(entry(BUNDLE, alg="ecdsa-p256-sha256"))),
        ("K01i", "RSA key as ECDSA", trust_file(entry(RSA, alg="ecdsa-p256-sha256"))),
        ("K01j", "unknown algorithm", trust_file(entry(ECDSA, alg="ecdsa-p384-sha384", public_key=p384))),
        ("K01k", "unknown member", trust_bytes({**document, "trusted": True})),
        ("K01l", "no keys member", trust_bytes(drop("keys")(document))),
        ("K01m", "version 0", trust_bytes({**document, "version": 0})),
        ("K01n", "threshold 0", trust_file(threshold={"bundle": 0})),
        ("K01o", "cut off", good[:-3]),
        ("K01p", "bytes behind the document", good + b"{}"),
        ("K01q", "invalid UTF-8", good.replace(b'"log"', b'"l\xffg"')),
        ("K01r", "empty", b""),
        ("K01s", "array", b"[]"),
        ("K01t", "instant without microseconds", trust_file(entry(BUNDLE, valid_from="2026-01-01T00:00:00Z"))),
        ("K01u", "member in another case", trust_bytes(rename("version", "Version")(document))),
        ("K01v", "version 1.0", good.replace(b'"version": 1', b'"version": 1.0')),
        ("K01w", "NaN", good.replace(b'"version": 1', b'"skew_s": NaN, "version": 1')),
        ("K01x", "unknown requirement", trust_file(require=["witness"])),
        ("K01y", "byte order mark", b"\xef\xbb\xbf" + good),
        ("K01z", "bytes behind the public key", trust_file(_key_of(BUNDLE.spki + b"\x00"))),
    ):
        yield _case(id, f"trust file: {description}", trust, "trust_invalid", "input")
    large = trust_file() + b" " * 1_048_576
    yield _case("K06", "trust file over 1 MiB", large, "limit_exceeded", "input")
    yield _case("K07", "trust file: compact and not sorted", _unsorted(document))
    other_roles = (entry(BUNDLE), entry(LOG, "log"), entry(SECOND, "root"), entry(ISSUER, "issuer", issuer="ci"))
    yield _case("K07b", "trust file: keys of other roles beside", trust_file(*other_roles))


def _key_of(der: bytes) -> Json:
    return entry(BUNDLE, public_key=b64(der), keyid=digest(der))


def _unsorted(document: Json) -> bytes:
    members = ",".join(f'"{name}":{canonical(document[name]).decode()}' for name in sorted(document, reverse=True))
    return f"{{{members}}}".encode()


def _issuers() -> Iterator[Case]:
    code = ("trust_invalid", "input")
    tokens = {"alg": "rsa-pkcs1-sha256"}
    minting = (entry(BUNDLE), entry(RSA_ISSUER, "issuer", issuer="clyra", **tokens))
    yield _case("K09a", "RSA of tokens for an issuer", trust_file(*minting))
    for letter, role in (("b", "bundle"), ("c", "approver"), ("d", "log"), ("e", "root")):
        keys = (entry(BUNDLE), entry(RSA, role, **tokens))
        yield _case(f"K09{letter}", f"RSA of tokens for a key of role {role}", trust_file(*keys), *code)
    named = entry(SECOND, "approver", issuer="clyra")
    yield _case("K09f", "issuer named for an approver", trust_file(entry(BUNDLE), named), *code)
    ed25519 = entry(ISSUER, "issuer", **tokens)
    yield _case("K09g", "RSA of tokens, an Ed25519 key", trust_file(entry(BUNDLE), ed25519), *code)
    weak = TestKey("weak issuer", "rsa-pss-sha256", bits=1024)
    small = trust_file(entry(BUNDLE), entry(weak, "issuer", **tokens))
    yield _case("K09h", "RSA of tokens, 1024 bits", small, "key_weak", "input")
    for letter, principal in (("i", "alice@acme.example"), ("j", "key:abc"), ("k", "group:finance"), ("l", "svc:a b")):
        person = trust_file(entry(BUNDLE), entry(SECOND, "approver", principal=principal))
        yield _case(f"K09{letter}", f"principal {principal}", person, *code)
    pkcs1 = bundle(envelope=_pkcs1)
    yield _case(
        "K09m", "bundle signed as tokens are", trust_file(*minting), "signature_invalid", "signature", data=pkcs1
    )
    named = entry(SECOND, "approver", principal="oidc:https://sso.acme.example:7f3a")
    yield _case("K09n", "approver with a principal", trust_file(entry(BUNDLE), named))


def _pkcs1(envelope: Json) -> Json:
    signed = RSA_ISSUER.sign_pkcs1(pae(payload_of(envelope)))
    return {**envelope, "signatures": [signature(signed, RSA_ISSUER.keyid)]}


def _test_keys() -> Iterator[Case]:
    """Yield trust files that a project brings, for which a log is verified: beside a bundle none is ever taken."""
    log = Log([leaf(None), leaf(digest(b"manifest"))]).files()
    own = TestKey("nobody published this one")
    for id, description, key, code, stage in (
        ("K10a", "published test key in a project's trust file", BUNDLE, "trust_invalid", "input"),
        ("K10b", "other key in a project's trust file", own, "checkpoint_invalid", "log"),
    ):
        project = {"dbt_project.yml": b"name: shop\n", "clyra.trust.json": trust_file(entry(key, "log"))}
        yield Case(id, description, b"", code, stage, command="verify-log", files={**log, **project}, args=())
    given = {**log, "trust.json": trust_file()}
    yield Case(
        "K10c", "published test key, by argument", command="verify-log", files=given, args=("--trust", "trust.json")
    )


def _pins() -> Iterator[Case]:
    trust = trust_file()
    pinned = ("--trust", "trust.json", "--trust-sha256", digest(trust), "--at", NOW)
    other = ("--trust", "trust.json", "--trust-sha256", "0" * 64, "--at", NOW)
    yield _case("K02a", "trust file is not the one pinned", trust, "trust_pin", "input", args=other)
    yield _case("K02b", "trust file is the one pinned", trust, args=pinned)


def _policies() -> Iterator[Case]:
    data = governed_bundle()
    pins = {name: trust_file(policies=[pin]) for name, pin in _PINS.items()}
    code = ("policy_not_pinned", "trust")
    yield _case("K05a", "another policy is pinned", pins["other"], *code, data=data)
    yield _case("K05b", "a policy is pinned, the bundle has none", pins["right"], *code)
    yield _case("K05c", "policy pinned for another environment", pins["environment"], *code, data=data)
    yield _case("K05d", "policy pinned for this environment", pins["right"], data=data)
    yield _case("K05e", "no policy may be in force", trust_file(policies=[]), *code, data=data)
    first = trust_file(policies=[_PINS["other"], _PINS["environment"], _PINS["right"]])
    yield _case("K05f", "one of several pins fits", first, data=data)
    apart = trust_file(policies=[_PINS["environment"], {**_PINS["other"], "environments": ["prod"]}])
    yield _case("K05g", "digest and environment of two pins", apart, *code, data=data)
    own = governed_bundle(policy=edited(put("enforcement/risk/weights/schema_change", 0)))
    yield _case("K05h", "bundle brings a weaker policy of its own", pins["right"], *code, data=own)


_PINS = {
    "right": {"sha256": digest(canonical(policy_document())), "environments": ["staging", "prod"]},
    "environment": {"sha256": digest(canonical(policy_document())), "environments": ["staging"]},
    "other": {"sha256": digest(b"other policy"), "environments": ["prod"]},
}


def _absent() -> Iterator[Case]:
    unevaluated = ("trust_not_evaluated",)
    yield bundle_case("X06", "no trust file", bundle(), args=(), warnings=unevaluated)
    inside = {**lineage_and_nodes(), "artifacts/clyra.trust.json": Artifact(trust_file())}
    yield bundle_case("K04", "trust file inside the bundle", bundle(artifacts=inside), args=(), warnings=unevaluated)
    flaw = bundle(manifest=put("journal/count", 8))
    yield bundle_case("X06b", "no trust file, journal at fault", flaw, "journal_count", "journal", args=())


def _dates() -> Iterator[Case]:
    since = trust_file(entry(BUNDLE, valid_to="2026-01-31T08:30:00.000000Z"))
    yield _case("X07", "key expired since, time only claimed", since, warnings=("time_claimed",))
    earlier = ("--trust", "trust.json", "--at", "2026-01-31T08:20:00.000000Z")
    yield _case("X07b", "key expires after the time of verification", since, args=earlier)
    forever = {name: value for name, value in entry(BUNDLE).items() if name != "valid_to"}
    late = ("--trust", "trust.json", "--at", "2040-01-01T00:00:00.000000Z")
    yield _case("X07c", "key without an end", trust_file(forever), args=late)
    required = trust_file(require=["tsr"])
    yield _case("X05a", "timestamp required, absent", required, "attestation_missing", "time")
