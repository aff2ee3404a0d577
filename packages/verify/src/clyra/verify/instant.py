# SPDX-License-Identifier: Apache-2.0
"""Instants of the form ``2026-01-31T08:15:00.000000Z``: they compare as text, only distances need numbers."""

from __future__ import annotations

from datetime import UTC, datetime


def instant_text(moment: datetime) -> str:
    """The canonical text of an aware moment.

    Raises:
        ValueError: The moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one instant to another, negative where they are the other way round."""
    return microseconds_between(earlier, later) / 1e6


def microseconds_between(earlier: str, later: str) -> int:
    """Microseconds from one instant to another, negative where they are the other way round."""
    return _microseconds(later) - _microseconds(earlier)


def _microseconds(instant: str) -> int:
    # Any day from 1 to 31 is allowed in any month and year 0 exists, as the schema's pattern has it: no `datetime`.
    year, month, day = int(instant[:4]), int(instant[5:7]), int(instant[8:10])
    hour, minute, second, fraction = int(instant[11:13]), int(instant[14:16]), int(instant[17:19]), int(instant[20:26])
    years, month_of_era = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = years * 365 + years // 4 - years // 100 + years // 400 + (month_of_era * 153 + 2) // 5 + day
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction
