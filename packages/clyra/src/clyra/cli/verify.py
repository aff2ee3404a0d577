# SPDX-License-Identifier: Apache-2.0
"""``clyra verify``: is a bundle what was signed, and by whom."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from clyra.cli.output import json_option, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from clyra.verify import Verification

SUFFIXES = (".def.zip",)
EXIT_VALID, EXIT_INVALID, EXIT_WARNING, EXIT_UNREADABLE = 0, 1, 2, 69


@click.command(short_help="Check evidence: valid, valid with warnings, or invalid.")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--trust", metavar="FILE", help="Trust file: who may sign. [default: CLYRA_TRUST, else your project's]")
@click.option("--trust-sha256", metavar="HEX", help="SHA-256 that the trust file must have.")
@click.option("--proof", metavar="FILE", help="Proof that the log has the bundle. [default: beside the bundle]")
@click.option("--review", metavar="FILE", help="Review of an emergency approval. [default: beside the bundle]")
@click.option("--artifacts", metavar="FOLDER", help="Folder with the bytes of external files and references.")
@click.option("--at", metavar="TIME", help="Judge by this moment, like 2026-01-31T09:00:00Z, instead of now.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    bundles: tuple[str, ...],
    trust: str | None,
    trust_sha256: str | None,
    proof: str | None,
    review: str | None,
    artifacts: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Check that bundles are what was signed, by a key you trust, and that nothing in them was changed.

    BUNDLE is a file, a folder that is searched for bundles, or a pattern. The exit code is 0 if all are valid, 2 if
    some are valid with warnings, 1 if one is invalid, 69 if one cannot be read. A trust file is never taken from
    beside a bundle: whoever sent the bundle could have put it there.

    \b
    Examples:
      clyra verify run.def.zip --trust clyra.trust.json
      clyra verify .clyra/evidence
      clyra verify "evidence/2026/*/*.def.zip" --json
      clyra verify run.def.zip --review run.review.dsse.json
    """
    from clyra.verify import verify_bundle

    paths = list(_expand(bundles))
    moment = None if at is None else _moment(at)
    for option, given in (("--proof", proof), ("--review", review)):
        if given is not None and len(paths) > 1:
            raise click.UsageError(f"{option} is about one bundle; several were given", ctx)

    def check(path: str) -> Verification:
        return verify_bundle(
            path,
            trust=trust,
            trust_sha256=trust_sha256,
            proof=proof,
            review=review,
            artifacts=artifacts,
            at=moment,
        )

    if len(paths) == 1:
        result = check(paths[0])
        _show_one(paths[0], result, as_json=as_json)
        ctx.exit(result.exit_code)
    ctx.exit(_check_many(paths, check, as_json=as_json))


def _show_one(path: str, result: Verification, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_dict())
        return
    from clyra.cli._verify_text import full_text

    click.echo(full_text(path, result))


def _check_many(paths: Sequence[str], check: Callable[[str], Verification], *, as_json: bool) -> int:
    from clyra.cli._verify_text import one_line, summary, unreadable_line
    from clyra.spec import UnavailableError

    documents: list[dict[str, object]] = []
    codes: list[int] = []
    for number, path in enumerate(paths, 1):
        _progress(number, len(paths))
        try:
            result = check(path)
        except UnavailableError as exc:
            codes.append(EXIT_UNREADABLE)
            documents.append({"file": path, "error": {"code": exc.code, "message": exc.message}})
            line = unreadable_line(path, exc)
        else:
            codes.append(result.exit_code)
            documents.append({"file": path, "result": result.as_dict()})
            line = one_line(path, result)
        if not as_json:
            _progress(0, 0)
            click.echo(line)
    _progress(0, 0)
    if as_json:
        print_json(documents)
    else:
        click.echo(summary(codes))
    return next(code for code in (EXIT_INVALID, EXIT_UNREADABLE, EXIT_WARNING, EXIT_VALID) if code in codes)


def _progress(number: int, total: int) -> None:
    """Show how far it is, or take that away again; only on a terminal, and never in what is piped on."""
    if sys.stderr.isatty():
        text = f"\r\x1b[Kverifying {number} of {total}" if total else "\r\x1b[K"
        click.echo(text, nl=False, err=True)


def _expand(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if os.path.isdir(word):
            found = _bundles_below(word)
        elif not os.path.exists(word) and any(char in word for char in "*?["):
            # Shells that expand patterns have done it; others, and quotes, leave it to us.
            import glob

            found = sorted(glob.glob(word, recursive=True))
        else:
            found = [word]
        if not found:
            from clyra.spec import ConfigurationError

            raise ConfigurationError(f"no bundle found in {word}; expected files that end with {SUFFIXES[0]}")
        yield from found


def _bundles_below(folder: str) -> list[str]:
    return sorted(
        os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names if name.endswith(SUFFIXES)
    )


def _moment(text: str) -> datetime:
    from datetime import datetime

    from clyra.spec import ConfigurationError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(f"--at is {text!r}; expected a time with its zone, like 2026-01-31T09:00:00Z")
    return moment
