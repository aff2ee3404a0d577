# SPDX-License-Identifier: Apache-2.0
"""The trust file of the runner: who may approve and mint, and which policies are pinned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clyra.spec import FormatError, UnavailableError


def read_trust(project_root: Path, environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The parsed trust file that ``CLYRA_TRUST`` names, else that of the project; None where there is none.

    Raises:
        FormatError: It is not what its schema says, or names published test keys (``trust_invalid``).
        UnavailableError: It cannot be read (``evidence_unavailable``).
    """
    from clyra.verify.canonical import read_strict
    from clyra.verify.schema import compiled
    from clyra.verify.trust import MAX_TRUST_BYTES, find_trust_file

    found, _ = find_trust_file(environ, project_root)
    if found is None:
        return None
    try:
        data = Path(found).read_bytes()
    except OSError as exc:
        raise UnavailableError(
            f"the trust file {found} cannot be read: {exc.strerror}; correct CLYRA_TRUST", code="evidence_unavailable"
        ) from exc
    try:
        document = read_strict(data) if len(data) <= MAX_TRUST_BYTES else None
    except ValueError:
        document = None
    fault = compiled("trust")(document)
    if not isinstance(document, dict) or fault is not None:
        raise FormatError(
            f"the trust file {found} is not what its schema says; check it with clyra doctor", code="trust_invalid"
        )
    _refuse_test_keys(document, found)
    return document


def is_pinned(trust: Mapping[str, Any], policy_sha256: str, environment: str) -> bool:
    """Whether the trust file lets this policy govern this environment; it does where it pins none."""
    pins = trust.get("policies")
    return pins is None or any(pin["sha256"] == policy_sha256 and environment in pin["environments"] for pin in pins)


def _refuse_test_keys(trust: Mapping[str, Any], found: str) -> None:
    from clyra.spec import read_json

    published = {key["keyid"] for key in read_json("test-keys.json")["keys"]}
    if any(key["keyid"] in published for key in trust["keys"]):
        raise FormatError(f"the trust file {found} names a published test key; take it out", code="trust_invalid")
