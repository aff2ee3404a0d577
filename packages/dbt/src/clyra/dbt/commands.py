# SPDX-License-Identifier: Apache-2.0
"""``clyra dbt``: set a project up, plan a run, seal evidence where no plugin can run, stamp an image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clyra.dbt._init import Plan
    from clyra.dbt._stamp import StampCheck
    from clyra.evidence.folder import EvidenceFolder


@click.group(short_help="Set a dbt project up; seal or recover its evidence.")
def dbt() -> None:
    """Set a dbt project up, and make evidence where the plugin could not.

    The plugin itself needs no command: with clyra-dbt installed, plain `dbt build` leaves a bundle.
    """


_project_dir = click.option(
    "--project-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Folder with dbt_project.yml [default: this folder].",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


@dbt.command(short_help="Add the session-tag macros and a policy to a project, or take them out.")
@_project_dir
@click.option("--guard-git", metavar="URL", help="Take the macros from a git repository instead of a copy.")
@click.option("--guard-revision", metavar="REV", help="Tag, branch or commit for --guard-git.")
@click.option("--enforce", metavar="TARGET", help="Enforce the new policy on this dbt target. [default: nowhere]")
@click.option("--remove", is_flag=True, help="Take back exactly what init added.")
@click.option("--dry-run", is_flag=True, help="Show the change, make none.")
@click.option("--check", is_flag=True, help="Exit 1 if anything would change; change nothing.")
@_json
@click.pass_context
def init(
    ctx: click.Context,
    *,
    project_dir: Path,
    guard_git: str | None,
    guard_revision: str | None,
    enforce: str | None,
    remove: bool,
    dry_run: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Add the clyra_guard macros to a dbt project (packages.yml, query comment, session tags), and a first policy.

    The policy, clyra.policy.yaml, enforces nothing unless --enforce names a target; one that is there is left alone.
    Running it again changes nothing; --remove restores the files byte for byte.

    \b
    Example:
      clyra dbt init --dry-run
      clyra dbt init && dbt deps
      clyra dbt init --enforce prod
    """
    from clyra.dbt import _init
    from clyra.dbt._policy import POLICY_FILE
    from clyra.dbt._policy_file import new_policy

    source = _init.GuardSource(guard_git, guard_revision)
    if remove:
        plan = _init.plan_remove(project_dir)
    else:
        policy, path = new_policy(enforce), project_dir / POLICY_FILE
        plan = _init.plan_init(project_dir, source, policy=policy)
        if enforce is not None and path.exists() and path.read_bytes() != policy.encode():
            plan.by_hand[POLICY_FILE] = (f"list {enforce} in the targets of an environment, with mode: enforce",)
    if not (dry_run or check):
        _init.apply(plan)
    _report(plan, remove=remove, applied=not (dry_run or check), show_diff=dry_run, as_json=as_json)
    if check and not plan.is_empty:
        ctx.exit(1)


def _report(plan: Plan, *, remove: bool, applied: bool, show_diff: bool, as_json: bool) -> None:
    names = [str(path.relative_to(plan.project_dir)) for path in sorted(plan.files)]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "applied": applied,
                    "files": names,
                    "macros": plan.vendor,
                    "by_hand": plan.by_hand,
                    "diff": plan.diff(),
                }
                if show_diff
                else {"applied": applied, "files": names, "macros": plan.vendor, "by_hand": plan.by_hand}
            )
        )
        return
    if show_diff:
        click.echo(plan.diff(), nl=False)
    if plan.is_empty:
        click.echo("nothing to do", err=True)
    for name in names if applied else ():
        click.echo(f"changed {name}", err=True)
    for name, lines in plan.by_hand.items():
        click.echo(f"left to you in {name}:", err=True)
        for line in lines:
            click.echo(f"  {line}", err=True)
    if applied and not plan.is_empty and not remove:
        click.echo("next: dbt deps", err=True)


@dbt.command(
    short_help="Say what would hold a run, and ask for its approval.",
    context_settings={"ignore_unknown_options": True},
)
@_project_dir
@_json
@click.argument("arguments", nargs=-1, metavar="[-- DBT ARGUMENTS]", type=click.UNPROCESSED)
@click.pass_context
def plan(ctx: click.Context, *, project_dir: Path, arguments: tuple[str, ...], as_json: bool) -> None:
    """Judge a dbt command without running it; where it must be approved, write the request and print its id.

    dbt parses and selects as it always does, nothing is sent to the warehouse, and no evidence is made. The exit code
    is 0 where nothing holds the run or its approval was asked for, 1 where it would be refused.

    \b
    Examples:
      clyra dbt plan -- build --target prod
      clyra dbt plan --json -- run --select finance
    """
    from clyra.dbt._plan_command import ask_gate

    found = ask_gate(arguments or ("build",), project_dir, os.environ)
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
    elif found["outcome"] == "nothing_held":
        click.echo("nothing holds this run", err=True)
    else:
        click.echo(found["text"], err=True)
        if found["outcome"] == "requested":
            click.echo(found["request_sha256"])
    ctx.exit(1 if found["outcome"] == "refused" else 0)


@dbt.command(short_help="Make evidence from artifacts, or of a run that died.")
@_project_dir
@click.option(
    "--target-path",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("target"),
    metavar="FOLDER",
    help="Folder with dbt's artifacts, from the project [default: target].",
)
@click.option(
    "--otel",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="dbt's OpenTelemetry file of the run, from the project: statements, and how nodes ended.",
)
@click.option("--recover", is_flag=True, help="Seal what dbt processes left that were killed.")
@click.option(
    "--evidence-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Evidence folder [default: CLYRA_EVIDENCE_DIR, else .clyra in the project].",
)
@_json
@click.pass_context
def seal(
    ctx: click.Context,
    *,
    project_dir: Path,
    target_path: Path,
    otel: Path | None,
    recover: bool,
    evidence_dir: Path | None,
    as_json: bool,
) -> None:
    """Make the bundle of a run that the plugin did not record, and print its path.

    Without --recover: from dbt's artifacts, for the dbt platform and for engines without Python plugins. Nobody
    watched such a run; the bundle says `capture: ingested`. Sealing it again prints the bundle that is there. Where a
    policy enforces that failed tests block, the exit code is 1 if tests failed.

    With --recover: from the journal of a dbt process that was killed. The bundle says `capture: recovered` and what
    is not known. A run that still goes on is left alone.

    \b
    Examples:
      clyra dbt seal --otel logs/otel.jsonl
      clyra dbt seal --recover
    """
    if recover:
        if otel is not None:
            raise click.UsageError("--otel is about a run that ended; --recover reads journals only", ctx)
        ctx.exit(_recover(_evidence_folder(project_dir, evidence_dir), as_json=as_json))
    from clyra.dbt._ingest import is_held_back

    manifest = _ingest(project_dir, target_path, otel, _evidence_folder(project_dir, evidence_dir), as_json=as_json)
    if is_held_back(manifest):
        click.echo("clyra: the policy lets nothing follow this run: tests have failed [tests_failed]", err=True)
        ctx.exit(1)


def _evidence_folder(project_dir: Path, evidence_dir: Path | None) -> EvidenceFolder:
    from clyra.dbt._project_settings import project_setting
    from clyra.evidence.folder import SETTING, EvidenceFolder

    if evidence_dir is not None:
        return EvidenceFolder.locate(project_dir, {**os.environ, SETTING: str(evidence_dir.absolute())})
    configured = None
    if not os.environ.get(SETTING):
        configured = project_setting(project_dir, "clyra_evidence_dir", instead="--evidence-dir")
    return EvidenceFolder.locate(project_dir, os.environ, configured)


def _ingest(
    project_dir: Path, target_path: Path, otel: Path | None, folder: EvidenceFolder, *, as_json: bool
) -> Mapping[str, Any]:
    """Seal the run of the artifacts, or find its bundle; gives the manifest."""
    from clyra.dbt._artifacts import read_artifacts
    from clyra.dbt._clock import SystemClock, aware
    from clyra.dbt._ingest import find_known, identify, ingest, require_same
    from clyra.dbt._ingested_run import IngestedRun
    from clyra.dbt._otel import read_trace
    from clyra.dbt._policy import find_governing, problems_of
    from clyra.dbt._project_settings import project_setting

    artifacts = read_artifacts(project_dir / target_path)
    for name in artifacts.left_aside:
        click.echo(f"clyra: {name} is of an older invocation and left aside", err=True)
    known = find_known(folder, artifacts)
    if known is not None:
        require_same(known, artifacts, with_trace=otel is not None)
        click.echo(f"clyra: invocation {artifacts.invocation_id} already has its bundle", err=True)
        _print_bundle(known.path, known.manifest, is_new=False, log_error=None, as_json=as_json)
        return known.manifest
    trace_file = None if otel is None else project_dir / otel
    trace = None if trace_file is None else read_trace(trace_file, artifacts.invocation_id)
    tenant = None
    if not os.environ.get("CLYRA_TENANT_ID"):
        tenant = project_setting(project_dir, "clyra_tenant_id", instead="CLYRA_TENANT_ID")
    clock = SystemClock()
    today = aware(clock.now_us()).date()
    governing = find_governing(folder.project_root, os.environ, target=artifacts.target, today=today)
    if governing is not None and governing.fault is not None:
        for problem in problems_of(governing.fault):
            click.echo(f"clyra: the policy does not load, the run is sealed without it: {problem}", err=True)
    run = IngestedRun(artifacts, trace, identify(os.environ, tenant, clock), governing)
    done = ingest(folder, run, trace_file, os.environ, clock)
    if not run.observes_statements:
        click.echo("clyra: statements were not observed, which the bundle says; --otel reads them", err=True)
    if not done.is_build_known:
        click.echo("clyra: which code ran is not known: no git here, or files are newer than the run", err=True)
    if folder.under_temp:
        click.echo("clyra: evidence lies in a temporary folder; set CLYRA_EVIDENCE_DIR to keep it", err=True)
    log_error = None if done.log_error is None else f"{done.log_error.message} [{done.log_error.code}]"
    _print_bundle(done.sealed.path, done.sealed.manifest, is_new=True, log_error=log_error, as_json=as_json)
    return done.sealed.manifest


def _print_bundle(
    path: Path, manifest: Mapping[str, Any], *, is_new: bool, log_error: str | None, as_json: bool
) -> None:
    if log_error is not None:
        click.echo(f"clyra: the bundle is sealed and its entry in the log is pending: {log_error}", err=True)
    if not as_json:
        click.echo(str(path))
        return
    run = manifest["run"]
    members = {name: run[name] for name in ("run_id", "invocation_id", "capture", "status", "counts")}
    bundle = {"bundle": str(path), "bundle_id": manifest["bundle_id"], "sealed_now": is_new, "log_error": log_error}
    click.echo(json.dumps({**bundle, **members}, indent=2, sort_keys=True))


def _recover(folder: EvidenceFolder, *, as_json: bool) -> int:
    from clyra.dbt._recover_text import report
    from clyra.dbt.recovery import recover

    found = report(folder, recover(folder, os.environ))
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2, sort_keys=True))
    for run in found.recovered:
        for line in run.lines():
            click.echo(line, err=True)
        if not as_json:
            click.echo(run.path)
    for path in found.live:
        click.echo(f"left alone, a process still writes it: {path}", err=True)
    for bundle_id in found.discarded:
        click.echo(f"removed, it held not one whole line: the journal of bundle {bundle_id}", err=True)
    for refused in found.refused:
        click.echo(f"clyra: {refused['message']} [{refused['code']}]; kept: {refused['path']}", err=True)
    if not (found.recovered or found.refused or found.discarded):
        click.echo("nothing to recover", err=True)
    return 1 if found.refused else 0


@dbt.command(short_help="Say in an image without .git which code it holds.")
@_project_dir
@click.option("--check", is_flag=True, help="Say whether files and signature still hold; change nothing.")
@click.option("--allow-dirty", is_flag=True, help="Stamp a tree with changes that no commit holds; the stamp says so.")
@click.option(
    "--trust",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --check: trust file that must have the stamp's key.",
)
@_json
@click.pass_context
def stamp(
    ctx: click.Context, *, project_dir: Path, check: bool, allow_dirty: bool, trust: Path | None, as_json: bool
) -> None:
    """Write clyra.build.json: commit, tree and the digests of the project's files, signed with the bundle key.

    Run it in the checkout that an image is built from, before the files are copied. In the image, which has no .git,
    evidence then names the commit with `source: image`, and says `dirty` if files differ.

    \b
    Examples:
      clyra dbt stamp && docker build .
      clyra dbt stamp --check --trust clyra.trust.json
    """
    from clyra.dbt import _stamp

    if check:
        result = _stamp.check_stamp(project_dir, trust)
        _print_check(result, as_json=as_json)
        ctx.exit(0 if result.holds else 1)
    from clyra.dbt._clock import SystemClock
    from clyra.evidence.signer import load_signer

    signer = load_signer("bundle", os.environ)
    written = _stamp.write_stamp(project_dir, signer, os.environ, SystemClock(), allow_dirty=allow_dirty)
    for path in written.left_out:
        click.echo(f"clyra: not covered, a submodule or a link to a folder: {path}", err=True)
    if signer.origin == "ephemeral":
        click.echo("clyra: no key was found; this one is gone now, set CLYRA_SIGNING_KEY to be recognised", err=True)
    if as_json:
        members = {name: written.members[name] for name in ("tree", "commit", "branch", "dirty", "keyid", "stamped_at")}
        stamped = {"stamp": str(written.path), "files": written.file_count, "left_out": list(written.left_out)}
        click.echo(json.dumps({**stamped, **members}, indent=2, sort_keys=True))
    else:
        click.echo(f"{written.file_count} files of tree {written.members['tree']}, key {signer.keyid}", err=True)
        click.echo(str(written.path))


def _print_check(result: StampCheck, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        members = asdict(result)
        click.echo(json.dumps({"holds": result.holds, **members.pop("differences"), **members}, sort_keys=True))
        return
    differences = result.differences
    for word, paths in (
        ("changed", differences.changed),
        ("missing", differences.missing),
        ("added", differences.added),
    ):
        for path in paths:
            click.echo(f"{word}: {path}")
    click.echo("files: other than stamped" if differences else "files: as stamped")
    if result.was_dirty:
        click.echo("tree: had changes that no commit holds when it was stamped")
    click.echo(f"signature: {'holds' if result.signature_holds else 'does not hold'}, key {result.keyid}")
    whose = {
        "trusted": "in the trust file, for bundles",
        "unknown": "not in the trust file for bundles; enrol it with: clyra keys trust FILE --role bundle",
        "not_evaluated": "nobody says whose it is; name a trust file with --trust",
    }
    click.echo(f"key: {whose[result.key]}")
