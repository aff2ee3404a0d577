# SPDX-License-Identifier: Apache-2.0
"""Where ``clyra policy`` finds the policy of a folder, its tests and its evidence."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from clyra.policy.cases import Case
    from clyra.policy.load import LoadedPolicy

_SINCE = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}

T = TypeVar("T")


def utc_now() -> datetime:
    """This instant."""
    return datetime.now(UTC)


def policy_path(folder: Path) -> Path:
    """The policy of ``folder``.

    Raises:
        ConfigurationError: There is none.
    """
    from clyra.policy.load import find_policy
    from clyra.spec import ConfigurationError

    path = find_policy(folder, os.environ)
    if path is None:
        raise ConfigurationError(f"no clyra.policy.yaml in {folder}; write one with clyra policy wizard")
    return path


def read_all_cases(path: Path, policy: LoadedPolicy) -> list[Case]:
    """The cases of the files in ``policy_tests`` beside the policy at ``path``.

    Raises:
        ConfigurationError: There are none.
        PolicyInvalid: A file has faults.
        UnavailableError: A file cannot be read.
    """
    from clyra.policy.case_files import read_cases
    from clyra.policy.cases import TESTS_FOLDER
    from clyra.spec import ConfigurationError, UnavailableError

    folder = path.parent / TESTS_FOLDER
    found: list[Case] = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            data = file.read_bytes()
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise UnavailableError(f"{file} cannot be read: {reason}", code="policy_unavailable") from exc
        rule_ids = [rule.id for rule in policy.compiled.rules]
        found += read_cases(data, name=shown(file), environments=policy.environments, rule_ids=rule_ids)
    if not found:
        raise ConfigurationError(f"no cases in {shown(folder)}; it holds *.yaml files with cases")
    return found


def shown(path: Path) -> str:
    """The path as it is shown: from the working directory where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def today() -> date:
    """This day, UTC, as gates count it."""
    return utc_now().date()


def since_instant(text: str, now: datetime) -> datetime:
    """The instant so long before ``now``, like ``14d``, ``36h`` or ``2w``.

    Raises:
        ConfigurationError: It is no such time.
    """
    from clyra.spec import ConfigurationError

    found = _SINCE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"--since is {text!r}; expected a number of hours, days or weeks, like 36h, 14d, 2w")
    return now - timedelta(hours=int(found[1]) * _HOURS[found[2]])


def with_progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, while a line on the terminal's stderr says how far it is."""
    is_shown = sys.stderr.isatty() and total > 1
    for number, item in enumerate(items, 1):
        if is_shown:
            click.echo(f"\r\x1b[K{what} {number} of {total}", nl=False, err=True)
        yield item
    if is_shown:
        click.echo("\r\x1b[K", nl=False, err=True)


def table(rows: Sequence[Sequence[str]], *, indent: int = 2) -> Iterator[str]:
    """Rows in columns; words in colour count as wide as they look."""
    widths = [max(len(click.unstyle(row[at])) for row in rows) for at in range(len(rows[0]))] if rows else []
    for row in rows:
        padded = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        yield (" " * indent + "  ".join(padded)).rstrip()


def plural(count: int, word: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
