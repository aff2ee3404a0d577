# SPDX-License-Identifier: Apache-2.0
"""From a file, or a bundle's ``policy.json``, to a policy that decides. The one edge of this package that reads files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.policy.environment import Environment
from clyra.policy.problem import POLICY_FILE, Problem

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
    raise NotImplementedError


def read_policy(data: bytes, *, name: str = POLICY_FILE, now: date) -> LoadedPolicy:
    """The policy in the bytes of a file named ``name``, judged on the day ``now``.

    Raises:
        PolicyInvalid: There are errors (``policy_invalid``), or it asks for another engine (``policy_requires``).
    """
    raise NotImplementedError


def policy_from_canonical(data: bytes) -> LoadedPolicy:
    """The policy whose canonical bytes are ``data``: a bundle's ``policy.json``. No YAML is read.

    Raises:
        PolicyInvalid: The bytes are not canonical JSON, or not a policy (``policy_invalid``).
    """
    raise NotImplementedError
