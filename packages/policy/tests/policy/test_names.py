# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.policy.names import fold_name


@pytest.mark.parametrize(
    ("system", "name", "folded"),
    [
        pytest.param("postgres", "Shop.Raw.ORDERS", "shop.raw.orders", id="postgres lowers"),
        pytest.param("postgres", '"shop"."Raw"."orders"', "shop.Raw.orders", id="postgres keeps quoted"),
        pytest.param("snowflake", "shop.raw.orders", "SHOP.RAW.ORDERS", id="snowflake raises"),
        pytest.param("snowflake", 'SHOP."raw".ORDERS', "SHOP.raw.ORDERS", id="snowflake keeps quoted"),
        pytest.param("databricks", "`Main`.`Sales`.`Orders`", "main.sales.orders", id="databricks knows no case"),
        pytest.param("duckdb", '"Shop"."main"."Orders"', "shop.main.orders", id="duckdb knows no case"),
        pytest.param("redshift", '"Shop"."Raw"', "shop.raw", id="redshift knows no case"),
        pytest.param("bigquery", "`p.d.T`", '"p.d.T"', id="others keep theirs"),
        pytest.param("postgres", '"a.b".c', '"a.b".c', id="a dot inside a part"),
        pytest.param("postgres", '"a""b".c', '"a""b".c', id="a quote inside a part"),
        pytest.param("postgres", '"A', '"A', id="quotes that do not close"),
        pytest.param("postgres", "A..b", "A..b", id="an empty part"),
        pytest.param("postgres", "ÄB", "Äb", id="letters beyond ASCII"),
    ],
)
def test_names_are_folded_as_the_system_does(system: str, name: str, folded: str) -> None:
    assert fold_name(system, name) == folded


@given(st.sampled_from(["duckdb", "snowflake", "postgres", "bigquery"]), st.lists(st.text(min_size=1), min_size=1))
def test_different_quoted_names_stay_different(system: str, parts: list[str]) -> None:
    def quoted(names: list[str]) -> str:
        return ".".join('"' + name.replace('"', '""') + '"' for name in names)

    joined = ".".join(parts)
    if system != "duckdb" and [joined] != parts:
        assert fold_name(system, quoted(parts)) != fold_name(system, quoted([joined]))
    once = fold_name("duckdb", quoted(parts))
    assert fold_name("duckdb", once) == once
