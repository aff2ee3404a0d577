# SPDX-License-Identifier: Apache-2.0
"""Under an enforcing policy that holds nothing the sample project builds the same rows as without Clyra."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from clyra.verify import verify_bundle

HARBOR_SHOP = Path(__file__).parents[2] / "examples" / "harbor_shop"
DBT = Path(sys.executable).with_name("dbt")
# When a row was landed and snapshotted depends on the clock.
CLOCK_COLUMNS = {"loaded_at", "dbt_updated_at", "dbt_valid_from", "dbt_scd_id"}
POLICY = """
version: 1
name: harbor
environments:
  live: {targets: [dev, pg], mode: enforce, production: true}
data_platform:
  rules:
    - {id: x_fresh, effect: block, mode: enforce, when: [{field: change.full_refresh, op: eq, value: true}]}
    - {id: x_python, effect: block, mode: enforce, when: [{field: dbt.language, op: eq, value: python}]}
    - {id: x_pii, effect: require_approval, mode: enforce, when: [{field: data.labels, op: has, value: nobody}]}
    - {id: x_tests, effect: warn, mode: enforce, when: [{field: dbt.has_tests, op: eq, value: false}]}
enforcement:
  risk: {thresholds: [{above: 99, effect: require_approval}]}
"""

Query = Callable[[str], Sequence[Sequence[Any]]]


class Shop:
    """Copies of the sample project on one database, each in a schema or file of its own."""

    def __init__(self, folder: Path, target: str, dsn: str) -> None:
        self.folder = folder
        self.target = target
        self.dsn = dsn

    def build(self, name: str, policy: str | None) -> dict[str, list[str]]:
        """Build twice; gives the rows of every relation."""
        path = self.folder / name
        shutil.copytree(
            HARBOR_SHOP, path, ignore=shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb", "*.wal")
        )
        environment = {**self._environment(name), **({"CLYRA_DISABLED": "1"} if policy is None else {})}
        if policy is not None:
            (path / "clyra.policy.yaml").write_text(policy)
        for _ in range(2):
            command = [str(DBT), "--quiet", "build", "--target", self.target]
            ended = subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, ended.stdout + ended.stderr
        return self._rows(path, name)

    def _environment(self, name: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CLYRA_", "DBT_", "PG"))}
        places = {"HARBOR_SCHEMA": name, "HARBOR_DUCKDB_PATH": "shop.duckdb", "HOME": str(self.folder)}
        environment = {**kept, **places, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        if self.target == "pg":
            parts = conninfo_to_dict(self.dsn)
            words = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "DATABASE"}
            environment |= {f"PG{word}": str(parts[part]) for part, word in words.items()}
        return environment

    def _rows(self, path: Path, name: str) -> dict[str, list[str]]:
        nodes = json.loads((path / "target" / "manifest.json").read_text())["nodes"].values()
        relations = {
            node["name"]: (node["schema"], node["alias"])
            for node in nodes
            if node["resource_type"] in ("model", "seed", "snapshot") and node["config"]["materialized"] != "ephemeral"
        }
        if self.target == "dev":
            with duckdb.connect(str(path / "shop.duckdb"), read_only=True) as database:
                return rows_of(relations, lambda sql: database.execute(sql).fetchall(), name)
        with psycopg.connect(self.dsn) as connection:
            return rows_of(relations, lambda sql: connection.execute(sql.encode()).fetchall(), name)


def rows_of(relations: dict[str, tuple[str, str]], query: Query, name: str) -> dict[str, list[str]]:
    found = {}
    for node, (schema, table) in relations.items():
        columns = query(
            "select column_name from information_schema.columns "
            f"where table_schema = '{schema}' and table_name = '{table}' order by ordinal_position"
        )
        names = [str(column[0]) for column in columns if column[0] not in CLOCK_COLUMNS]
        rows = query(f"select {', '.join(names)} from {schema}.{table}")
        found[node] = sorted(repr(tuple(row)) for row in rows)
    assert len(found) == 31, name
    return found


@pytest.mark.parametrize("target", ["dev", "pg"])
def test_gates_that_hold_nothing_change_no_row(tmp_path: Path, target: str, request: pytest.FixtureRequest) -> None:
    dsn = request.getfixturevalue("postgres_dsn") if target == "pg" else ""
    shop = Shop(tmp_path, target, dsn)
    assert shop.build("gated", POLICY) == shop.build("plain", None)
    bundles = sorted((tmp_path / "gated" / ".clyra" / "evidence").glob("*/*/*.def.zip"))
    assert len(bundles) == 2
    for bundle in bundles:
        assert verify_bundle(bundle, environ={}).code is None
