# SPDX-License-Identifier: Apache-2.0
"""The policy that governs one dbt command: found, loaded, and put into its environment.

Nothing of it is imported where there is neither a policy nor a wish for one. A policy that does not load still says in
its first lines where it enforces; there it blocks, and elsewhere the fault is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clyra.spec import ClyraError, PolicyError

if TYPE_CHECKING:
    from clyra.policy.environment import Environment
    from clyra.policy.load import LoadedPolicy

POLICY_FILE = "clyra.policy.yaml"
PLAN_ONLY = "CLYRA_PLAN_ONLY"


class Governing(NamedTuple):
    """What decides about a run: the policy and its environment.

    ``policy`` is None where it does not load, and ``fault`` then says why; ``environment`` is known all the same, as
    far as the file could be read.
    """

    policy: LoadedPolicy | None
    environment: Environment
    path: Path | None = None
    fault: ClyraError | None = None

    @property
    def enforces(self) -> bool:
        """Whether runs are refused here, not only judged."""
        return self.environment.mode == "enforce"

    @property
    def hooks(self) -> Mapping[str, Any]:
        """``data_platform.dbt_hooks`` of the policy; empty where it does not load."""
        return {} if self.policy is None else self.policy.document["data_platform"]["dbt_hooks"]

    @property
    def is_enabled(self) -> bool:
        """Whether the policy leaves the plugin on."""
        return bool(self.hooks.get("enabled", True))

    def records(self, command: str, target: str | None) -> bool:
        """Whether a command on a target leaves a bundle."""
        wanted = self.hooks.get("record") or {}
        targets, commands = wanted.get("targets"), wanted.get("commands")
        return (targets is None or target in targets) and (commands is None or command in commands)

    @property
    def test_failures_block(self) -> bool:
        """Whether nothing may follow in a run one of whose tests has failed."""
        return bool(self.hooks.get("test_failures_block", False))

    @property
    def on_recorder_failure(self) -> str | None:
        """What the policy says about runs that cannot be recorded."""
        return None if self.policy is None else str(self.policy.document["enforcement"]["on_recorder_failure"])


def find_governing(
    project_root: Path, environ: Mapping[str, str], *, target: str | None, today: date
) -> Governing | None:
    """What governs commands of this project; None where there is no policy and nobody demands one.

    Args:
        project_root: The real project folder.
        environ: Environment variables.
        target: The dbt target.
        today: The day on which waivers and retention are judged.
    """
    demanded = environ.get("CLYRA_MODE", "") not in ("", "shadow") or is_plan_only(environ)
    if not (environ.get("CLYRA_POLICY") or demanded or (project_root / POLICY_FILE).is_file()):
        return None
    from clyra.policy.environment import environment_for
    from clyra.policy.load import find_policy, load_policy
    from clyra.policy.problem import PolicyInvalid

    path = find_policy(project_root, environ)
    if path is None:
        missing = PolicyError(f"{project_root} has no {POLICY_FILE}, and CLYRA_MODE or {PLAN_ONLY} asks for one")
        return Governing(None, environment_for({}, target=target, environ=environ), None, missing)
    try:
        policy = load_policy(path, now=today)
    except PolicyInvalid as exc:
        environments = {} if exc.first_pass is None else exc.first_pass.environments
        return Governing(None, environment_for(environments, target=target, environ=environ), path, exc)
    except Exception as exc:  # noqa: BLE001 - a fault of ours must not open a gate that the policy closes
        fault = (
            exc
            if isinstance(exc, ClyraError)
            else PolicyError(f"loading failed: {type(exc).__name__}", code="internal_error")
        )
        environments = _environments(path)
        return Governing(None, environment_for(environments, target=target, environ=environ), path, fault)
    return Governing(policy, environment_for(policy.environments, target=target, environ=environ), path)


def is_plan_only(environ: Mapping[str, str]) -> bool:
    """Whether runs are only to be judged."""
    return environ.get(PLAN_ONLY, "") not in ("", "0")


def _environments(path: Path) -> Mapping[str, Environment]:
    from clyra.policy.first_pass import first_pass

    try:
        return first_pass(path.read_bytes()).environments
    except OSError:
        return {}


def problems_of(fault: ClyraError) -> list[str]:
    """What is wrong with a policy that does not load, one line each as ``clyra policy lint`` prints them."""
    problems = [str(each) for each in getattr(fault, "problems", ()) if getattr(each, "severity", "") == "error"]
    return problems or [fault.message]
