# SPDX-License-Identifier: Apache-2.0
"""A first policy for a dbt project, from a few answers: pure text out, the same for the same answers.

Every rule comes with its reason, its mode and its cases, so that whoever changes it later sees at once what it was for
and what the change does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clyra.policy._wizard_rules import OWN_MARKS, QUIET, Condition, Proposal, Value, proposals
from clyra.policy.effect import Mode
from clyra.policy.yaml_text import block, flow, items, scalar

if TYPE_CHECKING:
    from clyra.policy.project import Project

CASES_FILE = "production.yaml"
FRAMEWORKS = ("sox", "pci", "hipaa", "eu-ai-act", "nist-rmf", "tcpa")

_PRODUCTION = re.compile(r"(^|[_-])(prod|production|prd|live)([_-]|$)")
_RETENTION = {"hipaa": {"keep": "6y"}, "pci": {"keep": "1y", "hot": "1y"}, "eu-ai-act": {"logs": "184d"}}
_YEARS = re.compile(r"([0-9]+)y")


@dataclass(frozen=True, slots=True)
class OffHours:
    """Working hours: times as HH:MM, a zone of the IANA database, days as mon..sun."""

    timezone: str
    begin: str
    end: str
    days: tuple[str, ...] = ("mon", "tue", "wed", "thu", "fri")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the questions were answered.

    Attributes:
        name: Of the policy.
        production: dbt targets that are production.
        other: The other targets.
        mode: Of production; the others are in shadow mode.
        personal: Tags and labels that mark personal data, beside pii and personal.
        approvers: Principals who may approve.
        two_approvers: Whether an approval needs two people.
        off_hours: Working hours; None: no rule on them.
        frameworks: Frameworks that apply.
    """

    name: str
    production: tuple[str, ...]
    other: tuple[str, ...] = ()
    mode: Mode = "shadow"
    personal: tuple[str, ...] = OWN_MARKS
    approvers: tuple[str, ...] = ()
    two_approvers: bool = False
    off_hours: OffHours | None = None
    frameworks: tuple[str, ...] = field(default_factory=tuple)


def suggested_answers(project: Project) -> Answers:
    """What to answer where nobody says otherwise."""
    production = tuple(target for target in project.targets if _PRODUCTION.search(target.lower()))
    other = tuple(target for target in project.targets if target not in production)
    if not project.targets:
        production = ("prod",)
    return Answers(
        name=project.name,
        production=production,
        other=other,
        personal=tuple(dict.fromkeys([*OWN_MARKS, *project.marks])),
        approvers=project.approvers,
    )


def with_production(answers: Answers, project: Project, production: Sequence[str]) -> Answers:
    """The answers with these targets in production and the project's others elsewhere."""
    other = tuple(target for target in project.targets if target not in production)
    return replace(answers, production=tuple(dict.fromkeys(production)), other=other)


def with_personal(answers: Answers, marks: Sequence[str]) -> Answers:
    """The answers with these marks of personal data, beside those that always count."""
    return replace(answers, personal=tuple(dict.fromkeys([*OWN_MARKS, *marks])))


def policy_text(answers: Answers) -> str:
    """The policy file."""
    return "\n".join(_policy_lines(answers)) + "\n"


def cases_text(answers: Answers) -> str:
    """The file of its cases."""
    return "\n".join(_case_lines(answers)) + "\n"


def _policy_lines(answers: Answers) -> Iterator[str]:
    yield "# What may change production data, and who approves it."
    yield "# Check it with: clyra policy lint      Try it with: clyra policy test --mutate"
    yield ""
    yield "version: 1"
    yield f"name: {scalar(answers.name)}"
    yield ""
    yield from _environment_lines(answers)
    yield ""
    yield "data_platform:"
    yield "  dbt_hooks:"
    yield "    # After a failed test nothing else of the same run may follow."
    yield "    test_failures_block: true"
    yield ""
    yield "  # A rule says something where all of its conditions hold. A fact that is not known never opens"
    yield "  # a gate: the rule then does what on_missing says, by default its effect. Give a new rule"
    yield "  # mode: shadow until you have seen in clyra policy report what it would do."
    yield "  rules:"
    for at, proposal in enumerate(proposals(answers)):
        yield from ([""] if at else [])
        yield from _rule_lines(proposal)
    yield ""
    yield from _enforcement_lines(answers)
    yield ""
    yield from _compliance_lines(answers)
    yield ""
    yield "# Dated exceptions, at most 90 days. clyra policy report prints them ready to paste."
    yield "waivers: []"


def _environment_lines(answers: Answers) -> Iterator[str]:
    yield "# Which dbt targets are what. A target that stands nowhere is in shadow mode: recorded, never refused."
    yield "environments:"
    yield "  production:"
    yield f"    targets: {flow(answers.production)}"
    if answers.mode == "shadow":
        yield "    # shadow: nothing is refused, what would have been is recorded. Before you write enforce, look at"
        yield "    # clyra policy report, which says when a target is ready."
    else:
        yield "    # enforce: rules of mode enforce are acted on."
    yield f"    mode: {answers.mode}"
    yield "    production: true"
    yield "    # true while nothing should change; then every run needs an approval."
    yield "    change_freeze: false"
    if answers.other:
        yield "  development:"
        yield f"    targets: {flow(answers.other)}"
        yield "    mode: shadow"


def _rule_lines(proposal: Proposal) -> Iterator[str]:
    yield f"    # {proposal.why}"
    yield f"    - id: {proposal.id}"
    yield f"      title: {scalar(proposal.title)}"
    yield f"      effect: {proposal.effect}"
    yield "      mode: enforce"
    yield "      when:"
    for item in proposal.when:
        if isinstance(item, tuple):
            yield f"        - {flow(_condition(item))}"
        else:
            yield "        - any:"
            yield from (f"            - {flow(_condition(each))}" for each in item)
    if proposal.on_missing is not None:
        yield f"      on_missing: {proposal.on_missing}"
    yield f"      fix: {scalar(proposal.fix)}"


def _condition(condition: Condition) -> dict[str, Value]:
    name, op, value = condition
    return {"field": name, "op": op, "value": value}


def _enforcement_lines(answers: Answers) -> Iterator[str]:
    yield "enforcement:"
    if answers.off_hours is not None:
        hours = answers.off_hours
        members = {"timezone": hours.timezone, "days": hours.days, "from": hours.begin, "to": hours.end}
        yield "  # Working hours; the rest is off hours."
        yield from block({"off_hours": members}, 2)
    yield "  approvals:"
    yield "    # How many people an approval needs. Nobody approves a change of their own."
    yield f"    quorum: {2 if answers.two_approvers else 1}"
    if answers.approvers:
        yield "    # Who may approve, of those whose keys the trust file gives the role approver."
        yield "    roles:"
        yield "      data_owner:"
        yield from items(answers.approvers, 8)
    else:
        yield "    # Anybody may whose key the trust file gives the role approver; clyra keys init --role approver"
        yield '    # makes one. Roles say who acts as what, like data_owner: ["key:<key id>"]'
        yield "    roles: {}"
    yield "  risk:"
    yield "    # A run that scores more needs an approval, whatever the rules say."
    yield "    thresholds:"
    yield "      - {above: 80, effect: require_approval}"


def _compliance_lines(answers: Answers) -> Iterator[str]:
    yield "compliance:"
    yield f"  frameworks: {flow(answers.frameworks)}"
    if kept := _retention(answers.frameworks):
        yield "  # What these frameworks ask for at least."
        yield "  retention:"
        yield from block(kept, 4)


def _retention(frameworks: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for framework in frameworks:
        for name, duration in _RETENTION.get(framework, {}).items():
            found[name] = max(found.get(name, duration), duration, key=_length)
    return found


def _length(duration: str) -> int:
    years = _YEARS.fullmatch(duration)
    return int(years[1]) * 366 if years else int(duration.rstrip("d"))


def _case_lines(answers: Answers) -> Iterator[str]:
    found = list(proposals(answers))
    # Facts that no rule asks for would only be in the way.
    asked = {condition[0] for each in found for item in each.when for condition in _flat(item)}
    yield "# Cases for clyra.policy.yaml; run them with: clyra policy test --coverage --mutate"
    yield "# A case gives facts and says what all rules together decide, whatever their mode; null makes a"
    yield "# fact unknown. rules lists those that have a say, and no others."
    yield ""
    yield "# Every case starts from these: an ordinary run in production, about which no rule has anything to say."
    yield "given:"
    yield from block({name: value for name, value in QUIET.items() if name in asked}, 2)
    yield ""
    yield "cases:"
    yield "  - name: an ordinary run passes"
    yield "    expect: {decision: allow, rules: {}}"
    for proposal in found:
        yield ""
        yield f"  # {proposal.title}"
        for example in proposal.examples:
            yield from _case(proposal, example.name, example.given, says=example.says)
    yield ""
    yield "  # A score above 80 is approved first"
    for score, decision, rules in ((80, "allow", {}), (81, "require_approval", {"risk_threshold": "require_approval"})):
        yield f"  - name: a risk of {score} {'passes' if decision == 'allow' else 'waits'}"
        yield f"    given: {flow({'risk.score': score})}"
        yield f"    expect: {flow({'decision': decision, 'rules': rules})}"


def _case(proposal: Proposal, name: str, given: object, *, says: bool) -> Iterator[str]:
    yield f"  - name: {scalar(name)}"
    if proposal.point != "run":
        yield f"    point: {proposal.point}"
    if given:
        yield f"    given: {flow(given)}"
    decision = proposal.effect if says else "allow"
    yield f"    expect: {flow({'decision': decision, 'rules': {proposal.id: proposal.effect} if says else {}})}"


def _flat(item: Condition | Sequence[Condition]) -> Sequence[Condition]:
    return [item] if isinstance(item, tuple) else item
