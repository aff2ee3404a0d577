# SPDX-License-Identifier: Apache-2.0
"""Writes the vector files, or tells whether they are what their generators say.

python spec/vectors/generate.py [--check] [--suite S]
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from forge.case import Case, decode, document, encode  # noqa: E402  (the toolkit lies beside this script)
from forge.suites import (  # noqa: E402
    approval,
    approval_bundle,
    journal,
    manifest,
    merkle,
    risk,
    signature,
    time_log,
    trust,
    valid,
)
from forge.suites import json as json_suite  # noqa: E402
from forge.suites import zip as zip_suite  # noqa: E402
from forge.token import TokenCase  # noqa: E402
from forge.trust import NAMED  # noqa: E402

SUMS = ROOT / "SHA256SUMS"
# Beside the vectors, which wheels leave out: verifiers refuse these keys.
TEST_KEYS = ROOT.parent / "test-keys.json"
SUITES: dict[str, Callable[[], Iterator[Case]]] = {
    "approval_bundle": approval_bundle.cases,
    "journal": journal.cases,
    "json": json_suite.cases,
    "manifest": manifest.cases,
    "merkle": merkle.cases,
    "risk": risk.cases,
    "signature": signature.cases,
    "time_log": time_log.cases,
    "trust": trust.cases,
    "valid": valid.cases,
    "zip": zip_suite.cases,
}
TOKEN_SUITES: dict[str, Callable[[], Iterator[TokenCase]]] = {"approval": approval.cases}
FOLDERS = sorted((*SUITES, *TOKEN_SUITES))


@cache
def vectors(suite: str) -> dict[Path, Case | TokenCase]:
    """Return the cases of a suite under the paths of their files."""
    made: Iterator[Case | TokenCase] = TOKEN_SUITES[suite]() if suite in TOKEN_SUITES else SUITES[suite]()
    return {ROOT / suite / case.name: case for case in made}


def says(data: bytes, case: Case | TokenCase) -> bool:
    """Tell whether a file says what its case says."""
    if isinstance(case, TokenCase):
        return data == case.encode()
    # Compressed bytes differ between builds of zlib; what they hold does not.
    return decode(data) == document(case)


def differences(suite: str) -> list[str]:
    """Return what of a suite's folder differs from its generator."""
    expected = vectors(suite)
    present = set((ROOT / suite).glob("*.json"))
    found = [f"{path.relative_to(ROOT)}: no generator writes it" for path in sorted(present - set(expected))]
    for path, case in expected.items():
        if path not in present:
            found.append(f"{path.relative_to(ROOT)}: missing")
        elif not says(path.read_bytes(), case):
            found.append(f"{path.relative_to(ROOT)}: differs from its generator")
    return found


def write(suite: str) -> int:
    """Write the vectors of a suite that are not there as they should be; return how many the suite has."""
    expected = vectors(suite)
    (ROOT / suite).mkdir(exist_ok=True)
    for path in set((ROOT / suite).glob("*.json")) - set(expected):
        path.unlink()
    for path, case in expected.items():
        if not path.exists() or not says(path.read_bytes(), case):
            path.write_bytes(case.encode() if isinstance(case, TokenCase) else encode(case))
    return len(expected)


def sums() -> bytes:
    """Return SHA256SUMS of all vector files, as sha256sum writes it."""
    paths = sorted(path for suite in FOLDERS for path in (ROOT / suite).glob("*.json"))
    digests = ((hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(ROOT).as_posix()) for path in paths)
    return "".join(f"{digest}  {name}\n" for digest, name in digests).encode()


def test_keys() -> bytes:
    """Return test-keys.json: the key ids that nobody may trust outside tests."""
    keys = [{"name": key.name, "alg": key.alg, "keyid": key.keyid} for key in NAMED]
    said = {"warning": "private keys published by forge/keys.py; never trust them", "keys": keys}
    return json.dumps(said, indent=1).encode() + b"\n"


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    parser.add_argument("--suite", choices=FOLDERS, action="append", help="only this suite; may be repeated")
    arguments = parser.parse_args()
    chosen = arguments.suite or FOLDERS
    if arguments.check:
        found = [line for suite in chosen for line in differences(suite)]
        for path, made in ((SUMS, sums()), (TEST_KEYS, test_keys())):
            if path.read_bytes() != made:
                found.append(f"{path.name}: differs")
        print("\n".join(found) or f"{len(chosen)} suites as generated")
        return 1 if found else 0
    total = sum(write(suite) for suite in chosen)
    SUMS.write_bytes(sums())
    TEST_KEYS.write_bytes(test_keys())
    print(f"{total} vectors in {len(chosen)} suites")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
