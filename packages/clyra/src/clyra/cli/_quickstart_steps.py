# SPDX-License-Identifier: Apache-2.0
"""The steps of ``clyra quickstart``, each a command that a user could type.

Keys, project, database and evidence stay inside one folder: the user's own keys and projects are not touched.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clyra.cli._quickstart_approval import Approval
from clyra.cli._quickstart_shell import PROJECT, Shell, command_name
from clyra.cli.output import bad, faint, good, print_json
from clyra.spec import ClyraError, UnavailableError


@dataclass
class Quickstart(Shell):
    """One run of the quickstart in ``folder``."""

    dsn: str | None = None
    duckdb: bool = False

    def run_all(self) -> None:
        """Carry out every step; the first that fails ends it with what to do."""
        started = time.monotonic()
        self.title("A dbt project of an online shop")
        self._prepare_project()
        self.title("DuckDB" if self.duckdb else "A Postgres database")
        with self._database() as environ:
            self.title("dbt build, as always")
            bundle = self._build(environ)
            self.title("Who may sign: a trust file, made by you, never by the bundle")
            self._trust(environ)
            self.title("Verify")
            self._verify(bundle, environ)
            self.title("Now somebody edits the evidence")
            self._tamper(bundle, environ)
            if shutil.which("git"):
                bundle = Approval(self, environ, "prod_duckdb" if self.duckdb else "prod_pg").show_all()
            else:
                self.title("Approvals are bound to a git tree: install git to see them")
            self.title("Look at it")
            page = self._page(bundle, environ)
        seconds = round(time.monotonic() - started, 1)
        self.result.update(bundle=str(bundle), page=str(page), project=str(self.project), seconds=seconds)
        self._close(bundle, page, seconds)

    def _prepare_project(self) -> None:
        if not (self.project / "dbt_project.yml").is_file():
            left_out = shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb*")
            shutil.copytree(sample_folder(), self.project, ignore=left_out)
        ignored = self.project / ".gitignore"
        if not ignored.exists():
            ignored.write_text("target/\nlogs/\ndbt_packages/\n*.duckdb*\n.user.yml\n", encoding="utf-8")
        if shutil.which("git") and not (self.project / ".git").exists():
            for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "The sample project"]):
                self.git(os.environ, *command)
        models = sum(1 for _ in self.project.glob("models/**/*.sql"))
        seeds = sum(1 for _ in self.project.glob("seeds/**/*.csv"))
        self.say(f"{self.project}: {models} models, {seeds} seeds")

    @contextmanager
    def _database(self) -> Iterator[dict[str, str]]:
        environ = {
            **os.environ,
            "CLYRA_CONFIG_DIR": str(self.folder / "keys"),
            "DBT_PROFILES_DIR": str(self.project),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        if self.duckdb:
            self.say(str(self.project / "harbor_shop.duckdb"))
            yield {**environ, "DBT_TARGET": "dev"}
            return
        postgres = _embedded_postgres(self.folder / "postgres", self.dsn)
        server = postgres.start()
        try:
            self.say(f"{server.user}@{server.host}:{server.port}/{server.dbname}")
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
        before = self.bundles()
        out = self.dbt(environ, ["build", "--target", environ["DBT_TARGET"]])
        for line in out.splitlines():
            if "Done. PASS" in line or "clyra:" in line:
                self.say(line.split("  ", 1)[-1])
        return self.newest_of(before)

    def _trust(self, environ: Mapping[str, str]) -> None:
        trust = self.project / "clyra.trust.json"
        if trust.exists():
            self.say(f"{trust.name} is there already")
            return
        for role in ("bundle", "log"):
            key = self.folder / f"{role}.key.json"
            exported = self.clyra(environ, ["keys", "export", "--role", role], show=False)
            key.write_text(exported, encoding="utf-8")
            self.clyra(environ, ["keys", "trust", str(key), "--role", role])
        self.say("two public keys enrolled: one signs bundles, one signs the log")

    def _verify(self, bundle: Path, environ: Mapping[str, str]) -> None:
        verdict = self.verdict(environ, bundle)
        self.result["verdict"] = verdict["verdict"]
        self.result["warnings"] = [warning["code"] for warning in verdict["warnings"]]
        if verdict["verdict"] != "valid":
            raise UnavailableError(f"the bundle does not verify: {verdict['code'] or self.result['warnings']}")
        self.say(good("VALID") + f"  signed by {verdict['signers'][0]['keyid'][:16]}, in the log, every digest checked")

    def _tamper(self, bundle: Path, environ: Mapping[str, str]) -> None:
        from clyra.cli._forgeries import forgeries

        self.result["forgeries"] = {}
        for how, forged in forgeries(bundle):
            copy = self.folder / "forged.def.zip"
            copy.write_bytes(forged)
            verdict = self.verdict(environ, copy, show=False)
            copy.unlink()
            if verdict["verdict"] != "invalid":
                raise UnavailableError(f"a forged bundle was accepted: {how}", code="internal_error")
            self.result["forgeries"][how] = verdict["code"]
            self.say(bad("REFUSED") + f"  {how}: {verdict['code']} at {verdict['stage']}")

    def _page(self, bundle: Path, environ: Mapping[str, str]) -> Path:
        page = self.folder / "evidence.html"
        self.clyra(environ, ["inspect", self.relative(bundle), "--html", str(page)])
        return page

    def _close(self, bundle: Path, page: Path, seconds: float) -> None:
        if self.as_json:
            print_json(self.result)
            return
        command = command_name()
        click.echo()
        click.echo(good("Done") + f" in {seconds} s. Open {page.as_uri()}")
        click.echo()
        click.echo("Try next:")
        click.echo(f"  cd {self.project}")
        click.echo(f"  {command} inspect {self.relative(bundle)}")
        click.echo(f"  {command} log verify .clyra/log")
        click.echo(f"  {command} policy explain --bundle {self.relative(bundle)}")
        click.echo(faint("  in your own project: pip install clyra-dbt, then dbt build"))


def sample_folder() -> Path:
    """The sample project: packed in the wheel, or that of the checkout in an editable install."""
    packed = Path(__file__).parent / "data" / PROJECT
    if packed.is_dir():
        return packed
    checkout = Path(__file__).parents[5] / "examples" / PROJECT
    if (checkout / "dbt_project.yml").is_file():
        return checkout
    raise UnavailableError("the clyra installation holds no sample project; install it again", code="extra_missing")


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
