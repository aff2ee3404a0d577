# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson
import pytest
import rfc8785

from clyra.evidence.canonical import canonicalize

Run = Any  # the class in conftest.py, which tests cannot import

EVENTS = 2000
BATCH = 20
ROUNDS = 9


def least_cpu_s(call: Callable[[], object]) -> float:
    """CPU seconds of the quietest of some rounds: what the code costs, not what its neighbours do."""
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        call()
        spent.append(time.process_time() - started)
    return min(spent)


@pytest.mark.budget
def test_events_are_canonicalized_five_times_as_fast_as_by_rfc8785(run: Run) -> None:
    events = [run.statement(number)[2] for number in range(EVENTS)]
    ours = least_cpu_s(lambda: [canonicalize(event) and None for event in events])
    reference = least_cpu_s(lambda: [rfc8785.dumps(event) and None for event in events])
    assert reference >= 5.0 * ours


@pytest.mark.budget
def test_an_event_of_the_journal_costs_what_5_us_are_where_its_digest_and_text_cost_0_66(run: Run) -> None:
    events = [run.statement(number) for number in range(EVENTS)]
    lines = [
        {**members, "prev": "ab" * 32, "seq": 5, "type": kind, "event_id": "x" * 36} for kind, _, members in events
    ]
    writer = run.writer()

    def record() -> None:
        for first in range(0, EVENTS, BATCH):
            writer.append(events[first : first + BATCH])

    def reference() -> None:
        for line in lines:
            sha256(orjson.dumps(line, option=orjson.OPT_SORT_KEYS)).digest()

    assert least_cpu_s(record) <= 7.5 * least_cpu_s(reference)
