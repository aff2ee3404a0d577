# SPDX-License-Identifier: Apache-2.0
"""Public keys of the trust file and signatures under them.

The algorithm is the key's and nothing in a bundle changes it. Ed25519 is RFC 8032 with the cofactorless equation and
canonical encodings, ECDSA takes DER signatures only, RSA is PSS with MGF1-SHA-256 and a salt of 32 bytes only.
``cryptography`` is imported at the first key that needs it; an Ed25519 key is recognised without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clyra.verify._refusal import Refusal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

ED25519, ECDSA, RSA = "ed25519", "ecdsa-p256-sha256", "rsa-pss-sha256"
RSA_TOKENS = "rsa-pkcs1-sha256"
"""Of keys that mint tokens (RS256). What a bundle holds is never signed so: no signature verifies under it here."""
MIN_RSA_BITS = 2048
RSA_EXPONENT = 65537

# SubjectPublicKeyInfo with the algorithm id-Ed25519 (RFC 8410) up to the 32 bytes of the key.
_ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")


def check_public_key(alg: str, spki: bytes) -> None:
    """Check that the SubjectPublicKeyInfo DER holds a key for ``alg`` that is strong enough.

    Raises:
        Refusal: ``trust_invalid`` where it is no such key, ``key_weak`` for RSA below 2048 bits or another exponent.
    """
    if alg == ED25519:
        if len(spki) != len(_ED25519_PREFIX) + 32 or not spki.startswith(_ED25519_PREFIX):
            raise Refusal("trust_invalid", "a key of alg ed25519 is not an Ed25519 SubjectPublicKeyInfo")
        return
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = _load(spki)
    if alg in (RSA, RSA_TOKENS) and isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS or key.public_numbers().e != RSA_EXPONENT:
            raise Refusal("key_weak", f"an RSA key of {key.key_size} bits; 2048 and the exponent 65537 are the least")
    elif alg != ECDSA or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refusal("trust_invalid", f"a key of alg {alg} is of another kind")


def verify_signature(alg: str, spki: bytes, signature: bytes, message: bytes) -> None:
    """Check that ``signature`` is one of the key over ``message``, for a key that passed :func:`check_public_key`.

    Raises:
        Refusal: ``signature_invalid``.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        if alg == ED25519:
            _verify_ed25519(spki[len(_ED25519_PREFIX) :], signature, message)
        else:
            _verify_other(alg, _load(spki), signature, message)
    except (InvalidSignature, ValueError) as exc:
        raise Refusal("signature_invalid", "the signature does not verify under this key") from exc


def raw_ed25519(spki: bytes) -> bytes:
    """The 32 bytes of an Ed25519 key that passed :func:`check_public_key`."""
    return spki[len(_ED25519_PREFIX) :]


def _verify_ed25519(key: bytes, signature: bytes, message: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Ed25519PublicKey.from_public_bytes(key).verify(signature, message)


def _verify_other(alg: str, key: PublicKeyTypes, signature: bytes, message: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    if alg == ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    elif alg == RSA and isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
        key.verify(signature, message, pss, hashes.SHA256())
    else:
        raise ValueError("a key of another kind")


def _load(spki: bytes) -> PublicKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Refusal("trust_invalid", "a public key is not a SubjectPublicKeyInfo in DER") from exc
