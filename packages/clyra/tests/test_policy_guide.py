# SPDX-License-Identifier: Apache-2.0
"""What ``docs/policy.md`` shows of files and output is what the commands take and print."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from clyra.cli import main
from clyra.policy.lint import check_policy
from clyra.policy.load import load_policy
from clyra.testing.decided_bundle import Asked, DecidedRun, seal_decided

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/policy.md").read_text()
DAY = re.compile(r"\d{4}-\d\d-\d\d")


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


EXAMPLE, WAIVER = fences("yaml")
WIZARD, SURVIVOR, REPORT, DIFF = fences("text")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The sample project with the policy that the guide has the wizard write."""
    for name in [name for name in os.environ if name.startswith(("CLYRA_", "DBT_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "shop"
    shutil.copytree(
        ROOT / "examples/harbor_shop", folder, ignore=shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb*")
    )
    monkeypatch.chdir(folder)
    assert printed(capsys, "wizard", "--yes", "--production", "prod_duckdb").startswith(WIZARD)
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main.run(["policy", *words])
    return capsys.readouterr().out


def test_the_examples_are_policies() -> None:
    example = check_policy(EXAMPLE.encode(), name="clyra.policy.yaml", now=date(2026, 11, 2))
    waived = EXAMPLE.replace("waivers: []\n", WAIVER)
    assert [str(problem) for problem in example.problems] == []
    checked = check_policy(waived.encode(), name="clyra.policy.yaml", now=date(2026, 11, 2))
    assert [str(problem) for problem in checked.problems] == []


def test_the_survivor_is_printed_as_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = project / "policy_tests/production.yaml"
    text = cases.read_text()
    start = text.index("  - name: a full refresh of development does not")
    cases.write_text(text[:start] + text[text.index("  - name: an environment that nobody knows") :])
    assert SURVIVOR in printed(capsys, "test", "--mutate")


def test_the_report_is_printed_as_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = load_policy(project / "clyra.policy.yaml", now=datetime.now(UTC).date())
    facts = {"env.production": True, "change.full_refresh": True, "change.dirty": False, "env.change_freeze": False}
    run = DecidedRun(policy, datetime.now(UTC), [Asked(facts)], target="prod_duckdb", tests=0)
    seal_decided(project / ".clyra", run)
    shown = DAY.sub("day", printed(capsys, "report"))
    head, ready = DAY.sub("day", REPORT).split("\n\nReady")
    assert shown.startswith(head)
    assert shown.endswith(f"\n\nReady{ready}")


def test_the_difference_is_printed_as_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("clyra.policy.yaml", "old.yaml")
    path = project / "clyra.policy.yaml"
    path.write_text(path.read_text().replace("effect: block", "effect: warn"))
    assert printed(capsys, "diff", "old.yaml", "clyra.policy.yaml").startswith(DIFF)
