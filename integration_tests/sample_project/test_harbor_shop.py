# SPDX-License-Identifier: Apache-2.0
"""The sample project builds twice on DuckDB and on Postgres without a warning, and both hold the same rows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration_tests.sample_project.conftest import Project

HARBOR_SHOP = Path(__file__).parents[2] / "examples" / "harbor_shop"
TARGETS = ["dev", "pg"]
# When a row was landed and snapshotted depends on the clock.
CLOCK_COLUMNS = {"loaded_at", "dbt_updated_at", "dbt_valid_from", "dbt_scd_id"}

MakeProject = Callable[[Path, str], "Project"]


def _relations(project: Project) -> dict[str, str]:
    """The relations of the last build by the name of their node."""
    manifest = project.artifact("manifest.json")
    nodes = manifest["nodes"].values()
    return {
        node["name"]: f"{node['schema']}.{node['alias']}"
        for node in nodes
        if node["resource_type"] in ("model", "seed", "snapshot") and node["config"]["materialized"] != "ephemeral"
    }


def _rows(project: Project, relation: str) -> list[dict[str, Any]]:
    schema, _, table = relation.partition(".")
    columns = project.query(
        "select column_name from information_schema.columns "
        f"where table_schema = '{schema}' and table_name = '{table}' order by ordinal_position"
    )
    names = [str(name) for (name,) in columns if name not in CLOCK_COLUMNS]
    rows = project.query(f"select {', '.join(names)} from {relation}")
    return sorted((dict(zip(names, row, strict=True)) for row in rows), key=repr)


def _build_twice_without_a_warning(project: Project) -> None:
    for _ in range(2):
        printed = project.dbt("build")
        assert "PASS=69 WARN=0 ERROR=0 SKIP=0 NO-OP=1 TOTAL=70" in printed
        assert "WARN" not in printed.replace("WARN=0", "").upper()
    freshness = project.dbt("source", "freshness")
    assert freshness.count("PASS freshness of harbor.") == 3
    assert "WARN" not in freshness.upper()


def test_both_warehouses_build_twice_and_then_hold_the_same_rows(make_project: MakeProject) -> None:
    projects = [make_project(HARBOR_SHOP, target) for target in TARGETS]
    for project in projects:
        _build_twice_without_a_warning(project)
    duck, postgres = projects
    relations = _relations(duck)
    assert len(relations) == 31
    for name, relation in relations.items():
        rows = _rows(duck, relation)
        assert rows, name
        assert rows == _rows(postgres, _relations(postgres)[name]), name


@pytest.mark.parametrize("target", TARGETS)
def test_awkward_values_arrive_as_they_are_in_the_seeds(make_project: MakeProject, target: str) -> None:
    project = make_project(HARBOR_SHOP, target)
    project.dbt("seed")
    with (HARBOR_SHOP / "seeds" / "raw_customers.csv").open(newline="", encoding="utf-8") as file:
        expected = [
            (row["customer_id"], row["full_name"], row["postal_code"], row["delivery_note"])
            for row in csv.DictReader(file)
        ]
    stored = project.query(
        "select customer_id, full_name, postal_code, coalesce(delivery_note, '') "
        f"from {_relations(project)['raw_customers']} order by customer_id"
    )
    assert stored == expected


def test_prod_target_has_schemas_of_its_own(make_project: MakeProject) -> None:
    project = make_project(HARBOR_SHOP, "pg")
    project.dbt("parse", target="prod_pg")
    manifest = project.artifact("manifest.json")
    schemas = {node["schema"] for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    assert schemas == {"harbor", "harbor_landing"}


def test_password_of_the_profile_stays_out_of_dbt_s_files(make_project: MakeProject) -> None:
    project = make_project(HARBOR_SHOP, "pg")
    project.dbt("seed")
    password = project.environment["PGPASSWORD"].encode()
    assert len(password) > 8
    files = [path for path in project.path.rglob("*") if path.is_file()]
    assert [path for path in files if password in path.read_bytes()] == []


def test_project_shows_what_a_project_may_hold(make_project: MakeProject) -> None:
    project = make_project(HARBOR_SHOP, "dev")
    project.dbt("parse")
    manifest = project.artifact("manifest.json")
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert {model["config"]["materialized"] for model in models} == {"view", "table", "incremental", "ephemeral"}
    assert "microbatch" in {model["config"]["incremental_strategy"] for model in models}
    assert any(model["config"]["contract"]["enforced"] for model in models)
    assert all(model["description"] for model in models)
    assert manifest["exposures"]
    assert manifest["unit_tests"]
    assert not (HARBOR_SHOP / "packages.yml").exists()
