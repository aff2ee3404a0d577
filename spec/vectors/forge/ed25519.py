# SPDX-License-Identifier: Apache-2.0
"""Ed25519 by its equations (RFC 8032, 5.1), to make the signatures that no library makes.

Slow and not constant-time: for forging with test keys only.
"""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
_ROOT = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    """Return the sum of two points of the curve."""
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, P - 2, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, P - 2, P)
    return x % P, y % P


def multiply(scalar: int, point: Point) -> Point:
    """Return ``scalar`` times ``point``."""
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def decode(data: bytes) -> Point:
    """Return the point that 32 bytes encode."""
    y = int.from_bytes(data, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * _ROOT % P
    if x * x % P != square:
        raise ValueError("not a point of the curve")
    return (P - x if (x & 1) != data[31] >> 7 else x), y


def encode(point: Point) -> bytes:
    """Return the canonical encoding of ``point``."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE: Point = decode(bytes([0x58]) + bytes([0x66]) * 31)
# A point of order 8 (https://cr.yp.to/papers.html#ed25519, torsion subgroup).
ORDER_8: Point = decode(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))


def secret_scalar(seed: bytes) -> tuple[int, bytes]:
    """Return the scalar and the prefix that a private key of 32 bytes stands for."""
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest[:32], "little"), bytes(digest[32:])


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    """Return k of RFC 8032: SHA-512(R || A || M) modulo L."""
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % L


def verifies(public: bytes, signature: bytes, message: bytes, *, cofactor: int = 1) -> bool:
    """Tell whether the group equation holds, multiplied by ``cofactor``; encodings are not judged."""
    s = int.from_bytes(signature[32:], "little")
    k = challenge(signature[:32], public, message)
    left = multiply(cofactor * s, BASE)
    return left == multiply(cofactor, add(decode(signature[:32]), multiply(k, decode(public))))


def sign_prehashed(seed: bytes, message: bytes) -> bytes:
    """Return an Ed25519ph signature (RFC 8032, 5.1, phflag 1, empty context)."""
    scalar, prefix = secret_scalar(seed)
    public = encode(multiply(scalar, BASE))
    domain = b"SigEd25519 no Ed25519 collisions\x01\x00"
    hashed = hashlib.sha512(message).digest()
    nonce = int.from_bytes(hashlib.sha512(domain + prefix + hashed).digest(), "little") % L
    r = encode(multiply(nonce, BASE))
    k = int.from_bytes(hashlib.sha512(domain + r + public + hashed).digest(), "little") % L
    return r + ((nonce + k * scalar) % L).to_bytes(32, "little")


def sign_with_noncanonical_r(seed: bytes, message: bytes) -> bytes:
    """Return a signature whose R is the identity, written as y = p + 1: only a reader that reduces y accepts it."""
    scalar, _ = secret_scalar(seed)
    public = encode(multiply(scalar, BASE))
    r = (P + 1).to_bytes(32, "little")
    return r + (challenge(r, public, message) * scalar % L).to_bytes(32, "little")


def sign_with_torsion(seed: bytes, message: bytes) -> bytes:
    """Return a signature whose R has a component of order 8: the equation holds only when multiplied by 8."""
    scalar, prefix = secret_scalar(seed)
    public = encode(multiply(scalar, BASE))
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % L
    r = encode(add(multiply(nonce, BASE), ORDER_8))
    return r + ((nonce + challenge(r, public, message) * scalar) % L).to_bytes(32, "little")
