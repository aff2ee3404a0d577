# SPDX-License-Identifier: Apache-2.0
"""Where approval commands work: the project, its approvals folder and policy, and who may approve and mint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from clyra.approval.certificate import Certificate
    from clyra.approval.contributors import Contributors, ProjectTree
    from clyra.approval.keys import KeyRow
    from clyra.approval.request import ApprovalRequest
    from clyra.approval.store import ApprovalStore
    from clyra.evidence import Signer
    from clyra.policy.load import LoadedPolicy

F = TypeVar("F", bound=Callable[..., Any])

PROJECT_FILE = "dbt_project.yml"
_STAMP = "clyra.build.json"
# Longer than any token, so that a wrong file is refused as too long and never read whole.
_MAX_TOKEN = 16_384
_VARIABLE = "clyra_evidence_dir"


def place_options(function: F) -> F:
    """Give a command ``--project-dir`` and ``--trust``."""
    trusted = click.option("--trust", metavar="FILE", help="Trust file: who may approve. [default: as clyra verify]")
    folder = click.option(
        "--project-dir",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="The dbt project. [default: the one you are in]",
    )
    return folder(trusted(function))


@dataclass(frozen=True)
class Place:
    """One project and the environment that a command runs in."""

    project_dir: Path
    environ: Mapping[str, str]
    trust_argument: str | None = None

    @classmethod
    def find(cls, project_dir: Path | None, trust: str | None) -> Place:
        """The project in ``project_dir``, else the nearest one from the working directory upward.

        Raises:
            ConfigurationError: ``project_dir`` is no project.
        """
        from clyra.spec import ConfigurationError

        cwd = Path.cwd()
        if project_dir is None:
            found = next((folder for folder in (cwd, *cwd.parents) if (folder / PROJECT_FILE).exists()), cwd)
            return cls(found, os.environ, trust)
        if not (project_dir / PROJECT_FILE).exists():
            raise ConfigurationError(f"{project_dir} holds no {PROJECT_FILE}; name the folder of a dbt project")
        return cls(project_dir, os.environ, trust)

    @cached_property
    def store(self) -> ApprovalStore:
        """The approvals folder.

        Raises:
            ConfigurationError: It cannot be known here where the project keeps its evidence.
        """
        from clyra.approval.store import SETTING as FOLDER
        from clyra.approval.store import ApprovalStore
        from clyra.evidence import EvidenceFolder
        from clyra.evidence.folder import SETTING as EVIDENCE
        from clyra.spec import ConfigurationError

        project_file = self.project_dir / PROJECT_FILE
        is_set = any(self.environ.get(name, "").strip() for name in (FOLDER, EVIDENCE))
        if not is_set and project_file.is_file() and _VARIABLE in project_file.read_text("utf-8", "replace"):
            raise ConfigurationError(
                f"{PROJECT_FILE} sets {_VARIABLE}, which only dbt can read; set {EVIDENCE} to the same folder"
            )
        return ApprovalStore.locate(EvidenceFolder.locate(self.project_dir, self.environ).root, self.environ)

    @cached_property
    def policy(self) -> LoadedPolicy:
        """The policy of the project.

        Raises:
            PolicyError: It is invalid.
            UnavailableError: There is none, or it cannot be read (``policy_unavailable``).
        """
        from datetime import UTC, datetime

        from clyra.policy.load import find_policy, load_policy
        from clyra.spec import UnavailableError

        path = find_policy(self.project_dir, self.environ)
        if path is None:
            raise UnavailableError(
                f"there is no clyra.policy.yaml in {self.project_dir}; work in the project whose change is to be "
                "approved, or set CLYRA_POLICY",
                code="policy_unavailable",
            )
        return load_policy(path, now=datetime.now(UTC).date())

    @cached_property
    def _trust(self) -> tuple[Path, Mapping[str, Any]]:
        from clyra.approval.trust_file import read_trust_file
        from clyra.spec import UnavailableError

        found = read_trust_file(self.project_dir, self.environ, named=self.trust_argument)
        if found is None:
            raise UnavailableError(
                "there is no clyra.trust.json here, which says who may approve; name it with --trust or CLYRA_TRUST, "
                "or make it with clyra keys trust FILE --role approver",
                code="key_unavailable",
            )
        return found

    @property
    def trust_path(self) -> Path:
        """The trust file: the argument, ``CLYRA_TRUST``, or that of the project of the working directory.

        Raises:
            FormatError: It is not what its schema says (``trust_invalid``).
            UnavailableError: There is none, or it cannot be read (``key_unavailable``).
        """
        return self._trust[0]

    @property
    def trust(self) -> Mapping[str, Any]:
        """The members of the trust file.

        Raises:
            FormatError: It is not what its schema says (``trust_invalid``).
            UnavailableError: There is none, or it cannot be read (``key_unavailable``).
        """
        return self._trust[1]

    @property
    def threshold(self) -> int:
        """How many approvers the trust file asks for."""
        from clyra.approval.keys import approver_threshold

        return approver_threshold(self.trust)

    def keys(self, role: Literal["approver", "issuer"]) -> Mapping[str, KeyRow]:
        """The keys of a role in the trust file.

        Raises:
            FormatError: The trust file is not what its schema says (``trust_invalid``).
            UnavailableError: There is no trust file (``key_unavailable``).
        """
        from clyra.approval.keys import keys_of

        return keys_of(self.trust, role)

    def tree(self) -> ProjectTree:
        """What git, or what an image carries in its place, says about the project now."""
        from clyra.approval.contributors import ProjectTree, project_tree

        found = project_tree(self.project_dir, self.environ)
        if found.tree is not None:
            return found
        stamp = _stamp(self.project_dir / _STAMP)
        return ProjectTree(stamp.get("tree"), stamp.get("commit"), stamp.get("dirty") is not False)

    def contributors(self, rules: tuple[str, ...], audience: str, base: str | None) -> Contributors:
        """Who had a hand in what the checkout holds, by the policy's identities.

        Raises:
            ConfigurationError: git cannot say it (``tree_unknown``, ``history_shallow``).
        """
        from datetime import UTC, datetime

        from clyra.approval.contributors import contributors
        from clyra.policy.load import find_policy, read_policy

        duties = self.policy.document["compliance"]["segregation_of_duties"]
        today = datetime.now(UTC).date()
        return contributors(
            self.project_dir,
            base=base,
            policy_path=find_policy(self.project_dir, self.environ),
            rules=rules,
            identities=duties["identities"],
            service_committers=duties["service_committers"],
            settled=self.store.settled(audience),
            read_policy=lambda data: read_policy(data, now=today).document,
            environ=self.environ,
        )

    def certificates(self, request: ApprovalRequest) -> tuple[list[Certificate], list[str]]:
        """The certificates about a request that keys of the trust file signed, and why others do not count."""
        from clyra.approval.certificate import read_certificate
        from clyra.spec import VerificationError

        keys, good, faults = self.keys("approver"), [], []
        for data in self.store.certificates_for(request.sha256):
            try:
                good.append(read_certificate(data, keys))
            except VerificationError as exc:
                faults.append(exc.message)
        return good, faults

    def require_pinned(self, policy_sha256: str, environment: str) -> None:
        """Refuse a policy that the trust file does not pin, where it pins policies.

        Raises:
            VerificationError: It is not pinned (``policy_not_pinned``).
        """
        from clyra.approval.trust_file import is_pinned
        from clyra.spec import VerificationError

        if not is_pinned(self.trust, policy_sha256, environment):
            raise VerificationError(
                f"the trust file pins other policies for {environment} than {policy_sha256[:12]}; have this one "
                "pinned there, or work with the one that is",
                code="policy_not_pinned",
            )


def signer_for(role: Literal["approver", "issuer"], environ: Mapping[str, str]) -> Signer:
    """Your key for ``role``; none is made.

    Raises:
        ConfigurationError: The key cannot be used (``key_file_invalid``).
        UnavailableError: There is none (``key_unavailable``).
    """
    from clyra.evidence import load_signer
    from clyra.evidence.signer import SETTINGS
    from clyra.spec import UnavailableError

    signer = load_signer(role, environ, create=False)
    if signer.origin == "ephemeral":
        raise UnavailableError(
            f"there is no {role} key here; set {SETTINGS[role]}, or make one with clyra keys init --role {role} and "
            "have it added to the trust file",
            code="key_unavailable",
        )
    return signer


def write_secret(path: Path, text: str) -> None:
    """Put the text in place of the file, whole or not at all, readable by its owner alone.

    Raises:
        UnavailableError: The file cannot be written (``evidence_unavailable``).
    """
    import tempfile

    from clyra.spec import UnavailableError

    try:
        fd, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(fd, "w", encoding="ascii", newline="\n") as file:
                file.write(text)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as exc:
        raise UnavailableError(f"cannot write {path}: {exc.strerror}", code="evidence_unavailable") from exc


def read_token(name: str, *, what: str) -> str:
    """The token in a file, or on standard input where ``name`` is ``-``.

    Raises:
        UnavailableError: It cannot be read (``evidence_unavailable``).
    """
    import sys

    from clyra.spec import UnavailableError

    try:
        text = sys.stdin.read(_MAX_TOKEN) if name == "-" else Path(name).read_text("utf-8", "replace")[:_MAX_TOKEN]
    except OSError as exc:
        raise UnavailableError(
            f"the {what} in {name} cannot be read: {exc.strerror}", code="evidence_unavailable"
        ) from exc
    return text.strip()


def _stamp(path: Path) -> Mapping[str, Any]:
    import json

    try:
        members = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}
