# SPDX-License-Identifier: Apache-2.0
"""Settings of ours among the project's variables, for commands that run without dbt.

Only dbt can render a project file. A setting that is one plain line under ``vars:`` is read as it stands; any other
spelling is refused, since guessing would put evidence where nobody looks for it.
"""

from __future__ import annotations

import re
from pathlib import Path

from clyra.spec import ConfigurationError

_PROJECT_FILE = "dbt_project.yml"


def project_setting(project_dir: Path, name: str, *, instead: str) -> str | None:
    """The value of the project variable ``name``, None where the project does not set it.

    Args:
        project_dir: The folder of ``dbt_project.yml``.
        name: Such as ``clyra_evidence_dir``.
        instead: What the user can set to the same effect, for the message.

    Raises:
        ConfigurationError: It is set in a way that only dbt can read, or the file cannot be read.
    """
    try:
        text = (project_dir / _PROJECT_FILE).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{_PROJECT_FILE} cannot be read as UTF-8; make it readable") from exc
    lines = [line for line in text.splitlines() if name in line.partition("#")[0]]
    if not lines:
        return None
    plain = re.fullmatch(
        rf"""[ \t]+{name}:[ \t]+("[^"\\]*"|'[^']*'|[^\s"'#&*!|>%@`{{\[][^#{{]*?)[ \t]*(?:[ \t]#.*)?""", lines[0]
    )
    if plain is None or len(lines) > 1:
        raise ConfigurationError(f"{_PROJECT_FILE} sets {name} in a way that only dbt can read; set {instead}")
    value = plain[1].strip("\"'") if plain[1][0] in "\"'" else plain[1]
    if "{{" in value or "{%" in value:
        raise ConfigurationError(f"{_PROJECT_FILE} computes {name}, which only dbt can do; set {instead}")
    return value or None
