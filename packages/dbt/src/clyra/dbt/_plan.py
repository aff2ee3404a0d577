# SPDX-License-Identifier: Apache-2.0
"""What a dbt run is going to do, from its manifest: the values of ``dbt-plan/v1``.

A node's checksum does not move with its macros, its configuration, the environment it reads or (over 1 MiB) the data
of its seed, so each of these has a digest of its own. Variables of the environment are those that dbt saw read, and
those that code names in plain text; a name that code puts together only at run time stays unbound, as do results of
queries in Jinja.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.dbt import _nodes, _schema_text

if TYPE_CHECKING:
    from clyra.approval.plan import DbtPlan, PlanNode
    from clyra.dbt._invocation import DbtInvocation

_NAMES_VARIABLE = re.compile(r"""env_var\s*\(\s*['"]([^'"]+)['"]""")
_SECRET_NAME = re.compile(
    r"^DBT_ENV_SECRET|(?:^|_)(?:pass|pwd)(?:_|$)|password|passwd|passphrase|secret|token|credential"
    r"|(?:private|api|access)_?key",
    re.I,
)
# What the value of no variable is, so that setting one that was not set is a change.
_UNSET = hashlib.sha256(b"\0").hexdigest()
# Beside its configuration, what decides how a node is built or tested and is not in its checksum.
_MORE_CONFIG = (
    "relation_name",
    "language",
    "access",
    "group",
    "version",
    "contract",
    "constraints",
    "test_metadata",
    "column_name",
    "loaded_at_field",
    "loaded_at_query",
    "freshness",
    "overrides",
    "given",
    "expect",
    "model",
    "depends_on",
)
_REBUILT = frozenset(("model", "seed"))


def plan_of(dbt: DbtInvocation, nodes: Iterable[Any], *, tree: str | None, bind_vars: bool) -> DbtPlan:
    """The plan of a run.

    Args:
        dbt: The command.
        nodes: What is about to run, from the manifest.
        tree: Git tree of the project; None where nothing stands for its files.
        bind_vars: Whether ``--vars`` are part of it.

    Raises:
        FormatError: The project has a name or path that no plan can hold (``plan_invalid``).
        OSError: The file of a large seed cannot be read.
    """
    from clyra.approval.plan import build_plan

    manifest, versions = dbt.manifest, dbt.versions()
    selected = [*with_inlined(manifest, nodes), *_nodes.hooks(manifest)]
    adapter = dbt.adapter_type or "unknown"
    return build_plan(
        project=_schema_text.name(dbt.project_name),
        target=_schema_text.name(dbt.target_name or ""),
        tree=tree,
        nodes=_planned(dbt, selected),
        macros_sha256=macros_digest(manifest),
        hooks_sha256=hooks_digest(manifest),
        env=environment_digests(dbt, _named_variables(manifest, selected)),
        seeds=dict(_large_seeds(selected)),
        dbt_version=versions["dbt_core"],
        adapter_type=_schema_text.word(adapter),
        adapter_version=next(
            (text for name, text in versions.items() if name.startswith("dbt_") and name != "dbt_core"), "-"
        ),
        vars_sha256=digest_of(dict(dbt.variables)) if bind_vars else None,
    )


def with_inlined(manifest: Any, nodes: Iterable[Any]) -> list[Any]:
    """The nodes and the ephemeral models that dbt puts into their SQL, whether or not those were selected."""
    found = {str(node.unique_id): node for node in nodes}
    waiting = list(found.values())
    while waiting:
        for parent in getattr(waiting.pop(), "depends_on_nodes", None) or ():
            node = manifest.nodes.get(parent)
            if parent not in found and getattr(getattr(node, "config", None), "materialized", "") == "ephemeral":
                found[str(parent)] = node
                waiting.append(node)
    return list(found.values())


def macros_digest(manifest: Any) -> str:
    """Digest over the code of every macro, those of dbt, of the adapter and of packages included."""
    digest = hashlib.sha256()
    for unique_id, macro in sorted((manifest.macros or {}).items()):
        code = str(macro.macro_sql).encode("utf-8", "surrogatepass")
        # Lengths keep two macros from being read as two others with the same text in a row.
        digest.update(f"{unique_id}\0{len(code)}\0".encode("utf-8", "surrogatepass"))
        digest.update(code)
    return digest.hexdigest()


def hooks_digest(manifest: Any) -> str:
    """Digest over on-run-start and on-run-end of the project and of its packages, in their order."""
    hooks = [
        (str(node.unique_id), getattr(node, "index", None), sorted(map(str, node.tags)), str(node.raw_code))
        for node in _nodes.hooks(manifest)
    ]
    return digest_of(hooks)


def environment_digests(dbt: DbtInvocation, names: Iterable[str]) -> dict[str, str | None]:
    """Each variable that is read with the digest of its value; None, the name alone, where it is a secret.

    Args:
        dbt: The command, for the variables that dbt saw read and for the values.
        names: Variables that code names.
    """
    environment, secrets = dbt.environment, _secrets_of(dbt.credentials)
    found: dict[str, str | None] = {}
    for name in sorted({*names, *dbt.environment_names, *(getattr(dbt.manifest, "env_vars", None) or ())}):
        value = environment.get(name)
        if is_secret_name(name) or (value and value in secrets):
            found[_schema_text.name(name)] = None
        else:
            found[_schema_text.name(name)] = _UNSET if value is None else _schema_text.digest(value)
    return found


def is_secret_name(name: str) -> bool:
    """Whether a variable or a field of credentials is called like one that holds a secret."""
    return _SECRET_NAME.search(name) is not None


def digest_of(value: object) -> str:
    """SHA-256 of a value that dbt read from YAML or computed, whatever the order of its mappings."""
    import orjson

    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return hashlib.sha256(orjson.dumps(value, default=_plain, option=options)).hexdigest()


def _planned(dbt: DbtInvocation, selected: Iterable[Any]) -> list[PlanNode]:
    from clyra.approval.plan import PlanNode

    planned = []
    for node in selected:
        checksum = getattr(getattr(node, "checksum", None), "checksum", None)
        planned.append(
            PlanNode(
                _schema_text.name(str(node.unique_id)),
                _schema_text.sha256_or_none(checksum),
                digest_of(_configuration(node, full_refresh=dbt.is_full_refresh)),
            )
        )
    operation = dbt.operation
    if operation is not None:
        arguments = digest_of(dict(dbt.arguments))
        planned.append(PlanNode(_schema_text.name(f"operation:{operation}"), None, arguments))
    return planned


def _configuration(node: Any, *, full_refresh: bool) -> dict[str, object]:
    config: Any = getattr(node, "config", None)
    members: dict[str, object] = {
        name: value for name in _MORE_CONFIG if (value := getattr(node, name, None)) is not None
    }
    members["config"] = config
    members["columns"] = [
        (name, getattr(column, "data_type", None), getattr(column, "constraints", None))
        for name, column in sorted((getattr(node, "columns", None) or {}).items())
    ]
    if full_refresh and str(node.resource_type) in _REBUILT:
        # It drops what is there, where the same node otherwise adds to it.
        members["full_refresh"] = True
    return members


def _named_variables(manifest: Any, selected: Iterable[Any]) -> set[str]:
    texts = [str(macro.macro_sql) for macro in manifest.macros.values()]
    texts += [str(getattr(node, "raw_code", "")) for node in selected]
    return {name for text in texts if "env_var" in text for name in _NAMES_VARIABLE.findall(text)}


def _large_seeds(selected: Iterable[Any]) -> Iterable[tuple[str, str]]:
    """Files of the seeds that dbt knows by their paths only, with their digests."""
    for node in selected:
        if str(node.resource_type) != "seed" or getattr(node.checksum, "name", "") != "path":
            continue
        path = Path(str(node.root_path or ""), str(node.original_file_path))
        with path.open("rb") as file:
            yield _schema_text.name(str(node.original_file_path)), hashlib.file_digest(file, "sha256").hexdigest()


def _secrets_of(credentials: Any) -> frozenset[str]:
    fields = vars(credentials) if hasattr(credentials, "__dict__") else {}
    return frozenset(
        value for name, value in fields.items() if is_secret_name(name) and isinstance(value, str) and value
    )


def _plain(value: object) -> object:
    """What orjson does not know: dbt's own classes, sets and dates of other libraries."""
    if callable(to_dict := getattr(value, "to_dict", None)):
        return to_dict()
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
