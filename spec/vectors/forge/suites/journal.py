# SPDX-License-Identifier: Apache-2.0
"""C: the journal. Level file: the manifest's ``journal`` stays unless a case says that it is made anew."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from forge.bundle import Artifact, Lines, bundle, lineage_and_nodes
from forge.canonical import digest
from forge.case import Case, bundle_case
from forge.edits import Json, both, put, swap
from forge.journal import (
    BUNDLE_ID,
    CLOSED_AT,
    OTHER_BUNDLE_ID,
    at,
    chain,
    closed,
    genesis,
    node,
    run_events,
    started,
    statement,
    with_count,
)
from forge.keys import TestKey, b64
from forge.merkle import merkle_root
from forge.note import signed_note
from forge.trust import BUNDLE, SECOND, STRANGER, entry, trust_file

NOTE_PATH = "artifacts/journal.note"


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _sequence()
    yield from _ends()
    yield from _links()
    yield from _forms()
    yield from _times()
    yield from _totals()
    yield from _recovered()


def _case(id: str, description: str, code: str, **layers: Any) -> Case:
    return bundle_case(id, description, bundle(**layers), code, "journal")


def _stale(id: str, description: str, code: str, change: Callable[[Lines], Lines]) -> Case:
    """Return a case at level file."""
    return _case(id, description, code, lines=change, journal_stays=True)


def _sequence() -> Iterator[Case]:
    code = "journal_seq"
    yield _stale("C01", "line removed in the middle", code, lambda lines: [*lines[:2], *lines[3:]])
    yield _stale("C03", "two lines swapped", code, lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]])
    gap = [{**event, "seq": n + (n > 2)} for n, event in enumerate(run_events())]
    yield _case("C06", "gap in seq, links valid", code, events=gap)
    again = [{**event, "seq": n % 4, "event_id": f"e{n}"} for n, event in enumerate(run_events())]
    yield _case("C07", "seq starts again, links valid", code, events=again)
    from_one = [{**event, "seq": n + 1} for n, event in enumerate(run_events())]
    yield _case("C07b", "seq starts at 1", code, events=from_one)


def _ends() -> Iterator[Case]:
    code = "journal_close"
    yield _stale("C02", "last line removed", code, lambda lines: lines[:-1])
    yield _case("C14", "no run.closed, everything made anew", code, events=run_events()[:-1])
    behind = [*run_events(), {**statement(0, "select"), "occurred_at": CLOSED_AT}]
    yield _case("C15", "event behind run.closed", code, events=with_count(behind))
    twice = [*run_events(), closed(8)]
    yield _case("C15b", "run.closed twice", code, events=with_count(twice))


def _links() -> Iterator[Case]:
    prev, head = "journal_prev", "journal_head"
    edit = swap(b'"rows":99', b'"rows":98')
    yield _stale("C04", "line changed", prev, lambda lines: [lines[0], edit(lines[1]), *lines[2:]])
    yield _case("C09", "first line follows another bundle's id", prev, first_prev=genesis(OTHER_BUNDLE_ID))
    yield _case("C09b", "first line follows another tenant", prev, first_prev=genesis(tenant="other"))
    yield _case("C09c", "first line follows nothing", prev, first_prev="0" * 64)
    fewer = [{**event, "rows": 98} if event.get("rows") == 99 else event for event in run_events()]
    yield _stale("C05", "line changed, chain made anew", head, lambda lines: chain(fewer))
    tail = [*run_events()[:3], *[{**event, "event_id": f"other-{n}"} for n, event in enumerate(run_events()[3:])]]
    yield _stale("C08", "tail of another run, links valid", head, lambda lines: chain(tail))


def _forms() -> Iterator[Case]:
    canonical = "json_not_canonical"
    yield _stale("C11", "empty line", canonical, lambda lines: [*lines[:3], b"", *lines[3:]])
    yield _case("C11b", "empty line at the end", canonical, journal=lambda data: data + b"\n")
    yield _case("C12", "CRLF", canonical, journal=lambda data: data.replace(b"\n", b"\r\n"))
    spaced = {0: lambda line: line.replace(b":", b": ", 1)}
    yield _case("C13", "line with a space, chain made anew", canonical, edit_line=spaced)
    yield _case("C10", "no LF at the end", "journal_framing", journal=lambda data: data[:-1])
    yield _case("C24", "empty journal", "journal_framing", journal=lambda data: b"")
    again = [{**event, "event_id": "same"} if n in (2, 4) else event for n, event in enumerate(run_events())]
    yield _case("C16", "event_id twice", "journal_event_id", events=again)
    yield _case("C26", "first line is not run.started", "schema_invalid", events=with_count(run_events()[1:]))
    restarted = [*run_events()[:1], started(actor_id="somebody-else"), *run_events()[1:]]
    yield _case("C27", "run.started twice", "schema_invalid", events=with_count(restarted))
    limit = 65_536
    yield _case("C20", "line of 65537 bytes", "limit_exceeded", events=_filled(limit + 1))
    yield bundle_case("C20b", "line of 65536 bytes", bundle(events=_filled(limit)))


def _filled(size: int) -> list[Json]:
    """Return the good events with a first line of ``size`` bytes, its LF included."""
    spare = size - 1 - len(chain([started(argv=["build", ""])])[0])
    return [started(argv=["build", "a" * spare]), *run_events()[1:]]


def _times() -> Iterator[Case]:
    def moved(position: int, instant: str) -> list[Json]:
        return [{**event, "occurred_at": instant} if n == position else event for n, event in enumerate(run_events())]

    code = "journal_time"
    yield _case("C17", "clock goes back", code, events=moved(3, at(1_999_999)))
    yield _case("C22a", "first event before created_at", code, events=moved(0, "2026-01-31T08:14:59.999999Z"))
    yield _case("C22b", "last event after closed_at", code, events=moved(6, at(4_200_001)))
    yield bundle_case("C17b", "two events at one time", bundle(events=moved(3, at(2_000_000))))


def _totals() -> Iterator[Case]:
    count, root = "journal_count", "journal_root"
    wrong = [*run_events()[:-1], closed(8)]
    yield _case("C18a", "run.closed counts another number", count, events=wrong)
    yield _case("C18b", "manifest counts another number", count, manifest=put("journal/count", 8))
    lines = chain(run_events())
    yield _case("C19a", "another root, same head", root, manifest=put("journal/root", "0" * 64))
    with_lf = merkle_root([line + b"\n" for line in lines]).hex()
    yield _case("C19b", "root over lines with their LF", root, manifest=put("journal/root", with_lf))
    yield _case(
        "C25", "head over the line with its LF", "journal_head", manifest=put("journal/head", digest(lines[-1] + b"\n"))
    )


def _recovered_events(note_size: int | None) -> list[Json]:
    us = 2_500_000
    error: Json = {"type": "run.error", "occurred_at": at(us), "code": "run_interrupted", "message_sha256": None}
    unknown = ["statements_after", "node_outcomes", "test_results", "end_time"]
    recovered: Json = {"type": "run.recovered", "occurred_at": at(us), "last_seq": 2, "torn_bytes": 17}
    recovered |= {"note_size": note_size, "open_nodes": [], "unknown": unknown}
    events = [started(), statement(1_000_000), node(2_000_000), error, recovered]
    return [*events, closed(6, reason="recovered", occurred_at=at(us))]


def _note(
    size: int, *, name: str = f"clyra-journal/{BUNDLE_ID}", key: TestKey = BUNDLE, said: int | None = None
) -> bytes:
    lines = chain(_recovered_events(size))
    return signed_note([name, str(size), merkle_root(lines[:size])], name, key)


def _recovery(
    note: bytes | Sequence[bytes] | None, *, note_size: int | None = 3, events: list[Json] | None = None, **layers: Any
) -> bytes:
    notes = [note] if isinstance(note, bytes) else list(note or [])
    artifacts = dict(lineage_and_nodes())
    for number, data in enumerate(notes):
        path = NOTE_PATH + (f".{number}" if number else "")
        artifacts[path] = Artifact(data, "journal_note", "text/plain")
    by = layers.pop("recovered_by", BUNDLE.keyid)
    run = both(put("run/capture", "recovered"), put("run/recovered_by", by), put("run/status", "interrupted"))
    chosen = events if events is not None else _recovered_events(note_size)
    return bundle(events=chosen, artifacts=artifacts, manifest=run, **layers)


def _recovered() -> Iterator[Case]:
    code = "recovery_unproven"
    good = _note(3)
    name = f"clyra-journal/{BUNDLE_ID}"
    other_name = f"clyra-journal/{OTHER_BUNDLE_ID}"
    root_line = merkle_root(chain(_recovered_events(3))[:2])
    unrecovered = [event for event in _recovered_events(3) if event["type"] != "run.recovered"]
    flipped = good.replace(b"\n\xe2\x80\x94", b"\n\xe2\x80\x93")
    exchanged = good[: good.index(b"\n\n")] + _note(2)[_note(2).index(b"\n\n") :]
    for id, description, data in (
        ("C23a", "note absent", _recovery(None)),
        ("C23b", "note signed by a key that is not trusted", _recovery(_note(3, key=STRANGER))),
        ("C23c", "note with another root", _recovery(signed_note([name, "3", root_line], name, BUNDLE))),
        ("C23d", "recovered_by signed nothing", _recovery(good, recovered_by=SECOND.keyid)),
        ("C23e", "note of another size than said", _recovery(_note(2))),
        ("C23f", "note over run.recovered", _recovery(_note(5), note_size=5)),
        ("C23g", "note of another bundle", _recovery(_note(3, name=other_name))),
        ("C23h", "two notes", _recovery([good, _note(2)])),
        ("C23i", "note of which no signature is left", _recovery(good[: good.index(b"\n\n") + 2])),
        ("C23j", "note that is no signed note", _recovery(flipped)),
        ("C23k", "no event run.recovered", _recovery(good, events=with_count(unrecovered))),
        ("C23l", "note with the signature of another", _recovery(exchanged)),
    ):
        yield bundle_case(id, f"recovered: {description}", data, code, "journal")
    yield bundle_case("C23p", "recovered: sound", _recovery(good))
    yield bundle_case("C23q", "recovered: sound, without a note", _recovery(None, note_size=None))
    yield bundle_case("C23r", "recovered: sound, an early note", _recovery(_note(1), note_size=1))
    both_keys = {"trust.json": trust_file(entry(BUNDLE), entry(SECOND))}
    by_second = _recovery(good, recovered_by=SECOND.keyid, signers=(SECOND,))
    hinted = put("signatures/1/sig", b64(bytes(64)))
    claimed = _recovery(good, recovered_by=SECOND.keyid, signers=(BUNDLE, SECOND), envelope=hinted)
    text = "recovered: recovered_by is only the hint of a signature that does not verify"
    yield bundle_case("C23t", text, claimed, code, "journal", files=both_keys)
    yield bundle_case("C23s", "recovered: sealed by another trusted key", by_second, files=both_keys)
