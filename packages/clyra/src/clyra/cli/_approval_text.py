# SPDX-License-Identifier: Apache-2.0
"""Requests, approvals and checkpoints in plain words. Pure: documents in, lines out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clyra.cli.output import bad, doubtful, faint, good

if TYPE_CHECKING:
    from clyra.approval.contributors import Contributors
    from clyra.approval.plan import DbtPlan
    from clyra.approval.request import ApprovalRequest

_LABEL_WIDTH = 11
_SHOWN = 12
_BANDS = {"low": good, "medium": doubtful, "high": bad, "critical": bad}


def request_text(
    request: ApprovalRequest,
    *,
    status: str,
    plan: DbtPlan | None,
    earlier: tuple[ApprovalRequest, DbtPlan] | None,
    manifest: Mapping[str, Any],
    known: Contributors | None,
    max_ttl: str,
    reason: str | None = None,
) -> str:
    """Everything that an approver reads before signing.

    Args:
        request: What is to be approved.
        status: Such as ``open, 0 of 2 approvals``.
        plan: Its plan, where that is at hand.
        earlier: The newest approved request of the same target, with its plan.
        manifest: dbt's ``manifest.json`` of the project, where it is at hand.
        known: What git says here about who contributed.
        max_ttl: How long a token lives at most, as the policy writes it.
        reason: Why the glass is broken.
    """
    lines = [f"Request {request.sha256[:12]}  {status}", ""]
    lines += _field("what", [f"{', '.join(request.actions)} of {one_line(request.project)} on {_target(request)}"])
    lines += _field("asked by", [f"{short_principal(request.sub)} at {moment(request.created_at)}"])
    lines += _field("change by", _people(request, known))
    lines += _field("code", [f"tree {_short(request.tree)}, commit {_short(request.commit)}"])
    lines += _field(
        "held by", (f"{rule.id} ({rule.severity})  {one_line(rule.title)}".rstrip() for rule in request.rules)
    )
    lines += _field("because", (f"{name} = {_value(value)}" for name, value in sorted(request.facts.items())))
    lines += _field("risk", _risk(request.risk))
    lines += _field("runs", _runs(request, plan, manifest))
    lines += _field("writes", [] if plan is None or manifest else _some(request.resources))
    lines += _field("new", _news(plan, earlier))
    lines += _field("holds", [_holds(request, max_ttl)])
    if request.break_glass is not None:
        due = moment(request.break_glass.review_due)
        why = f"reason: {one_line(reason)}" if reason else f"reason by digest {request.break_glass.reason_sha256[:12]}"
        lines += _field("emergency", [f"{doubtful('one person alone')}, to be reviewed by {due}", why])
    return "\n".join(lines)


def request_line(request: ApprovalRequest, status: str) -> str:
    """A request in one line of a list."""
    rules = ", ".join(request.rule_ids)
    return f"{request.sha256[:12]}  {status:<22}  {moment(request.created_at)}  {_target(request)}  {faint(rules)}"


def news(before: DbtPlan, now: DbtPlan) -> list[str]:
    """What differs between two plans: new and changed nodes, everything around them, and what is not part of it now."""
    from dataclasses import replace

    from clyra.approval.plan import plan_differences

    # Another tree is no news: what it changes is.
    found = [_as_news(line) for line in plan_differences(replace(before, tree=now.tree), now)]
    found += [f"environment variable {name} is read no longer" for name in sorted(set(before.env) - set(now.env))]
    found += [f"seed file {path} is not part of it" for path in sorted(set(before.seeds) - set(now.seeds))]
    left = {node.unique_id for node in now.nodes}
    gone = [node.unique_id for node in before.nodes if node.unique_id not in left]
    found += [f"{_node(unique_id)} is not part of it" for unique_id in gone if _shows(unique_id)]
    if others := sum(1 for unique_id in gone if not _shows(unique_id)):
        found.append(f"{others} tests and other nodes are not part of it")
    return found


def moment(instant: str) -> str:
    """An instant as people read it, to the minute."""
    return f"{instant[:10]} {instant[11:16]} UTC"


def one_line(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


def short_principal(principal: str) -> str:
    """A principal as people read it: of a key or an address, the beginning of its digest tells enough."""
    kind, _, rest = principal.partition(":")
    return f"{kind}:{rest[:16]}" if kind in ("key", "git") else one_line(principal)


def _field(label: str, values: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for value in values:
        lines.append(f"  {faint(label.ljust(_LABEL_WIDTH)) if not lines else ' ' * _LABEL_WIDTH}{value}")
    return lines


def _target(request: ApprovalRequest) -> str:
    return f"{one_line(request.target)} ({one_line(request.environment)}), {one_line(request.audience)}"


def _people(request: ApprovalRequest, known: Contributors | None) -> Iterator[str]:
    names = known.names if known is not None else {}
    yield f"{_person(request.author, names)}, {_BASIS[request.author_basis]}"
    everybody = set(request.contributors) | set(known.principals if known is not None else ())
    yield from _some([_person(principal, names) for principal in sorted(everybody - {request.author})])
    if known is not None and (unsaid := set(known.principals) - set(request.contributors) - {request.author}):
        yield doubtful(f"{len(unsaid)} of them only git here names; the request does not")


def _person(principal: str, names: Mapping[str, str]) -> str:
    named = names.get(principal)
    who = f"{one_line(named)} ({short_principal(principal)})" if named else short_principal(principal)
    return who + (", whom the policy does not know" if principal.startswith("git:") else "")


_BASIS = {
    "claimed": "as the commit claims",
    "signed": "who signed the commits",
    "forge": "as the forge vouches",
}


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value) or "nothing"
    return one_line(value) if isinstance(value, str) else json.dumps(value)


def _risk(risk: Mapping[str, Any] | None) -> Iterator[str]:
    if risk is None:
        return
    yield _BANDS.get(risk["band"], str)(f"{risk['score']} {risk['band']}")
    for factor in risk.get("factors", ()):
        if factor["points"]:
            note = " (not known)" if factor.get("unknown") else ""
            yield f"{factor['factor']} {factor['points']} = {factor['weight']} x {factor['count']}{note}"


def _runs(request: ApprovalRequest, plan: DbtPlan | None, manifest: Mapping[str, Any]) -> Iterator[str]:
    if plan is None:
        yield f"{request.payload_type} {request.payload_sha256[:12]}; the bytes are not here"
        return
    kinds = Counter(node.unique_id.partition(".")[0] for node in plan.nodes)
    counted = [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(kinds.items())]
    versions = f"dbt {plan.dbt_version}, {plan.adapter_type} {plan.adapter_version}"
    yield f"{', '.join(counted) or 'nothing but hooks'}; hooks {plan.hooks_sha256[:12]}; {versions}"
    yield from _some([_described(node.unique_id, manifest) for node in plan.nodes if _shows(node.unique_id)])


def _shows(unique_id: str) -> bool:
    return unique_id.partition(".")[0] in ("model", "seed", "snapshot")


def _described(unique_id: str, manifest: Mapping[str, Any]) -> str:
    """A node with its materialization and relation, as dbt's manifest has it."""
    node = manifest.get("nodes", {}).get(unique_id, {})
    kind = str(node.get("config", {}).get("materialized", "")) or unique_id.partition(".")[0]
    relation = str(node.get("relation_name") or "").replace('"', "").replace("`", "")
    return one_line(f"{kind:<12} {relation or _node(unique_id)}")


def _news(plan: DbtPlan | None, earlier: tuple[ApprovalRequest, DbtPlan] | None) -> Iterator[str]:
    if plan is None:
        return
    if earlier is None:
        yield "everything: nothing was approved for this target before"
        return
    request, before = earlier
    changes = news(before, plan)
    yield f"since {request.sha256[:12]} of {moment(request.created_at)}{':' if changes else ': nothing'}"
    yield from _some(changes)


def _as_news(line: str) -> str:
    words = (
        (" was not approved", " is new"),
        (" was not read when it was approved", " is new"),
        ("macro code changed", "macros or packages changed"),
        (", approved was ", ", before it was "),
    )
    for old, new in words:
        line = line.replace(old, new)
    return one_line(line)


def _holds(request: ApprovalRequest, max_ttl: str) -> str:
    tokens = f"tokens for it live {max_ttl}"
    if request.standing is None:
        return f"for the run {one_line(request.run_id or '')} alone; {tokens}"
    until, target = moment(request.standing.valid_until), one_line(request.standing.target)
    return f"until {until} for any number of runs on {target}, as long as code and policy stay the same; {tokens}"


def _some(values: Sequence[str]) -> list[str]:
    shown = [one_line(value) for value in values[:_SHOWN]]
    return shown if len(values) <= _SHOWN else [*shown, faint(f"and {len(values) - _SHOWN} more; see --json")]


def _node(unique_id: str) -> str:
    kind, _, name = unique_id.partition(".")
    return f"{kind} {name}"


def _short(git_id: str | None) -> str:
    return "not known" if git_id is None else git_id[:12]
