# SPDX-License-Identifier: Apache-2.0
"""What a dbt project says about itself without dbt: targets, tags, who approves. No Jinja is rendered.

The wizard asks better questions with it and asks them all the same where nothing is found: no file has to be there,
and one that cannot be read is named in ``notes``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERSONAL_WORDS = ("pii", "personal", "gdpr", "phi", "sensitive", "confidential")

_TRUST_FILE = "clyra.trust.json"
_MAX_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Project:
    """What was found.

    Attributes:
        name: Of the project.
        targets: Of its profile, with dbt's name of each adapter, in the order of the file.
        marks: Tags and labels in the manifest that speak of personal data, sorted.
        personal: Nodes that have them.
        tested: Models that a test reads; None without a manifest.
        models: Models; None without a manifest.
        approvers: Principals of the approver keys in the trust file.
        notes: What could not be read, and why.
    """

    name: str
    targets: Mapping[str, str]
    marks: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    tested: int | None = None
    models: int | None = None
    approvers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_project(folder: Path, environ: Mapping[str, str]) -> Project:
    """What the dbt project in ``folder`` says; an empty folder says nothing, and that is no error."""
    notes: list[str] = []
    project = _mapping(_yaml(folder / "dbt_project.yml", notes))
    profile = project.get("profile")
    targets = _targets(folder, environ, profile if isinstance(profile, str) else None, notes)
    target_path = project.get("target-path")
    built = folder / (target_path if isinstance(target_path, str) and "{" not in target_path else "target")
    nodes = _nodes(_json(built / "manifest.json", notes))
    marked = {unique_id: found for unique_id, node in nodes.items() if (found := _marks(node))}
    tested = {parent for node in nodes.values() if node.get("resource_type") == "test" for parent in _parents(node)}
    models = [unique_id for unique_id, node in nodes.items() if node.get("resource_type") == "model"]
    name = project.get("name")
    return Project(
        name=name if isinstance(name, str) and "{" not in name else folder.resolve().name,
        targets=targets,
        marks=tuple(sorted({mark for found in marked.values() for mark in found})),
        personal=tuple(sorted(marked)),
        tested=len(tested & set(models)) if nodes else None,
        models=len(models) if nodes else None,
        approvers=tuple(_approvers(_json(folder / _TRUST_FILE, notes))),
        notes=tuple(notes),
    )


def _targets(folder: Path, environ: Mapping[str, str], profile: str | None, notes: list[str]) -> dict[str, str]:
    folders = [folder, Path(environ.get("HOME") or "~").expanduser() / ".dbt"]
    if named := environ.get("DBT_PROFILES_DIR"):
        folders.insert(0, Path(named))
    for place in folders:
        path = place / "profiles.yml"
        if path.is_file():
            profiles = _mapping(_yaml(path, notes))
            # Jinja in the profile's name is not rendered; a file with one profile leaves no doubt.
            known = [name for name in profiles if name != "config"]
            name = profile if profile in profiles else known[0] if len(known) == 1 else None
            outputs = _mapping(_mapping(profiles.get(name or "")).get("outputs"))
            return {
                str(target): str(_mapping(output).get("type", "unknown"))
                for target, output in outputs.items()
                if "{" not in str(target)
            }
    return {}


def _nodes(manifest: object) -> dict[str, Mapping[str, Any]]:
    return {name: _mapping(node) for name, node in _mapping(_mapping(manifest).get("nodes")).items()}


def _marks(node: Mapping[str, Any]) -> set[str]:
    """Tags and labels of a node and its columns that speak of personal data."""
    if node.get("resource_type") not in ("model", "seed", "snapshot"):
        return set()
    found: set[str] = set()
    for owner in [node, *map(_mapping, _mapping(node.get("columns")).values())]:
        for holder in (owner, _mapping(owner.get("config"))):
            found.update(_texts(holder.get("tags")))
            found.update(_texts(_mapping(_mapping(holder.get("meta")).get("clyra")).get("labels")))
    return {mark for mark in found if mark.lower() in PERSONAL_WORDS}


def _parents(node: Mapping[str, Any]) -> list[str]:
    return list(_texts(_mapping(node.get("depends_on")).get("nodes")))


def _approvers(trust: object) -> Iterator[str]:
    keys = _mapping(trust).get("keys")
    for key in keys if isinstance(keys, list) else ():
        if isinstance(key, dict) and key.get("role") == "approver" and key.get("revoked_at") is None:
            yield str(key.get("principal") or f"key:{key.get('keyid')}")


def _yaml(path: Path, notes: list[str]) -> object:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = _bytes(path)
        return None if data is None else yaml.load(data, Loader=loader)  # noqa: S506 -- both loaders are safe ones
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as exc:
        notes.append(f"{path.name} cannot be read ({type(exc).__name__}); what it says was not looked at")
        return None


def _json(path: Path, notes: list[str]) -> object:
    try:
        data = _bytes(path)
        return None if data is None else json.loads(data)
    except (OSError, ValueError, RecursionError) as exc:
        notes.append(f"{path.name} cannot be read ({type(exc).__name__}); what it says was not looked at")
        return None


def _bytes(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    if os.stat(path).st_size > _MAX_BYTES:
        raise ValueError("too large")
    return path.read_bytes()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else ()
