# SPDX-License-Identifier: Apache-2.0
"""What a bundle says about being governed: decisions and their rules, approvals, the risk score, pauses.

Nothing here is verified: an approval is what its certificates claim. Plain values, gathered from manifest, journal,
policy and certificates, of any of which a hostile file may hold anything.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_SECTIONS = ("data_platform", "genai_security", "voice_compliance")
_STRENGTH = {"block": 0, "require_approval": 1, "warn": 2, "allow": 3}


@dataclass(frozen=True, slots=True)
class DecidedRule:
    """A rule that had a say; ``title`` is empty and ``waived_until`` None where the bundle does not tell."""

    id: str
    title: str
    effect: str
    severity: str
    state: str
    waiver: str | None
    waived_until: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a gate decided; ``missing`` are the facts that it wanted and did not know."""

    id: str
    point: str
    mode: str
    decision: str
    code: str | None
    unique_id: str | None
    rules: tuple[DecidedRule, ...]
    missing: tuple[str, ...]
    risk: int | None
    jti: str | None

    @property
    def is_lifted(self) -> bool:
        """Whether it required an approval and a token was presented."""
        return self.decision == "require_approval" and self.mode == "enforce" and self.jti is not None

    @property
    def strength(self) -> tuple[bool, int]:
        """Sorts decisions by how much they matter: enforced ones first, the strongest effect first."""
        return self.mode != "enforce", _STRENGTH.get(self.decision, 0)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an approval certificate in the bundle says."""

    sha256: str
    kind: str
    method: str
    principal: str
    role: str
    approved_at: str
    rules: tuple[str, ...]
    standing_until: str | None
    standing_target: str | None


@dataclass(frozen=True, slots=True)
class Approval:
    """A token that lifted a decision, with the certificates behind it.

    ``unread`` are the digests of certificates that the bundle does not hold or that say nothing; ``unchecked`` what
    the gate could not check.
    """

    decision: str
    jti: str
    break_glass: bool
    quorum: int
    unchecked: tuple[str, ...]
    certificates: tuple[Certificate, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RiskFactor:
    """A factor of the risk score. What is asserted or unknown follows from nothing in the bundle."""

    factor: str
    weight: int
    count: int
    points: int
    is_asserted: bool
    is_unknown: bool


@dataclass(frozen=True, slots=True)
class Risk:
    """The risk score, 0 to 100."""

    score: int
    band: str
    method: str
    factors: tuple[RiskFactor, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """What became of a checkpoint: opened, approved, denied, expired or resumed."""

    checkpoint: str
    state: str
    occurred_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class PolicyNotes:
    """What a bundle's ``policy.json`` says about its rules and waivers."""

    titles: Mapping[str, str]
    waived_until: Mapping[str, str]


NO_NOTES = PolicyNotes({}, {})


def read_policy_notes(document: bytes) -> PolicyNotes:
    """Titles of rules and ends of waivers in the bytes of a policy; none where they are no policy."""
    try:
        policy = orjson.loads(document)
        rules = [rule for name in _SECTIONS for rule in policy.get(name, {}).get("rules", ())]
        titles = {str(rule["id"]): str(rule.get("title", "")) for rule in rules}
        return PolicyNotes(titles, {str(each["id"]): str(each["expires"]) for each in policy.get("waivers", ())})
    except (ValueError, KeyError, TypeError, AttributeError):
        return NO_NOTES


def read_certificate(sha256: str, envelope: bytes) -> Certificate | None:
    """What a DSSE envelope says as an approval certificate, its signatures not looked at; None if it is none."""
    try:
        body = orjson.loads(b64decode(orjson.loads(envelope)["payload"]))
        standing = body.get("standing", {})
        return Certificate(
            sha256=sha256,
            kind=str(body["kind"]),
            method=str(body["method"]),
            principal=str(body["principal"]),
            role=str(body["role"]),
            approved_at=str(body["approved_at"]),
            rules=tuple(map(str, body.get("rules", ()))),
            standing_until=_text_or_none(standing.get("valid_until")),
            standing_target=_text_or_none(standing.get("target")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def decision_of(event: Mapping[str, Any], notes: PolicyNotes) -> Decision:
    """The decision of an event ``decision``.

    Raises:
        KeyError: A member is absent. Also TypeError, AttributeError where one is of another kind.
    """
    return Decision(
        id=str(event["id"]),
        point=str(event["point"]),
        mode=str(event["mode"]),
        decision=str(event["decision"]),
        code=_text_or_none(event.get("code")),
        unique_id=_text_or_none(event.get("unique_id")),
        rules=tuple(_rule(rule, notes) for rule in event["rules"]),
        missing=tuple(map(str, event["missing"])),
        risk=None if event["risk"] is None else int(event["risk"]),
        jti=_text_or_none(event.get("jti")),
    )


def _rule(rule: Mapping[str, Any], notes: PolicyNotes) -> DecidedRule:
    name, waiver = str(rule["id"]), _text_or_none(rule.get("waiver"))
    return DecidedRule(
        id=name,
        title=notes.titles.get(name, ""),
        effect=str(rule["effect"]),
        severity=str(rule["severity"]),
        state=str(rule["state"]),
        waiver=waiver,
        waived_until=None if waiver is None else notes.waived_until.get(waiver),
    )


def approvals_of(
    manifest: Mapping[str, Any], used: Iterable[Mapping[str, Any]], certificates: Mapping[str, Certificate]
) -> tuple[Approval, ...]:
    """The approvals that the manifest lists, with what the events ``approval.used`` say about them.

    Raises:
        KeyError: A member is absent. Also TypeError, AttributeError where one is of another kind.
    """
    events = {(str(event["decision"]), str(event["jti"])): event for event in used}
    approvals = []
    for entry in manifest["governance"]["approvals"]:
        name, jti = str(entry["decision"]), str(entry["jti"])
        event = events.get((name, jti), {})
        digests = [str(digest) for digest in entry["cert_sha256"]]
        approvals.append(
            Approval(
                decision=name,
                jti=jti,
                break_glass=bool(event.get("break_glass", False)),
                quorum=int(event.get("quorum", 1)),
                unchecked=tuple(map(str, event.get("unchecked", ()))),
                certificates=tuple(certificates[digest] for digest in digests if digest in certificates),
                unread=tuple(digest for digest in digests if digest not in certificates),
            )
        )
    return tuple(approvals)


def risk_of(risk: Mapping[str, Any] | None) -> Risk | None:
    """The manifest's risk; the factors that count most first.

    Raises:
        KeyError: A member is absent. Also TypeError where one is of another kind.
    """
    if risk is None:
        return None
    factors = [
        RiskFactor(
            factor=str(each["factor"]),
            weight=int(each["weight"]),
            count=int(each["count"]),
            points=int(each["points"]),
            is_asserted=bool(each.get("asserted", False)),
            is_unknown=bool(each.get("unknown", False)),
        )
        for each in risk["factors"]
    ]
    ordered = sorted(factors, key=lambda each: (-each.points, each.factor))
    return Risk(int(risk["score"]), str(risk["band"]), str(risk["method"]), tuple(ordered))


def pause_of(event: Mapping[str, Any]) -> Pause:
    """The pause of an event ``checkpoint.<state>``.

    Raises:
        KeyError: A member is absent.
    """
    state = str(event["type"]).partition(".")[2]
    return Pause(str(event["checkpoint"]), state, str(event["occurred_at"]), str(event["expires_at"]))


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
