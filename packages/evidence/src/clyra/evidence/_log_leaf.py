# SPDX-License-Identifier: Apache-2.0
"""Leaves of a project's log: canonical ``{tenant, run_id, part, bundle_id, manifest_sha256}`` (``spec/log.md``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypedDict

from clyra.evidence.canonical import canonicalize_trusted
from clyra.spec import ProofError

_TAG = re.compile(r"[A-Za-z0-9_.@:-]{1,128}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class LogLeaf(TypedDict):
    """One leaf; ``manifest_sha256`` is None in the leaf of a run that was opened."""

    tenant: str
    run_id: str
    part: int
    bundle_id: str
    manifest_sha256: str | None


def encode_leaf(leaf: Mapping[str, object]) -> bytes:
    """The canonical bytes of a leaf.

    Raises:
        ProofError: It is not a leaf as ``spec/log.md`` has it (``log_leaf``).
    """
    return canonicalize_trusted(dict(_checked(leaf)))


def decode_leaf(entry: bytes) -> LogLeaf:
    """The leaf in an entry of the log.

    Raises:
        ProofError: The entry is not a leaf in canonical bytes (``log_leaf``).
    """
    try:
        value = json.loads(entry)
    except ValueError as exc:
        raise _not_a_leaf("an entry that is not JSON") from exc
    leaf = _checked(value) if isinstance(value, dict) else None
    if leaf is None or canonicalize_trusted(dict(leaf)) != entry:
        raise _not_a_leaf("an entry that is not canonical")
    return leaf


def _checked(leaf: Mapping[str, object]) -> LogLeaf:
    tenant, run_id, part = leaf.get("tenant"), leaf.get("run_id"), leaf.get("part")
    bundle_id, digest = leaf.get("bundle_id"), leaf.get("manifest_sha256")
    if (
        leaf.keys() != LogLeaf.__required_keys__
        or not (isinstance(tenant, str) and _TAG.fullmatch(tenant))
        or not (isinstance(run_id, str) and _TAG.fullmatch(run_id))
        or not (isinstance(part, int) and not isinstance(part, bool) and 1 <= part < 2**53)
        or not (isinstance(bundle_id, str) and _UUID7.fullmatch(bundle_id))
        or not (digest is None or (isinstance(digest, str) and _SHA256.fullmatch(digest)))
    ):
        raise _not_a_leaf(f"one with the members {', '.join(sorted(map(str, leaf)))}")
    return LogLeaf(tenant=tenant, run_id=run_id, part=part, bundle_id=bundle_id, manifest_sha256=digest)


def _not_a_leaf(found: str) -> ProofError:
    return ProofError(
        f"found {found}, expected a log leaf of tenant, run_id, part, bundle_id and manifest_sha256", code="log_leaf"
    )
