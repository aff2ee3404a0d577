# SPDX-License-Identifier: Apache-2.0
"""Checks of the trust file: there, valid, and in version control, where nobody changes it unseen."""

from __future__ import annotations

import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clyra.policy.health import Check, CheckContext

if TYPE_CHECKING:
    from clyra.verify.trust import Trust

_ROLES = ("bundle", "log")


@dataclass(frozen=True, slots=True)
class TrustFile:
    """The trust file that verification would take here; ``trust`` is None where ``fault`` says why it is none."""

    path: Path
    trust: Trust | None
    fault: str


def checks(context: CheckContext) -> Iterator[Check]:
    """Whether there is a trust file, what it lists, and whether version control has it."""
    from clyra.verify.trust import FILE_NAME

    if context.project_dir is None:
        yield Check("project.trust", "skip", "the working directory is in no dbt project")
        return
    found = find_trust(context)
    if found is None:
        told = f"there is no {FILE_NAME}: verification cannot say who signed"
        yield Check("project.trust", "warn", told, _first_trust(context.project_dir / FILE_NAME))
    elif found.trust is None:
        yield Check("project.trust", "fail", f"{found.path} is no trust file: {found.fault}", *_restored(found.path))
    else:
        roles = Counter(key.role for key in found.trust.keys.values())
        listed = ", ".join(f"{number} {role}" for role, number in sorted(roles.items()))
        yield Check("project.trust", "ok", f"{found.path}, version {found.trust.version}; keys: {listed or 'none'}")
        yield _versioned(found.path)


def find_trust(context: CheckContext) -> TrustFile | None:
    """The trust file that verification would take in the project, or in the working directory."""
    from clyra.verify.trust import find_trust_file, parse_trust

    named, _ = find_trust_file(context.environ, context.project_dir or Path.cwd())
    if named is None:
        return None
    path = Path(named)
    try:
        return TrustFile(path, parse_trust(path.read_bytes()), "")
    except OSError as exc:
        return TrustFile(path, None, exc.strerror or "it cannot be read")
    except Exception as exc:  # noqa: BLE001 -- the class of the verifier's refusals is private to it
        return TrustFile(path, None, str(exc))


def _first_trust(path: Path) -> str:
    place = shlex.quote(str(path))
    enrol = [f"clyra keys export --role {role} | clyra keys trust /dev/stdin --role {role}" for role in _ROLES]
    return " && ".join(["clyra keys init", *(f"{command} --trust-file {place}" for command in enrol)])


def _versioned(path: Path) -> Check:
    folder, name = str(path.parent), path.name
    if _git(folder, "rev-parse", "--is-inside-work-tree") is None:
        return Check("project.trust_git", "skip", "not in a git repository")
    if _git(folder, "ls-files", "--error-unmatch", "--", name) is None:
        add = f"git -C {shlex.quote(folder)} add -- {name}"
        undo = f"git -C {shlex.quote(folder)} rm --cached --quiet -- {name}"
        return Check("project.trust_git", "warn", f"{name} is not in version control", add, undo)
    if _is_changed(folder, name):
        return Check("project.trust_git", "warn", f"{name} has changes that no commit holds; review and commit them")
    return Check("project.trust_git", "ok", f"{name} is in version control")


def _restored(path: Path) -> tuple[str | None, str | None]:
    """How to go back to the last committed trust file, if that is another one."""
    folder, name = str(path.parent), path.name
    if not _is_changed(folder, name):
        return None, None
    kept = shlex.quote(f"{path}.broken")
    place = shlex.quote(str(path))
    return f"mv {place} {kept} && git -C {shlex.quote(folder)} checkout -- {name}", f"mv {kept} {place}"


def _is_changed(folder: str, name: str) -> bool:
    """Whether the last commit holds another version of the file; asked without `git diff`, which writes its index."""
    committed = _git(folder, "rev-parse", "--verify", "--quiet", f"HEAD:./{name}")
    return committed is not None and committed != _git(folder, "hash-object", "--", name)


def _git(folder: str, *words: str) -> str | None:
    """What git printed; None if it said no, or is not there."""
    command = ["git", "-C", folder, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
