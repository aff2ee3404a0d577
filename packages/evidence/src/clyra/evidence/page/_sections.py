# SPDX-License-Identifier: Apache-2.0
"""The parts of the page that say what ran, what it changed and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clyra.evidence.page._markup import Markup, element, join
from clyra.evidence.page.wording import count, counted, duration, moment, sentence, size
from clyra.evidence.summary import FAILED, GOOD, NOTHING_TO_DO, NodeRun, Summary

MOST_ROWS = 300
"""Rows of a table that are shown at most; the bundle holds all."""

BANDS = {"low": "good", "high": "doubtful", "critical": "bad"}
"""The colour of a band of risk, where it has one."""

_OPEN_ROWS = 15
_MOST_NAMED = 50
_BAR_WIDTH = 120
_ANCHORS = {
    "delta_commit": "version of the table",
    "postgres_wal": "position in the write-ahead log",
    "snowflake_query": "query in its history",
}


def section(anchor: str, heading: str, note: str | None, *content: object) -> Markup:
    """A part of the page: heading and a note at its side, content beside them."""
    aside = element("div", element("h2", heading, id=anchor), element("p", note) if note else None, class_="aside")
    return element("section", aside, element("div", *content, class_="content"), aria_labelledby=anchor)


def facts(rows: Iterable[tuple[str, object]]) -> Markup:
    """A list of names with values; a value of None leaves its row out."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in rows if value is not None),
        class_="facts",
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str, numeric: Sequence[int] = ()
) -> Markup:
    """A table; columns whose number is in ``numeric`` are set flush right."""

    def cell(tag: str, at: int, value: object, **attributes: object) -> Markup:
        return element(tag, value, class_="number" if at in numeric else None, **attributes)

    body = (element("tr", *(cell("td", at, value) for at, value in enumerate(row))) for row in rows)
    return element(
        "div",
        element(
            "table",
            element("caption", caption, class_="spoken"),
            element("thead", element("tr", *(cell("th", at, name, scope="col") for at, name in enumerate(head)))),
            element("tbody", *body),
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex=0,
    )


def long_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, total: int, caption: str, numeric: Sequence[int] = ()
) -> Markup:
    """A table whose further rows are folded away, of ``total`` rows of which ``rows`` are shown at most."""
    shown = table(head, rows[:_OPEN_ROWS], caption=caption, numeric=numeric)
    if len(rows) <= _OPEN_ROWS:
        return shown
    folded = table(head, rows[_OPEN_ROWS:], caption=f"{caption}, continued", numeric=numeric)
    return join(
        [
            shown,
            element("details", element("summary", f"and {total - _OPEN_ROWS:,} more"), folded, _rest(total, len(rows))),
        ]
    )


def code(value: str | None) -> Markup | None:
    """A digest or a name in code type."""
    return None if value is None else element("code", value)


def state(status: str) -> Markup:
    """The status of a node with a dot in its colour."""
    kind = "good" if status in GOOD else "bad" if status in FAILED else "doubtful"
    kind = "nothing" if status == NOTHING_TO_DO else kind
    return element("span", sentence(status), class_=f"state {kind}")


def numbers(summary: Summary) -> Markup:
    """The figures under the verdict."""
    whole = [node for node in summary.nodes if node.batch_id is None]
    failed = sum(node.has_failed and not node.is_test for node in whole)
    tests = summary.tests
    problems = [f"{tests.failed:,} failed" if tests.failed else "", f"{tests.warned:,} warned" if tests.warned else ""]
    problems.append(f"{tests.not_run:,} not run" if tests.not_run else "")
    told = ", ".join(filter(None, problems)) or ("all passed" if tests.total else "")
    kind = "bad" if tests.failed else "doubtful" if tests.warned or tests.not_run else None
    figures = [
        (
            "Nodes",
            sum(not node.is_test for node in whole),
            f"{failed:,} failed" if failed else "",
            "bad" if failed else None,
        ),
        ("Tests", tests.total, told, kind),
        ("SQL statements", summary.statement_count, f"{summary.write_count:,} of them write", None),
    ]
    if summary.risk:
        figures.append(("Risk", summary.risk.score, summary.risk.band, BANDS.get(summary.risk.band)))
    items = [
        element(
            "div",
            element("dt", name),
            element("dd", element("strong", count(number)), element("span", note, class_=kind)),
        )
        for name, number, note, kind in figures
    ]
    items.append(
        element("div", element("dt", "Duration"), element("dd", element("strong", duration(summary.duration_us))))
    )
    return element("dl", *items, class_="numbers")


def run_facts(summary: Summary) -> Markup:
    """Who ran what, when, and how it was recorded."""
    part = f" (part {summary.part})" if summary.part > 1 else ""
    versions = ", ".join(f"{name.replace('_', '-')} {version}" for name, version in summary.versions.items())
    return facts(
        [
            ("Run", join([code(summary.run_id), part])),
            ("Command", code(" ".join(summary.argv))),
            ("By", f"{summary.actor} (claimed)"),
            ("Started", moment(summary.created_at)),
            ("Ended", f"{moment(summary.closed_at)}: {sentence(summary.status)}"),
            ("Adapter and target", " → ".join(filter(None, (summary.adapter, summary.target))) or None),
            ("Captured", f"{sentence(summary.capture)} by {summary.producer}"),
            ("Cost of recording", f"{duration(summary.recorder_us)} CPU" if summary.recorder_us is not None else None),
            ("Versions", versions or None),
            ("dbt invocation", code(summary.invocation_id)),
            ("Tenant", summary.tenant),
            *((f"Label {name}", value) for name, value in summary.labels.items()),
        ]
    )


def incidents(summary: Summary) -> Markup | None:
    """What failed, what was not recorded and what recovery does not know; None if all went well."""
    told = [(sentence(node.status), node.name) for node in summary.nodes if node.has_failed]
    more = len(told) - _MOST_NAMED
    told = told[:_MOST_NAMED] + ([("", f"and {counted(more, 'more failed node')}")] if more > 0 else [])
    told += [(each.kind, each.what) for each in summary.incidents[:_MOST_NAMED]]
    if recovery := summary.recovery:
        told.append(
            ("recovered", f"the run died; not known: {', '.join(map(sentence, recovery.unknown)) or 'nothing'}")
        )
        told += [("had begun", name) for name in recovery.open_nodes[:_MOST_NAMED]]
    items = [element("li", element("strong", kind), " ", what) for kind, what in told]
    return element("ul", *items, class_="incidents") if items else None


def changes(summary: Summary) -> Markup:
    """What was written, by node."""
    if not summary.changes:
        return element("p", "No statement that writes was sent.")
    nodes = {node.unique_id: node for node in summary.nodes if node.batch_id is None}
    rows = []
    ordered = sorted(summary.changes, key=lambda change: (not change.failed, change.unique_id or ""))
    for change in ordered[:MOST_ROWS]:
        node = nodes.get(change.unique_id or "")
        verbs = ", ".join(f"{verb} {number}" if number > 1 else verb for verb, number in change.verbs.items())
        written = node.rows_affected if node and node.rows_affected is not None else change.rows
        rows.append(
            (
                named(node.name, node.relation) if node else change.unique_id or "outside of nodes",
                verbs,
                "" if written is None else count(written),
                state(node.status) if node else "",
            )
        )
    head = ("Node and relation", "Statements that write", "Rows", "Outcome")
    return long_table(head, rows, total=len(ordered), caption="What changed", numeric=(2,))


def statements(summary: Summary) -> Markup:
    """SQL statements by verb, with those that write first."""
    if not summary.statements:
        return element("p", "No SQL statement was recorded.")
    most = max(each.count for each in summary.statements)
    rows = []
    for each in summary.statements:
        picture = bar(each.count / most, is_strong=each.writes)
        failed = element("span", f" {each.failed:,} failed", class_="bad") if each.failed else None
        took = "" if each.elapsed_us is None else duration(each.elapsed_us)
        kind = f"{each.verb_class}, writes" if each.writes and each.verb_class != "write" else each.verb_class
        rows.append((code(each.verb), kind, picture, join([count(each.count), failed]), took))
    head = ("Verb", "Kind", "", "Statements", "Time in them")
    return table(head, rows, caption="SQL statements by verb", numeric=(3, 4))


def tests(summary: Summary) -> Markup | None:
    """Tests that did not pass; None where no test was selected."""
    if not summary.tests.total:
        return None
    told = element(
        "p",
        f"{count(summary.tests.passed)} passed, {count(summary.tests.failed)} failed, "
        f"{count(summary.tests.warned)} warned, {count(summary.tests.not_run)} not run.",
    )
    lost = [node for node in summary.nodes if node.is_test and node.batch_id is None and node.status != "pass"]
    if not lost:
        return told
    ordered = sorted(lost, key=lambda node: (not node.has_failed, node.unique_id))
    rows = [
        (
            node.name,
            state(node.status),
            "" if node.failures is None else count(node.failures),
            duration(node.execution_us),
        )
        for node in ordered[:MOST_ROWS]
    ]
    head = ("Test", "Outcome", "Failures", "Duration")
    return join([told, long_table(head, rows, total=len(ordered), caption="Tests that did not pass", numeric=(2, 3))])


def all_nodes(summary: Summary) -> Markup:
    """Every node in the order of finishing, up to a limit; those that failed first."""
    ordered = sorted(summary.nodes, key=lambda node: not node.has_failed)
    rows = [
        (
            named(node.name + (f" [{node.batch_id}]" if node.batch_id else ""), node.unique_id),
            node.materialized or node.resource_type,
            state(node.status),
            "" if node.rows_affected is None else count(node.rows_affected),
            duration(node.execution_us),
        )
        for node in ordered[:MOST_ROWS]
    ]
    head = ("Node", "Kind", "Outcome", "Rows", "Duration")
    return long_table(head, rows, total=len(ordered), caption="Nodes", numeric=(3, 4))


def slowest(summary: Summary) -> Sequence[NodeRun]:
    """The nodes worth a name beside the timeline."""
    return [node for node in summary.slowest(5) if node.execution_us]


def anchors(summary: Summary) -> Markup:
    """Where the warehouse itself recorded the run."""
    if not summary.anchors:
        return element("p", "The bundle names no place where a warehouse recorded the run.")
    shown = []
    for anchor in summary.anchors:
        kind = f"none, {sentence(anchor.reason)}" if anchor.reason else _ANCHORS.get(anchor.kind, sentence(anchor.kind))
        name = f"{anchor.system}: {kind}"
        values = [(sentence(member), code(str(value))) for member, value in anchor.value.items()]
        rows = [("Object", anchor.object or None), *values, ("Captured", moment(anchor.captured_at))]
        shown.append(join([element("h3", name), facts(rows)]))
    return join(shown)


def build(summary: Summary) -> Markup:
    """The code that ran."""
    known = summary.build
    if known.source == "none":
        return element("p", "The machine that ran it knew no commit.")
    dirty = {True: "modified since the commit", False: "as committed", None: None}[known.dirty]
    author = {"claimed": "claimed, not proved", "signed": "by a signed commit", "forge": "vouched for by the forge"}
    return facts(
        [
            ("Commit", code(known.commit)),
            ("Tree of the project", code(known.tree)),
            ("Branch", known.branch or None),
            ("Files", dirty),
            ("Known from", sentence(known.source)),
            ("Authorship", author.get(known.author_basis, known.author_basis)),
        ]
    )


def files(summary: Summary) -> Markup:
    """What is in the bundle, and what it only names."""
    rows = [
        (named(each.name, sentence(each.role)), size(each.size), each.place, code(each.sha256))
        for each in (*summary.files, *summary.references)[:MOST_ROWS]
    ]
    total = len(summary.files) + len(summary.references)
    head = ("Name and role", "Size", "Where", "SHA-256")
    return long_table(head, rows, total=total, caption="Files and references", numeric=(1,))


def bar(share: float, *, is_strong: bool) -> Markup:
    """A bar whose length is ``share`` of the longest."""
    drawn = element("rect", width=max(2, round(share * _BAR_WIDTH)), height=10, rx=2)
    kind = "bars writes" if is_strong else "bars"
    return element("svg", drawn, class_=kind, viewBox=f"0 0 {_BAR_WIDTH} 10", aria_hidden="true")


def named(name: str, detail: str | None) -> Markup:
    """A name with a smaller line below it."""
    return join([element("span", name, class_="name"), element("span", detail, class_="detail") if detail else None])


def _rest(total: int, shown: int) -> Markup | None:
    if total <= shown:
        return None
    return element(
        "p", f"… and {counted(total - shown, 'more row')}; the bundle itself holds all of them.", class_="faint"
    )
