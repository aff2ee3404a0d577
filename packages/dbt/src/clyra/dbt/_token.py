# SPDX-License-Identifier: Apache-2.0
"""Tokens of approvals: taken out of the environment before project code runs, and kept where no project code reads.

``env_var()`` in Jinja reads dbt's own copy of the environment, so that one is cleaned too. The profile and the project
file are rendered before any plugin is asked: a token that they name was exposed, which `exposing_names` finds.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from clyra.dbt._dbt_environ import dbt_environ, forget
from clyra.spec import ConfigurationError

NAMES = ("CLYRA_APPROVAL_TOKEN_FILE", "CLYRA_APPROVAL_TOKEN", "CLYRA_RESUME_TOKEN_FILE")
"""The variables: file and text of an approval token, file of the resume token of a checkpoint."""

# One byte more than a token may have, so that a larger file is refused for its size and not cut to a valid one.
_MOST_BYTES = 8_193


class Tokens(NamedTuple):
    """What was found in the environment; empty where a variable was not set."""

    approval_file: str = ""
    approval_text: str = ""
    resume_file: str = ""

    @property
    def has_approval(self) -> bool:
        """Whether a token was handed over."""
        return bool(self.approval_file or self.approval_text)

    def approval(self) -> bytes:
        """The approval token, its file read anew: a runner may have renewed it. Empty where there is none.

        Raises:
            ConfigurationError: The file cannot be read (``config_invalid``).
        """
        if self.approval_file:
            return _read(self.approval_file, NAMES[0])
        return self.approval_text.strip().encode("utf-8", "surrogateescape")

    def resume(self) -> bytes:
        """The resume token of a checkpoint, empty where there is none.

        Raises:
            ConfigurationError: The file cannot be read (``config_invalid``).
        """
        return _read(self.resume_file, NAMES[2]) if self.resume_file else b""


class _Kept:
    """Tokens outlive the invocation that took them, for later ones of the same run in this process."""

    run_id: ClassVar[str] = ""
    tokens: ClassVar[Tokens] = Tokens()


def take_tokens(environ: MutableMapping[str, str]) -> Tokens:
    """Take the tokens out of ``environ`` and out of dbt's copy of it.

    A process may run several dbt commands of one run (``CLYRA_RUN_ID``): what the first one took, the next ones get,
    unless the environment has a new token by then.
    """
    taken = Tokens(*(environ.pop(name, "").strip() for name in NAMES))
    forget(NAMES)
    run_id = environ.get("CLYRA_RUN_ID", "")
    if not any(taken) and run_id and run_id == _Kept.run_id:
        return _Kept.tokens
    _Kept.run_id, _Kept.tokens = run_id, taken
    return taken


def exposing_names(*read_by_project: Iterable[str]) -> tuple[str, ...]:
    """Variables of tokens that project code names, or that dbt still hands out.

    Args:
        read_by_project: Names of environment variables that profile, project file and models read.
    """
    seen = {name.upper() for names in read_by_project for name in names}
    still_there = {name.upper() for name in dbt_environ()}
    return tuple(name for name in NAMES if name in seen or name in still_there)


def _read(path: str, setting: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES + 2).strip()
    except OSError as exc:
        raise ConfigurationError(
            f"{setting} names a file that cannot be read: {exc.strerror}; point it at the file that clyra approval "
            "mint wrote"
        ) from exc
