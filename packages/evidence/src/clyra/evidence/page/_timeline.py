# SPDX-License-Identifier: Apache-2.0
"""The timeline of a run as an SVG: one bar per node, in as many rows as nodes ran at once.

The journal does not say which thread ran a node, so rows are made from times: a node goes into the first row that is
free when it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from clyra.evidence.page._markup import Markup, element, join
from clyra.evidence.page.wording import counted, duration, sentence, shortened
from clyra.evidence.summary import NodeRun

WIDTH = 920
_ROW, _BAR, _AXIS = 24, 18, 26
_LEAST_BAR = 1.5
_LETTER = 6.7
_LEAST_LETTERS = 9
_TICK_STEPS = (1, 2, 5)
_MAX_TICKS = 8
_MAX_ROWS = 64
# Marks stand at whole units: `2.0 s` is `2 s`, `5 min 0 s` is `5 min`.
_NEEDLESS = re.compile(r"(?<=[0-9])\.0(?= s$)| 0 (s|min)$")


@dataclass(frozen=True, slots=True)
class _Bar:
    row: int
    left: float
    right: float
    kind: str
    label: str
    title: str


def timeline(nodes: Sequence[NodeRun], *, begin_us: int, end_us: int) -> Markup:
    """The timeline from ``begin_us`` to ``end_us``, microseconds since the epoch."""
    ran = [node for node in nodes if node.execution_us > 0]
    begin_us = min([begin_us, *(node.finished_at_us - node.execution_us for node in ran)])
    end_us = max([end_us, begin_us + 1, *(node.finished_at_us for node in ran)])
    scale = WIDTH / (end_us - begin_us)
    bars = _merged(_bars(ran, begin_us, scale))
    rows = max((bar.row for bar in bars), default=0) + 1
    height = rows * _ROW + _AXIS
    summary = f"{counted(len(ran), 'node')} in {duration(end_us - begin_us)}, up to {rows} at once"
    return element(
        "svg",
        element("title", "Timeline of the run"),
        element("desc", f"{summary}. The table of nodes below holds the same times."),
        _axis(end_us - begin_us, rows * _ROW),
        join(map(_drawn, bars)),
        class_="timeline",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
    )


def _bars(ran: Iterable[NodeRun], begin_us: int, scale: float) -> list[_Bar]:
    bars: list[_Bar] = []
    busy: list[tuple[int, int]] = []
    free = list(range(_MAX_ROWS))
    for node in sorted(ran, key=lambda node: (node.finished_at_us - node.execution_us, node.unique_id)):
        start_us = node.finished_at_us - node.execution_us
        while busy and (busy[0][0] <= start_us or not free):
            heappush(free, heappop(busy)[1])
        row = heappop(free)
        heappush(busy, (node.finished_at_us, row))
        left, right = (start_us - begin_us) * scale, (node.finished_at_us - begin_us) * scale
        title = f"{node.name}: {sentence(node.status)}, {duration(node.execution_us)}"
        bars.append(_Bar(row, left, max(right, left + _LEAST_BAR), _kind(node), node.name, title))
    return bars


def _kind(node: NodeRun) -> str:
    if node.has_failed:
        return "bad"
    if node.status == "warn":
        return "doubtful"
    return "test" if node.is_test else "model"


def _merged(bars: Iterable[_Bar]) -> list[_Bar]:
    """Bars of one kind that would lie within a unit of width of each other become one, so that size has a limit."""
    merged: list[_Bar] = []
    last: dict[int, tuple[int, int]] = {}
    for bar in bars:
        at, many = last.get(bar.row, (-1, 0))
        known = merged[at] if at >= 0 else None
        if known and known.kind == bar.kind and bar.right - bar.left < 2 and bar.left - known.left < 3:
            title = f"{many + 1} nodes, the last {bar.title}"
            merged[at] = _Bar(bar.row, known.left, max(known.right, bar.right), bar.kind, "", title)
            last[bar.row] = (at, many + 1)
        else:
            last[bar.row] = (len(merged), 1)
            merged.append(bar)
    return merged


def _drawn(bar: _Bar) -> Markup:
    width = bar.right - bar.left
    letters = int((width - 10) / _LETTER)
    y = bar.row * _ROW + (_ROW - _BAR) / 2
    label = None
    if bar.label and letters >= min(len(bar.label), _LEAST_LETTERS):
        label = element("text", shortened(bar.label, letters), x=f"{bar.left + 6:.1f}", y=f"{y + 13:g}")
    box = element(
        "rect",
        x=f"{bar.left:.1f}",
        y=f"{y:g}",
        width=f"{max(width - 1, 0.8):.1f}",
        height=_BAR,
        rx=2 if width < 8 else 3,
    )
    return element("g", element("title", bar.title), box, label, class_=f"bar {bar.kind}")


def _axis(span_us: int, height: int) -> Markup:
    step_us = _step(span_us)
    marks = []
    for at_us in range(0, span_us + 1, step_us):
        x = at_us * WIDTH / span_us
        marks.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=0, y2=height + 5))
        anchor = "start" if x < 20 else "end" if x > WIDTH - 40 else "middle"
        name = "0" if at_us == 0 else _NEEDLESS.sub("", duration(at_us))
        marks.append(element("text", name, x=f"{x:.1f}", y=height + 19, text_anchor=anchor))
    return element("g", *marks, class_="axis")


def _step(span_us: int) -> int:
    # Above a minute people count in minutes and hours.
    for unit_us, factors in ((1_000_000, (1, 2, 5, 10, 15, 30)), (60_000_000, (1, 2, 5, 10, 15, 30, 60, 120, 360))):
        if span_us > unit_us:
            for factor in factors:
                if span_us <= unit_us * factor * _MAX_TICKS:
                    return unit_us * factor
    step_us = 1
    while span_us > step_us * _MAX_TICKS:
        leading = int(str(step_us)[0])
        step_us = step_us * {1: 2, 2: 5, 5: 10}[leading] // {1: 1, 2: 2, 5: 5}[leading]
    return step_us
