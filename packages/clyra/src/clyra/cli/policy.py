# SPDX-License-Identifier: Apache-2.0
"""``clyra policy``: each subcommand in a module of its own, imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = {
    "analyze": "clyra.cli._policy_analyze:analyze",
    "diff": "clyra.cli._policy_diff:diff",
    "explain": "clyra.cli._policy_explain:explain",
    "lint": "clyra.cli._policy_lint:lint",
    "migrate": "clyra.cli._policy_migrate:migrate",
    "report": "clyra.cli._policy_report:report",
    "test": "clyra.cli._policy_test:test",
    "wizard": "clyra.cli._policy_wizard:wizard",
}


class _PolicyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_PolicyGroup)
def policy() -> None:
    """Write, check, test and try the policy that decides.

    \b
    Example:
      clyra policy wizard
      clyra policy lint
      clyra policy report --since 14d
    """
