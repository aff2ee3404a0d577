# SPDX-License-Identifier: Apache-2.0
"""With the plugin dbt does what it does without it, and the journal holds what the server's own log holds."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Evidence, Host, Outcome, Project

HARBOR_SHOP = Path(__file__).parents[2] / "examples" / "harbor_shop"
GENERATOR = Path(__file__).parents[1] / "generate_project.py"
MODELS = 120
PROJECTS, TARGETS, SIDES, TIMES = ("harbor_shop", "generated"), ("dev", "pg"), ("on", "off"), 2
LIBPQ = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
# When a row was landed and snapshotted depends on the clock.
CLOCK_COLUMNS = {"loaded_at", "dbt_updated_at", "dbt_valid_from", "dbt_scd_id"}


@dataclass
class Side:
    """One project on one target, built several times with the plugin or without it."""

    project: Project
    target: str
    outcomes: list[Outcome] = field(default_factory=list)

    def connect(self) -> Any:
        if self.target == "dev":
            (file,) = self.project.path.glob("*.duckdb")
            return duckdb.connect(str(file), read_only=True)
        parts = {part: self.project.environ[name] for name, part in LIBPQ.items()}
        return psycopg.connect(psycopg.conninfo.make_conninfo("", **parts))

    def contents(self) -> dict[str, list[str]]:
        """Every table and view with its rows, in one order and without clocks."""
        with self.connect() as connection:
            listed = connection.execute(
                "select table_schema, table_name, column_name from information_schema.columns "
                "where table_schema not in ('information_schema', 'pg_catalog') "
                "order by table_schema, table_name, ordinal_position"
            ).fetchall()
            columns: dict[str, list[str]] = {}
            for schema, table, column in listed:
                columns.setdefault(f"{schema}.{table}", []).append(column)
            return {
                relation: sorted(map(repr, connection.execute(select(relation, names)).fetchall()))
                for relation, names in columns.items()
            }


Sides = Mapping[tuple[str, str, str], Side]


def select(relation: str, columns: Sequence[str]) -> str:
    kept = ", ".join(f'"{column}"' for column in columns if column not in CLOCK_COLUMNS)
    schema, _, table = relation.partition(".")
    return f'select {kept} from "{schema}"."{table}"'


def build(sides: Sequence[Side]) -> None:
    """Build each of the projects as often as wanted, one after the other."""
    for side in sides:
        for _ in range(TIMES):
            side.outcomes.append(side.project.dbt("build", "--target", side.target))


def statuses_of_run_results(evidence: Evidence) -> dict[str, str]:
    """Recorded statuses without ephemeral models, which dbt finishes and leaves out of its results."""
    nodes = evidence.nodes()
    found = evidence.statuses()
    return {name: status for name, status in found.items() if nodes[name]["materialized"] != "ephemeral"}


@pytest.fixture(scope="module")
def sides(
    host: Host,
    give_database: Callable[[Project], dict[str, str]],
    make_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sides:
    """Both projects on both targets, with and without the plugin, in two processes at the same time."""
    folder = tmp_path_factory.mktemp("same")
    subprocess.run([sys.executable, GENERATOR, "--models", str(MODELS), "--out", folder / "generated"], check=True)
    sources = {"harbor_shop": HARBOR_SHOP, "generated": folder / "generated"}
    made: dict[tuple[str, str, str], Side] = {}
    hosts = {side: type(host)() for side in SIDES}
    for name in PROJECTS:
        for target in TARGETS:
            for side in SIDES:
                project = make_project(sources[name], folder / side / target / name, hosts[side])
                project.environ |= give_database(project) if target == "pg" else {}
                project.environ |= {"CLYRA_DISABLED": "1"} if side == "off" else {}
                made[name, target, side] = Side(project, target)
    with ThreadPoolExecutor() as pool:
        halves = [[made[key] for key in made if key[2] == side] for side in SIDES]
        list(pool.map(build, halves))
    for used in hosts.values():
        used.stop()
    return made


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PROJECTS)
def test_statuses_are_the_same_with_and_without(sides: Sides, name: str, target: str) -> None:
    on, off = sides[name, target, "on"], sides[name, target, "off"]
    for with_plugin, without in zip(on.outcomes, off.outcomes, strict=True):
        assert with_plugin.code == without.code == 0
        assert with_plugin.results == without.results
        assert statuses_of_run_results(with_plugin.evidence) == with_plugin.results
        assert without.bundles == ()
    assert len(on.outcomes[0].results) >= (70 if name == "harbor_shop" else MODELS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PROJECTS)
def test_relations_and_rows_are_the_same_with_and_without(sides: Sides, name: str, target: str) -> None:
    with_plugin, without = (sides[name, target, side].contents() for side in SIDES)
    assert with_plugin.keys() == without.keys()
    assert len(with_plugin) >= (30 if name == "harbor_shop" else MODELS)
    assert {relation: len(rows) for relation, rows in with_plugin.items()} == {
        relation: len(rows) for relation, rows in without.items()
    }
    assert with_plugin == without


@pytest.mark.parametrize("name", PROJECTS)
def test_server_is_sent_the_same_statements_with_and_without(sides: Sides, name: str) -> None:
    on, off = sides[name, "pg", "on"], sides[name, "pg", "off"]
    for with_plugin, without in zip(on.outcomes, off.outcomes, strict=True):
        verbs = [
            Counter(entry.verb for entry in outcome.logged if entry.sender == "dbt")
            for outcome in (with_plugin, without)
        ]
        assert verbs[0] == verbs[1]
        assert {entry.sender for entry in without.logged} == {"dbt"}


@pytest.mark.parametrize("name", PROJECTS)
def test_journal_holds_every_statement_of_the_server_log(sides: Sides, name: str) -> None:
    for outcome in sides[name, "pg", "on"].outcomes:
        outcome.require_journal_of_log()
        assert outcome.evidence.run["counts"]["statements"] == len(outcome.sent_by_dbt)
        assert len(outcome.sent_by_dbt) > 2 * len(outcome.results)
