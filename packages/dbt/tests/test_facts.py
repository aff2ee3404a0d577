# SPDX-License-Identifier: Apache-2.0
"""Facts are gathered as far as they are asked for and known; what is not known is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from clyra.dbt._build import Build
from clyra.dbt._facts import NodeFacts, Presented, RunFacts, is_ci, is_off_hours
from clyra.dbt._invocation import DbtInvocation
from clyra.policy.environment import UNKNOWN_ENVIRONMENT, Environment
from clyra.policy.facts import declared_facts

NOW = datetime(2026, 1, 30, 21, 30, tzinfo=UTC)
WORKING = {"timezone": "Europe/Berlin", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}
DECLARED = declared_facts()
OF_RUN = {name for name, fact in DECLARED.items() if fact.scope == "run" and "run" in fact.points}
OF_NODE = {name for name, fact in DECLARED.items() if fact.scope == "node" and "run" in fact.points}
NEVER_KNOWN = {"actor.first_time", "risk.score", "dbt.operation"}


def node(unique_id: str, **members: Any) -> Any:
    kind = unique_id.partition(".")[0]
    config = SimpleNamespace(materialized="table", tags=["nightly"], grants={}, meta={})
    defaults = {
        "unique_id": unique_id,
        "resource_type": kind,
        "config": config,
        "database": "shop",
        "schema": "Sales",
        "relation_name": '"shop"."Sales"."Orders"',
        "language": "sql",
        "package_name": "shop",
        "original_file_path": "models/orders.sql",
        "tags": ["nightly"],
        "columns": {},
        "meta": {},
        "depends_on_nodes": [],
    }
    return SimpleNamespace(**{**defaults, **members})


def dbt(**flags: Any) -> DbtInvocation:
    project = SimpleNamespace(project_name="shop", project_root="/nowhere", packages_install_path="dbt_packages")
    profile = SimpleNamespace(credentials=SimpleNamespace(type="postgres"), target_name="prod")
    members = {"flags": SimpleNamespace(WHICH="run", **flags), "project": project, "profile": profile}
    manifest = SimpleNamespace(nodes={"operation.shop.hook": node("operation.shop.hook")})
    return DbtInvocation({**members, "manifest": manifest}, invocation_id="i", argv=())


def run_facts(*nodes: Any, **members: Any) -> RunFacts:
    defaults: dict[str, Any] = {
        "build": Build(tree="a" * 40, commit="b" * 40, dirty=False, branch="main", source="git"),
        "actor": "alice",
        "environment": Environment("live", "enforce", production=True, targets=("prod",)),
        "environ": {},
        "now": NOW,
        "off_hours": WORKING,
        "presented": Presented(),
        "is_interactive": True,
    }
    return RunFacts(dbt(), nodes, **{**defaults, **members})


def test_every_fact_of_a_run_that_can_be_known_is_supplied() -> None:
    facts = run_facts(node("model.shop.orders")).gather(OF_RUN)
    assert facts.keys() == OF_RUN - NEVER_KNOWN
    for name, value in facts.items():
        wanted = {"bool": bool, "integer": int, "text": str, "set": tuple}[DECLARED[name].type]
        assert type(value) is wanted, name
        allowed = DECLARED[name].values
        assert allowed is None or value in allowed, name


def test_only_what_is_asked_for_is_gathered() -> None:
    assert run_facts().gather({"dbt.command", "dbt.materialized"}) == {"dbt.command": "run"}


def test_what_is_not_known_is_left_out_and_never_false() -> None:
    facts = run_facts(build=Build(), environment=UNKNOWN_ENVIRONMENT, off_hours=None, is_interactive=False)
    known = facts.gather(OF_RUN)
    unknown = {"change.dirty", "change.branch", "env.production", "env.change_freeze", "env.off_hours", "actor.kind"}
    assert unknown.isdisjoint(known)


def test_counts_and_materializations_are_those_of_the_selected_nodes() -> None:
    facts = run_facts(
        node("model.shop.a"), node("seed.shop.b"), node("unit_test.shop.c", config=None), node("test.shop.d")
    ).gather(OF_RUN)
    counts = [facts[f"change.{kind}"] for kind in ("nodes", "models", "seeds", "snapshots", "tests")]
    assert counts == [4, 1, 1, 0, 2]
    assert facts["change.materializations"] == ("table", "unit_test")


def test_approval_that_was_presented_can_be_asked_about() -> None:
    facts = run_facts(presented=Presented(2, ("owner",), break_glass=True)).gather(OF_RUN)
    assert (facts["approvals.count"], facts["approvals.roles"], facts["approvals.break_glass"]) == (2, ("owner",), True)


@pytest.mark.parametrize(
    ("actor", "environ", "kind"),
    [("agent:dana", {}, "agent"), ("deploy", {"CI": "true"}, "service"), ("alice", {"CI": "0"}, "human")],
)
def test_kind_of_actor(actor: str, environ: dict[str, str], kind: str) -> None:
    assert run_facts(actor=actor, environ=environ).gather({"actor.kind"}) == {"actor.kind": kind}
    assert is_ci(environ) is (kind == "service")


def test_facts_of_a_node_are_folded_as_the_adapter_folds() -> None:
    column = SimpleNamespace(meta={"clyra": {"labels": ["salary"]}}, tags=["pii"], config=None)
    found = node(
        "model.shop.orders",
        columns={"id": column},
        group="finance",
        access="protected",
        config=SimpleNamespace(materialized="table", tags=[], meta={"clyra": {"classification": "secret"}}),
        contract=SimpleNamespace(enforced=True),
    )
    test = node("test.shop.t", depends_on_nodes=["model.shop.orders"])
    facts = NodeFacts([found, test], system="postgres", trust=lambda: {"model.shop.orders": 70}).gather(found, OF_NODE)
    assert facts.keys() == OF_NODE
    assert (facts["dbt.relation"], facts["dbt.schema"], facts["dbt.has_tests"]) == ("shop.Sales.Orders", "Sales", True)
    assert (facts["data.classification"], facts["data.labels"], facts["data.personal"]) == ("secret", ("salary",), True)
    assert (facts["dbt.groups"], facts["lineage.trust"]) == (("access:protected", "finance"), 70)


def test_node_that_builds_nothing_is_known_to_build_nothing() -> None:
    unit_test = SimpleNamespace(unique_id="unit_test.shop.u", resource_type="unit_test", config=SimpleNamespace())
    facts = NodeFacts([unit_test], system="duckdb", trust=dict).gather(unit_test, OF_NODE)
    assert (facts["dbt.relation"], facts["dbt.materialized"], facts["dbt.language"]) == ("", "unit_test", "sql")
    assert facts["data.personal"] is False
    assert "data.classification" not in facts


@pytest.mark.parametrize(
    ("working", "at", "expected"),
    [
        pytest.param(WORKING, datetime(2026, 1, 30, 16, 59, tzinfo=UTC), False, id="17:59 there"),
        pytest.param(WORKING, datetime(2026, 1, 30, 17, 0, tzinfo=UTC), True, id="18:00 there"),
        pytest.param(WORKING, datetime(2026, 7, 31, 16, 0, tzinfo=UTC), True, id="18:00 in summer"),
        pytest.param(WORKING, datetime(2026, 1, 31, 12, 0, tzinfo=UTC), True, id="a Saturday"),
        pytest.param({**WORKING, "timezone": "Mars/Olympus"}, NOW, None, id="no such zone"),
        pytest.param(None, NOW, None, id="no hours"),
        pytest.param({**WORKING, "from": "22:00", "to": "06:00"}, NOW, False, id="night shift, evening"),
        pytest.param(
            {**WORKING, "from": "22:00", "to": "06:00"},
            datetime(2026, 1, 31, 4, 0, tzinfo=UTC),
            False,
            id="its morning",
        ),
        pytest.param(
            {**WORKING, "from": "22:00", "to": "06:00"},
            datetime(2026, 2, 1, 4, 0, tzinfo=UTC),
            True,
            id="none on Saturday",
        ),
    ],
)
def test_off_hours(working: dict[str, Any] | None, at: datetime, expected: bool | None) -> None:
    assert is_off_hours(working, at) is expected
