# SPDX-License-Identifier: Apache-2.0
"""TK: header, key and algorithm of a token. Where an attacker chooses them, the signature is that attacker's."""

import hashlib
import hmac
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from forge.edits import DocumentEdit, Json, drop, put, rename
from forge.keys import TestKey, b64, spki_of_ed25519
from forge.token import APPROVAL_TYP, RESUME_TYP, Sign, TokenCase, b64url, header_of, issuer, token
from forge.trust import BUNDLE, ECDSA, ISSUER, RSA_ISSUER, STRANGER, entry, raw_entry

SMALL_ORDER = ("01" + "00" * 31, "00" * 32, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def key_cases() -> Iterator[TokenCase]:
    """Yield this part of the suite ``approval``."""
    yield from _headers()
    yield from _algorithms()
    yield from _key_ids()
    yield from _attackers()
    yield from _keys()


def _headers() -> Iterator[TokenCase]:
    edits: list[tuple[str, DocumentEdit]] = [(f"no {name}", drop(name)) for name in ("alg", "kid", "typ")]
    edits += [
        ("nothing", lambda header: {}),
        ("alg null", put("alg", None)),
        ("alg an array", put("alg", ["EdDSA"])),
        ("alg a number", put("alg", 0)),
        ("kid a number", put("kid", 1)),
        ("kid null", put("kid", None)),
        ("ALG for alg", rename("alg", "ALG")),
        ("Typ for typ", rename("typ", "Typ")),
        ("empty crit", put("crit", [])),
        ("crit of exp", put("crit", ["exp"])),
        ("b64 false, critical", lambda header: {**header, "b64": False, "crit": ["b64"]}),
        ("b64 false", put("b64", False)),
        ("b64 true", put("b64", True)),
        ("jku", put("jku", "https://attacker.example/keys.json")),
        ("x5u", put("x5u", "https://attacker.example/chain.pem")),
        ("jwk of an attacker", put("jwk", {"crv": "Ed25519", "kty": "OKP", "x": b64url(STRANGER.raw_public)})),
        ("x5c of an attacker", put("x5c", [b64(STRANGER.spki)])),
        ("x5t", put("x5t", "A" * 27)),
        ("x5t#S256", put("x5t#S256", "A" * 43)),
        ("cty", put("cty", "JWT")),
        ("zip", put("zip", "DEF")),
        ("enc, as a JWE has", put("enc", "A256GCM")),
        ("iss beside the header", put("iss", "clyra")),
        ("member __proto__", put("__proto__", {"kid": "x"})),
    ]
    kinds = (
        RESUME_TYP,
        "JWT",
        "jwt",
        "at+jwt",
        "",
        f"application/{APPROVAL_TYP}",
        "Clyra-Approval+JWT",
        f"{APPROVAL_TYP} ",
    )
    edits += [(f"typ {kind or 'empty'}", put("typ", kind)) for kind in kinds]
    edits.append(("typ null", put("typ", None)))
    for number, (description, edit) in enumerate(edits, 1):
        yield TokenCase(f"TK{number:02}", f"header: {description}", token(header=edit), "approval_header")


def _algorithms() -> Iterator[TokenCase]:
    rows: list[tuple[str, TestKey, Sign | None]] = [(alg, ISSUER, None) for alg in ("none", "None", "NONE", "nOnE", "")]
    rows += [
        (alg, ISSUER, _hmac(secret, alg)) for alg in ("HS256", "HS512") for secret in (ISSUER.raw_public, ISSUER.pem)
    ]
    rows += [
        ("HS256", RSA_ISSUER, _hmac(secret)) for secret in (RSA_ISSUER.pem, RSA_ISSUER.spki, RSA_ISSUER.pem.strip())
    ]
    rows += [("EdDSA", RSA_ISSUER, ISSUER.sign), ("RS256", ISSUER, RSA_ISSUER.sign_pkcs1)]
    rows += [("PS256", RSA_ISSUER, RSA_ISSUER.sign), ("ES256", ISSUER, ECDSA.sign), ("ES256", RSA_ISSUER, ECDSA.sign)]
    rows += [("RS384", RSA_ISSUER, _pkcs1(hashes.SHA384())), ("RS512", RSA_ISSUER, _pkcs1(hashes.SHA512()))]
    rows += [(alg, RSA_ISSUER, None) for alg in ("rs256", "RS256 ", "RSA-OAEP")]
    rows += [(alg, ISSUER, None) for alg in ("Ed25519", "Ed448", "eddsa", "EdDSA\n", "ES256K", "A256GCM", "dir")]
    for number, (alg, key, sign) in enumerate(rows, 40):
        named = "an RSA key" if key is RSA_ISSUER else "an Ed25519 key"
        made = jws_with(header_of(key) | {"alg": alg}, sign or (key.sign_pkcs1 if key is RSA_ISSUER else key.sign))
        description = f"alg {alg.strip() or 'empty'} for {named}, {number}"
        yield TokenCase(f"TK{number}", description, made, "approval_alg")
    yield TokenCase("TK39", "unsecured: alg none and no signature", _unsecured(), "approval_encoding")


def _key_ids() -> Iterator[TokenCase]:
    kid = ISSUER.keyid
    rows = [
        ("unknown", STRANGER.keyid),
        ("upper case", kid.upper()),
        ("a digit too few", kid[:-1]),
        ("a digit too many", f"{kid}0"),
        ("first half", kid[:32]),
        ("empty", ""),
        ("with 0x", f"0x{kid}"),
        ("with a space behind it", f"{kid} "),
        ("with NUL written out", f"{kid}%00"),
        ("a path", "../../../../../../dev/null"),
        ("an absolute path", "/proc/sys/kernel/randomize_va_space"),
        ("an address", "https://attacker.example/key.pem"),
        ("SQL", f"{kid}' or '1'='1"),
        ("SQL that would return a key", "x' union select 'AAAA' --"),
        ("a wildcard", "%"),
        ("a command", "key|/usr/bin/id"),
        ("very long", kid * 40),
        ("__proto__", "__proto__"),
    ]
    for number, (description, text) in enumerate(rows, 70):
        # Signed by the issuer, so that a reader which finds any key of it accepts.
        made = token(header=put("kid", text), key=ISSUER)
        yield TokenCase(f"TK{number}", f"kid: {description}", made, "approval_kid")


def _attackers() -> Iterator[TokenCase]:
    """Yield tokens that bring their own key, or name one that everybody has; signed with it."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64url(STRANGER.raw_public)}
    rows: list[tuple[str, str, Json, Sign]] = [
        ("header", "jwk, signed with it", {"jwk": jwk}, STRANGER.sign),
        ("header", "jwk and its key id, signed with it", {"jwk": jwk, "kid": STRANGER.keyid}, STRANGER.sign),
        ("header", "x5c, signed with its key", {"x5c": [b64(STRANGER.spki)]}, STRANGER.sign),
        ("header", "jku, signed with a key from there", {"jku": "https://attacker.example/keys.json"}, STRANGER.sign),
        ("kid", "a key id of the attacker's own, signed with that key", {"kid": STRANGER.keyid}, STRANGER.sign),
        ("kid", "an empty file as HMAC key", {"alg": "HS256", "kid": "../../../../dev/null"}, _hmac(b"")),
        ("kid", "HMAC key that SQL returns", {"alg": "HS256", "kid": "x' union select 'AAAA"}, _hmac(b"AAAA")),
        ("kid", "HMAC key that is in the key id", {"alg": "HS256", "kid": "AAAA"}, _hmac(b"AAAA")),
    ]
    for number, (word, description, members, sign) in enumerate(rows, 90):
        made = jws_with(header_of() | members, sign)
        yield TokenCase(f"TK{number}", f"attacker: {description}", made, f"approval_{word}")


def _keys() -> Iterator[TokenCase]:
    def case(number: int, description: str, keys: list[Json], code: str, made: str | None = None) -> TokenCase:
        return TokenCase(f"TK{number}", f"key: {description}", made or token(), f"approval_{code}", keys=keys)

    yield case(100, "none at all", [], "kid")
    yield case(
        101, "one that signs bundles", [entry(BUNDLE)], "kid", token(header=put("kid", BUNDLE.keyid), sign=BUNDLE.sign)
    )
    yield case(102, "the issuer's, enrolled as an approver's", [entry(ISSUER, "approver")], "kid")
    yield case(103, "the issuer's, enrolled to sign bundles", [entry(ISSUER)], "kid")
    short = TestKey("short issuer", "rsa-pss-sha256", bits=1024)
    yield case(104, "RSA of 1024 bits", [issuer(short)], "kid", token(key=short))
    cube = TestKey("cube issuer", "rsa-pss-sha256", exponent=3)
    yield case(105, "RSA with exponent 3", [issuer(cube)], "kid", token(key=cube))
    forged = jws_with(header_of(cube), lambda message: _cube_root(cube, message))
    yield case(
        106,
        "RSA with exponent 3, signature forged without the key (Bleichenbacher 2006)",
        [issuer(cube)],
        "kid",
        forged,
    )
    curve = jws_with({**header_of(), "alg": "ES256", "kid": ECDSA.keyid}, ECDSA.sign)
    yield case(107, "P-256 for an issuer", [entry(ECDSA, "issuer")], "kid", curve)
    padded = jws_with({**header_of(RSA_ISSUER), "alg": "PS256"}, RSA_ISSUER.sign)
    yield case(108, "RSA for PSS, enrolled for an issuer", [entry(RSA_ISSUER, "issuer")], "kid", padded)
    for number, text in enumerate(SMALL_ORDER, 110):
        spki = spki_of_ed25519(bytes.fromhex(text))
        row = raw_entry(spki, role="issuer")
        # Under the identity R = S = 0 verifies for every message; under the others for some.
        made = jws_with(header_of() | {"kid": row["keyid"]}, lambda message: b"\x01" + bytes(63))
        yield case(number, f"Ed25519 of small order, {number - 109}", [row], "kid", made)
    unreduced = spki_of_ed25519((2**255 - 19 + 1).to_bytes(32, "little"))
    row = raw_entry(unreduced, role="issuer")
    made = jws_with(header_of() | {"kid": row["keyid"]}, lambda message: b"\x01" + bytes(63))
    yield case(113, "Ed25519, the identity written as p + 1", [row], "kid", made)
    yield case(120, "revoked now", [issuer(revoked_at="2026-01-31T09:00:00.000000Z")], "key_period")
    yield case(121, "revoked from the next year on", [issuer(revoked_at="2027-01-01T00:00:00.000000Z")], "key_period")
    yield case(122, "not valid yet, by a microsecond", [issuer(valid_from="2026-01-31T09:00:00.000001Z")], "key_period")
    yield case(123, "over at this second", [issuer(valid_to="2026-01-31T09:00:00.000000Z")], "key_period")
    yield case(
        124, "over for a month, token from before", [issuer(valid_to="2026-01-01T00:00:01.000000Z")], "key_period"
    )


def jws_with(header: Json, sign: Sign) -> str:
    """Return the good claims under this header, signed so."""
    return token(header=lambda _: header, sign=sign)


def _hmac(secret: bytes, alg: str = "HS256") -> Sign:
    return lambda message: hmac.new(secret, message, f"sha{alg[2:]}").digest()


def _pkcs1(algorithm: hashes.HashAlgorithm) -> Sign:
    if not isinstance(RSA_ISSUER.private, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    private = RSA_ISSUER.private
    return lambda message: private.sign(message, padding.PKCS1v15(), algorithm)


def _unsecured() -> str:
    return token(header=put("alg", "none"), sign=lambda message: b"")


def _cube_root(key: TestKey, message: bytes) -> bytes:
    """Return a number whose cube begins as a PKCS #1 v1.5 block does, made without the private key."""
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    start = b"\x00\x01" + b"\xff" * 8 + b"\x00" + info
    low = int.from_bytes(start + bytes(key.bits // 8 - len(start)))
    root = _integer_root(low)
    return (root + (root**3 < low)).to_bytes(key.bits // 8)


def _integer_root(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low
