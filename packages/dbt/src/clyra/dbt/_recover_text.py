# SPDX-License-Identifier: Apache-2.0
"""What ``clyra dbt seal --recover`` did with each journal, exactly: what is known of the run, and what is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.spec import ClyraError, UnavailableError

if TYPE_CHECKING:
    from clyra.dbt.recovery import Recovered
    from clyra.evidence.bundle import SealedBundle
    from clyra.evidence.folder import EvidenceFolder

_UNKNOWN = {
    "statements_after": "statements sent after that",
    "node_outcomes": "how the nodes ended that had begun",
    "test_results": "results of tests that had not finished",
    "anchors": "where the warehouse's own history stood at the end",
    "artifacts": "dbt's artifacts",
    "end_time": "when it ended",
}


@dataclass(frozen=True, slots=True)
class RecoveredRun:
    """A run that died, as its bundle tells it.

    Attributes:
        path: The bundle.
        last_line: Number of the last line that was whole, from 1.
        last_at: When that was.
        torn_bytes: Bytes of a torn line that were cut off.
        note_size: Lines that the last signed note proves; None without a note.
        open_nodes: Nodes that had begun and have no outcome.
        unknown: What is not known, words of the event ``run.recovered``.
        log_error: Why the bundle is not in the log yet.
    """

    path: str
    bundle_id: str
    run_id: str
    invocation_id: str | None
    last_line: int
    last_at: str
    torn_bytes: int
    note_size: int | None
    open_nodes: tuple[str, ...]
    unknown: tuple[str, ...]
    log_error: str | None

    def lines(self) -> list[str]:
        """The run in words, for people."""
        torn = f", {self.torn_bytes} bytes of a torn line were cut off" if self.torn_bytes else ""
        note = "no signed note proves any of it"
        if self.note_size is not None:
            note = f"the last signed note proves the first {self.note_size}"
        text = [
            f"run {self.run_id} died; invocation {self.invocation_id or 'unknown'}",
            f"  known:   {self.last_line} whole lines, the last of {self.last_at}{torn}; {note}",
            f"  unknown: {'; '.join(_UNKNOWN.get(word, word) for word in self.unknown)}",
        ]
        if self.open_nodes:
            text.append(f"  begun without outcome: {', '.join(self.open_nodes)}")
        if self.log_error is not None:
            text.append(f"  not in the log yet: {self.log_error}")
        return text


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """Every journal that was there.

    Attributes:
        recovered: Runs that were sealed.
        refused: Journals that are damaged and were kept: path, code and message.
        discarded: Ids of journals without one whole line.
        live: Journals that a running process holds.
    """

    recovered: tuple[RecoveredRun, ...]
    refused: tuple[Mapping[str, str], ...]
    discarded: tuple[str, ...]
    live: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON members."""
        return asdict(self)


def report(folder: EvidenceFolder, results: list[Recovered]) -> RecoveryReport:
    """What became of the journals of ``folder``.

    Args:
        folder: The evidence folder.
        results: From ``recover``, just now.
    """
    refused = [
        {"path": str(folder.journal_path(result.bundle_id)), "code": result.error.code, "message": result.error.message}
        for result in results
        if result.error is not None
    ]
    discarded = [result.bundle_id for result in results if result.sealed is None and result.error is None]
    live = []
    damaged = {entry["path"] for entry in refused}
    for path in sorted(folder.journal_dir.glob("*.ndjson")):
        if str(path) in damaged:
            continue
        if _is_left_over(path):
            discarded.append(path.stem)
        else:
            live.append(str(path))
    return RecoveryReport(
        recovered=tuple(_run(each.sealed, each.log_error) for each in results if each.sealed is not None),
        refused=tuple(refused),
        discarded=tuple(discarded),
        live=tuple(live),
    )


def _is_left_over(path: Path) -> bool:
    """Remove a journal that was made and never written to; False where a process still holds it."""
    from clyra.evidence.recovery import recover_journal

    try:
        if path.stat().st_size:
            return False
        return recover_journal(path) is None
    except (OSError, UnavailableError):
        return False


def _run(sealed: SealedBundle, log_error: ClyraError | None) -> RecoveredRun:
    from clyra.evidence.reader import open_bundle

    # Recovery closes a journal with three events: an error, what is not known, the end.
    last, _, recovered, _ = deque(open_bundle(sealed.path).events(), maxlen=4)
    run = sealed.manifest["run"]
    return RecoveredRun(
        path=str(sealed.path),
        bundle_id=sealed.bundle_id,
        run_id=run["run_id"],
        invocation_id=run["invocation_id"],
        last_line=recovered["last_seq"] + 1,
        last_at=last["occurred_at"],
        torn_bytes=recovered["torn_bytes"],
        note_size=recovered["note_size"],
        open_nodes=tuple(recovered["open_nodes"]),
        unknown=tuple(recovered["unknown"]),
        log_error=None if log_error is None else f"{log_error.message} [{log_error.code}]",
    )
