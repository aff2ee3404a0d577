# SPDX-License-Identifier: Apache-2.0
"""Signatures of tokens and certificates; the one module of this package that imports ``cryptography``.

Ed25519 is RFC 8032 with the cofactorless equation, RS256 is RSASSA-PKCS1-v1_5 with the whole block compared.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

_RSA_ALGORITHMS = ("rsa-pkcs1-sha256", "rsa-pss-sha256")
_LEAST_RSA_BITS = 2048
_MOST_ISSUER_RSA_BITS = 4096
_RSA_EXPONENT = 65537


def verifies(alg: str, public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is one of the key over ``message``.

    Args:
        alg: ``EdDSA``, ``RS256``, or an algorithm of the trust file.
        public_key: SubjectPublicKeyInfo, DER.
        signature: In the algorithm's one form: 64 bytes, DER, or the length of the modulus.
        message: The signed bytes themselves.
    """
    try:
        key = _load(public_key)
        if alg in ("EdDSA", "ed25519") and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif alg == "RS256" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        elif alg == "ecdsa-p256-sha256" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif alg == "rsa-pss-sha256" and isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
            key.verify(signature, message, pss, hashes.SHA256())
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def is_usable(alg: str, public_key: bytes) -> bool:
    """Whether a key that is not Ed25519 is one for ``alg`` of the trust file, and strong enough."""
    try:
        key = _load(public_key)
    except (UnsupportedAlgorithm, ValueError):
        return False
    if alg in _RSA_ALGORITHMS and isinstance(key, rsa.RSAPublicKey):
        most = _MOST_ISSUER_RSA_BITS if alg == "rsa-pkcs1-sha256" else key.key_size
        return _LEAST_RSA_BITS <= key.key_size <= most and key.public_numbers().e == _RSA_EXPONENT
    if alg == "ecdsa-p256-sha256" and isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    return False


@lru_cache(maxsize=64)
def _load(public_key: bytes) -> object:
    return load_der_public_key(public_key)
