# SPDX-License-Identifier: Apache-2.0
"""``clyra log``: check a project's log, list its runs, prove that it holds a bundle."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.evidence import StoredLog
    from clyra.verify import Verification

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_RUNS = 30
_folder = click.argument("folder", required=False, type=click.Path(path_type=Path))


@click.group(short_help="Check and read the project's append-only log of runs and bundles.")
def log() -> None:
    """Check and read the project's append-only log of runs and bundles.

    FOLDER is the folder of the log or the evidence folder around it; without it, the evidence folder of the project
    in the working directory.
    """


@log.command(short_help="Check the log, and that it continues a kept checkpoint.")
@_folder
@click.option("--since", metavar="CHECKPOINT", help="A checkpoint kept earlier: the log must continue it.")
@click.option("--trust", metavar="FILE", help="Trust file: which keys sign the log. [default: as for clyra verify]")
@json_option
@click.pass_context
def verify(ctx: click.Context, *, folder: Path | None, since: str | None, trust: str | None, as_json: bool) -> None:
    """Check every tile, leaf and root of the log, and that it continues a checkpoint that you kept.

    The exit code is 0 if it is valid, 2 with warnings, such as a run that was opened and has no bundle, 1 if not.

    \b
    Examples:
      clyra log verify
      clyra log verify .clyra/log --since kept.checkpoint --trust clyra.trust.json
    """
    from clyra.verify import verify_log

    where = _log_folder(folder)
    result = verify_log(where, since=since, trust=trust)
    if as_json:
        print_json(result.as_dict())
    else:
        click.echo(_verdict_text(result, where))
    ctx.exit(result.exit_code)


@log.command(short_help="List runs and bundles, open ones included.")
@_folder
@click.option("--all", "is_all", is_flag=True, help=f"List all runs, not only the last {_SHOWN_RUNS}.")
@json_option
def show(*, folder: Path | None, is_all: bool, as_json: bool) -> None:
    """List the runs in the log with their bundles, and which were opened and never sealed. Nothing is verified.

    \b
    Example:
      clyra log show --all
    """
    from clyra.evidence import StoredLog

    stored = StoredLog(_log_folder(folder))
    bundles = _bundles(enumerate(stored.leaves()))
    if as_json:
        print_json(_document(stored, bundles))
    else:
        click.echo(_listing(stored, bundles, most=len(bundles) if is_all else _SHOWN_RUNS))


@log.command(short_help="Write the proof that the log holds a bundle.")
@click.argument("bundle", metavar="BUNDLE|ID|NUMBER")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--output", "-o", metavar="FILE", type=click.Path(), help="Where to write it; '-' is stdout.")
@json_option
def prove(*, bundle: str, folder: Path | None, output: str | None, as_json: bool) -> None:
    """Write the proof that the log holds a bundle: beside a file, else as <bundle id>.tlog-proof.

    BUNDLE is a bundle's file, its id, or the number of a leaf.

    \b
    Examples:
      clyra log prove .clyra/evidence/2026/01/019b78d6-c620-7544-8865-aff1cbfb5338.def.zip
      clyra log prove 17 .clyra/log --output -
    """
    from clyra.evidence import StoredLog

    wanted, default = _wanted(bundle)
    stored = StoredLog(_log_folder(folder))
    index = stored.find(wanted) if isinstance(wanted, str) else wanted
    proof = stored.prove(index)
    target = Path(output) if output is not None else default
    if output == "-":
        click.echo(proof.decode(), nl=False)
        return
    _write(target, proof)
    if as_json:
        print_json(
            {"file": str(target), "index": index, "size": stored.checkpoint.size, "origin": stored.checkpoint.origin}
        )
    else:
        click.echo(f"{target}: leaf {index:,} of {stored.checkpoint.size:,}")


def _log_folder(folder: Path | None) -> Path:
    from clyra.evidence import EvidenceFolder

    if folder is None:
        return EvidenceFolder.locate(Path.cwd(), os.environ).log_dir
    inner = folder / "log"
    return inner if not (folder / "checkpoint").exists() and inner.is_dir() else folder


def _verdict_text(result: Verification, folder: Path) -> str:
    from clyra.evidence.page.wording import visible

    words = {"valid": good("VALID"), "warning": doubtful("VALID WITH WARNINGS"), "invalid": bad("INVALID")}
    lines = [f"{words[result.verdict]}  {visible(str(folder))}"]
    if result.code is not None:
        lines.append(f"  {bad(result.code)}: {visible(result.message or '')}")
    lines += [f"  {doubtful(warning.code)}: {visible(warning.message)}" for warning in result.warnings]
    if result.code is None:
        lines.append(
            faint("  keep a copy of its file 'checkpoint' elsewhere: --since shows that nothing of it vanished")
        )
    return "\n".join(lines)


def _bundles(leaves: Iterable[tuple[int, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """One entry per bundle in the order of its first leaf, with the numbers of its leaves."""
    found: dict[str, dict[str, Any]] = {}
    for index, leaf in leaves:
        entry = found.setdefault(
            leaf["bundle_id"],
            {name: leaf[name] for name in ("bundle_id", "run_id", "part", "tenant")}
            | {"opened": None, "sealed": None, "manifest_sha256": None},
        )
        if leaf["manifest_sha256"] is None:
            entry["opened"] = index
        else:
            entry |= {"sealed": index, "manifest_sha256": leaf["manifest_sha256"]}
    return list(found.values())


def _document(stored: StoredLog, bundles: list[dict[str, Any]]) -> dict[str, object]:
    checkpoint = stored.checkpoint
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "bundles": bundles,
        "waiting": stored.waiting(),
    }


def _listing(stored: StoredLog, bundles: list[dict[str, Any]], *, most: int) -> str:
    from clyra.evidence.page.wording import counted, visible

    still_open = sum(entry["sealed"] is None for entry in bundles)
    lines = [
        f"{visible(stored.checkpoint.origin)}",
        f"{counted(stored.checkpoint.size, 'leaf', 'leaves')}, {counted(len(bundles), 'bundle')}, {still_open} open",
    ]
    if waiting := len(stored.waiting()):
        lines.append(doubtful(f"{counted(waiting, 'leaf waits', 'leaves wait')} in the spool for the next run"))
    shown = bundles[len(bundles) - most :] if most < len(bundles) else bundles
    if len(shown) < len(bundles):
        lines.append(faint(f"… {len(bundles) - len(shown):,} earlier: --all"))
    for entry in shown:
        run = f"{visible(entry['run_id'])}" + (f" part {entry['part']}" if entry["part"] > 1 else "")
        numbers = faint(
            ", ".join(f"{name} {entry[name]:,}" for name in ("opened", "sealed") if entry[name] is not None)
        )
        state = doubtful("open  ") if entry["sealed"] is None else good("sealed")
        lines.append(f"{state}  {entry['bundle_id']}  {run}  {numbers}")
    return "\n".join(lines)


def _wanted(bundle: str) -> tuple[str | int, Path]:
    """What is to be proved, and where its proof goes if nobody says."""
    from clyra.spec import ConfigurationError

    path = Path(bundle)
    if path.is_file():
        from clyra.evidence import open_bundle

        bundle_id = str(open_bundle(path).manifest.get("bundle_id"))
        if _UUID.fullmatch(bundle_id) is None:
            raise ConfigurationError(f"{path} has no bundle id; verify it first")
        return bundle_id, path.parent / f"{bundle_id}.tlog-proof"
    if _UUID.fullmatch(bundle):
        return bundle, Path(f"{bundle}.tlog-proof")
    if bundle.isascii() and bundle.isdigit():
        return int(bundle), Path(f"{int(bundle)}.tlog-proof")
    raise ConfigurationError(f"{bundle} is neither a file, nor a bundle id, nor the number of a leaf")


def _write(path: Path, proof: bytes) -> None:
    from clyra.spec import UnavailableError

    try:
        path.write_bytes(proof)
    except OSError as exc:
        raise UnavailableError(
            f"cannot write {path}: {exc.strerror}; name another file with --output", code="evidence_unavailable"
        ) from exc
