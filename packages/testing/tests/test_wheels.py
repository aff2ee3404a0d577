# SPDX-License-Identifier: Apache-2.0
"""What users install: wheels built through their sdists, by plain pip, beside folders and editable installs."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml") if path.parent.name != "testing")
DATA = {
    "clyra_verify": ("spec", "clyra/spec/data"),
    "clyra": ("examples/harbor_shop", "clyra/cli/data/harbor_shop"),
    "clyra_dbt": ("dbt_packages/clyra_guard", "clyra/dbt/data/clyra_guard"),
}
LEFT_OUT = "spec/vectors/"
PROBE = """
import json, sys
from importlib.metadata import entry_points
import clyra.cli, clyra.dbt, clyra.evidence, clyra.postgres, clyra.spec, clyra.verify, clyra.warehouse
from dbt.plugins.manager import PluginManager

print(json.dumps({
    "spec": str(clyra.spec.spec_folder()),
    "errors": (clyra.spec.spec_folder() / "errors.md").read_text("utf-8"),
    "commands": sorted(entry.name for entry in entry_points(group="clyra.commands") if callable(entry.load())),
    "warehouses": sorted(entry.name for entry in entry_points(group="clyra.warehouses") if callable(entry.load())),
    "plugins": sorted(PluginManager.get_prefixed_modules()),
}))
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    # The environment of the test run must not lend its packages to the one that is looked at.
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(python: Path, *arguments: str | Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "--quiet", "install", *arguments)


def fresh_environment(folder: Path) -> Path:
    """The Python of a new environment that holds nothing, not even pip."""
    run(find_uv_bin(), "venv", "--quiet", "--python", sys.executable, folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of every package and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(
        find_uv_bin(),
        "build",
        "--quiet",
        "--all-packages",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "-o",
        folder,
    )
    return folder


@pytest.fixture(scope="module", params=["wheels", "folders", "editable"])
def python(request: pytest.FixtureRequest, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with every published package, installed in one of three ways."""
    python = fresh_environment(tmp_path_factory.mktemp(request.param) / "venv")
    # The first of the two steps that hashes allow; the second brings no dependency and asks no index.
    if request.param == "wheels":
        pip(python, "--require-hashes", "-r", ROOT / "constraints.txt")
        pip(python, "--no-deps", "--no-index", *(next(dist.glob(f"{name}-*.whl")) for name in wheel_names()))
    else:
        run(
            find_uv_bin(),
            "pip",
            "install",
            "-q",
            "--python",
            python,
            "--require-hashes",
            "-r",
            ROOT / "constraints.txt",
        )
        option = ["-e"] if request.param == "editable" else []
        folders = [word for name in PUBLISHED for word in (*option, f"./packages/{name}")]
        pip(python, "--no-deps", "--no-build-isolation", *folders)
    return python


def wheel_names() -> list[str]:
    return ["clyra" if name == "clyra" else f"clyra_{name}" for name in PUBLISHED]


def test_every_package_builds_through_its_sdist(dist: Path) -> None:
    built = {path.name.split("-")[0] for path in dist.glob("*.whl")}
    assert built == {*wheel_names(), "clyra_testing"}
    assert {path.name.split("-")[0] for path in dist.glob("*.tar.gz")} == built


@pytest.mark.parametrize("distribution", DATA)
def test_wheel_carries_every_file_of_its_folder(dist: Path, distribution: str) -> None:
    source, target = DATA[distribution]
    wheel = zipfile.ZipFile(next(dist.glob(f"{distribution}-*.whl")))
    files = tracked_files(source)
    assert files
    for name in files:
        assert wheel.read(f"{target}/{name.removeprefix(source + '/')}") == (ROOT / name).read_bytes()


def tracked_files(folder: str) -> list[str]:
    """The files below ``folder`` that git holds, or would hold after the next ``git add``, relative to the root."""
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", folder]
    names = run("git", "-c", "safe.directory=*", *listing).split("\0")
    return [name for name in names if (ROOT / name).is_file() and not name.startswith(LEFT_OUT)]


def test_wheels_do_not_overlap(dist: Path) -> None:
    owners: dict[str, str] = {}
    for path in sorted(dist.glob("*.whl")):
        for name in zipfile.ZipFile(path).namelist():
            assert owners.setdefault(name, path.name) == path.name, name
    assert "clyra/__init__.py" not in owners


def test_wheels_carry_the_license_and_no_test(dist: Path) -> None:
    data = [f"{target}/" for _, target in DATA.values()]
    for path in sorted(dist.glob("*.whl")):
        names = zipfile.ZipFile(path).namelist()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names), path.name
        assert not [name for name in names if "/tests/" in name and not name.startswith(tuple(data))]


def test_installed_packages_find_their_data_and_each_other(python: Path, tmp_path: Path) -> None:
    run(find_uv_bin(), "pip", "check", "--quiet", "--python", python)
    found = json.loads(run(python, "-c", PROBE, cwd=tmp_path))
    assert found["errors"] == (ROOT / "spec/errors.md").read_text("utf-8")
    assert "dbt_clyra" in found["plugins"]
    assert {"dbt", "verify"} <= set(found["commands"])
    assert "postgres" in found["warehouses"]


def test_command_runs(python: Path, tmp_path: Path) -> None:
    clyra = shutil.which("clyra", path=str(python.parent))
    assert clyra
    assert "verify" in run(clyra, "--help", cwd=tmp_path)


def test_folder_of_one_package_builds_in_isolation(tmp_path: Path) -> None:
    # What `pip install ./packages/verify` does for a user: the backend comes from the index, at the version it picks.
    python = fresh_environment(tmp_path / "venv")
    pip(python, "./packages/verify")
    printed = run(python, "-c", "import clyra.verify, clyra.spec; print(clyra.spec.spec_folder())", cwd=tmp_path)
    assert Path(printed.strip()).is_relative_to(tmp_path.resolve())
