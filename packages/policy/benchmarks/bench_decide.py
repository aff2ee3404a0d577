# SPDX-License-Identifier: Apache-2.0
"""The same rules and facts decided by the engine, by CEL and by Cedar in one run; prints one JSON line per size.

40 rules are to be decided in 40 us, 400 in 400 us. CEL programs, Cedar's policy set and entities are prepared once, as
the engine's closures are; what is measured is a decision on new facts, down to the ids of the rules that matched.

    pytest -o python_files=bench_*.py packages/policy/benchmarks/bench_decide.py -s
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import date
from importlib import import_module
from random import Random
from typing import Any

import pytest

from clyra.policy.effect import Effect, join
from clyra.policy.engine import compile_policy

TODAY = date(2026, 11, 22)
FACTS: Mapping[str, Any] = {
    "env.production": True,
    "change.full_refresh": False,
    "change.dirty": False,
    "change.models": 40,
    "lineage.trust": 100,
    "dbt.command": "build",
    "change.branch": "main",
    "dbt.relation": "prod.crm.customers",
    "dbt.tags": ("daily", "pii"),
    "dbt.materialized": "table",
}
# Field, operator, value, and the same for CEL and for Cedar with the fact's name in the place of {}.
CONDITIONS: tuple[tuple[str, str, Any, str, str], ...] = (
    ("env.production", "eq", True, "{} == true", "{} == true"),
    ("change.full_refresh", "eq", True, "{} == true", "{} == true"),
    ("change.dirty", "ne", True, "{} != true", "{} != true"),
    ("change.models", "gt", 10, "{} > 10", "{} > 10"),
    ("change.models", "lt", 30, "{} < 30", "{} < 30"),
    ("lineage.trust", "lt", 70, "{} < 70", "{} < 70"),
    ("dbt.command", "in", ["run", "build"], "{} in ['run', 'build']", '["run", "build"].contains({})'),
    ("change.branch", "ne", "main", "{} != 'main'", '{} != "main"'),
    ("dbt.relation", "prefix", "prod.", "{}.startsWith('prod.')", '{} like "prod.*"'),
    ("dbt.tags", "has", "pii", "'pii' in {}", '{}.contains("pii")'),
    ("dbt.tags", "has_any", ["hr", "law"], "('hr' in {0} || 'law' in {0})", '{}.containsAny(["hr", "law"])'),
    ("dbt.materialized", "ne", "view", "{} != 'view'", '{} != "view"'),
)
EFFECTS: tuple[Effect, ...] = ("warn", "require_approval", "block")
Drawn = list[tuple[str, Effect, list[tuple[str, str, Any, str, str]]]]
Decide = Callable[[], list[str]]


def draw(count: int) -> Drawn:
    """Rules of two to four conditions."""
    random = Random(count)
    return [
        (f"x_{number}", random.choice(EFFECTS), random.sample(CONDITIONS, random.randint(2, 4)))
        for number in range(count)
    ]


def ours(rules: Drawn) -> Decide:
    entries = [
        {
            "id": name,
            "effect": effect,
            "mode": "enforce",
            "when": [{"field": field, "op": op, "value": value} for field, op, value, *_ in conditions],
        }
        for name, effect, conditions in rules
    ]
    policy = compile_policy({"data_platform": {"rules": entries}})
    return lambda: [outcome.id for outcome in policy.decide("run", FACTS, today=TODAY).rules]


def cel(rules: Drawn) -> Decide:
    library: Any = import_module("cel_expr_python.cel")
    kinds = {bool: library.Type.BOOL, int: library.Type.INT, str: library.Type.STRING}
    listed = library.Type.List(library.Type.STRING)
    variables = {_plain(name): kinds.get(type(value), listed) for name, value in FACTS.items()}
    environment = library.NewEnv(variables=variables)
    programs = [
        (
            name,
            effect,
            environment.compile(" && ".join(text.format(_plain(field)) for field, _, _, text, _ in conditions)),
        )
        for name, effect, conditions in rules
    ]

    def decide() -> list[str]:
        data = {_plain(name): list(value) if isinstance(value, tuple) else value for name, value in FACTS.items()}
        activation = environment.Activation(data)
        matched = [(name, effect) for name, effect, program in programs if program.eval(activation).value()]
        join(effect for _, effect in matched)
        return [name for name, _ in matched]

    return decide


def cedar(rules: Drawn) -> Decide:
    import cedarpy

    wholes = [" && ".join(text.format(f"context.{_plain(field)}") for field, *_, text in each) for *_, each in rules]
    policies = cedarpy.PolicySet.from_str(
        "\n".join(f"forbid (principal, action, resource) when {{ {whole} }};" for whole in wholes)
    )
    entities = cedarpy.Entities.from_json_str("[]")
    # Cedar numbers the policies of a text.
    named = {f"policy{number}": (name, effect) for number, (name, effect, _) in enumerate(rules)}

    def decide() -> list[str]:
        context = {_plain(name): list(value) if isinstance(value, tuple) else value for name, value in FACTS.items()}
        request = {"principal": 'User::"a"', "action": 'Action::"a"', "resource": 'Run::"a"', "context": context}
        matched = [named[each] for each in cedarpy.is_authorized(request, policies, entities).diagnostics.reasons]
        join(effect for _, effect in matched)
        return [name for name, _ in matched]

    return decide


def _plain(name: str) -> str:
    return name.replace(".", "_")


def best_us(decide: Decide) -> float:
    """CPU of one decision in the quietest of some rounds, in microseconds."""
    rounds = []
    for _ in range(15):
        started = time.process_time()
        for _ in range(50):
            decide()
        rounds.append((time.process_time() - started) / 50)
    return min(rounds) * 1e6


@pytest.mark.budget
@pytest.mark.parametrize("count", [40, 400])
def test_a_decision_costs_a_microsecond_per_rule(benchmark: Any, count: int) -> None:
    rules = draw(count)
    engines = {"clyra": ours(rules), "cel-expr-python": cel(rules), "cedarpy": cedar(rules)}
    matched = {name: sorted(decide()) for name, decide in engines.items()}
    assert matched["clyra"] == matched["cel-expr-python"] == matched["cedarpy"]
    costs = {name: best_us(decide) for name, decide in engines.items()}
    benchmark(engines["clyra"])
    told = {
        "rules": count,
        "matched": len(matched["clyra"]),
        "us": {name: round(cost, 1) for name, cost in costs.items()},
        "ratio": {name: round(cost / costs["clyra"], 1) for name, cost in costs.items()},
    }
    benchmark.extra_info |= told
    print(json.dumps(told))
    assert costs["clyra"] <= count
