# SPDX-License-Identifier: Apache-2.0
"""From a policy file, or a bundle's ``policy.json``, to a policy that decides; the edge that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.policy.environment import Environment
from clyra.policy.lint import Checked, check_canonical, check_policy
from clyra.policy.normal import invalid
from clyra.policy.problem import POLICY_FILE as POLICY_FILE
from clyra.policy.problem import PolicyInvalid, Problem
from clyra.policy.source import Fault, Source
from clyra.spec import FormatError, PolicyError, UnavailableError

if TYPE_CHECKING:
    from clyra.policy.engine import CompiledPolicy


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy that passed every check.

    ``document`` is the policy in its newest version with all defaults filled in and durations in milliseconds;
    ``canonical`` its RFC 8785 bytes, a bundle's ``policy.json``; ``sha256`` the hex digest of those, which all
    evidence names as ``policy_sha256``.
    """

    name: str
    version: int
    document: Mapping[str, Any]
    canonical: bytes
    sha256: str
    environments: Mapping[str, Environment]
    compiled: CompiledPolicy
    warnings: tuple[Problem, ...]
    requires: str | None


def find_policy(project_dir: Path, environ: Mapping[str, str]) -> Path | None:
    """The file that ``CLYRA_POLICY`` names, else ``clyra.policy.yaml`` of the project; None where that is absent."""
    if named := environ.get("CLYRA_POLICY"):
        return Path(named)
    path = project_dir / POLICY_FILE
    return path if path.is_file() else None


def load_policy(path: Path, *, now: date) -> LoadedPolicy:
    """The policy in the file ``path``, judged on the day ``now``.

    Raises:
        PolicyInvalid: The file has errors (``policy_invalid``), or asks for another engine (``policy_requires``).
        UnavailableError: The file cannot be read (``policy_unavailable``).
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UnavailableError(f"{path} cannot be read: {reason}", code="policy_unavailable") from exc
    return read_policy(data, name=str(path), now=now)


def read_policy(data: bytes, *, name: str = POLICY_FILE, now: date) -> LoadedPolicy:
    """The policy in the bytes of a file named ``name``, judged on the day ``now``.

    Raises:
        PolicyInvalid: There are errors (``policy_invalid``), or it asks for another engine (``policy_requires``).
    """
    from clyra.evidence.canonical import canonicalize_integers

    checked = check_policy(data, name=name, now=now)
    if checked.errors:
        raise _invalid(checked, name)
    return _loaded(checked.document, canonicalize_integers(checked.document), checked.problems)


def policy_from_canonical(data: bytes) -> LoadedPolicy:
    """The policy whose canonical bytes are ``data``: a bundle's ``policy.json``. No YAML is read.

    Raises:
        PolicyInvalid: The bytes are not canonical JSON, or not a policy (``policy_invalid``).
    """
    import json

    from clyra.evidence.canonical import canonicalize_integers

    try:
        sealed = json.loads(data)
        is_canonical = canonicalize_integers(sealed) == data
    except (ValueError, RecursionError, FormatError):
        is_canonical = False
    if not is_canonical:
        fault = Fault("policy_syntax", "the policy is not canonical JSON; take the policy.json of a bundle", ())
        raise invalid(Source(), [fault])
    document, faults = check_canonical(sealed)
    if faults:
        raise invalid(Source(sealed), faults)
    try:
        # The digest is of what was sealed: an engine that knows more keys fills them in, and changes no digest.
        return _loaded(document, data, ())
    except PolicyError as exc:
        raise invalid(Source(sealed), [Fault(exc.code, exc.message, ())]) from exc


def _invalid(checked: Checked, name: str) -> PolicyInvalid:
    first, count = checked.errors[0], len(checked.errors)
    if first.code == "policy_requires":
        return PolicyInvalid(first.message, problems=checked.problems, first_pass=checked.first_pass, code=first.code)
    more = f" and {count - 1} more" if count > 1 else ""
    message = f"the policy cannot be used: {first}{more}; run clyra policy lint {name}"
    return PolicyInvalid(message, problems=checked.problems, first_pass=checked.first_pass)


def _loaded(document: dict[str, Any], canonical: bytes, warnings: tuple[Problem, ...]) -> LoadedPolicy:
    from hashlib import sha256

    from clyra.policy.engine import compile_policy

    return LoadedPolicy(
        name=document["name"],
        version=document["version"],
        document=document,
        canonical=canonical,
        sha256=sha256(canonical).hexdigest(),
        environments={name: _environment(name, entry) for name, entry in document["environments"].items()},
        compiled=compile_policy(document),
        warnings=warnings,
        requires=document["requires"],
    )


def _environment(name: str, entry: Mapping[str, Any]) -> Environment:
    return Environment(
        name=name,
        mode=entry["mode"],
        production=entry["production"],
        change_freeze=entry["change_freeze"],
        targets=tuple(entry["targets"]),
    )
