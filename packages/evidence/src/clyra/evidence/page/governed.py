# SPDX-License-Identifier: Apache-2.0
"""The parts of the page that say how the run was governed: what was decided, who approved, how risky it was.

An approval is worded as a claim unless the verification that made the page verified its certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clyra.evidence.governance import Approval, Certificate, DecidedRule, Decision, RiskFactor
from clyra.evidence.page._markup import Markup, element, join
from clyra.evidence.page._sections import BANDS, MOST_ROWS, bar, code, facts, long_table, named, table
from clyra.evidence.page.wording import counted, moment, sentence
from clyra.evidence.summary import Summary

_OUTCOMES = {"allow": "allowed", "warn": "warned", "require_approval": "stopped for approval", "block": "refused"}
_WOULD = {"allow": "allowed", "warn": "would warn", "require_approval": "would ask", "block": "would refuse"}
_KINDS = {"allow": "good", "warn": "doubtful", "require_approval": "bad", "block": "bad"}
_METHODS = {"key": "signed with a key", "oidc": "by an identity provider's word"}
_POLICY = {"name": "Policy", "environment": "Environment", "mode": "Mode", "sha256": "SHA-256 of it"}


def outcome(decision: Decision) -> str:
    """What a decision did, in words; of one in shadow mode, what it would do."""
    if decision.is_lifted:
        return "let pass by approval"
    words = _OUTCOMES if decision.mode == "enforce" else _WOULD
    return words.get(decision.decision, sentence(decision.decision))


def rule_note(rule: DecidedRule) -> str:
    """What is special about a rule's say: nothing where it simply matched."""
    if rule.state == "waived":
        until = f" until {rule.waived_until}" if rule.waived_until else ""
        return f"waived by {rule.waiver or 'a waiver'}{until}"
    return "could not be judged" if rule.state == "unknown" else ""


def decisions(summary: Summary) -> Markup | None:
    """What the policy and its gates decided; None where there was neither."""
    if not summary.policy and not summary.decisions:
        return None
    policy = summary.policy or {}
    values = {name: str(value) for name, value in policy.items()}
    told = facts(
        [
            (label, code(values[name]) if name == "sha256" else values[name])
            for name, label in _POLICY.items()
            if name in values
        ]
    )
    ordered = sorted(summary.decisions, key=lambda each: each.strength)
    rows = [(_outcome(each), _where(each), _rules(each)) for each in ordered[:MOST_ROWS]]
    head = ("Decision", "Where", "Rules and what was not known")
    listed = long_table(head, rows, total=len(ordered), caption="Decisions") if rows else None
    waived = sum(rule.state == "waived" for each in summary.decisions for rule in each.rules)
    note = (
        element("p", f"{counted(waived, 'rule')} lowered to a warning by waivers.", class_="faint") if waived else None
    )
    paused = [
        element("li", element("strong", each.state), f" {each.checkpoint}, {moment(each.occurred_at)}")
        for each in summary.pauses
    ]
    return join([told, note, listed, element("ul", *paused, class_="plain") if paused else None])


def approvals(summary: Summary, verification: Mapping[str, Any] | None) -> Markup | None:
    """Who approved what; None where nothing was approved."""
    if not summary.approvals:
        return None
    verified = verified_approvals(verification)
    return join(
        _approval(each, summary.decisions, is_verified=(each.decision, each.jti) in verified)
        for each in summary.approvals
    )


def verified_approvals(verification: Mapping[str, Any] | None) -> frozenset[tuple[str, str]]:
    """Decisions and tokens whose certificates the verification found to be signed by approvers."""
    if verification is None or verification["verdict"] == "invalid":
        return frozenset()
    entries = verification["approvals"]
    return frozenset((str(entry["decision"]), str(entry["jti"])) for entry in entries)


def risk(summary: Summary) -> Markup | None:
    """The score with every factor that counts; None where nothing was scored."""
    if summary.risk is None:
        return None
    counting = [each for each in summary.risk.factors if each.count]
    most = max((each.points for each in counting), default=0) or 1
    rows = [
        (
            named(sentence(each.factor), doubt(each)),
            bar(each.points / most, is_strong=True),
            f"{each.weight:,} × {each.count:,}",
            f"{each.points:,}",
        )
        for each in counting
    ]
    total = sum(each.points for each in summary.risk.factors)
    capped = f", capped from {total:,}" if total > summary.risk.score else ""
    head = ("Factor", "", "Weight × count", "Points")
    silent = [sentence(each.factor) for each in summary.risk.factors if not each.count]
    return join(
        [
            element(
                "p",
                element("strong", f"{summary.risk.score}", class_=f"score {BANDS.get(summary.risk.band, '')}".rstrip()),
                f" of 100, {summary.risk.band}{capped}, by {summary.risk.method}",
            ),
            table(head, rows, caption="Factors of the risk score", numeric=(2, 3)) if rows else None,
            element("p", f"Not counted: {', '.join(silent)}.", class_="faint") if silent else None,
        ]
    )


def doubt(factor: RiskFactor) -> str | None:
    """Why a factor does not follow from the bundle, if it does not."""
    if factor.is_unknown:
        return "not known, so it counts"
    return "asserted by the recorder" if factor.is_asserted else None


def approval_notes(approval: Approval) -> Iterable[tuple[str, str]]:
    """What is to be said of an approval besides its certificates, as names and values."""
    if approval.break_glass:
        yield "Break-glass", "emergency access: one person, to be reviewed"
    if approval.unread:
        yield "Not in the bundle", counted(len(approval.unread), "certificate")
    if approval.unchecked:
        yield "Not checked", ", ".join(map(sentence, approval.unchecked))


def scope_of(certificate: Certificate) -> str:
    """What a certificate covers: this run, or any run to a target for a time."""
    if certificate.standing_until is None:
        return "this run"
    return f"standing, target {certificate.standing_target}, until {moment(certificate.standing_until)}"


def _approval(approval: Approval, known: Iterable[Decision], *, is_verified: bool) -> Markup:
    decided = next((each for each in known if each.id == approval.decision), None)
    titles = {rule.id: rule.title for rule in decided.rules} if decided else {}
    what = f"{sentence(decided.point)} {decided.unique_id or ''}".strip() if decided else approval.decision
    word, kind = ("verified", "good") if is_verified else ("claimed, not verified here", "doubtful")
    heading = element("h3", what[:1].upper() + what[1:], " ", element("span", word, class_=f"state {kind}"))
    parts = [_certificate(each, titles) for each in approval.certificates]
    notes = list(approval_notes(approval))
    return element("div", heading, *parts, facts(notes) if notes else None, class_="approval")


def _certificate(certificate: Certificate, titles: Mapping[str, str]) -> Markup:
    rules = [named(titles.get(rule) or rule, rule if titles.get(rule) else None) for rule in certificate.rules]
    how = _METHODS.get(certificate.method, sentence(certificate.method))
    return facts(
        [
            ("Approved by", join([code(certificate.principal), f" as {sentence(certificate.role)}"])),
            ("When", moment(certificate.approved_at)),
            ("Covers", scope_of(certificate)),
            ("Rules lifted", join(rules) if rules else None),
            ("Certificate", join([code(certificate.sha256), f" {how}"])),
        ]
    )


def _outcome(decision: Decision) -> Markup:
    kind = "good" if decision.is_lifted else _KINDS.get(decision.decision, "doubtful")
    if decision.mode != "enforce":
        kind = "nothing"
    return element("span", outcome(decision), class_=f"state {kind}")


def _where(decision: Decision) -> Markup:
    detail = decision.unique_id or ("in shadow mode" if decision.mode != "enforce" else None)
    return named(sentence(decision.point), detail)


def _rules(decision: Decision) -> Markup:
    told: list[Markup] = []
    for rule in decision.rules:
        notes = [rule.id if rule.title else "", sentence(rule.effect), rule_note(rule)]
        told.append(named(rule.title or rule.id, " · ".join(filter(None, notes))))
    if decision.missing:
        told.append(element("span", f"not known: {', '.join(decision.missing)}", class_="detail"))
    return join(told or [element("span", "no rule had a say", class_="faint")])
