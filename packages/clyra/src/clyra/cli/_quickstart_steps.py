# SPDX-License-Identifier: Apache-2.0
"""The steps of ``clyra quickstart``, each a command that a user could type.

Keys, project, database and evidence stay inside one folder: the user's own keys and projects are not touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from clyra.cli.output import bad, faint, good, print_json
from clyra.spec import ClyraError, UnavailableError

PROJECT = "harbor_shop"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Quickstart",
    "GIT_AUTHOR_EMAIL": "quickstart@example.invalid",
    "GIT_COMMITTER_NAME": "Quickstart",
    "GIT_COMMITTER_EMAIL": "quickstart@example.invalid",
}


@dataclass
class Quickstart:
    """One run of the quickstart in ``folder``."""

    folder: Path
    dsn: str | None = None
    duckdb: bool = False
    as_json: bool = False
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        """The dbt project's folder."""
        return self.folder / PROJECT

    def run(self) -> None:
        """Carry out every step; the first that fails ends it with what to do."""
        started = time.monotonic()
        self._title("A dbt project of an online shop")
        self._prepare_project()
        self._title("DuckDB" if self.duckdb else "A Postgres database")
        with self._database() as environ:
            self._title("dbt build, as always")
            bundle = self._build(environ)
            self._title("Who may sign: a trust file, made by you, never by the bundle")
            self._trust(environ)
            self._title("Verify")
            self._verify(bundle, environ)
            self._title("Now somebody edits the evidence")
            self._tamper(bundle, environ)
            self._title("Look at it")
            page = self._page(bundle, environ)
        seconds = round(time.monotonic() - started, 1)
        self.result.update(bundle=str(bundle), page=str(page), project=str(self.project), seconds=seconds)
        self._close(bundle, page, seconds)

    def _prepare_project(self) -> None:
        if not (self.project / "dbt_project.yml").is_file():
            shutil.copytree(
                sample_folder(), self.project, ignore=shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb*")
            )
        if shutil.which("git") and not (self.project / ".git").exists():
            git = {**os.environ, **_IDENTITY}
            for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "The sample project"]):
                self._run(["git", *command], git, cwd=self.project)
        models = sum(1 for _ in self.project.glob("models/**/*.sql"))
        seeds = sum(1 for _ in self.project.glob("seeds/**/*.csv"))
        self._say(f"{self.project}: {models} models, {seeds} seeds")

    @contextmanager
    def _database(self) -> Iterator[dict[str, str]]:
        environ = {
            **os.environ,
            "CLYRA_CONFIG_DIR": str(self.folder / "keys"),
            "DBT_PROFILES_DIR": str(self.project),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        if self.duckdb:
            self._say(str(self.project / "harbor_shop.duckdb"))
            yield {**environ, "DBT_TARGET": "dev"}
            return
        postgres = _embedded_postgres(self.folder / "postgres", self.dsn)
        server = postgres.start()
        try:
            self._say(f"{server.user}@{server.host}:{server.port}/{server.dbname}")
            yield {
                **environ,
                "DBT_TARGET": "pg",
                "PGHOST": server.host,
                "PGPORT": str(server.port),
                "PGUSER": server.user,
                "PGPASSWORD": server.password,
                "PGDATABASE": server.dbname,
            }
        finally:
            postgres.stop()

    def _build(self, environ: Mapping[str, str]) -> Path:
        before = set(self._bundles())
        shown = ["dbt", "build", "--target", environ["DBT_TARGET"]]
        self._command(shown)
        out = self._run([*_dbt(), *shown[1:], "--no-use-colors"], environ, cwd=self.project)
        for line in out.splitlines():
            if "Done. PASS" in line or "clyra:" in line:
                self._say(line.split("  ", 1)[-1])
        new = sorted(set(self._bundles()) - before)
        if not new:
            raise UnavailableError(
                "dbt ran and left no evidence; see its output with `dbt --debug build` in the project's folder",
                code="seal_failed",
            )
        return new[-1]

    def _trust(self, environ: Mapping[str, str]) -> None:
        trust = self.project / "clyra.trust.json"
        if trust.exists():
            self._say(f"{trust.name} is there already")
            return
        for role in ("bundle", "log"):
            key = self.folder / f"{role}.key.json"
            key.write_text(self._clyra(["keys", "export", "--role", role], environ), encoding="utf-8")
            self._clyra(["keys", "trust", str(key), "--role", role], environ, show=True)
        self._say("two public keys enrolled: one signs bundles, one signs the log")

    def _verify(self, bundle: Path, environ: Mapping[str, str]) -> None:
        verdict = self._verdict(bundle, environ)
        self.result["verdict"] = verdict["verdict"]
        self.result["warnings"] = [warning["code"] for warning in verdict["warnings"]]
        if verdict["verdict"] != "valid":
            raise UnavailableError(f"the bundle does not verify: {verdict['code'] or self.result['warnings']}")
        self._say(
            good("VALID") + f"  signed by {verdict['signers'][0]['keyid'][:16]}, in the log, every digest checked"
        )

    def _tamper(self, bundle: Path, environ: Mapping[str, str]) -> None:
        from clyra.cli._forgeries import forgeries

        self.result["forgeries"] = {}
        for how, forged in forgeries(bundle):
            copy = self.folder / "forged.def.zip"
            copy.write_bytes(forged)
            verdict = self._verdict(copy, environ, show=False)
            copy.unlink()
            if verdict["verdict"] != "invalid":
                raise UnavailableError(f"a forged bundle was accepted: {how}", code="internal_error")
            self.result["forgeries"][how] = verdict["code"]
            self._say(bad("REFUSED") + f"  {how}: {verdict['code']} at {verdict['stage']}")

    def _page(self, bundle: Path, environ: Mapping[str, str]) -> Path:
        page = self.folder / "evidence.html"
        self._clyra(["inspect", self._relative(bundle), "--html", str(page)], environ, show=True)
        return page

    def _close(self, bundle: Path, page: Path, seconds: float) -> None:
        if self.as_json:
            print_json(self.result)
            return
        click.echo()
        click.echo(good("Done") + f" in {seconds} s. Open {page.as_uri()}")
        click.echo()
        # From a private environment, as bootstrap.py makes one, the command is not on PATH.
        command = "clyra" if shutil.which("clyra") else str(Path(sys.executable).with_name("clyra"))
        click.echo("Try next:")
        click.echo(f"  cd {self.project}")
        click.echo(f"  {command} inspect {self._relative(bundle)}")
        click.echo(f"  {command} log verify .clyra/log")
        click.echo(faint("  in your own project: pip install clyra-dbt, then dbt build"))

    def _verdict(self, bundle: Path, environ: Mapping[str, str], *, show: bool = True) -> dict[str, Any]:
        name = self._relative(bundle)
        words = ["verify", name, "--trust", "clyra.trust.json"]
        if show:
            self._command(["clyra", *words])
        out = self._run(
            [sys.executable, "-m", "clyra.cli.main", *words, "--json"], environ, cwd=self.project, expect=(0, 1, 2)
        )
        found: dict[str, Any] = json.loads(out)
        return found

    def _clyra(self, words: Sequence[str], environ: Mapping[str, str], *, show: bool = False) -> str:
        if show:
            self._command(["clyra", *words])
        return self._run([sys.executable, "-m", "clyra.cli.main", *words], environ, cwd=self.project)

    def _run(
        self, command: Sequence[str], environ: Mapping[str, str], *, cwd: Path, expect: tuple[int, ...] = (0,)
    ) -> str:
        done = subprocess.run(command, cwd=cwd, env=dict(environ), capture_output=True, text=True, check=False)
        if done.returncode not in expect:
            click.echo(done.stdout + done.stderr, err=True)
            raise UnavailableError(f"{' '.join(command[:4])} ended with {done.returncode}; its output is above")
        return done.stdout

    def _bundles(self) -> list[Path]:
        return sorted((self.project / ".clyra" / "evidence").glob("*/*/*.def.zip"))

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.project)) if path.is_relative_to(self.project) else str(path)

    def _title(self, text: str) -> None:
        click.echo(("" if self.as_json else "\n") + click.style(text, bold=True), err=self.as_json)

    def _command(self, words: Sequence[str]) -> None:
        click.echo(faint("  $ " + " ".join(words)), err=self.as_json)

    def _say(self, text: str) -> None:
        click.echo(f"  {text}", err=self.as_json)


def sample_folder() -> Path:
    """The sample project: packed in the wheel, or that of the checkout in an editable install."""
    packed = Path(__file__).parent / "data" / PROJECT
    if packed.is_dir():
        return packed
    checkout = Path(__file__).parents[5] / "examples" / PROJECT
    if (checkout / "dbt_project.yml").is_file():
        return checkout
    raise UnavailableError("the clyra installation holds no sample project; install it again", code="extra_missing")


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


def _embedded_postgres(folder: Path, dsn: str | None) -> Any:
    try:
        from clyra.postgres import EmbeddedPostgres
    except ImportError as exc:
        raise UnavailableError(
            'clyra-postgres is not installed; pip install "clyra[quickstart]", or use --duckdb', code="extra_missing"
        ) from exc
    try:
        return EmbeddedPostgres(None if dsn else folder, dsn=dsn)
    except ClyraError as exc:
        exc.message += "; or use --duckdb"
        raise
