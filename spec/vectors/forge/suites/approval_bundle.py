# SPDX-License-Identifier: Apache-2.0
"""A."""

from collections.abc import Iterator

from forge.case import Case


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from ()
