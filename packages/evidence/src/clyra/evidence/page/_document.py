# SPDX-License-Identifier: Apache-2.0
"""The page as a document: one file without script, font or address, which no name in a bundle can turn into more."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from clyra.evidence.page import _sections as parts
from clyra.evidence.page import governed
from clyra.evidence.page._lineage import lineage_figure, trust_note
from clyra.evidence.page._markup import Markup, element, join, text
from clyra.evidence.page._recipe import recipe, verify_command
from clyra.evidence.page._timeline import timeline
from clyra.evidence.page._verdict import non_claims, trust_facts, verdict
from clyra.evidence.page.wording import duration, moment
from clyra.evidence.reader import Bundle
from clyra.evidence.summary import Summary, at_us
from clyra.spec import FormatError


def render_page(bundle: Bundle, verification: Mapping[str, Any] | None) -> str:
    """The page about ``bundle``.

    Args:
        bundle: An opened bundle.
        verification: Of ``verification.schema.json``, or None.

    Raises:
        FormatError: The bundle cannot be read, or the verification is of another one (``bundle_unreadable``).
    """
    verified = verification["bundle"] if verification else None
    if verified and verified["manifest_sha256"] != bundle.manifest_sha256:
        raise FormatError(
            f"the verification is of the bundle {verified['bundle_id']}, the file holds "
            f"{bundle.manifest_sha256}; verify it again",
            code="bundle_unreadable",
        )
    summary = bundle.summary()
    main = element(
        "main",
        verdict(verification),
        parts.numbers(summary),
        *_run_sections(bundle, summary, verification),
        *_proof_sections(bundle, summary, verification),
    )
    body = element("body", _header(summary), main, _footer(bundle, summary))
    return f'<!doctype html>\n<html lang="en">{_head(summary)}{body}</html>\n'


def _head(summary: Summary) -> Markup:
    style, digest = _style()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{summary.call} of {summary.project}, {summary.created_at[:10]}: evidence"),
        element("style", Markup(style)),
    )


def _header(summary: Summary) -> Markup:
    target = f"{summary.adapter} target {summary.target}" if summary.adapter and summary.target else summary.target
    told = (moment(summary.created_at), target, summary.actor, f"run {summary.run_id}")
    return element(
        "header",
        element("p", "Clyra evidence", class_="brand"),
        element("h1", summary.call, element("span", " of "), summary.project),
        element("p", " · ".join(filter(None, told)), class_="faint"),
    )


def _run_sections(bundle: Bundle, summary: Summary, verification: Mapping[str, Any] | None) -> list[Markup | None]:
    wrong, tested = parts.incidents(summary), parts.tests(summary)
    slow = ", ".join(f"{node.name} {duration(node.execution_us)}" for node in parts.slowest(summary))
    begin_us, end_us = at_us(summary.created_at), at_us(summary.closed_at)
    lineage = bundle.lineage
    sections = [
        parts.section(
            "run", "The run", "Who called what, and when. The clock is the recorder's.", parts.run_facts(summary)
        ),
        wrong and parts.section("incidents", "What went wrong", "Failed nodes, errors, and gaps in the record.", wrong),
        *_governed_sections(summary, verification),
        parts.section("changes", "What changed", "Nodes that sent statements which write.", parts.changes(summary)),
    ]
    if summary.nodes:
        chart = element(
            "div", timeline(summary.nodes, begin_us=begin_us, end_us=end_us), class_="scroll", **_region("Timeline")
        )
        note = "When each node ran. A row is a slot that was free, not a thread of dbt's."
        told = element("p", f"Slowest: {slow}.", class_="faint") if slow else None
        sections.append(parts.section("timeline", "Timeline", note, chart, _legend(), told))
    if lineage and lineage.nodes:
        figure = element("div", lineage_figure(lineage, summary.nodes), class_="scroll", **_region("Lineage"))
        note = "What reads from what, left to right, as this run went. Tests stand on what they test."
        sections.append(parts.section("lineage", "Lineage", note, figure, trust_note(lineage, summary.nodes)))
    sections += [
        tested and parts.section("tests", "Tests", "Those that did not pass are named.", tested),
        parts.section(
            "statements", "SQL statements", "By verb. The bundle holds digests, no SQL.", parts.statements(summary)
        ),
        parts.section(
            "nodes", "Nodes", "Those that failed first, then in the order of finishing.", parts.all_nodes(summary)
        )
        if summary.nodes
        else None,
    ]
    return sections


def _governed_sections(summary: Summary, verification: Mapping[str, Any] | None) -> list[Markup | None]:
    decided, scored = governed.decisions(summary), governed.risk(summary)
    approved = governed.approvals(summary, verification)
    approved_note = "Who let pass what the policy stops. A person is proved only by a verified certificate."
    scored_note = "Points are weight × count, at most 100. Verifiers count again from the record."
    return [
        decided and parts.section("decisions", "Decisions", "What the policy's gates decided.", decided),
        approved and parts.section("approvals", "Approvals", approved_note, approved),
        scored and parts.section("risk", "Risk", scored_note, scored),
    ]


def _proof_sections(bundle: Bundle, summary: Summary, verification: Mapping[str, Any] | None) -> list[Markup]:
    signers = verification["signers"] if verification else []
    hints = [("Key named in the file", parts.code(keyid)) for keyid in summary.keyids if not signers]
    origin = {"configured": "configured", "user": "the user's own", "ephemeral": "made for this process only"}
    trusted = parts.facts(
        [
            *trust_facts(verification),
            *hints,
            ("Origin of the key", origin.get(summary.signer, summary.signer)),
            ("Manifest, SHA-256", parts.code(summary.manifest_sha256)),
            ("Bundle", parts.code(summary.bundle_id)),
        ]
    )
    name, alg = bundle.path.name, signers[0]["alg"] if signers else "ed25519"
    steps = [
        element("p", "With the command of this software, or one of the other verifiers of the specification:"),
        element("pre", element("code", verify_command(name)), **_region("Command")),
        element("p", "Without any of it, with unzip, sed, base64, sha256sum and openssl:"),
        element(
            "pre",
            element("code", _lines(recipe(summary, name, alg))),
            **_region("Recipe"),
        ),
    ]
    anchors_note = "Where the warehouse itself recorded the run: compare with it."
    return [
        parts.section("anchors", "Anchors", anchors_note, parts.anchors(summary)),
        parts.section("build", "Build", "The code that ran, as its machine knew it.", parts.build(summary)),
        parts.section(
            "files", "Files", "What the manifest lists. References are not in the bundle.", parts.files(summary)
        ),
        parts.section("trust", "Trust", "Keys are looked up in your trust file, never in the bundle.", trusted),
        parts.section("limits", "What this does not prove", None, non_claims(verification)),
        parts.section("yourself", "Verify it yourself", "This page is a view. Only the bundle is evidence.", *steps),
    ]


def _lines(commands: str) -> Markup:
    # Each line alone: a line feed from anywhere else would be shown as a character.
    return Markup("\n".join(text(line) for line in commands.split("\n")))


def _region(name: str) -> dict[str, object]:
    # A region that scrolls must be reachable by keyboard.
    return {"role": "region", "aria_label": name, "tabindex": 0}


def _legend() -> Markup:
    kinds = (("model", "model, seed, snapshot"), ("test", "test"), ("doubtful", "warned"), ("bad", "failed"))
    return element(
        "ul", *(element("li", name, class_=kind) for kind, name in kinds), class_="legend", aria_hidden="true"
    )


def _footer(bundle: Bundle, summary: Summary) -> Markup:
    return element(
        "footer",
        element(
            "p",
            join(
                ["Made from ", parts.code(bundle.path.name), f" ({summary.spec}) by ", parts.code("clyra inspect"), "."]
            ),
        ),
    )


@lru_cache(maxsize=1)
def _style() -> tuple[str, str]:
    """The style sheet and the base64 of its SHA-256, by which the page's policy admits it and nothing else."""
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return style, b64encode(sha256(style.encode()).digest()).decode()
