# SPDX-License-Identifier: Apache-2.0
"""How ``clyra quickstart`` runs commands in its project and says what it does; every step uses this."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from clyra.cli.output import faint
from clyra.spec import UnavailableError

PROJECT = "harbor_shop"
DEVELOPER: Mapping[str, str] = {
    "GIT_AUTHOR_NAME": "Quickstart",
    "GIT_AUTHOR_EMAIL": "quickstart@example.invalid",
    "GIT_COMMITTER_NAME": "Quickstart",
    "GIT_COMMITTER_EMAIL": "quickstart@example.invalid",
}
"""Who wrote the sample project, as git sees it."""


@dataclass
class Shell:
    """Commands of one quickstart: ``folder`` holds project, keys and database; ``result`` is what --json prints."""

    folder: Path
    as_json: bool = False
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        """The dbt project's folder."""
        return self.folder / PROJECT

    def title(self, text: str) -> None:
        """Begin a step."""
        click.echo(("" if self.as_json else "\n") + click.style(text, bold=True), err=self.as_json)

    def say(self, text: str) -> None:
        """One line of what a step found."""
        click.echo(f"  {text}", err=self.as_json)

    def show(self, words: Sequence[str], before: str = "") -> None:
        """The command that somebody would type here."""
        click.echo(faint(f"  $ {before}" + " ".join(words)), err=self.as_json)

    def git(self, environ: Mapping[str, str], *arguments: str) -> str:
        """Run git in the project, as its developer."""
        return self.run(["git", *arguments], {**environ, **DEVELOPER})

    def dbt(self, environ: Mapping[str, str], words: Sequence[str], *, expect: tuple[int, ...] = (0,)) -> str:
        """Run dbt in the project; gives what it printed."""
        self.show(["dbt", *words])
        return self.run([*_dbt(), *words, "--no-use-colors"], environ, expect=expect)

    def clyra(self, environ: Mapping[str, str], words: Sequence[str], *, show: bool = True, before: str = "") -> str:
        """Run one of our commands in the project; gives what it printed."""
        if show:
            self.show(["clyra", *words], before)
        return self.run([sys.executable, "-m", "clyra.cli.main", *words], environ)

    def verdict(self, environ: Mapping[str, str], bundle: Path, *, show: bool = True) -> dict[str, Any]:
        """What ``clyra verify`` says about a bundle."""
        words = ["verify", self.relative(bundle), "--trust", "clyra.trust.json"]
        if show:
            self.show(["clyra", *words])
        command = [sys.executable, "-m", "clyra.cli.main", *words, "--json"]
        found: dict[str, Any] = json.loads(self.run(command, environ, expect=(0, 1, 2)))
        return found

    def run(self, command: Sequence[str], environ: Mapping[str, str], *, expect: tuple[int, ...] = (0,)) -> str:
        """Run a command in the project; its output is shown where it ends as it should not.

        Raises:
            UnavailableError: It ended with another code than expected.
        """
        done = subprocess.run(command, cwd=self.project, env=dict(environ), capture_output=True, text=True, check=False)
        if done.returncode not in expect:
            click.echo(done.stdout + done.stderr, err=True)
            raise UnavailableError(f"{' '.join(command[:4])} ended with {done.returncode}; its output is above")
        return done.stdout

    def bundles(self) -> set[Path]:
        """The bundles that the project has."""
        return set((self.project / ".clyra" / "evidence").glob("*/*/*.def.zip"))

    def newest_of(self, before: set[Path]) -> Path:
        """The bundle that was not there before.

        Raises:
            UnavailableError: There is none (``seal_failed``).
        """
        new = sorted(self.bundles() - before)
        if not new:
            raise UnavailableError(
                "dbt ran and left no evidence; see its output with `dbt --debug build` in the project's folder",
                code="seal_failed",
            )
        return new[-1]

    def relative(self, path: Path) -> str:
        """The path as somebody in the project's folder would type it."""
        return str(path.relative_to(self.project)) if path.is_relative_to(self.project) else str(path)


def command_name() -> str:
    """What to type for our command; from a private environment, as bootstrap.py makes one, it is not on PATH."""
    return "clyra" if shutil.which("clyra") else str(Path(sys.executable).with_name("clyra"))


def _dbt() -> list[str]:
    """The dbt of this environment, whatever else PATH holds."""
    try:
        import dbt.cli  # noqa: F401
    except ImportError as exc:
        raise UnavailableError(
            'dbt is not installed here; pip install "clyra[quickstart]"', code="extra_missing"
        ) from exc
    script = Path(sys.executable).with_name("dbt")
    return [str(script)] if script.exists() else [sys.executable, "-m", "dbt.cli.main"]
