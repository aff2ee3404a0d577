# SPDX-License-Identifier: Apache-2.0
"""Questions to git about commits; nothing here writes to a repository.

Names are read as commits hold them: a ``.mailmap`` and replacement objects are the project's to write, so they are
not asked.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clyra.spec import ConfigurationError

_TIMEOUT_S = 60.0
_FORMAT = "%H%x00%P%x00%ae%x00%ce%x00%B%x00%an%x00"
_MEMBERS = 6


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: its id, its parents, the addresses of author and committer, its message, its author's name."""

    id: str
    parents: tuple[str, ...]
    author: str
    committer: str
    message: str
    author_name: str = ""


class Repository:
    """The git repository that holds a folder.

    Args:
        folder: A folder in a checkout.
        environ: Environment variables for git.

    Raises:
        ConfigurationError: git cannot be run, or the folder is in no checkout with a commit (``tree_unknown``).
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = {**environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}
        answer = self.ask("rev-parse", "--show-toplevel", "--show-prefix", "HEAD", "--is-shallow-repository")
        lines = (answer or "").split("\n")
        if answer is None or len(lines) < 4:
            raise ConfigurationError(
                f"git shows no commit of {folder}; expected a checkout with its history", code="tree_unknown"
            )
        self.top, self.prefix, self.head = Path(lines[0]), lines[1], lines[2]
        self.is_shallow = lines[3] == "true"

    def ask(self, *words: str, given: str | None = None) -> str | None:
        """What git prints, None where it fails.

        Raises:
            ConfigurationError: git cannot be run or does not end (``tree_unknown``).
        """
        done = self._run(words, None if given is None else given.encode())
        return None if done is None else done.decode("utf-8", "replace")

    def commit(self, name: str) -> str | None:
        """The id of the commit that ``name`` names, None where there is none."""
        found = self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return found.strip() if found else None

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether ``older`` is in the history of ``newer``."""
        return self.ask("merge-base", "--is-ancestor", older, newer) is not None

    def commits(self, *revisions: str, paths: Sequence[str] = ()) -> list[Commit]:
        """Commits of a range, newest first; those that touched one of ``paths``, relative to the top, if there are any.

        Both sides of merges are followed, also where one side's change did not stay. A merge itself is left out where
        git makes the same one: whoever pressed the button changed nothing.
        """
        limits = [f":(top,literal){path}" for path in paths]
        words = ("log", "-z", "--full-history", "--no-color", f"--format={_FORMAT}", *revisions, "--", *limits)
        fields = (self.ask(*words) or "").split("\0")
        found = []
        for start in range(0, len(fields) - _MEMBERS, _MEMBERS + 1):
            commit, parents, author, committer, message, name = fields[start : start + _MEMBERS]
            found.append(Commit(commit.strip(), tuple(parents.split()), author, committer, message, name))
        return [commit for commit in found if len(commit.parents) != 2 or self._changes_more(commit.id, limits)]

    def _changes_more(self, merge: str, limits: Sequence[str]) -> bool:
        """Whether a merge is another one than git would make; True where it cannot be told, as before git 2.35."""
        return self.ask("show", "--remerge-diff", "--no-color", "--format=", merge, "--", *limits) != ""

    def tree(self) -> str | None:
        """The git tree of the folder at HEAD, None where HEAD has nothing there."""
        found = (self.ask("rev-parse", "--verify", "--quiet", f"HEAD:{self.prefix.rstrip('/')}") or "").strip()
        return found or None

    def is_modified(self) -> bool:
        """Whether a tracked file of the folder differs from HEAD; True where git does not say."""
        return self.ask("status", "--porcelain=v1", "--untracked-files=no", "--", ".") != ""

    def ancestors_with_trees(self, limit: int) -> list[tuple[str, str]]:
        """The newest commits up to HEAD, each with the git tree of the folder; without those where it is absent."""
        found = (self.ask("rev-list", f"--max-count={limit}", "HEAD") or "").split()
        asked = "".join(f"{commit}:{self.prefix.rstrip('/')}\n" for commit in found)
        answers = (self.ask("cat-file", "--batch-check=%(objectname) %(objecttype)", given=asked) or "").splitlines()
        pairs = zip(found, (answer.split() for answer in answers), strict=False)
        return [(commit, words[0]) for commit, words in pairs if words[1:] == ["tree"]]

    def file_at(self, commit: str, path: str) -> bytes | None:
        """The bytes of a file, relative to the top, in a commit; None where it is not there."""
        return self._run(("cat-file", "blob", f"{commit}:{path}"), None)

    def signer_of(self, commit: str) -> str | None:
        """Who signed a commit, as git's settings name the owner of the key; None unless the signature is good."""
        state, _, signer = (self.ask("log", "-1", "--format=%G?%x00%GS", commit) or "").strip().partition("\0")
        return signer if state == "G" else None

    def shallow_commits(self) -> frozenset[str]:
        """Commits whose parents were not fetched."""
        if not self.is_shallow:
            return frozenset()
        path = (self.ask("rev-parse", "--git-path", "shallow") or "").strip()
        try:
            return frozenset((self._folder / path).read_text("ascii").split())
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def below_top(self, path: Path) -> str | None:
        """``path`` relative to the top, with slashes; None where it is elsewhere."""
        real = path.resolve()
        top = self.top.resolve()
        return real.relative_to(top).as_posix() if real.is_relative_to(top) else None

    def _run(self, words: Sequence[str], given: bytes | None) -> bytes | None:
        try:
            done = subprocess.run(
                ("git", *words),
                cwd=self._folder,
                env=self._environ,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ConfigurationError(f"git cannot be run in {os.fspath(self._folder)}", code="tree_unknown") from exc
        return done.stdout if done.returncode == 0 else None


def addresses(commit: Commit) -> Iterator[str]:
    """E-mail addresses of everybody whom the message names as co-author, wherever the line stands."""
    for line in commit.message.splitlines():
        name, _, rest = line.partition(":")
        if name.strip().lower() == "co-authored-by" and "<" in rest:
            yield rest.rpartition("<")[2].partition(">")[0]
