# SPDX-License-Identifier: Apache-2.0
"""What can be known of a policy that does not load: the version it asks for, and where it enforces.

Read from the parser's events up to the first error, so that "a policy that does not load" is decidable: it blocks
where this or ``CLYRA_MODE`` enforces, and is recorded loudly elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clyra.policy.environment import Environment


@dataclass(frozen=True, slots=True)
class FirstPass:
    """``requires`` and ``environments`` as far as they could be read; ``complete`` if the file is sound YAML."""

    requires: str | None
    environments: Mapping[str, Environment]
    complete: bool


def first_pass(data: bytes) -> FirstPass:
    """What the events of the policy file's parser say up to the first error; never raises."""
    raise NotImplementedError
