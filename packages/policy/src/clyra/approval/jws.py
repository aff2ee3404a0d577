# SPDX-License-Identifier: Apache-2.0
"""Compact JWS (RFC 7515) in the one form that tokens of Clyra have (``spec/approval/token.md``).

The header is exactly ``alg``, ``kid`` and ``typ``; the key row decides the algorithm. Everything a JSON or base64
reader might let pass in silence is refused: another spelling of the same bytes, a name twice, fractions, NUL.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clyra.approval.errors import refuse
from clyra.approval.keys import KeyRow, instant_of
from clyra.evidence.canonical import canonicalize_integers
from clyra.evidence.signer import Signer
from clyra.spec import ConfigurationError
from clyra.verify.canonical import read_strict

MAX_TOKEN_BYTES = 8192
MAX_DEPTH = 16

_ALGORITHMS = {"ed25519": "EdDSA", "rsa-pkcs1-sha256": "RS256"}


@dataclass(frozen=True, slots=True)
class OpenedJws:
    """A token whose signature holds: its claims, not yet judged, and the key that signed."""

    claims: Mapping[str, Any]
    key: KeyRow
    token_id: str


def token_id(token: str | bytes) -> str:
    """What logs and tags may show of a token: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(_token_bytes(token)).hexdigest()[:16]


def sign_jws(claims: Mapping[str, Any], *, typ: str, signer: Signer) -> str:
    """The compact JWS over ``claims``.

    Raises:
        ConfigurationError: The key is neither Ed25519 nor RSA for PKCS #1 v1.5 (``key_file_invalid``).
        UnavailableError: The key cannot be used now (``key_unavailable``).
        ApprovalRefused: The token would be longer than 8,192 bytes (``approval_size``).
    """
    if signer.alg not in _ALGORITHMS:
        raise ConfigurationError(
            f"found an issuer key of {signer.alg}, expected ed25519 or RSA; point CLYRA_ISSUER_KEY at another key",
            code="key_file_invalid",
        )
    header = {"alg": _ALGORITHMS[signer.alg], "kid": signer.keyid, "typ": typ}
    signed = f"{encode_part(canonicalize_integers(header))}.{encode_part(canonicalize_integers(dict(claims)))}"
    token = f"{signed}.{encode_part(signer.sign(signed.encode('ascii')))}"
    _check_size(token.encode("ascii"))
    return token


def open_jws(token: str | bytes, *, typ: str, keys: Mapping[str, KeyRow], now_s: int) -> OpenedJws:
    """The claims of a token whose form, key and signature are good.

    Args:
        token: The compact serialization, with nothing before or behind it.
        typ: The one ``typ`` that is accepted.
        keys: Issuer keys by ``kid``.
        now_s: Seconds since the epoch.

    Raises:
        ApprovalRefused: ``size parts encoding header kid alg key_period signature``, the first that fails.
    """
    data = _token_bytes(token)
    _check_size(data)
    parts = data.split(b".")
    if len(parts) != 3:
        refuse("parts", f"found {len(parts)} parts, expected header, claims and signature")
    header, claims, signature = _object(parts[0]), _object(parts[1]), decode_part(parts[2])
    key = _key(header, typ, keys)
    if fault := key.fault_at(instant_of(now_s)):
        refuse("key_period", fault)
    from clyra.approval import _signature

    if not _signature.verifies(key.alg, key.public_key, signature, parts[0] + b"." + parts[1]):
        refuse("signature", "the signature does not verify under the key that the token names")
    return OpenedJws(claims, key, token_id(data))


def encode_part(data: bytes) -> str:
    """The base64url of ``data`` without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_part(part: bytes) -> bytes:
    """The bytes that ``part`` is the one base64url spelling of.

    Raises:
        ApprovalRefused: It is empty or the spelling of nothing (``approval_encoding``).
    """
    try:
        # Python's decoder drops strange characters and trailing bits: what it read is written again and compared.
        data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        data = b""
    if not data or encode_part(data).encode("ascii") != part:
        refuse("encoding", "a part is not canonical base64url; pass the token as it was minted")
    return data


def _token_bytes(token: str | bytes) -> bytes:
    return token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")


def _check_size(data: bytes) -> None:
    if len(data) > MAX_TOKEN_BYTES:
        refuse("size", f"found {len(data)} bytes, at most {MAX_TOKEN_BYTES} are allowed; approve fewer resources")


def _key(header: Mapping[str, Any], typ: str, keys: Mapping[str, KeyRow]) -> KeyRow:
    if set(header) != {"alg", "kid", "typ"} or not all(type(value) is str for value in header.values()):
        refuse("header", "the header is not exactly alg, kid and typ")
    if header["typ"] != typ:
        refuse("header", f"expected a token of type {typ}, this is another")
    key = keys.get(header["kid"])
    if key is None:
        refuse("kid", "no issuer key of this id is trusted; enrol it with clyra keys trust FILE --role issuer")
    if header["alg"] != key.alg:
        refuse("alg", f"the header names another algorithm than the key's, {key.alg}")
    return key


def _object(part: bytes) -> Mapping[str, Any]:
    try:
        value = read_strict(decode_part(part))
    except ValueError:
        value = None
    if not isinstance(value, dict) or not _is_shallow(value):
        refuse("encoding", "header and claims are not strict JSON objects")
    return value


def _is_shallow(value: object, depth: int = 1) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, dict):
        if not all("\0" not in name for name in value):
            return False
        value = list(value.values())
    if isinstance(value, list):
        return depth <= MAX_DEPTH and all(_is_shallow(member, depth + 1) for member in value)
    return True
