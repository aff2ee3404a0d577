# SPDX-License-Identifier: Apache-2.0
"""The lineage of a run as an SVG: boxes with names while they can be read, dots for more, one box per layer beyond.

Tests are shown on what they test, so that a picture has a third of the nodes of the graph.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from clyra.evidence.page._layered import Layout, layered, layers
from clyra.evidence.page._markup import Markup, element, join
from clyra.evidence.page.graph import GraphNode, graph_of
from clyra.evidence.page.wording import counted, duration, sentence, shortened
from clyra.evidence.reader import Lineage
from clyra.evidence.summary import GOOD, NodeRun

MOST_BOXES = 64
MOST_DOTS = 1_000
# What the page has room for; a picture that is a little wider is scaled, a much wider one scrolls.
_WIDTH = 920
_SCALED_WIDTH = 1_300
_BOX_WIDTH, _BOX_HEIGHT, _ROW = 164, 40, 54
_LEAST_COLUMN, _MOST_COLUMN = 188, 232
_LETTERS, _LETTERS_BESIDE_TRUST = 23, 19
_DETAIL_LETTERS = 26
_EDGE = 20
_MOST_NAMED = 5


def lineage_figure(lineage: Lineage, nodes: Iterable[NodeRun]) -> Markup:
    """The picture of a lineage, coloured by how this run went."""
    drawn, edges = graph_of(lineage, nodes)
    if len(drawn) > MOST_DOTS:
        return _layers(drawn, *layers(list(drawn), edges))
    layout = layered(list(drawn), edges)
    return _boxes(drawn, layout) if len(drawn) <= MOST_BOXES else _dots(drawn, layout)


def trust_note(lineage: Lineage, nodes: Iterable[NodeRun]) -> Markup | None:
    """What the numbers in the picture are, and which are the lowest; None where nobody judged."""
    drawn, _ = graph_of(lineage, nodes)
    judged = sorted((node.trust, node.name) for node in drawn.values() if node.trust is not None)
    if not judged:
        return None
    least, most = judged[0][0], judged[-1][0]
    lowest = [name for trust, name in judged if trust == least]
    more = f" and {len(lowest) - _MOST_NAMED:,} more" if len(lowest) > _MOST_NAMED else ""
    named = f"; lowest, {least}: {', '.join(lowest[:_MOST_NAMED])}{more}" if least < most else f", {least} for all"
    return element(
        "p",
        f"Numbers are trust, 0 to 100: the least of a node and of all that it was made from{named}. "
        "100 is enforced and tested, 70 recorded, 40 without evidence, 0 contradicted.",
        class_="faint",
    )


def _boxes(drawn: Mapping[str, GraphNode], layout: Layout) -> Markup:
    column = _column(layout.layers)

    def middle(row: float) -> float:
        return row * _ROW + _ROW / 2

    lines = []
    for (parent, child), bends in layout.bends.items():
        first = layout.layer[parent]
        at = (first * column + _BOX_WIDTH + 2, middle(layout.row[parent]))
        path = [f"M{at[0]} {at[1]:.1f}"]
        stops = [((first + 1 + step) * column + 2, middle(row - 0.325)) for step, row in enumerate(bends)]
        for x, y in [*stops, (layout.layer[child] * column + 2, middle(layout.row[child]))]:
            half = (x - at[0]) / 2
            path.append(f"C{at[0] + half:.0f} {at[1]:.1f} {x - half:.0f} {y:.1f} {x} {y:.1f}")
            at = (x, y)
            if (x, y) in stops:
                # Passes between the boxes of the layer.
                at = (x + _BOX_WIDTH, y)
                path.append(f"H{at[0]}")
        lines.append(element("path", d="".join(path)))
    boxes = [
        _box(node, x=layout.layer[unique_id] * column + 2, y=layout.row[unique_id] * _ROW + (_ROW - _BOX_HEIGHT) / 2)
        for unique_id, node in drawn.items()
    ]
    width = _width(layout.layers)
    return _figure(drawn, element("g", *lines, class_="edges"), join(boxes), width=width, height=layout.rows * _ROW)


def _box(node: GraphNode, *, x: float, y: float) -> Markup:
    tested, tested_kind = _tested(node)
    letters = _LETTERS if node.trust is None else _LETTERS_BESIDE_TRUST
    detail = node.resource_type
    if node.run is not None:
        ended = duration(node.run.execution_us) if node.run.status in GOOD else sentence(node.run.status)
        detail = f"{node.run.materialized or node.resource_type} · {ended}"
        if len(detail) + len(tested) > _DETAIL_LETTERS - 2:
            detail = ended
    return element(
        "g",
        element("title", node.title),
        element("rect", x=x, y=f"{y:.1f}", width=_BOX_WIDTH, height=_BOX_HEIGHT, rx=5, class_="box"),
        element("rect", x=x, y=f"{y:.1f}", width=4, height=_BOX_HEIGHT, rx=2, class_="mark"),
        element("text", shortened(node.name, letters), x=x + 13, y=f"{y + 17:.1f}", class_="name"),
        _trust(node, x=x + _BOX_WIDTH - 9, y=y + 17),
        element("text", shortened(detail, _DETAIL_LETTERS), x=x + 13, y=f"{y + 31:.1f}", class_="detail"),
        element(
            "text", tested, x=x + _BOX_WIDTH - 9, y=f"{y + 31:.1f}", text_anchor="end", class_=f"detail {tested_kind}"
        )
        if tested
        else None,
        class_=f"node {node.kind}",
    )


def _trust(node: GraphNode, *, x: float, y: float) -> Markup | None:
    if node.trust is None:
        return None
    return element("text", node.trust, x=x, y=f"{y:.1f}", text_anchor="end", class_=f"detail {node.trust_kind}")


def _tested(node: GraphNode) -> tuple[str, str]:
    failed = sum(test.has_failed for test in node.tests)
    warned = sum(test.status == "warn" for test in node.tests)
    if failed:
        return f"{counted(failed, 'test')} failed", "bad"
    if warned:
        return f"{counted(warned, 'test')} warned", "doubtful"
    return (counted(len(node.tests), "test"), "good") if node.tests else ("", "good")


def _dots(drawn: Mapping[str, GraphNode], layout: Layout) -> Markup:
    column = (_WIDTH - 2 * _EDGE) / max(1, layout.layers - 1)
    row = max(3.0, min(15.0, 680 / max(1.0, layout.rows)))
    radius = max(1.6, min(5.0, row * 0.36))

    def place(unique_id: str) -> tuple[float, float]:
        return _EDGE + layout.layer[unique_id] * column, (layout.row[unique_id] + 0.5) * row

    lines = []
    for parent, child in layout.bends:
        (x1, y1), (x2, y2) = place(parent), place(child)
        half = (x1 + x2) / 2
        lines.append(f"M{x1:.0f} {y1:.1f}C{half:.0f} {y1:.1f} {half:.0f} {y2:.1f} {x2:.0f} {y2:.1f}")
    dots = []
    for unique_id, node in drawn.items():
        x, y = place(unique_id)
        named = None
        if node.kind == "bad":
            is_right = x > _WIDTH * 0.7
            named = element(
                "text", node.name, x=f"{x - 9 if is_right else x + 9:.0f}", y=f"{y + 4:.1f}",
                text_anchor="end" if is_right else None, class_="name",
            )  # fmt: skip
        circle = element(
            "circle", cx=f"{x:.0f}", cy=f"{y:.1f}", r=f"{radius + (node.kind == 'bad') * 1.5:.1f}", class_="box"
        )
        dots.append(
            (node.kind == "bad", element("g", element("title", node.title), circle, named, class_=f"node {node.kind}"))
        )
    edges = element("g", element("path", d="".join(lines)), class_="edges many")
    # Failed nodes lie on top.
    ordered = join(dot for _, dot in sorted(dots, key=lambda each: each[0]))
    return _figure(drawn, edges, ordered, width=_WIDTH, height=layout.rows * row)


def _layers(drawn: Mapping[str, GraphNode], layer: Mapping[str, int], edges: Iterable[tuple[str, str]]) -> Markup:
    """One box per layer and kind of node; the failed nodes have the table below."""
    count = max(layer.values()) + 1
    column = _column(count)
    groups: dict[tuple[int, str], list[GraphNode]] = defaultdict(list)
    for unique_id, node in drawn.items():
        groups[layer[unique_id], node.resource_type].append(node)
    by_layer: dict[int, list[str]] = defaultdict(list)
    for at, resource_type in sorted(groups):
        by_layer[at].append(resource_type)
    tallest = max(map(len, by_layer.values()), default=1)
    place = {
        (at, kind): (at * column + 2, (tallest - len(kinds)) * _ROW / 2 + number * _ROW + (_ROW - _BOX_HEIGHT) / 2)
        for at, kinds in by_layer.items()
        for number, kind in enumerate(kinds)
    }
    between = Counter(
        ((layer[parent], drawn[parent].resource_type), (layer[child], drawn[child].resource_type))
        for parent, child in edges
    )
    lines = []
    for (start, end), number in between.items():
        if end[0] == start[0] + 1:
            (x1, y1), (x2, y2) = place[start], place[end]
            x1, y1, y2 = x1 + _BOX_WIDTH, y1 + _BOX_HEIGHT / 2, y2 + _BOX_HEIGHT / 2
            half = (x1 + x2) / 2
            path = f"M{x1} {y1:.1f}C{half:.0f} {y1:.1f} {half:.0f} {y2:.1f} {x2} {y2:.1f}"
            lines.append(element("path", element("title", counted(number, "edge")), d=path))
    boxes = [_group(nodes, kind, *place[at, kind]) for (at, kind), nodes in groups.items()]
    width = _width(count)
    return _figure(drawn, element("g", *lines, class_="edges"), join(boxes), width=width, height=tallest * _ROW)


def _group(nodes: Sequence[GraphNode], resource_type: str, x: float, y: float) -> Markup:
    kinds = Counter(node.kind for node in nodes)
    worst = next(kind for kind in ("bad", "doubtful", "skipped", "good", "read") if kinds[kind])
    words = {"bad": "failed", "doubtful": "warned", "skipped": "skipped"}
    detail = ", ".join(f"{kinds[kind]:,} {word}" for kind, word in words.items() if kinds[kind])
    detail = detail or ("only read" if worst == "read" else "all succeeded")
    return element(
        "g",
        element("rect", x=x, y=f"{y:.1f}", width=_BOX_WIDTH, height=_BOX_HEIGHT, rx=5, class_="box"),
        element("rect", x=x, y=f"{y:.1f}", width=4, height=_BOX_HEIGHT, rx=2, class_="mark"),
        element("text", counted(len(nodes), resource_type), x=x + 13, y=f"{y + 17:.1f}", class_="name"),
        element("text", shortened(detail, _DETAIL_LETTERS), x=x + 13, y=f"{y + 31:.1f}", class_="detail"),
        class_=f"node {worst}",
    )


def _column(layers: int) -> int:
    """The distance from layer to layer that fills the width, within what can be read."""
    fitting = (_WIDTH - _BOX_WIDTH - 4) // max(1, layers - 1)
    return max(_LEAST_COLUMN, min(_MOST_COLUMN, fitting))


def _width(layers: int) -> int:
    return (layers - 1) * _column(layers) + _BOX_WIDTH + 4


def _figure(drawn: Mapping[str, GraphNode], *parts: Markup, width: float, height: float) -> Markup:
    failed = [node.name for node in drawn.values() if node.kind == "bad"]
    told = f"Failed: {', '.join(failed[:20])}." if failed else "None failed."
    return element(
        "svg",
        element("title", "Lineage of the run"),
        element("desc", f"{counted(len(drawn), 'relation')} from what is read, left, to what reads it, right. {told}"),
        *parts,
        class_="lineage scaled" if width <= _SCALED_WIDTH else "lineage",
        viewBox=f"0 0 {width:.0f} {max(height, _ROW):.0f}",
        width=f"{width:.0f}",
        role="img",
    )
