# SPDX-License-Identifier: Apache-2.0
"""Writes the vector files, or tells whether they are what their generators say.

python spec/vectors/generate.py [--check] [--suite S]
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from forge.case import Case, decode, encode  # noqa: E402  (the toolkit lies beside this script)
from forge.suites import journal, manifest, merkle, signature, time_log, trust, valid  # noqa: E402
from forge.suites import json as json_suite  # noqa: E402
from forge.suites import zip as zip_suite  # noqa: E402

SUITES: dict[str, Callable[[], Iterator[Case]]] = {
    "journal": journal.cases,
    "json": json_suite.cases,
    "manifest": manifest.cases,
    "merkle": merkle.cases,
    "signature": signature.cases,
    "time_log": time_log.cases,
    "trust": trust.cases,
    "valid": valid.cases,
    "zip": zip_suite.cases,
}


def vectors(suite: str) -> Iterator[tuple[Path, Case]]:
    """Yield the path and case of each vector of a suite."""
    for case in SUITES[suite]():
        yield ROOT / suite / case.name, case


def differences(suite: str) -> list[str]:
    """Return what of a suite's folder differs from its generator."""
    expected = dict(vectors(suite))
    present = set((ROOT / suite).glob("*.json"))
    found = [f"{path.relative_to(ROOT)}: no generator writes it" for path in sorted(present - set(expected))]
    for path, case in expected.items():
        if path not in present:
            found.append(f"{path.relative_to(ROOT)}: missing")
        # Compressed bytes differ between builds of zlib; what they hold does not.
        elif decode(path.read_bytes()) != decode(encode(case)):
            found.append(f"{path.relative_to(ROOT)}: differs from its generator")
    return found


def write(suite: str) -> int:
    """Write the vectors of a suite that are not there as they should be; return how many the suite has."""
    expected = dict(vectors(suite))
    (ROOT / suite).mkdir(exist_ok=True)
    for path in set((ROOT / suite).glob("*.json")) - set(expected):
        path.unlink()
    for path, case in expected.items():
        if not path.exists() or decode(path.read_bytes()) != decode(encode(case)):
            path.write_bytes(encode(case))
    return len(expected)


def sums() -> bytes:
    """Return SHA256SUMS of all vector files, as sha256sum writes it."""
    paths = sorted(path for suite in SUITES for path in (ROOT / suite).glob("*.json"))
    digests = ((hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(ROOT).as_posix()) for path in paths)
    return "".join(f"{digest}  {name}\n" for digest, name in digests).encode()


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    parser.add_argument("--suite", choices=sorted(SUITES), action="append", help="only this suite; may be repeated")
    arguments = parser.parse_args()
    chosen = arguments.suite or sorted(SUITES)
    if arguments.check:
        found = [line for suite in chosen for line in differences(suite)]
        if (ROOT / "SHA256SUMS").read_bytes() != sums():
            found.append("SHA256SUMS: differs from the files")
        print("\n".join(found) or f"{len(chosen)} suites as generated")
        return 1 if found else 0
    total = sum(write(suite) for suite in chosen)
    (ROOT / "SHA256SUMS").write_bytes(sums())
    print(f"{total} vectors in {len(chosen)} suites")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
