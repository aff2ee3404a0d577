# SPDX-License-Identifier: Apache-2.0
"""Place the nodes of a directed graph in layers from left to right, with few crossings and straight edges.

The method of Sugiyama, Tagawa and Toda (1981): layers by longest path, places along an edge that passes a layer,
order by barycentres, then positions that come as near to the neighbours' as the order allows. Pure, and equal for
equal input. A cycle, which no lineage should have, is cut instead of refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Beyond so many the places along edges cost more than they please: edges then run straight.
_MAX_BENDS = 6_000
_ORDER_SWEEPS = 6
_POSITION_SWEEPS = 8
_BEND_HEIGHT = 0.35

Slot = str | tuple[str, str, int]
"""A node, or the place at which an edge (from, to) passes a layer."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes: ``layer`` from 0 at the left, ``row`` in units of one node's height, from 0.

    ``bends`` are the rows at which an edge passes the layers between its ends, from left to right.
    """

    layer: Mapping[str, int]
    row: Mapping[str, float]
    bends: Mapping[tuple[str, str], tuple[float, ...]]
    layers: int
    rows: float


def layered(ids: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """The layout of a graph; edges whose ends are not among ``ids``, or that close a cycle, count for nothing."""
    layer, kept = layers(ids, edges)
    is_bent = sum(layer[child] - layer[parent] - 1 for parent, child in kept) <= _MAX_BENDS
    columns, links = _columns(ids, kept, layer, is_bent=is_bent)
    _order(columns, links)
    rows = _positions(columns, links)
    bends = {
        (parent, child): tuple(rows[parent, child, at] for at in range(layer[parent] + 1, layer[child]))
        if is_bent
        else ()
        for parent, child in kept
    }
    return Layout(
        layer=layer,
        row={node: rows[node] for node in ids},
        bends=bends,
        layers=len(columns),
        rows=max((rows[slot] + _height(slot) for column in columns for slot in column), default=0.0),
    )


def layers(ids: Sequence[str], edges: Iterable[tuple[str, str]]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The layer of every node, from 0 at the left, and the edges between them without what closes a cycle."""
    known = set(ids)
    wanted = sorted({edge for edge in edges if edge[0] != edge[1] and known.issuperset(edge)})
    children: dict[str, list[str]] = defaultdict(list)
    waiting = dict.fromkeys(ids, 0)
    for parent, child in wanted:
        children[parent].append(child)
        waiting[child] += 1
    layer = dict.fromkeys(ids, 0)
    ready = [node for node in ids if not waiting[node]]
    placed: dict[str, int] = {}
    remaining = iter(ids)
    while len(placed) < len(layer):
        if not ready:
            # Only cycles are left: go on as if the first node of one had all that it waits for.
            ready = [next(node for node in remaining if node not in placed)]
        node = ready.pop()
        placed[node] = len(placed)
        for child in children[node]:
            waiting[child] -= 1
            if child not in placed:
                layer[child] = max(layer[child], layer[node] + 1)
                if not waiting[child]:
                    ready.append(child)
    kept = [(parent, child) for parent, child in wanted if placed[parent] < placed[child]]
    parents = {child for _, child in kept}
    for node in ids:
        # What reads nothing stands right before what reads it first.
        if node not in parents and children[node]:
            layer[node] = max(0, min(layer[child] for child in children[node]) - 1)
    return layer, kept


def _columns(
    ids: Sequence[str], edges: Sequence[tuple[str, str]], layer: Mapping[str, int], *, is_bent: bool
) -> tuple[list[list[Slot]], list[tuple[Slot, Slot]]]:
    columns: list[list[Slot]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in ids:
        columns[layer[node]].append(node)
    links: list[tuple[Slot, Slot]] = []
    for parent, child in edges:
        last: Slot = parent
        for at in range(layer[parent] + 1, layer[child]) if is_bent else ():
            bend = (parent, child, at)
            columns[at].append(bend)
            links.append((last, bend))
            last = bend
        links.append((last, child))
    return columns, links


def _order(columns: list[list[Slot]], links: Sequence[tuple[Slot, Slot]]) -> None:
    before, after = _neighbours(links)
    place = {slot: at for column in columns for at, slot in enumerate(column)}
    for sweep in range(_ORDER_SWEEPS):
        is_down = sweep % 2 == 0
        near = before if is_down else after
        for column in columns if is_down else reversed(columns):
            centre = {
                slot: sum(place[other] for other in near[slot]) / len(near[slot]) if near[slot] else float(place[slot])
                for slot in column
            }
            column.sort(key=centre.__getitem__)
            place.update((slot, at) for at, slot in enumerate(column))


def _positions(columns: Sequence[Sequence[Slot]], links: Sequence[tuple[Slot, Slot]]) -> dict[Slot, float]:
    rows: dict[Slot, float] = {}
    starts = [_starts(column) for column in columns]
    for column, start in zip(columns, starts, strict=True):
        rows.update(zip(column, start, strict=True))
    before, after = _neighbours(links)
    for sweep in range(_POSITION_SWEEPS):
        order = list(zip(columns, starts, strict=True))
        for column, start in order if sweep % 2 == 0 else reversed(order):
            near = before if sweep % 2 == 0 else after
            wanted = [_middle(slot, near[slot] or (before if near is after else after)[slot], rows) for slot in column]
            rows.update(zip(column, _spread(wanted, start), strict=True))
    top = min(rows.values(), default=0.0)
    return {slot: row - top for slot, row in rows.items()}


def _neighbours(links: Sequence[tuple[Slot, Slot]]) -> tuple[dict[Slot, list[Slot]], dict[Slot, list[Slot]]]:
    before: dict[Slot, list[Slot]] = defaultdict(list)
    after: dict[Slot, list[Slot]] = defaultdict(list)
    for left, right in links:
        before[right].append(left)
        after[left].append(right)
    return before, after


def _height(slot: Slot) -> float:
    return 1.0 if isinstance(slot, str) else _BEND_HEIGHT


def _middle(slot: Slot, near: Sequence[Slot], rows: Mapping[Slot, float]) -> float:
    if not near:
        return rows[slot]
    return sum(rows[other] + _height(other) / 2 for other in near) / len(near) - _height(slot) / 2


def _starts(column: Sequence[Slot]) -> list[float]:
    starts: list[float] = []
    at = 0.0
    for slot in column:
        starts.append(at)
        at += _height(slot)
    return starts


def _spread(wanted: Sequence[float], starts: Sequence[float]) -> list[float]:
    """Positions that keep order and distances, as near to ``wanted`` as least squares go (isotonic regression)."""
    blocks: list[tuple[float, int]] = []
    for want, start in zip(wanted, starts, strict=True):
        mean, weight = want - start, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean = (mean * weight + other * size) / (weight + size)
            weight += size
        blocks.append((mean, weight))
    means = [mean for mean, weight in blocks for _ in range(weight)]
    return [mean + start for mean, start in zip(means, starts, strict=True)]
