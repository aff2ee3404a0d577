# SPDX-License-Identifier: Apache-2.0
"""The conformance adapter: ``python -m clyra.verify verify-bundle|verify-proof|verify-log|canonicalize``.

Every verifier of the format has this command line (``spec/verification.md``, "Commands"). The result is JSON on
stdout; exit 0 valid, 1 invalid, 2 valid with warnings, 64 wrong usage, 69 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

from clyra.spec import UnavailableError
from clyra.verify._input import open_file
from clyra.verify.bundle import verify_bundle
from clyra.verify.canonical import canonical_bytes, read_strict
from clyra.verify.log import verify_log
from clyra.verify.proof import verify_proof
from clyra.verify.result import Verification

EXIT_USAGE, EXIT_UNAVAILABLE = 64, 69


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="clyra.verify", description="Verify evidence; JSON on stdout, the verdict as exit code.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    bundle = commands.add_parser("verify-bundle")
    log = commands.add_parser("verify-log")
    for command in (bundle, log):
        command.add_argument("--trust")
        command.add_argument("--trust-sha256")
    bundle.add_argument("--proof")
    bundle.add_argument("--review")
    bundle.add_argument("--artifacts")
    bundle.add_argument("--at", type=_moment)
    log.add_argument("--since")
    for command in (bundle, log, commands.add_parser("verify-proof"), commands.add_parser("canonicalize")):
        command.add_argument("path")
    return parser


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("a moment needs a time zone")
    return moment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "canonicalize":
            return _canonicalize(given.path)
        result = _verify(given)
    except UnavailableError as exc:
        print(f"clyra.verify: {exc.message} [{exc.code}]", file=sys.stderr)
        return EXIT_UNAVAILABLE
    json.dump(result.as_dict(), sys.stdout, indent=2, sort_keys=True)
    print()
    return result.exit_code


def _verify(given: argparse.Namespace) -> Verification:
    if given.command == "verify-proof":
        return verify_proof(given.path)
    if given.command == "verify-log":
        return verify_log(given.path, since=given.since, trust=given.trust, trust_sha256=given.trust_sha256)
    return verify_bundle(
        given.path,
        trust=given.trust,
        trust_sha256=given.trust_sha256,
        proof=given.proof,
        review=given.review,
        artifacts=given.artifacts,
        at=given.at,
    )


def _canonicalize(path: str) -> int:
    with open_file(path) as file:
        data = file.read()
    try:
        canonical = canonical_bytes(read_strict(data))
    except ValueError as exc:
        print(f"clyra.verify: no canonical form: {exc} [json_not_canonical]", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(canonical)
    return 0


if __name__ == "__main__":
    sys.exit(main())
