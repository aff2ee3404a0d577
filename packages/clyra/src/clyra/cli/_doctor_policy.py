# SPDX-License-Identifier: Apache-2.0
"""Checks of the policy: that it loads, covers what it should, and that its exceptions still hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.policy.health import Check, CheckContext
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.policy.load import LoadedPolicy

_SOON = timedelta(days=14)
_NAMED = 3


def checks(context: CheckContext) -> Iterator[Check]:
    """The checks of the group ``policy``."""
    from clyra.policy.load import find_policy, load_policy
    from clyra.policy.problem import PolicyInvalid

    path = find_policy(context.project_dir or Path.cwd(), context.environ)
    if path is None:
        yield Check("policy.file", "skip", "there is no policy: runs are recorded, and nothing is decided")
        return
    today = context.now.date()
    try:
        policy = load_policy(path, now=today)
    except PolicyInvalid as exc:
        first = str(exc.problems[0]) if exc.problems else exc.message
        yield Check("policy.file", "fail", f"{first}{_more(len(exc.problems), 'lint')}")
        return
    yield Check("policy.file", "ok", f"{policy.name}, {policy.sha256[:16]}: {len(policy.compiled.rules)} rules")
    yield _warnings(policy)
    yield waivers(policy.document.get("waivers", ()), today)
    yield environments(policy.document.get("environments", {}))
    yield _target(policy, context)
    manifest = context.project_dir and context.project_dir / context.environ.get("DBT_TARGET_PATH", "target")
    yield from analysis(policy.document, _manifest(manifest / "manifest.json") if manifest else None)


def waivers(entries: Iterable[Mapping[str, Any]], today: date) -> Check:
    """Whether waivers have ended or are about to."""
    ends = {str(each["id"]): date.fromisoformat(str(each["expires"])) for each in entries}
    over = sorted(name for name, end in ends.items() if end < today)
    soon = sorted(name for name, end in ends.items() if today <= end <= today + _SOON)
    if over:
        return Check("policy.waivers", "warn", f"expired, so their rules apply again: {', '.join(over)}; remove them")
    if soon:
        told = ", ".join(f"{name} on {ends[name]}" for name in soon)
        return Check("policy.waivers", "warn", f"about to expire: {told}; fix the cause, or ask for another one")
    return Check("policy.waivers", "ok", f"{len(ends)} waivers, none about to expire" if ends else "no waivers")


def environments(known: Mapping[str, Mapping[str, Any]]) -> Check:
    """Whether each environment says which dbt targets are its own."""
    empty = sorted(name for name, each in known.items() if not each.get("targets"))
    if not known:
        return Check("policy.environments", "warn", "the policy has no environments, so nothing is ever enforced")
    if empty:
        told = f"no dbt run is ever in {', '.join(empty)}: it lists no targets"
        return Check("policy.environments", "warn", told)
    enforcing = sorted(name for name, each in known.items() if each.get("mode") == "enforce")
    return Check("policy.environments", "ok", f"{len(known)} environments; enforcing: {', '.join(enforcing) or 'none'}")


def analysis(document: Mapping[str, Any], manifest: Mapping[str, Any] | None) -> Iterator[Check]:
    """What analysis finds in the policy as a whole, and whether it covers the nodes that are tagged as personal."""
    from clyra.policy.analyze import analyze

    nodes = {} if manifest is None else manifest.get("nodes", {})
    found = [each for each in analyze(document, manifest=manifest) if each.level != "note" or each.subject in nodes]
    open_nodes = sorted(str(each.subject) for each in found if each.subject in nodes)
    others = [each for each in found if each.subject not in nodes]
    if others:
        about = ", ".join(others[0].rules) or others[0].subject or "the policy"
        told = f"{others[0].kind.replace('_', ' ')} in {about}: {others[0].message}{_more(len(others), 'analyze')}"
        yield Check("policy.analysis", "warn", told)
    else:
        yield Check("policy.analysis", "ok", "no rule contradicts itself or is shadowed")
    if manifest is None:
        yield Check("policy.personal", "skip", "dbt has left no manifest.json to look for personal data in")
    elif open_nodes:
        named = ", ".join(open_nodes[:_NAMED]) + (" and more" if len(open_nodes) > _NAMED else "")
        told = f"{len(open_nodes)} nodes are tagged as personal and no rule is about them: {named}"
        yield Check("policy.personal", "warn", told)
    else:
        yield Check("policy.personal", "ok", "every node that is tagged as personal has a rule")


def _warnings(policy: LoadedPolicy) -> Check:
    if not policy.warnings:
        return Check("policy.lint", "ok", "lint has nothing to say")
    return Check("policy.lint", "warn", f"{policy.warnings[0]}{_more(len(policy.warnings), 'lint')}")


def _target(policy: LoadedPolicy, context: CheckContext) -> Check:
    try:
        target = context.find_target()
    except ClyraError as exc:
        return Check("policy.target", "skip", exc.message)
    if target is None:
        return Check("policy.target", "skip", "no profile to compare with the policy's environments")
    inside = [name for name, each in policy.environments.items() if target.name in each.targets]
    if not inside:
        told = f"no environment lists the profile's target {target.name}: there nothing is enforced"
        return Check("policy.target", "warn", told)
    return Check("policy.target", "ok", f"target {target.name} is in {inside[0]}")


def _more(count: int, command: str) -> str:
    return f", and {count - 1} more: clyra policy {command}" if count > 1 else ""


def _manifest(path: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("nodes"), dict) else None
