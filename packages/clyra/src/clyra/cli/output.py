# SPDX-License-Identifier: Apache-2.0
"""What every command prints in the same way: one JSON document, and words in colour on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Give a command the flag ``--json``, passed to it as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(function)


def print_json(document: object) -> None:
    """Print the document on stdout, with sorted members, as the only thing there."""
    # Imported here: `clyra --help` loads every command module and prints no JSON.
    import json

    # ASCII alone: what a document holds may be anybody's text, and a terminal obeys more than the old controls.
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def good(text: str) -> str:
    """The text in the colour of something that holds."""
    return click.style(text, fg="green", bold=True)


def bad(text: str) -> str:
    """The text in the colour of something that must not be trusted."""
    return click.style(text, fg="red", bold=True)


def doubtful(text: str) -> str:
    """The text in the colour of something that needs a look."""
    return click.style(text, fg="yellow", bold=True)


def faint(text: str) -> str:
    """The text in the colour of what matters less."""
    return click.style(text, dim=True)
