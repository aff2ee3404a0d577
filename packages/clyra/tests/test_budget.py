# SPDX-License-Identifier: Apache-2.0
"""CPU of a whole process against that of a bare interpreter, measured in the same run.

`clyra --help` costs at most 6 times as much, `clyra verify` of a small bundle at most 7 times. The least of several
runs is compared: what else the machine does only adds to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clyra.verify.conformance import load_vector, vector_files

HELP_BUDGET = 6.0
VERIFY_BUDGET = 7.0
ROUNDS = 12

# What the installed script does.
COMMAND = (sys.executable, "-c", "from clyra.cli.main import run; run()")
BARE = (sys.executable, "-c", "pass")


def cpu_s(command: Sequence[str], environment: dict[str, str]) -> float:
    """User and system time of the process, in seconds."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def ratio(command: Sequence[str], folder: Path) -> float:
    # Compiled modules are part of every installation; here they go to a folder of the test's own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CLYRA_"))}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")
    cpu_s(command, environment)
    cpu_s(BARE, environment)
    spent = [(cpu_s(command, environment), cpu_s(BARE, environment)) for _ in range(ROUNDS)]
    least, bare = min(ours for ours, _ in spent), min(theirs for _, theirs in spent)
    print(f"{least * 1e3:.1f} ms against {bare * 1e3:.1f} ms: {least / bare:.2f} times")
    return least / bare


@pytest.mark.budget
def test_help_costs_at_most_six_times_a_bare_interpreter(tmp_path: Path) -> None:
    assert ratio([*COMMAND, "--help"], tmp_path) <= HELP_BUDGET


@pytest.mark.budget
def test_verifying_a_small_bundle_costs_at_most_seven_times_a_bare_interpreter(tmp_path: Path) -> None:
    vector = load_vector(next(path for path in vector_files(suite="valid") if path.name.startswith("V01-")))
    bundle, trust = tmp_path / "run.def.zip", tmp_path / "trust.json"
    bundle.write_bytes(vector.input)
    trust.write_bytes(vector.files["trust.json"])
    words = ["verify", str(bundle), "--trust", str(trust), "--at", "2026-01-31T09:00:00Z"]
    assert ratio([*COMMAND, *words], tmp_path) <= VERIFY_BUDGET
