# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clyra.evidence.canonical import canonicalize
from clyra.policy.engine import CompiledPolicy, compile_policy, event_members
from clyra.policy.facts import Facts
from clyra.policy.shadow import Difference, ShadowCounts, ShadowSink, compare

TODAY = date(2026, 11, 22)
FACTS: Facts = {"env.production": True, "change.full_refresh": True}


def policy(*effects: str, mode: str = "enforce") -> CompiledPolicy:
    when = [{"field": "env.production", "op": "eq", "value": True}]
    rules = [
        {"id": f"x_{number}", "effect": effect, "mode": mode, "when": when} for number, effect in enumerate(effects)
    ]
    return compile_policy({"data_platform": {"rules": rules}})


def decide(compiled: CompiledPolicy) -> Any:
    return compiled.decide("run", FACTS, today=TODAY)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def wait_for(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for a thread of ours to get somewhere; a test that waits in vain fails."""
    woken = threading.Event()
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        woken.wait(0.002)


def test_equal_effects_are_no_difference_whatever_the_rules() -> None:
    assert compare(decide(policy("warn")), decide(policy("warn", "warn"))) is None


def test_a_difference_names_both_effects_the_direction_and_the_rules_behind_them() -> None:
    old, new = decide(policy("warn", "require_approval")), decide(policy("warn", "block", "block"))
    found = Difference("run", "require_approval", "block", "stricter", ("x_1",), ("x_1", "x_2"))
    assert compare(old, new) == found
    back = compare(new, old)
    assert back is not None
    assert (back.direction, back.old_rules, back.new_rules) == ("weaker", ("x_1", "x_2"), ("x_1",))


def test_a_rule_in_shadow_would_change_nothing() -> None:
    assert compare(decide(policy("warn")), decide(policy("block", mode="shadow"))) == Difference(
        "run", "warn", "allow", "weaker", ("x_0",), ()
    )
    assert compare(decide(policy()), decide(policy("block", mode="shadow"))) is None


def test_lines_reach_a_file_in_order_and_what_is_the_same_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "shadow.ndjson"
    sink = ShadowSink(path)
    for number in range(5):
        sink.put(lambda number=number: {"number": number} if number != 2 else None)  # type: ignore[misc]
    assert sink.close() == ShadowCounts(written=4, same=1, failed=0, dropped=0)
    assert [line["number"] for line in lines(path)] == [0, 1, 3, 4]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_sink_appends(tmp_path: Path) -> None:
    path = tmp_path / "shadow.ndjson"
    for number in range(2):
        sink = ShadowSink(path)
        sink.put(lambda: {"number": number})  # noqa: B023 -- closed before the next round
        sink.close()
    assert [line["number"] for line in lines(path)] == [0, 1]


def test_a_candidate_that_raises_is_counted_and_the_next_is_told(tmp_path: Path) -> None:
    def broken() -> Mapping[str, object]:
        raise RecursionError

    sink = ShadowSink(tmp_path / "shadow.ndjson")
    sink.put(broken)
    sink.put(lambda: {"unwritable": {1, 2}})
    sink.put(lambda: {"number": 1})
    assert sink.close() == ShadowCounts(written=1, same=0, failed=2, dropped=0)
    assert lines(tmp_path / "shadow.ndjson") == [{"number": 1}]


def test_a_sink_that_cannot_be_written_fails_no_caller(tmp_path: Path) -> None:
    sink = ShadowSink(tmp_path / "no" / "folder")
    sink.put(lambda: {"number": 1})
    assert sink.close() == ShadowCounts(written=0, same=0, failed=1, dropped=0)


def test_a_pipe_without_a_reader_blocks_nobody_and_close_ends_in_time(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    sink = ShadowSink(path, queue=3)
    started = time.monotonic()
    for _ in range(10):
        sink.put(lambda: {"number": 1})
    assert time.monotonic() - started < 0.5
    counts = sink.close(timeout_s=0.05)
    assert time.monotonic() - started < 2
    assert counts == ShadowCounts(written=0, same=0, failed=0, dropped=10)
    # A reader that comes late finds a line or none, and the thread ends.
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def test_a_pipe_with_a_reader_gets_every_line(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received: list[bytes] = []

    def read() -> None:
        received.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    sink = ShadowSink(path)
    # Beyond what a pipe holds, so that the writer has to wait for the reader.
    for number in range(1000):
        sink.put(lambda number=number: {"number": number, "text": "x" * 200})  # type: ignore[misc]
    counts = sink.close(timeout_s=10)
    reader.join(10)
    assert counts.written == 1000
    assert [json.loads(line)["number"] for line in received[0].splitlines()] == list(range(1000))


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        released.wait(10)

    sink = ShadowSink(tmp_path / "shadow.ndjson", queue=2)
    sink.put(slow)
    assert entered.wait(10)
    for number in range(5):
        sink.put(lambda number=number: {"number": number})  # type: ignore[misc]
    assert sink.counts.dropped == 4
    released.set()
    assert sink.close(timeout_s=10) == ShadowCounts(written=1, same=1, failed=0, dropped=4)


def test_what_comes_after_close_is_dropped_and_close_may_be_called_again(tmp_path: Path) -> None:
    sink = ShadowSink(tmp_path / "shadow.ndjson")
    assert sink.close() == ShadowCounts(0, 0, 0, 0)
    sink.put(lambda: {"number": 1})
    assert sink.close() == ShadowCounts(0, 0, 0, 1)
    assert not (tmp_path / "shadow.ndjson").exists()


def test_nothing_is_counted_twice_when_a_late_line_ends_after_close(tmp_path: Path) -> None:
    released, ended = threading.Event(), threading.Event()

    def slow() -> Mapping[str, object]:
        released.wait(10)
        ended.set()
        return {"number": 1}

    sink = ShadowSink(tmp_path / "shadow.ndjson")
    sink.put(slow)
    assert sink.close(timeout_s=0.01).dropped == 1
    released.set()
    assert ended.wait(10)
    wait_for(lambda: not any(thread.name == "clyra-shadow" for thread in threading.enumerate()))
    assert sink.counts == ShadowCounts(0, 0, 0, 1)


class _Broken:
    """Stands for a candidate whose rule raises when it is judged."""

    def decide(self, *_arguments: object, **_named: object) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("trial", ["none", "other", "raises", "hangs", "full"])
def test_the_decision_in_force_has_the_same_bytes_with_and_without_a_candidate(tmp_path: Path, trial: str) -> None:
    enforced, released = policy("require_approval"), threading.Event()
    candidate: Any = _Broken() if trial == "raises" else policy("block")
    path = tmp_path / "sink"
    if trial == "hangs":
        os.mkfifo(path)
    sink = ShadowSink(path, queue=1 if trial == "full" else 16)
    if trial == "full":
        sink.put(lambda: None if released.wait(10) else {})
    decision = decide(enforced)
    if trial != "none":

        def tell() -> Mapping[str, object] | None:
            found = compare(decision, candidate.decide("run", FACTS, today=TODAY))
            return None if found is None else asdict(found)

        sink.put(tell)
    members = event_members(
        decision, decision_id="d", mode="enforce", policy_sha256="ab" * 32, risk=None, personal_key=b""
    )
    assert canonicalize(members) == canonicalize(
        {
            "id": "d",
            "point": "run",
            "mode": "enforce",
            "decision": "require_approval",
            "rules": [{"id": "x_0", "effect": "require_approval", "severity": "warning", "state": "matched"}],
            "missing": [],
            "facts": {"env.production": True},
            "policy_sha256": "ab" * 32,
            "risk": None,
        }
    )
    released.set()
    counts = sink.close(timeout_s=0.05 if trial == "hangs" else 10)
    told = {"none": "same", "other": "written", "raises": "failed", "hangs": "dropped", "full": "dropped"}[trial]
    assert getattr(counts, told) >= (0 if trial == "none" else 1)
    if trial == "hangs":
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
