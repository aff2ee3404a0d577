# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from clyra.evidence import RecoveredJournal, SealedBundle, find_open_journals, recover_journal, seal_bundle
from clyra.evidence.journal import note_path, record_path
from clyra.evidence.merkle import leaf_hash, merkle_root
from clyra.spec import ChainBreakError, ClyraError, FormatError, UnavailableError, VerificationError, schema

Run = Any  # the class in conftest.py, which tests cannot import

QUIET = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def left_behind(run: Run, events: list[Any] | None = None, **options: Any) -> bytes:
    """The journal of a run that died: what is on the disk when its writer is gone."""
    writer = run.writer(**options)
    writer.append([run.statement(n) for n in range(1, 5)] + [run.node(1)] if events is None else events)
    data: bytes = run.path.read_bytes()
    files = {path: path.read_bytes() for path in run.folder.journal_dir.iterdir()}
    writer.discard()
    for path, content in files.items():
        path.write_bytes(content)
    return data


def recover(run: Run) -> RecoveredJournal:
    recovered = recover_journal(run.path, now_us=lambda: run.start_us + 10**9)
    assert recovered is not None
    return recovered


def seal(run: Run, recovered: RecoveredJournal) -> SealedBundle:
    return seal_bundle(
        run.folder,
        recovered.journal,
        recovered.record,
        files=recovered.files,
        references=[],
        signers=[run.signer],
        bundle_id=recovered.journal.bundle_id,
        created_at=recovered.journal.first_at,
        closed_at=recovered.journal.last_at,
    )


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_recovered_run_says_what_is_not_known(run: Run) -> None:
    before = left_behind(run)
    recovered = recover(run)
    *_, error, described, closed = events_of(run.path)
    assert run.path.read_bytes().startswith(before)
    assert (error["type"], error["code"]) == ("run.error", "run_interrupted")
    assert described["type"] == "run.recovered"
    assert (described["last_seq"], described["torn_bytes"], described["note_size"]) == (5, 0, 1)
    assert described["open_nodes"] == ["model.shop.m_2", "model.shop.m_3", "model.shop.m_4"]
    assert "statements_after" in described["unknown"]
    assert (closed["type"], closed["count"], closed["reason"]) == ("run.closed", 9, "recovered")
    assert recovered.record.run["status"] == "interrupted"
    recovered.journal.release()


def test_a_recovered_bundle_keeps_the_schema_and_proves_its_prefix(run: Run) -> None:
    left_behind(run, note_every_events=3, note_every_s=0.0)
    note = note_path(run.path).read_bytes()
    bundle = seal(run, recover(run))
    manifest = bundle.manifest
    types = Resource.from_contents(schema("types"))
    registry: Registry[Any] = Registry().with_resource("https://clyra.io/spec/types.schema.json", types)
    jsonschema.Draft202012Validator(schema("def_v0"), registry=registry).validate(manifest)
    assert (manifest["run"]["capture"], manifest["run"]["recovered_by"]) == ("recovered", run.signer.keyid)
    listed = [file for file in manifest["files"] if file["role"] == "journal_note"]
    assert [(file["path"], file["size"]) for file in listed] == [("artifacts/journal.note", len(note))]
    assert list(run.folder.journal_dir.iterdir()) == []
    assert find_open_journals(run.folder) == []


def test_a_run_that_writes_nothing_more_is_found_and_a_live_one_is_not(run: Run) -> None:
    left_behind(run)
    other = replace(run, bundle_id="019c1328-3fa0-7e01-8a10-ffffffffffff")
    live = other.writer()
    (found,) = find_open_journals(run.folder)
    assert (found.path, found.bundle_id, found.size_bytes) == (run.path, run.bundle_id, run.path.stat().st_size)
    with pytest.raises(UnavailableError, match="in use by another process") as caught:
        recover_journal(other.path)
    assert caught.value.code == "evidence_unavailable"
    live.append([other.statement(1)])


def test_a_torn_line_is_cut_and_its_bytes_are_counted(run: Run) -> None:
    before = left_behind(run)
    with run.path.open("ab") as file:
        file.write(b'{"body_sha256":"ab')
    recovered = recover(run)
    assert run.path.read_bytes().startswith(before)
    assert events_of(run.path)[-2]["torn_bytes"] == 18
    recovered.journal.release()


def test_a_long_torn_tail_is_cut_too(run: Run) -> None:
    before = left_behind(run)
    with run.path.open("ab") as file:
        file.write(bytes(200_000))
    recovered = recover(run)
    assert events_of(run.path)[-2]["torn_bytes"] == 200_000
    assert run.path.read_bytes().startswith(before)
    recovered.journal.release()


@pytest.fixture
def whole(run: Run) -> bytes:
    """A journal without a note, so that nothing but the chain says what its lines were."""
    return left_behind(run, signer=None)


@settings(QUIET, max_examples=60)
@given(data=st.data())
def test_a_journal_cut_at_any_byte_gives_exactly_its_whole_lines(run: Run, whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    run.path.write_bytes(whole[:cut])
    expected = whole[:cut].rpartition(b"\n")[0].split(b"\n") if b"\n" in whole[:cut] else []
    recovered = recover_journal(run.path, now_us=lambda: run.start_us)
    if not expected:
        assert recovered is None
        assert not run.path.exists()
        return
    assert recovered is not None
    lines = run.path.read_bytes().splitlines()
    assert lines[:-3] == expected
    described = json.loads(lines[-2])
    assert described["last_seq"] == len(expected) - 1
    assert described["torn_bytes"] == cut - sum(len(line) + 1 for line in expected)
    assert recovered.journal.root == merkle_root([leaf_hash(line) for line in lines]).hex()
    recovered.journal.release()


@settings(QUIET, max_examples=120)
@given(data=st.data())
def test_a_changed_byte_in_a_line_that_another_follows_is_refused(run: Run, whole: bytes, data: st.DataObject) -> None:
    last_line = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    position = data.draw(st.integers(0, last_line - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
    run.path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
    before = run.path.read_bytes()
    with pytest.raises(ClyraError) as caught:
        recover_journal(run.path)
    # A line feed in place of the last line's separator, and nothing else, makes one unreadable last line of two.
    assert caught.value.code == ("json_not_canonical" if position == last_line - 1 else "journal_prev")
    assert run.path.read_bytes() == before


def test_a_changed_last_line_that_a_note_covers_is_refused(run: Run) -> None:
    whole = left_behind(run, note_every_events=1, note_every_s=0.0)
    run.path.write_bytes(whole.replace(b'"execution_us":4000', b'"execution_us":4001'))
    with pytest.raises(VerificationError, match="its last note proves") as caught:
        recover_journal(run.path)
    assert caught.value.code == "recovery_unproven"


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        pytest.param(lambda line: line[:-1] + b" }", FormatError, "json_not_canonical", id="white space"),
        pytest.param(lambda line: b"[]", FormatError, "json_not_canonical", id="another value"),
        pytest.param(lambda line: line.replace(b'"seq":5', b'"seq":6'), ChainBreakError, "journal_seq", id="seq"),
        pytest.param(lambda line: line.replace(b'"status"', b'"statuz"'), FormatError, "schema_invalid", id="member"),
        pytest.param(lambda line: line.replace(b"T08:15", b"T25:15"), FormatError, "schema_invalid", id="time"),
        pytest.param(lambda line: line.replace(b'"prev":"', b'"prev":"0')[:-2] + b"}", ClyraError, "", id="prev"),
    ],
)
def test_a_last_line_that_is_no_event_is_refused(
    run: Run, change: Callable[[bytes], bytes], error: type[ClyraError], code: str
) -> None:
    *lines, last = left_behind(run).splitlines()
    assert change(last) != last
    run.path.write_bytes(b"\n".join([*lines, change(last)]) + b"\n")
    with pytest.raises(error) as caught:
        recover_journal(run.path)
    assert caught.value.code == code or not code


def test_a_removed_line_is_refused(run: Run) -> None:
    lines = left_behind(run).splitlines(keepends=True)
    run.path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(ChainBreakError) as caught:
        recover_journal(run.path)
    assert caught.value.code == "journal_prev"


def test_the_journal_of_another_bundle_is_refused(run: Run) -> None:
    data = left_behind(run)
    other = run.folder.journal_path("019c1328-3fa0-7e01-8a10-ffffffffffff")
    other.write_bytes(data)
    with pytest.raises(ChainBreakError):
        recover_journal(other)


def test_a_journal_shorter_than_its_note_is_refused(run: Run) -> None:
    lines = left_behind(run, note_every_events=1, note_every_s=0.0).splitlines(keepends=True)
    run.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(VerificationError, match="shorter than its last note") as caught:
        recover_journal(run.path)
    assert caught.value.code == "recovery_unproven"


@pytest.mark.parametrize(
    "note",
    [b"nonsense", b"clyra-journal/other\n1\n" + b64encode(bytes(32)) + b"\n\n-- sig\n", b"\xff\n\n", b"a\nb\nc\n\n"],
)
def test_a_note_that_is_none_is_refused(run: Run, note: bytes) -> None:
    left_behind(run)
    note_path(run.path).write_bytes(note)
    with pytest.raises(VerificationError) as caught:
        recover_journal(run.path)
    assert caught.value.code == "recovery_unproven"


@pytest.mark.parametrize("is_empty", [True, False])
def test_without_a_note_nothing_is_proved(run: Run, is_empty: bool) -> None:
    left_behind(run)
    note_path(run.path).write_bytes(b"")
    if not is_empty:
        note_path(run.path).unlink()
    recovered = recover(run)
    assert events_of(run.path)[-2]["note_size"] is None
    assert recovered.files == ()
    recovered.journal.release()


def test_a_finished_run_that_was_not_sealed_keeps_its_outcome(run: Run) -> None:
    left_behind(run, [run.statement(1), run.node(1), run.finished(success=False)])
    recovered = recover(run)
    error, described, _ = events_of(run.path)[-3:]
    assert error["code"] == "seal_failed"
    assert described["unknown"] == ["anchors", "artifacts"]
    assert recovered.record.run["status"] == "failed"
    recovered.journal.release()


def test_a_closed_journal_that_was_not_sealed_is_closed_anew(run: Run) -> None:
    writer = run.writer()
    writer.append([run.finished()])
    open_bytes = run.path.read_bytes()
    writer.close("completed", run.start_us + 1000).release()
    recovered = recover(run)
    events = events_of(run.path)
    assert run.path.read_bytes().startswith(open_bytes)
    kinds = ["run.started", "run.finished", "run.error", "run.recovered", "run.closed"]
    assert [event["type"] for event in events] == kinds
    assert recovered.record.run["status"] == "success"
    recovered.journal.release()


def test_recovery_that_died_is_done_again_with_the_same_outcome(run: Run) -> None:
    left_behind(run)
    first = recover(run)
    before = run.path.read_bytes()
    first.journal.release()
    for cut in (0, 1, 200):
        run.path.write_bytes(before[: len(before) - cut])
        again = recover(run)
        kinds = [event["type"] for event in events_of(run.path)]
        assert kinds.count("run.recovered") == kinds.count("run.closed") == 1
        assert cut or run.path.read_bytes() == before
        again.journal.release()


def test_what_is_left_of_a_sealed_journal_is_removed(run: Run) -> None:
    left_behind(run)
    copy = run.folder.root / "copy"
    shutil.copy(run.path, copy)
    seal(run, recover(run))
    shutil.copy(copy, run.path)
    assert find_open_journals(run.folder) == []
    assert not run.path.exists()


def test_a_journal_without_a_byte_is_not_found(run: Run) -> None:
    run.path.write_bytes(b"")
    assert find_open_journals(run.folder) == []
    assert recover_journal(run.path) is None


def test_without_a_record_the_first_event_speaks(run: Run) -> None:
    left_behind(run, [run.statement(1, verb="insert")])
    record_path(run.path).unlink()
    recovered = recover(run)
    assert recovered.record.tenant == "default"
    assert recovered.record.producer_version == "0.1.0"
    assert recovered.record.run["adapter"] == "postgres"
    manifest = seal(run, recovered).manifest
    assert manifest["run"]["run_id"] == run.bundle_id
    assert [(anchor["system"], anchor["kind"], anchor["reason"]) for anchor in manifest["anchors"]] == [
        ("postgres", "none", "capture_failed")
    ]


@pytest.mark.parametrize("document", [b"", b"{}", b"not json"])
def test_a_broken_record_counts_as_none(run: Run, document: bytes) -> None:
    left_behind(run)
    record_path(run.path).write_bytes(document)
    recovered = recover(run)
    assert recovered.record.run["run_id"] == run.bundle_id
    recovered.journal.release()


@pytest.mark.parametrize(("adapter", "reason"), [("duckdb", "not_supported"), ("snowflake", "capture_failed")])
def test_a_write_without_anchor_gets_one_that_says_why_there_is_none(run: Run, adapter: str, reason: str) -> None:
    record = replace(run.record, anchors=[], run={**run.record.run, "adapter": adapter})
    left_behind(run, [run.statement(1, verb="merge")], record=record)
    recovered = recover(run)
    assert [(anchor["kind"], anchor["reason"]) for anchor in recovered.record.anchors] == [("none", reason)]
    recovered.journal.release()


def test_an_anchor_that_was_captured_is_kept(run: Run) -> None:
    left_behind(run, [run.statement(1, verb="merge")])
    recovered = recover(run)
    assert recovered.record.anchors == run.record.anchors
    recovered.journal.release()


WRITER = """
import sys
from pathlib import Path
from clyra.evidence import JournalWriter, load_signer
writer = JournalWriter.create(
    Path(sys.argv[1]), bundle_id=sys.argv[2], tenant="default",
    signer=load_signer("bundle", {}), note_every_events=int(sys.argv[3]),
)
writer.append([("run.started", 1_769_847_300_000_000, {
    "tenant_id": "default", "adapter_type": "duckdb", "invocation_id": None, "command": "build", "project": "shop",
    "target_name": None, "versions": {}, "build": {"tree": None, "commit": None, "dirty": None, "source": "none"},
})])
number = 0
while True:
    writer.append([("statement", 1_769_847_300_000_000 + number + n, {
        "unique_id": None, "sent_sha256": "ab" * 32, "body_sha256": "ab" * 32, "verb": "select",
        "status": "success", "rows": number, "query_id": None, "elapsed_us": 1,
    }) for n in range(3)])
    number += 3
    sys.stdout.write(f"{writer.count} {writer.head}\\n")
    sys.stdout.flush()
"""


def kill_a_writer(run: Run, *, after_reports: int, note_every_events: int) -> tuple[int, str]:
    """Kill a real writer without warning; gives the last count and head it reported."""
    command = [sys.executable, "-c", WRITER, str(run.path), run.bundle_id, str(note_every_events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(after_reports):
            line = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        # What it managed to report between our reading and its end counts too.
        line = ([line, *process.stdout.read().splitlines(keepends=True)])[-1]
        if not line.endswith("\n"):
            line = f"{after_reports * 3 + 1} unknown"
    count, head = line.split()
    return int(count), head


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(("after_reports", "note_every_events"), [(1, 1), (7, 2), (150, 50), (801, 100)])
def test_a_killed_writer_loses_nothing_that_it_had_appended(
    run: Run, after_reports: int, note_every_events: int
) -> None:
    count, _ = kill_a_writer(run, after_reports=after_reports, note_every_events=note_every_events)
    (found,) = find_open_journals(run.folder)
    recovered = recover(run)
    described = events_of(run.path)[-2]
    assert described["last_seq"] >= count - 1
    assert described["note_size"] >= 1
    assert described["last_seq"] + 1 - described["note_size"] <= note_every_events + 3
    bundle = seal(run, recovered)
    assert bundle.bundle_id == found.bundle_id
    assert bundle.manifest["run"]["counts"]["statements"] == described["last_seq"]
    assert find_open_journals(run.folder) == []


@pytest.mark.kill100
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("after_reports", range(1, 400, 4))
def test_a_hundred_killed_writers_lose_nothing(run: Run, after_reports: int) -> None:
    test_a_killed_writer_loses_nothing_that_it_had_appended(run, after_reports, 1 + after_reports % 9)
