# SPDX-License-Identifier: Apache-2.0
"""``clyra dbt``: set a project up, seal evidence where no plugin can run, stamp an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clyra.dbt._init import Plan


@click.group(short_help="Set a dbt project up; seal or recover its evidence.")
def dbt() -> None:
    """Set a dbt project up, and make evidence where the plugin could not.

    The plugin itself needs no command: with clyra-dbt installed, plain `dbt build` leaves a bundle.
    """


_project_dir = click.option(
    "--project-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Folder with dbt_project.yml [default: this folder].",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


@dbt.command(short_help="Add the session-tag macros to a project, or take them out.")
@_project_dir
@click.option("--guard-git", metavar="URL", help="Take the macros from a git repository instead of a copy.")
@click.option("--guard-revision", metavar="REV", help="Tag, branch or commit for --guard-git.")
@click.option("--remove", is_flag=True, help="Take back exactly what init added.")
@click.option("--dry-run", is_flag=True, help="Show the change, make none.")
@click.option("--check", is_flag=True, help="Exit 1 if anything would change; change nothing.")
@_json
@click.pass_context
def init(
    ctx: click.Context,
    *,
    project_dir: Path,
    guard_git: str | None,
    guard_revision: str | None,
    remove: bool,
    dry_run: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Add the clyra_guard macros to a dbt project: packages.yml, the query comment and the session tags.

    Running it again changes nothing; --remove restores the files byte for byte.

    \b
    Example:
      clyra dbt init --dry-run
      clyra dbt init && dbt deps
    """
    from clyra.dbt import _init

    source = _init.GuardSource(guard_git, guard_revision)
    plan = _init.plan_remove(project_dir) if remove else _init.plan_init(project_dir, source)
    if not (dry_run or check):
        _init.apply(plan)
    _report(plan, remove=remove, applied=not (dry_run or check), show_diff=dry_run, as_json=as_json)
    if check and not plan.is_empty:
        ctx.exit(1)


def _report(plan: Plan, *, remove: bool, applied: bool, show_diff: bool, as_json: bool) -> None:
    names = [str(path.relative_to(plan.project_dir)) for path in sorted(plan.files)]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "applied": applied,
                    "files": names,
                    "macros": plan.vendor,
                    "by_hand": plan.by_hand,
                    "diff": plan.diff(),
                }
                if show_diff
                else {"applied": applied, "files": names, "macros": plan.vendor, "by_hand": plan.by_hand}
            )
        )
        return
    if show_diff:
        click.echo(plan.diff(), nl=False)
    if plan.is_empty:
        click.echo("nothing to do", err=True)
    for name in names if applied else ():
        click.echo(f"changed {name}", err=True)
    for name, lines in plan.by_hand.items():
        click.echo(f"left to you in {name}:", err=True)
        for line in lines:
            click.echo(f"  {line}", err=True)
    if applied and not plan.is_empty and not remove:
        click.echo("next: dbt deps", err=True)
