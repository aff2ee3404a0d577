# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: what decides what it does is in it, and what may differ between runs is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt_common.context import set_invocation_context

from clyra.approval.plan import DbtPlan, plan_differences
from clyra.dbt._invocation import DbtInvocation
from clyra.dbt._plan import digest_of, is_secret_name, plan_of

PASSWORD = "hunter2-hunter2"
Change = Callable[[SimpleNamespace, dict[str, str]], object]


class Config(dict[str, Any]):
    """Configuration of a node, as dbt gives it."""

    def to_dict(self) -> dict[str, Any]:
        return dict(self)

    @property
    def materialized(self) -> str:
        return str(self["materialized"])


def node(unique_id: str, **members: Any) -> SimpleNamespace:
    defaults = {
        "unique_id": unique_id,
        "resource_type": unique_id.partition(".")[0],
        "checksum": SimpleNamespace(name="sha256", checksum="ab" * 32),
        "config": Config(materialized="table", meta={}),
        "columns": {},
        "raw_code": "select 1",
        "relation_name": f'"shop"."main"."{unique_id}"',
        "depends_on_nodes": [],
        "tags": [],
    }
    return SimpleNamespace(**{**defaults, **members})


def project(seed: Path) -> SimpleNamespace:
    seed_node = node(
        "seed.shop.large",
        checksum=SimpleNamespace(name="path", checksum="seeds/large.csv"),
        root_path=str(seed.parent.parent),
        original_file_path="seeds/large.csv",
    )
    nodes = [
        node(
            "model.shop.a", raw_code='select \'{{ env_var("SHOP_PACE", "slow") }}\'', depends_on_nodes=["model.shop.e"]
        ),
        node("model.shop.b"),
        node("model.shop.e", config=Config(materialized="ephemeral")),
        node("operation.shop.shop-on-run-end-0", index=1, raw_code="grant select"),
        seed_node,
    ]
    macros = {
        "macro.dbt.run_query": SimpleNamespace(
            macro_sql="{% macro run_query() %}{{ env_var('SHOP_ROLE') }}{% endmacro %}"
        ),
        "macro.paint.colour": SimpleNamespace(macro_sql="{% macro colour() %}red{% endmacro %}"),
    }
    return SimpleNamespace(nodes={one.unique_id: one for one in nodes}, macros=macros, env_vars={"SHOP_SEEN": "1"})


def plan(
    manifest: SimpleNamespace, environ: dict[str, str], *, select: list[str] | None = None, **more: Any
) -> DbtPlan:
    set_invocation_context(environ)
    credentials = SimpleNamespace(type="duckdb", password=PASSWORD)
    profile = SimpleNamespace(credentials=credentials, target_name="prod", profile_env_vars={"SHOP_LOGIN": PASSWORD})
    members = {
        "flags": SimpleNamespace(
            WHICH="build", VARS=more.pop("variables", {}), FULL_REFRESH=more.pop("full_refresh", False)
        ),
        "project": SimpleNamespace(project_name="shop", project_env_vars={}),
        "profile": profile,
        "manifest": manifest,
    }
    chosen = [manifest.nodes[name] for name in select or ["model.shop.a", "model.shop.b", "seed.shop.large"]]
    dbt = DbtInvocation(members, invocation_id="i", argv=())
    return plan_of(dbt, chosen, tree="a" * 40, bind_vars=more.pop("bind_vars", False))


ENVIRON = {"SHOP_LOGIN": PASSWORD, "SHOP_ROLE": "etl", "SHOP_SEEN": "1", "UNREAD": "x"}


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "seeds" / "large.csv"
    path.parent.mkdir()
    path.write_text("id\n1\n")
    return path


def set_attribute(name: str, attribute: str, value: object) -> Change:
    return lambda manifest, environ: setattr(manifest.nodes[name], attribute, value)


CHANGES: dict[str, tuple[Change, str]] = {
    "code": (
        set_attribute("model.shop.b", "checksum", SimpleNamespace(checksum="cd" * 32)),
        "model shop.b has other code",
    ),
    "inlined code": (
        set_attribute("model.shop.e", "checksum", SimpleNamespace(checksum="cd" * 32)),
        "model shop.e has other code",
    ),
    "config": (
        set_attribute("model.shop.b", "config", Config(materialized="view", meta={})),
        "model shop.b has another configuration",
    ),
    "relation": (
        set_attribute("model.shop.b", "relation_name", '"shop"."x"'),
        "model shop.b has another configuration",
    ),
    "macro": (
        lambda manifest, _: setattr(manifest.macros["macro.dbt.run_query"], "macro_sql", "x"),
        "macro code changed",
    ),
    "package": (lambda manifest, _: manifest.macros.pop("macro.paint.colour"), "macro code changed"),
    "hook": (set_attribute("operation.shop.shop-on-run-end-0", "raw_code", "grant all"), "hooks changed"),
    "value": (lambda _, environ: environ.update(SHOP_ROLE="admin"), "environment variable SHOP_ROLE has another value"),
    "value of a model": (lambda _, e: e.update(SHOP_PACE="fast"), "environment variable SHOP_PACE has another value"),
    "value that is gone": (lambda _, e: e.pop("SHOP_SEEN"), "environment variable SHOP_SEEN has another value"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_change_after_approval_is_not_covered(seed: Path, what: str) -> None:
    manifest, environ = project(seed), dict(ENVIRON)
    approved = plan(manifest, environ)
    change, words = CHANGES[what]
    edited = copy.deepcopy(manifest)
    change(edited, environ)
    assert words in plan_differences(approved, plan(edited, environ))


def test_data_of_a_seed_that_dbt_only_names_is_bound(seed: Path) -> None:
    manifest = project(seed)
    approved = plan(manifest, dict(ENVIRON))
    seed.write_text("id\n2\n")
    assert plan_differences(approved, plan(manifest, dict(ENVIRON))) == ("seed file seeds/large.csv has other data",)


def test_subset_is_covered_and_more_is_not(seed: Path) -> None:
    manifest = project(seed)
    whole, part = plan(manifest, dict(ENVIRON)), plan(manifest, dict(ENVIRON), select=["model.shop.b"])
    assert plan_differences(whole, part) == ()
    assert "model shop.a was not approved" in plan_differences(part, whole)


def test_run_dates_are_bound_only_if_asked(seed: Path) -> None:
    manifest = project(seed)
    one, other = ({"day": day} for day in ("2026-01-31", "2026-02-01"))
    assert plan(manifest, dict(ENVIRON), variables=one) == plan(manifest, dict(ENVIRON), variables=other)
    bound = [plan(manifest, dict(ENVIRON), variables=given, bind_vars=True) for given in (one, other)]
    assert plan_differences(*bound) == ("vars have other values",)


def test_full_refresh_is_another_plan(seed: Path) -> None:
    manifest = project(seed)
    found = plan_differences(plan(manifest, dict(ENVIRON)), plan(manifest, dict(ENVIRON), full_refresh=True))
    assert "model shop.a has another configuration" in found


def test_secrets_are_in_it_by_name_only_and_what_nobody_reads_is_not(seed: Path) -> None:
    found = plan(project(seed), {**ENVIRON, "SHOP_SEEN": "s"})
    assert found.env.keys() == {"SHOP_LOGIN", "SHOP_PACE", "SHOP_ROLE", "SHOP_SEEN"}
    # Not called like a secret, and known by its value as the password.
    assert found.env["SHOP_LOGIN"] is None
    assert PASSWORD.encode() not in found.to_bytes()


@pytest.mark.parametrize("name", ["DBT_ENV_SECRET_X", "PGPASSWORD", "API_KEY", "my_private_key", "GH_TOKEN", "DB_PASS"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["PASSENGERS", "PGHOST", "KEYBOARD", "COMPASS"])
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_digest_of_a_value_does_not_depend_on_the_order_of_its_names() -> None:
    assert digest_of({"b": {1, 2}, "a": 1.5}) == digest_of({"a": 1.5, "b": {2, 1}})
    assert digest_of({"a": "1"}) != digest_of({"a": 1})
