# SPDX-License-Identifier: Apache-2.0
"""Checks of the policy: that it loads, covers what it should, and that its exceptions still hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clyra.policy.health import Check, CheckContext
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.policy.load import LoadedPolicy

_SOON = timedelta(days=14)
_PERSONAL = frozenset(("pii", "personal"))
# A rule that asks for one of these can tell personal data from other data.
_TELLS_PERSONAL = frozenset(("data.personal", "data.labels", "data.classification", "dbt.tags"))
_SECTIONS = ("data_platform", "genai_security", "voice_compliance")
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
        more = f", and {len(exc.problems) - 1} more: clyra policy lint" if len(exc.problems) > 1 else ""
        yield Check("policy.file", "fail", f"{first}{more}")
        return
    yield Check("policy.file", "ok", f"{policy.name}, {policy.sha256[:16]}: {len(policy.compiled.rules)} rules")
    yield _warnings(policy)
    yield waivers(policy.document.get("waivers", ()), today)
    yield environments(policy.document.get("environments", {}))
    yield _target(policy, context)
    manifest = context.project_dir and context.project_dir / context.environ.get("DBT_TARGET_PATH", "target")
    yield personal(policy.document, _manifest(manifest / "manifest.json") if manifest else None)


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


def personal(document: Mapping[str, Any], manifest: Mapping[str, Any] | None) -> Check:
    """Whether some rule can tell the relations that are tagged as personal."""
    if manifest is None:
        return Check("policy.personal", "skip", "dbt has left no manifest.json to look for personal data in")
    tagged = sorted(_tagged(manifest))
    if not tagged:
        return Check("policy.personal", "ok", "no node is tagged as personal")
    asked = {field for section in _SECTIONS for field in _fields(document.get(section, {}).get("rules", ()))}
    if asked & _TELLS_PERSONAL:
        return Check("policy.personal", "ok", f"{len(tagged)} nodes are tagged as personal, and rules ask for that")
    named = ", ".join(tagged[:_NAMED]) + (" and more" if len(tagged) > _NAMED else "")
    told = f"no rule asks whether data is personal, and {len(tagged)} nodes are tagged so: {named}"
    return Check("policy.personal", "warn", told)


def _warnings(policy: LoadedPolicy) -> Check:
    if not policy.warnings:
        return Check("policy.lint", "ok", "lint has nothing to say")
    more = f", and {len(policy.warnings) - 1} more: clyra policy lint" if len(policy.warnings) > 1 else ""
    return Check("policy.lint", "warn", f"{policy.warnings[0]}{more}")


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


def _fields(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for rule in rules:
        for item in rule.get("when", ()):
            yield from (str(each["field"]) for each in item.get("any", (item,)))


def _manifest(path: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _tagged(manifest: Mapping[str, Any]) -> Iterator[str]:
    for collection in ("nodes", "sources"):
        for unique_id, node in manifest.get(collection, {}).items():
            columns = node.get("columns") or {}
            if any(_PERSONAL & _labels(part) for part in (node, *columns.values())):
                yield str(unique_id)


def _labels(part: Mapping[str, Any]) -> set[str]:
    meta = {**(part.get("meta") or {}), **((part.get("config") or {}).get("meta") or {})}
    ours = meta.get("clyra") if isinstance(meta.get("clyra"), dict) else {}
    return {str(label).lower() for label in (*(part.get("tags") or ()), *((ours or {}).get("labels") or ()))}
