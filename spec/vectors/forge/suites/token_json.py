# SPDX-License-Identifier: Apache-2.0
"""TJ: the JSON of header and claims. All of it is signed; readers that are lenient would take it."""

import json
from collections.abc import Iterator

from forge.edits import BytesEdit, put, swap, wrap
from forge.token import NOW_S, TokenCase, approval_claims, compact, header_of, token

_END = str(NOW_S + 240).encode()


def json_cases() -> Iterator[TokenCase]:
    """Yield this part of the suite ``approval``."""
    for number, (description, edit) in enumerate(_faults(), 1):
        made = token(edit(compact(approval_claims())))
        yield TokenCase(f"TJ{number:02}", f"claims: {description}", made, "approval_encoding")
    for number, (description, data) in enumerate(_documents(), 60):
        yield TokenCase(f"TJ{number}", f"claims: {description}", token(data), "approval_encoding")
    for number, (description, edit) in enumerate(_header_faults(), 80):
        made = token(header=edit(compact(header_of())))
        yield TokenCase(f"TJ{number}", f"header: {description}", made, "approval_encoding")
    nested = put("x", json.loads("[" * 15 + "]" * 15))
    yield TokenCase("TJ98", "claims: 16 levels are JSON, but no claims", token(nested), "approval_claims")


def _faults() -> Iterator[tuple[str, BytesEdit]]:
    def number(text: bytes) -> BytesEdit:
        return swap(b'"exp":' + _END, b'"exp":' + text)

    def tenant(text: bytes) -> BytesEdit:
        return swap(b'"acme"', b'"' + text + b'"')

    yield "a claim twice", swap(b'{"v":1', b'{"v":1,"exp":9999999999')
    yield "a claim twice, the second behind the others", swap(b'"quorum":1}', b'"quorum":1,"quorum":1}')
    yield "a claim twice by an escape", swap(b'{"v":1', b'{"v":1,"\\u0065xp":9999999999')
    yield "a claim twice by an escape in the second", swap(b'"quorum":1}', b'"quorum":1,"quoru\\u006d":1}')
    yield "a member of an approval twice", swap(b'"method":"key"', b'"method":"key","method":"key"')
    yield "NaN", number(b"NaN")
    yield "Infinity", number(b"Infinity")
    yield "minus Infinity", number(b"-Infinity")
    yield "exp with a fraction of zero", number(_END + b".0")
    yield "exp with an exponent", number(b"17698502400e-1")
    yield "exp of 1e9", number(b"1e10")
    yield "exp beyond 2^53-1", number(b"9007199254740992")
    yield "exp beyond 64 bits", number(b"18446744073709551616")
    yield "exp of 400 digits", number(b"9" * 400)
    yield "exp of minus zero", number(b"-0")
    yield "exp with a leading zero", number(b"0" + _END)
    yield "exp with a plus sign", number(b"+" + _END)
    yield "exp in hexadecimal", number(b"0x697df000")
    yield "exp with a digit separator", number(b"1_769_850_240")
    yield "exp in Arabic digits", number("\u0661\u0667\u0666\u0669".encode())
    yield "byte order mark", wrap(b"\xef\xbb\xbf", b"")
    yield "UTF-16", lambda data: data.decode().encode("utf-16-le")
    yield "UTF-16 with a byte order mark", lambda data: data.decode().encode("utf-16")
    yield "overlong UTF-8", tenant(b"ac\xc1\xadme")
    yield "overlong NUL", tenant(b"ac\xc0\x80me")
    yield "UTF-8 that is cut off", tenant(b"ac\xc3")
    yield "Latin-1", tenant(b"ac\xe9me")
    yield "lone surrogate, raw", tenant(b"ac\xed\xa0\x80me")
    yield "surrogate pair in CESU-8", tenant(b"\xed\xa0\xbd\xed\xb4\x91")
    yield "lone surrogate, escaped", tenant(b"ac\\ud800me")
    yield "surrogates in the wrong order, escaped", tenant(b"\\udd11\\ud83d")
    yield "NUL, escaped", tenant(b"ac\\u0000me")
    yield "NUL in a name, escaped", swap(b'{"v":1', b'{"v":1,"a\\u0000":1')
    yield "NUL, raw", tenant(b"ac\0me")
    yield "line feed in a text, raw", tenant(b"ac\nme")
    yield "escape that does not exist", tenant(b"ac\\xme")
    yield "bytes behind the object", wrap(b"", b"x")
    yield "NUL behind the object", wrap(b"", b"\0")
    yield "second object behind the first", wrap(b"", b"{}")
    yield "comment", swap(b'{"v":1', b'{/* */"v":1')
    yield "comma at the end", swap(b'"quorum":1}', b'"quorum":1,}')
    yield "name without quotation marks", swap(b'{"v":1', b"{v:1")
    yield "single quotation marks", swap(b'"acme"', b"'acme'")
    yield "form feed as white space", swap(b'{"v":1', b'{\x0c"v":1')
    yield "no-break space as white space", swap(b'{"v":1', b'{\xc2\xa0"v":1')
    yield "cut off", lambda data: data[:-1]
    yield "17 levels", swap(b'{"v":1', b'{"v":1,"x":' + b"[" * 16 + b"]" * 16)
    yield "2000 levels", swap(b'{"v":1', b'{"v":1,"x":' + b"[" * 2000 + b"]" * 2000)


def _documents() -> Iterator[tuple[str, bytes]]:
    yield "an array", b"[" + compact(approval_claims()) + b"]"
    yield "a text", json.dumps(json.dumps(approval_claims())).encode()
    yield "null", b"null"
    yield "a number", b"1"
    yield "white space alone", b"  "
    yield "no JSON", b"v=1"
    yield "gzip", bytes.fromhex("1f8b0800000000000203abae05004335426f0200000000")


def _header_faults() -> Iterator[tuple[str, BytesEdit]]:
    yield "alg twice", swap(b'{"alg":"EdDSA"', b'{"alg":"none","alg":"EdDSA"')
    yield "alg twice by an escape", swap(b'{"alg":"EdDSA"', b'{"\\u0061lg":"none","alg":"EdDSA"')
    yield "kid twice", swap(b'"kid":', b'"kid":"x","kid":')
    yield "typ twice", swap(b'"typ":', b'"typ":"JWT","typ":')
    yield "byte order mark", wrap(b"\xef\xbb\xbf", b"")
    yield "UTF-16", lambda data: data.decode().encode("utf-16-be")
    yield "bytes behind the object", wrap(b"", b" {}")
    yield "an array", wrap(b"[", b"]")
    yield "comment", swap(b'{"alg"', b'{//\n"alg"')
    yield "NaN beside the members", swap(b'{"alg"', b'{"x":NaN,"alg"')
    yield "lone surrogate in kid", swap(b'"kid":"', b'"kid":"\\udfff')
