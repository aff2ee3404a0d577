# SPDX-License-Identifier: Apache-2.0
"""Warehouses are found by entry point, and only the one that is asked for is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clyra.spec.errors import ConfigurationError
from clyra.warehouse import load_warehouse

WAREHOUSE = """
class {name}:
    adapter_type = "{adapter}"
    def begin_anchor(self, query): return {{}}
    def end_anchor(self, query, mark, now): raise NotImplementedError
    def verify_anchor(self, query, anchor): raise NotImplementedError
    def session_settings(self, tags): raise NotImplementedError
"""


def _install(folder: Path, distribution: str, entry: str, source: str) -> None:
    """Put a distribution with one module and one entry point where importlib.metadata finds it."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[clyra.warehouses]\n{entry}\n")
    (folder / f"{distribution}_module.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installed_warehouse_is_found(site: Path) -> None:
    _install(site, "good", "goodhouse = good_module:Good", WAREHOUSE.format(name="Good", adapter="goodhouse"))
    warehouse = load_warehouse("goodhouse")
    assert warehouse is not None
    assert warehouse.adapter_type == "goodhouse"


def test_an_adapter_nobody_serves_gives_none() -> None:
    assert load_warehouse("no_such_adapter") is None


def test_only_the_named_warehouse_is_imported(site: Path) -> None:
    _install(site, "quiet", "quiethouse = quiet_module:Quiet", WAREHOUSE.format(name="Quiet", adapter="quiethouse"))
    _install(site, "loud", "loudhouse = loud_module:Loud", "raise SystemExit('imported')")
    assert load_warehouse("quiethouse") is not None
    assert "loud_module" not in sys.modules


@pytest.mark.parametrize(
    ("distribution", "entry", "source", "found"),
    [
        pytest.param("gone", "x_gone = gone_missing:X", "", "ModuleNotFoundError", id="module is missing"),
        pytest.param("nameless", "x_nameless = nameless_module:X", "", "AttributeError", id="class is missing"),
        pytest.param("partial", "x_partial = partial_module:X", "class X: pass", "no warehouse", id="not the Protocol"),
        pytest.param(
            "other",
            "x_other = other_module:X",
            WAREHOUSE.format(name="X", adapter="elsewhere"),
            "no warehouse",
            id="another name",
        ),
    ],
)
def test_a_broken_package_is_named(site: Path, distribution: str, entry: str, source: str, found: str) -> None:
    _install(site, distribution, entry, source)
    with pytest.raises(ConfigurationError, match=found) as refusal:
        load_warehouse(f"x_{distribution}")
    assert refusal.value.code == "config_invalid"
    assert entry.split(" = ")[1] in refusal.value.message


def test_two_packages_for_one_adapter_are_refused(site: Path) -> None:
    for name in ("twina", "twinb"):
        _install(site, name, f"twin = {name}_module:Twin", WAREHOUSE.format(name="Twin", adapter="twin"))
    with pytest.raises(ConfigurationError, match="uninstall all but one"):
        load_warehouse("twin")


def test_import_loads_no_heavy_library() -> None:
    code = (
        "import sys, clyra.warehouse; "
        "print([m for m in ('psycopg', 'psycopg2', 'cryptography', 'orjson', 'dbt', 'pydantic') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
