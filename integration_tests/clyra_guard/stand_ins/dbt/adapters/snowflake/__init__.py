# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Snowflake; ``GUARDED_QUERY_TAG`` is the tag its sessions have before dbt sets one."""

import os
from pathlib import Path

from recording_adapter import plugin  # type: ignore[import-not-found]  # found on PYTHONPATH


def _translate(sql: str) -> str:
    if "show parameters like 'query_tag' in session" in sql:
        tag = os.environ.get("GUARDED_QUERY_TAG", "").replace("'", "''")
        return f"select 'QUERY_TAG' as key, '{tag}' as value"
    return "select 1" if "alter session set query_tag" in sql else sql


Plugin = plugin("snowflake", Path(__file__).parent, _translate)
