# SPDX-License-Identifier: Apache-2.0
"""What verification said, in words: the verdict, its reasons, every stage, and what a valid bundle does not prove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clyra.evidence.page._markup import Markup, element, join
from clyra.evidence.page.wording import moment, sentence

_HEADLINES = {
    "valid": ("good", "Valid", "Every check passed: the bundle is what a trusted key signed, unchanged."),
    "warning": ("doubtful", "Valid, with warnings", "No check failed. What could not be established is listed here."),
    "invalid": ("bad", "Invalid", "Do not rely on this bundle. What follows is only what the file claims."),
}
_UNVERIFIED = (
    "unknown",
    "Not verified",
    "Nothing was checked to make this page. What follows is only what the file claims.",
)
_STATUSES = {"pass": "good", "fail": "bad", "skipped": "unknown", "not_evaluated": "unknown"}
_SOURCES = {
    "argument": "named on the command line",
    "environment": "named by CLYRA_TRUST",
    "project": "of the project in the working directory",
}
_ICONS = {
    "good": "M7 12.5l3.4 3.4L17.2 9",
    "doubtful": "M12 6.8v6.4M12 16.9v.2",
    "bad": "M8 8l8 8M16 8l-8 8",
    "unknown": "M8 12h8",
}


def icon(kind: str) -> Markup:
    """A sign for ``good``, ``doubtful``, ``bad`` or ``unknown``; words beside it say the same."""
    circle = element("circle", cx=12, cy=12, r=11)
    return element(
        "svg", circle, element("path", d=_ICONS[kind]), class_=f"icon {kind}", viewBox="0 0 24 24", aria_hidden="true"
    )


def verdict(verification: Mapping[str, Any] | None) -> Markup:
    """The banner at the top of the page."""
    kind, headline, told = _HEADLINES[verification["verdict"]] if verification else _UNVERIFIED
    return element(
        "section",
        icon(kind),
        element(
            "div",
            element("h2", headline, id="verdict"),
            element("p", told),
            _reasons(verification) if verification else None,
            _checks(verification) if verification else None,
        ),
        class_=f"verdict {kind}",
        aria_labelledby="verdict",
    )


def _reasons(verification: Mapping[str, Any]) -> Markup | None:
    reasons = []
    if verification["code"] is not None:
        reasons.append((verification["code"], verification["message"], verification["stage"]))
    reasons += [(each["code"], each["message"], each["stage"]) for each in verification["warnings"]]
    if not reasons:
        return None
    items = (
        element("li", element("code", code), " ", message or "", element("span", f" (stage {stage})", class_="faint"))
        for code, message, stage in reasons
    )
    return element("ul", *items, class_="reasons")


def _checks(verification: Mapping[str, Any]) -> Markup:
    items = []
    for check in verification["checks"]:
        status = check["status"]
        told = None if status == "pass" else element("span", f" {sentence(status)}", class_="faint")
        passed = element("span", " passed", class_="spoken") if status == "pass" else None
        items.append(element("li", icon(_STATUSES[status]), check["stage"], told, passed))
    return element("ol", *items, class_="checks", aria_label="Stages of verification")


def trust_facts(verification: Mapping[str, Any] | None) -> list[tuple[str, object]]:
    """Who vouches for the bundle: rows of a list of facts."""
    if verification is None:
        return [("Signatures", "not checked")]
    trust = verification["trust"]
    facts: list[tuple[str, object]] = []
    if trust["source"] == "none":
        facts.append(("Trust file", "none given, so it is not known whose key signed"))
    else:
        facts.append(("Trust file", f"version {trust['version']}, {_SOURCES.get(trust['source'], trust['source'])}"))
        facts.append(("SHA-256 of it", element("code", trust["sha256"])))
    for signer in verification["signers"]:
        source = "timestamped" if signer["time"]["source"] == "rfc3161" else "claimed"
        when = f"{moment(signer['time']['value'])} ({source})"
        how = f"{signer['alg']}, {signer['role']} key, {when}"
        facts.append(("Signed by", join([element("code", signer["keyid"]), element("br"), how])))
    log = verification["log"]
    told = f"leaf {log['index']:,} of {log['size']:,} in {log['origin']}" if log else "no proof of inclusion"
    facts.append(("Log", told))
    for name, label in (("externals", "External files"), ("references", "References")):
        if verification[name]["listed"]:
            facts.append(
                (label, f"{verification[name]['checked']} of {verification[name]['listed']} supplied and checked")
            )
    return facts


def non_claims(verification: Mapping[str, Any] | None) -> Markup:
    """What a valid bundle does not prove, in the words of the specification."""
    if verification is None:
        return element(
            "p", "Verification says what a valid bundle does not prove: run the command below.", class_="faint"
        )
    return element("ul", *(element("li", _with_code(claim)) for claim in verification["non_claims"]), class_="plain")


def _with_code(claim: str) -> Markup:
    # The specification marks names of members with backticks.
    parts = claim.split("`")
    return join(element("code", part) if at % 2 else part for at, part in enumerate(parts))
