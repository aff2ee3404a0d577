# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clyra.evidence import JournalWriter, RunRecord, find_open_journals, instant, load_signer
from clyra.evidence.canonical import canonicalize
from clyra.evidence.journal import note_path, record_path
from clyra.evidence.merkle import leaf_hash, merkle_root
from clyra.spec import FormatError, UnavailableError

Run = Any  # the class in conftest.py, which tests cannot import


def lines_of(path: Path) -> list[bytes]:
    *lines, last = path.read_bytes().split(b"\n")
    assert last == b""
    return lines


def assert_is_a_chain(lines: list[bytes], bundle_id: str, tenant: str) -> list[dict[str, Any]]:
    """def_v0.md, trees and chain, written down again."""
    prev = sha256(f"clyra-journal-v0\n{bundle_id}\n{tenant}".encode()).hexdigest()
    events = []
    for number, line in enumerate(lines):
        event = json.loads(line)
        assert canonicalize(event) == line
        assert (event["seq"], event["prev"]) == (number, prev)
        prev = sha256(line).hexdigest()
        events.append(event)
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times)
    assert len({event["event_id"] for event in events}) == len(events)
    return events


def test_every_line_is_canonical_and_bound_to_the_one_before(run: Run) -> None:
    writer = run.writer()
    writer.append([run.statement(1), run.node(1)])
    writer.append([run.statement(2)])
    so_far = lines_of(run.path)
    assert writer.head == sha256(so_far[-1]).hexdigest()
    assert writer.root() == merkle_root([leaf_hash(line) for line in so_far]).hex()
    closed = writer.close("completed", run.start_us + 9)
    lines = lines_of(run.path)
    events = assert_is_a_chain(lines, run.bundle_id, "default")
    assert [event["type"] for event in events] == [
        "run.started",
        "statement",
        "node.finished",
        "statement",
        "run.closed",
    ]
    assert events[-1]["count"] == closed.count == 5
    assert closed.head == sha256(lines[-1]).hexdigest()
    assert closed.root == merkle_root([leaf_hash(line) for line in lines]).hex()
    assert closed.sha256 == sha256(run.path.read_bytes()).hexdigest()
    assert closed.size_bytes == run.path.stat().st_size
    assert (closed.first_at, closed.last_at) == (run.start_us, run.start_us + 9)


def test_an_event_id_is_the_bundle_id_with_the_sequence_number_at_its_end(run: Run) -> None:
    writer = run.writer()
    writer.append([run.statement(n) for n in range(300)])
    events = [json.loads(line) for line in lines_of(run.path)]
    assert events[299]["event_id"] == run.bundle_id[:24] + "00000000012b"


def test_appended_lines_are_with_the_operating_system_at_once(run: Run) -> None:
    writer = run.writer()
    for number in range(5):
        writer.append([run.statement(number)])
        assert len(lines_of(run.path)) == writer.count == number + 2


def test_an_empty_batch_changes_nothing(run: Run) -> None:
    writer = run.writer()
    before = run.path.read_bytes()
    writer.append([])
    assert run.path.read_bytes() == before


def test_times_never_go_backwards(run: Run) -> None:
    writer = run.writer()
    writer.append([run.statement(5_000_000), run.statement(0), run.node(4_999_999)])
    times = [json.loads(line)["occurred_at"] for line in lines_of(run.path)]
    assert times == [instant(run.start_us)] + [instant(run.start_us + 5_000_000)] * 3


def test_counts_follow_the_events(run: Run) -> None:
    writer = run.writer()
    writer.append([run.statement(1), run.statement(2, verb="delete"), run.statement(3, verb="frobnicate")])
    for status in ("success", "error", "runtime_error", "skipped"):
        writer.append([run.node(1, status=status)])
    for status in ("pass", "fail", "error", "warn", "skipped"):
        writer.append([run.node(1, status=status, resource_type="test")])
    writer.append([run.node(1, status="pass", resource_type="unit_test")])
    assert writer.counts == {
        "statements": 3,
        "writes": 2,
        "nodes": 10,
        "failed_nodes": 4,
        "tests_passed": 2,
        "tests_failed": 2,
        "tests_warned": 1,
        "tests_not_run": 1,
    }


def decision(at: int, outcome: str, *states: str) -> tuple[str, int, dict[str, object]]:
    rules = [{"id": "r", "effect": "block", "severity": "critical", "state": state} for state in states]
    members: dict[str, object] = {
        "id": "d-1",
        "point": "statement",
        "mode": "shadow",
        "decision": outcome,
        "rules": rules,
        "missing": [],
        "facts": {"sql.rows": 1, "sql.verbs": ["delete"]},
        "policy_sha256": None,
        "risk": None,
    }
    return "decision", at, members


def test_decisions_and_waived_rules_are_counted(run: Run) -> None:
    writer = run.writer()
    writer.append([decision(run.start_us, "block", "matched", "waived"), decision(run.start_us, "allow", "waived")])
    assert writer.decisions == {"allow": 1, "block": 1, "require_approval": 0, "warn": 0, "waived": 2}
    assert_is_a_chain(lines_of(run.path), run.bundle_id, "default")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("a\ud800b", "a\ufffdb", id="lone surrogate"),
        pytest.param("a\0b", "a\ufffdb", id="NUL"),
        pytest.param(
            'quote " backslash \\ \\u0000 and \u2028', 'quote " backslash \\ \\u0000 and \u2028', id="escapes"
        ),
        pytest.param("\U0001f600 e\u0301", "\U0001f600 e\u0301", id="text is kept as it is"),
    ],
)
def test_any_text_can_be_recorded(run: Run, text: str, kept: str) -> None:
    writer = run.writer()
    writer.append([run.statement(1, query_id=text)])
    events = assert_is_a_chain(lines_of(run.path), run.bundle_id, "default")
    assert events[1]["query_id"] == kept


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param(0.5, "canonical_value", id="float"),
        pytest.param([1.0], "canonical_value", id="float inside a list"),
        pytest.param(2**53, "canonical_value", id="large integer"),
        pytest.param(b"x", "canonical_value", id="bytes"),
        pytest.param("x" * 65_536, "limit_exceeded", id="long text"),
        pytest.param(["x" * 40_000, "\0" * 40_000], "limit_exceeded", id="long list"),
    ],
)
def test_an_event_that_no_line_can_hold_is_recorded_as_lost(run: Run, value: object, code: str) -> None:
    writer = run.writer()
    writer.append([run.statement(1), run.node(1, failures=value), run.statement(2)])
    events = assert_is_a_chain(lines_of(run.path), run.bundle_id, "default")
    assert [event["type"] for event in events[1:]] == ["statement", "recorder.degraded", "statement"]
    assert {name: events[2][name] for name in ("code", "count", "part")} == {
        "code": code,
        "count": 1,
        "part": "node.finished",
    }
    assert writer.counts["nodes"] == 0


def test_a_line_may_have_65536_bytes_with_its_line_feed(run: Run) -> None:
    writer = run.writer()
    writer.append([run.statement(1, query_id="")])
    room = 65_536 - len(lines_of(run.path)[1]) - 1
    writer.append([run.statement(1, query_id="x" * room), run.statement(1, query_id="x" * (room + 1))])
    assert [json.loads(line)["type"] for line in lines_of(run.path)[2:]] == ["statement", "recorder.degraded"]
    assert len(lines_of(run.path)[2]) == 65_535


def test_a_first_event_that_no_line_can_hold_is_refused(run: Run) -> None:
    writer = JournalWriter.create(run.path, bundle_id=run.bundle_id, tenant="default", signer=None)
    with pytest.raises(FormatError, match=r"run\.started") as caught:
        writer.append([run.started(argv=["x" * 70_000])])
    assert caught.value.code == "limit_exceeded"
    assert run.path.read_bytes() == b""
    writer.append([run.started()])
    assert writer.count == 1


def test_a_journal_begins_with_run_started(run: Run) -> None:
    writer = JournalWriter.create(run.path, bundle_id=run.bundle_id, tenant="default", signer=None)
    with pytest.raises(ValueError, match=r"begins with run\.started"):
        writer.append([run.statement()])
    with pytest.raises(ValueError, match=r"without run\.started"):
        writer.close("completed", run.start_us)


def test_a_closed_journal_takes_nothing_more(run: Run) -> None:
    writer = run.writer()
    writer.close("completed", run.start_us)
    before = run.path.read_bytes()
    with pytest.raises(ValueError, match="is closed"):
        writer.append([run.statement()])
    with pytest.raises(ValueError, match="is closed"):
        writer.close("completed", run.start_us)
    assert run.path.read_bytes() == before


def test_threads_append_to_one_chain(run: Run) -> None:
    writer = run.writer()

    def record(thread: int) -> None:
        for number in range(50):
            writer.append([run.statement(number, unique_id=f"model.shop.t_{thread}"), run.node(number)])

    threads = [threading.Thread(target=record, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    closed = writer.close("completed", run.start_us)
    lines = lines_of(run.path)
    events = assert_is_a_chain(lines, run.bundle_id, "default")
    assert len(events) == closed.count == 602
    assert closed.root == merkle_root([leaf_hash(line) for line in lines]).hex()
    assert all(after["type"] == "node.finished" for before, after in zip(events[1:-1:2], events[2:-1:2], strict=True))


def test_a_new_journal_never_takes_the_place_of_another(run: Run) -> None:
    run.writer()
    with pytest.raises(UnavailableError) as caught:
        run.writer()
    assert caught.value.code == "evidence_unavailable"


def test_a_bundle_id_is_a_uuid7(run: Run) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        JournalWriter.create(run.path, bundle_id="x", tenant="default", signer=None)


def test_a_full_disk_leaves_the_journal_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = run.writer()
    before = run.path.read_bytes()
    write = os.write

    def write_half_then_fail(fd: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: len(data) - 100])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_half_then_fail)
        with pytest.raises(UnavailableError, match="No space left on device") as caught:
            writer.append([run.statement(1), run.statement(2)])
    assert caught.value.code == "evidence_unavailable"
    assert run.path.read_bytes() == before
    assert writer.counts["statements"] == 0
    writer.append([run.statement(3)])
    assert_is_a_chain(lines_of(run.path), run.bundle_id, "default")


@pytest.mark.parametrize("is_first", [True, False])
def test_an_interrupt_right_after_a_write_breaks_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    if is_first:
        writer = JournalWriter.create(run.path, bundle_id=run.bundle_id, tenant="default", signer=run.signer)
    else:
        writer = run.writer()
    write = os.write

    def interrupted_write(fd: int, data: bytes) -> int:
        write(fd, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted_write)
        with pytest.raises(KeyboardInterrupt):
            writer.append([run.started() if is_first else run.statement(1)])
    writer.append([run.statement(2)])
    closed = writer.close("interrupted", run.start_us)
    events = assert_is_a_chain(lines_of(run.path), run.bundle_id, "default")
    assert len(events) == closed.count == (3 if is_first else 4)
    assert closed.counts["statements"] == len(events) - 2
    assert closed.sha256 == sha256(run.path.read_bytes()).hexdigest()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers are POSIX")
def test_interrupts_at_any_moment_break_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    writer = run.writer()
    acknowledged = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00005 + number % 30 * 0.00001)
                for _ in range(20):
                    writer.append([run.statement(number), run.node(number)])
                    acknowledged += 2
            except KeyboardInterrupt:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    closed = writer.close("completed", run.start_us)
    lines = lines_of(run.path)
    assert_is_a_chain(lines, run.bundle_id, "default")
    assert closed.count == len(lines) >= acknowledged + 2
    assert closed.root == merkle_root([leaf_hash(line) for line in lines]).hex()
    assert closed.sha256 == sha256(run.path.read_bytes()).hexdigest()


def test_closing_again_after_a_disk_that_failed_gives_one_last_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    writer = run.writer()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail, raising=False)
        patch.setattr(os, "fsync", fail)
        with pytest.raises(UnavailableError, match="Input/output error"):
            writer.close("completed", run.start_us)
    with pytest.raises(ValueError, match="is closed"):
        writer.append([run.statement(1)])
    assert writer.close("completed", run.start_us).count == 2
    assert len(lines_of(run.path)) == 2


@pytest.mark.skipif(os.name != "posix", reason="resource limits are POSIX")
def test_a_real_limit_on_the_file_size_leaves_whole_lines(run: Run) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from clyra.evidence import JournalWriter\n"
        "from clyra.spec import UnavailableError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))\n"
        f"writer = JournalWriter.create(Path(sys.argv[1]), bundle_id={run.bundle_id!r}, tenant='t', signer=None)\n"
        "try:\n"
        "    writer.append([('run.started', 1, {'a': 1})])\n"
        "    while True:\n"
        "        writer.append([('statement', 1, {'verb': 'select'})] * 3)\n"
        "except UnavailableError as exc:\n"
        "    print(exc.code, writer.count)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(run.path)], capture_output=True, text=True, check=True)
    code, count = done.stdout.split()
    assert code == "evidence_unavailable"
    assert len(assert_is_a_chain(lines_of(run.path), run.bundle_id, "t")) == int(count) > 1


def read_note(path: Path) -> tuple[str, int, bytes]:
    name, size, root = note_path(path).read_text().split("\n\n")[0].split("\n")
    return name, int(size), b64decode(root, validate=True)


def test_a_note_proves_the_prefix_from_the_first_line_on(run: Run) -> None:
    writer = run.writer(note_every_events=10, note_every_s=1e9)
    assert read_note(run.path)[:2] == (f"clyra-journal/{run.bundle_id}", 1)
    writer.append([run.statement(n) for n in range(9)])
    assert read_note(run.path)[1] == 1
    writer.append([run.statement(n) for n in range(3)])
    _, size, root = read_note(run.path)
    assert size == 13
    assert root == merkle_root([leaf_hash(line) for line in lines_of(run.path)])


def test_a_note_is_due_after_some_seconds_too(run: Run) -> None:
    now_s = [100.0]
    writer = run.writer(note_every_events=10**9, note_every_s=30.0, monotonic=lambda: now_s[0])
    now_s[0] = 129.0
    writer.append([run.statement(1)])
    assert read_note(run.path)[1] == 1
    now_s[0] = 130.0
    writer.append([run.statement(2)])
    assert read_note(run.path)[1] == 3


def test_closing_writes_no_note(run: Run) -> None:
    writer = run.writer(note_every_events=1, note_every_s=0.0)
    writer.close("completed", run.start_us)
    assert read_note(run.path)[1] == 1


def test_without_an_ed25519_key_there_are_no_notes(run: Run) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    run.writer(signer=load_signer("bundle", {"CLYRA_SIGNING_KEY": pem}))
    assert not note_path(run.path).exists()


class Unreachable:
    """A key in a service that does not answer."""

    alg = "ed25519"
    public_key = bytes(44)
    keyid = "00" * 32
    origin = "configured"
    calls = 0

    def sign(self, message: bytes) -> bytes:
        self.calls += 1
        raise UnavailableError("the key service does not answer", code="key_unavailable")


def test_a_note_that_cannot_be_signed_is_recorded_once_and_loses_nothing(run: Run) -> None:
    signer = Unreachable()
    writer = run.writer(signer=signer, note_every_events=2, note_every_s=1e9)
    for number in range(4):
        writer.append([run.statement(number), run.node(number)])
    events = assert_is_a_chain(lines_of(run.path), run.bundle_id, "default")
    degraded = [event for event in events if event["type"] == "recorder.degraded"]
    assert [(event["code"], event["part"]) for event in degraded] == [("key_unavailable", "journal_note")]
    assert len(events) == 10
    assert signer.calls == 5


def test_the_record_beside_a_journal_is_replaced_whole(run: Run) -> None:
    writer = run.writer()
    assert RunRecord.from_json(record_path(run.path).read_bytes()) == run.record
    later = RunRecord("default", "clyra-dbt", "0.2.0", {"adapter": "a\ud800"}, labels={"team": "x"})
    writer.write_record(later)
    kept = RunRecord.from_json(record_path(run.path).read_bytes())
    assert (kept.producer_version, kept.run, kept.labels) == ("0.2.0", {"adapter": "a\ufffd"}, {"team": "x"})


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b"nonsense"])
def test_another_document_is_no_record(document: bytes) -> None:
    with pytest.raises(FormatError):
        RunRecord.from_json(document)


def test_a_discarded_journal_leaves_nothing(run: Run) -> None:
    run.writer().discard()
    assert list(run.folder.journal_dir.iterdir()) == []


def test_the_lock_lasts_until_the_journal_is_sealed_or_released(run: Run) -> None:
    writer = run.writer()
    assert find_open_journals(run.folder) == []
    closed = writer.close("completed", run.start_us)
    assert find_open_journals(run.folder) == []
    closed.release()
    closed.release()
    assert [journal.bundle_id for journal in find_open_journals(run.folder)] == [run.bundle_id]


@settings(deadline=None, database=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.tuples(st.integers(0, 50), st.text(max_size=20), st.sampled_from("sn")), max_size=4)))
def test_any_batches_give_one_chain(tmp_path_factory: pytest.TempPathFactory, run: Run, batches: Any) -> None:
    path = tmp_path_factory.mktemp("journal") / f"{run.bundle_id}.ndjson"
    writer = JournalWriter.create(path, bundle_id=run.bundle_id, tenant="default", signer=None)
    writer.append([run.started()])
    for batch in batches:
        writer.append(
            [run.statement(at, query_id=text) if kind == "s" else run.node(at, status=text) for at, text, kind in batch]
        )
    closed = writer.close("completed", run.start_us)
    lines = lines_of(path)
    assert_is_a_chain(lines, run.bundle_id, "default")
    assert closed.root == merkle_root([leaf_hash(line) for line in lines]).hex()
    closed.release()
