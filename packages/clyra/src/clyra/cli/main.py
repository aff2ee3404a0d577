# SPDX-License-Identifier: Apache-2.0
"""The command ``clyra``: a group that finds its commands by entry point and loads only the one that is called.

Exit codes: 0 done or valid, 1 refused or invalid, 2 done with warnings, 64 wrong usage or setting, 69 something
needed is not available, 70 a bug of ours, 130 interrupted. An error is one line on stderr,
``clyra: <message> [<code>]``; with ``--json`` also ``{"error": {"code", "message"}}`` on stdout.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from clyra.cli._entry_points import find_entry_points
from clyra.spec import ClyraError, ConfigurationError, UnavailableError
from clyra.spec import errors as tree

COMMANDS = "clyra.commands"
EXIT_REFUSED, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_BUG = 1, 64, 69, 70
EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 130, 141

EPILOG = """\b
Examples:
  clyra verify .clyra/evidence
  clyra verify bundle.def.zip --trust clyra.trust.json --json
"""


class CommandGroup(click.Group):
    """A group whose commands are the entry points of ``clyra.commands``; a broken one spoils only itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed commands, sorted."""
        return list(_targets(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or give one in its place that says why it cannot be had."""
        target = _targets(ctx).get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        try:
            command = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as exc:
            return _unavailable(cmd_name, target, exc)
        if not isinstance(command, click.Command):
            return _unavailable(cmd_name, target, TypeError("it is not a click command"))
        return command


def _targets(ctx: click.Context) -> dict[str, str]:
    # Read once per call of the program, not once per line of its help.
    found: dict[str, str] = ctx.meta.setdefault(COMMANDS, {})
    if not found:
        found.update(find_entry_points(COMMANDS))
    return found


def _unavailable(name: str, target: str, cause: Exception) -> click.Command:
    def refuse() -> NoReturn:
        message = f"the command {name} cannot be loaded from {target}: {cause}; install its package again"
        raise UnavailableError(message, code="extra_missing") from cause

    # Whatever arguments the real command has, the reason is the answer.
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, short_help="(cannot be loaded)", context_settings=settings)


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"clyra {version('clyra')}")
        ctx.exit()


@click.command(cls=CommandGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
)
def clyra() -> None:
    """Proof that data changes were safe: make, inspect and verify signed evidence of what dbt did."""


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code.

    Args:
        arguments: Words after the program's name; those of the process where None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words)
        # Flushed here, so that a reader who has gone is noticed while it can still be handled.
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # No command calls sys.exit: click does, with 1, when the reader of stdout has gone. 1 would say "invalid".
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = EXIT_BROKEN_PIPE
    # The process ends: searching its modules for cycles once more would cost half a bare interpreter's CPU.
    gc.freeze()
    sys.exit(code)


def _run(words: list[str]) -> int:
    as_json = "--json" in words
    color = False if os.environ.get("NO_COLOR") else None
    try:
        result = clyra.main(args=words, prog_name="clyra", standalone_mode=False, color=color)
    except ClyraError as exc:
        return _report(exc.message, exc.code, _exit_code(exc), as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return EXIT_USAGE
    except click.ClickException as exc:
        return _report(_usage_message(exc), ConfigurationError.default_code, EXIT_USAGE, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return _report("interrupted", "run_interrupted", EXIT_INTERRUPTED, as_json=as_json)
    except Exception as exc:  # noqa: BLE001 -- the last resort: one line and a code, not a traceback in the user's face
        return _report_bug(exc, as_json=as_json)
    return result if isinstance(result, int) else 0


def _exit_code(error: ClyraError) -> int:
    if isinstance(error, ConfigurationError):
        return EXIT_USAGE
    if isinstance(error, UnavailableError):
        return EXIT_UNAVAILABLE
    refusals = (tree.FormatError, tree.VerificationError, tree.BlockedError, tree.PolicyError)
    return EXIT_REFUSED if isinstance(error, refusals) else EXIT_BUG


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see {ctx.command_path} --help" if ctx is not None else message


def _report(message: str, code: str, exit_code: int, *, as_json: bool) -> int:
    click.echo(f"clyra: {message} [{code}]", err=True)
    if as_json:
        from clyra.cli.output import print_json

        print_json({"error": {"code": code, "message": message}})
    return exit_code


def _report_bug(error: Exception, *, as_json: bool) -> int:
    # The text of a foreign exception may hold values of the user's data: it is shown only on demand.
    if os.environ.get("CLYRA_DEBUG"):
        import traceback

        traceback.print_exception(error)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {place.tb_frame.f_globals.get('__name__')}:{place.tb_lineno}" if place is not None else ""
    message = f"unexpected {type(error).__name__}{where}; this is a bug: run again with CLYRA_DEBUG=1 and report it"
    return _report(message, ClyraError.default_code, EXIT_BUG, as_json=as_json)


if __name__ == "__main__":
    run()
