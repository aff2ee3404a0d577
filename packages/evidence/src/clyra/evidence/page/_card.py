# SPDX-License-Identifier: Apache-2.0
"""A bundle as a small card for notebooks, styled in place because a notebook has no style sheet of ours."""

from __future__ import annotations

from clyra.evidence.page._markup import Markup, element
from clyra.evidence.page.wording import counted, duration, moment, sentence
from clyra.evidence.summary import Summary

_CARD = "border:1px solid #8884;border-left:4px solid #6b7785;border-radius:4px;padding:10px 14px;max-width:46em"
_STOPPING = ("block", "require_approval")
_FAINT = "opacity:.75"


def render_card(summary: Summary) -> str:
    """The card: what ran, how it ended, what it sent; nothing verified, and said so."""
    nodes = [node for node in summary.nodes if node.batch_id is None and not node.is_test]
    failed = sum(node.has_failed for node in nodes)
    tests = summary.tests
    lines: list[object] = [
        element("div", element("strong", f"{summary.call} of {summary.project}"), f": {sentence(summary.status)}"),
        element("div", f"{moment(summary.created_at)}, {duration(summary.duration_us)}, by {summary.actor}"),
        element(
            "div",
            f"{counted(len(nodes), 'node')} ({failed} failed), {counted(summary.statement_count, 'SQL statement')} "
            f"({summary.write_count} that write), {counted(tests.total, 'test')} ({tests.failed} failed)",
        ),
        *([element("div", _governed(summary))] if summary.policy else []),
        element(
            "div", element("code", summary.bundle_id), " not verified here: clyra.verify.verify_bundle", style=_FAINT
        ),
    ]
    return Markup(element("div", *lines, style=_CARD))


def _governed(summary: Summary) -> str:
    stopped = sum(each.mode == "enforce" and each.decision in _STOPPING for each in summary.decisions)
    told = [f"policy {(summary.policy or {})['name']}", f"{counted(stopped, 'decision')} to stop"]
    told.append(f"{counted(len(summary.approvals), 'approval')} claimed")
    return ", ".join([*told, *([f"risk {summary.risk.score} ({summary.risk.band})"] if summary.risk else [])])
