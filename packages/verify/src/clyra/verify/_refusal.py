# SPDX-License-Identifier: Apache-2.0
"""How a check says no, and which public error class stands for a code (``spec/errors.md``).

A refusal never leaves the package: it becomes the code and stage of a result.
"""

from __future__ import annotations

from clyra.spec import (
    ChainBreakError,
    ClyraError,
    DigestMismatchError,
    ExpiredError,
    FormatError,
    ProofError,
    SignatureError,
    VerificationError,
)

_FORMAT = (
    "limit_exceeded", "trust_invalid", "attestation_unknown", "envelope_missing", "envelope_invalid", "payload_type",
    "json_not_canonical", "schema_invalid", "crit_unknown",
)  # fmt: skip
_SIGNATURE = ("key_unknown", "key_role", "key_weak", "key_scope", "key_not_yet_valid", "key_revoked",
              "signature_invalid", "threshold_not_met")  # fmt: skip
_DIGEST = ("trust_pin", "subject_mismatch", "external_digest", "policy_digest", "c2pa_digest")


class Refusal(Exception):
    """A check found a fault; ``stage`` is set only where it is not the stage that runs."""

    def __init__(self, code: str, message: str, *, stage: str | None = None, pointer: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.stage = stage
        self.pointer = pointer


def error_for(code: str, message: str, pointer: str | None = None) -> ClyraError:
    """The error of ``clyra.spec.errors`` that ``spec/errors.md`` names for the code."""
    if code.startswith("zip_") or code in _FORMAT:
        return FormatError(message, code=code, pointer=pointer)
    return _class_of(code)(message, code=code)


def _class_of(code: str) -> type[VerificationError]:
    if code == "key_expired":
        return ExpiredError
    if code in _SIGNATURE:
        return SignatureError
    if code in _DIGEST or code.startswith("file_"):
        return DigestMismatchError
    if code.startswith("journal_"):
        return ChainBreakError
    if code == "checkpoint_invalid" or code.startswith(("tree_", "proof_", "log_")):
        return ProofError
    return VerificationError
