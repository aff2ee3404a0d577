# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.policy.lineage import OWN, join_lineages, own_values, trust_in_inputs, trust_of, with_trust
from clyra.verify.schema import check_schema

Document = dict[str, Any]


def document(
    *edges: tuple[str, str], nodes: Mapping[str, Mapping[str, object]] | None = None, run: str = "r"
) -> Document:
    """A lineage of relations; ``nodes`` has what is special about some."""
    special = nodes or {}
    ids = sorted({name for edge in edges for name in edge} | special.keys())
    plain = {"kind": "relation", "system": "postgres", "trust": None, "basis": "manifest"}
    return {
        "nodes": [{**plain, "id": name, **special.get(name, {})} for name in ids],
        "edges": [{"from": parent, "to": child, "run_id": run} for parent, child in edges],
    }


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Document, dict[str, int]]:
    """Any directed graph, cycles included, with an own value for every node."""
    ids = [f"n{at}" for at in range(draw(st.integers(1, 12)))]
    ends = st.sampled_from(ids)
    edges = sorted(draw(st.sets(st.tuples(ends, ends), max_size=30)))
    own = {name: draw(st.integers(0, 100)) for name in ids}
    return document(*edges, nodes={name: {} for name in ids}), own


def descendants(lineage: Document, start: str) -> set[str]:
    found, waiting = set[str](), [start]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [edge["to"] for edge in lineage["edges"] if edge["from"] == node]
    return found


def test_a_node_is_trusted_no_more_than_the_worst_of_what_it_was_made_from() -> None:
    lineage = document(("raw", "stg"), ("good", "stg"), ("stg", "fct"))
    assert trust_of(lineage, {"raw": 0, "good": 100, "stg": 100, "fct": 70}) == {
        "raw": 0,
        "good": 100,
        "stg": 0,
        "fct": 0,
    }


def test_a_node_of_which_nothing_is_known_has_no_evidence() -> None:
    assert trust_of(document(("a", "b")), {"b": 100}) == {"a": 40, "b": 40}


def test_a_cycle_takes_its_minimum() -> None:
    lineage = document(("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"))
    assert trust_of(lineage, {"a": 90, "b": 30, "c": 80, "d": 100}) == {"a": 30, "b": 30, "c": 30, "d": 30}


@given(graphs())
def test_trust_is_the_least_value_among_all_ancestors(graph: tuple[Document, dict[str, int]]) -> None:
    lineage, own = graph
    trust = trust_of(lineage, own)
    for node in own:
        assert trust[node] == min(own[other] for other in own if node in descendants(lineage, other))


@given(graphs(), st.data())
def test_one_lowered_source_lowers_exactly_its_descendants(
    graph: tuple[Document, dict[str, int]], data: st.DataObject
) -> None:
    lineage, own = graph
    own = {name: value + 1 for name, value in own.items()}
    lowered = data.draw(st.sampled_from(sorted(own)))
    before, after = trust_of(lineage, own), trust_of(lineage, {**own, lowered: 0})
    assert {name for name in own if after[name] < before[name]} == descendants(lineage, lowered)
    assert all(after[name] == before[name] for name in own.keys() - descendants(lineage, lowered))


@given(graphs(), st.data())
def test_an_input_that_is_added_never_raises_trust(graph: tuple[Document, dict[str, int]], data: st.DataObject) -> None:
    lineage, own = graph
    ends = st.sampled_from(sorted(own))
    edge = {"from": data.draw(ends), "to": data.draw(ends), "run_id": "r"}
    before, after = trust_of(lineage, own), trust_of({**lineage, "edges": [*lineage["edges"], edge]}, own)
    assert all(after[name] <= before[name] for name in own)


def test_the_fact_is_the_trust_in_what_a_node_reads_and_not_in_itself() -> None:
    lineage = document(("raw", "stg"), ("stg", "fct"))
    assert trust_in_inputs(lineage, {"raw": 60, "stg": 20, "fct": 0}) == {"raw": 100, "stg": 60, "fct": 20}


def shop(**statuses: str) -> tuple[Document, dict[str, str]]:
    test = {"kind": "call"}
    lineage = document(
        ("source.raw", "model.stg"),
        ("model.stg", "model.fct"),
        ("model.stg", "test.stg"),
        ("model.fct", "test.fct"),
        nodes={"test.stg": test, "test.fct": test},
    )
    ended = {"model.stg": "success", "model.fct": "success", "test.stg": "pass", "test.fct": "pass"}
    return lineage, ended | {name.replace("_", "."): status for name, status in statuses.items()}


def judged(
    hints: Mapping[str, int] | None = None, *, enforced: bool = True, **statuses: str
) -> dict[str, tuple[str, int]]:
    lineage, ended = shop(**statuses)
    done = with_trust(lineage, statuses=ended, enforced=enforced, hints=hints or {})
    check_schema("lineage", done, code="lineage_invalid")
    return {node["id"]: (node["basis"], node["trust"]) for node in done["nodes"]}


def test_enforced_and_tested_nodes_are_trusted_as_far_as_their_sources() -> None:
    found = judged({"source.raw": 100})
    assert found["model.fct"] == ("enforced", 100)
    assert found["source.raw"] == ("claimed", 100)


def test_a_source_without_evidence_holds_back_everything_made_from_it() -> None:
    assert judged()["model.fct"] == ("enforced", 40)


def test_a_run_in_shadow_is_worth_less() -> None:
    assert judged({"source.raw": 100}, enforced=False)["model.fct"] == ("recorded", 70)


@pytest.mark.parametrize("status", ["warn", "skipped"])
def test_a_node_whose_tests_did_not_pass_is_only_recorded(status: str) -> None:
    assert judged({"source.raw": 100}, test_stg=status)["model.stg"] == ("recorded", 70)


@pytest.mark.parametrize("status", ["fail", "error"])
def test_a_failed_test_contradicts_what_it_tests_and_all_that_reads_it(status: str) -> None:
    found = judged({"source.raw": 100}, test_stg=status)
    assert found["model.stg"] == ("contradicted", 0)
    assert found["model.fct"] == ("enforced", 0)
    assert found["source.raw"][1] == 100


def test_a_node_that_did_not_run_has_no_evidence() -> None:
    assert judged({"source.raw": 100}, model_fct="skipped", test_fct="skipped")["model.fct"] == ("manifest", 40)


@pytest.mark.parametrize(("hint", "trust"), [(-5, 0), (55, 55), (1000, 100)])
def test_a_hint_sets_the_value_of_a_source_within_the_scale(hint: int, trust: int) -> None:
    assert judged({"source.raw": hint})["source.raw"] == ("claimed", trust)


def test_a_hint_never_raises_what_has_inputs_or_evidence() -> None:
    hints = {"source.raw": 20, "model.stg": 100, "model.fct": 100}
    assert judged(hints, model_fct="skipped", test_fct="skipped")["model.fct"] == ("manifest", 20)
    assert judged(hints)["model.stg"] == ("enforced", 20)


def relation(system: str, name: str, basis: str = "recorded", **more: object) -> dict[str, object]:
    return {"system": system, "relation": name, "basis": basis, **more}


def test_two_systems_that_name_one_relation_share_its_node() -> None:
    dbt = document(
        ("source.shop.raw.orders", "model.shop.fct"),
        nodes={
            "source.shop.raw.orders": relation("postgres", '"shop"."raw"."orders"', "manifest"),
            "model.shop.fct": relation("postgres", '"shop"."marts"."fct"', "enforced"),
        },
    )
    loader = document(
        ("load", "orders"),
        nodes={
            "load": {"kind": "call", "system": "gateway", "basis": "enforced"},
            "orders": relation("postgres", "SHOP.Raw.orders", "contradicted"),
        },
    )
    (joined,) = join_lineages([dbt, loader])
    check_schema("lineage", joined, code="lineage_invalid")
    assert {node["id"]: node["trust"] for node in joined["nodes"]} == {
        "gateway:load": 100,
        "postgres:shop.raw.orders": 0,
        "postgres:shop.marts.fct": 0,
    }


def test_what_was_seen_beats_what_was_claimed_and_what_was_only_named() -> None:
    def orders(basis: str, trust: int | None) -> Document:
        return document(("x", "y"), nodes={"x": relation("snowflake", "SHOP.RAW.ORDERS", basis, trust=trust), "y": {}})

    def trust(*documents: Document) -> int:
        (joined,) = join_lineages(documents)
        return next(int(node["trust"]) for node in joined["nodes"] if node["id"] == "snowflake:SHOP.RAW.ORDERS")

    named, claimed, seen = orders("manifest", 40), orders("claimed", 90), orders("recorded", 70)
    assert trust(named, claimed) == 90
    assert trust(claimed, orders("claimed", 30)) == 30
    assert trust(named, claimed, seen) == 70
    assert trust(seen, orders("contradicted", 0)) == 0


def test_documents_without_a_run_in_common_stay_apart() -> None:
    one, other = document(("a", "b"), run="r1"), document(("b", "c"), run="r2")
    assert len(join_lineages([one, other])) == 2
    both = {**one, "edges": [*one["edges"], *document(("a", "b"), run="r2")["edges"]]}
    assert len(join_lineages([one, other, both])) == 1


def test_a_node_of_a_run_joins_by_the_id_of_the_run() -> None:
    run = {"r": {"kind": "run", "system": "snowflake"}}
    (joined,) = join_lineages([document(("a", "b")), document(nodes=run), document(("r", "q"), nodes=run, run="other")])
    assert [node["id"] for node in joined["nodes"] if node["kind"] == "run"] == ["run:r"]


def test_a_word_that_is_not_known_counts_for_no_more_than_no_evidence() -> None:
    lineage = document(nodes={"a": {"basis": "notarized", "trust": 100}, "b": {"basis": "notarized", "trust": 5}})
    assert own_values(lineage) == {"a": 40, "b": 5}


@given(st.lists(graphs(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_joining_does_not_depend_on_any_order(parts: list[tuple[Document, dict[str, int]]], random: Any) -> None:
    bases = [*sorted(OWN), "claimed"]
    documents = []
    for at, (lineage, own) in enumerate(parts):
        for node in lineage["nodes"]:
            number = own[node["id"]]
            node |= {
                "basis": bases[number % 5],
                "trust": number,
                "relation": f"A.{node['id']}".swapcase()[number % 2 :],
            }
        for edge in lineage["edges"]:
            edge["run_id"] = f"run-{(at + own[edge['from']]) % 3}"
        documents.append(lineage)
    straight = join_lineages(documents)
    shuffled = [{name: random.sample(each[name], len(each[name])) for name in ("edges", "nodes")} for each in documents]
    random.shuffle(shuffled)
    assert join_lineages(shuffled) == straight


@pytest.mark.budget
def test_trust_of_5000_nodes_costs_less_than_a_twentieth_of_parsing_them() -> None:
    """The reference is the smaller part of parsing: dbt makes nodes of data and data of nodes, and renders nothing."""
    from dbt.contracts.graph.nodes import ModelNode

    described = {
        **dict.fromkeys(("database", "schema", "name", "alias", "package_name"), "m"),
        "resource_type": "model",
        "path": "m.sql",
        "original_file_path": "models/m.sql",
        "fqn": ["m", "m"],
        "unique_id": "model.m.m",
        "checksum": {"name": "sha256", "checksum": "ab" * 32},
        "language": "sql",
        "raw_code": "select 1 as id\n" * 50,
        "config": {"materialized": "table"},
        "columns": {f"c{at}": {"name": f"c{at}", "description": "x"} for at in range(10)},
    }
    node = ModelNode.from_dict(ModelNode.from_dict(described).to_dict())
    names = [f"model.shop.model_{at}" for at in range(5000)]
    lineage = document(*((names[at - step], names[at]) for at in range(8, 5000) for step in (1, 3, 7)))
    statuses = dict.fromkeys(names, "success")

    def best_of_three(work: Callable[[], object]) -> float:
        # Of three, so that a pause of the collector in a process full of other tests does not count.
        times = []
        for _ in range(3):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    def round_trips() -> None:
        for _ in range(500):
            ModelNode.from_dict(node.to_dict())

    parsing = 10 * best_of_three(round_trips)
    trusting = best_of_three(lambda: with_trust(lineage, statuses=statuses, enforced=True, hints={}))
    assert trusting < parsing / 20
