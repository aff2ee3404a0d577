# SPDX-License-Identifier: Apache-2.0
"""What dbt says about the command that runs. Everything that reads dbt's own objects for facts is here.

dbt fills these objects while it goes on (the manifest comes after parsing, another one with ``retry``), so each fact is
read when it is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from clyra.dbt import _schema_text

RECORDED = frozenset(
    ("build", "clone", "compile", "freshness", "retry", "run", "run-operation", "seed", "snapshot", "test")
)
"""Commands that leave a bundle. None for ls, parse, show, docs, debug, deps, clean, init."""

_ALIASES = {"snapshot-freshness": "freshness"}
_SOURCE_PATHS = (
    "model_paths",
    "seed_paths",
    "snapshot_paths",
    "test_paths",
    "macro_paths",
    "analysis_paths",
    "docs_paths",
    "asset_paths",
    "function_paths",
)
_OWN_VAR = re.compile(r"clyra_[a-z_]+")


class DbtInvocation:
    """One dbt command.

    Args:
        members: What dbt keeps for the command: ``flags``, ``project``, ``profile``, later ``runtime_config`` and
            ``manifest``.
        invocation_id: dbt's id of it.
        argv: Its arguments, secrets included; never stored as they are.
    """

    def __init__(self, members: Mapping[str, Any], *, invocation_id: str, argv: Sequence[str]) -> None:
        self._members = members
        self.invocation_id = invocation_id
        self.argv = tuple(argv)

    @classmethod
    def current(cls) -> DbtInvocation | None:
        """The command that runs on this thread; None where dbt was not started through its command or runner."""
        import click
        from dbt_common.invocation import get_invocation_id

        context = click.get_current_context(silent=True)
        if context is None or not isinstance(context.obj, dict) or "flags" not in context.obj:
            return None
        given = context.obj.get("dbt_runner_command_args")
        argv = ("dbt", *map(str, given if given is not None else sys.argv[1:]))
        return cls(context.obj, invocation_id=get_invocation_id(), argv=argv)

    @property
    def command(self) -> str:
        """dbt's word for the command, such as ``run-operation``."""
        which = str(getattr(self._members["flags"], "WHICH", ""))
        return _ALIASES.get(which, which)

    @property
    def is_recorded(self) -> bool:
        """Whether the command leaves a bundle."""
        return self.command in RECORDED

    @property
    def operation(self) -> str | None:
        """The macro of ``run-operation``."""
        if self.command != "run-operation":
            return None
        return str(getattr(self._members["flags"], "MACRO", "")) or None

    @property
    def is_full_refresh(self) -> bool:
        """Whether ``--full-refresh`` was given."""
        return bool(getattr(self._members["flags"], "FULL_REFRESH", False))

    @property
    def defers(self) -> bool:
        """Whether ``--defer`` was given."""
        return bool(getattr(self._members["flags"], "DEFER", False))

    @property
    def variables(self) -> Mapping[str, Any]:
        """What ``--vars`` gave; never stored as it is."""
        given = getattr(self._members["flags"], "VARS", None)
        return given if isinstance(given, Mapping) else {}

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What ``--args`` gave ``run-operation``; never stored as it is."""
        given = getattr(self._members["flags"], "ARGS", None)
        return given if isinstance(given, Mapping) else {}

    @property
    def project_name(self) -> str:
        """The root project's name."""
        return str(self._project.project_name)

    @property
    def project_dir(self) -> Path:
        """The project folder as dbt sees it, perhaps a temporary copy."""
        return Path(self._project.project_root).absolute()

    @property
    def real_project_dir(self) -> Path:
        """The folder of the real ``dbt_project.yml``: orchestrators run dbt in folders full of symbolic links."""
        project_file = self.project_dir / "dbt_project.yml"
        return project_file.resolve().parent if project_file.exists() else self.project_dir.resolve()

    @property
    def target_path(self) -> Path:
        """Where dbt writes its artifacts."""
        return self.project_dir / str(self._project.target_path)

    @property
    def source_paths(self) -> list[str]:
        """The project's folders that dbt reads, as the project names them."""
        return sorted({str(path) for name in _SOURCE_PATHS for path in getattr(self._project, name, None) or ()})

    @property
    def packages(self) -> list[str]:
        """Names of the installed packages, without those that come with dbt and its adapter."""
        config = self._project
        installed = self.project_dir / str(config.packages_install_path)
        found = config.load_dependencies() if hasattr(config, "load_dependencies") else {}
        return sorted(
            name
            for name, package in found.items()
            if name != self.project_name and Path(package.project_root).is_relative_to(installed)
        )

    @property
    def environment_names(self) -> set[str]:
        """Environment variables that profile and project file named when they were rendered, by any default."""
        names: set[str] = set()
        for owner in ("project", "profile", "runtime_config"):
            for read in ("project_env_vars", "profile_env_vars"):
                names.update(getattr(self._members.get(owner), read, None) or ())
        return names

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment that ``env_var()`` reads."""
        from dbt_common.context import try_get_invocation_context

        context = try_get_invocation_context()
        return {} if context is None else context.env

    @property
    def adapter_type(self) -> str | None:
        """dbt's name of the adapter."""
        credentials = self.credentials
        return None if credentials is None else str(credentials.type)

    @property
    def credentials(self) -> Any:
        """dbt's credentials of the target; None where no profile was read."""
        return getattr(self._members.get("runtime_config") or self._members.get("profile"), "credentials", None)

    @property
    def target_name(self) -> str | None:
        """The target of the profile."""
        target = getattr(self._members.get("runtime_config") or self._members.get("profile"), "target_name", None)
        return None if target is None else str(target)

    @property
    def manifest(self) -> Any:
        """dbt's manifest as it is now; ``retry`` keeps its own, known only to the adapter."""
        manifest = self._members.get("manifest")
        if manifest is not None or (adapter := self._adapter()) is None:
            return manifest
        resolver = adapter.get_macro_resolver()
        return resolver if hasattr(resolver, "nodes") else None

    @property
    def manager_class(self) -> type | None:
        """The adapter's connection manager class, once dbt has loaded the adapter."""
        from dbt.adapters.factory import FACTORY

        plugin = FACTORY.plugins.get(self.adapter_type or "")
        return cast("type | None", getattr(getattr(plugin, "adapter", None), "ConnectionManager", None))

    @property
    def selected(self) -> frozenset[str]:
        """Ids of the nodes that were selected. Right only after dbt announced its threads in this invocation."""
        from dbt import selected_resources

        return frozenset(map(str, selected_resources.SELECTED_RESOURCES))

    @property
    def to_run(self) -> frozenset[str] | None:
        """Ids of what is about to run, asked on the stack of dbt's announcement of its threads; None if unknown.

        The task that announces knows it: dbt's global leaves out the unit tests of ``build``, and ``retry`` leaves the
        selection of an earlier command there.
        """
        task = _task_on_stack("dbt.task.runnable", "GraphRunnableTask")
        nodes = getattr(task, "_flattened_nodes", None)
        if nodes is None:
            return (self.selected or None) if self.command != "retry" else None
        unit_tests = map(str, getattr(task, "selected_unit_tests", None) or ())
        return frozenset((*(str(node.unique_id) for node in nodes), *unit_tests))

    @property
    def runs_an_operation(self) -> bool:
        """Whether a macro is about to run, also by ``retry``; asked on the stack of one of dbt's events."""
        return self.operation is not None or _task_on_stack("dbt.task.run_operation", "RunOperationTask") is not None

    def is_deferred(self, node: Any) -> bool:
        """Whether a node that did not run was read from the state that ``--defer`` names.

        dbt prefers the other state where it is told to, and where it knows no relation of the node's own; its cache
        of relations is what it looks at, and is asked here without a statement.
        """
        from dbt.adapters.factory import FACTORY

        flags = self._members["flags"]
        if getattr(node, "defer_relation", None) is None or not getattr(flags, "DEFER", False):
            return False
        if getattr(flags, "FAVOR_STATE", False):
            return True
        adapter: Any = FACTORY.adapters.get(self.adapter_type or "")
        if adapter is None:
            return False
        known = adapter.cache.get_relations(node.database, node.schema)
        return not any(str(relation.identifier).lower() == str(node.identifier).lower() for relation in known)

    def artifact_paths(self) -> dict[str, Path]:
        """Where this command's artifacts lie if dbt writes them, by their roles."""
        target = self.target_path
        paths = {name: target / f"{name}.json" for name in ("manifest", "run_results", "sources")}
        output = getattr(self._members["flags"], "OUTPUT", None)
        if self.command == "freshness" and output:
            paths["sources"] = Path(str(output))
        return paths

    def var(self, name: str) -> object:
        """The dbt variable ``name``: of the command line, of the project, or global; None where it is not set.

        Only Clyra's own are asked for.
        """
        if not _OWN_VAR.fullmatch(name):
            raise ValueError(f"{name} is no variable of Clyra's")
        project_vars = self._project.vars.to_dict()
        scoped = project_vars.get(self.project_name)
        for source in (getattr(self._members["flags"], "VARS", None), scoped, project_vars):
            if isinstance(source, Mapping) and name in source:
                return cast("object", source[name])
        return None

    def dictionary_names(self) -> dict[str, list[str]]:
        """Per option that takes a dictionary the names in it, never the values."""
        flags = self._members["flags"]
        given = {"--vars": getattr(flags, "VARS", None), "--args": getattr(flags, "ARGS", None)}
        return {option: [str(name) for name in value] for option, value in given.items() if isinstance(value, Mapping)}

    def versions(self) -> dict[str, str]:
        """Versions of dbt, its adapter and Python."""
        from dbt.version import __version__ as dbt_version

        versions = {"dbt_core": _schema_text.name(str(dbt_version)), "python": sys.version.split()[0]}
        adapter = self.adapter_type
        for module_name in (f"dbt.adapters.{adapter}.__version__", f"dbt.adapters.{adapter}.__about__"):
            version = getattr(sys.modules.get(module_name), "version", None)
            if adapter and version:
                versions[f"dbt_{_schema_text.word(adapter).replace('.', '_').replace('-', '_')}"] = str(version)
        return versions

    @property
    def _project(self) -> Any:
        return self._members.get("runtime_config") or self._members["project"]

    def _adapter(self) -> Any:
        from dbt.adapters.factory import FACTORY

        return FACTORY.adapters.get(self.adapter_type or "")


def _task_on_stack(module: str, name: str) -> Any:
    """The task of this class that is running on this thread; None where there is none."""
    kind: Any = getattr(sys.modules.get(module), name, None)
    frame = sys._getframe()
    while kind is not None and frame is not None:
        task = frame.f_locals.get("self")
        if isinstance(task, kind):
            return task
        frame = cast("Any", frame.f_back)
    return None
