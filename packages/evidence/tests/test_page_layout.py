# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from clyra.evidence.page._layered import layered, layers


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    count = draw(st.integers(1, 30))
    ids = [f"n{at}" for at in range(count)]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = draw(st.lists(pairs, max_size=60)) if count > 1 else []
    return draw(st.permutations(ids)), [(ids[a], ids[b]) for a, b in edges]


@settings(max_examples=80, deadline=None)
@given(graph=acyclic())
def test_every_edge_leads_to_the_right(graph: tuple[list[str], list[tuple[str, str]]]) -> None:
    layout = layered(*graph)
    assert set(layout.bends) == set(graph[1])
    for (parent, child), bends in layout.bends.items():
        assert layout.layer[parent] < layout.layer[child] < layout.layers
        assert len(bends) == layout.layer[child] - layout.layer[parent] - 1


@settings(max_examples=80, deadline=None)
@given(graph=acyclic())
def test_nodes_of_a_layer_are_at_least_a_row_apart_and_inside(graph: tuple[list[str], list[tuple[str, str]]]) -> None:
    layout = layered(*graph)
    columns: dict[int, list[float]] = defaultdict(list)
    for node, row in layout.row.items():
        columns[layout.layer[node]].append(row)
        assert -1e-9 <= row <= layout.rows - 1 + 1e-9
    for rows in columns.values():
        assert all(below - above >= 1 - 1e-9 for above, below in pairwise(sorted(rows)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefghx")), max_size=40))
def test_a_graph_with_cycles_is_laid_out_without_the_edges_that_close_them(edges: list[tuple[str, str]]) -> None:
    layer, kept = layers(list("abcdefgh"), edges)
    assert set(layer) == set("abcdefgh")
    assert set(kept) <= set(edges)
    assert all(layer[parent] < layer[child] for parent, child in kept)


def test_what_reads_nothing_stands_before_what_reads_it_first() -> None:
    layer, _ = layers(["a", "b", "c", "late"], [("a", "b"), ("b", "c"), ("late", "c")])
    assert layer == {"a": 0, "b": 1, "c": 2, "late": 1}


def test_a_chain_is_a_straight_line() -> None:
    layout = layered(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert set(layout.row.values()) == {0.0}


def test_crossings_that_order_can_avoid_are_avoided() -> None:
    layout = layered(["a", "b", "x", "y"], [("a", "y"), ("b", "x")])
    assert (layout.row["a"] < layout.row["b"]) == (layout.row["y"] < layout.row["x"])


def test_nothing_has_an_empty_layout() -> None:
    layout = layered([], [])
    assert (layout.layers, layout.rows) == (0, 0.0)
