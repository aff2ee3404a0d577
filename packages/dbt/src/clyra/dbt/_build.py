# SPDX-License-Identifier: Apache-2.0
"""Which code runs: the git tree of the project folder, or what an image or a CI service says about it.

git is asked by two processes that start when dbt starts and are read when the journal opens, while dbt parses; they
never write to the repository (``GIT_OPTIONAL_LOCKS=0``).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

STAMP = "clyra.build.json"
"""What ``clyra dbt stamp`` leaves in images: ``tree``, ``commit``, ``branch`` and the digests of ``files``."""

ROOT_FILES = ("dbt_project.yml", "packages.yml", "dependencies.yml", "selectors.yml", "clyra.policy.yaml")
"""Files directly in a project that decide what runs."""

_GIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GIT_TIMEOUT_S = 10.0
_REV_PARSE = ("rev-parse", "--show-prefix", "HEAD", "HEAD:./", "--abbrev-ref", "HEAD")
_STATUS = ("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames", "--", ".")

# A pull request's GITHUB_SHA is a test merge that no branch holds; where there is a checkout, HEAD is asked instead.
_CI_COMMITS = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
)
_CI_BRANCHES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BUILDKITE_BRANCH", "CIRCLE_BRANCH")


class Build(NamedTuple):
    """Where the code of a run comes from; None for what is not known."""

    tree: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    branch: str | None = None
    source: Literal["git", "image", "ci_env", "none"] = "none"

    @property
    def clean_tree(self) -> str | None:
        """The tree, where it is known to stand for the files that run."""
        return self.tree if self.dirty is False else None

    def as_event(self) -> dict[str, object]:
        """The member ``build`` of ``run.started``."""
        return {
            "tree": self.tree,
            "commit": self.commit,
            "dirty": self.dirty,
            "branch": self.branch,
            "source": self.source,
        }

    def as_manifest(self) -> dict[str, object]:
        """The member ``run.git`` of a manifest. Who wrote the commit is only claimed by it."""
        return {
            "tree": self.tree,
            "commit": self.commit,
            "dirty": self.dirty,
            "source": self.source,
            "author_basis": "claimed",
        }


class BuildProbe:
    """The question, asked early so that nobody waits for the answer.

    Args:
        project_dir: The real project folder, symbolic links followed.
        environ: Environment variables.
    """

    def __init__(self, project_dir: Path, environ: Mapping[str, str]) -> None:
        self._project_dir = project_dir
        self._environ = environ
        self._git = [_start_git(project_dir, environ, arguments) for arguments in (_REV_PARSE, _STATUS)]

    def build(self, source_paths: Sequence[str]) -> Build:
        """What is known; waits for git, at most some seconds.

        Args:
            source_paths: Folders and files of the project that dbt reads, relative to it.
        """
        heads, status = (_output(process) for process in self._git)
        build = parse_git(heads, status, source_paths)
        if build.source == "git":
            return build
        stamped = read_stamp(self._project_dir)
        return stamped or from_ci(self._environ)

    def abandon(self) -> None:
        """Stop the questions that nobody will read."""
        for process in self._git:
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()


def parse_git(heads: str, status: str | None, source_paths: Sequence[str]) -> Build:
    """The answer of both git processes.

    Dirty means tracked files were modified, or untracked ones lie where dbt reads; nothing else.

    Args:
        heads: Output of ``rev-parse``: prefix, commit, tree, branch.
        status: Output of ``status``, NUL-separated; None where it failed.
        source_paths: Folders and files of the project that dbt reads, relative to it.
    """
    lines = heads.split("\n")
    if len(lines) < 2 or not _GIT_ID.fullmatch(lines[1]):
        return Build()
    tree = lines[2] if len(lines) > 2 and _GIT_ID.fullmatch(lines[2]) else None
    branch = lines[3] if len(lines) > 3 and lines[3] not in ("", "HEAD") else None
    dirty = None if status is None else _is_dirty(status, lines[0], source_paths)
    return Build(tree=tree, commit=lines[1], dirty=dirty, branch=branch, source="git")


def read_stamp(project_dir: Path) -> Build | None:
    """What ``clyra.build.json`` says, None where it is absent or not one.

    ``dirty`` is whether it was when it was stamped, or the project has other files now.
    """
    try:
        stamp = json.loads((project_dir / STAMP).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(stamp, dict) or not _is_git_id(stamp.get("tree")):
        return None
    commit, branch = stamp.get("commit"), stamp.get("branch")
    return Build(
        tree=stamp["tree"],
        commit=commit if _is_git_id(commit) else None,
        dirty=_is_other(project_dir, stamp),
        branch=branch if isinstance(branch, str) and branch.isprintable() else None,
        source="image",
    )


def from_ci(environ: Mapping[str, str]) -> Build:
    """What a CI service says about the commit, for a checkout without ``.git``."""
    commit = next((value for name in _CI_COMMITS if _is_git_id(value := environ.get(name, "").lower())), None)
    if commit is None:
        return Build()
    branch = next((value for name in _CI_BRANCHES if (value := environ.get(name, "")).isprintable() and value), None)
    return Build(commit=commit, branch=branch, source="ci_env")


def _start_git(folder: Path, environ: Mapping[str, str], arguments: Sequence[str]) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            ("git", *arguments),
            cwd=folder,
            env={**environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def _output(process: subprocess.Popen[bytes] | None) -> str:
    if process is None:
        return ""
    try:
        out, _ = process.communicate(timeout=_GIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return ""
    return out.decode("utf-8", "replace")


def _is_dirty(status: str, prefix: str, source_paths: Sequence[str]) -> bool:
    sources = [f"{prefix}{path.strip('/')}" for path in (*source_paths, *ROOT_FILES)]
    for entry in filter(None, status.split("\0")):
        kind, path = entry[:2], entry[3:]
        if kind != "??":
            return True
        # git names an untracked folder, not what is in it: it may lie in a source path or hold one.
        folder = path.rstrip("/")
        if any(f"{folder}/".startswith(f"{source}/") or f"{source}/".startswith(f"{folder}/") for source in sources):
            return True
    return False


def _is_git_id(value: object) -> bool:
    return isinstance(value, str) and _GIT_ID.fullmatch(value) is not None


def _is_other(project_dir: Path, stamp: dict[str, Any]) -> bool | None:
    # Only images have stamps.
    from clyra.dbt._stamp_files import compare

    files = stamp.get("files")
    if not isinstance(files, dict):
        return None
    return stamp.get("dirty") is True or bool(compare(project_dir, files))
