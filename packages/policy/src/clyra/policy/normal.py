# SPDX-License-Identifier: Apache-2.0
"""The normal form of a policy: every default filled in, durations in milliseconds, integers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def normalize(document: Mapping[str, Any]) -> dict[str, Any]:
    """``document`` as the gates and the digest take it: newest version, every section and default present.

    Durations become integer milliseconds under their own name (``window_s: 60`` is ``window: 60000``).

    Raises:
        PolicyInvalid: It is not what the schema says.
    """
    raise NotImplementedError
