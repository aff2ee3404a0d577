# SPDX-License-Identifier: Apache-2.0
"""``clyra quickstart``: a database, a dbt project, a run, its evidence, a forgery that is refused, in one command.

Everything happens in one folder with the commands a user would type; each is shown before it runs. The steps are in
``clyra.cli._quickstart_steps``.
"""

from __future__ import annotations

from pathlib import Path

import click

from clyra.cli.output import json_option


@click.command(short_help="See it work: evidence, a forgery refused, a change approved.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("clyra-quickstart"),
    show_default=True,
    help="Where everything goes; run again to go on with what is there.",
)
@click.option("--dsn", metavar="DSN", help="Use this Postgres instead of starting one. [env: CLYRA_PG_DSN]")
@click.option("--duckdb", is_flag=True, help="Use DuckDB instead of Postgres.")
@json_option
def quickstart(*, folder: Path, dsn: str | None, duckdb: bool, as_json: bool) -> None:
    """Run a sample dbt project on a Postgres of its own, verify its evidence, forge it, and have a change approved.

    Needs no database, no administrator and no configuration: Postgres comes with the packages and lives in the folder.

    \b
    Examples:
      clyra quickstart
      clyra quickstart --duckdb
      clyra quickstart --dsn postgresql://me@localhost/scratch
    """
    import os

    from clyra.cli._quickstart_steps import Quickstart
    from clyra.spec import ConfigurationError

    chosen = dsn or os.environ.get("CLYRA_PG_DSN")
    if duckdb and dsn:
        raise ConfigurationError("--dsn and --duckdb exclude each other; give one")
    Quickstart(folder.resolve(), dsn=None if duckdb else chosen, duckdb=duckdb, as_json=as_json).run_all()
