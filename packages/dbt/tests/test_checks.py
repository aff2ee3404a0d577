# SPDX-License-Identifier: Apache-2.0
"""What doctor says about an installation, in virtual environments that are broken and put right by the printed fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path

import pytest

import clyra.cli.main
import clyra.dbt._checks
from clyra.dbt import _evidence_checks
from clyra.policy.health import Check, CheckContext

PACKAGES = Path(__file__).resolve().parents[2]
OURS = ("clyra", "evidence", "policy", "postgres", "verify", "warehouse")
FINDER = '''\
import sys
from importlib.machinery import PathFinder


class Finder:
    """What an editable install by import hook puts in place of a folder on the path."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "dbt_clyra":
            return PathFinder.find_spec(name, [{source!r}])
        if name == "clyra.dbt":
            return PathFinder.find_spec(name, [{source!r} + "/clyra"])
        return None


sys.meta_path.append(Finder)
'''


@dataclass(frozen=True)
class Installation:
    """A virtual environment that borrows everything but clyra-dbt."""

    folder: Path

    @property
    def site(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder), "platbase": str(self.folder)}))

    @property
    def environ(self) -> dict[str, str]:
        # Building must not ask an index for hatchling, which is there.
        own = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "HOME": str(self.folder)}
        return {name: value for name, value in os.environ.items() if not name.startswith("CLYRA_")} | own

    def doctor(self, check: str) -> dict[str, str]:
        command = [
            str(self.folder / "bin" / "python"),
            "-m",
            clyra.cli.main.__name__,
            "doctor",
            "--json",
            "--only",
            check,
        ]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        (found,) = json.loads(done.stdout)["checks"]
        return dict(found)

    def paste(self, fix: str, **environ: str) -> None:
        done = subprocess.run(
            ["sh", "-c", fix], cwd=self.folder, env=self.environ | environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def say_installed(self, name: str, version: str, **files: str) -> None:
        """Leave what an installer leaves about a distribution of no files."""
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir()
        described = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "INSTALLER": "pip\n"}
        for file, text in (described | {name.replace("__", "."): text for name, text in files.items()}).items():
            (info / file).write_text(text)
        names = sorted(path.name for path in info.iterdir())
        (info / "RECORD").write_text("".join(f"{info.name}/{file},,\n" for file in [*names, "RECORD"]))


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    made = Installation(tmp_path / "venv")
    venv.create(made.folder, with_pip=False, symlinks=True)
    borrowed = [str(PACKAGES / name / "src") for name in OURS]
    (made.site / "borrowed.pth").write_text("\n".join([*borrowed, sysconfig.get_path("purelib")]) + "\n")
    return made


def test_a_finder_style_install_is_not_discovered_and_the_fix_makes_it_so(installation: Installation) -> None:
    source = PACKAGES / "dbt"
    (installation.site / "_clyra_dbt_finder.py").write_text(FINDER.format(source=str(source / "src")))
    (installation.site / "clyra_dbt.pth").write_text("import _clyra_dbt_finder\n")
    entry_points = distribution("clyra-dbt").read_text("entry_points.txt") or ""
    origin = json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}})
    installation.say_installed("clyra_dbt", "0.1.0", direct_url__json=origin, entry_points__txt=entry_points)
    found = installation.doctor("install.plugin")
    assert found["status"] == "fail"
    assert "import hook" in found["summary"]
    installation.paste(found["fix"])
    assert installation.doctor("install.plugin")["status"] == "ok"


def test_a_dbt_that_was_not_tested_with_is_replaced_by_the_fix(installation: Installation) -> None:
    (installation.site / "clyra_dbt.pth").write_text(f"{PACKAGES / 'dbt' / 'src'}\n")
    installation.say_installed("dbt_core", "1.10.0")
    wheels = installation.folder / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "dbt_core-1.11.99-py3-none-any.whl", "w") as wheel:
        info = "dbt_core-1.11.99.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: dbt-core\nVersion: 1.11.99\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{info}/{name},,\n" for name in ("METADATA", "WHEEL", "RECORD")))
    found = installation.doctor("install.dbt")
    assert (found["status"], found["summary"]) == ("warn", "dbt-core 1.10.0 was not tested with; 1.11 was")
    installation.paste(found["fix"], PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    assert installation.doctor("install.dbt")["status"] == "ok"


def test_a_plugin_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clyra.dbt.plugin", None)
    found = clyra.dbt._checks.plugin()
    assert found.status == "fail"
    assert "cannot load it, ModuleNotFoundError" in found.summary


@pytest.mark.parametrize(("free_bytes", "status"), [(1 << 31, "ok"), (1 << 29, "warn"), (1 << 20, "fail")])
def test_a_full_disk_is_told_before_a_run_finds_it(free_bytes: int, status: str) -> None:
    assert _evidence_checks.disk(free_bytes).status == status


def test_lines_that_only_the_user_can_place_are_named(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nquery-comment: my own\n")
    found = {check.id: check for check in clyra.dbt._checks.project(context(tmp_path))}["project.guard"]
    assert found.status == "warn"
    assert found.fix is None
    assert "add by hand: query-comment:" in found.summary


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can pass through, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system lacks")
def test_a_folder_that_cannot_be_written_is_opened_by_the_fix(open_folder: Path) -> None:
    evidence = open_folder / ".clyra"
    (open_folder / "dbt_project.yml").write_text("name: shop\n")
    found = as_an_ordinary_user(open_folder, f"mkdir {evidence} && chmod 500 {evidence}")
    assert found.status == "fail"
    assert found.fix is not None
    assert as_an_ordinary_user(open_folder, found.fix).status == "ok"


def as_an_ordinary_user(project: Path, script: str) -> Check:
    """The check ``project.evidence`` after the script; both as nobody where the tests run as root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer: list[str | None] = []
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            subprocess.run(["sh", "-c", script], check=True)
            found = next(check for check in _evidence_checks.checks(context(project)) if check.id == "project.evidence")
            answer = [found.status, found.summary, found.fix]
        finally:
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        status, summary, fix = json.loads(answers.read())
    os.waitpid(child, 0)
    return Check("project.evidence", status, summary, fix)


def context(project: Path) -> CheckContext:
    return CheckContext(project, {}, datetime(2026, 1, 31, tzinfo=UTC), frozenset(), lambda: None)


def test_the_interpreter_of_the_fix_is_the_one_that_asked() -> None:
    assert clyra.dbt._checks._install("x").startswith(sys.executable)
