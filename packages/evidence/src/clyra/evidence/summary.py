# SPDX-License-Identifier: Apache-2.0
"""What a bundle says, gathered for people: plain values in the order in which somebody would ask for them.

Nothing here is verified. Times are microseconds since the epoch where a name ends in ``_us`` and says ``at``,
durations are microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clyra.evidence.governance import Approval, Decision, Pause, Risk

TESTS = frozenset(("test", "unit_test"))
FAILED = frozenset(("error", "fail", "runtime_error"))
GOOD = frozenset(("success", "pass"))
NOTHING_TO_DO = "no-op"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class NodeRun:
    """One node of dbt's, or one batch of it, as it finished.

    ``statements`` and ``writes`` count what was sent for it; ``relation`` and ``materialized`` come from the artifact
    ``nodes.json`` where the bundle has one. ``finished_at_us`` is when the recorder heard of it.
    """

    unique_id: str
    name: str
    resource_type: str
    status: str
    execution_us: int
    finished_at_us: int
    batch_id: str | None
    checksum: str | None
    rows_affected: int | None
    failures: int | None
    statements: int
    writes: int
    relation: str | None
    materialized: str | None

    @property
    def is_test(self) -> bool:
        """Whether it is a test or a unit test."""
        return self.resource_type in TESTS

    @property
    def has_failed(self) -> bool:
        """Whether its status is one of those that the format counts as failed."""
        return self.status in FAILED


@dataclass(frozen=True, slots=True)
class VerbCount:
    """The SQL statements of one verb; ``elapsed_us`` is None where the adapter gave no times."""

    verb: str
    verb_class: str
    writes: bool
    count: int
    failed: int
    elapsed_us: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one node, or what ran outside of nodes (``unique_id`` None), sent that writes: how many of which verb."""

    unique_id: str | None
    verbs: Mapping[str, int]
    rows: int | None
    failed: int


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Tests by how they ended."""

    passed: int
    failed: int
    warned: int
    not_run: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.passed + self.failed + self.warned + self.not_run


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where the warehouse itself recorded the run; ``reason`` says why there is none."""

    system: str
    kind: str
    object: str
    value: Mapping[str, str | int]
    captured_at: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Build:
    """The code that ran, as far as its machine knew."""

    source: str
    tree: str | None
    commit: str | None
    branch: str | None
    dirty: bool | None
    author_basis: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the bundle, or bytes that it only names; ``place`` is ``bundle``, ``external`` or ``reference``.

    ``name`` is the one that the file had where it came from, ``path`` the one that the manifest lists.
    """

    name: str
    path: str
    role: str
    sha256: str
    size: int
    place: str


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong outside of a node: a failed hook, an error by code, a part that was not recorded."""

    kind: str
    what: str
    occurred_at_us: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is known of a run that died, from its event ``run.recovered``."""

    torn_bytes: int
    note_size: int | None
    open_nodes: tuple[str, ...]
    unknown: tuple[str, ...]
    recovered_by: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A bundle in brief."""

    spec: str
    bundle_id: str
    manifest_sha256: str
    tenant: str
    run_id: str
    part: int
    capture: str
    status: str
    invocation_id: str | None
    command: str
    argv: tuple[str, ...]
    project: str
    adapter: str | None
    target: str | None
    actor: str
    producer: str
    signer: str
    keyids: tuple[str, ...]
    versions: Mapping[str, str]
    created_at: str
    closed_at: str
    duration_us: int
    recorder_us: int | None
    build: Build
    policy: Mapping[str, str | int] | None
    risk: Risk | None
    events: int
    statements: tuple[VerbCount, ...]
    changes: tuple[Change, ...]
    nodes: tuple[NodeRun, ...]
    nodes_by_status: Mapping[str, int]
    tests: OutcomeCounts
    decisions: tuple[Decision, ...]
    approvals: tuple[Approval, ...]
    pauses: tuple[Pause, ...]
    incidents: tuple[Incident, ...]
    anchors: tuple[Anchor, ...]
    recovery: Recovery | None
    files: tuple[Listed, ...]
    references: tuple[Listed, ...]
    labels: Mapping[str, str]

    @property
    def call(self) -> str:
        """What was called: ``dbt build``."""
        return f"dbt {self.command}" if self.producer.startswith("clyra-dbt ") else self.command

    @property
    def statement_count(self) -> int:
        """SQL statements sent."""
        return sum(each.count for each in self.statements)

    @property
    def write_count(self) -> int:
        """SQL statements sent whose verb writes."""
        return sum(each.count for each in self.statements if each.writes)

    def slowest(self, count: int = 10) -> tuple[NodeRun, ...]:
        """The nodes that took longest, longest first; batches are left to their node."""
        whole = [node for node in self.nodes if node.batch_id is None]
        return tuple(sorted(whole, key=lambda node: (-node.execution_us, node.unique_id))[:count])


def at_us(instant: str) -> int:
    """Microseconds since the epoch of an instant such as ``2026-01-31T08:15:00.000000Z``.

    Raises:
        ValueError: It is no instant with a zone.
    """
    return (datetime.fromisoformat(instant) - _EPOCH) // _MICROSECOND


def short_name(unique_id: str) -> str:
    """The part of a dbt ``unique_id`` that people call the node by: without type, project and a test's hash."""
    kind, _, rest = unique_id.partition(".")
    name = rest.partition(".")[2] or rest or unique_id
    return name.rpartition(".")[0] or name if kind == "test" else name
