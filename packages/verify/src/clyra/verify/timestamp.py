# SPDX-License-Identifier: Apache-2.0
"""When signatures were made (stage ``time``): RFC 3161 tokens where they are, else what the signer claims.

This version does not verify tokens. A token that is there is refused wherever a trust file could vouch for its
authority, and never taken for a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from clyra.verify._refusal import Refusal
from clyra.verify.signers import SignatureTime
from clyra.verify.trust import Trust


def signature_times(
    manifest: Mapping[str, Any], signatures: int, tokens: Collection[int], trust: Trust | None
) -> dict[int, SignatureTime]:
    """The time of each signature, by its number.

    Args:
        manifest: The checked manifest.
        signatures: How many signatures the envelope has.
        tokens: Numbers of the signatures that a timestamp token is there for.
        trust: Says whether tokens are required.

    Raises:
        Refusal: ``attestation_mismatch``, ``timestamp_invalid`` or ``attestation_missing``.
    """
    stray = [number for number in tokens if number >= signatures]
    if stray:
        raise Refusal("attestation_mismatch", f"manifest.{min(stray)}.tsr is about a signature that is not there")
    if trust is not None:
        if tokens:
            raise Refusal("timestamp_invalid", "no timestamp authority of the trust file vouches for this token")
        if trust.requires("tsr"):
            raise Refusal("attestation_missing", "the trust file requires a timestamp for each signature")
    return {number: SignatureTime(manifest["closed_at"], "claimed") for number in range(signatures)}
