# SPDX-License-Identifier: Apache-2.0
"""What a candidate policy adds to a run gate: under 1 ms with 40 and with 400 rules; prints one JSON line per size.

pytest -o python_files=bench_*.py packages/policy/benchmarks/bench_shadow.py -s
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from random import Random
from statistics import median

import pytest

from clyra.policy.engine import CompiledPolicy, compile_policy
from clyra.policy.facts import Facts
from clyra.policy.shadow import ShadowSink, compare

TODAY = date(2026, 11, 22)
FACTS: Facts = {"env.production": True, "change.models": 40, "dbt.command": "build", "change.branch": "main"}
CONDITIONS = (
    {"field": "env.production", "op": "eq", "value": True},
    {"field": "change.models", "op": "gt", "value": 10},
    {"field": "dbt.command", "op": "in", "value": ["run", "build"]},
    {"field": "change.branch", "op": "ne", "value": "main"},
)
ROUNDS = 200


def policy(count: int, effect: str) -> CompiledPolicy:
    random = Random(count)
    rules = [
        {"id": f"x_{number}", "effect": effect, "mode": "enforce", "when": random.sample(CONDITIONS, 3)}
        for number in range(count)
    ]
    return compile_policy({"data_platform": {"rules": rules}})


@pytest.mark.budget
@pytest.mark.parametrize("count", [40, 400])
def test_a_candidate_adds_less_than_a_millisecond(tmp_path: Path, count: int) -> None:
    enforced, candidate = policy(count, "warn"), policy(count, "block")
    sink = ShadowSink(tmp_path / "shadow.ndjson", queue=ROUNDS)
    plain: list[float] = []
    beside: list[float] = []

    def gate(*, with_candidate: bool) -> None:
        started = time.perf_counter()
        decision = enforced.decide("run", FACTS, today=TODAY)
        if with_candidate:

            def tell() -> Mapping[str, object] | None:
                found = compare(decision, candidate.decide("run", FACTS, today=TODAY))
                return None if found is None else asdict(found)

            sink.put(tell)
        (beside if with_candidate else plain).append(time.perf_counter() - started)

    for number in range(2 * ROUNDS):
        gate(with_candidate=number % 2 == 0)
        # One run has one run gate, and goes on to talk to its warehouse.
        while sink.counts.written < len(beside):
            time.sleep(0.0005)
        time.sleep(0.0005)
    counts = sink.close(timeout_s=30)
    assert counts.written == ROUNDS
    added_us = {
        "median": round((median(beside) - median(plain)) * 1e6, 1),
        "p95": round((sorted(beside)[int(ROUNDS * 0.95)] - sorted(plain)[int(ROUNDS * 0.95)]) * 1e6, 1),
    }
    print(json.dumps({"rules": count, "decide_us": round(median(plain) * 1e6, 1), "added_us": added_us}))
    assert added_us["median"] < 1000
