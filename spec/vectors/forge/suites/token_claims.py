# SPDX-License-Identifier: Apache-2.0
"""TC: what claims may be. TM: what they must say here and now."""

from collections.abc import Iterator
from typing import Any

from forge.edits import DocumentEdit, Json, both, drop, put, rename
from forge.journal import text_digest
from forge.keys import TestKey
from forge.token import (
    AUDIENCE,
    AUTHOR,
    BEN,
    CAROL,
    DEPLOYER,
    JTI,
    NOW_S,
    OTHER_RUN,
    RUN,
    TREE,
    TokenCase,
    approval,
    approval_claims,
    approval_expected,
    issuer,
    token,
)

OPTIONAL = ("resources", "tree", "commit")
UNKNOWN = ("scope", "approved", "Exp", "payload_hash", "contributors", "azp", "amr", "__proto__", "")
Row = tuple[str, DocumentEdit]


def claims_cases() -> Iterator[TokenCase]:
    """Yield the claims that are no claims."""
    versions: list[Row] = [("none", drop("v")), *((f"{value!r}", put("v", value)) for value in (0, 2, "1", True, None))]
    for number, (description, edit) in enumerate(versions, 1):
        yield TokenCase(f"TC{number:02}", f"version {description}", token(edit), "approval_version")
    missing = [name for name in approval_claims() if name != "v" and name not in OPTIONAL]
    rows: list[Row] = [(f"without {name}", drop(name)) for name in missing]
    rows += [("plan without resources", drop("resources"))]
    rows += [(f"unknown: {name or 'empty name'}", put(name, 1)) for name in UNKNOWN]
    rows += [*_typed(), *_lists(), *_formed()]
    for number, (description, edit) in enumerate(rows, 10):
        yield TokenCase(f"TC{number}", f"claims: {description}", token(edit), "approval_claims")
    ids = (JTI[:-1], JTI + "A", JTI[:-1] + "x", JTI + "==", "", "../" + "A" * 19, "0" * 32, JTI[:-1] + "+", f"{JTI}\n")
    for number, text in enumerate(ids, 200):
        yield TokenCase(f"TC{number}", f"jti {text!r}", token(put("jti", text)), "approval_jti")


def _typed() -> Iterator[Row]:
    for name in ("iat", "exp"):
        for value in (str(NOW_S + 240), True, None, [NOW_S + 240], -1):
            yield f"{name} {value!r}", put(name, value)
    for value in (str(NOW_S), False, None):
        yield f"nbf {value!r}", put("nbf", value)
    for name in ("iss", "sub", "author", "aud", "jti", "tenant", "run_id", "payload_sha256", "policy_sha256"):
        yield f"{name} a number", put(name, 1)
        yield f"{name} null", put(name, None)
    for name in ("aud", "iss", "run_id", "tenant"):
        yield f"{name} an array of the right text", put(name, [approval_claims()[name]])
    yield "aud an object", put("aud", {AUDIENCE: True})
    for name in ("actions", "resources", "rules", "approvals"):
        yield f"{name} a text", put(name, "analytics.customers")
        yield f"{name} an object", put(name, {})
    for value in ("1", True, 0, 9, -1, None):
        yield f"quorum {value!r}", put("quorum", value)
    for name in ("max_rows", "max_sessions"):
        for value in (-1, "5", True):
            yield f"{name} {value!r}", put(name, value)


def _lists() -> Iterator[Row]:
    yield "no actions", put("actions", [])
    yield "actions not sorted", put("actions", ["sql.dml", "dbt.run"])
    yield "an action twice", put("actions", ["dbt.run", "dbt.run"])
    for action in ("dbt.*", "*", "sql", "sql.select", "DBT.run", "x.", "x.A", "dbt.run "):
        yield f"action {action!r}", put("actions", [action])
    yield "no resources", put("resources", [])
    yield "65 resources", put("resources", [f"r{n:02}" for n in range(65)])
    yield "a resource twice", put("resources", ["analytics.customers"] * 2)
    for resource in ("*", "a.*.b", "**", "a*", "a.**", "*.a", "a.*.*", ".*.*", "", "a\nb", "a\x7f"):
        yield f"resource {resource!r}", put("resources", ["analytics.customers", resource])
    yield "a resource that is a number", put("resources", [1])
    yield "no rules", put("rules", [])
    yield "33 rules", put("rules", [f"x_{n:02}" for n in range(33)])
    yield "a rule twice", put("rules", ["x_prod_writes"] * 2)
    for rule in ("X_prod", "*", "", "x-prod", "a" * 65):
        yield f"rule {rule[:20]!r}", put("rules", [rule])


def _formed() -> Iterator[Row]:
    for name in ("payload_sha256", "request_sha256", "policy_sha256"):
        yield f"{name} in upper case", put(name, text_digest("plan").upper())
        yield f"{name} of 63 digits", put(name, text_digest("plan")[:-1])
    yield "payload digest with its algorithm", put("payload_sha256", f"sha256:{text_digest('plan')}")
    for kind in ("dbt-plan/v2", "dbt-plan", "sql-text/V1", "", "*"):
        yield f"payload_type {kind!r}", put("payload_type", kind)
    for text in (TREE.upper(), TREE[:-1], "HEAD", "", "g" * 40, TREE + "00"):
        yield f"tree {text!r}", put("tree", text)
    for text in ("alice@acme.example", "alice", "", "key:abc", "oidc:alice", "svc:a b", "group:x", f"{DEPLOYER}\n"):
        yield f"sub {text!r}", put("sub", text)
    yield "author an e-mail address", put("author", "alice@acme.example")
    yield "author_basis unknown", put("author_basis", "guessed")
    for text in ("pg:", "pg:a/b", "mysql:shop", "dbt:shop", "", "*", "snowflake:a", "databricks:w/c/x", "gateway:"):
        yield f"aud {text!r}", put("aud", text)
    for text in ("", "a b", "a/b", "x" * 129, "\u00e4"):
        yield f"tenant {text[:20]!r}", put("tenant", text)
        yield f"run_id {text[:20]!r}", put("run_id", text)
    yield "issuer empty", put("iss", "")
    yield "issuer with a line break", put("iss", "clyra\n")
    yield from _nested()


def _nested() -> Iterator[Row]:
    yield "no approvals", put("approvals", [])
    yield "nine approvals", put("approvals", [approval(f"svc:p{n}") for n in range(9)])
    for name in ("sub", "role", "method", "at", "cert_sha256"):
        yield f"approval without {name}", drop(f"approvals/0/{name}")
    yield "approval with another member", put("approvals/0/weight", 2)
    yield "approval by an e-mail address", put("approvals/0/sub", "ben@acme.example")
    yield "approval by a method that does not exist", put("approvals/0/method", "webauthn")
    yield "approval at a text", put("approvals/0/at", "2026-01-31T08:50:00Z")
    yield "approval with a role in upper case", put("approvals/0/role", "Approver")
    yield "approval with a short digest", put("approvals/0/cert_sha256", "abc")
    yield "approval that is a text", put("approvals/0", BEN)
    yield "break-glass true", put("break_glass", True)
    yield "break-glass without a due date", put("break_glass", {"reason_sha256": text_digest("reason")})
    yield "break-glass null", put("break_glass", None)
    yield "cnf of another kind", put("cnf", {"jwk": {}})
    yield "cnf with a short thumbprint", put("cnf", {"jkt": "A" * 42})
    yield "aud written audience", rename("aud", "audience")


def meaning_cases() -> Iterator[TokenCase]:
    """Yield good claims that are not for here and now."""
    numbers = iter(range(1, 1000))
    for word, description, edit, members in (*_time(), *_place(), *_object(), *_approved(), *_use()):
        made = token(edit) if edit else token()
        yield TokenCase(f"TM{next(numbers):02}", f"{word}: {description}", made, f"approval_{word}", **members)


Meaning = tuple[str, str, DocumentEdit | None, dict[str, Any]]


def _expect(**members: Any) -> dict[str, Any]:
    return {"expected": approval_expected() | members}


def _time() -> Iterator[Meaning]:
    yield "iss", "another name than the key's", put("iss", "attacker"), {}
    yield "iss", "prefix of the key's", put("iss", "clyr"), {}
    yield "iss", "in upper case", put("iss", "CLYRA"), {}
    yield "iss", "another key mints under it", None, {"keys": [issuer(issuer="other"), issuer(TestKey("x issuer"))]}
    yield "expired", "at this second", put("exp", NOW_S), {}
    yield "expired", "a second ago", put("exp", NOW_S - 1), {}
    yield "expired", "at the beginning of time", put("exp", 0), {}
    yield "nbf", "31 s ahead", put("nbf", NOW_S + 31), {}
    yield "nbf", "issued 31 s ahead", both(put("iat", NOW_S + 31), put("exp", NOW_S + 91)), {}
    yield "nbf", "issued tomorrow, for a minute", both(put("iat", NOW_S + 86_400), put("exp", NOW_S + 86_460)), {}
    yield "nbf", "in milliseconds", put("nbf", NOW_S * 1000), {}
    yield "lifetime", "a second too long", put("exp", NOW_S + 841), {}
    yield "lifetime", "longer than the consumer's", None, _expect(max_ttl_s=299)
    yield (
        "lifetime",
        "longer than a day, whatever a policy says",
        put("exp", NOW_S - 60 + 86_401),
        _expect(max_ttl_s=1_000_000),
    )
    yield "lifetime", "none at all", both(put("iat", NOW_S + 20), put("exp", NOW_S + 20)), {}
    yield "lifetime", "negative", both(put("iat", NOW_S + 30), put("exp", NOW_S + 10)), {}
    yield "lifetime", "end in milliseconds", put("exp", NOW_S * 1000), {}
    yield "lifetime", "issued at the beginning of time", put("iat", 0), {}


def _place() -> Iterator[Meaning]:
    for audience in (
        "dbt:jaffle_shop/dev",
        "dbt:jaffle_shop/prod2",
        "dbt:jaffle_shop/pro",
        "dbt:Jaffle_shop/prod",
        "pg:prod",
    ):
        yield "aud", f"token for {audience}", put("aud", audience), {}
    yield "aud", "consumer of another kind", None, _expect(audience="gateway:jaffle_shop/prod")
    for tenant in ("acme2", "Acme", "acm", "acme."):
        yield "tenant", f"token for {tenant}", put("tenant", tenant), {}
    yield "presenter", "another service presents it", None, _expect(presenter="svc:nightly")
    yield "presenter", "the author presents it", None, _expect(presenter=AUTHOR)
    yield "presenter", "given to somebody with a longer name", put("sub", "svc:deploy2"), {}
    yield "run_id", "replayed in another run", None, _expect(run_id=OTHER_RUN)
    yield "run_id", "for another run", put("run_id", OTHER_RUN), {}
    yield "run_id", "in upper case", put("run_id", RUN.upper()), {}
    yield "run_id", "prefix of the run", put("run_id", RUN[:-1]), {}


def _object() -> Iterator[Meaning]:
    yield "payload", "another plan", None, _expect(payload_sha256=text_digest("another plan"))
    yield "payload", "same digest, another type", None, _expect(payload_type="bytes/v1")
    yield "payload", "plan shown as SQL text", None, _expect(payload_type="sql-text/v1")
    for action in ("sql.ddl", "dbt", "dbt.run.all", "DBT.RUN", "sql.truncate"):
        yield "action", f"asked for {action}", None, _expect(action=action)
    for resource in (
        "analytics.orders", "analytics.customer", "analytics.customers2", "analytics.customers.x",
        "Analytics.customers", "analytics.marts", "analytics.marts.", "analytics.martsx.a", "analyticsxmarts.a",
        "other.analytics.marts.a",
        "analytics.MARTS.a", "analytics..marts.a", "*", "analytics.*", "", "analytics.mart\u0455.a",
    ):  # fmt: skip
        yield "resource", f"asked for {resource or 'nothing'}", None, _expect(resource=resource)
    yield "tree", "another tree", None, _expect(tree="8e" * 20)
    yield "tree", "no tree in the token", drop("tree"), {}
    yield "tree", "tree here not known or not clean", None, _expect(tree=None)
    yield "tree", "neither has one", drop("tree"), _expect(tree=None)
    yield "tree", "first half of a tree of SHA-256", put("tree", TREE + "0" * 24), {}
    yield "policy", "another policy", None, _expect(policies=[text_digest("another policy")])
    yield "policy", "no policy is good", None, _expect(policies=[])
    yield "policy", "a rule that it does not lift", None, _expect(rules=["x_schema_change"])
    yield "policy", "one of two rules that it does not lift", None, _expect(rules=["x_prod_writes", "x_schema_change"])
    yield "policy", "a rule with a longer name", put("rules", ["x_prod"]), {}


def _approved() -> Iterator[Meaning]:
    yield "quorum", "one of two that the token asks for", put("quorum", 2), {}
    yield "quorum", "one of two that the consumer asks for", None, _expect(quorum=2)
    yield "quorum", "two of three", _two(BEN, CAROL, quorum=3), {}
    yield "quorum", "the same person twice", _two(BEN, BEN, quorum=2), {}
    yield "quorum", "the same person twice where one is enough", _two(BEN, BEN, quorum=1), {}
    yield "duties", "the author approves", put("approvals/0/sub", AUTHOR), {}
    yield "duties", "the deployer approves", put("approvals/0/sub", DEPLOYER), {}
    yield "duties", "an agent approves", put("approvals/0/sub", "agent:reviewer"), {}
    yield "duties", "the author is the second of two", _two(BEN, AUTHOR, quorum=2), {}
    yield "duties", "the author is one too many", _two(AUTHOR, BEN, quorum=1), {}
    glass = put("break_glass", {"reason_sha256": text_digest("reason"), "review_due": NOW_S + 86_400})
    yield "duties", "an agent breaks the glass", both(glass, put("approvals/0/sub", "agent:oncall")), {}


def _two(first: str, second: str, *, quorum: int) -> DocumentEdit:
    entries: list[Json] = [approval(first), approval(second) | {"cert_sha256": text_digest("second certificate")}]
    return lambda claims: {**claims, "approvals": entries, "quorum": quorum}


def _use() -> Iterator[Meaning]:
    yield "revoked", "the token", None, {"revoked": [JTI]}
    yield "revoked", "its request", None, {"revoked": [text_digest("request")]}
    yield "revoked", "a certificate behind it", None, {"revoked": [approval()["cert_sha256"]]}
    yield "revoked", "and used as well", None, {"revoked": [JTI], "used": {JTI: OTHER_RUN}}
    yield "used", "by another run", None, {"used": {JTI: OTHER_RUN}}
    text = both(drop("resources"), put("payload_type", "sql-text/v1"))
    once = {**_expect(payload_type="sql-text/v1"), "used": {JTI: RUN}}
    yield "used", "SQL text, by the same run", text, once
    yield "used", "SQL text, by another run", text, {**once, "used": {JTI: OTHER_RUN}}
    document = put("payload_type", "json-jcs/v1")
    yield (
        "used",
        "a JSON document, by the same run",
        document,
        {**_expect(payload_type="json-jcs/v1"), "used": {JTI: RUN}},
    )
