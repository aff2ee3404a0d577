# SPDX-License-Identifier: Apache-2.0
"""What every file and every package of the repository must keep to, whoever adds the next one."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
LICENSE_LINE = "SPDX-License-Identifier: Apache-2.0"
CODE = {".go", ".js", ".mjs", ".py", ".sh", ".ts"}
# Written in pieces, or this file would be the first to hold what it looks for.
MACHINE_PATH = re.compile(
    rb"(?<![\w.@:-])/(?:" + rb"|".join([rb"wo" rb"rk", rb"ro" rb"ot", rb"opt/wh" rb"eels"]) + rb")/"
)
TEMPORARY_PATH = re.compile(rb"(?<![\w.@:-])/t" rb"mp/\w")
REGISTRY = re.compile(
    rb"(?:" + rb"|".join([rb"py" rb"pi", rb"python" rb"hosted", rb"npm" rb"js", rb"yarn" rb"pkg"]) + rb")\.(?:org|com)"
)
GO_REGISTRY = re.compile(rb"\b(?:proxy|sum)\.go" rb"lang\.org")
INDEX_OPTION = re.compile(rb"(?m)(?:^|\s)--?(?:extra-)?index-url|^\s*(?:extra-)?index-url\s*=|\[\[tool\.uv\.index\]\]")


@cache
def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def repository_files() -> tuple[Path, ...]:
    """Files that are in git or would be with the next ``git add``."""
    # A container may run as another user than the one who cloned; git would refuse to look without this.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(path for name in listing.split("\0") if name and (path := ROOT / name).is_file())


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_tool(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which(name, path=str(Path(sys.executable).parent))
    assert tool, f"{name} is not installed beside {sys.executable}"
    env = {**os.environ, **environment}
    return subprocess.run([tool, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_source_files_name_their_license() -> None:
    sources = [path for path in repository_files() if path.suffix in CODE or path.match("sql/*/*.sql")]
    sources += [ROOT / ".ci/run"]
    silent = [path for path in sources if LICENSE_LINE not in "".join(path.read_text("utf-8").splitlines()[:3])]
    assert [relative(path) for path in silent] == []


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(MACHINE_PATH, id="machine_path"),
        pytest.param(TEMPORARY_PATH, id="temporary_path"),
        pytest.param(REGISTRY, id="registry"),
        pytest.param(GO_REGISTRY, id="go_registry"),
    ],
)
def test_no_file_holds_an_address_of_a_machine_or_a_registry(pattern: re.Pattern[bytes]) -> None:
    found = {relative(path): hits for path in repository_files() if (hits := pattern.findall(path.read_bytes()))}
    assert found == {}


def test_no_configuration_chooses_an_index() -> None:
    configuration = [path for path in repository_files() if path.suffix in {".cfg", ".ini", ".toml", ".txt", ".yml"}]
    assert [relative(path) for path in configuration if INDEX_OPTION.search(path.read_bytes())] == []


@pytest.mark.parametrize("sample", [b"a /wo" + b"rk/x", b'"/ro' + b'ot/.cache"', b"(/t" + b"mp/y)"])
def test_paths_of_a_machine_are_recognized(sample: bytes) -> None:
    assert MACHINE_PATH.search(sample) or TEMPORARY_PATH.search(sample)


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_package_carries_the_license(folder: Path) -> None:
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_packages_that_pack_data_share_one_build_hook() -> None:
    hooks = {path.read_bytes() for path in ROOT.glob("packages/*/hatch_build.py")}
    assert len(hooks) == 1


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_import_packages_are_typed_and_the_namespace_stays_open(folder: Path) -> None:
    sources = folder / "src"
    assert not (sources / "clyra/__init__.py").exists()
    packages = {init.parent for pattern in ("clyra/*/__init__.py", "*/__init__.py") for init in sources.glob(pattern)}
    assert packages
    assert [package.name for package in packages if not (package / "py.typed").is_file()] == []


@pytest.mark.parametrize("folder", [ROOT, *PACKAGES], ids=lambda folder: folder.name)
def test_our_own_requirements_come_from_the_workspace(folder: Path) -> None:
    # Without its source, a name of ours would be looked up in an index, where anyone may register it.
    ours = {project(member)["project"]["name"] for member in PACKAGES}
    named = {requirement.name for requirement in stated(project(folder))}
    sources = project(folder)["tool"].get("uv", {}).get("sources", {})
    assert {name for name in named & ours if sources.get(name) != {"workspace": True}} == set()


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_packages_agree_on_what_they_support(folder: Path) -> None:
    table, reference = project(folder)["project"], project(ROOT / "packages/verify")["project"]
    for key in ("requires-python", "license", "classifiers", "version"):
        assert table[key] == reference[key], key


def stated(table: dict[str, Any]) -> Iterator[Requirement]:
    """Every requirement of one ``pyproject.toml``: build, run time, extras and groups."""
    lists = [table.get("build-system", {}).get("requires", []), table["project"].get("dependencies", [])]
    lists += table["project"].get("optional-dependencies", {}).values()
    lists += table.get("dependency-groups", {}).values()
    return (Requirement(entry) for entries in lists for entry in entries if isinstance(entry, str))


def test_imports_keep_to_the_package_graph() -> None:
    done = run_tool("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        pytest.param("unplaced", "", "clyra.unplaced", id="a package that no layer names"),
        pytest.param("siem", "import clyra.cli\n", "clyra.siem -> clyra.cli", id="an import that goes up"),
        pytest.param("gateway", "import clyra.dbt\n", "clyra.gateway -> clyra.dbt", id="an import that goes sideways"),
        pytest.param(
            "gateway", "import dbt_clyra\n", "clyra.gateway -> dbt_clyra", id="an import of the plugin module"
        ),
    ],
)
def test_package_graph_refuses(tmp_path: Path, name: str, source: str, complaint: str) -> None:
    package = tmp_path / "clyra" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    done = run_tool("lint-imports", "--no-cache", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert complaint in done.stdout


def private_targets(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[str, str]]:
    """Each imported name that goes through a private module, with the package which that module is private to."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            cut = len(parts) - node.level + (1 if is_package else 0)
            base = [*(parts[:cut] if node.level else []), *(node.module.split(".") if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
        for name in names:
            parts = name.split(".")
            hidden = [index for index, part in enumerate(parts) if part.startswith("_") and not part.endswith("__")]
            if hidden and parts[0] in {"clyra", "dbt_clyra"}:
                yield name, ".".join(parts[: hidden[0]])


def trespasses(path: Path, sources: Path) -> list[str]:
    """The imports in a source file that reach into the private modules of a package which the file is not in."""
    parts = path.relative_to(sources).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    tree = ast.parse(path.read_text("utf-8"))
    return [
        f"{module}: {name}"
        for name, owner in private_targets(tree, module, is_package=is_package)
        if not f"{module}.".startswith(f"{owner}.")
    ]


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_private_modules_stay_inside_their_package(folder: Path) -> None:
    sources = folder / "src"
    assert [found for path in sorted(sources.rglob("*.py")) for found in trespasses(path, sources)] == []


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_tests_reach_only_into_private_modules_of_their_own_distribution(folder: Path) -> None:
    foreign = []
    for path in sorted((folder / "tests").rglob("*.py")):
        for name, owner in private_targets(ast.parse(path.read_text("utf-8")), path.stem, is_package=False):
            if not (folder / "src" / Path(*owner.split("."))).is_dir():
                foreign.append(f"{path.name}: {name}")
    assert foreign == []


def test_import_of_a_foreign_private_module_is_found(tmp_path: Path) -> None:
    package = tmp_path / "clyra/cli"
    package.mkdir(parents=True)
    source = package / "verify.py"
    source.write_text("from clyra.evidence._merkle import root\nfrom . import _output\nfrom ._output import table\n")
    assert trespasses(source, tmp_path) == ["clyra.cli.verify: clyra.evidence._merkle.root"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what ``scripts/pins.py`` reads and writes."""
    for path in (
        ROOT / "constraints.txt",
        ROOT / "scripts/pins.py",
        *(f / "pyproject.toml" for f in (ROOT, *PACKAGES)),
    ):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


def run_pins(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "scripts/pins.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def edit(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text("utf-8"), count=1)
    assert count == 1, f"{pattern!r} is not in {path.name}"
    path.write_text(text, "utf-8")


def test_pins_do_not_drift() -> None:
    done = run_pins(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_moved_pin_is_drift_until_it_is_copied(checkout: Path) -> None:
    edit(checkout / "constraints.txt", r"(?m)^click==\S+", "click==8.0.0")
    assert "differ from constraints.txt" in run_pins(checkout, "--check").stderr
    assert run_pins(checkout).returncode == 0
    assert run_pins(checkout, "--check").returncode == 0
    assert '"click==8.0.0"' in (checkout / "pyproject.toml").read_text("utf-8")


def test_a_dependency_without_a_pin_is_named(checkout: Path) -> None:
    edit(
        checkout / "packages/evidence/pyproject.toml", r"(?m)^dependencies = \[", 'dependencies = ["zstandard>=0.22", '
    )
    done = run_pins(checkout, "--check")
    assert done.returncode == 1
    assert "zstandard is required but not pinned" in done.stderr


def test_a_pin_without_a_digest_is_refused(checkout: Path) -> None:
    edit(checkout / "constraints.txt", r"(?m)^(click==\S+) \\\n(?:    .*\n)+", r"\1\n")
    done = run_pins(checkout, "--check")
    assert done.returncode == 1
    assert "expected a pin with hashes" in done.stderr


def test_an_address_among_the_pins_is_refused(checkout: Path) -> None:
    edit(checkout / "constraints.txt", r"(?m)^click==\S+", "click @ https://packages.example/click.whl")
    assert run_pins(checkout, "--check").returncode == 1


def test_pins_satisfy_every_stated_requirement() -> None:
    pins = {pin.name: pin for pin in map(Requirement, workspace_pins("constraint-dependencies"))}
    unfit = []
    for folder in (ROOT, *PACKAGES):
        for requirement in stated(project(folder)):
            name = canonicalize_name(requirement.name)
            if name in pins and not requirement.specifier.contains(str(pins[name].specifier).removeprefix("==")):
                unfit.append(f"{folder.name}: {requirement}, pinned {pins[name]}")
    assert unfit == []


def test_build_pins_are_hatchling_and_what_it_requires() -> None:
    needed = {"editables", "hatchling"}
    for entry in requires("hatchling") or []:
        requirement = Requirement(entry)
        if requirement.marker is None or requirement.marker.evaluate():
            needed.add(canonicalize_name(requirement.name))
    assert {Requirement(entry).name for entry in workspace_pins("build-constraint-dependencies")} == needed


def workspace_pins(key: str) -> list[str]:
    return list(project(ROOT)["tool"]["uv"][key])


def test_index_of_decisions_lists_each_of_them() -> None:
    folder = ROOT / "docs/adr"
    linked = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8")))
    assert linked == {path.name for path in folder.glob("[0-9]*.md")}
