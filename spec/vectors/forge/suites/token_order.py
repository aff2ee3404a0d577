# SPDX-License-Identifier: Apache-2.0
"""TO: the order of the checks. Each vector has the fault of its word and of every word behind it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from forge.edits import Json, flip, put
from forge.journal import text_digest
from forge.token import (
    APPROVAL_TYP,
    DEPLOYER,
    JTI,
    NOW_S,
    OTHER_RUN,
    TokenCase,
    approval_claims,
    approval_expected,
    compact,
    header_of,
    issuer,
    jws,
)
from forge.trust import ISSUER

ORDER = (
    "size", "parts", "encoding", "header", "kid", "alg", "key_period", "signature", "version", "claims", "iss",
    "expired", "nbf", "lifetime", "jti", "aud", "tenant", "presenter", "run_id", "payload", "action", "resource",
    "tree", "policy", "quorum", "duties", "revoked", "used",
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """A token before it is written, and where it is shown."""

    claims: Json = field(default_factory=approval_claims)
    header: Json = field(default_factory=lambda: header_of(ISSUER, APPROVAL_TYP))
    expected: Json = field(default_factory=approval_expected)
    keys: tuple[Json, ...] = (issuer(),)
    revoked: tuple[str, ...] = ()
    used: dict[str, str] = field(default_factory=dict)
    flipped: bool = False
    suffix: str = ""

    def token(self) -> str:
        """Return the compact serialization."""

        def sign(message: bytes) -> bytes:
            return flip(ISSUER.sign(message), 5) if self.flipped else ISSUER.sign(message)

        return jws(compact(self.header), compact(self.claims), sign) + self.suffix


def _claim(path: str, value: Any) -> Callable[[Shown], Shown]:
    return lambda shown: replace(shown, claims=put(path, value)(shown.claims))


def _expected(name: str, value: Any) -> Callable[[Shown], Shown]:
    return lambda shown: replace(shown, expected=shown.expected | {name: value})


FAULTS: dict[str, Callable[[Shown], Shown]] = {
    "used": lambda shown: replace(shown, used={JTI: OTHER_RUN}),
    "revoked": lambda shown: replace(shown, revoked=(text_digest("request"),)),
    "duties": _claim("approvals/0/sub", DEPLOYER),
    "quorum": _claim("quorum", 2),
    "policy": _expected("policies", [text_digest("another policy")]),
    "tree": _expected("tree", "8e" * 20),
    "resource": _expected("resource", "analytics.orders"),
    "action": _expected("action", "sql.ddl"),
    "payload": _expected("payload_sha256", text_digest("another plan")),
    "run_id": _expected("run_id", OTHER_RUN),
    "presenter": _expected("presenter", "svc:nightly"),
    "tenant": _expected("tenant", "other"),
    "aud": _expected("audience", "dbt:jaffle_shop/dev"),
    "jti": _claim("jti", "short"),
    "lifetime": _expected("max_ttl_s", 5),
    "nbf": _claim("nbf", NOW_S + 31),
    "expired": _claim("exp", NOW_S),
    "iss": _claim("iss", "other"),
    "claims": _claim("scope", "all"),
    "version": _claim("v", 2),
    "signature": lambda shown: replace(shown, flipped=True),
    "key_period": lambda shown: replace(shown, keys=(issuer(revoked_at="2026-01-30T00:00:00.000000Z"),)),
    "alg": lambda shown: replace(shown, header=shown.header | {"alg": "HS256"}),
    "kid": lambda shown: replace(shown, keys=()),
    "header": lambda shown: replace(shown, header=shown.header | {"crit": ["exp"]}),
    "encoding": lambda shown: replace(shown, suffix="=="),
    "parts": lambda shown: replace(shown, suffix="==.A"),
    "size": lambda shown: replace(shown, suffix="==.A" + "A" * 8192),
}


def order_cases() -> Iterator[TokenCase]:
    """Yield this part of the suite ``approval``."""
    if tuple(reversed(FAULTS)) != ORDER:
        raise ValueError("the faults are not in the order of the checks")
    shown = Shown()
    made = []
    for word, fault in FAULTS.items():
        shown = fault(shown)
        description = f"fault of {word} and of all behind it"
        case = TokenCase(
            f"TO{ORDER.index(word) + 1:02}",
            description,
            shown.token(),
            f"approval_{word}",
            keys=shown.keys,
            expected=shown.expected,
            revoked=shown.revoked,
            used=shown.used,
        )
        made.append(case)
    yield from reversed(made)
