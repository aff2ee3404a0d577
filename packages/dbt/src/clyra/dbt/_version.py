# SPDX-License-Identifier: Apache-2.0
"""Which installation of ours recorded."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple


class Installed(NamedTuple):
    """The installed distribution; ``source_digest`` is the SHA-256 of its list of files with their digests."""

    version: str
    source_digest: str | None


@lru_cache(maxsize=1)
def installed() -> Installed:
    """The installation of clyra-dbt; version ``0`` where Python knows of none."""
    try:
        found = distribution("clyra-dbt")
    except PackageNotFoundError:
        return Installed("0", None)
    files = found.read_text("RECORD")
    return Installed(found.version, hashlib.sha256(files.encode()).hexdigest() if files else None)
