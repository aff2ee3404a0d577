# SPDX-License-Identifier: Apache-2.0
"""The contract in Python: the error tree and the files of ``spec/``; depends on nothing."""

from clyra.spec._resources import anchor_kinds, read_json, schema, spec_folder, verb_class, verb_writes
from clyra.spec.errors import (
    ApprovalRequiredError,
    BlockedError,
    ChainBreakError,
    ClyraError,
    ConfigurationError,
    DigestMismatchError,
    ExpiredError,
    FormatError,
    PolicyError,
    ProofError,
    SignatureError,
    UnavailableError,
    VerificationError,
)

__all__ = [
    "ApprovalRequiredError",
    "BlockedError",
    "ChainBreakError",
    "ClyraError",
    "ConfigurationError",
    "DigestMismatchError",
    "ExpiredError",
    "FormatError",
    "PolicyError",
    "ProofError",
    "SignatureError",
    "UnavailableError",
    "VerificationError",
    "anchor_kinds",
    "read_json",
    "schema",
    "spec_folder",
    "verb_class",
    "verb_writes",
]
