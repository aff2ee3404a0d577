# SPDX-License-Identifier: Apache-2.0
"""TS: the signature of a token, under keys that are good."""

import hashlib
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric import rsa

from forge import ed25519
from forge.edits import flip, put
from forge.keys import TestKey
from forge.token import Sign, TokenCase, approval_claims, b64url, compact, header_of, token
from forge.trust import ISSUER, RSA, RSA_ISSUER, STRANGER

SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def signature_cases() -> Iterator[TokenCase]:
    """Yield this part of the suite ``approval``."""
    for number, (description, made) in enumerate(_exchanged(), 1):
        yield TokenCase(f"TS{number:02}", description, made, "approval_signature")
    for number, (description, sign) in enumerate(_ed25519(), 20):
        yield TokenCase(f"TS{number}", f"Ed25519: {description}", token(sign=sign), "approval_signature")
    for number, (description, sign) in enumerate(_rsa(), 40):
        made = token(key=RSA_ISSUER, sign=sign)
        yield TokenCase(f"TS{number}", f"RS256: {description}", made, "approval_signature")
    made = _beyond_the_modulus()
    yield TokenCase("TS70", "RS256: signature plus the modulus", made, "approval_signature")


def _exchanged() -> Iterator[tuple[str, str]]:
    header, claims, signature = token().split(".")
    later = compact(put("exp", approval_claims()["exp"] + 60)(approval_claims()))
    yield "claims changed after signing", f"{header}.{b64url(later)}.{signature}"
    spaced = b64url(compact(header_of()) + b" ")
    yield "header written in another way after signing", f"{spaced}.{claims}.{signature}"
    yield "signature of another token", f"{header}.{claims}.{token(put('jti', 'A' * 22)).rpartition('.')[2]}"
    yield "signed by a stranger's key", token(sign=STRANGER.sign)
    yield "signed over the claims alone", token(sign=lambda _: ISSUER.sign(compact(approval_claims())))
    yield "signed over the claims in base64url alone", token(sign=lambda message: ISSUER.sign(message.split(b".")[1]))
    yield (
        "signed over the decoded parts",
        token(sign=lambda _: ISSUER.sign(compact(header_of()) + b"." + compact(approval_claims()))),
    )
    yield (
        "signed over a digest of the message",
        token(sign=lambda message: ISSUER.sign(hashlib.sha256(message).digest())),
    )
    yield "signature in hexadecimal", f"{header}.{claims}.{ISSUER.sign(f'{header}.{claims}'.encode()).hex()}"


def _ed25519() -> Iterator[tuple[str, Sign]]:
    def with_s(change: Callable[[int], int]) -> Sign:
        def sign(message: bytes) -> bytes:
            good = ISSUER.sign(message)
            return good[:32] + change(int.from_bytes(good[32:], "little")).to_bytes(32, "little")

        return sign

    yield "a bit of R flipped", lambda message: flip(ISSUER.sign(message), 9)
    yield "a bit of S flipped", lambda message: flip(ISSUER.sign(message), 40)
    yield "the sign of R flipped", lambda message: flip(ISSUER.sign(message), 31, 0x80)
    yield "a byte too few", lambda message: ISSUER.sign(message)[:-1]
    yield "a byte too many", lambda message: ISSUER.sign(message) + b"\0"
    yield "two signatures", lambda message: ISSUER.sign(message) * 2
    yield "one byte", lambda message: b"\0"
    yield "zero bytes", lambda message: bytes(64)
    yield "S + L", with_s(lambda s: s + ed25519.L)
    yield "highest bit of S", with_s(lambda s: s | 1 << 255)
    yield "L - S, the other half of the range", with_s(lambda s: ed25519.L - s)
    yield "R is the identity, written as p + 1", lambda m: ed25519.sign_with_noncanonical_r(ISSUER.seed, m)
    yield "R of mixed order", lambda message: ed25519.sign_with_torsion(ISSUER.seed, message)
    yield "Ed25519ph", lambda message: ed25519.sign_prehashed(ISSUER.seed, message)
    yield "R and S exchanged", lambda message: ISSUER.sign(message)[32:] + ISSUER.sign(message)[:32]


def _rsa() -> Iterator[tuple[str, Sign]]:
    def block(make: Callable[[bytes], bytes]) -> Sign:
        """Return the signature of whatever block is made of the message's digest."""
        return lambda message: _raw(RSA_ISSUER, make(hashlib.sha256(message).digest()))

    def framed(
        info: bytes, *, kind: bytes = b"\x00\x01", tail: bytes = b"", filler: bytes = b"\xff"
    ) -> Callable[[bytes], bytes]:
        def make(hashed: bytes) -> bytes:
            body = b"\x00" + info + hashed + tail
            return kind + filler * (256 - len(kind) - len(body)) + body

        return make

    good = RSA_ISSUER.sign_pkcs1
    modulus = _numbers(RSA_ISSUER).public_numbers.n
    yield "a bit flipped", lambda message: flip(good(message), 100)
    yield "a byte too few", lambda message: good(message)[:-1]
    yield "a byte too many", lambda message: good(message) + b"\0"
    yield "zero byte before it", lambda message: b"\0" + good(message)
    yield "little-endian", lambda message: good(message)[::-1]
    yield "zero", lambda message: bytes(256)
    yield "one", lambda message: (1).to_bytes(256)
    yield "the modulus", lambda message: modulus.to_bytes(256)
    yield "the modulus less one", lambda message: (modulus - 1).to_bytes(256)
    yield "PSS", RSA_ISSUER.sign
    yield "of another key", RSA.sign_pkcs1
    yield "Ed25519 in its place", ISSUER.sign
    yield "bytes behind the digest (Bleichenbacher 2006)", block(framed(SHA256_INFO, tail=b"\0" * 100))
    yield (
        "eight bytes of filling, garbage at the end",
        block(lambda hashed: (b"\x00\x01" + b"\xff" * 8 + b"\x00" + SHA256_INFO + hashed).ljust(256, b"\xaa")),
    )
    yield (
        "garbage in the parameters",
        block(framed(bytes.fromhex("303f301b0609608648016503040201") + b"\x04\x0c" + b"garbage here" + b"\x04\x20")),
    )
    yield "digest without parameters", block(framed(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20"))
    yield "long form of a length", block(framed(bytes.fromhex("308131300d060960864801650304020105000420")))
    yield "named as SHA-512", block(framed(bytes.fromhex("3031300d060960864801650304020305000420")))
    yield "without the name of the hash", block(framed(b""))
    yield "block type 0", block(framed(SHA256_INFO, kind=b"\x00\x00"))
    yield "block type 2", block(framed(SHA256_INFO, kind=b"\x00\x02"))
    yield "first byte 1", block(framed(SHA256_INFO, kind=b"\x01\x01"))
    yield "filled with zeros", block(framed(SHA256_INFO, filler=b"\x00"))
    yield "one byte of the filling other", block(lambda hashed: flip(framed(SHA256_INFO)(hashed), 100, 0x10))
    yield (
        "digest of SHA-1",
        lambda message: _raw(
            RSA_ISSUER,
            framed(bytes.fromhex("3021300906052b0e03021a05000414"))(hashlib.sha1(message).digest()),
        ),
    )


def _beyond_the_modulus() -> str:
    """Return a token whose signature verifies modulo n, is above n, and still has the length of n."""
    modulus = _numbers(RSA_ISSUER).public_numbers.n
    for number in range(1000):
        claims = put("exp", approval_claims()["exp"] - 1 - number)
        head, _, _ = token(claims, key=RSA_ISSUER).rpartition(".")
        signature = int.from_bytes(RSA_ISSUER.sign_pkcs1(head.encode()))
        if signature + modulus < 1 << 2048:
            return f"{head}.{b64url((signature + modulus).to_bytes(256))}"
    raise ValueError("no signature is small enough")


def _numbers(key: TestKey) -> rsa.RSAPrivateNumbers:
    if not isinstance(key.private, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    return key.private.private_numbers()


def _raw(key: TestKey, block: bytes) -> bytes:
    numbers = _numbers(key)
    number = int.from_bytes(block) % numbers.public_numbers.n
    return pow(number, numbers.d, numbers.public_numbers.n).to_bytes(key.bits // 8)
