# SPDX-License-Identifier: Apache-2.0
"""What ``clyra doctor`` asks about dbt: the installation and the project's macros."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from clyra.policy.health import Check, CheckContext

_DOOR = "dbt_clyra"
_KNOWN_GOOD = "1.11"
_LINES = ("clyra_guard.query_comment", "clyra_guard.set_session")


def install(context: CheckContext) -> Iterator[Check]:
    """Whether dbt is there in a version that was tested, and finds the plugin."""
    yield _dbt_version()
    yield plugin()
    if context.environ.get("CLYRA_DISABLED", "").strip() not in ("", "0"):
        told = "CLYRA_DISABLED switches the plugin off: runs leave no evidence"
        yield Check("install.disabled", "warn", told, "unset CLYRA_DISABLED")
    else:
        yield Check("install.disabled", "ok", "the plugin is not switched off")


def plugin() -> Check:
    """Whether dbt finds the plugin as it looks for plugins, by the names of top-level modules, and can load it."""
    if _DOOR in {module.name for module in pkgutil.iter_modules()}:
        try:
            importlib.import_module("clyra.dbt.plugin")
        except Exception as exc:  # noqa: BLE001 -- whatever it is, dbt would meet it too
            told = f"dbt finds {_DOOR} and cannot load it, {type(exc).__name__}: {exc}; install clyra-dbt again"
            return Check("install.plugin", "fail", told)
        return Check("install.plugin", "ok", f"dbt finds {_DOOR}")
    if importlib.util.find_spec(_DOOR) is None:
        return Check("install.plugin", "fail", f"{_DOOR} is not installed in {sys.prefix}; install clyra-dbt there")
    told = f"{_DOOR} can be imported and dbt does not see it: its editable install works by an import hook"
    return Check("install.plugin", "fail", told, _reinstall())


def project(context: CheckContext) -> Iterator[Check]:
    """Whether the project has the macros that tag sessions, and the two lines that use them."""
    if context.project_dir is None:
        yield Check("project.file", "skip", "the working directory is in no dbt project")
        return
    yield Check("project.file", "ok", str(context.project_dir / "dbt_project.yml"))
    yield from _guard(context.project_dir)


def _dbt_version() -> Check:
    try:
        found = version("dbt-core")
    except PackageNotFoundError:
        return Check("install.dbt", "fail", "dbt-core is not installed beside clyra-dbt", _install("dbt-core~=1.11.0"))
    if found.startswith(f"{_KNOWN_GOOD}."):
        return Check("install.dbt", "ok", f"dbt-core {found}")
    told = f"dbt-core {found} was not tested with; {_KNOWN_GOOD} was"
    return Check("install.dbt", "warn", told, _install("dbt-core~=1.11.0"))


def _install(what: str, *options: str) -> str:
    """The command that installs something into this Python, with the installer that it has."""
    if importlib.util.find_spec("pip") is not None:
        words = [sys.executable, "-m", "pip", "install", *options, what]
    else:
        words = ["uv", "pip", "install", "--python", sys.executable, *options, what]
    return shlex.join(words)


def _reinstall() -> str | None:
    """How to install our package anew from where it came, without an editable install."""
    import json

    try:
        origin = json.loads(distribution("clyra-dbt").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    source = str(origin.get("url", "")).removeprefix("file://")
    return _install(source, "--no-deps", "--force-reinstall") if source.startswith("/") else None


def _guard(project_dir: Path) -> Iterator[Check]:
    from clyra.dbt._init import GuardSource, plan_init

    text = (project_dir / "dbt_project.yml").read_text("utf-8")
    packages = [project_dir / name for name in ("packages.yml", "dependencies.yml")]
    is_listed = any("clyra_guard" in path.read_text("utf-8") for path in packages if path.is_file())
    missing = [line for line in _LINES if line not in text]
    if is_listed and not missing:
        yield Check("project.guard", "ok", "clyra_guard is listed, its two lines are in dbt_project.yml")
        yield _guard_installed(project_dir)
        return
    lacks = ", ".join([*([] if is_listed else ["clyra_guard in packages.yml"]), *(f"a line with {m}" for m in missing)])
    told = f"the warehouse's history does not name the run: the project lacks {lacks}"
    plan = plan_init(project_dir, GuardSource())
    by_hand = [line for lines in plan.by_hand.values() for line in lines if any(m in line for m in missing)]
    if by_hand:
        yield Check("project.guard", "warn", f"{told}; add by hand: {'; '.join(by_hand)}")
    else:
        command = f"clyra dbt init --project-dir {shlex.quote(str(project_dir))}"
        yield Check("project.guard", "warn", told, command, undo=f"{command} --remove")


def _guard_installed(project_dir: Path) -> Check:
    # dbt's folder for packages can be set in the project; only the usual place is looked at.
    if (project_dir / "dbt_packages" / "clyra_guard").is_dir():
        return Check("project.guard_installed", "ok", "dbt has installed clyra_guard")
    told = "clyra_guard is listed and not installed, so dbt cannot parse the project"
    return Check("project.guard_installed", "fail", told, f"dbt deps --project-dir {shlex.quote(str(project_dir))}")
