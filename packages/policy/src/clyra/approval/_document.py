# SPDX-License-Identifier: Apache-2.0
"""Read the canonical documents of approvals: bytes, schema, and nothing in between."""

from __future__ import annotations

from typing import Any

from clyra.evidence.canonical import canonicalize_integers
from clyra.spec import FormatError
from clyra.verify.canonical import read_strict
from clyra.verify.schema import compiled

MAX_DOCUMENT_BYTES = 1 << 20


def read_document(data: bytes, *, schema: str, code: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> dict[str, Any]:
    """The document that ``data`` are the canonical bytes of, as its schema says.

    Raises:
        FormatError: It is too large, not canonical, or not what the schema says (``code``).
    """
    if len(data) > max_bytes:
        raise FormatError(f"found {len(data)} bytes, at most {max_bytes} are allowed", code=code)
    value = canonical_object(data)
    if value is None:
        raise FormatError("the bytes are not canonical JSON; pass the file as it was written", code=code)
    check_document(value, schema=schema, code=code)
    return value


def check_document(value: dict[str, Any], *, schema: str, code: str) -> None:
    """Check a document against a schema of ``spec/``.

    Raises:
        FormatError: With a JSON pointer to the first fault (``code``).
    """
    fault = compiled(schema)(value)
    if fault is not None:
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in fault[0])
        raise FormatError(f"{fault[1]} at {pointer or 'the top level'}", code=code, pointer=pointer)


def canonical_object(data: bytes) -> dict[str, Any] | None:
    """The object that ``data`` are the canonical bytes of; None where they are not."""
    try:
        value = read_strict(data)
        return value if isinstance(value, dict) and canonicalize_integers(value) == data else None
    except (ValueError, FormatError):
        return None
