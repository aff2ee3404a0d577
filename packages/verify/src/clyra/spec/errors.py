# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors that every Clyra package raises.

::

    ClyraError                      .code, a stable word of spec/errors.md
      FormatError                   input is not what the schema says; .pointer
      VerificationError             the evidence must not be trusted
        SignatureError | DigestMismatchError | ChainBreakError | ProofError | ExpiredError
      PolicyError                   the policy itself is invalid
      BlockedError                  a decision refused the action
        ApprovalRequiredError
      ConfigurationError            a setting, file or argument of the user's is wrong
      UnavailableError              key service, store, warehouse: may be retried; .retry_after_s

A message says what was found, what was expected and what to do, in lower case without a full stop. It never holds a
secret, a row value or a prompt.
"""

from __future__ import annotations


class ClyraError(Exception):
    """Something that Clyra refuses or cannot do, with a stable code."""

    default_code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class FormatError(ClyraError):
    """Input is not what its format says; ``pointer`` is a JSON pointer (RFC 6901) where one is known."""

    default_code = "schema_invalid"

    def __init__(self, message: str, *, code: str | None = None, pointer: str | None = None) -> None:
        super().__init__(message, code=code)
        self.pointer = pointer


class VerificationError(ClyraError):
    """The evidence must not be trusted."""


class SignatureError(VerificationError):
    """Too few trusted keys signed these bytes."""

    default_code = "signature_invalid"


class DigestMismatchError(VerificationError):
    """Bytes are not the ones that were promised."""

    default_code = "file_digest"


class ChainBreakError(VerificationError):
    """The journal is not one unbroken chain."""

    default_code = "journal_prev"


class ProofError(VerificationError):
    """A Merkle tree, proof, checkpoint or log does not hold."""

    default_code = "proof_root"


class ExpiredError(VerificationError):
    """Something was used after its time."""

    default_code = "key_expired"


class PolicyError(ClyraError):
    """The policy itself is invalid."""

    default_code = "policy_invalid"


class BlockedError(ClyraError):
    """A decision refused the action."""

    default_code = "blocked"


class ApprovalRequiredError(BlockedError):
    """The action needs an approval that is not there."""

    default_code = "approval_required"


class ConfigurationError(ClyraError):
    """A setting, file or argument of the user's is wrong."""

    default_code = "config_invalid"


class UnavailableError(ClyraError):
    """Something outside is needed and does not answer; ``retry_after_s`` says when to try again, in seconds."""

    default_code = "server_unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s
