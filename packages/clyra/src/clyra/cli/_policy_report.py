# SPDX-License-Identifier: Apache-2.0
"""``clyra policy report``: what would have been refused, the waivers for it, and which targets are ready to enforce."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli._policy_place import plural, shown, since_instant, table, utc_now, with_progress
from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json
from clyra.evidence.page.wording import visible

if TYPE_CHECKING:
    from clyra.policy.load import LoadedPolicy
    from clyra.policy.report import Finding, Readiness, Report

EXIT_OK, EXIT_UNREAD = 0, 2

_HEADINGS = {
    "would_refuse": "Would have been refused",
    "refused": "Was refused, or lifted by an approval",
    "warned": "Warned",
    "waived": "Waived",
}
_SHOWN = 20


@click.command(short_help="Say what would have been refused, and which targets are ready to enforce.")
@click.option("--since", default="14d", show_default=True, metavar="TIME", help="How far to look back: 36h, 14d, 2w.")
@click.option("--dir", "evidence", metavar="DIR", type=click.Path(path_type=Path), help="Folder with bundles.")
@click.option("--project-dir", default=".", type=click.Path(path_type=Path, file_okay=False), help="The dbt project.")
@click.option("--runs", default=20, show_default=True, help="Runs in shadow mode before a target is ready.")
@click.option("--days", default=7, show_default=True, help="Days over which they lie.")
@click.option("--shadow", metavar="FILE", type=click.Path(path_type=Path), help="Differences of a candidate, NDJSON.")
@click.option("--format", "form", type=click.Choice(["text", "ndjson"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="File or pipe for the NDJSON.")
@json_option
@click.pass_context
def report(
    ctx: click.Context,
    *,
    since: str,
    evidence: Path | None,
    project_dir: Path,
    runs: int,
    days: int,
    shadow: Path | None,
    form: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Sum up what the policy decided in the bundles of a project, by rule and node.

    What would have been refused is held against the policy as it is now: what a waiver or another rule has settled
    since is not in the way any more. A target is ready when it ran often and long enough in shadow mode, its dbt tests
    ran, and nothing would be refused. --format ndjson gives one line per rule that had a say, for a SIEM. The exit code
    is 2 if a bundle could not be read.

    \b
    Examples:
      clyra policy report
      clyra policy report --since 30d --runs 50
      clyra policy report --format ndjson -o /var/log/clyra/decisions.ndjson
    """
    from clyra.policy.report import Criteria, build_report

    if output is not None and form != "ndjson":
        raise click.UsageError("--output is for --format ndjson; redirect the text instead", ctx)
    now = utc_now()
    start = since_instant(since, now)
    policy = _current_policy(project_dir)
    result = build_report(
        _runs(_evidence(project_dir, evidence), start),
        policy=None if policy is None else policy.compiled,
        environments={} if policy is None else policy.environments,
        criteria=Criteria(runs=runs, days=days),
    )
    trial = _candidate_lines(shadow, start)
    if form == "ndjson":
        _write_lines(result, output)
    elif as_json:
        print_json(_document(result, trial, start, now))
    else:
        for line in _text(result, trial, policy, start, now):
            click.echo(line)
    for unread in result.unread:
        click.echo(f"clyra: skipped {shown(unread.path)}: {visible(unread.reason)}", err=True)
    ctx.exit(EXIT_UNREAD if result.unread else EXIT_OK)


def _current_policy(project_dir: Path) -> LoadedPolicy | None:
    from clyra.policy.load import find_policy, load_policy

    path = find_policy(project_dir, os.environ)
    return None if path is None else load_policy(path, now=utc_now().date())


def _evidence(project_dir: Path, named: Path | None) -> Path:
    from clyra.evidence.folder import EvidenceFolder
    from clyra.spec import ConfigurationError

    folder = named if named is not None else EvidenceFolder.locate(project_dir, os.environ).bundle_dir
    if not folder.is_dir():
        raise ConfigurationError(f"no evidence in {shown(folder)}; run dbt there first, or name a folder with --dir")
    return folder


def _runs(folder: Path, start: datetime) -> Iterator[Any]:
    from clyra.policy.recorded_runs import bundle_paths, read_runs

    paths = bundle_paths(folder)
    found = with_progress(read_runs(paths, since=start), len(paths), "bundle")
    return (run for run in found if run is not None)


def _candidate_lines(path: Path | None, start: datetime) -> list[Mapping[str, Any]]:
    """The lines that a candidate's sink has written; those of before the period are left out where they have a time.

    Raises:
        UnavailableError: The file cannot be read.
        FormatError: A line is not what the sink writes (``schema_invalid``).
    """
    from clyra.spec import FormatError, UnavailableError

    if path is None:
        return []
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"{path} cannot be read: {exc.strerror}", code="policy_unavailable") from exc
    found = []
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = json.loads(text)
            is_sound = line["direction"] in ("stricter", "weaker") and {"old", "new", "new_rules"} <= line.keys()
        except (ValueError, KeyError, TypeError):
            is_sound = False
        if not is_sound:
            raise FormatError(f"{path}:{number} is no difference of a candidate policy; name the file of its sink")
        if str(line.get("occurred_at", "9")) >= f"{start:%Y-%m-%dT%H:%M:%SZ}":
            found.append(line)
    return found


def _write_lines(result: Report, output: Path | None) -> None:
    from clyra.policy.report import siem_lines
    from clyra.spec import UnavailableError

    lines = (json.dumps(line, sort_keys=True) for line in siem_lines(result))
    if output is None:
        for line in lines:
            click.echo(line)
        return
    try:
        with output.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as exc:
        raise UnavailableError(f"cannot write {output}: {exc.strerror}", code="evidence_unavailable") from exc


def _text(
    result: Report,
    trial: Sequence[Mapping[str, Any]],
    policy: LoadedPolicy | None,
    start: datetime,
    now: datetime,
) -> Iterator[str]:
    days = max(1, round((now - start).total_seconds() / 86400))
    yield f"{plural(result.runs, 'run')} in the last {plural(days, 'day')}{_without(result)}"
    if policy is None:
        yield faint("no clyra.policy.yaml here: what was recorded is shown as it was")
    for kind, heading in _HEADINGS.items():
        findings = [each for each in result.findings if each.kind == kind]
        if findings:
            yield ""
            yield heading
            yield from table([_finding_row(each) for each in findings[:_SHOWN]])
            if len(findings) > _SHOWN:
                yield f"  and {len(findings) - _SHOWN} more: --json lists all"
    if trial:
        yield ""
        yield from _trial_text(trial)
    yield from _waivers_text(result, now)
    if result.targets:
        yield ""
        yield "Ready to enforce?"
        for target in result.targets:
            yield from _target_text(target)


def _without(result: Report) -> str:
    return f", {result.without_policy} of them without a policy" if result.without_policy else ""


def _finding_row(finding: Finding) -> list[str]:
    effect = {"block": bad, "require_approval": doubtful}.get(finding.effect, faint)(finding.effect)
    when = finding.last_seen[:10]
    if finding.first_seen[:10] != when:
        when = f"{finding.first_seen[:10]} to {when}"
    remarks = []
    if finding.unknown:
        remarks.append(f"{finding.unknown}x for want of {visible(', '.join(sorted(finding.missing))) or 'a fact'}")
    if finding.settled:
        remarks.append("settled since" if finding.is_settled else f"{finding.settled}x settled since")
    targets = visible(", ".join(sorted(finding.targets)))
    where = visible(finding.unique_id or "the run")
    return [
        effect,
        visible(finding.rule),
        where,
        targets,
        f"{finding.count}x",
        when,
        faint("; ".join(remarks)) if remarks else "",
    ]


def _trial_text(trial: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "The candidate policy would decide otherwise"
    counts = Counter(
        (
            str(line["direction"]),
            visible(f"{line['old']} -> {line['new']}"),
            visible(", ".join(map(str, line["new_rules"] or line.get("old_rules") or ()))),
        )
        for line in trial
    )
    paint = {"weaker": bad, "stricter": good}
    yield from table(
        [
            [paint[direction](direction), effects, rules, f"{count}x"]
            for (direction, effects, rules), count in counts.most_common()
        ]
    )


def _waivers_text(result: Report, now: datetime) -> Iterator[str]:
    from clyra.policy.report import waivers_for
    from clyra.policy.yaml_text import items

    waivers = waivers_for(result, today=now.date())
    if waivers:
        yield ""
        yield "To let something pass for a while, put it under waivers: in the policy and fill in who answers for it"
        yield from items(waivers, indent=2)


def _target_text(target: Readiness) -> Iterator[str]:
    seen = faint(f"{plural(target.runs, 'shadow run')} over {plural(target.days, 'day')}, {target.tests_ran} tests ran")
    name = visible(f"{target.target} ({target.environment})")
    if target.mode == "enforce":
        yield f"  {good('enforces')}   {name}"
    elif target.missing:
        yield f"  {doubtful('not yet')}    {name}  {seen}"
        yield from (f"             needs {visible(text)}" for text in target.missing)
    else:
        yield f"  {good('ready')}      {name}  {seen}"
        yield f"             write mode: enforce under environments.{visible(target.environment)}"


def _document(result: Report, trial: Sequence[Mapping[str, Any]], start: datetime, now: datetime) -> dict[str, Any]:
    from clyra.policy.report import waivers_for

    return {
        "since": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "until": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "runs": result.runs,
        "without_policy": result.without_policy,
        "unread": [{"file": str(each.path), "reason": each.reason} for each in result.unread],
        "findings": [_finding_members(each) for each in result.findings],
        "waivers": waivers_for(result, today=now.date()),
        "candidate": list(trial),
        "targets": [{**asdict(each), "ready": not each.missing and each.mode != "enforce"} for each in result.targets],
    }


def _finding_members(finding: Finding) -> dict[str, Any]:
    sets = {name: sorted(getattr(finding, name)) for name in ("runs", "targets", "missing")}
    return {**asdict(finding), **sets}
