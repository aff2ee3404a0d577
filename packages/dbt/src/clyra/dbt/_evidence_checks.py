# SPDX-License-Identifier: Apache-2.0
"""What ``clyra doctor`` asks about a project's evidence folder: whether runs can be recorded there, and were."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from clyra.evidence.folder import SETTING, EvidenceFolder
from clyra.policy.health import Check, CheckContext
from clyra.spec import UnavailableError

_FAIL_FREE_BYTES, _WARN_FREE_BYTES = 64 << 20, 1 << 30


def checks(context: CheckContext) -> Iterator[Check]:
    """The checks of the evidence folder; nothing where the working directory is in no project."""
    if context.project_dir is None:
        return
    folder = _folder(context.project_dir, context.environ)
    root = next(path for path in (folder.root, *folder.root.parents) if path.exists())
    yield _writable(folder, root)
    yield disk(shutil.disk_usage(root).free)
    yield _lasting(folder, context.environ)
    if folder.root.is_dir():
        yield _ignored(folder)
        yield _journals(folder)
        yield _log(folder, context)


def disk(free_bytes: int) -> Check:
    """Whether the disk of the evidence folder has room; a journal that cannot be written ends the recording."""
    told = f"{free_bytes / 1e9:.1f} GB free where evidence goes"
    if free_bytes < _FAIL_FREE_BYTES:
        return Check("project.disk", "fail", f"{told}; runs cannot be recorded")
    return Check("project.disk", "ok" if free_bytes >= _WARN_FREE_BYTES else "warn", told)


def _folder(project_dir: Path, environ: Mapping[str, str]) -> EvidenceFolder:
    from clyra.dbt._project_settings import project_setting

    configured = None
    if not environ.get(SETTING):
        configured = project_setting(project_dir, "clyra_evidence_dir", instead=SETTING)
    return EvidenceFolder.locate(project_dir, environ, configured)


def _writable(folder: EvidenceFolder, root: Path) -> Check:
    name = "project.evidence"
    if not root.is_dir():
        place = shlex.quote(str(root))
        aside = shlex.quote(f"{root}.moved")
        told = f"{root} is a file where the evidence folder should be"
        return Check(name, "fail", told, f"mv {place} {aside}", undo=f"mv {aside} {place}")
    shut = [path for path in (root, folder.journal_dir, folder.log_dir) if path.is_dir() and not _may_write(path)]
    if shut:
        mode = shut[0].stat().st_mode & 0o777
        place = shlex.quote(str(shut[0]))
        return Check(name, "fail", f"{shut[0]} cannot be written", f"chmod u+rwx {place}", f"chmod {mode:03o} {place}")
    return Check(name, "ok", f"{folder.root}" + ("" if folder.root.is_dir() else ", made by the first run"))


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _lasting(folder: EvidenceFolder, environ: Mapping[str, str]) -> Check:
    if not folder.under_temp:
        return Check("project.temp", "ok", "evidence does not lie among temporary files")
    told = f"evidence lies in a temporary folder, {folder.root}, and goes with it"
    if not environ.get("HOME"):
        return Check("project.temp", "warn", f"{told}; set {SETTING} to one that stays")
    return Check("project.temp", "warn", told, f'export {SETTING}="$HOME/.clyra-evidence"')


def _ignored(folder: EvidenceFolder) -> Check:
    name, root = "project.ignored", str(folder.root)
    answer = _git(root, "check-ignore", "--quiet", "--no-index", "x.def.zip")
    if answer in (None, 128):
        return Check(name, "skip", "the evidence folder is in no git repository")
    if answer == 0:
        return Check(name, "ok", "git ignores the evidence folder")
    rules = shlex.quote(f"{root}/.gitignore")
    told = "git sees the evidence folder, so every run makes the project's tree dirty"
    return Check(name, "warn", told, f"printf '*\\n' >> {rules}", undo=f"sed -i.bak '$d' {rules}")


def _git(folder: str, *words: str) -> int | None:
    try:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, check=False, timeout=10).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None


def _journals(folder: EvidenceFolder) -> Check:
    from clyra.evidence import find_open_journals

    dead = find_open_journals(folder, discard=False)
    if not dead:
        return Check("project.journals", "ok", "no run died without its bundle")
    told = f"{len(dead)} runs died before their bundles were sealed" if len(dead) > 1 else "a run died before its seal"
    return Check("project.journals", "warn", told, f"clyra dbt seal --recover --evidence-dir {_quoted(folder.root)}")


def _log(folder: EvidenceFolder, context: CheckContext) -> Check:
    from clyra.verify import verify_log

    name = "project.log"
    if not (folder.log_dir / "checkpoint").exists():
        return Check(name, "skip", "there is no log yet")
    try:
        result = verify_log(folder.log_dir, environ=context.environ, cwd=context.project_dir)
    except UnavailableError as exc:
        return Check(name, "fail", exc.message)
    if result.verdict == "invalid":
        return Check(name, "fail", f"the log does not verify: {result.message} [{result.code}]")
    open_runs = [each.message for each in result.warnings if each.code == "log_run_open"]
    if open_runs:
        return Check(name, "warn", f"the log is whole; {open_runs[0]}")
    return Check(name, "ok", "the log verifies")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
