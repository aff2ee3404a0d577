# SPDX-License-Identifier: Apache-2.0
"""Fit foreign text into the types of ``spec/common/schemas/types.schema.json``.

Names come from projects and adapters, which may put anything into them; a line that the schema refuses would make the
whole bundle invalid.
"""

from __future__ import annotations

import hashlib
import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_TAG = re.compile(r"[^A-Za-z0-9_.@:-]+")
_NOT_WORD = re.compile(r"[^a-z0-9_.-]+")
_TAG = re.compile(r"[A-Za-z0-9_.@:-]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 2**53 - 1


def name(text: str) -> str:
    """``text`` on one line; a dash where nothing is left."""
    return _storable(_CONTROL.sub(" ", text)) or "-"


def name_or_none(text: str | None) -> str | None:
    """``text`` on one line, None where it is empty."""
    return name(text) if text else None


def free_text(text: str) -> str:
    """``text`` without NUL and without what UTF-8 cannot hold."""
    return _storable(text.replace("\0", " "))


def word(text: str) -> str:
    """``text`` as a word of a vocabulary: ``partial success`` becomes ``partial_success``."""
    folded = _NOT_WORD.sub("_", text.strip().lower())[:64]
    return folded if folded[:1].isalpha() else f"x_{folded}"[:64]


def tag(text: str) -> str:
    """``text`` as a run, actor or tenant id, foreign characters replaced; empty where nothing is left."""
    return _NOT_TAG.sub("_", text.strip())[:128]


def is_tag(text: str) -> bool:
    """True if ``text`` may be a run, actor or tenant id as it is."""
    return _TAG.fullmatch(text) is not None


def sha256_or_none(text: str | None) -> str | None:
    """``text`` if it is a SHA-256 in hex; dbt also calls a path a checksum, for seeds over 1 MiB."""
    return text if text and _SHA256.fullmatch(text) else None


def count_or_none(value: object) -> int | None:
    """``value`` as a count; None for what is no number, negative (unknown) or beyond the integer profile."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        return None
    return int(value)


def microseconds(seconds: float) -> int:
    """A duration in whole microseconds, never negative."""
    return max(0, round(seconds * 1_000_000))


def digest(text: str) -> str:
    """SHA-256 of the UTF-8 form, lone surrogates included."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_or_none(text: str | None) -> str | None:
    """SHA-256 of ``text``; None where it is empty. Messages go into evidence only like this."""
    return digest(text) if text else None


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
