# SPDX-License-Identifier: Apache-2.0
"""Checks of the installation: Python, our packages, and which ``clyra`` a shell would run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from clyra.policy.health import Check, CheckContext

_TESTED = ((3, 11), (3, 13))
_OURS = re.compile(r"clyra(-[a-z0-9-]+)?")


def checks(context: CheckContext) -> Iterator[Check]:
    """The checks of the group ``install`` that need no other package."""
    yield python(sys.version_info[:3])
    yield from packages(distributions())
    yield command(context.environ, Path(sys.executable).parent)


def python(version: tuple[int, ...]) -> Check:
    """Whether this Python was tested with; an older one than the oldest cannot run this."""
    told = ".".join(map(str, version))
    if version[:2] > _TESTED[1]:
        newest = ".".join(map(str, _TESTED[1]))
        return Check("install.python", "warn", f"Python {told} was not tested with; {newest} is the newest that was")
    return Check("install.python", "ok", f"Python {told}")


def packages(installed: Iterable[Distribution]) -> Iterator[Check]:
    """Whether our packages are of one version, and each is there once."""
    versions: dict[str, set[str]] = defaultdict(set)
    places: dict[str, list[str]] = defaultdict(list)
    for found in installed:
        name = re.sub(r"[-_.]+", "-", found.name or "").lower()
        if _OURS.fullmatch(name):
            versions[found.version].add(name)
            places[name].append(str(found.locate_file("")))
    told = "; ".join(f"{version}: {', '.join(sorted(names))}" for version, names in sorted(versions.items()))
    if len(versions) > 1:
        yield Check("install.packages", "warn", f"our packages are of several versions: {told}; upgrade them together")
    else:
        yield Check("install.packages", "ok", told or "not installed as packages")
    twice = {name: paths for name, paths in places.items() if len(set(paths)) > 1}
    for name, paths in sorted(twice.items()):
        others = ", ".join(dict.fromkeys(paths))
        yield Check("install.copies", "warn", f"{name} is installed more than once, the first is used: {others}")
    if not twice:
        yield Check("install.copies", "ok", "each package is installed once")


def command(environ: Mapping[str, str], scripts: Path) -> Check:
    """Whether a shell's ``clyra`` is that of this Python, whose scripts lie in ``scripts``."""
    found = shutil.which("clyra", path=environ.get("PATH", os.defpath))
    own = scripts / "clyra"
    fix = f'export PATH={shlex.quote(str(scripts))}:"$PATH"' if own.exists() else None
    if found is None:
        return Check("install.command", "warn", f"no clyra on the PATH; this one lies in {scripts}", fix)
    if Path(found).resolve().parent != scripts.resolve():
        told = f"the clyra on the PATH is {found}, this Python's lies in {scripts}"
        return Check("install.command", "warn", told, fix)
    return Check("install.command", "ok", found)
