# SPDX-License-Identifier: Apache-2.0
"""What a policy would have refused, from evidence, and whether a target is ready to enforce it.

What was recorded is held against the policy as it is now: a refusal that a waiver or a changed rule has settled since
does not stand in the way of enforcing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from clyra.policy._judge import judge
from clyra.policy.effect import RANK, Effect
from clyra.policy.facts import declared_facts
from clyra.policy.recorded_runs import DecidedRun, Unread, is_gates_own
from clyra.policy.replay import over_untold, recorded_of

if TYPE_CHECKING:
    from clyra.policy.engine import CompiledPolicy
    from clyra.policy.environment import Environment

Kind = Literal["would_refuse", "refused", "warned", "waived"]
Standing = Literal["stands", "settled", "not decidable"]

WAIVER_DAYS = 90
_BY_DIGEST = ("opaque_", "unknown_function", "guard_tampering")
_FILL_IN = ("owner", "approved_by", "reason", "ticket")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One rule that had a say in one decision.

    ``standing`` says what the policy as it is now makes of a would-be refusal; None for other kinds. ``unique_id`` is
    the node that it is about, if it is about one.
    """

    run: DecidedRun
    event: Mapping[str, Any]
    kind: Kind
    rule: str
    effect: Effect
    severity: str
    state: str
    standing: Standing | None = None
    unique_id: str | None = None


@dataclass(slots=True)
class Finding:
    """What one rule said about one node (None: about the run), over all runs.

    Attributes:
        kind: Would refuse, refused, warned, waived.
        rule: The rule.
        unique_id: The node.
        effect: The strongest effect it had.
        severity: The rule's.
        count: Decisions in which it had a say.
        unknown: Those among them in which it did so for want of a fact.
        settled: Those which the policy would decide more mildly now.
        runs: Runs, by id.
        targets: dbt targets.
        first_seen: Instant of the first.
        last_seen: Instant of the last.
        missing: Facts for want of which it had a say.
    """

    kind: Kind
    rule: str
    unique_id: str | None
    effect: Effect
    severity: str
    first_seen: str
    last_seen: str
    count: int = 0
    unknown: int = 0
    settled: int = 0
    runs: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it would be refused now."""
        return self.settled == self.count


@dataclass(frozen=True, slots=True)
class Criteria:
    """When a target is ready to enforce: at least so many runs in shadow mode, over at least so many days."""

    runs: int = 20
    days: int = 7


@dataclass(frozen=True, slots=True)
class Readiness:
    """How far a target is.

    ``missing`` says what is, one text each; with nothing missing it is ready. ``mode`` is the one it has now.
    """

    target: str
    environment: str
    mode: str
    runs: int
    days: int
    tests_ran: int
    missing: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """All of it."""

    runs: int = 0
    without_policy: int = 0
    unread: list[Unread] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    targets: list[Readiness] = field(default_factory=list)


def build_report(
    runs: Iterable[DecidedRun | Unread],
    *,
    policy: CompiledPolicy | None = None,
    environments: Mapping[str, Environment] | None = None,
    criteria: Criteria | None = None,
) -> Report:
    """The report over the runs of a period.

    Args:
        runs: What the bundles say.
        policy: The policy as it is now; None: what was recorded counts as it was.
        environments: Its environments, for the modes that targets have now.
        criteria: When a target is ready.
    """
    report = Report()
    by_target: dict[str, list[DecidedRun]] = {}
    for run in runs:
        if isinstance(run, Unread):
            report.unread.append(run)
            continue
        report.runs += 1
        if run.mode is None:
            report.without_policy += 1
            continue
        if run.target is not None:
            by_target.setdefault(run.target, []).append(run)
        report.occurrences += _occurrences(run, policy)
    report.findings = _findings(report.occurrences)
    report.targets = [
        _readiness(target, by_target[target], report.occurrences, environments or {}, criteria or Criteria())
        for target in sorted(by_target)
    ]
    return report


def _occurrences(run: DecidedRun, policy: CompiledPolicy | None) -> Iterator[Occurrence]:
    # What is enforced is also listed in the event that says what shadow rules would have done: once is enough.
    acted_on = {
        (event["point"], event.get("unique_id"), rule["id"])
        for event in run.decisions
        if event["mode"] == "enforce"
        for rule in event["rules"]
    }
    for event in run.decisions:
        is_shadow = event["mode"] == "shadow"
        for rule in _gates_own(event) if is_gates_own(event) else event["rules"]:
            if rule["effect"] == "allow" and rule["state"] != "waived":
                continue
            if is_shadow and (event["point"], event.get("unique_id"), rule["id"]) in acted_on:
                continue
            kind = _kind(rule, is_shadow=is_shadow)
            standing = _standing(run, event, rule["id"], policy) if kind == "would_refuse" else None
            for node in rule.get("nodes") or [event.get("unique_id")]:
                said = rule["id"], rule["effect"], rule["severity"], rule["state"]
                yield Occurrence(run, event, kind, *said, standing, node)


def _gates_own(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"id": event["code"], "effect": event["decision"], "severity": "critical", "state": "matched"}]


def _kind(rule: Mapping[str, Any], *, is_shadow: bool) -> Kind:
    if rule["state"] == "waived":
        return "waived"
    if RANK[rule["effect"]] < RANK["require_approval"]:
        return "warned"
    return "would_refuse" if is_shadow else "refused"


def _standing(run: DecidedRun, event: Mapping[str, Any], rule: str, policy: CompiledPolicy | None) -> Standing:
    if policy is None or is_gates_own(event):
        return "stands"
    recorded = recorded_of(event, run)
    # Where several nodes share an event it names none; where it names one, that is the one the rule had a say about.
    if isinstance(unique_id := event.get("unique_id"), str):
        recorded = replace(recorded, facts={**recorded.facts, "dbt.node": unique_id})

    def refuses(facts: Mapping[str, Any]) -> bool:
        decision = judge(policy, recorded.point, facts, today=recorded.day, scope=recorded.scope)
        return any(each.id == rule and RANK[each.effect] >= RANK["require_approval"] for each in decision.rules)

    told = over_untold(recorded, [policy], refuses)
    answers = {True, False} if told is None else set(told)
    if len(answers) > 1:
        return "not decidable"
    return "stands" if answers.pop() else "settled"


def _findings(occurrences: Iterable[Occurrence]) -> list[Finding]:
    found: dict[tuple[str, str, str | None], Finding] = {}
    for each in occurrences:
        at = each.event["occurred_at"]
        key = each.kind, each.rule, each.unique_id
        finding = found.setdefault(key, Finding(*key, each.effect, each.severity, at, at))
        finding.effect = max(finding.effect, each.effect, key=RANK.__getitem__)
        finding.first_seen, finding.last_seen = min(finding.first_seen, at), max(finding.last_seen, at)
        finding.count += 1
        finding.settled += each.standing == "settled"
        finding.runs.add(each.run.run_id)
        if each.run.target is not None:
            finding.targets.add(each.run.target)
        if each.state == "unknown":
            finding.unknown += 1
            finding.missing.update(each.event["missing"])
    order: list[Kind] = ["would_refuse", "refused", "warned", "waived"]
    return sorted(
        found.values(),
        key=lambda each: (order.index(each.kind), -RANK[each.effect], -each.count, each.rule, each.unique_id or ""),
    )


def _readiness(
    target: str,
    runs: list[DecidedRun],
    occurrences: Iterable[Occurrence],
    environments: Mapping[str, Environment],
    criteria: Criteria,
) -> Readiness:
    runs = sorted(runs, key=lambda run: run.closed_at)
    now = next((each for each in environments.values() if target in each.targets), None)
    mode = (runs[-1].mode or "shadow") if now is None else now.mode
    shadow = [run for run in runs if run.mode == "shadow"]
    days = (shadow[-1].closed_at.date() - shadow[0].closed_at.date()).days + 1 if shadow else 0
    tests_ran = sum(run.tests_ran for run in shadow)
    missing: list[str] = []
    if mode != "enforce":
        if len(shadow) < criteria.runs:
            missing.append(f"{_more(criteria.runs - len(shadow), 'run')} ({len(shadow)} of {criteria.runs})")
        if days < criteria.days:
            missing.append(f"{_more(criteria.days - days, 'day')} ({days} of {criteria.days})")
        if not tests_ran:
            missing.append("a run whose dbt tests ran")
        missing += _in_the_way(target, occurrences)
    name = runs[-1].environment or "unknown" if now is None else now.name
    return Readiness(target, name, mode, len(shadow), days, tests_ran, tuple(missing))


def _more(count: int, word: str) -> str:
    return f"{count} more {word}{'s' * (count > 1)} in shadow mode"


def _in_the_way(target: str, occurrences: Iterable[Occurrence]) -> Iterator[str]:
    counts: dict[tuple[str, str | None], int] = {}
    own: set[str] = set()
    for each in occurrences:
        is_here = each.run.target == target and each.run.mode == "shadow"
        if is_here and each.kind == "would_refuse" and each.standing != "settled":
            counts[each.rule, each.unique_id] = counts.get((each.rule, each.unique_id), 0) + 1
            own |= {each.rule} if is_gates_own(each.event) else set()
    for (rule, unique_id), count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))):
        where = f" on {unique_id}" if unique_id else ""
        remedy = "a fix" if rule in own else "a fix or a waiver"
        yield f"{remedy} for {rule}{where} ({count} would-be refusal{'s' * (count > 1)})"


def waivers_for(report: Report, *, today: date) -> list[dict[str, Any]]:
    """One waiver per rule that would refuse, for what it would refuse; who answers for it is left to fill in.

    An empty text is not a valid owner, approver, reason or ticket: lint refuses the waiver until somebody has filled
    them in.
    """
    by_rule: dict[str, list[Occurrence]] = {}
    for each in report.occurrences:
        # No waiver lifts what the gate itself refuses.
        if each.kind == "would_refuse" and each.standing != "settled" and not is_gates_own(each.event):
            by_rule.setdefault(each.rule, []).append(each)
    return [
        {
            "id": f"w_{today:%Y%m%d}_{rule.removeprefix('x_')}"[:64],
            "rules": [rule],
            **_selector(rule, occurrences),
            **dict.fromkeys(_FILL_IN, ""),
            "created": today.isoformat(),
            "expires": (today + timedelta(days=WAIVER_DAYS)).isoformat(),
        }
        for rule, occurrences in by_rule.items()
    ]


def _selector(rule: str, occurrences: Iterable[Occurrence]) -> dict[str, Any]:
    """The narrowest thing that the record allows to waive by."""
    found = list(occurrences)

    def told(fact: str) -> list[str]:
        return sorted({str(each.event["facts"][fact]) for each in found if fact in each.event["facts"]})

    if rule.startswith(_BY_DIGEST):
        return {"digests": told("action.statement_digest")}
    if all("action.target" in each.event["facts"] for each in found):
        return {"relations": told("action.target")}
    nodes = sorted({each.unique_id for each in found if each.unique_id})
    if nodes:
        return {"nodes": nodes}
    targets = sorted({each.run.target for each in found if each.run.target})
    return {"when": [{"field": "dbt.target", "op": "in", "value": targets}]}


def siem_lines(report: Report) -> Iterator[dict[str, Any]]:
    """One object per rule that had a say, in the order of the evidence; no fact that is personal is in it."""
    personal = {name for name, fact in declared_facts().items() if fact.personal}
    for each in report.occurrences:
        run, event = each.run, each.event
        yield {
            "time": event["occurred_at"],
            "kind": each.kind,
            "rule": each.rule,
            "effect": each.effect,
            "severity": each.severity,
            "state": each.state,
            "standing": each.standing,
            "point": event["point"],
            "mode": event["mode"],
            "decision": event["decision"],
            "decision_id": event["id"],
            "unique_id": each.unique_id,
            "missing": event["missing"],
            "facts": {name: value for name, value in event["facts"].items() if name not in personal},
            "risk": event["risk"],
            "policy_sha256": event["policy_sha256"],
            "bundle_id": run.bundle_id,
            "run_id": run.run_id,
            "project": run.project,
            "target": run.target,
            "environment": run.environment,
        }
