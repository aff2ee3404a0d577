# SPDX-License-Identifier: Apache-2.0
"""DuckDB adapters that go by another adapter's name, so that dbt dispatches macros as it would there.

Everything sent is written to the file ``GUARDED_SENT_SQL``, one JSON string per line. A stand-in answers the
statements that only the real warehouse knows; the rest runs in DuckDB.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbt.adapters.base.plugin import AdapterPlugin
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.impl import DuckDBAdapter


def plugin(name: str, include_path: Path, translate: Callable[[str], str]) -> AdapterPlugin:
    """Return the plugin of an adapter called ``name`` whose statements pass ``translate`` on their way."""

    class Connections(DuckDBConnectionManager):
        TYPE = name

        def add_query(self, sql: str, *args: Any, **kwargs: Any) -> Any:
            with Path(os.environ["GUARDED_SENT_SQL"]).open("a", encoding="utf-8") as sent:
                sent.write(json.dumps(sql) + "\n")
            return super().add_query(translate(sql), *args, **kwargs)

    class Adapter(DuckDBAdapter):
        ConnectionManager = Connections

    # dbt finds an adapter's version by the name of its class.
    Adapter.__name__ = f"{name.capitalize()}Adapter"

    class Credentials(DuckDBCredentials):
        @property
        def type(self) -> str:
            return name

    return AdapterPlugin(
        adapter=Adapter,  # type: ignore[arg-type]  # as in dbt-duckdb itself
        credentials=Credentials,
        include_path=str(include_path),
        dependencies=["duckdb"],
    )
