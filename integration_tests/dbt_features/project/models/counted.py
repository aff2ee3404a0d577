# SPDX-License-Identifier: Apache-2.0
"""Counts gauges in Python, which dbt runs on DuckDB alone."""

from typing import Any


def model(dbt: Any, session: Any) -> Any:
    """One row: how many gauges have a highest level."""
    dbt.config(materialized="table")
    highest = dbt.ref("highest")
    return highest.aggregate("count(*) as python_literal_8c42")
