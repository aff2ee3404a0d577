# SPDX-License-Identifier: Apache-2.0
"""``clyra policy migrate``: bring a policy file to the newest version, comments and all."""

from __future__ import annotations

from pathlib import Path

import click

from clyra.cli.output import doubtful, good, json_option, print_json

EXIT_DONE, EXIT_OLD = 0, 1


@click.command(short_help="Bring a policy file to the newest version.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if the file is of an older version.")
@json_option
@click.pass_context
def migrate(ctx: click.Context, *, file: str | None, check: bool, as_json: bool) -> None:
    """Rewrite a policy file of an older version in the newest one, keeping its comments and order.

    \b
    Examples:
      clyra policy migrate --check
      clyra policy migrate policies/clyra.policy.yaml
    """
    from clyra.cli._policy_lint import read_policy_file
    from clyra.cli._trust_file import write_text
    from clyra.policy.migrate import NEWEST, migrate_file

    name, data = read_policy_file(file)
    version, migrated = migrate_file(data, name=name)
    is_old = version != NEWEST
    if is_old and not check:
        # A link to the file stays one.
        write_text(Path(name).resolve(), migrated)
    if as_json:
        print_json({"file": name, "from_version": version, "version": NEWEST, "written": is_old and not check})
    elif not is_old:
        click.echo(f"{good('ok')}  {name} is of version {NEWEST}")
    elif check:
        click.echo(f"{doubtful('old')}  {name} is of version {version}; run clyra policy migrate {name}")
    else:
        click.echo(f"{good('written')}  {name}: version {version} is now {NEWEST}")
    ctx.exit(EXIT_OLD if is_old and check else EXIT_DONE)
