# SPDX-License-Identifier: Apache-2.0
"""TR: resume tokens."""

from collections.abc import Iterator
from typing import Any

from forge.edits import DocumentEdit, both, drop, flip, put, swap
from forge.journal import text_digest
from forge.token import (
    APPROVAL_TYP,
    JTI,
    NOW_S,
    OTHER_RUN,
    RESUME_TYP,
    RUN,
    TokenCase,
    b64url,
    compact,
    header_of,
    issuer,
    resume_case,
    resume_claims,
    resume_expected,
    token,
)
from forge.trust import ISSUER, RSA_ISSUER, STRANGER


def resume_cases() -> Iterator[TokenCase]:
    """Yield this part of the suite ``approval``."""
    yield from _accepted()
    yield from _form()
    yield from _claims()
    yield from _meaning()


def _resume(edit: DocumentEdit | bytes | None = None, **layers: Any) -> str:
    return token(edit, typ=RESUME_TYP, **layers)


def _accepted() -> Iterator[TokenCase]:
    yield resume_case("TR01", "good resume token, Ed25519", _resume())
    yield resume_case("TR02", "good resume token, RS256", _resume(key=RSA_ISSUER))
    yield resume_case("TR03", "resume token of seven days", _resume(put("exp", NOW_S - 60 + 604_800)))
    yield resume_case("TR04", "resume token, a second before its end", _resume(put("exp", NOW_S + 1)))
    ahead = both(put("iat", NOW_S + 30), put("exp", NOW_S + 60))
    yield resume_case("TR05", "resume token, iat 30 s ahead", _resume(ahead))
    nothing = {"checkpoint": None, "state_sha256": None, "request_sha256": None}
    open_minded = resume_expected() | nothing
    yield resume_case("TR06", "resume token, the caller compares the state", _resume(), expected=open_minded)


def _form() -> Iterator[TokenCase]:
    header, claims, signature = _resume().split(".")
    rows = [
        ("size", "too long", f"{header}.{claims}.{signature}{'A' * 8192}"),
        ("parts", "two parts", f"{header}.{claims}"),
        ("encoding", "padded", f"{header}.{claims}.{signature}=="),
        ("encoding", "a claim twice", _resume(swap(b'{"v":1', b'{"v":1,"exp":9999999999')(compact(resume_claims())))),
        ("encoding", "end with a fraction", _resume(compact(resume_claims()).replace(b'340,"jti', b'340.0,"jti'))),
        ("header", "an approval token", token()),
        ("header", "resume claims as an approval token", token(compact(resume_claims()))),
        ("header", "typ JWT", _resume(header=put("typ", "JWT"))),
        ("header", "crit", _resume(header=put("crit", ["exp"]))),
        ("header", "jwk of an attacker", _resume(header=put("jwk", {"x": b64url(STRANGER.raw_public)}))),
        ("kid", "unknown key", _resume(header=put("kid", STRANGER.keyid), sign=STRANGER.sign)),
        ("alg", "none", _resume(header=put("alg", "none"))),
        ("alg", "HS256", _resume(header=put("alg", "HS256"))),
        ("signature", "flipped", _resume(sign=lambda message: flip(ISSUER.sign(message), 40))),
        ("signature", "by a stranger", _resume(sign=STRANGER.sign)),
        ("claims", "approval claims as a resume token", token(header=put("typ", RESUME_TYP))),
    ]
    for number, (word, description, made) in enumerate(rows, 10):
        yield resume_case(f"TR{number}", f"resume {word}: {description}", made, f"approval_{word}")
    revoked = [issuer(revoked_at="2026-01-30T00:00:00.000000Z")]
    yield resume_case("TR30", "resume key_period: revoked", _resume(), "approval_key_period", keys=revoked)
    as_resume = token(typ=RESUME_TYP, header=lambda _: header_of(ISSUER, RESUME_TYP))
    yield TokenCase("TR31", "resume token as an approval token", as_resume, "approval_header")
    relabelled = token(compact(resume_claims()), header=lambda _: header_of(ISSUER, APPROVAL_TYP))
    yield TokenCase("TR32", "resume claims, typ of an approval token", relabelled, "approval_claims")


def _claims() -> Iterator[TokenCase]:
    rows: list[tuple[str, DocumentEdit]] = [(f"without {n}", drop(n)) for n in resume_claims() if n != "v"]
    rows += [
        ("nbf, which it does not have", put("nbf", NOW_S)),
        ("approvals, which it does not have", put("approvals", [])),
        ("checkpoint empty", put("checkpoint", "")),
        ("checkpoint with a line break", put("checkpoint", "a\nb")),
        ("state in upper case", put("state_sha256", text_digest("state").upper())),
        ("end a text", put("exp", str(NOW_S + 240))),
        ("end true", put("exp", True)),
        ("aud an array", put("aud", [resume_claims()["aud"]])),
    ]
    for number, (description, edit) in enumerate(rows, 40):
        yield resume_case(f"TR{number}", f"resume claims: {description}", _resume(edit), "approval_claims")
    for number, value in enumerate((2, "1", True), 70):
        made = _resume(put("v", value))
        yield resume_case(f"TR{number}", f"resume version {value!r}", made, "approval_version")


def _meaning() -> Iterator[TokenCase]:
    def expect(**members: Any) -> dict[str, Any]:
        return {"expected": resume_expected() | members}

    week = NOW_S - 60 + 604_800
    rows: list[tuple[str, str, DocumentEdit | None, dict[str, Any]]] = [
        ("iss", "another issuer", put("iss", "other"), {}),
        ("expired", "at this second", put("exp", NOW_S), {}),
        ("nbf", "issued 31 s ahead", both(put("iat", NOW_S + 31), put("exp", NOW_S + 60)), {}),
        ("lifetime", "a second more than seven days", put("exp", week + 1), {}),
        ("lifetime", "negative", both(put("iat", NOW_S + 20), put("exp", NOW_S + 10)), {}),
        ("jti", "too short", put("jti", JTI[:-1]), {}),
        ("aud", "another target", None, expect(audience="dbt:jaffle_shop/dev")),
        ("tenant", "another tenant", None, expect(tenant="other")),
        ("run_id", "another run", None, expect(run_id=OTHER_RUN)),
        ("payload", "changed state", None, expect(state_sha256=text_digest("another state"))),
        ("payload", "another request", None, expect(request_sha256=text_digest("another request"))),
        ("resource", "another checkpoint", None, expect(checkpoint="after_publish")),
        ("revoked", "the token", None, {"revoked": [JTI]}),
        ("revoked", "its request", None, {"revoked": [text_digest("request")]}),
        ("used", "by the same run", None, {"used": {JTI: RUN}}),
        ("used", "by another run", None, {"used": {JTI: OTHER_RUN}}),
    ]
    for number, (word, description, edit, members) in enumerate(rows, 80):
        made = _resume(edit)
        yield resume_case(f"TR{number}", f"resume {word}: {description}", made, f"approval_{word}", **members)
