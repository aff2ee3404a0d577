# SPDX-License-Identifier: Apache-2.0
"""Recording a run of one model costs at most 3 % of the CPU that plain dbt takes for it in the same surroundings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

SHARE_OF_ONE_MODEL = 0.03
ROUNDS = 3


def cpu_s(ledger: Ledger, **environment: str) -> float:
    """User plus system time of a run of one model and of the processes it waited for."""
    process = ledger.start("--quiet", "run", "--select", "one", environment=environment)
    assert process.stdout is not None
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.budget
def test_one_model_is_recorded_for_three_percent(on_duckdb: Ledger) -> None:
    on_duckdb.write("models/one.sql", "select 1 as id")
    on_duckdb.dbt("--quiet", "run", "--select", "one", CLYRA_DISABLED="1")
    # Alternating, and the least of each: what else the machine does only adds.
    plain_s = []
    for _ in range(ROUNDS):
        plain_s.append(cpu_s(on_duckdb, CLYRA_DISABLED="1"))
        cpu_s(on_duckdb)
    # The recorder's own account holds its imports, its share of every event, and the seal.
    own_s = min(evidence.manifest["metrics"]["recorder_us"] for evidence in on_duckdb.bundles()) / 1e6
    assert own_s <= SHARE_OF_ONE_MODEL * min(plain_s), (own_s, plain_s)
