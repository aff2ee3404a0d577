# SPDX-License-Identifier: Apache-2.0
"""T: approval tokens and resume tokens, each with one fault or none, and the order of the faults."""

from collections.abc import Iterator
from typing import Any

from forge.edits import DocumentEdit, Json, both, drop, put
from forge.journal import text_digest
from forge.keys import TestKey
from forge.suites.resume import resume_cases
from forge.suites.token_claims import claims_cases, meaning_cases
from forge.suites.token_form import form_cases
from forge.suites.token_json import json_cases
from forge.suites.token_keys import key_cases
from forge.suites.token_order import order_cases
from forge.suites.token_signature import signature_cases
from forge.token import (
    AUTHOR,
    BEN,
    CAROL,
    DEPLOYER,
    JTI,
    NOW_S,
    RUN,
    TokenCase,
    approval,
    approval_claims,
    approval_expected,
    compact,
    issuer,
    token,
)
from forge.trust import RSA_ISSUER


def cases() -> Iterator[TokenCase]:
    """Yield the suite."""
    yield from _accepted()
    yield from form_cases()
    yield from json_cases()
    yield from key_cases()
    yield from signature_cases()
    yield from claims_cases()
    yield from meaning_cases()
    yield from order_cases()
    yield from resume_cases()


def _accepted() -> Iterator[TokenCase]:
    def good(number: int, description: str, edit: DocumentEdit | bytes | None = None, **members: Any) -> TokenCase:
        return TokenCase(f"TV{number:02}", description, members.pop("input", None) or token(edit), **members)

    yield good(1, "good token, Ed25519")
    yield good(2, "good token, RS256", input=token(key=RSA_ISSUER))
    yield good(3, "one key of several", keys=[issuer(TestKey("another issuer")), issuer()])
    backwards = dict(reversed(approval_claims().items()))
    yield good(4, "claims in another order", compact(backwards))
    spaced = compact(approval_claims()).replace(b'":', b'" :\t').replace(b',"', b'\n,\r"')
    yield good(5, "white space between the claims", spaced)
    escaped = compact(approval_claims()).replace(b'"acme"', b'"\\u0061cm\\u0065"')
    yield good(6, "claim with needless escapes", escaped)
    issued: Json = {"keys": [issuer(issuer="ci \u00e4\U0001f511")]}
    yield good(7, "issuer outside ASCII", put("iss", "ci \u00e4\U0001f511"), **issued)
    yield from _edges(good)
    yield from _variants(good)


def _edges(good: Any) -> Iterator[TokenCase]:
    yield good(10, "a second before its end", put("exp", NOW_S + 1))
    yield good(11, "nbf 30 s ahead", put("nbf", NOW_S + 30))
    yield good(12, "iat 30 s ahead", both(put("iat", NOW_S + 30), put("exp", NOW_S + 90)))
    yield good(13, "longest lifetime", put("exp", NOW_S + 840))
    day = both(put("iat", NOW_S), put("exp", NOW_S + 86_400))
    yield good(14, "a day, where the policy allows it", day, expected=_expected(max_ttl_s=86_400))
    yield good(15, "key valid from this second", keys=[issuer(valid_from="2026-01-31T09:00:00.000000Z")])
    yield good(16, "key valid for another second", keys=[issuer(valid_to="2026-01-31T09:00:01.000000Z")])


def _variants(good: Any) -> Iterator[TokenCase]:
    two = _approvals(BEN, CAROL)
    yield good(20, "two approvers, both asked for", both(two, put("quorum", 2)), expected=_expected(quorum=2))
    eight = _approvals(*(f"oidc:https://sso.acme.example:p{n}" for n in range(8)))
    yield good(21, "eight approvers", eight)
    yield good(22, "resource below a trailing .*", expected=_expected(resource="analytics.marts.orders"))
    yield good(23, "resource two levels below a trailing .*", expected=_expected(resource="analytics.marts.a.b"))
    yield good(44, "resource one letter below a trailing .*", expected=_expected(resource="analytics.marts.a"))
    yield good(24, "presented again by the same run", used={JTI: RUN})
    yield good(25, "other withdrawn ids", revoked=[text_digest("another request"), "AAAAAAAAAAAAAAAAAAAAAA"])
    yield good(26, "other used tokens", used={"AAAAAAAAAAAAAAAAAAAAAA": "another-run"})
    yield good(30, "nobody remembers used tokens", used=None, unchecked=["single_use"])
    yield good(31, "no tree where trees are not bound", drop("tree"), **_unbound())
    yield good(
        32,
        "consumer that does not know the tree",
        expected=_expected(tree=None, tree_binding=False),
        unchecked=["tree"],
    )
    yield good(33, "consumer that pins no policy", expected=_expected(policies=None), unchecked=["policy"])
    yield good(34, "consumer that knows no presenter", expected=_expected(presenter=None), unchecked=["presenter"])
    yield good(35, "consumer that names no resource", expected=_expected(resource=None), unchecked=["resource"])
    own = _approvals(AUTHOR)
    yield good(36, "duties judged elsewhere", own, expected=_expected(duties=False), unchecked=["duties"])
    text = both(drop("resources"), put("payload_type", "sql-text/v1"))
    yield good(37, "SQL text without resources", text, expected=_expected(payload_type="sql-text/v1"))
    glass = {"reason_sha256": text_digest("reason"), "review_due": NOW_S + 86_400}
    alone = both(both(_approvals(DEPLOYER), put("quorum", 2)), put("break_glass", glass))
    yield good(38, "break-glass by the deployer alone", alone, expected=_expected(quorum=2))
    limits = both(put("max_rows", 1000), put("max_sessions", 8))
    yield good(39, "limits of rows and sessions", limits, unchecked=["max_rows", "max_sessions"])
    bound = put("cnf", {"jkt": "A" * 43})
    yield good(40, "token bound to a key of its holder", bound, unchecked=["cnf"])
    yield good(41, "own action", put("actions", ["dbt.run", "x.reindex"]), expected=_expected(action="x.reindex"))
    more = put("rules", ["x_prod_writes", "x_schema_change"])
    yield good(42, "more rules than are asked for", more)
    yield good(
        43,
        "tree and commit of SHA-256",
        both(put("tree", "7d" * 32), put("commit", "2b" * 32)),
        expected=_expected(tree="7d" * 32),
    )


def _expected(**members: Any) -> Json:
    return approval_expected() | members


def _unbound() -> Json:
    return {"expected": _expected(tree=None, tree_binding=False), "unchecked": ["tree"]}


def _approvals(*subs: str) -> DocumentEdit:
    return put("approvals", [approval(sub) for sub in subs])
