# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.verify._base64 import decode_either, decode_standard
from clyra.verify._refusal import Refusal
from clyra.verify.instant import seconds_between
from clyra.verify.note import parse_tree_head
from clyra.verify.trust import parse_trust

ROOT = base64.b64encode(bytes(32)).decode()
LINE = f"\u2014 shop/1 {base64.b64encode(bytes(68)).decode()}\n"
NOTE = f"shop/1\n7\n{ROOT}\n\n{LINE}"


def test_a_note_of_three_lines_is_a_tree_head() -> None:
    head = parse_tree_head(NOTE.encode())
    assert (head.origin, head.size, head.root, len(head.signatures)) == ("shop/1", 7, bytes(32), 1)
    assert head.text == f"shop/1\n7\n{ROOT}\n".encode()


@pytest.mark.parametrize(
    "note",
    [
        "",
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        NOTE.replace("7\n", "07\n"),
        NOTE.replace("7\n", "7\nextension\n"),
        NOTE.replace("shop/1\n7", "shop 1\n7"),
        NOTE.replace("shop/1\n7", "shop+1\n7"),
        NOTE.replace("shop/1\n7", "\n7"),
        NOTE.replace(ROOT, ROOT[:-4]),
        NOTE.replace(LINE, ""),
        NOTE.replace(LINE, "\u2014 shop/1 AAAAAA==\n"),
        NOTE.replace(LINE, "\u2014  AAAAAAAAAA==\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE + LINE * 1000,
    ],
    ids=range(14),
)
def test_anything_else_is_none(note: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_tree_head(note.encode())


def test_bytes_that_are_not_utf_8_are_no_note() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        parse_tree_head(NOTE.encode() + b"\xff")


@given(st.binary(max_size=40))
def test_base64_has_one_spelling_per_alphabet(data: bytes) -> None:
    standard, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    assert decode_standard(standard) == decode_either(standard) == decode_either(url_safe) == data
    for wrong in (standard + "\n", " " + standard, standard.rstrip("=") + "=" * 3, standard + "A"):
        for decode in (decode_standard, decode_either):
            with pytest.raises(ValueError, match=r"."):
                decode(wrong)


@pytest.mark.parametrize("text", ["-_+/", "QQ", "QR==", "Q===", "QQ=", "\u0661QQ=", "QQ==QQ=="])
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    for decode in (decode_standard, decode_either):
        with pytest.raises(ValueError, match=r"."):
            decode(text)


def test_a_public_key_with_trailing_bits_is_refused() -> None:
    key = {"alg": "ed25519", "role": "bundle", "valid_from": "2026-01-01T00:00:00.000000Z"}
    key |= {"public_key": "QR==", "keyid": hashlib.sha256(b"A").hexdigest()}
    with pytest.raises(Refusal, match="standard base64"):
        parse_trust(json.dumps({"version": 1, "keys": [key]}).encode())


@pytest.mark.parametrize(
    ("earlier", "later", "seconds"),
    [
        ("2026-01-31T23:59:59.500000Z", "2026-02-01T00:00:00.000000Z", 0.5),
        ("2024-02-28T00:00:00.000000Z", "2024-03-01T00:00:00.000000Z", 2 * 86_400),
        ("2025-02-28T00:00:00.000000Z", "2025-03-01T00:00:00.000000Z", 86_400),
        ("2025-12-31T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z", 86_400),
        ("2026-01-01T00:00:00.000000Z", "2025-12-31T23:00:00.000000Z", -3600),
        ("0000-01-01T00:00:00.000000Z", "0001-01-01T00:00:00.000000Z", 366 * 86_400),
        ("2025-02-31T00:00:00.000000Z", "2025-03-03T00:00:00.000000Z", 0),
    ],
)
def test_distances_of_instants(earlier: str, later: str, seconds: float) -> None:
    assert seconds_between(earlier, later) == seconds
