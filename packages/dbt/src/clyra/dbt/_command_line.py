# SPDX-License-Identifier: Apache-2.0
"""The command line in dbt's artifacts as arguments, without secrets.

dbt joins its arguments with spaces and drops the quotes, so nobody can say where a value ends: behind the first option
whose value may be secret nothing can be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clyra.dbt._actor import HIDDEN, scrub_argv

CUT = "..."
_MAX_CHARACTERS = 16_384


def scrub_joined(command_line: str, environ: Mapping[str, str], variables: Iterable[str]) -> list[str]:
    """The arguments of ``command_line`` up to the first that may hold a secret, and ``...`` where they were cut off.

    Args:
        command_line: Arguments joined by spaces.
        environ: Environment variables; values of dbt's secret ones are hidden wherever they occur.
        variables: Names in the dictionary of ``--vars``, which are kept.
    """
    # Secrets with spaces in them are found only in the whole line.
    (scrubbed,) = scrub_argv((command_line,), environ, {})
    kept: list[str] = []
    left = _MAX_CHARACTERS
    for argument in scrubbed.split():
        option = argument.partition("=")[0]
        left -= len(argument)
        if left < 0:
            return [*kept, CUT]
        if _hides_its_value(option):
            return [*kept, *scrub_argv((option, ""), {}, {"--vars": variables}), CUT]
        kept.append(argument)
    return kept


def _hides_its_value(option: str) -> bool:
    return scrub_argv((option, "value"), {}, {})[1] == HIDDEN
