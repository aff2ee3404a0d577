# SPDX-License-Identifier: Apache-2.0
"""Decisions in sealed bundles: the one place of the policy tools that opens evidence.

Nothing is verified here; ``clyra verify`` does that. A bundle that cannot be read is named, never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.policy.effect import RANK
from clyra.policy.facts import decision_points
from clyra.spec import ClyraError, FormatError

if TYPE_CHECKING:
    from clyra.policy.engine import CompiledPolicy

SUFFIX = ".def.zip"
POLICY_FILE = "artifacts/policy.json"


@dataclass(frozen=True, slots=True)
class DecidedRun:
    """What a bundle says about its run and the decisions in it.

    Attributes:
        path: The file.
        bundle_id: The bundle.
        run_id: The run, which several bundles may share.
        closed_at: When the bundle was closed.
        project: dbt's project.
        target: dbt's target, or None.
        environment: Name of the environment in the policy of that day; None where there was no policy.
        mode: The environment's mode; None where there was no policy.
        policy_sha256: Digest of that policy.
        policy: It, ready to decide; None where the bundle does not hold it.
        tests_ran: dbt tests that ran, whatever came out.
        decisions: The events of type ``decision``, in order.
    """

    path: Path
    bundle_id: str
    run_id: str
    closed_at: datetime
    project: str
    target: str | None
    environment: str | None = None
    mode: str | None = None
    policy_sha256: str | None = None
    policy: CompiledPolicy | None = None
    tests_ran: int = 0
    decisions: tuple[Mapping[str, Any], ...] = ()

    @property
    def facts(self) -> Mapping[str, str]:
        """What the manifest itself tells of the facts."""
        told = {"dbt.project": self.project, "dbt.target": self.target, "env.name": self.environment}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def points_apart(self) -> frozenset[str]:
        """Decision points at which the run and its nodes have events of their own; elsewhere one stands for all."""
        kinds = {(event["point"], event.get("unique_id") is None) for event in self.decisions}
        return frozenset(point for point, of_run in kinds if of_run and (point, False) in kinds)


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that should be a bundle and cannot be read."""

    path: Path
    reason: str


def bundle_paths(folder: Path) -> list[Path]:
    """The bundles below ``folder``, oldest first where the names of files and folders tell."""
    return sorted(path for path in folder.rglob(f"*{SUFFIX}") if path.is_file())


def read_runs(paths: Iterable[Path], *, since: datetime | None = None) -> Iterator[DecidedRun | Unread | None]:
    """One item per path: the run, or why it cannot be read; None where it was closed before ``since``."""
    policies: dict[str, CompiledPolicy | None] = {}
    for path in paths:
        try:
            yield _read(path, since, policies)
        except ClyraError as exc:
            yield Unread(path, exc.message)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            yield Unread(path, f"manifest or journal are not what the format says ({type(exc).__name__})")


def _read(path: Path, since: datetime | None, policies: dict[str, CompiledPolicy | None]) -> DecidedRun | None:
    from clyra.evidence import open_bundle

    bundle = open_bundle(path)
    manifest = bundle.manifest
    closed_at = datetime.fromisoformat(manifest["closed_at"]).astimezone(UTC)
    if since is not None and closed_at < since:
        return None
    run, policy = manifest["run"], manifest.get("policy") or {}
    decisions: list[Mapping[str, Any]] = []
    tests_ran = 0
    for event in bundle.events():
        if event["type"] == "decision":
            decisions.append(checked_decision(event))
        elif event["type"] == "run.finished":
            tests_ran = sum(event["tests"][name] for name in ("passed", "failed", "warned"))
    sha256 = policy.get("sha256")
    if sha256 is not None and sha256 not in policies:
        policies[sha256] = _policy(bundle.read(POLICY_FILE)) if POLICY_FILE in bundle.names else None
    return DecidedRun(
        path=path,
        bundle_id=manifest["bundle_id"],
        run_id=run["run_id"],
        closed_at=closed_at,
        project=run["project"],
        target=run.get("target"),
        environment=policy.get("environment"),
        mode=policy.get("mode"),
        policy_sha256=sha256,
        policy=None if sha256 is None else policies[sha256],
        tests_ran=tests_ran,
        decisions=tuple(decisions),
    )


def is_gates_own(event: Mapping[str, Any]) -> bool:
    """Whether a decision is no rule's but the gate's: it has a code, and no policy decides it."""
    return not event["rules"] and isinstance(event.get("code"), str)


def checked_decision(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event, if it has the members that are read from a decision.

    Raises:
        FormatError, KeyError, TypeError, ValueError: It has not.
    """
    date.fromisoformat(event["occurred_at"][:10])
    is_sound = (
        isinstance(event["facts"], dict)
        and all(isinstance(name, str) for name in event["missing"])
        and all(_is_outcome(rule) for rule in event["rules"])
        and all(isinstance(event[name], str) for name in ("mode", "id"))
        and isinstance(event.get("unique_id"), str | None)
        and event["point"] in decision_points()
        and event["decision"] in RANK
    )
    if not is_sound:
        raise FormatError("a decision in its journal is not what the format says; verify it", code="bundle_unreadable")
    return event


def _is_outcome(rule: Mapping[str, Any]) -> bool:
    texts = (rule["id"], rule["severity"], rule["state"])
    nodes = rule.get("nodes", [])
    is_named = isinstance(nodes, list) and all(isinstance(node, str) for node in nodes)
    return rule["effect"] in RANK and is_named and all(isinstance(text, str) for text in texts)


def _policy(data: bytes) -> CompiledPolicy:
    from clyra.policy.engine import compile_policy

    return compile_policy(json.loads(data))
