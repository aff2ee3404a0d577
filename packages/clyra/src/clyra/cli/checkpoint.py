# SPDX-License-Identifier: Apache-2.0
"""``clyra checkpoint``: runs that paused for people, and how they go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli._approval_place import Place, place_options
from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.policy.checkpoint import End, PausedRun

_COLORS = {"pending": doubtful, "denied": bad, "expired": faint, "resumed": good}


@click.group(short_help="See, approve, deny and resume runs that paused.")
def checkpoint() -> None:
    """See, approve, deny and resume runs that paused at a checkpoint of the policy.

    A pause ends the process. The run goes on, under the same run id, once its request is approved and if code, policy
    and plan are what they were.

    \b
    Examples:
      clyra checkpoint list
      clyra checkpoint approve 0193c
      clyra checkpoint resume 0193c -- dbt build --target prod
    """


@checkpoint.command("list", short_help="List the paused runs, waiting ones first.")
@place_options
@json_option
def list_checkpoints(*, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """List the runs that paused here: which wait, which went on, which were denied or expired.

    \b
    Example:
      clyra checkpoint list
    """
    place = Place.find(project_dir, trust)
    rows = [_row(place, *_loaded(place, name)) for name in reversed(place.store.checkpoints())]
    rows.sort(key=lambda row: row["status"] != "pending")
    if as_json:
        print_json({"checkpoints": rows})
        return
    if not rows:
        click.echo(f"No run has paused in {place.store.root}.")
    for row in rows:
        state = _COLORS[row["status"]](row["status"].ljust(8))
        given = f"{row['given']} of {row['approvals']}"
        click.echo(f"{row['id']}  {state}  {row['checkpoint']}  run {row['run_id']}  {given} approvals")


@checkpoint.command(short_help="Show one paused run.")
@click.argument("checkpoint_id", metavar="ID")
@place_options
@json_option
def show(*, checkpoint_id: str, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """Show what paused, until when it waits and for whom, and what its request is.

    \b
    Example:
      clyra checkpoint show 0193c
    """
    place = Place.find(project_dir, trust)
    row = _row(place, *_loaded(place, checkpoint_id))
    if as_json:
        print_json(row)
        return
    for line in _lines(row):
        click.echo(line)


@checkpoint.command(short_help="Read the request of a paused run, and approve it with your key.")
@click.argument("checkpoint_id", metavar="ID")
@click.option("--role", metavar="ROLE", help="In which role you approve. [default: the first that lists you]")
@click.option("--base", metavar="COMMIT", help="Where the change begins. [default: the last approved state]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
@json_option
def approve(
    *,
    checkpoint_id: str,
    role: str | None,
    base: str | None,
    yes: bool,
    project_dir: Path | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Show the request of a paused run and sign for it, as `clyra approve` does.

    \b
    Example:
      clyra checkpoint approve 0193c
    """
    from clyra.cli._approval_signing import clock_us
    from clyra.cli.approve import Wishes, approve_request
    from clyra.policy.checkpoint import refuse_ended

    place = Place.find(project_dir, trust)
    paused, end = _loaded(place, checkpoint_id)
    refuse_ended(paused, end, now_s=clock_us() // 1_000_000)
    request = place.store.request(paused.request_sha256)
    approve_request(place, request, Wishes(role=role, base=base, yes=yes), as_json=as_json)


@checkpoint.command(short_help="Say no: the run cannot go on.")
@click.argument("checkpoint_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the run's owner reads it.")
@place_options
@json_option
def deny(*, checkpoint_id: str, reason: str, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """Say no to a paused run and to its request. It cannot be taken back; run it again instead.

    \b
    Example:
      clyra checkpoint deny 0193c --reason "not on a Friday"
    """
    from clyra.cli._approval_signing import clock_us
    from clyra.policy.pause import deny_checkpoint

    place = Place.find(project_dir, trust)
    paused = deny_checkpoint(place.store, checkpoint_id, reason=reason, now_s=clock_us() // 1_000_000)
    if as_json:
        print_json({"id": paused.id, "reason": reason, "status": "denied"})
        return
    click.echo(f"{bad('denied')}  {paused.id}")


@checkpoint.command(short_help="Let a paused run go on: run its command again.")
@click.argument("checkpoint_id", metavar="ID")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@place_options
@json_option
@click.pass_context
def resume(
    ctx: click.Context,
    *,
    checkpoint_id: str,
    command: tuple[str, ...],
    project_dir: Path | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Check that a paused run may go on, and run COMMAND as that run; it exits with COMMAND's code.

    COMMAND gets the run's id, an approval token and the resume token. With the issuer key here (CLYRA_ISSUER_KEY)
    both tokens are made now; else they come from CLYRA_APPROVAL_TOKEN_FILE and CLYRA_RESUME_TOKEN_FILE. Without
    COMMAND it only says whether the run may go on. The gate in dbt checks again, and the pause is used up there.

    \b
    Examples:
      clyra checkpoint resume 0193c
      clyra checkpoint resume 0193c -- dbt build --target prod
    """
    from clyra.cli._checkpoint_resuming import run_command, tokens_for

    if command and as_json:
        raise click.UsageError("--json is for resume without a command; the command's output is its own", ctx)
    place = Place.find(project_dir, trust)
    paused, end = _loaded(place, checkpoint_id)
    tokens = tokens_for(place, paused, end)
    if command:
        ctx.exit(run_command(command, paused, tokens, place.environ))
    if as_json:
        print_json({"id": paused.id, "run_id": paused.run_id, "status": "ready", "token_id": tokens.token_id})
        return
    click.echo(f"{good('ready')}  {paused.id}: clyra checkpoint resume {paused.id} -- COMMAND")


def _loaded(place: Place, prefix: str) -> tuple[PausedRun, End | None]:
    from clyra.policy.pause import load_checkpoint

    return load_checkpoint(place.store, prefix)


def _row(place: Place, paused: PausedRun, end: End | None) -> dict[str, Any]:
    from clyra.cli._approval_signing import clock_us
    from clyra.policy.checkpoint import status_of

    return {
        "approvals": paused.approvals,
        "at": paused.at,
        "audience": paused.audience,
        "checkpoint": paused.checkpoint,
        "expires_at": paused.expires_at,
        "given": len(place.store.certificates_for(paused.request_sha256)),
        "id": paused.id,
        "opened_at": paused.opened_at,
        "reason": None if end is None else end.reason,
        "request_sha256": paused.request_sha256,
        "roles": list(paused.roles),
        "run_id": paused.run_id,
        "status": status_of(paused, end, now_s=clock_us() // 1_000_000),
        "tree": paused.tree,
    }


def _lines(row: dict[str, Any]) -> list[str]:
    from clyra.cli._approval_text import moment, one_line

    request = row["request_sha256"][:12]
    who = f" by people in the role {' or '.join(row['roles'])}" if row["roles"] else ""
    lines = [
        f"Checkpoint {row['id']}  {_COLORS[row['status']](row['status'])}",
        f"  paused    {row['at']} at {row['checkpoint']}, {moment(row['opened_at'])}",
        f"  run       {row['run_id']} on {one_line(row['audience'])}, tree {(row['tree'] or 'not known')[:12]}",
        f"  request   {request}, {row['given']} of {row['approvals']} approvals{who}",
        f"  waits     until {moment(row['expires_at'])}",
    ]
    if row["reason"]:
        lines.append(f"  reason    {one_line(row['reason'])}")
    if row["status"] == "pending":
        is_ready = row["given"] >= row["approvals"]
        word = f"resume {row['id']} -- COMMAND" if is_ready else f"approve {row['id']}"
        lines += ["", f"Next: clyra checkpoint {word}"]
    return lines
