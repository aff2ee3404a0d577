# SPDX-License-Identifier: Apache-2.0
"""One stream of dbt's events, the same clock and the same key give the same bytes, twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

REPLAY = """
import itertools, os, random
import click
from dbt.cli.main import dbtRunner
from clyra.dbt import _seal
from clyra.dbt._events import EventRecorder
from clyra.dbt._invocation import DbtInvocation
from clyra.dbt._process import Termination
from clyra.dbt._session import Session

class CountingClock:
    '''Every question is answered a microsecond after the one before.'''

    def __init__(self):
        self._ticks = itertools.count(1_700_000_000_000_000)
        self._random = random.Random(7)

    def now_us(self):
        return next(self._ticks)

    cpu_us = elapsed_us = now_us

    def random(self, size):
        return self._random.randbytes(size)

messages, invocations = [], []

def keep(message):
    messages.append(message)
    if message.info.name == "ConcurrencyLine":
        invocations.append(DbtInvocation.current())
        context = click.get_current_context()
        invocations[0] = DbtInvocation(dict(context.obj), invocation_id=invocations[0].invocation_id, argv=["dbt"])

os.environ["CLYRA_DISABLED"] = "1"
assert dbtRunner(callbacks=[keep]).invoke(["--quiet", "build"]).success
for folder in ("first", "second"):
    environ = {**os.environ, "CLYRA_EVIDENCE_DIR": os.path.abspath(folder)}
    recorder = EventRecorder(Session(invocations[0], environ, CountingClock()), Termination(), _seal.finish)
    for message in messages:
        recorder(message)
"""


def test_replayed_run_gives_the_same_bytes(on_duckdb: Ledger) -> None:
    on_duckdb.python(REPLAY)
    (first,) = on_duckdb.path.glob("first/evidence/*/*/*.def.zip")
    (second,) = on_duckdb.path.glob("second/evidence/*/*/*.def.zip")
    assert first.name == second.name
    assert len(first.read_bytes()) > 20_000
    assert first.read_bytes() == second.read_bytes()
