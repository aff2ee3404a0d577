# SPDX-License-Identifier: Apache-2.0
"""The recipe of docs/verify-with-openssl.md refuses what was tampered with, in the step that should see it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

Sealed = Any  # the class in conftest.py, which tests cannot import

RECIPE = Path(__file__).parents[2] / "docs" / "verify-with-openssl.md"
UNPACK, SIGNATURE, FILES, JOURNAL = range(4)
OPTIONS = {
    "ed25519": "",
    "ecdsa-p256-sha256": " -digest sha256",
    "rsa-pss-sha256": " -digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:32",
}
DSSE = "attestations/manifest.dsse.json"


def has_openssl_3() -> bool:
    if shutil.which("openssl") is None:
        return False
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    return version.startswith("OpenSSL") and int(version.split()[1].partition(".")[0]) >= 3


pytestmark = pytest.mark.skipif(not has_openssl_3(), reason="no openssl from version 3 on the path")


def steps() -> list[str]:
    return re.findall(r"(?ms)^```bash\n(.*?)^```$", RECIPE.read_text(encoding="utf-8"))


def run_step(script: str, project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PROJECT": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def refusals(project: Path) -> dict[int, str]:
    """The steps of the recipe that fail, with what they print; those after a failed one are run as well."""
    done = [run_step(script, project) for script in steps()]
    return {number: step.stdout for number, step in enumerate(done) if step.returncode != 0}


def replace_entries(bundle: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def change_journal(entries: dict[str, bytes]) -> None:
    lines = entries["journal.ndjson"]
    assert b'"success":true' in lines
    entries["journal.ndjson"] = lines.replace(b'"success":true', b'"success":null')


def list_anew(entries: dict[str, bytes], name: str) -> None:
    """Make the manifest fit the entry again, as somebody without the key can."""
    manifest = json.loads(entries["manifest.json"])
    (listed,) = [file for file in manifest["files"] if file["path"] == name]
    old, new = listed["sha256"].encode(), sha256(entries[name]).hexdigest().encode()
    entries["manifest.json"] = entries["manifest.json"].replace(old, new)


def state_anew(entries: dict[str, bytes]) -> None:
    """Make the signed payload fit the manifest again; the signature stays."""
    envelope = json.loads(entries[DSSE])
    statement = json.loads(b64decode(envelope["payload"]))
    statement["subject"][0]["digest"]["sha256"] = sha256(entries["manifest.json"]).hexdigest()
    payload = json.dumps(statement, separators=(",", ":"), sort_keys=True).encode()
    entries[DSSE] = json.dumps(envelope | {"payload": b64encode(payload).decode()}, separators=(",", ":")).encode()


def test_the_recipe_accepts_a_sealed_bundle(sealed: Sealed) -> None:
    assert refusals(sealed.project) == {}
    printed = "".join(run_step(script, sealed.project).stdout for script in steps())
    assert "Signature Verified Successfully" in printed
    for name in ("manifest.json", "journal.ndjson", "artifacts/nodes.json", "journal"):
        assert f"{name}: OK\n" in printed


@pytest.mark.parametrize("alg", OPTIONS)
def test_the_options_that_it_names_are_right_for_every_kind_of_key(seal: Callable[[str], Sealed], alg: str) -> None:
    for option in OPTIONS[alg].split(" -"):
        assert option in RECIPE.read_text(encoding="utf-8")
    project = seal(alg).project
    unpack, signature, *_ = steps()
    assert run_step(unpack, project).returncode == 0
    done = run_step(signature.replace("-rawin", "-rawin" + OPTIONS[alg]), project)
    assert done.returncode == 0, done.stdout


def test_a_changed_byte_of_a_file_is_refused_with_the_files(sealed: Sealed) -> None:
    sealed.entries["artifacts/nodes.json"] = b'{"nodes":{}}'
    replace_entries(sealed.path, sealed.entries)
    refused = refusals(sealed.project)
    assert list(refused) == [FILES]
    assert "artifacts/nodes.json: FAILED" in refused[FILES]


def test_a_changed_line_of_the_journal_is_refused_with_the_files_and_breaks_the_chain(sealed: Sealed) -> None:
    change_journal(sealed.entries)
    replace_entries(sealed.path, sealed.entries)
    refused = refusals(sealed.project)
    assert list(refused) == [FILES, JOURNAL]
    assert "journal.ndjson: FAILED" in refused[FILES]
    assert "journal: BROKEN" in refused[JOURNAL]


def test_a_dropped_line_of_the_journal_breaks_the_chain(sealed: Sealed) -> None:
    first, _, last = sealed.entries["journal.ndjson"].splitlines(keepends=True)
    sealed.entries["journal.ndjson"] = first + last
    replace_entries(sealed.path, sealed.entries)
    assert list(refusals(sealed.project)) == [FILES, JOURNAL]


def test_a_manifest_made_to_fit_is_refused_by_the_payload(sealed: Sealed) -> None:
    sealed.entries["artifacts/nodes.json"] = b'{"nodes":{}}'
    list_anew(sealed.entries, "artifacts/nodes.json")
    replace_entries(sealed.path, sealed.entries)
    refused = refusals(sealed.project)
    assert list(refused) == [FILES]
    assert "manifest.json: FAILED" in refused[FILES]


def test_a_payload_made_to_fit_is_refused_by_the_signature(sealed: Sealed) -> None:
    sealed.entries["artifacts/nodes.json"] = b'{"nodes":{}}'
    list_anew(sealed.entries, "artifacts/nodes.json")
    state_anew(sealed.entries)
    replace_entries(sealed.path, sealed.entries)
    refused = refusals(sealed.project)
    assert list(refused) == [SIGNATURE]
    assert "Signature Verification Failure" in refused[SIGNATURE]


def test_a_bundle_signed_with_another_key_is_refused_by_the_signature(
    sealed: Sealed, seal: Callable[[str], Sealed]
) -> None:
    other = seal("ed25519")
    shutil.copy(sealed.project / "clyra.trust.json", other.project)
    assert list(refusals(other.project)) == [SIGNATURE]


def test_a_signature_that_names_a_trusted_key_but_is_of_another_is_refused(
    sealed: Sealed, seal: Callable[[str], Sealed]
) -> None:
    other = seal("ed25519")
    other.entries[DSSE] = other.entries[DSSE].replace(other.signer.keyid.encode(), sealed.signer.keyid.encode())
    replace_entries(other.path, other.entries)
    shutil.copy(sealed.project / "clyra.trust.json", other.project)
    assert list(refusals(other.project)) == [SIGNATURE]


def test_what_an_earlier_check_left_behind_does_not_stand_in_for_a_bundle(sealed: Sealed) -> None:
    assert refusals(sealed.project) == {}
    replace_entries(sealed.path, {"journal.ndjson": sealed.entries["journal.ndjson"]})
    assert set(refusals(sealed.project)) >= {SIGNATURE, FILES}
