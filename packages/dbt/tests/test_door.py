# SPDX-License-Identifier: Apache-2.0
"""``dbt_clyra``, the module that dbt finds: ``plugins`` is there while Clyra can be used, and nothing else breaks."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import dbt_clyra


def test_dbt_finds_the_module_by_its_name() -> None:
    assert "dbt_clyra" in {module.name for module in pkgutil.iter_modules()}


def test_plugin_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLYRA_DISABLED", raising=False)
    (plugin,) = dbt_clyra.plugins
    assert plugin.__name__ == "ClyraPlugin"


def test_switch_works_between_two_invocations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLYRA_DISABLED", "1")
    assert not hasattr(dbt_clyra, "plugins")
    assert capsys.readouterr().err == "clyra: switched off by CLYRA_DISABLED; this run leaves no evidence\n"
    monkeypatch.setenv("CLYRA_DISABLED", "0")
    assert hasattr(dbt_clyra, "plugins")


def test_broken_installation_is_told_and_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "clyra.dbt.plugin", None)
    assert not hasattr(dbt_clyra, "plugins")
    assert capsys.readouterr().err.startswith("clyra: cannot be loaded (ModuleNotFoundError")


LOADED = """
import sys
import dbt_clyra, clyra.dbt._statements, clyra.dbt._actor, clyra.dbt._build, clyra.dbt._process, clyra.dbt.recovery
print(" ".join({name.partition(".")[0] for name in sys.modules}))
"""


def test_import_loads_nothing_heavy() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {"cryptography", "orjson", "sqlglot", "pydantic", "psycopg", "yaml", "dbt"}
