# SPDX-License-Identifier: Apache-2.0
"""The normal form of a policy: every default filled in, durations in milliseconds, integers only.

Two files mean the same policy exactly where their normal forms are equal, and its canonical JSON is what
``policy_sha256`` is the digest of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clyra.policy._schema import SchemaWalk
from clyra.policy.migrate import migrated
from clyra.policy.problem import PolicyInvalid
from clyra.policy.source import Fault, Source


def normalize(document: Mapping[str, Any]) -> dict[str, Any]:
    """``document`` as the gates and the digest take it: newest version, every section and default present.

    Durations become integer milliseconds under their own name (``window_s: 60`` is ``window: 60000``). Only the
    schema is held against it; what else a policy must be, `clyra.policy.load.read_policy` checks.

    Raises:
        PolicyInvalid: It is not what the schema says.
    """
    newest, faults = migrated(document)
    walk = SchemaWalk(canonical=False)
    normal = walk.document(newest)
    if found := [*faults, *walk.faults]:
        raise invalid(Source(document), found)
    return normal


def invalid(source: Source, faults: list[Fault]) -> PolicyInvalid:
    """The error that says what is wrong with a document that was not read from a file."""
    problems = tuple(source.locate(faults))
    return PolicyInvalid(f"not a policy: {problems[0].message}", problems=problems, first_pass=None)
