# SPDX-License-Identifier: Apache-2.0
"""The target of a project's profile, read by dbt itself outside of a run: only dbt can render a profile."""

from __future__ import annotations

import atexit
import gc
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from clyra.policy.health import Target
from clyra.spec import ConfigurationError
from clyra.warehouse import Query

# What libpq calls it, and what dbt does.
_ADDRESS = {"host": "host", "port": "port", "dbname": "database"}


def read_target(project_dir: Path, environ: Mapping[str, str]) -> Target | None:
    """The target that ``dbt build`` would have in this project; None where dbt is not installed.

    Raises:
        ConfigurationError: There is no profile, or dbt cannot read it (``config_invalid``).
    """
    try:
        from dbt_common.context import set_invocation_context

        from dbt.config.runtime import load_profile
        from dbt.flags import set_from_args
    except ImportError:
        return None
    # The command freezes what the collector would look at when the process ends; DuckDB takes that for a leak.
    atexit.register(gc.unfreeze)
    folder = environ.get("DBT_PROFILES_DIR") or _profiles_dir(project_dir, environ)
    try:
        set_invocation_context(environ)
        set_from_args(Namespace(project_dir=str(project_dir), profiles_dir=str(folder)), None)
        profile = load_profile(str(project_dir), {}, environ.get("DBT_PROFILE"), environ.get("DBT_TARGET"))
    except Exception as exc:
        # dbt's message may quote the profile, and with it a password.
        told = f"dbt cannot read the profile of {project_dir} in {folder}: {type(exc).__name__}; try dbt debug"
        raise ConfigurationError(told) from exc
    credentials, adapter = profile.credentials, str(profile.credentials.type)
    address = {name: str(value) for name in _ADDRESS if (value := getattr(credentials, _ADDRESS[name], None))}
    return Target(str(profile.target_name), adapter, address, lambda: _connected(adapter, credentials, environ))


def _profiles_dir(project_dir: Path, environ: Mapping[str, str]) -> Path:
    # dbt looks in the working directory; commands of ours may be called in a folder below the project.
    if (project_dir / "profiles.yml").exists():
        return project_dir
    return Path(environ.get("HOME") or Path.home()) / ".dbt"


def _connected(adapter: str, credentials: Any, environ: Mapping[str, str]) -> AbstractContextManager[Query]:
    from clyra.dbt._anchors import AnchorRecorder
    from clyra.dbt._clock import SystemClock
    from dbt.adapters.factory import FACTORY

    manager = FACTORY.plugins[adapter].adapter.ConnectionManager
    return AnchorRecorder(adapter, manager, credentials, SystemClock(), dict(environ)).connected()
