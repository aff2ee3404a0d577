# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clyra.cli import main
from clyra.cli._entry_points import find_entry_points
from clyra.spec import BlockedError, ClyraError, ConfigurationError, FormatError, UnavailableError, VerificationError


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, **commands: str) -> None:
    """Install a distribution with commands into ``folder`` and put the folder first on the search path."""
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.dist-info"
    metadata.mkdir()
    lines = [f"{name} = {module}:{attribute}" for name, attribute in commands.items()]
    (metadata / "entry_points.txt").write_text("[clyra.commands]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(folder))


def leave(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main.run(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


RAISING = """
import click
import clyra.spec as spec

@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.argument("name")
def fail(name: str, as_json: bool) -> None:
    "Fail on purpose."
    raise {error}

@click.command()
@click.argument("code", type=int)
@click.pass_context
def leave(ctx: click.Context, code: int) -> None:
    "Leave with a code."
    ctx.exit(code)
"""


def test_entry_points_are_read_from_the_files_of_installed_distributions(tmp_path: Path) -> None:
    metadata = tmp_path / "x-1.dist-info"
    metadata.mkdir()
    text = "[other]\na = m:x\n\n[clyra.commands]\n# note\nzeta = m.z:run [extra]\nalpha=m:a\n[last]\nb = m:y\n"
    (metadata / "entry_points.txt").write_text(text)
    assert find_entry_points("clyra.commands", [str(tmp_path)]) == {"alpha": "m:a", "zeta": "m.z:run"}


def test_the_first_distribution_on_the_search_path_wins(tmp_path: Path) -> None:
    for folder, target in (("one", "first:x"), ("two", "second:x")):
        metadata = tmp_path / folder / "p-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "entry_points.txt").write_text(f"[g]\nname = {target}\n")
    assert find_entry_points("g", [str(tmp_path / "one"), str(tmp_path / "two")]) == {"name": "first:x"}


def test_the_command_finds_what_the_metadata_library_finds() -> None:
    from importlib.metadata import entry_points

    expected = {entry.name: entry.value for entry in entry_points(group="clyra.commands")}
    assert "verify" in expected
    assert find_entry_points("clyra.commands") == expected


def test_a_group_that_no_file_names_is_looked_up_in_the_metadata() -> None:
    assert find_entry_points("clyra.no_such_group") == {}


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (FormatError("bad form", code="zip_order"), "zip_order", 1),
        (VerificationError("not so", code="key_unknown"), "key_unknown", 1),
        (BlockedError("no", code="blocked"), "blocked", 1),
        (ConfigurationError("bad setting"), "config_invalid", 64),
        (UnavailableError("gone", code="evidence_unavailable"), "evidence_unavailable", 69),
        (ClyraError("our fault"), "internal_error", 70),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, ClyraError) else None,
)
def test_an_error_is_one_line_with_its_code_and_an_exit_code(
    error: ClyraError, code: str, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    module = f"raising_{type(error).__name__.lower()}"
    raised = f'spec.{type(error).__name__}("{error.message}", code="{error.code}")'
    offer(tmp_path, monkeypatch, module, RAISING.format(error=raised), fail="fail")
    assert leave(["fail", "x"]) == exit_code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"clyra: {error.message} [{code}]\n")


def test_an_error_with_json_is_also_a_document_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(tmp_path, monkeypatch, "raising_json", RAISING.format(error='spec.FormatError("bad form")'), fail="fail")
    assert leave(["fail", "x", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": {"code": "schema_invalid", "message": "bad form"}}
    assert shown.err == "clyra: bad form [schema_invalid]\n"


def test_an_unexpected_exception_is_reported_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CLYRA_DEBUG", raising=False)
    offer(tmp_path, monkeypatch, "raising_bug", RAISING.format(error='ValueError("row value 4711")'), fail="fail")
    assert leave(["fail", "x"]) == 70
    shown = capsys.readouterr()
    assert "unexpected ValueError at raising_bug:" in shown.err
    assert "CLYRA_DEBUG=1" in shown.err
    assert "4711" not in shown.err


def test_the_traceback_of_a_bug_is_shown_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLYRA_DEBUG", "1")
    offer(tmp_path, monkeypatch, "raising_trace", RAISING.format(error='ValueError("boom")'), fail="fail")
    assert leave(["fail", "x"]) == 70
    assert "ValueError: boom" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_of_a_command_is_the_exit_code_of_the_process(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, monkeypatch, f"leaving_{code}", RAISING.format(error="ValueError()"), leave="leave")
    assert leave(["leave", str(code)]) == code


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fail", "x", "--nope"], "no such option"),
        (["no-such-command"], "no such command"),
        (["fail"], "missing argument"),
    ],
    ids=["option", "command", "argument"],
)
def test_wrong_usage_leaves_with_64_and_names_the_help(
    words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "raising_" + part.replace(" ", "_")
    offer(tmp_path, monkeypatch, module, RAISING.format(error="ValueError()"), fail="fail")
    assert leave(words) == 64
    error = capsys.readouterr().err
    assert error.startswith("clyra: ")
    assert part in error
    assert "--help" in error
    assert error.endswith("[config_invalid]\n")


def test_a_command_that_cannot_be_imported_spoils_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(tmp_path, monkeypatch, "broken_command", "import module_that_nobody_has\n", broken="broken")
    assert leave(["--help"]) == 0
    assert "(cannot be loaded)" in capsys.readouterr().out
    assert leave(["broken", "--any", "argument"]) == 69
    assert "module_that_nobody_has" in capsys.readouterr().err


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert leave(["--version"]) == 0
    assert capsys.readouterr().out == f"clyra {version('clyra')}\n"


def test_no_arguments_show_the_help_and_leave_with_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave([]) == 64
    assert "Usage: clyra" in capsys.readouterr().err


COLOURFUL = 'import click\n\n@click.command()\ndef paint() -> None:\n    click.echo(click.style("x", fg="red"))\n'


@pytest.mark.parametrize(("value", "expected"), [("1", False), ("", None)], ids=["set", "empty"])
def test_no_color_turns_colour_off_whatever_the_terminal_is(
    value: str, expected: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "import click\n\n@click.command()\n@click.pass_context\ndef ask(ctx: click.Context) -> None:\n"
        f"    ctx.exit(0 if ctx.find_root().color is {expected} else 1)\n"
    )
    monkeypatch.setenv("NO_COLOR", value)
    offer(tmp_path, monkeypatch, f"asking_{expected}".lower(), source, ask="ask")
    assert leave(["ask"]) == 0


def test_a_reader_who_left_ends_the_command_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import click\n\n@click.command()\ndef talk() -> None:\n    click.echo('x' * 1_000_000)\n"
    offer(tmp_path, monkeypatch, "talking", source, talk="talk")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "clyra.cli.main", "talk"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(30) == 141
    assert error == b""


def test_every_first_party_command_has_help_with_an_example() -> None:
    context = click.Context(main.clyra)
    for name, target in find_entry_points("clyra.commands").items():
        if not target.startswith("clyra."):
            continue
        command = main.clyra.get_command(context, name)
        assert command is not None
        if command.short_help == "(cannot be loaded)":
            continue
        leaves = [command] if not isinstance(command, click.Group) else list(command.commands.values())
        for leaf in leaves:
            text = (leaf.help or "") + (leaf.epilog or "")
            assert f"clyra {name}" in text, f"{name} {leaf.name} shows no example"
