# SPDX-License-Identifier: Apache-2.0
"""Write a dbt project of any size, for benchmarks: ``python generate_project.py --models 1000 --out DIR``.

Equal arguments give equal bytes. The models are a graph of layers over a few seeds, about half of them views, the rest
tables and every tenth an incremental model; every third layer is all tables, so that no view stands on more than two
others. The project runs on DuckDB (target ``dev``) and on Postgres (target ``pg``, reading PGHOST, PGPORT, PGUSER,
PGPASSWORD, PGDATABASE and GENERATED_SCHEMA).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LAYERS = 8
SEED_ROWS = 50
LICENSE = "SPDX-License-Identifier: Apache-2.0"

PROJECT = f"""\
# {LICENSE}
name: generated
version: 1.0.0
config-version: 2
profile: generated

flags:
  send_anonymous_usage_stats: false
"""

PROFILES = f"""\
# {LICENSE}
generated:
  target: dev
  outputs:
    dev:
      type: duckdb
      path: generated.duckdb
      threads: 4
    pg:
      type: postgres
      host: "{{{{ env_var('PGHOST', '127.0.0.1') }}}}"
      port: "{{{{ env_var('PGPORT', '5432') | as_number }}}}"
      user: "{{{{ env_var('PGUSER', 'postgres') }}}}"
      password: "{{{{ env_var('PGPASSWORD', '') }}}}"
      dbname: "{{{{ env_var('PGDATABASE', 'postgres') }}}}"
      schema: "{{{{ env_var('GENERATED_SCHEMA', 'generated') }}}}"
      threads: 4
"""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its name, the layer it is in, how it is built and what it selects from."""

    name: str
    layer: int
    materialized: str
    parents: tuple[str, ...]

    def sql(self) -> str:
        """The text of its file."""
        lines = [f"-- {LICENSE}", self._config(), ""]
        if not self.parents:
            return "\n".join([*lines, "select 1 as id", ""])
        amount = " + ".join(f"coalesce(p{position}.amount, 0)" for position in range(len(self.parents)))
        lines += ["select", "    p0.id,", f"    cast(({amount}) % 1000003 as integer) as amount,"]
        lines += [f"    cast('{self.name}' as varchar) as label", f"from {{{{ ref('{self.parents[0]}') }}}} as p0"]
        lines += [
            f"left join {{{{ ref('{parent}') }}}} as p{position} on p0.id = p{position}.id"
            for position, parent in enumerate(self.parents)
            if position
        ]
        if self.materialized == "incremental":
            lines += ["{% if is_incremental() %}", "where p0.id > (select max(id) - 10 from {{ this }})", "{% endif %}"]
        return "\n".join([*lines, ""])

    def _config(self) -> str:
        key = ", unique_key='id'" if self.materialized == "incremental" else ""
        return f"{{{{ config(materialized='{self.materialized}'{key}) }}}}"


def plan_models(models: int, *, seeds: int) -> Iterator[Model]:
    """The models of a project, parents first.

    Args:
        models: How many.
        seeds: How many seeds the first layer selects from, at least one.
    """
    previous = [seed_name(index) for index in range(seeds)]
    current: list[str] = []
    layer = 0
    for index in range(models):
        if index * LAYERS // models != layer:
            previous, current, layer = current, [], index * LAYERS // models
        # Multiplying by a large odd number scatters neighbours, the same way on every Python.
        scattered = [(index + 1) * factor % 2**32 >> 8 for factor in (2654435761, 2246822519, 3266489917)]
        chosen = [previous[number % len(previous)] for number in scattered[: 1 + index % 3]]
        name = model_name(index)
        current.append(name)
        yield Model(name, layer, _materialization(index, layer), tuple(dict.fromkeys(chosen)))


def plan_trivial_models(models: int) -> Iterator[Model]:
    """Models that select a constant and depend on nothing: views and tables by turns."""
    for index in range(models):
        yield Model(model_name(index), 0, ("view", "table")[index % 2], ())


def model_name(index: int) -> str:
    """The name of the model with this index, counted from 0."""
    return f"model_{index + 1:05d}"


def seed_name(index: int) -> str:
    """The name of the seed with this index, counted from 0."""
    return f"seed_{index + 1:02d}"


def _materialization(index: int, layer: int) -> str:
    if index % 10 == 9:
        return "incremental"
    return "table" if layer % 3 == 2 or index % 10 >= 7 else "view"


def _seed_csv(index: int) -> str:
    rows = [
        f"{row},{(row * 7919 + index * 104729) % 1000},seed {index + 1} row {row}" for row in range(1, SEED_ROWS + 1)
    ]
    return "\n".join(["id,amount,label", *rows, ""])


def _tests_yaml(models: list[Model]) -> str:
    lines = [f"# {LICENSE}", "models:"]
    for model in models:
        tests = "not_null" if model.materialized == "view" else "unique, not_null"
        lines += [f"  - name: {model.name}", "    columns:", "      - name: id", f"        data_tests: [{tests}]"]
    return "\n".join([*lines, ""])


def write_project(out: Path, models: list[Model], *, seeds: int, has_tests: bool) -> None:
    """Write the project into a new or empty folder.

    Raises:
        FileExistsError: The folder holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; give a new folder")
    files = {"dbt_project.yml": PROJECT, "profiles.yml": PROFILES}
    files |= {f"seeds/{seed_name(index)}.csv": _seed_csv(index) for index in range(seeds)}
    files |= {f"models/layer_{model.layer}/{model.name}.sql": model.sql() for model in models}
    if has_tests:
        for layer in sorted({model.layer for model in models}):
            tested = [model for model in models if model.layer == layer]
            files[f"models/layer_{layer}/_tests.yml"] = _tests_yaml(tested)
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Read the arguments and write the project."""
    parser = argparse.ArgumentParser(description="Write a dbt project of any size.")
    parser.add_argument("--models", type=int, required=True, metavar="N", help="how many models")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="how many seeds (default 3)")
    parser.add_argument("--tests", action="store_true", help="test the id of every model")
    parser.add_argument("--trivial", action="store_true", help="every model is `select 1 as id`; no seeds")
    arguments = parser.parse_args()
    if arguments.models < 1 or arguments.seeds < 1:
        parser.error("--models and --seeds must be at least 1")
    seeds = 0 if arguments.trivial else arguments.seeds
    plan = plan_trivial_models(arguments.models) if arguments.trivial else plan_models(arguments.models, seeds=seeds)
    try:
        write_project(arguments.out, list(plan), seeds=seeds, has_tests=arguments.tests)
    except FileExistsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
