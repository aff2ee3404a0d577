# SPDX-License-Identifier: Apache-2.0
"""The trust file as commands and gates read it: who may approve and mint, how many, and which policies are pinned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clyra.spec import FormatError, UnavailableError


def read_trust_file(
    project_dir: Path, environ: Mapping[str, str], *, named: str | None = None
) -> tuple[Path, Mapping[str, Any]] | None:
    """The trust file and its members; None where there is none.

    Args:
        project_dir: The project; its file is taken where nothing else is named.
        environ: Environment variables; ``CLYRA_TRUST`` names another file.
        named: The file that an argument names. Only that one may hold published test keys: whoever names it is testing.

    Raises:
        FormatError: It is not what its schema says, or names published test keys (``trust_invalid``).
        UnavailableError: It cannot be read (``key_unavailable``).
    """
    from clyra.verify.trust import find_trust_file

    found = named or find_trust_file(environ, project_dir)[0]
    if found is None:
        return None
    members = _members(found)
    if named is None:
        _refuse_test_keys(members, found)
    return Path(found), members


def is_pinned(trust: Mapping[str, Any], policy_sha256: str, environment: str) -> bool:
    """Whether the trust file lets this policy govern this environment; it does where it pins none."""
    pins = trust.get("policies")
    return pins is None or any(pin["sha256"] == policy_sha256 and environment in pin["environments"] for pin in pins)


def _members(found: str) -> Mapping[str, Any]:
    from clyra.verify.canonical import read_strict
    from clyra.verify.schema import compiled
    from clyra.verify.trust import MAX_TRUST_BYTES

    try:
        data = Path(found).read_bytes()
    except OSError as exc:
        raise UnavailableError(
            f"the trust file {found} cannot be read: {exc.strerror}; name it with --trust or CLYRA_TRUST",
            code="key_unavailable",
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
    return document


def _refuse_test_keys(trust: Mapping[str, Any], found: str) -> None:
    from clyra.spec import read_json

    published = {key["keyid"] for key in read_json("test-keys.json")["keys"]}
    if any(key["keyid"] in published for key in trust["keys"]):
        raise FormatError(f"the trust file {found} names a published test key; take it out", code="trust_invalid")
