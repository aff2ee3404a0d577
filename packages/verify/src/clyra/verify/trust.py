# SPDX-License-Identifier: Apache-2.0
"""The trust file (``spec/trust.md``): who may sign what. Said by the verifier's side, never by the bundle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from clyra.spec import read_json
from clyra.verify._base64 import decode_standard
from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_strict
from clyra.verify.schema import check_schema
from clyra.verify.signature import RSA_TOKENS, check_public_key

MAX_TRUST_BYTES = 1 << 20
FILE_NAME = "clyra.trust.json"
DEFAULT_SKEW_S = 300
DEFAULT_MAX_SEAL_LAG_S = 86_400

Source = Literal["argument", "environment", "project", "none"]


class TrustKey(NamedTuple):
    """One key of the trust file; instants are text of the canonical form and compare as such."""

    keyid: str
    alg: str
    role: str
    spki: bytes
    valid_from: str
    valid_to: str | None
    revoked_at: str | None
    tenants: tuple[str, ...] | None
    specs: tuple[str, ...] | None
    captures: tuple[str, ...] | None
    principal: str
    """Whose key it is: of an approver, who approves; ``key:<keyid>`` where the trust file names nobody."""


class Trust(NamedTuple):
    """A trust file that is what its schema says, with keys that can be used."""

    version: int
    sha256: str
    keys: Mapping[str, TrustKey]
    document: Mapping[str, Any]

    def threshold(self, role: str) -> int:
        """How many distinct keys of the role must have signed."""
        return int(self.document.get("threshold", {}).get(role, 1))

    def requires(self, attestation: Literal["tsr", "log"]) -> bool:
        """Whether bundles without this attestation are refused."""
        return attestation in self.document.get("require", ())

    @property
    def skew_s(self) -> int:
        """By how much a timestamp may be earlier than ``closed_at``."""
        return int(self.document.get("skew_s", DEFAULT_SKEW_S))

    @property
    def max_seal_lag_s(self) -> int:
        """By how much a timestamp or a log proof may be later than ``closed_at``."""
        return int(self.document.get("max_seal_lag_s", DEFAULT_MAX_SEAL_LAG_S))

    def log_keys(self, origin: str) -> list[TrustKey]:
        """Keys that may sign checkpoints of the log with this origin."""
        keys = [key for key in self.keys.values() if key.role == "log" and key.revoked_at is None]
        logs = self.document.get("logs")
        if logs is None:
            return keys
        named = {entry["keyid"] for entry in logs if entry["origin"] == origin}
        return [key for key in keys if key.keyid in named]


def parse_trust(data: bytes) -> Trust:
    """The trust file in these bytes.

    Raises:
        Refusal: ``limit_exceeded``, ``trust_invalid`` or ``key_weak``, all of stage ``input``.
    """
    if len(data) > MAX_TRUST_BYTES:
        raise Refusal("limit_exceeded", f"a trust file of {len(data)} bytes, at most {MAX_TRUST_BYTES} are allowed")
    try:
        document: Any = read_strict(data)
    except ValueError as exc:
        raise Refusal("trust_invalid", f"the trust file is not strict JSON: {exc}") from exc
    check_schema("trust", document, code="trust_invalid")
    keys: dict[str, TrustKey] = {}
    for entry in document["keys"]:
        key = _key(entry)
        if key.keyid in keys:
            raise Refusal("trust_invalid", f"the key {key.keyid} is listed twice")
        keys[key.keyid] = key
    return Trust(document["version"], hashlib.sha256(data).hexdigest(), keys, document)


def refuse_test_keys(trust: Trust) -> None:
    """Check that the trust file names no key whose private half is published with the test vectors.

    Only the argument ``--trust`` may bring such a file: whoever writes it there is testing.

    Raises:
        Refusal: ``trust_invalid``.
    """
    published = {key["keyid"]: key["name"] for key in read_json("test-keys.json")["keys"]}
    for keyid in trust.keys:
        if keyid in published:
            raise Refusal("trust_invalid", f"{keyid} is the published test key {published[keyid]!r}: take it out")


def _key(entry: Mapping[str, Any]) -> TrustKey:
    if entry["role"] != "issuer" and ("issuer" in entry or entry["alg"] == RSA_TOKENS):
        raise Refusal("trust_invalid", f"{entry['keyid']} has what only a key of the role issuer may have")
    try:
        spki = decode_standard(entry["public_key"])
    except ValueError as exc:
        raise Refusal("trust_invalid", f"the public key of {entry['keyid']} is not standard base64") from exc
    if hashlib.sha256(spki).hexdigest() != entry["keyid"]:
        raise Refusal("trust_invalid", f"{entry['keyid']} is not the SHA-256 of its SubjectPublicKeyInfo")
    check_public_key(entry["alg"], spki)
    return TrustKey(
        keyid=entry["keyid"],
        alg=entry["alg"],
        role=entry["role"],
        spki=spki,
        valid_from=entry["valid_from"],
        valid_to=entry.get("valid_to"),
        revoked_at=entry.get("revoked_at"),
        tenants=_limit(entry, "tenants"),
        specs=_limit(entry, "specs"),
        captures=_limit(entry, "captures"),
        principal=entry.get("principal", f"key:{entry['keyid']}"),
    )


def _limit(entry: Mapping[str, Any], member: str) -> tuple[str, ...] | None:
    return tuple(entry[member]) if member in entry else None


def find_trust_file(
    environ: Mapping[str, str], cwd: str | os.PathLike[str], *, beside: str | None = None
) -> tuple[str | None, Source]:
    """The trust file that is in force where no argument names one, and where that comes from.

    The variable ``CLYRA_TRUST`` comes first, then the project of the working directory: the nearest folder from
    there upward that holds a ``dbt_project.yml`` or a ``.git`` and a trust file.

    Args:
        environ: The process environment.
        cwd: The working directory.
        beside: Folder of the bundle, whose trust file is never taken: whoever sent the bundle may have put it there.
    """
    named = environ.get("CLYRA_TRUST")
    if named:
        return named, "environment"
    folder = os.path.abspath(cwd)
    excluded = os.path.realpath(beside) if beside is not None else None
    while True:
        path = os.path.join(folder, FILE_NAME)
        is_root = os.path.exists(os.path.join(folder, ".git"))
        is_project = is_root or os.path.isfile(os.path.join(folder, "dbt_project.yml"))
        if is_project and os.path.isfile(path) and os.path.realpath(folder) != excluded:
            return path, "project"
        parent = os.path.dirname(folder)
        if is_root or parent == folder:
            return None, "none"
        folder = parent
