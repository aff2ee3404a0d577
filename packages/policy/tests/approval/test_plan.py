# SPDX-License-Identifier: Apache-2.0
"""Plans: what is covered, and what is not, in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from clyra.approval.plan import DbtPlan, PlanNode, build_plan, plan_differences
from clyra.evidence.canonical import canonicalize
from clyra.spec import FormatError

A, B, C, D = (letter * 64 for letter in "abcd")
ORDERS = PlanNode("model.shop.orders", A, B)
CUSTOMERS = PlanNode("model.shop.customers", A, B)
SEED = PlanNode("seed.shop.countries", None, B)


def plan(**changes: Any) -> DbtPlan:
    plain: dict[str, Any] = {
        "project": "shop",
        "target": "prod",
        "tree": "1" * 40,
        "nodes": [ORDERS, CUSTOMERS, SEED],
        "macros_sha256": A,
        "hooks_sha256": B,
        "env": {"REGION": C, "DBT_ENV_SECRET_KEY": None},
        "seeds": {"seeds/countries.csv": D},
        "dbt_version": "1.11.16",
        "adapter_type": "postgres",
        "adapter_version": "1.10.2",
    }
    return build_plan(**(plain | changes))


def test_a_plan_covers_itself_and_is_read_as_it_was_written() -> None:
    for one in (plan(), plan(vars_sha256=A), plan(tree=None), plan(nodes=[], env={}, seeds={})):
        again = DbtPlan.from_bytes(one.to_bytes())
        assert again == one
        assert again.sha256 == one.sha256
        assert plan_differences(one, again) == ()


def test_the_order_in_which_things_are_found_does_not_matter() -> None:
    assert plan().sha256 == plan(nodes=[SEED, CUSTOMERS, ORDERS], env={"DBT_ENV_SECRET_KEY": None, "REGION": C}).sha256


def test_fewer_nodes_variables_and_seeds_are_covered() -> None:
    assert plan_differences(plan(), plan(nodes=[ORDERS], env={}, seeds={})) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": [replace(ORDERS, checksum=C)]}, "model shop.orders has other code"),
        ({"nodes": [replace(ORDERS, checksum=None)]}, "model shop.orders has other code"),
        ({"nodes": [replace(SEED, checksum=A)]}, "seed shop.countries has other code"),
        ({"nodes": [replace(ORDERS, config_sha256=C)]}, "model shop.orders has another configuration"),
        ({"nodes": [PlanNode("model.shop.refunds", A, B)]}, "model shop.refunds was not approved"),
        ({"macros_sha256": C}, "macro code changed"),
        ({"hooks_sha256": C}, "hooks changed"),
        ({"env": {"REGION": D}}, "environment variable REGION has another value"),
        ({"env": {"REGION": None}}, "environment variable REGION has another value"),
        ({"env": {"DBT_ENV_SECRET_KEY": A}}, "environment variable DBT_ENV_SECRET_KEY has another value"),
        ({"env": {"ZONE": C}}, "environment variable ZONE was not read when it was approved"),
        ({"seeds": {"seeds/countries.csv": A}}, "seed file seeds/countries.csv has other data"),
        ({"seeds": {"seeds/big.csv": A}}, "seed file seeds/big.csv was not approved"),
        ({"vars_sha256": C}, "vars have other values"),
        ({"tree": "2" * 40}, f"the git tree is {'2' * 40}, approved was {'1' * 40}"),
        ({"tree": None}, f"the git tree is not known, approved was {'1' * 40}"),
        ({"project": "other"}, "the project is other, approved was shop"),
        ({"target": "dev"}, "the target is dev, approved was prod"),
        ({"dbt_version": "1.11.17"}, "the dbt version is 1.11.17, approved was 1.11.16"),
        ({"adapter_type": "duckdb"}, "the adapter is duckdb, approved was postgres"),
        ({"adapter_version": "1.10.3"}, "the adapter version is 1.10.3, approved was 1.10.2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_difference_is_named_in_plain_words(changes: dict[str, Any], words: str) -> None:
    assert plan_differences(plan(), plan(**changes)) == (words,)
    assert plan().sha256 != plan(**changes).sha256


def test_everything_that_differs_is_named() -> None:
    actual = plan(macros_sha256=C, nodes=[replace(ORDERS, checksum=C, config_sha256=C)], env={"ZONE": C})
    assert len(plan_differences(plan(), actual)) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": [ORDERS, ORDERS]},
        {"nodes": [replace(ORDERS, checksum="short")]},
        {"macros_sha256": ""},
        {"tree": "HEAD"},
        {"env": {"": A}},
        {"env": {"REGION": "eu"}},
        {"seeds": {"seeds/a.csv": None}},
        {"adapter_type": "Post Gres"},
    ],
    ids=str,
)
def test_a_plan_that_means_nothing_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        plan(**changes)
    assert caught.value.code == "plan_invalid"


def test_lists_that_are_not_sorted_or_name_one_twice_are_no_plan() -> None:
    node = {"checksum": A, "config_sha256": B, "unique_id": "model.shop.orders"}
    whole = plan()
    for member, entries in (
        ("nodes", [node, node]),
        ("nodes", [node, {**node, "unique_id": "model.shop.a"}]),
        ("env", [{"name": "B", "sha256": A}, {"name": "A", "sha256": A}]),
        ("env", [{"name": "A", "sha256": A}, {"name": "A", "sha256": B}]),
        ("seeds", [{"path": "a", "sha256": A}, {"path": "a", "sha256": A}]),
    ):
        document = {**json.loads(whole.to_bytes()), member: entries}
        with pytest.raises(FormatError, match=r"sorted|twice"):
            DbtPlan.from_bytes(canonicalize(document))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff"])
def test_other_bytes_are_no_plan(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        DbtPlan.from_bytes(data)
    assert caught.value.code == "plan_invalid"
