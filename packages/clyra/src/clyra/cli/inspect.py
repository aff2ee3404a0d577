# SPDX-License-Identifier: Apache-2.0
"""``clyra inspect``: what a bundle says, in the terminal, as a page or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clyra.cli.output import json_option, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from clyra.evidence import Bundle
    from clyra.verify import Verification

_PIPE_WIDTH = 120


@click.command(short_help="Show what a bundle says: what ran, what it changed, from which code.")
@click.argument("bundle", metavar="BUNDLE", type=click.Path())
@click.option("--html", metavar="FILE", type=click.Path(), help="Write one self-contained page; '-' is stdout.")
@click.option("--trust", metavar="FILE", help="Trust file: who may sign. [default: CLYRA_TRUST, else your project's]")
@click.option("--proof", metavar="FILE", help="Proof that the log has the bundle. [default: beside the bundle]")
@click.option("--artifacts", metavar="FOLDER", help="Folder with the bytes of external files and references.")
@json_option
@click.pass_context
def inspect(
    ctx: click.Context,
    *,
    bundle: str,
    html: str | None,
    trust: str | None,
    proof: str | None,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Show what BUNDLE says, with the verdict on it first.

    The bundle is verified as by `clyra verify`, and shown whatever the verdict is. The exit code is 1 if it is
    invalid, else 0: a warning, such as that no trust file was given, keeps nobody from reading.

    \b
    Examples:
      clyra inspect run.def.zip --trust clyra.trust.json
      clyra inspect run.def.zip --html run.html
      clyra inspect run.def.zip --json
    """
    from clyra.evidence import open_bundle
    from clyra.verify import verify_bundle

    opened = open_bundle(bundle)
    result = verify_bundle(bundle, trust=trust, proof=proof, artifacts=artifacts)
    if html is not None:
        _write_page(opened, result, html)
    if as_json:
        print_json(_document(opened, result))
    elif html is None:
        _print_text(opened, result, bundle)
    elif html != "-":
        click.echo(f"{result.verdict}: {html}")
    ctx.exit(1 if result.verdict == "invalid" else 0)


def _write_page(bundle: Bundle, result: Verification, target: str) -> None:
    from pathlib import Path

    page = bundle.to_html(result.as_dict())
    if target == "-":
        click.echo(page, nl=False)
        return
    _write(Path(target), page)


def _write(path: Path, page: str) -> None:
    from clyra.spec import UnavailableError

    try:
        path.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise UnavailableError(
            f"cannot write {path}: {exc.strerror}; name a file in a folder that exists and can be written",
            code="evidence_unavailable",
        ) from exc


def _document(bundle: Bundle, result: Verification) -> dict[str, object]:
    from dataclasses import asdict

    return {"summary": asdict(bundle.summary()), "verification": result.as_dict()}


def _print_text(bundle: Bundle, result: Verification, name: str) -> None:
    import shutil
    import sys

    from clyra.cli._inspect_text import bundle_text

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    text = bundle_text(bundle.summary(), bundle.lineage, result.as_dict(), file_name=name, width=width)
    click.echo(text)
