# SPDX-License-Identifier: Apache-2.0
"""A process that runs one dbt command after the other, as schedulers and notebooks do: one JSON order per line.

An order has ``cwd``, ``environ`` and ``arguments``; the answer has the exit code that the ``dbt`` command would have,
what was printed, and what the command left changed in the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from typing import Any

from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.deprecations import reset_deprecations


def exit_code(result: dbtRunnerResult) -> int:
    """What the ``dbt`` command exits with: 0, 1 for nodes that failed, 2 for everything else."""
    if result.success:
        return 0
    return 1 if result.exception is None else 2


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Run one command and say how it went."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environ"])
    # dbt would go on counting those of earlier commands.
    reset_deprecations()  # type: ignore[no-untyped-call]
    environ, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        result = dbtRunner().invoke(order["arguments"])
    changed = {name for name in environ.keys() | os.environ if environ.get(name) != os.environ.get(name)}
    if signal.getsignal(signal.SIGTERM) != handler:
        changed.add("SIGTERM")
    return {
        "code": exit_code(result),
        "exception": repr(result.exception),
        "stdout": stdout.getvalue(),
        "stderr": stderr.getvalue(),
        "changed": sorted(changed),
    }


def main() -> None:
    """Obey orders until standard input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            print(json.dumps(obey(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
