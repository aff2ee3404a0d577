# SPDX-License-Identifier: Apache-2.0
"""``clyra policy wizard``: a first policy for a project, with its tests, from a few questions."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from clyra.cli._policy_place import plural, shown, table, today
from clyra.cli.output import doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.policy.project import Project
    from clyra.policy.wizard import Answers, OffHours

FRAMEWORKS = ("sox", "pci", "hipaa", "eu-ai-act", "nist-rmf", "tcpa")
HOURS_EXAMPLE = "mon-fri 08:00-18:00 Europe/Berlin"

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(
    rf"((?P<first>{'|'.join(_DAYS)})-(?P<last>{'|'.join(_DAYS)}) +)?"
    r"(?P<begin>([01][0-9]|2[0-3]):[0-5][0-9])-(?P<end>([01][0-9]|2[0-3]):[0-5][0-9]) +(?P<zone>[A-Za-z][\w+/-]{0,63})"
)


class Written(NamedTuple):
    """What came of it."""

    rules: int
    cases: int


@click.command(short_help="Write a first policy and its tests.")
@click.option("--yes", is_flag=True, help="Ask nothing: take what the flags and the project say.")
@click.option("--project-dir", default=".", type=click.Path(path_type=Path, file_okay=False), help="The dbt project.")
@click.option("--name", metavar="NAME", help="Name of the policy. [default: the project's]")
@click.option("--production", multiple=True, metavar="TARGET", help="A dbt target that is production.")
@click.option("--mode", type=click.Choice(["shadow", "enforce"]), help="Of production. [default: shadow]")
@click.option("--personal", multiple=True, metavar="TAG", help="A tag or label that marks personal data.")
@click.option("--approver", "approvers", multiple=True, metavar="WHO", help="A principal who approves, key:<key id>.")
@click.option("--two-approvers/--one-approver", default=None, help="How many people an approval needs.")
@click.option("--hours", metavar="HOURS", help=f'Working hours, like "{HOURS_EXAMPLE}".')
@click.option("--framework", "frameworks", multiple=True, type=click.Choice(FRAMEWORKS), help="One that applies.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@json_option
def wizard(*, yes: bool, project_dir: Path, force: bool, as_json: bool, **flags: Any) -> None:
    """Write clyra.policy.yaml and policy_tests/ for a dbt project.

    Targets, tags and approvers are looked up in profiles.yml, target/manifest.json and clyra.trust.json. What a flag
    answers is not asked; with --yes or --json, or without a terminal, nothing is. Files that are there stay as they
    are, unless --force.

    \b
    Examples:
      clyra policy wizard
      clyra policy wizard --yes --production prod --framework sox
      clyra policy wizard --yes --hours "mon-fri 08:00-18:00 Europe/Berlin" --two-approvers
    """
    from clyra.policy.cases import TESTS_FOLDER
    from clyra.policy.problem import POLICY_FILE
    from clyra.policy.project import read_project
    from clyra.policy.wizard import CASES_FILE, cases_text, policy_text, suggested_answers

    paths = [project_dir / POLICY_FILE, project_dir / TESTS_FOLDER / CASES_FILE]
    _check_place(project_dir, paths, force=force)
    project = read_project(project_dir, os.environ)
    answers = _flagged(suggested_answers(project), project, flags)
    if not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty():
        from clyra.cli._policy_questions import ask

        answers = ask(answers, project, {name for name, value in flags.items() if value not in (None, ())})
    texts = [policy_text(answers), cases_text(answers)]
    written = _checked(*texts)
    for path, text in zip(paths, texts, strict=True):
        _write(path, text)
    if as_json:
        print_json(_document(answers, project, paths, written))
        return
    for line in _text(answers, project, paths, written):
        click.echo(line)


def hours_of(text: str) -> OffHours:
    """Working hours from a text like ``mon-fri 08:00-18:00 Europe/Berlin``; without days Monday to Friday.

    Raises:
        ConfigurationError: It is no such text.
    """
    from clyra.policy.wizard import OffHours
    from clyra.spec import ConfigurationError

    found = _HOURS.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f'working hours are {text!r}; expected days, times and a zone, like "{HOURS_EXAMPLE}"')
    first, last = _DAYS.index(found["first"] or "mon"), _DAYS.index(found["last"] or "fri")
    # sun-thu goes around the end of the week.
    days = _DAYS[first : last + 1] if first <= last else (*_DAYS[first:], *_DAYS[: last + 1])
    return OffHours(found["zone"], found["begin"], found["end"], days)


def _flagged(answers: Answers, project: Project, flags: Mapping[str, Any]) -> Answers:
    """The answers with what the flags say instead."""
    from clyra.policy.wizard import with_personal, with_production

    if flags["production"]:
        answers = with_production(answers, project, flags["production"])
    if flags["personal"]:
        answers = with_personal(answers, flags["personal"])
    if flags["hours"] is not None:
        answers = replace(answers, off_hours=hours_of(flags["hours"]))
    plain: dict[str, Any] = {name: flags[name] for name in ("name", "mode", "two_approvers") if flags[name] is not None}
    plain |= {name: tuple(dict.fromkeys(flags[name])) for name in ("approvers", "frameworks") if flags[name]}
    return replace(answers, **plain)


def _check_place(project_dir: Path, paths: Sequence[Path], *, force: bool) -> None:
    from clyra.spec import ConfigurationError

    if not project_dir.is_dir():
        raise ConfigurationError(f"{project_dir} is no folder; name the dbt project with --project-dir")
    there = [shown(path) for path in paths if path.exists()]
    if there and not force:
        raise ConfigurationError(f"already there: {', '.join(there)}; use --force to write over it")


def _checked(policy_text: str, cases_text: str) -> Written:
    """What will be written, after it has passed what lint and test do.

    Raises:
        ConfigurationError: An answer cannot stand in a policy.
    """
    from clyra.policy.case_files import read_cases
    from clyra.policy.cases import run_case
    from clyra.policy.load import read_policy
    from clyra.policy.problem import PolicyInvalid
    from clyra.spec import ConfigurationError

    day = today()
    try:
        policy = read_policy(policy_text.encode(), now=day)
        rule_ids = [rule.id for rule in policy.compiled.rules]
        cases = read_cases(
            cases_text.encode(), name="policy_tests", environments=policy.environments, rule_ids=rule_ids
        )
    except PolicyInvalid as exc:
        problem = exc.problems[0]
        raise ConfigurationError(f"an answer cannot be used: {problem.pointer}: {problem.message}") from exc
    for case in cases:
        if faults := run_case(policy.compiled, policy.environments, case, today=day).faults:
            raise AssertionError(f"{case.name}: {faults[0]}")
    return Written(len(rule_ids), len(cases))


def _write(path: Path, text: str) -> None:
    from clyra.cli._trust_file import write_text
    from clyra.spec import UnavailableError

    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as exc:
        raise UnavailableError(f"cannot make {path.parent}: {exc.strerror}", code="evidence_unavailable") from exc
    write_text(path, text)


def _text(answers: Answers, project: Project, paths: Sequence[Path], written: Written) -> Iterator[str]:
    for note in project.notes:
        yield f"{doubtful('note')}     {note}"
    policy, cases = paths
    yield f"{good('written')}  {shown(policy)}  {faint(plural(written.rules, 'rule'))}"
    yield f"{good('written')}  {shown(cases)}  {faint(plural(written.cases, 'case'))}"
    yield ""
    yield from table([[faint(name), value] for name, value in _summary(answers, project)])
    yield ""
    yield "Next:"
    folder = "" if policy.parent.resolve() == Path.cwd() else f" {policy.parent}"
    steps = [
        (f"clyra policy lint {shown(policy)}" if folder else "clyra policy lint", "after every change"),
        (f"clyra policy test{folder} --mutate", "whether the cases notice every small mistake"),
        (f"git add {shown(policy)} {shown(cases.parent)}", "the policy is part of the project"),
    ]
    if answers.mode == "shadow":
        steps.append(("clyra policy report", "after a few runs: what would have been refused"))
    yield from table([[command, faint(why)] for command, why in steps])


def _summary(answers: Answers, project: Project) -> Iterator[tuple[str, str]]:
    yield "production", f"{', '.join(answers.production)}  ({answers.mode})"
    if answers.other:
        yield "development", f"{', '.join(answers.other)}  (shadow)"
    marked = ""
    if project.models is not None:
        marked = f"  ({plural(len(project.personal), 'node')} of the manifest)"
    yield "personal data", ", ".join(answers.personal) + marked
    who = ", ".join(answers.approvers) or "keys of role approver in clyra.trust.json"
    yield "approved by", f"{'two' if answers.two_approvers else 'one'} of: {who}"
    hours = answers.off_hours
    if hours is not None:
        yield "working hours", f"{', '.join(hours.days)} {hours.begin}-{hours.end} {hours.timezone}"
    yield "frameworks", ", ".join(answers.frameworks) or "none"


def _document(answers: Answers, project: Project, paths: Sequence[Path], written: Written) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "written": [str(path) for path in paths],
        "rules": written.rules,
        "cases": written.cases,
        "answers": asdict(answers),
        "notes": list(project.notes),
    }
