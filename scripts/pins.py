#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keep the pins: ``constraints.txt`` is the source, the root ``pyproject.toml`` holds a copy without hashes.

uv refuses hashes in ``[tool.uv] constraint-dependencies``, and pip and uv read hashes only from a file, so both
exist and this script is the only writer of the copy. Neither names an index: where packages come from is the
choice of whoever installs. Standard library only; ``--update`` and ``--upgrade`` need uv on PATH and an index.

Example::

    python3 scripts/pins.py --update     # after a dependency was added: pin what is new, keep the rest
    python3 scripts/pins.py --upgrade    # move every pin to the newest release that is old enough
    python3 scripts/pins.py --check      # what the gate runs; offline
"""

import argparse
import datetime
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = "3.11"
# A malicious release is usually found and withdrawn within days, so nothing younger is pinned.
COOLING_OFF = datetime.timedelta(days=7)
# hatchling, what it requires, and what it asks for when an install is editable: all that runs in our builds.
BUILD_PINS = frozenset({"editables", "hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"})
RENEW = "python3 scripts/pins.py --update"
HEADER = "# The pins of every environment, hashed. Written by scripts/pins.py; nothing in it is newer than {cutoff}.\n"

_PIN = re.compile(r"(?m)^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))?(?P<more> \\)?$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LISTS = {"constraint-dependencies": None, "build-constraint-dependencies": BUILD_PINS}


def normalized(requirement: str) -> str:
    """The project name at the head of a requirement, normalized as the packaging standard says."""
    match = _NAME.match(requirement)
    if match is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def read_pins(constraints: str) -> dict[str, str]:
    """Each pinned name with its requirement (version and marker, no hashes), in the file's order.

    Raises:
        ValueError: A line that is no pin, a pin without a hash, or a name that is pinned twice.
    """
    pins: dict[str, str] = {}
    for line in constraints.splitlines():
        if line.startswith(("#", "    --hash=sha256:")) or not line:
            continue
        match = _PIN.fullmatch(line)
        if match is None or match["more"] is None:
            raise ValueError(f"constraints.txt: found {line!r}, expected a pin with hashes; run {RENEW}")
        name = normalized(match["name"])
        if name in pins:
            raise ValueError(f"constraints.txt: {name} is pinned twice; one version must serve every Python")
        marker = f" ; {match['marker']}" if match["marker"] else ""
        pins[name] = f"{match['name']}=={match['version']}{marker}"
    return pins


def with_pins(pyproject: str, pins: Mapping[str, str]) -> str:
    """The text of the root ``pyproject.toml`` with both lists of pins replaced, everything else untouched."""
    for key, names in _LISTS.items():
        lines = [f'    "{pin}",\n' for name, pin in pins.items() if names is None or name in names]
        found = re.findall(rf"(?ms)^{key} = \[.*?\]\n", pyproject)
        if len(found) != 1:
            raise ValueError(f"pyproject.toml: found {len(found)} lists {key}, expected one in [tool.uv]")
        pyproject = pyproject.replace(found[0], f"{key} = [\n{''.join(lines)}]\n")
    return pyproject


def requirements(project: Mapping[str, Any]) -> Iterator[str]:
    """Every requirement that one parsed ``pyproject.toml`` states: build, run time, extras and groups."""
    table = project.get("project", {})
    yield from project.get("build-system", {}).get("requires", ())
    yield from table.get("dependencies", ())
    for extra in table.get("optional-dependencies", {}).values():
        yield from extra
    for group in project.get("dependency-groups", {}).values():
        yield from (entry for entry in group if isinstance(entry, str))


def unpinned(projects: Iterable[Mapping[str, Any]], pins: Mapping[str, str]) -> list[str]:
    """The names which the workspace requires but neither pins nor builds itself, sorted."""
    projects = list(projects)
    members = {normalized(project["project"]["name"]) for project in projects}
    wanted = {normalized(requirement) for project in projects for requirement in requirements(project)}
    return sorted(wanted - members - set(pins))


def load_projects(root: Path) -> list[dict[str, Any]]:
    """The parsed ``pyproject.toml`` of the workspace and of each member, in a stable order."""
    paths = [root / "pyproject.toml", *sorted(root.glob("packages/*/pyproject.toml"))]
    return [tomllib.loads(path.read_text(encoding="utf-8")) for path in paths]


def problems(root: Path) -> list[str]:
    """What is wrong with the pins of the checkout at ``root``; empty when nothing is. Needs no network."""
    try:
        pins = read_pins((root / "constraints.txt").read_text(encoding="utf-8"))
    except ValueError as exc:
        return [str(exc)]
    pyproject = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = [f"{name} is required but not pinned; run {RENEW}" for name in unpinned(load_projects(root), pins)]
    found += [f"{name} builds the wheels but is not pinned" for name in sorted(BUILD_PINS - set(pins))]
    if with_pins(pyproject, pins) != pyproject:
        found.append("the pins in pyproject.toml differ from constraints.txt; run scripts/pins.py")
    return found


def resolve(root: Path, cutoff: datetime.datetime, *, upgrade: bool) -> None:
    """Write ``constraints.txt`` from the group ``dev`` with uv, one version per name for every supported Python."""
    members = [project["project"]["name"] for project in load_projects(root)]
    target = root / "constraints.txt"
    # --no-config, or the copy in pyproject.toml would hold every version where it is.
    command = ["uv", "pip", "compile", "--quiet", "--no-config", "--group", "pyproject.toml:dev", "-o", target.name]
    command += ["--universal", "--python-version", OLDEST_PYTHON, "--fork-strategy", "fewest", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--exclude-newer", f"{cutoff:%Y-%m-%dT%H:%M:%SZ}"]
    command += [word for name in members for word in ("--no-emit-package", name)]
    subprocess.run([*command, *(["--upgrade"] if upgrade else [])], cwd=root, check=True)
    text = target.read_text(encoding="utf-8")
    target.write_text(HEADER.format(cutoff=f"{cutoff:%Y-%m-%d}") + text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when the pins agree, 1 when ``--check`` found a difference."""
    parser = argparse.ArgumentParser(description="Copy the pins of constraints.txt into pyproject.toml, or renew both.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; exit 1 where pins differ or miss")
    mode.add_argument("--update", action="store_true", help="resolve again, keep what still fits")
    mode.add_argument("--upgrade", action="store_true", help="resolve again, take the newest versions")
    parser.add_argument("--exclude-newer", metavar="DATE", type=datetime.date.fromisoformat, help="default: a week ago")
    options = parser.parse_args(arguments)
    if options.update or options.upgrade:
        day = options.exclude_newer or datetime.datetime.now(datetime.UTC).date() - COOLING_OFF
        cutoff = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        resolve(ROOT, cutoff, upgrade=options.upgrade)
    if not options.check:
        path = ROOT / "pyproject.toml"
        pins = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
        path.write_text(with_pins(path.read_text(encoding="utf-8"), pins), encoding="utf-8")
    found = problems(ROOT)
    for problem in found:
        print(f"pins: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
