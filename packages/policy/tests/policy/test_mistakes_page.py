# SPDX-License-Identifier: Apache-2.0
"""The page of typical mistakes prints what lint prints. Run as a program, this writes the messages into the page."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from pathlib import Path

from clyra.policy.lint import check_policy

PAGE = Path(__file__).resolve().parents[4] / "docs" / "policy-mistakes.md"
CASE = re.compile(r"(### (?P<title>[^\n]+)\n\n```yaml\n(?P<file>.*?)```\n\n```text\n)(?P<said>.*?)(?=```)", re.DOTALL)
TODAY = date(2026, 11, 1)


def printed(match: re.Match[str]) -> str:
    found = check_policy(match["file"].encode(), name="clyra.policy.yaml", now=TODAY).problems
    return "".join(f"{problem}\n" for problem in found)


def rewritten(page: str) -> str:
    return CASE.sub(lambda match: match[1] + printed(match), page)


def test_the_page_prints_what_lint_prints() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rewritten(page) == page, f"run python {Path(__file__).name}"


def test_the_page_shows_thirty_mistakes_and_more() -> None:
    cases = list(CASE.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(cases) >= 30
    assert len(cases) == PAGE.read_text(encoding="utf-8").count("```yaml")
    assert all(match["said"] for match in cases)
    assert max(Counter(match["title"] for match in cases).values()) == 1


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
