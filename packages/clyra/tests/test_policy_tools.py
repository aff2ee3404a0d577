# SPDX-License-Identifier: Apache-2.0
"""``clyra policy test``, ``diff``, ``report`` and ``wizard`` as commands: what they print, write and exit with."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clyra.cli import main
from clyra.cli._policy_questions import PlainPrompts, ask
from clyra.policy.facts import FactValue
from clyra.policy.load import load_policy
from clyra.policy.project import Project
from clyra.policy.recorded_runs import bundle_paths
from clyra.policy.wizard import Answers, suggested_answers
from clyra.testing.decided_bundle import Asked, DecidedRun, seal_decided

SHOP = Path(__file__).resolve().parents[3] / "examples/harbor_shop"
NOW = datetime.now(UTC).replace(microsecond=0)
QUIET: dict[str, FactValue] = {
    "env.production": True,
    "env.change_freeze": False,
    "actor.kind": "service",
    "actor.first_time": False,
    "change.full_refresh": False,
    "change.dirty": False,
}

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def policy(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main.run(["policy", *map(str, words)])
        shown = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, shown.out, shown.err

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sample project as the working directory, with no settings."""
    for name in [name for name in os.environ if name.startswith(("CLYRA_", "DBT_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns("target", "logs", ".clyra", "*.duckdb*"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def written(project: Path, policy: Command) -> Path:
    """The project with what the wizard writes."""
    assert policy("wizard", "--yes", "--production", "prod_pg")[0] == 0
    return project


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def seeded(project: Path, *, days: int = 3, **facts: FactValue) -> None:
    loaded = load_policy(project / "clyra.policy.yaml", now=NOW.date())
    for day in range(days):
        at = NOW - timedelta(days=days - day)
        run = DecidedRun(loaded, at, [Asked(QUIET | facts)], target="prod_pg", run_id=f"n{day}")
        seal_decided(project / ".clyra", run)


def test_wizard_without_a_terminal_writes_a_policy_that_lints_and_tests(project: Path, policy: Command) -> None:
    code, shown, _ = policy("wizard", "--yes")
    assert code == 0
    assert "written  clyra.policy.yaml" in shown
    assert "written  policy_tests/production.yaml" in shown
    assert policy("lint")[0] == 0
    code, shown, _ = policy("test", "--coverage", "--mutate")
    assert code == 0
    assert "none survived" in shown


def test_wizard_on_an_empty_folder(tmp_path: Path, policy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "empty"
    folder.mkdir()
    assert policy("wizard", "--project-dir", folder)[0] == 0
    assert policy("lint", folder / "clyra.policy.yaml")[0] == 0
    assert policy("test", "--mutate", folder)[0] == 0


def test_wizard_writes_over_nothing(written: Path, policy: Command) -> None:
    before = (written / "clyra.policy.yaml").read_bytes()
    code, _, error = policy("wizard", "--yes", "--mode", "enforce")
    assert (code, error) == (
        64,
        "clyra: already there: clyra.policy.yaml, policy_tests/production.yaml; use --force to write over it"
        " [config_invalid]\n",
    )
    assert (written / "clyra.policy.yaml").read_bytes() == before
    assert policy("wizard", "--yes", "--mode", "enforce", "--force")[0] == 0
    assert (written / "clyra.policy.yaml").read_bytes() != before


def test_wizard_takes_every_answer_from_a_flag(project: Path, policy: Command) -> None:
    flags = "--name shop --production prod_pg --production pg --mode enforce --personal gdpr --two-approvers"
    key = "key:" + "ab" * 32
    words = [*flags.split(), "--approver", key, "--hours", "sun-thu 08:00-18:00 Asia/Jerusalem", "--framework", "sox"]
    code, shown, _ = policy("wizard", "--json", *words)
    answers = json.loads(shown)["answers"]
    assert code == 0
    assert answers == {
        "name": "shop",
        "production": ["prod_pg", "pg"],
        "other": answers["other"],
        "mode": "enforce",
        "personal": ["pii", "personal", "gdpr"],
        "approvers": [key],
        "two_approvers": True,
        "off_hours": {
            "timezone": "Asia/Jerusalem",
            "begin": "08:00",
            "end": "18:00",
            "days": ["sun", "mon", "tue", "wed", "thu"],
        },
        "frameworks": ["sox"],
    }
    assert "dev" in answers["other"]
    assert "prod_pg" not in answers["other"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hours", "at night"], "working hours are 'at night'; expected days, times and a zone"),
        (["--hours", "08:00-18:00 Middle/Earth"], "/enforcement/off_hours/timezone"),
        (["--approver", "ana@example.com"], "/enforcement/approvals/roles/data_owner/0"),
        (["--project-dir", "nowhere"], "nowhere is no folder"),
    ],
)
def test_wizard_refuses_an_answer_that_no_policy_can_hold(
    project: Path, policy: Command, words: list[str], message: str
) -> None:
    code, _, error = policy("wizard", "--yes", *words)
    assert code == 64
    assert message in error
    assert not (project / "clyra.policy.yaml").exists()


class Typed:
    """A command on a terminal of its own, and somebody who types when asked."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.shown = ""
        environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "clyra.cli.main", *words]
        self.process = subprocess.Popen(command, cwd=folder, env=environ, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 60
        while text not in self.shown and time.monotonic() < end:
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.shown += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    break
                # Arrow-key prompts ask the terminal where its cursor is.
                if self.shown.endswith("\x1b[6n"):
                    os.write(self.master, b"\x1b[1;1R")
        assert text in self.shown, self.shown

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def leave(self) -> int:
        code = self.process.wait(timeout=60)
        os.close(self.master)
        return code


def test_wizard_asks_on_a_terminal(project: Path) -> None:
    typed = Typed(project, "policy", "wizard", "--framework", "sox")
    for question, answer in (
        ("Which dbt targets are production?", "\r"),
        ("What should the policy do there?", "\x1b[B\r"),
        ("Which tags or labels mark personal data?", ", gdpr\r"),
        ("How many people does an approval need?", "\r"),
        ("Working hours", "08:00-18:00 UTC\r"),
    ):
        typed.wait_for(question)
        typed.type(answer)
    typed.wait_for("Next:")
    assert typed.leave() == 0
    assert "frameworks apply" not in typed.shown
    document = load_policy(project / "clyra.policy.yaml", now=NOW.date()).document
    assert document["environments"]["production"]["mode"] == "enforce"
    assert document["enforcement"]["off_hours"]["timezone"] == "UTC"
    assert "gdpr" in (project / "clyra.policy.yaml").read_text()


def test_wizard_writes_nothing_when_somebody_gives_up(project: Path) -> None:
    typed = Typed(project, "policy", "wizard")
    typed.wait_for("Which dbt targets are production?")
    typed.type("\x03")
    assert typed.leave() == 130
    assert not (project / "clyra.policy.yaml").exists()


def asked_in_words(project: Project, typed: str, given: set[str]) -> tuple[Answers, str]:
    found: list[Answers] = []

    @click.command()
    def questions() -> None:
        found.append(ask(suggested_answers(project), project, given, PlainPrompts()))

    result = CliRunner().invoke(questions, input=typed)
    assert result.exit_code == 0, result.output
    return found[0], result.output


def test_questions_in_words_take_defaults_and_ask_again() -> None:
    project = Project("p", {"dev": "duckdb", "prod": "postgres"}, approvers=("svc:ana", "svc:ben"))
    typed = "prd\nprod, dev\nenforce\n\nnone\n\nat night\nmon-fri 08:00-18:00 UTC\nsox pci\n"
    answers, shown = asked_in_words(project, typed, set())
    assert (answers.production, answers.other, answers.mode) == (("prod", "dev"), (), "enforce")
    assert (answers.personal, answers.approvers, answers.two_approvers) == (("pii", "personal"), (), False)
    assert answers.off_hours is not None
    assert answers.frameworks == ("sox", "pci")
    assert "prd is not among them" in shown
    assert "working hours are 'at night'" in shown


def test_questions_that_flags_answered_are_not_asked() -> None:
    given = {"production", "mode", "personal", "approvers", "two_approvers", "hours"}
    answers, shown = asked_in_words(Project("p", {"prod": "postgres"}), "\n", given)
    assert answers == suggested_answers(Project("p", {"prod": "postgres"}))
    assert shown.count("?") == 1


def test_a_failing_case_is_told_with_its_place(written: Path, policy: Command) -> None:
    edit(written / "clyra.policy.yaml", "effect: block", "effect: warn")
    code, shown, _ = policy("test", "--mutate")
    assert code == 1
    assert re.search(r"failed  uncommitted changes do not reach production\n +policy_tests/production.yaml:\d+", shown)
    assert "expected block, got warn by x_production_uncommitted warn" in shown
    assert "no mutant was tried: first make the cases pass" in shown


def test_a_survivor_is_told_with_its_place_and_a_case_that_can_be_pasted(written: Path, policy: Command) -> None:
    cases = written / "policy_tests/production.yaml"
    text = cases.read_text()
    start = text.index("  - name: elsewhere uncommitted changes are fine")
    cases.write_text(text[:start] + text[text.index('  - name: "without git nobody knows') :])
    code, shown, _ = policy("test", "--mutate")
    assert code == 1
    assert "survived  x_production_uncommitted: condition removed: env.production eq true" in shown
    line = (
        (written / "clyra.policy.yaml")
        .read_text()
        .splitlines()
        .index("        - {field: env.production, op: eq, value: true}")
    )
    assert f"clyra.policy.yaml:{line + 1}:11" in shown
    offered = "\n".join(row[10:] for row in shown.splitlines() if row.startswith(" " * 12))
    cases.write_text(text[:start] + offered + "\n" + text[text.index('  - name: "without git nobody knows') :])
    assert policy("test", "--mutate")[0] == 0


def test_a_rule_that_no_case_reaches_is_open(written: Path, policy: Command) -> None:
    when = "[{field: env.ci, op: eq, value: true}]"
    rule = f"    - {{id: x_new, effect: warn, mode: shadow, on_missing: ignore, when: {when}}}\n"
    edit(written / "clyra.policy.yaml", "  rules:\n", "  rules:\n" + rule)
    code, shown, _ = policy("test", "--coverage")
    assert code == 2
    assert "8 of 9 rules hit and just missed" in shown
    assert re.search(r"open +x_new +none +none", shown)


def test_the_tests_as_json(written: Path, policy: Command) -> None:
    code, shown, _ = policy("test", "--coverage", "--mutate", "--json")
    document = json.loads(shown)
    assert code == 0
    assert document["counts"]["failed"] == 0
    assert document["mutants"]["survived"] == 0
    assert document["survivors"] == []
    assert all(rule["covered"] for rule in document["coverage"])


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (lambda folder: (folder / "clyra.policy.yaml").unlink(), 64, "write one with clyra policy wizard"),
        (lambda folder: shutil.rmtree(folder / "policy_tests"), 64, "no cases in policy_tests"),
        (lambda folder: edit(folder / "policy_tests/production.yaml", "given:", "givn:"), 1, 'did you mean "given"'),
        (lambda folder: edit(folder / "clyra.policy.yaml", "effect: block", "effect: blok"), 1, "policy_value"),
    ],
    ids=["no policy", "no cases", "bad cases", "bad policy"],
)
def test_what_cannot_be_tested_says_why(
    written: Path, policy: Command, spoil: Callable[[Path], object], code: int, message: str
) -> None:
    spoil(written)
    found, _, error = policy("test")
    assert (found, message in error) == (code, True), error


def test_diff_says_weaker_and_exits_1(written: Path, policy: Command) -> None:
    shutil.copy("clyra.policy.yaml", "old.yaml")
    edit(written / "clyra.policy.yaml", "effect: block", "effect: warn")
    code, shown, _ = policy("diff", "old.yaml", "clyra.policy.yaml")
    assert code == 1
    assert "weaker         rule x_production_uncommitted changed: effect block becomes warn" in shown
    assert "for example where change.dirty is true, env.production is true" in shown
    assert shown.endswith("The new policy is weaker: let two people approve it.\n")
    assert policy("diff", "clyra.policy.yaml", "old.yaml")[0] == 0
    assert policy("diff", "old.yaml", "old.yaml")[:2] == (0, "the policies say the same\n\nThe new policy is equal.\n")


def test_diff_exits_2_where_it_cannot_say(written: Path, policy: Command) -> None:
    shutil.copy("clyra.policy.yaml", "old.yaml")
    hours = 'enforcement:\n  off_hours: {timezone: UTC, from: "08:00", to: "18:00"}\n'
    edit(written / "clyra.policy.yaml", "enforcement:\n", hours)
    code, shown, _ = policy("diff", "old.yaml", "clyra.policy.yaml", "--json")
    assert (code, json.loads(shown)["direction"]) == (2, "not_decidable")


def test_diff_replays_evidence_and_takes_the_policy_of_a_bundle(written: Path, policy: Command) -> None:
    seeded(written, **{"change.dirty": True})
    seeded(written, days=2)
    sealed = bundle_paths(written / ".clyra")[0]
    shutil.unpack_archive(sealed, written / "unpacked", "zip")
    edit(written / "clyra.policy.yaml", "effect: block", "effect: warn")
    old = written / "unpacked/artifacts/policy.json"
    code, shown, _ = policy("diff", old, "clyra.policy.yaml", "--replay", ".clyra/evidence")
    assert code == 1
    assert "5 runs, 5 decisions made again: 2 same, 3 weaker" in shown
    assert re.search(r"weaker +3x +the run +prod_pg +block -> warn or require_approval", shown)


def test_replaying_where_there_is_no_evidence_is_an_error(written: Path, policy: Command) -> None:
    code, _, error = policy("diff", "clyra.policy.yaml", "clyra.policy.yaml", "--replay", "models")
    assert (code, "no bundle found in models" in error) == (64, True)


def test_report_shows_what_was_seeded_and_what_is_missing(written: Path, policy: Command) -> None:
    seeded(written, **{"change.full_refresh": True})
    code, shown, error = policy("report", "--runs", "5")
    assert (code, error) == (0, "")
    assert shown.startswith("3 runs in the last 14 days\n")
    assert re.search(r"require_approval +x_production_full_refresh +the run +prod_pg +3x", shown)
    assert "needs 2 more runs in shadow mode (3 of 5)" in shown
    assert "needs a fix or a waiver for x_production_full_refresh (3 would-be refusals)" in shown
    assert "  - id: w_" in shown


def test_report_says_when_a_target_is_ready(written: Path, policy: Command) -> None:
    seeded(written)
    _, shown, _ = policy("report", "--runs", "3", "--days", "3")
    assert "ready      prod_pg (production)" in shown
    assert "write mode: enforce under environments.production" in shown


def test_the_waiver_that_report_prints_can_be_pasted(written: Path, policy: Command) -> None:
    seeded(written, **{"change.full_refresh": True})
    _, shown, _ = policy("report")
    lines = shown[shown.index("  - id: w_") : shown.index("\n\nReady")]
    filled = lines.replace('""', "somebody")
    edit(written / "clyra.policy.yaml", "waivers: []", f"waivers:\n{filled}")
    assert policy("lint")[0] != 1
    _, shown, _ = policy("report", "--runs", "3", "--days", "3")
    assert "settled since" in shown
    assert "ready      prod_pg (production)" in shown


def test_report_looks_back_as_far_as_it_is_told(written: Path, policy: Command) -> None:
    seeded(written, days=10)
    assert json.loads(policy("report", "--since", "50h", "--json")[1])["runs"] == 2
    assert json.loads(policy("report", "--since", "2w", "--json")[1])["runs"] == 10
    assert policy("report", "--since", "yesterday")[0] == 64


def test_report_for_a_siem_goes_to_a_file_and_to_a_pipe(written: Path, policy: Command) -> None:
    seeded(written, **{"change.dirty": True})
    code, shown, _ = policy("report", "--format", "ndjson")
    lines = [json.loads(line) for line in shown.splitlines()]
    assert code == 0
    assert [line["rule"] for line in lines] == ["x_production_uncommitted"] * 3
    assert policy("report", "--format", "ndjson", "-o", "out.ndjson")[:2] == (0, "")
    assert Path("out.ndjson").read_text() == shown
    os.mkfifo("pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_text()))
    reader.start()
    assert policy("report", "--format", "ndjson", "-o", "pipe")[0] == 0
    reader.join(timeout=30)
    assert got == [shown]
    assert policy("report", "-o", "out.txt")[0] == 64


def test_report_names_a_damaged_bundle_and_goes_on(written: Path, policy: Command) -> None:
    seeded(written)
    path = bundle_paths(written / ".clyra")[0]
    path.chmod(0o644)
    path.write_bytes(b"PK")
    code, shown, error = policy("report")
    assert code == 2
    assert shown.startswith("2 runs in the last 14 days\n")
    assert f"clyra: skipped {path.relative_to(written)}" in error


def test_names_in_evidence_cannot_command_the_terminal(written: Path, policy: Command) -> None:
    loaded = load_policy(written / "clyra.policy.yaml", now=NOW.date())
    bare: dict[str, FactValue] = {"dbt.resource_type": "model", "dbt.has_tests": False, "dbt.contract_enforced": False}
    facts: dict[str, FactValue] = {**QUIET, **bare, "data.personal": True}
    asked = [Asked(facts, unique_id="model.shop.a\x1b[31mb", scope="all")]
    seal_decided(written / ".clyra", DecidedRun(loaded, NOW, asked, target="prod_pg"))
    shutil.copy("clyra.policy.yaml", "old.yaml")
    edit(written / "clyra.policy.yaml", "effect: require_approval", "effect: block")
    for words in (["report"], ["diff", "old.yaml", "clyra.policy.yaml", "--replay", ".clyra"]):
        _, shown, _ = policy(*words)
        assert "\x1b" not in shown
        assert "a\\u{1b}[31mb" in shown


def test_report_counts_what_a_candidate_would_do(written: Path, policy: Command) -> None:
    seeded(written, days=1)
    line = {"point": "run", "old": "allow", "new": "block", "direction": "stricter"}
    Path("trial.ndjson").write_text(2 * (json.dumps({**line, "old_rules": [], "new_rules": ["x_new"]}) + "\n"))
    _, shown, _ = policy("report", "--shadow", "trial.ndjson")
    assert re.search(r"stricter +allow -> block +x_new +2x", shown)
    Path("trial.ndjson").write_text("{}\n")
    code, _, error = policy("report", "--shadow", "trial.ndjson")
    assert (code, "trial.ndjson:1 is no difference" in error) == (1, True)


def test_report_without_evidence_or_policy_says_so(project: Path, policy: Command) -> None:
    assert policy("report")[0] == 64
    (project / ".clyra/evidence").mkdir(parents=True)
    code, shown, _ = policy("report")
    assert code == 0
    assert "no clyra.policy.yaml here" in shown


@pytest.mark.parametrize("name", ["test", "diff", "report", "wizard"])
def test_help_has_an_example(policy: Command, name: str) -> None:
    code, shown, _ = policy(name, "--help")
    assert code == 0
    assert f"  clyra policy {name}" in shown
