# SPDX-License-Identifier: Apache-2.0
"""The keys of a trust file that may approve or mint.

The row decides the algorithm, whatever a token says. A key that is too weak is no key: a token under it finds none.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clyra.approval._document import check_document
from clyra.evidence.bundle import instant
from clyra.spec import FormatError

DEFAULT_ISSUER = "clyra"

# RFC 8410: SubjectPublicKeyInfo of id-Ed25519 up to the 32 bytes of the key.
_ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
_FIELD = 2**255 - 19
# The y coordinates of the eight points whose order divides 8: under such a key anybody can sign.
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset((0, 1, _FIELD - 1, _ORDER_8_Y, _FIELD - _ORDER_8_Y))
_JWS_NAMES = {"ed25519": "EdDSA", "rsa-pkcs1-sha256": "RS256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """One key: of an issuer with the JWS name of its algorithm, of an approver with that of the trust file.

    ``iss`` is what an issuer's tokens must name, ``principal`` who an approver is. Instants are text of the canonical
    form.
    """

    kid: str
    alg: str
    public_key: bytes
    iss: str | None = None
    principal: str | None = None
    valid_from: str
    valid_to: str | None = None
    revoked_at: str | None = None

    def fault_at(self, moment: str) -> str | None:
        """Why the key may not be used at that instant; None where it may. A revoked key never may."""
        if self.revoked_at is not None:
            return f"the key is revoked since {self.revoked_at}"
        if moment < self.valid_from:
            return f"the key is not valid before {self.valid_from}"
        if self.valid_to is not None and moment >= self.valid_to:
            return f"the key was valid until {self.valid_to}"
        return None


def keys_of(trust: Mapping[str, Any], role: Literal["approver", "issuer"]) -> Mapping[str, KeyRow]:
    """The usable keys of ``role`` in a parsed trust file, by key id; none where there is no trust file (empty).

    Left out, because nothing may rest on them: Ed25519 keys that are not canonical or of small order, RSA keys below
    2048 or (for issuers) above 4096 bits or with another exponent than 65537, and issuer keys of other kinds.

    Raises:
        FormatError: It is not what ``spec/trust.md`` says (``trust_invalid``).
    """
    if not trust:
        return {}
    check_document(dict(trust), schema="trust", code="trust_invalid")
    rows = [_row(entry) for entry in trust["keys"] if entry["role"] == role]
    if len({entry["keyid"] for entry in trust["keys"]}) != len(trust["keys"]):
        raise FormatError("a key is listed twice in the trust file; take one entry out", code="trust_invalid")
    return {row.kid: row for row in rows if row is not None}


def approver_threshold(trust: Mapping[str, Any]) -> int:
    """How many distinct approvers a parsed trust file asks for; 1 where it does not say."""
    return int(trust.get("threshold", {}).get("approver", 1))


def instant_of(seconds: int) -> str:
    """The canonical text of an instant in whole seconds since the epoch."""
    return instant(seconds * 1_000_000)


def _row(entry: Mapping[str, Any]) -> KeyRow | None:
    kid = entry["keyid"]
    try:
        spki = b64decode(entry["public_key"], validate=True)
    except ValueError:
        spki = b""
    if hashlib.sha256(spki).hexdigest() != kid:
        raise FormatError(f"{kid} is not the SHA-256 of its key in the trust file", code="trust_invalid")
    issuer = entry["role"] == "issuer"
    alg = _JWS_NAMES.get(entry["alg"]) if issuer else entry["alg"]
    if alg is None or not _is_usable(entry["alg"], spki):
        return None
    return KeyRow(
        kid=kid,
        alg=alg,
        public_key=spki,
        iss=entry.get("issuer", DEFAULT_ISSUER) if issuer else None,
        principal=None if issuer else entry.get("principal", f"key:{kid}"),
        valid_from=entry["valid_from"],
        valid_to=entry.get("valid_to"),
        revoked_at=entry.get("revoked_at"),
    )


def _is_usable(alg: str, spki: bytes) -> bool:
    if alg == "ed25519":
        return _is_strong_ed25519(spki)
    from clyra.approval import _signature

    return _signature.is_usable(alg, spki)


def _is_strong_ed25519(spki: bytes) -> bool:
    if len(spki) != len(_ED25519_PREFIX) + 32 or not spki.startswith(_ED25519_PREFIX):
        return False
    y = int.from_bytes(spki[-32:], "little") & (2**255 - 1)
    return y < _FIELD and y not in _SMALL_ORDER_Y
