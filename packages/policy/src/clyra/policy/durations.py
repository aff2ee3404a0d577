# SPDX-License-Identifier: Apache-2.0
"""Durations, times of day and dates as a policy writes them.

``250ms 60s 15m 24h 90d 6y``: a whole number above zero and one unit. A year is 366 days, so that a period of years is
never shorter than the calendar's.
"""

from __future__ import annotations

import re
from datetime import date

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "y": 366 * 86_400_000}
MAX_MS = 200 * UNITS_MS["y"]

_DURATION = re.compile(r"([1-9][0-9]{0,14})(ms|[smhdy])")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def milliseconds(text: str) -> int | None:
    """Milliseconds in the duration ``text``; None where it is none, or longer than 200 years."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    value = int(found[1]) * UNITS_MS[found[2]]
    return value if value <= MAX_MS else None


def duration_text(value_ms: int) -> str:
    """The duration as a person writes it, in the largest unit that divides it."""
    for unit in ("y", "d", "h", "m", "s"):
        if value_ms % UNITS_MS[unit] == 0:
            return f"{value_ms // UNITS_MS[unit]}{unit}"
    return f"{value_ms}ms"


def is_time_of_day(text: str) -> bool:
    """True for ``HH:MM`` from 00:00 to 23:59."""
    return _TIME.fullmatch(text) is not None


def parse_date(text: str) -> date | None:
    """The day ``YYYY-MM-DD``; None where there is no such day."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
