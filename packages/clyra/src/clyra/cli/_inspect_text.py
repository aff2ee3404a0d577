# SPDX-License-Identifier: Apache-2.0
"""A bundle as text for a terminal: what ran, what it changed, its lineage as a tree, and how to verify it.

Texts of a bundle are never shown raw: a terminal obeys control characters, and marks of direction reorder a line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clyra.cli._inspect_governance import approvals, decisions, risk
from clyra.cli.output import bad, doubtful, faint, good
from clyra.evidence.page.graph import GraphNode, graph_of
from clyra.evidence.page.wording import counted, duration, moment, sentence, shortened, visible
from clyra.evidence.reader import Lineage
from clyra.evidence.summary import GOOD, Change, Summary

_MOST_ROWS = 40
_LEAST_WIDTH = 56
_LABEL = 12
_VERDICTS = {"valid": good("VALID"), "warning": doubtful("VALID WITH WARNINGS"), "invalid": bad("INVALID")}
_MARKS = {"bad": bad, "doubtful": doubtful, "skipped": doubtful, "good": good, "read": faint}


def bundle_text(
    summary: Summary, lineage: Lineage | None, verification: Mapping[str, Any], *, file_name: str, width: int
) -> str:
    """Everything that ``clyra inspect`` prints, without colour where the stream has none.

    Args:
        summary: Of the bundle.
        lineage: Of the bundle, if it has one.
        verification: In the form of ``verification.schema.json``.
        file_name: How the user named the bundle.
        width: Columns that a line may have.
    """
    width = max(width, _LEAST_WIDTH)
    blocks = [
        list(_head(summary, verification)),
        _titled("run", _facts(_run_facts(summary), width)),
        _titled("went wrong", _wrong(summary, width)),
        _titled("decided", decisions(summary, width)),
        _titled("approved", approvals(summary, verification, width)),
        _titled("risk", risk(summary)),
        _titled("changed", _changes(summary, width)),
        _titled("lineage", _tree(lineage, summary, width) if lineage else []),
        _titled("anchors", _anchors(summary, width)),
        _titled("verify", [f"  clyra verify {visible(file_name)} --trust clyra.trust.json"]),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _head(summary: Summary, verification: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_VERDICTS[verification['verdict']]}  {visible(summary.call)} of {visible(summary.project)}"
    if verification["code"] is not None:
        yield f"  {bad(verification['code'])}: {visible(verification['message'] or '')}"
        yield f"  {bad('what follows is only what the file claims')}"
    for warning in verification["warnings"]:
        yield f"  {doubtful(warning['code'])}: {visible(warning['message'])}"


def _run_facts(summary: Summary) -> Iterator[tuple[str, str]]:
    tests = summary.tests
    yield "run", summary.run_id + (f", part {summary.part}" if summary.part > 1 else "")
    yield "by", f"{summary.actor} (claimed)"
    yield "when", f"{moment(summary.created_at)}, {duration(summary.duration_us)}, {sentence(summary.status)}"
    yield "command", " ".join(summary.argv)
    yield "where", ", target ".join(filter(None, (summary.adapter, summary.target))) or "no warehouse"
    nodes = [node for node in summary.nodes if node.batch_id is None and not node.is_test]
    failed = sum(node.has_failed for node in nodes)
    yield "nodes", f"{len(nodes):,}" + (f", {failed:,} failed" if failed else "")
    if tests.total:
        yield (
            "tests",
            f"{tests.passed:,} passed, {tests.failed:,} failed, {tests.warned:,} warned, {tests.not_run:,} not run",
        )
    verbs = ", ".join(f"{each.verb} {each.count:,}" for each in summary.statements)
    yield (
        "statements",
        f"{summary.statement_count:,}, {summary.write_count:,} of them write" + (f": {verbs}" if verbs else ""),
    )
    build = summary.build
    dirty = " with modified files" if build.dirty else ""
    yield "build", f"{build.commit or 'no commit known'}{dirty}" + (f" on {build.branch}" if build.branch else "")
    yield (
        "slowest",
        ", ".join(f"{node.name} {duration(node.execution_us)}" for node in summary.slowest(3)) or "nothing ran",
    )
    yield "recorded", f"{sentence(summary.capture)} by {summary.producer}, key {', '.join(summary.keyids) or 'unknown'}"


def _wrong(summary: Summary, width: int) -> list[str]:
    told = [(sentence(node.status), node.name) for node in summary.nodes if node.has_failed]
    told += [(incident.kind, incident.what) for incident in summary.incidents]
    if summary.recovery:
        told.append(("recovered", f"not known: {', '.join(map(sentence, summary.recovery.unknown))}"))
        told += [("had begun", name) for name in summary.recovery.open_nodes]
    lines = [f"  {bad(f'{kind:<{_LABEL}}')}{_fit(what, width - _LABEL - 2)}" for kind, what in told[:_MOST_ROWS]]
    return lines + _more(len(told))


def _changes(summary: Summary, width: int) -> list[str]:
    nodes = {node.unique_id: node for node in summary.nodes if node.batch_id is None}

    def row(change: Change) -> tuple[str, str, str]:
        node = nodes.get(change.unique_id or "")
        name = (node.relation or node.name) if node else change.unique_id or "outside of nodes"
        rows = node.rows_affected if node and node.rows_affected is not None else change.rows
        verbs = ", ".join(f"{verb} {number}" if number > 1 else verb for verb, number in change.verbs.items())
        return name, verbs, "" if rows is None else counted(rows, "row")

    ordered = sorted(summary.changes, key=lambda change: (not change.failed, change.unique_id or ""))
    rows = [row(change) for change in ordered[:_MOST_ROWS]]
    lines = [f"  {line}" for line in _columns(rows, width - 2)]
    return lines + _more(len(ordered)) or ["  nothing: no statement that writes was sent"]


def _tree(lineage: Lineage, summary: Summary, width: int) -> list[str]:
    """What reads what, from sources downward; a node that was shown before is not unfolded again."""
    graph, edges = graph_of(lineage, summary.nodes)
    children: dict[str, list[str]] = {}
    for parent, child in sorted(set(edges)):
        children.setdefault(parent, []).append(child)
    roots = sorted(graph.keys() - {child for _, child in edges})
    rows: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    stack = [(root, 0) for root in reversed(roots)]
    while stack and len(rows) < _MOST_ROWS:
        unique_id, depth = stack.pop()
        lead = "   " * (depth - 1) + "+- " if depth else ""
        is_repeated = unique_id in seen and bool(children.get(unique_id))
        rows.append((lead + graph[unique_id].name, *_described(graph[unique_id], is_repeated=is_repeated)))
        if unique_id not in seen:
            seen.add(unique_id)
            stack += [(child, depth + 1) for child in reversed(children.get(unique_id, ()))]
    lines = [f"  {line}" for line in _columns(rows, width - 2, styles=_MARKS)]
    left = len(graph) - len(seen)
    return lines + ([faint(f"  … {counted(left, 'more node')}: clyra inspect --html FILE draws all")] if left else [])


def _described(node: GraphNode, *, is_repeated: bool) -> tuple[str, str]:
    if is_repeated:
        return "", "see above"
    passed = sum(test.status in GOOD for test in node.tests)
    tests = f"{passed} of {len(node.tests)} tests passed" if node.tests else ""
    if node.tests and passed == len(node.tests):
        tests = counted(passed, "test")
    tests = ", ".join(filter(None, (tests, "" if node.trust is None else f"trust {node.trust}")))
    if node.run is None:
        return f"read:{node.resource_type}", tests
    took = duration(node.run.execution_us) if node.run.status in GOOD else ""
    return f"{node.kind}:{sentence(node.run.status)} {took}".rstrip(), tests


def _anchors(summary: Summary, width: int) -> list[str]:
    lines = []
    for anchor in summary.anchors:
        values = ", ".join(f"{name} {value}" for name, value in anchor.value.items())
        reason = f"none, {sentence(anchor.reason)}" if anchor.reason else ""
        lines.append(
            f"  {_fit(f'{anchor.system}: {reason or anchor.kind} {anchor.object} {values}'.strip(), width - 2)}"
        )
    return lines


def _facts(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    lines = []
    for name, value in rows:
        # Wrapped, not cut: digests are there to be compared.
        first, *more = textwrap.wrap(visible(value), width - _LABEL - 2) or [""]
        lines.append(f"  {faint(f'{name:<{_LABEL}}')}{first}")
        lines += [" " * (_LABEL + 2) + line for line in more]
    return lines


def _columns(
    rows: Sequence[tuple[str, str, str]], width: int, *, styles: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Rows of three columns, the first cut where a row would be wider than ``width``.

    With ``styles``, what stands before a colon in the second column names its style.
    """
    second = max((len(row[1].partition(":")[2] if styles else row[1]) for row in rows), default=0)
    third = max((len(row[2]) for row in rows), default=0)
    first = max(12, min(width - second - third - 4, max((len(visible(row[0])) for row in rows), default=0)))
    for name, middle, last in rows:
        style, _, words = middle.partition(":") if styles and ":" in middle else ("", "", middle)
        padded = f"{visible(words):<{second}}" if last else visible(words)
        shown = styles[style](padded) if styles and style else padded
        yield f"{_fit(name, first):<{first}}  {shown}  {visible(last)}".rstrip()


def _fit(value: str, width: int) -> str:
    return shortened(visible(value), max(width, 12))


def _more(total: int) -> list[str]:
    return [faint(f"  … {total - _MOST_ROWS:,} more: clyra inspect --json")] if total > _MOST_ROWS else []


def _titled(title: str, lines: Sequence[str]) -> list[str]:
    return [faint(title.upper()), *lines] if lines else []
