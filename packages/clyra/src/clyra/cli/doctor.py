# SPDX-License-Identifier: Apache-2.0
"""``clyra doctor``: look at everything that has to be right, and say for each thing how to put it right.

The checks come from the installed packages (`clyra.policy.health`). Nothing is written without ``--fix``, and with it
only what can be taken back.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.policy.health import Check, CheckContext, CheckProvider, CheckStatus, Target

FORMAT = "clyra.doctor/v1"
GROUPS = ("install", "project", "policy", "keys", "warehouse", "gateway")
EXIT_OK, EXIT_FAIL, EXIT_WARN, EXIT_UNAVAILABLE = 0, 1, 2, 69

_PROJECT_FILE = "dbt_project.yml"
_STATUSES: tuple[CheckStatus, ...] = ("ok", "warn", "fail", "skip")


@dataclass(frozen=True, slots=True)
class Findings:
    """What all checks found; ``unavailable`` names what could not be looked at."""

    checks: tuple[Check, ...]
    unavailable: tuple[str, ...]


@click.command(short_help="Look at everything that has to be right, with a fix for what is not.")
@click.option("--only", "groups", multiple=True, metavar="GROUP", help=f"Only these: {', '.join(GROUPS)}; repeatable.")
@click.option("--strict", is_flag=True, help="Exit 1 on warnings too.")
@click.option("--warn-ok", is_flag=True, help="Exit 0 on warnings.")
@click.option("--fix", "is_fixing", is_flag=True, help="Make the fixes that can be taken back, and say how.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, *, groups: tuple[str, ...], strict: bool, warn_ok: bool, is_fixing: bool, as_json: bool
) -> None:
    """Look at installation, project, policy, keys and warehouse, and print a command that fixes what is wrong.

    Nothing is written without --fix. The warehouse is connected to only where --only names it. The exit code is 0 if
    all is well, 1 if a check fails, 2 if there are only warnings, 69 if something could not be looked at.

    \b
    Examples:
      clyra doctor
      clyra doctor --only keys --fix
      clyra doctor --only warehouse --strict --json
    """
    if strict and warn_ok:
        raise click.UsageError("--strict and --warn-ok exclude each other", ctx)
    context = _context(frozenset(groups))
    found = examine(context)
    fixed: list[Check] = []
    if is_fixing:
        fixed = [check for check in found.checks if _needs_care(check) and _is_fixed(check, context)]
        found = examine(context) if fixed else found
    if as_json:
        print_json(_document(found, fixed))
    else:
        for line in _lines(found, fixed):
            click.echo(line)
    ctx.exit(exit_code(found, strict=strict, warn_ok=warn_ok))


def examine(context: CheckContext) -> Findings:
    """Run the checks of every installed package that offers some for what was asked.

    Raises:
        ConfigurationError: Nothing has a group that was asked for (``config_invalid``).
    """
    from clyra.cli._entry_points import find_entry_points
    from clyra.policy.health import ENTRY_POINTS, Check, is_within
    from clyra.spec import ConfigurationError

    providers = find_entry_points(ENTRY_POINTS)
    known = {*GROUPS, *(name.partition(".")[0] for name in providers)}
    if strange := sorted(name for name in context.asked if name.partition(".")[0] not in known):
        raise ConfigurationError(f"no check is called {strange[0]}; the groups are {', '.join(sorted(known))}")
    checks: list[Check] = []
    unavailable: list[str] = []
    for group in (*GROUPS, *sorted(known.difference(GROUPS))):
        if context.asked and not context.is_asked(group):
            continue
        offered = [target for name, target in providers.items() if is_within(name, group)]
        for target in offered:
            checks += _run(target, group, context, unavailable)
        if not offered:
            checks.append(Check(group, "skip", "not installed"))
    if context.asked:
        checks = [check for check in checks if context.is_asked(check.id)]
    return Findings(tuple(checks), tuple(unavailable))


def exit_code(found: Findings, *, strict: bool, warn_ok: bool) -> int:
    """What the findings mean for a script: a failure outweighs what could not be looked at, and that a warning."""
    statuses = {check.status for check in found.checks}
    if "fail" in statuses or (strict and "warn" in statuses):
        return EXIT_FAIL
    if found.unavailable:
        return EXIT_UNAVAILABLE
    return EXIT_WARN if "warn" in statuses and not warn_ok else EXIT_OK


def _run(target: str, group: str, context: CheckContext, unavailable: list[str]) -> Iterator[Check]:
    from clyra.policy.health import Check
    from clyra.spec import ClyraError

    try:
        provider: CheckProvider = _loaded(target)
        yield from provider(context)
    except ClyraError as exc:
        unavailable.append(group)
        yield Check(group, "skip", f"could not be looked at: {exc.message}")
    except Exception as exc:  # noqa: BLE001 -- one broken package must not hide what the others found
        # The text of a foreign exception may hold a secret.
        unavailable.append(group)
        yield Check(group, "skip", f"could not be looked at: {type(exc).__name__} in {target}; reinstall its package")


def _loaded(target: str) -> CheckProvider:
    from importlib import import_module

    module, _, attribute = target.partition(":")
    provider: CheckProvider = getattr(import_module(module), attribute)
    return provider


def _context(asked: frozenset[str]) -> CheckContext:
    from datetime import UTC, datetime

    from clyra.policy.health import CheckContext

    project_dir = _project_dir(Path.cwd())
    environ = dict(os.environ)

    @cache
    def find_target() -> Target | None:
        return None if project_dir is None else _target(project_dir, environ)

    return CheckContext(
        project_dir=project_dir, environ=environ, now=datetime.now(UTC), asked=asked, find_target=find_target
    )


def _project_dir(start: Path) -> Path | None:
    return next((folder for folder in (start, *start.parents) if (folder / _PROJECT_FILE).exists()), None)


def _target(project_dir: Path, environ: Mapping[str, str]) -> Target | None:
    """What the first tool that knows the project says; there is one, dbt."""
    from importlib import import_module

    from clyra.cli._entry_points import find_entry_points
    from clyra.policy.health import TARGET_ENTRY_POINTS

    for entry in find_entry_points(TARGET_ENTRY_POINTS).values():
        module, _, attribute = entry.partition(":")
        target: Target | None = getattr(import_module(module), attribute)(project_dir, environ)
        if target is not None:
            return target
    return None


def _needs_care(check: Check) -> bool:
    return check.status in ("warn", "fail") and check.fix is not None and check.undo is not None


def _is_fixed(check: Check, context: CheckContext) -> bool:
    """Run the very command that would have been printed; its output goes to stderr."""
    assert check.fix is not None
    folder = context.project_dir or Path.cwd()
    click.echo(f"clyra: {check.fix}", err=True)
    done = subprocess.run(check.fix, shell=True, cwd=folder, stdout=2, check=False)  # noqa: S602 -- it is a command line
    if done.returncode:
        click.echo(f"clyra: {check.id} is not fixed: the command ended with {done.returncode}", err=True)
    return done.returncode == 0


def _document(found: Findings, fixed: Sequence[Check]) -> dict[str, object]:
    checks = [{name: getattr(each, name) for name in ("id", "status", "summary", "fix")} for each in found.checks]
    statuses = [check.status for check in found.checks]
    return {
        "format": FORMAT,
        "checks": checks,
        "counts": {status: statuses.count(status) for status in _STATUSES},
        "fixed": [{"id": check.id, "fix": check.fix, "undo": check.undo} for check in fixed],
    }


def _lines(found: Findings, fixed: Sequence[Check]) -> Iterator[str]:
    from clyra.evidence.page.wording import visible

    styles = {"ok": good, "warn": doubtful, "fail": bad, "skip": faint}
    for check in found.checks:
        label = f"[{styles[check.status](check.status)}]"
        # What is not wrong is said in one colour, so that warnings do not look like crashes.
        yield f"{label:<{len(label) + 4 - len(check.status)}} {check.id:<26} {visible(check.summary)}"
        if check.fix is not None and check.status in ("warn", "fail"):
            yield f"       fix: {visible(check.fix)}"
    for check in fixed:
        yield f"fixed  {check.id}; to take it back: {visible(check.undo or '')}"
    counts = [f"{sum(check.status == status for check in found.checks)} {status}" for status in _STATUSES]
    yield faint(", ".join(counts))
