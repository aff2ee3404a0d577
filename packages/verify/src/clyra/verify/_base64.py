# SPDX-License-Identifier: Apache-2.0
"""Base64 with one spelling per value: padding, no white space, zero trailing bits (RFC 4648, 3.5)."""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64encode


def decode_standard(text: str) -> bytes:
    """The bytes that ``text`` is the standard base64 of.

    Raises:
        ValueError: It is not.
    """
    data = b64decode(text.encode("ascii"), validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("not the base64 of its bytes")
    return data


def decode_either(text: str) -> bytes:
    """The bytes that ``text`` is the base64 of, in the standard or in the URL-safe alphabet, not in a mixture.

    Raises:
        ValueError: It is neither.
    """
    data = b64decode(text.encode("ascii").translate(_TO_STANDARD), validate=True)
    if text not in (b64encode(data).decode(), urlsafe_b64encode(data).decode()):
        raise ValueError("not the base64 of its bytes")
    return data


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
