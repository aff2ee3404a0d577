# SPDX-License-Identifier: Apache-2.0
"""Base64 with one spelling per value: padding, no white space, zero trailing bits (RFC 4648, 3.5)."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64


def decode_standard(text: str) -> bytes:
    """The bytes that ``text`` is the standard base64 of.

    Raises:
        ValueError: It is not.
    """
    data = a2b_base64(text.encode("ascii"), strict_mode=True)
    if b2a_base64(data, newline=False) != text.encode("ascii"):
        raise ValueError("not the base64 of its bytes")
    return data


def decode_either(text: str) -> bytes:
    """The bytes that ``text`` is the base64 of, in the standard or in the URL-safe alphabet, not in a mixture.

    Raises:
        ValueError: It is neither.
    """
    given = text.encode("ascii")
    data = a2b_base64(given.translate(_TO_STANDARD), strict_mode=True)
    standard = b2a_base64(data, newline=False)
    if given not in (standard, standard.translate(_TO_URL_SAFE)):
        raise ValueError("not the base64 of its bytes")
    return data


_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
