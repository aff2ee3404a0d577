# SPDX-License-Identifier: Apache-2.0
"""``clyra policy lint``: all that is wrong with a policy file, by the loader that gates use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json
from clyra.spec import ConfigurationError, UnavailableError, spec_folder

if TYPE_CHECKING:
    from clyra.policy.lint import Checked
    from clyra.policy.problem import Problem

Format = Literal["text", "json", "sarif"]

EXIT_CLEAN, EXIT_ERRORS, EXIT_WARNINGS = 0, 1, 2
LINT_FORMAT = "clyra.policy-lint/v1"
SCHEMA = "policy/policy.v1.schema.json"

_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


@click.command(short_help="Check a policy file.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--format", "form", type=click.Choice(("text", "json", "sarif")), default="text", show_default=True)
@click.option("--schema", is_flag=True, help="Print the JSON Schema that editors complete by, and stop.")
@json_option
@click.pass_context
def lint(ctx: click.Context, *, file: str | None, form: Format, schema: bool, as_json: bool) -> None:
    """Check a policy file exactly as the gates do when they load it, and name every problem with its place.

    FILE is clyra.policy.yaml of this folder, or what CLYRA_POLICY names, unless given. The exit code is 0 if the file
    is sound, 1 if it has errors, 2 if there are warnings only.

    \b
    Examples:
      clyra policy lint
      clyra policy lint policies/clyra.policy.yaml --format sarif > policy.sarif
      clyra policy lint --schema > clyra.policy.schema.json
    """
    if schema:
        click.echo((spec_folder() / SCHEMA).read_text(encoding="utf-8"), nl=False)
        return
    if as_json and form == "sarif":
        raise click.UsageError("--json and --format sarif exclude each other", ctx)
    from datetime import UTC, datetime

    from clyra.policy.lint import check_policy

    name, data = read_policy_file(file)
    checked = check_policy(data, name=name, now=datetime.now(UTC).date())
    if as_json or form == "json":
        print_json(_document(name, checked))
    elif form == "sarif":
        print_json(_sarif(checked.problems))
    else:
        _print_text(name, checked)
    severities = {problem.severity for problem in checked.problems}
    ctx.exit(EXIT_ERRORS if "error" in severities else EXIT_WARNINGS if "warning" in severities else EXIT_CLEAN)


def read_policy_file(file: str | None) -> tuple[str, bytes]:
    """Name and bytes of the policy file that is meant.

    Raises:
        ConfigurationError: None is named and none is here.
        UnavailableError: It cannot be read (``policy_unavailable``).
    """
    from clyra.policy.load import find_policy

    path = Path(file) if file is not None else find_policy(Path(), os.environ)
    if path is None:
        raise ConfigurationError("there is no clyra.policy.yaml here; name the file, or run clyra policy wizard")
    try:
        return str(path), path.read_bytes()
    except OSError as exc:
        reason = (exc.strerror or type(exc).__name__).lower()
        raise UnavailableError(f"{path} cannot be read: {reason}", code="policy_unavailable") from exc


def _print_text(name: str, checked: Checked) -> None:
    colour = {"error": bad, "warning": doubtful, "note": faint}
    for each in checked.problems:
        place = f"{each.file}:{each.line}:{each.column}"
        click.echo(f"{place}: {colour[each.severity](each.severity)} {each.code}: {each.message}")
    if checked.problems:
        click.echo(_counted(checked.problems))
        return
    rules = sum(len(section.get("rules", ())) for section in checked.document.values() if isinstance(section, dict))
    enforcing = [each.name for each in checked.first_pass.environments.values() if each.mode == "enforce"]
    where = f"enforces in {', '.join(enforcing)}" if enforcing else "enforces nowhere"
    click.echo(f"{good('ok')}  {name}: {rules} rule{'' if rules == 1 else 's'}, {where}")


def _counted(problems: Sequence[Problem]) -> str:
    counts = _counts(problems)
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items() if count)


def _counts(problems: Sequence[Problem]) -> dict[str, int]:
    severities = ("error", "warning", "note")
    return {severity: sum(problem.severity == severity for problem in problems) for severity in severities}


def _document(name: str, checked: Checked) -> dict[str, Any]:
    """The result as JSON; ``policy_sha256`` is null where the policy cannot be used."""
    digest = None
    if not checked.errors:
        from hashlib import sha256

        from clyra.evidence.canonical import canonicalize_integers

        digest = sha256(canonicalize_integers(checked.document)).hexdigest()
    fields = ("code", "message", "line", "column", "pointer", "severity", "file")
    return {
        "format": LINT_FORMAT,
        "file": name,
        "policy_sha256": digest,
        "counts": _counts(checked.problems),
        "problems": [{field: getattr(problem, field) for field in fields} for problem in checked.problems],
    }


def _sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    """The result as SARIF 2.1.0; a finding keeps its fingerprint when lines above it move."""
    codes = sorted({problem.code for problem in problems})
    driver = {"name": "clyra policy lint", "rules": [{"id": code} for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each) for each in problems],
    }
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: Problem) -> dict[str, Any]:
    from hashlib import sha256

    region = {"startLine": max(problem.line, 1), "startColumn": max(problem.column, 1)}
    location = {"artifactLocation": {"uri": Path(problem.file).as_posix()}, "region": region}
    identity = f"{problem.code}\n{problem.pointer}\n{problem.message}"
    return {
        "ruleId": problem.code,
        "level": problem.severity,
        "message": {"text": problem.message},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"clyraPolicy/v1": sha256(identity.encode()).hexdigest()},
    }
