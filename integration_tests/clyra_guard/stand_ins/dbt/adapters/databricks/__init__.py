# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Databricks, which takes one statement per call."""

from pathlib import Path

from dbt_common.exceptions import DbtDatabaseError
from recording_adapter import plugin  # type: ignore[import-not-found]  # found on PYTHONPATH


def _translate(sql: str) -> str:
    if sql.count("set `clyra.") > 1:
        raise DbtDatabaseError("found two statements, expected one")
    return "select 1" if "set `clyra." in sql else sql


Plugin = plugin("databricks", Path(__file__).parent, _translate)
