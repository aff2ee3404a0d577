# SPDX-License-Identifier: Apache-2.0
"""TF: size, parts and base64url of a token."""

from collections.abc import Iterator

from forge.edits import Json, put
from forge.token import APPROVAL_TYP, TokenCase, approval_claims, b64url, compact, header_of, token
from forge.trust import ISSUER, RSA_ISSUER

MAX_BYTES = 8192


def form_cases() -> Iterator[TokenCase]:
    """Yield this part of the suite ``approval``."""
    yield from _size()
    yield from _parts()
    yield from _base64()


def _size() -> Iterator[TokenCase]:
    yield TokenCase("TF01", "as long as a token may be", _padded(MAX_BYTES))
    yield TokenCase("TF02", "a byte too long", _padded(MAX_BYTES + 1), "approval_size")
    yield TokenCase("TF03", "20,000 times A", "A" * 20_000, "approval_size")
    yield TokenCase("TF04", "too long, counted in bytes", "\u00e9" * 4097, "approval_size")


def _padded(size: int) -> str:
    """Return a good token of so many bytes, whichever of the two keys can make one."""
    for key in (ISSUER, RSA_ISSUER):
        length = len(token(put("resources", ["analytics.customers", "analytics."]), key=key))
        for pad in range((size - length) * 3 // 4 - 3, (size - length) * 3 // 4 + 4):
            made = token(put("resources", ["analytics.customers", "analytics." + "x" * pad]), key=key)
            if len(made) == size:
                return made
    raise ValueError(f"no token has {size} bytes")


def _parts() -> Iterator[TokenCase]:
    header, claims, signature = token().split(".")
    serialized: Json = {"payload": claims, "protected": header, "signature": signature}
    rows = [
        ("empty", ""),
        ("one part", header),
        ("two parts: an unsecured JWS without its last dot", f"{header}.{claims}"),
        ("four parts", f"{header}.{claims}.{signature}.{signature}"),
        ("four parts, the last empty", f"{header}.{claims}.{signature}."),
        ("five parts: a JWE", f"{header}.{claims}.{claims}.{claims}.{signature}"),
        ("JWS in its JSON serialization", compact(serialized).decode()),
        ("JWS in the general JSON serialization", compact({"payload": claims, "signatures": [serialized]}).decode()),
        ("claims without a signature around them", compact(approval_claims()).decode().replace(".", "_")),
    ]
    for number, (description, text) in enumerate(rows, 10):
        yield TokenCase(f"TF{number}", description, text, "approval_parts")


def _base64() -> Iterator[TokenCase]:
    header, claims, signature = token().split(".")
    short = compact(header_of(typ=APPROVAL_TYP))
    rows = [
        ("first part empty", f".{claims}.{signature}"),
        ("detached payload", f"{header}..{signature}"),
        ("signature empty", f"{header}.{claims}."),
        ("all parts empty", ".."),
        ("header padded", f"{header}{'=' * (-len(header) % 4) or '='}.{claims}.{signature}"),
        ("claims padded", f"{header}.{claims}{'=' * (-len(claims) % 4) or '='}.{signature}"),
        ("signature padded", f"{header}.{claims}.{signature}=="),
        ("trailing bits of the header", f"{_trailing(b64url(short + b' '))}.{claims}.{signature}"),
        ("trailing bits of the claims", f"{header}.{_trailing(claims)}.{signature}"),
        ("trailing bits of the signature", f"{header}.{claims}.{_trailing(signature)}"),
        ("a character too few", f"{header}.{claims}.{signature[:-1]}"),
        ("standard alphabet", _standard_alphabet()),
        ("space before the token", f" {header}.{claims}.{signature}"),
        ("LF behind the token", f"{header}.{claims}.{signature}\n"),
        ("CRLF behind the token", f"{header}.{claims}.{signature}\r\n"),
        ("line break inside the claims", f"{header}.{claims[:76]}\n{claims[76:]}.{signature}"),
        ("space inside the claims", f"{header}.{claims[:76]} {claims[76:]}.{signature}"),
        ("tab before the signature", f"{header}.{claims}.\t{signature}"),
        ("NUL behind the token", f"{header}.{claims}.{signature}\0"),
        ("stray character that lenient decoders drop", f"{header}.{claims[:8]}!{claims[8:]}.{signature}"),
        ("percent-encoded character", f"{header}.{claims[:8]}%41{claims[9:]}.{signature}"),
        ("scheme before the token", f"Bearer {header}.{claims}.{signature}"),
        ("letter outside ASCII that folds to one inside", f"{header}.{claims}.{signature[:-1]}\u212a"),
        ("full-width digit", f"{header}.{claims}.{signature[:-1]}\uff10"),
        ("byte order mark before the token", f"\ufeff{header}.{claims}.{signature}"),
        ("quotation marks around the token", f'"{header}.{claims}.{signature}"'),
    ]
    for number, (description, text) in enumerate(rows, 30):
        yield TokenCase(f"TF{number}", description, text, "approval_encoding")


def _trailing(part: str) -> str:
    """Return another spelling of the same bytes: the bits behind the last byte set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(part) % 4 == 0:
        raise ValueError("no bits behind the last byte")
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def _standard_alphabet() -> str:
    """Return a token whose signature is written in the standard alphabet, where the two differ."""
    for number in range(100):
        text = token(put("exp", approval_claims()["exp"] - number)) if number else token()
        head, _, signature = text.rpartition(".")
        if "-" in signature or "_" in signature:
            return f"{head}.{signature.replace('-', '+').replace('_', '/')}"
    raise ValueError("no signature has one of the two characters")
