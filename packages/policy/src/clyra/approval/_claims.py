# SPDX-License-Identifier: Apache-2.0
"""The checks that approval tokens and resume tokens share: version, claims, issuer, time and id, in this order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clyra.approval.errors import refuse
from clyra.approval.keys import KeyRow
from clyra.verify.schema import compiled

VERSION = 1
NOT_BEFORE_SKEW_S = 30

_JTI = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
_ANY_JTI = "A" * 22


def check_claims(claims: Mapping[str, Any], *, schema: str) -> None:
    """Check the version, then all claims against their schema; of ``jti`` only that it is text.

    Raises:
        ApprovalRefused: ``approval_version`` or ``approval_claims``.
    """
    version = claims.get("v")
    if type(version) is not int or version != VERSION:
        refuse("version", f"expected a token of version {VERSION}; update the one that reads or the one that mints")
    # The form of the id has its own place in the order, behind the times.
    judged = {**claims, "jti": _ANY_JTI} if type(claims.get("jti")) is str else dict(claims)
    fault = compiled(schema)(judged)
    if fault is not None:
        pointer = "".join(f"/{part}" for part in fault[0])
        refuse("claims", f"{fault[1]} at {pointer or 'the top level'}")


def check_period(claims: Mapping[str, Any], key: KeyRow, *, now_s: int, max_lifetime_s: int) -> None:
    """Check issuer, end, beginning, lifetime and id.

    Raises:
        ApprovalRefused: ``approval_`` and ``iss``, ``expired``, ``nbf``, ``lifetime`` or ``jti``.
    """
    if claims["iss"] != key.iss:
        refuse("iss", f"the token names the issuer {claims['iss']}, its key mints for {key.iss}")
    if claims["exp"] <= now_s:
        refuse("expired", f"the token expired {now_s - claims['exp']} s ago; mint another one")
    # A token of tomorrow would outlive its lifetime: the time of issue counts as a beginning.
    if max(claims["iat"], claims.get("nbf", 0)) > now_s + NOT_BEFORE_SKEW_S:
        refuse("nbf", "the token is not valid yet; compare the clocks of the machines")
    lifetime = claims["exp"] - claims["iat"]
    if not 0 < lifetime <= max_lifetime_s:
        refuse("lifetime", f"the token lives {lifetime} s, at most {max_lifetime_s} s are allowed")
    if _JTI.fullmatch(claims["jti"]) is None:
        refuse("jti", "the id of the token is not 128 bits in base64url")
