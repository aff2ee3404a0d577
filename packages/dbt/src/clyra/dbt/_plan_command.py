# SPDX-License-Identifier: Apache-2.0
"""Ask the run gate what it would say about a dbt command, without running it: ``clyra dbt plan``.

dbt itself selects and parses, in a process of its own; the plugin in it answers into a file and lets nothing run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clyra.dbt._policy import PLAN_ONLY
from clyra.spec import ConfigurationError

# Without the plugin dbt would run in earnest: it must load, and dbt must find it by its name.
_DBT = """
import pkgutil, sys
import dbt_clyra
if "dbt_clyra" not in {module.name for module in pkgutil.iter_modules()}:
    sys.exit("dbt does not find dbt_clyra; see clyra doctor")
dbt_clyra.plugins
from dbt.cli.main import cli
sys.argv[0] = "dbt"
cli()
"""


def ask_gate(arguments: Sequence[str], project_dir: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The gate's answer about ``dbt <arguments>`` in a project.

    Raises:
        ConfigurationError: dbt did not come as far as the gate; its own words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="clyra-plan-") as folder:
        answer = Path(folder) / "answer.json"
        ended = subprocess.run(
            (sys.executable, "-c", _DBT, *arguments),
            cwd=project_dir,
            env={**environ, PLAN_ONLY: str(answer)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if answer.exists():
            found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
            return found
    if ended.returncode == 0:
        # Nothing selected, or a command that sends nothing: there was nothing to judge.
        return {"outcome": "nothing_held"}
    raise ConfigurationError(f"dbt ended before anything could be judged:{os.linesep}{ended.stdout.strip()}")
