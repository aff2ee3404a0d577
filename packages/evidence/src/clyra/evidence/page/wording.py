# SPDX-License-Identifier: Apache-2.0
"""Numbers, times and foreign text in the words that people read; used by the page and by the terminal."""

from __future__ import annotations

import re
from datetime import datetime

_MS, _S, _MIN, _H = 1_000, 1_000_000, 60_000_000, 3_600_000_000
# Controls, separators of lines, marks and overrides of direction, and what has no width: they can hide or reorder text.
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]|[\ud800-\udfff]"
)


def visible(value: str) -> str:
    """``value`` with ``\\u{202e}`` in the place of every character that would hide, reorder or end text."""
    return _HIDDEN.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", value)


def shortened(value: str, length: int) -> str:
    """``value``, cut in its middle to at most ``length`` characters."""
    if len(value) <= length:
        return value
    tail = (length - 1) // 3
    return f"{value[: length - 1 - tail]}…{value[len(value) - tail :]}"


def count(number: int) -> str:
    """``1482`` as ``1,482``."""
    return f"{number:,}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``3 nodes``, ``1 node``, ``no nodes``."""
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,} {word}" if number else f"no {word}"


def duration(us: int) -> str:
    """A duration of ``us`` microseconds for people: ``842 ms``, ``8.2 s``, ``4 min 12 s``, ``2 h 4 min``."""
    if us < _MS:
        return "0 ms" if us <= 0 else "< 1 ms"
    if us < 999_500:
        return f"{us / _MS:.0f} ms"
    if us < 59_950_000:
        return f"{us / _S:.1f} s"
    seconds = round(us / _S)
    if us < _H:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def size(size_bytes: int) -> str:
    """A size in decimal units: ``612 B``, ``48.2 kB``, ``1.5 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def moment(instant: str) -> str:
    """``2026-01-31T08:15:00.000000Z`` as ``31 January 2026, 08:15:00 UTC``; what is no instant stays as it is."""
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return instant
    return f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


def sentence(code: str) -> str:
    """A word of a closed vocabulary as people write it: ``not_evaluated`` as ``not evaluated``."""
    return code.replace("_", " ")
