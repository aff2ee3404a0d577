# SPDX-License-Identifier: Apache-2.0
"""``clyra policy lint`` and ``clyra policy migrate``: what they print, write and exit with, and what linting costs."""

from __future__ import annotations

import json
import os
import stat
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clyra.cli import main
from clyra.policy.load import policy_from_canonical, read_policy

LINT_BUDGET = 10.0
ROUNDS = 9

SOUND = """version: 1
name: shop
environments:
  production: {targets: [prod], mode: enforce, production: true}
data_platform:
  rules:
    - {id: tree_dirty, effect: block, mode: enforce, when: [{field: change.dirty, op: eq, value: true}]}
"""
FAULTY = SOUND.replace("op: eq", "op: eqq").replace("name: shop", "nmae: shop")
OLD = "# first\nversion: 0\nenvironments:\n  production: {targets: 'prod, eu', mode: enforce} # both\n"

Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("CLYRA_POLICY", "CLYRA_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, expect: int = 0) -> str:
        with pytest.raises(SystemExit) as left:
            main.run(["policy", *words])
        output = capsys.readouterr()
        assert left.value.code == expect, output
        return output.out or output.err

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clyra.policy.yaml"
    path.write_text(SOUND)
    return path


def test_a_sound_file_is_said_to_be_so(command: Command, file: Path) -> None:
    assert command("lint") == "ok  clyra.policy.yaml: 1 rule, enforces in production\n"


def test_problems_are_lines_that_editors_can_jump_to(command: Command, file: Path) -> None:
    file.write_text(FAULTY)
    assert command("lint", expect=1) == (
        'clyra.policy.yaml:2:1: error policy_key: key "nmae" is not known here; did you mean "name"\n'
        'clyra.policy.yaml:7:87: error policy_op: op "eqq" is not known; did you mean "eq"\n'
        "2 errors\n"
    )


def test_warnings_alone_exit_with_two(command: Command, file: Path) -> None:
    file.write_text(SOUND.replace(", mode: enforce, when", ", when"))
    assert "warning policy_hint: no mode" in command("lint", expect=2)
    file.write_text("version: 0\n")
    assert command("lint", str(file), expect=2).endswith("1 warning\n")


def test_json_holds_the_digest_that_evidence_names(command: Command, file: Path) -> None:
    found: dict[str, Any] = json.loads(command("lint", "--json"))
    assert found == json.loads(command("lint", "--format", "json"))
    assert found["policy_sha256"] == policy_from_canonical(_policy(file).canonical).sha256
    assert (found["format"], found["problems"]) == ("clyra.policy-lint/v1", [])
    file.write_text(FAULTY)
    faulty: dict[str, Any] = json.loads(command("lint", "--json", expect=1))
    assert faulty["policy_sha256"] is None
    assert faulty["counts"] == {"error": 2, "warning": 0, "note": 0}
    assert faulty["problems"][0] == {
        "code": "policy_key",
        "message": 'key "nmae" is not known here; did you mean "name"',
        "line": 2,
        "column": 1,
        "pointer": "/nmae",
        "severity": "error",
        "file": "clyra.policy.yaml",
    }


def test_sarif_names_the_place_and_keeps_a_finding_when_lines_move(command: Command, file: Path) -> None:
    file.write_text(FAULTY)
    one = json.loads(command("lint", "--format", "sarif", expect=1))
    file.write_text("# a line more\n" + FAULTY)
    two = json.loads(command("lint", "--format", "sarif", expect=1))
    assert one["version"] == "2.1.0"
    results, moved = one["runs"][0]["results"], two["runs"][0]["results"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "clyra.policy.yaml"}, "region": {"startLine": 2, "startColumn": 1}}
    assert (results[0]["ruleId"], results[0]["level"]) == ("policy_key", "error")
    assert [each["partialFingerprints"] for each in results] == [each["partialFingerprints"] for each in moved]
    assert {rule["id"] for rule in one["runs"][0]["tool"]["driver"]["rules"]} == {"policy_key", "policy_op"}


def test_the_file_is_the_one_that_is_named_or_set_or_here(
    command: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.with_name("other.yaml")
    other.write_text("version: 1\n")
    assert "other.yaml: 0 rules, enforces nowhere" in command("lint", "other.yaml")
    monkeypatch.setenv("CLYRA_POLICY", "other.yaml")
    assert "other.yaml: 0 rules" in command("lint")


def test_a_file_that_is_not_there_is_told_from_none_at_all(command: Command) -> None:
    assert "cannot be read: no such file or directory [policy_unavailable]" in command("lint", "a.yaml", expect=69)
    assert "run clyra policy wizard [config_invalid]" in command("lint", expect=64)
    assert "exclude each other" in command("lint", "--json", "--format", "sarif", expect=64)


def test_a_hostile_file_prints_no_control_characters(command: Command, file: Path) -> None:
    file.write_bytes(b'"\\e[31mred": 1\nname: !%1b x\n"\\x9b2J": "\\e]0;x\\a"\n')
    printed = command("lint", expect=1)
    assert all(char.isprintable() or char == "\n" for char in printed)


def test_the_schema_for_editors_is_the_published_one(command: Command) -> None:
    schema = json.loads(command("lint", "--schema"))
    assert schema["$id"] == "https://clyra.io/spec/policy.v1.schema.json"


def test_migrating_rewrites_an_older_file_once(command: Command, file: Path) -> None:
    file.write_text(OLD)
    file.chmod(0o644)
    assert "is of version 0; run clyra policy migrate" in command("migrate", "--check", expect=1)
    assert file.read_text() == OLD
    assert json.loads(command("migrate", "--json")) == {
        "file": "clyra.policy.yaml",
        "from_version": 0,
        "version": 1,
        "written": True,
    }
    assert file.read_text() == OLD.replace("version: 0", "version: 1").replace("'prod, eu'", "[prod, eu]")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert "is of version 1" in command("migrate", "--check")
    assert "is of version 1" in command("migrate")
    assert "ok" in command("lint")


def test_migrating_leaves_a_broken_file_alone(command: Command, file: Path) -> None:
    file.write_text("version: 0\nname: [\n")
    assert "the policy cannot be read: clyra.policy.yaml:2:7: error policy_syntax" in command("migrate", expect=1)
    assert file.read_text() == "version: 0\nname: [\n"


def test_migrating_through_a_link_keeps_the_link(command: Command, file: Path) -> None:
    file.write_text(OLD)
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    command("migrate", "link.yaml")
    assert link.is_symlink()
    assert "version: 1" in file.read_text()


def _policy(file: Path) -> Any:
    from datetime import date

    return read_policy(file.read_bytes(), now=date(2026, 1, 1))


def cpu_s(command: Sequence[str], environment: dict[str, str]) -> float:
    """User and system time of the process, in seconds."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.budget
def test_linting_sixty_rules_costs_at_most_ten_times_a_bare_interpreter(tmp_path: Path) -> None:
    rule = """    - id: x_rule_{0}
      effect: require_approval
      mode: enforce
      title: Rule number {0}
      when:
        - {{field: dbt.materialized, op: in, value: [table, incremental]}}
        - {{field: change.models, op: gt, value: {0}}}
"""
    policy = tmp_path / "clyra.policy.yaml"
    policy.write_text("version: 1\ndata_platform:\n  rules:\n" + "".join(rule.format(number) for number in range(60)))
    # Compiled modules are part of every installation; here they go to a folder of the test's own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CLYRA_"))}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "pycache")
    lint = (sys.executable, "-c", "from clyra.cli.main import run; run()", "policy", "lint", str(policy))
    bare = (sys.executable, "-c", "pass")
    cpu_s(lint, environment)
    spent = [(cpu_s(lint, environment), cpu_s(bare, environment)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(times) for times in zip(*spent, strict=True))
    print(f"{ours * 1e3:.1f} ms against {theirs * 1e3:.1f} ms: {ours / theirs:.2f} times")
    assert ours / theirs <= LINT_BUDGET
