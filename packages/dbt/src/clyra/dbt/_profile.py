# SPDX-License-Identifier: Apache-2.0
"""The target of a project's profile, read by dbt itself outside of a run: only dbt can render a profile."""

from __future__ import annotations

import atexit
import gc
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clyra.policy.health import Target
from clyra.spec import ConfigurationError, UnavailableError
from clyra.warehouse import Query


def read_target(project_dir: Path, environ: Mapping[str, str]) -> Target | None:
    """The target that ``dbt build`` would have in this project; None where dbt is not installed.

    The adapter is loaded when a connection is opened, so one that is not installed can be named.

    Raises:
        ConfigurationError: There is no profile, or dbt cannot read it (``config_invalid``).
    """
    try:
        from dbt_common.context import set_invocation_context

        from dbt.flags import set_from_args
    except ImportError:
        return None
    folder = environ.get("DBT_PROFILES_DIR") or str(_profiles_dir(project_dir, environ))
    try:
        set_invocation_context(environ)
        set_from_args(Namespace(project_dir=str(project_dir), profiles_dir=folder), None)
        name, profile = _rendered(project_dir, folder, environ)
        adapter = str(profile["type"])
    except Exception as exc:
        # dbt's message may quote the profile, and with it a password.
        told = f"dbt cannot read the profile of {project_dir} in {folder}: {type(exc).__name__}; try dbt debug"
        raise ConfigurationError(told) from exc
    places = {"host": profile.get("host"), "port": profile.get("port")}
    places["dbname"] = profile.get("dbname", profile.get("database"))
    address = {place: str(value) for place, value in places.items() if value is not None}
    return Target(name, adapter, address, lambda: _connected(project_dir, adapter, environ))


def _profiles_dir(project_dir: Path, environ: Mapping[str, str]) -> Path:
    # dbt looks in the working directory; commands of ours may be called in a folder below the project.
    if (project_dir / "profiles.yml").exists():
        return project_dir
    return Path(environ.get("HOME") or Path.home()) / ".dbt"


def _rendered(project_dir: Path, folder: str, environ: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    from dbt.config.profile import Profile, read_profile
    from dbt.config.project import load_raw_project
    from dbt.config.renderer import ProfileRenderer

    renderer = ProfileRenderer({})
    named = environ.get("DBT_PROFILE") or renderer.render_value(load_raw_project(str(project_dir))["profile"])
    raw = read_profile(folder)[named]
    return Profile.render_profile(raw, named, environ.get("DBT_TARGET"), renderer)


@contextmanager
def _connected(project_dir: Path, adapter: str, environ: Mapping[str, str]) -> Iterator[Query]:
    from clyra.dbt._anchors import AnchorRecorder
    from clyra.dbt._clock import SystemClock
    from dbt.adapters.factory import FACTORY
    from dbt.config.runtime import load_profile

    # The command freezes what the collector would look at when the process ends; some drivers take that for a leak.
    atexit.register(gc.unfreeze)
    try:
        profile = load_profile(str(project_dir), {}, environ.get("DBT_PROFILE"), environ.get("DBT_TARGET"))
        manager = FACTORY.plugins[adapter].adapter.ConnectionManager
    except Exception as exc:
        told = f"dbt cannot use the adapter {adapter}: {type(exc).__name__}; try dbt debug"
        raise UnavailableError(told, code="extra_missing") from exc
    recorder = AnchorRecorder(adapter, manager, profile.credentials, SystemClock(), dict(environ))
    with recorder.connected() as query:
        yield query
