# SPDX-License-Identifier: Apache-2.0
"""Test keys, derived from a published seed: whoever reads this can sign with them, so nobody may trust them."""

import base64
import hashlib
import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED = b"clyra test key, published, never trust it: "
Alg = Literal["ed25519", "ecdsa-p256-sha256", "rsa-pss-sha256"]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class TestKey:
    """A signing key that is a function of its name."""

    __test__ = False

    name: str
    alg: Alg = "ed25519"
    bits: int = 2048
    exponent: int = 65537

    @property
    def seed(self) -> bytes:
        """32 bytes; the private key itself for Ed25519."""
        return hashlib.sha256(SEED + self.name.encode()).digest()

    @cached_property
    def private(self) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
        """The private key of ``cryptography``."""
        if self.alg == "ed25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)
        if self.alg == "ecdsa-p256-sha256":
            return ec.derive_private_key(int.from_bytes(self.seed) % (P256_ORDER - 1) + 1, ec.SECP256R1())
        return _rsa_key(self.seed, self.bits, self.exponent)

    @cached_property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo, PEM."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def raw_public(self) -> bytes:
        """The 32 bytes of an Ed25519 public key."""
        return self.spki[-32:]

    @property
    def keyid(self) -> str:
        """Hex SHA-256 of ``spki``."""
        return hashlib.sha256(self.spki).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``, the same bytes each time."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return self.private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return self.sign_pss(message, salt_bytes=32)

    def sign_pss(self, message: bytes, *, salt_bytes: int) -> bytes:
        """Return an RSA-PSS signature with SHA-256, MGF1-SHA-256 and a salt of so many zero bytes."""
        numbers = self._rsa().private_numbers()
        encoded_bits = self.bits - 1
        length = (encoded_bits + 7) // 8
        salt = bytes(salt_bytes)
        hashed = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
        block = bytes(length - salt_bytes - 34) + b"\x01" + salt
        masked = bytes(a ^ b for a, b in zip(block, _mgf1(hashed, len(block)), strict=True))
        masked = bytes([masked[0] & 0xFF >> (8 * length - encoded_bits)]) + masked[1:]
        encoded = int.from_bytes(masked + hashed + b"\xbc")
        return pow(encoded, numbers.d, numbers.public_numbers.n).to_bytes(self.bits // 8)

    def sign_pkcs1(self, message: bytes) -> bytes:
        """Return an RSASSA-PKCS1-v1_5 signature with SHA-256."""
        return self._rsa().sign(message, padding.PKCS1v15(), hashes.SHA256())

    def _rsa(self) -> rsa.RSAPrivateKey:
        if not isinstance(self.private, rsa.RSAPrivateKey):
            raise TypeError(f"{self.name} is not an RSA key")
        return self.private


def spki_of_ed25519(raw: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of 32 bytes, whether or not they are a good key."""
    return bytes.fromhex("302a300506032b6570032100") + raw


def b64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def _mgf1(seed: bytes, length: int) -> bytes:
    blocks = (hashlib.sha256(seed + i.to_bytes(4)).digest() for i in range((length + 31) // 32))
    return b"".join(blocks)[:length]


@cache
def _rsa_key(seed: bytes, bits: int, exponent: int) -> rsa.RSAPrivateKey:
    p, q = sorted((_prime(seed + b"p", bits // 2, exponent), _prime(seed + b"q", bits // 2, exponent)), reverse=True)
    d = pow(exponent, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(exponent, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _prime(seed: bytes, bits: int, exponent: int) -> int:
    stream = b"".join(hashlib.sha256(seed + i.to_bytes(2)).digest() for i in range(bits // 256))
    candidate = int.from_bytes(stream) | 3 << (bits - 2) | 1
    small = [n for n in range(3, 2000, 2) if all(n % m for m in range(3, math.isqrt(n) + 1, 2))]
    while not (
        all(candidate % n for n in small)
        and math.gcd(exponent, candidate - 1) == 1
        # Fermat to a few bases: the candidates are not chosen by an adversary.
        and all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7))
    ):
        candidate += 2
    return candidate
