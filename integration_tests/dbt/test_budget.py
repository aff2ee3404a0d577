# SPDX-License-Identifier: Apache-2.0
"""What a run of one model costs more than plain dbt in the same surroundings: 3 % of its CPU recorded, 5 % gated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

SHARE_OF_ONE_MODEL = 0.03
SHARE_GATED = 0.05
ROUNDS = 3
RULES = "\n".join(
    f"    - {{id: x_rule_{number}, effect: block, mode: enforce, when: [{{field: {field}, op: prefix, value: none}}]}}"
    for number, field in enumerate(("dbt.package", "dbt.materialized", "dbt.project", "dbt.adapter") * 10)
)
POLICY = f"""
version: 1
name: ledger
environments: {{live: {{targets: [duckdb], mode: enforce}}}}
data_platform:
  rules:
{RULES}
"""


def cpu_s(ledger: Ledger, **environment: str) -> float:
    """User plus system time of a run of one model and of the processes it waited for."""
    process = ledger.start("--quiet", "run", "--select", "one", environment=environment)
    assert process.stdout is not None
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def share(ledger: Ledger) -> float:
    """The recorder's own account of a run of one model, as a share of the CPU that plain dbt takes for it."""
    ledger.write("models/one.sql", "select 1 as id")
    ledger.dbt("--quiet", "run", "--select", "one", CLYRA_DISABLED="1")
    # Alternating, and the least of each: what else the machine does only adds.
    plain_s = []
    for _ in range(ROUNDS):
        plain_s.append(cpu_s(ledger, CLYRA_DISABLED="1"))
        cpu_s(ledger)
    # The account holds its imports, its share of every event, the gate, and the seal.
    own_s = min(int(evidence.manifest["metrics"]["recorder_us"]) for evidence in ledger.bundles()) / 1e6
    return own_s / min(plain_s)


@pytest.mark.budget
def test_one_model_is_recorded_for_three_percent(on_duckdb: Ledger) -> None:
    assert share(on_duckdb) <= SHARE_OF_ONE_MODEL


@pytest.mark.budget
def test_one_model_is_gated_by_forty_rules_for_five_percent(on_duckdb: Ledger) -> None:
    on_duckdb.write("clyra.policy.yaml", POLICY)
    assert share(on_duckdb) <= SHARE_GATED
    (decision,) = on_duckdb.bundles()[0].events("decision")
    assert (decision["mode"], decision["decision"]) == ("enforce", "allow")
