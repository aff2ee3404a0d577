# SPDX-License-Identifier: Apache-2.0
"""A result as a small piece of HTML for notebooks: no script, no style sheet, every value escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clyra.verify.result import Verification

_COLOURS = {"valid": "#1a7f37", "warning": "#9a6700", "invalid": "#cf222e"}


def to_html(result: Verification) -> str:
    """The verdict, what it is about, and what is open."""
    document = result.as_dict()
    rows: list[tuple[str, str]] = []
    if document["bundle"] is not None:
        bundle = document["bundle"]
        rows += [("bundle", bundle["bundle_id"]), ("run", bundle["run_id"]), ("closed", bundle["closed_at"])]
    rows += [("signed by", f"{entry['keyid']} ({entry['alg']})") for entry in document["signers"]]
    if document["code"] is not None:
        rows.append((document["code"], document["message"] or ""))
    rows += [(warning["code"], warning["message"]) for warning in document["warnings"]]
    cells = "".join(f"<tr><th align='left'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    verdict = document["verdict"]
    return f"<div><strong style='color:{_COLOURS[verdict]}'>{verdict.upper()}</strong><table>{cells}</table></div>"
