# SPDX-License-Identifier: Apache-2.0
"""``clyra policy analyze``: rules that never match or never matter, and what no rule is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json
from clyra.spec import ConfigurationError

if TYPE_CHECKING:
    from clyra.policy.analyze import Finding

EXIT_CLEAN, EXIT_ERRORS, EXIT_WARNINGS = 0, 1, 2

_COLOURS: Mapping[str, Callable[[str], str]] = {"error": bad, "warning": doubtful, "note": faint}
_MOST_NOTES = 10


@click.command(short_help="Find rules that contradict themselves or never matter, and gaps.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--deep", is_flag=True, help="Ask z3: slow, decides everything; needs clyra-policy[deep].")
@click.option("--manifest", metavar="FILE", help="dbt's manifest.json: are its nodes with personal data covered?")
@json_option
@click.pass_context
def analyze(ctx: click.Context, *, file: str | None, deep: bool, manifest: str | None, as_json: bool) -> None:
    """Look at the policy as a whole, for all facts there may be.

    Found are rules that can never match, rules that never matter beside others, allow rules that lift nothing, and
    production targets or personal data that no rule is about. FILE is clyra.policy.yaml of this folder, or what
    CLYRA_POLICY names, unless given. The exit code is 1 if there is a contradiction, a shadowed rule or a gap, 2 if
    there are only warnings, else 0.

    \b
    Examples:
      clyra policy analyze
      clyra policy analyze --manifest target/manifest.json
      clyra policy analyze --deep --json
    """
    from clyra.cli._policy_lint import read_policy_file
    from clyra.cli._policy_place import today
    from clyra.policy.analyze import analyze as findings_of
    from clyra.policy.load import read_policy

    name, data = read_policy_file(file)
    policy = read_policy(data, name=name, now=today())
    nodes = None if manifest is None else _read_manifest(Path(manifest))
    findings = findings_of(policy.document, manifest=nodes, deep=deep)
    if as_json:
        print_json(_document(policy.sha256, findings, deep=deep))
    else:
        for line in _text(name, findings, len(policy.compiled.rules)):
            click.echo(line)
    levels = {finding.level for finding in findings}
    ctx.exit(EXIT_ERRORS if "error" in levels else EXIT_WARNINGS if "warning" in levels else EXIT_CLEAN)


def _read_manifest(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as exc:
        reason = (exc.strerror or type(exc).__name__).lower()
        raise ConfigurationError(f"{path} cannot be read: {reason}; run dbt parse to have it written") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{path} is not JSON; expected dbt's manifest.json") from exc
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a JSON object; expected dbt's manifest.json")
    return document


def _text(name: str, findings: Sequence[Finding], rules: int) -> Iterator[str]:
    from clyra.cli._policy_place import plural
    from clyra.evidence.page.wording import visible

    notes = [finding for finding in findings if finding.level == "note"]
    shown = [finding for finding in findings if finding.level != "note"] + notes[:_MOST_NOTES]
    for finding in shown:
        colour = _COLOURS[finding.level]
        about = finding.rules[0] if finding.rules else visible(finding.subject or "the policy")
        yield f"{colour(finding.kind.replace('_', ' '))}  {about}: {visible(finding.message)}"
    if len(notes) > _MOST_NOTES:
        yield faint(f"and {plural(len(notes) - _MOST_NOTES, 'more note')}: --json lists all")
    counts = {level: sum(each.level == level for each in findings) for level in ("error", "warning")}
    told = [plural(count, level) for level, count in counts.items() if count]
    mark = bad("not sound") if counts["error"] else doubtful("sound") if counts["warning"] else good("ok")
    yield f"{mark}  {name}: {plural(rules, 'rule')}" + (f", {', '.join(told)}" if told else "")


def _document(policy_sha256: str, findings: Sequence[Finding], *, deep: bool) -> dict[str, Any]:
    levels: list[str] = [finding.level for finding in findings]
    return {
        "policy_sha256": policy_sha256,
        "method": "z3" if deep else "boxes",
        "counts": {level: levels.count(level) for level in ("error", "warning", "note")},
        "findings": [
            {
                "kind": finding.kind,
                "level": finding.level,
                "rules": list(finding.rules),
                "subject": finding.subject,
                "message": finding.message,
            }
            for finding in findings
        ],
    }
