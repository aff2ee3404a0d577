# SPDX-License-Identifier: Apache-2.0
"""sigstore-js verifies what Clyra signs, and refuses it once something was changed.

Its packages are installed once below .bootstrap/, by the digests of node/package-lock.json; later runs need no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

Sealed = Any  # the class in conftest.py, which tests cannot import
Verify = Callable[[bytes, Any], tuple[int, str]]

NODE = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[2] / ".bootstrap" / "node"
BUNDLE, ENVELOPE = "attestations/manifest.sigstore.json", "attestations/manifest.dsse.json"
LACKING = [program for program in ("node", "npm") if shutil.which(program) is None]

needs_node = pytest.mark.skipif(bool(LACKING), reason=f"not on PATH: {' and '.join(LACKING)}, of Node 20 or later")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The installed packages. They appear under their name whole or not at all, so runs side by side are safe."""
    inputs = [NODE / "package.json", NODE / "package-lock.json"]
    home = CACHE / sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    if not home.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            fresh = Path(folder) / "fresh"
            fresh.mkdir()
            for path in inputs:
                shutil.copy(path, fresh)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            try:
                fresh.rename(home)
            except OSError:
                assert home.is_dir(), "another run has put the same packages there meanwhile"
    return home / "node_modules"


@pytest.fixture
def verify(node_modules: Path, tmp_path: Path) -> Verify:
    """Verifies a document with the key of a signer: exit code, and the payload or the code of the refusal."""

    def run(document: bytes, signer: Any) -> tuple[int, str]:
        (tmp_path / "document.json").write_bytes(document)
        (tmp_path / "key.der").write_bytes(signer.public_key)
        done = subprocess.run(
            ["node", str(NODE / "verify.cjs"), "key.der", "document.json"],
            cwd=tmp_path,
            env={**os.environ, "NODE_PATH": str(node_modules)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def envelope_of(document: dict[str, Any]) -> dict[str, Any]:
    """The envelope inside a sigstore bundle, or the document itself."""
    found: dict[str, Any] = document.get("dsseEnvelope", document)
    return found


def change_payload(envelope: dict[str, Any]) -> None:
    payload = b64decode(envelope["payload"])
    envelope["payload"] = b64encode(payload.replace(b"manifest.json", b"manifesT.json")).decode()


def change_type(envelope: dict[str, Any]) -> None:
    envelope["payloadType"] = "application/vnd.in-toto+jsoN"


def change_signature(envelope: dict[str, Any]) -> None:
    signature = bytearray(b64decode(envelope["signatures"][0]["sig"]))
    signature[7] ^= 1
    envelope["signatures"][0]["sig"] = b64encode(signature).decode()


@needs_node
@pytest.mark.parametrize("alg", ["ed25519", "ecdsa-p256-sha256"])
@pytest.mark.parametrize("form", [BUNDLE, ENVELOPE])
def test_sigstore_js_verifies_both_forms_of_the_envelope(
    seal: Callable[[str], Sealed], verify: Verify, form: str, alg: str
) -> None:
    sealed = seal(alg)
    code, printed = verify(sealed.entries[form], sealed.signer)
    assert code == 0, printed
    (subject,) = json.loads(printed)["subject"]
    digest = sha256(sealed.entries["manifest.json"]).hexdigest()
    assert subject == {"name": "manifest.json", "digest": {"sha256": digest}}


@needs_node
@pytest.mark.parametrize("change", [change_payload, change_type, change_signature])
@pytest.mark.parametrize("form", [BUNDLE, ENVELOPE])
def test_sigstore_js_refuses_what_was_changed(
    sealed: Sealed, verify: Verify, form: str, change: Callable[[dict[str, Any]], None]
) -> None:
    document = json.loads(sealed.entries[form])
    change(envelope_of(document))
    assert verify(json.dumps(document).encode(), sealed.signer) == (1, "SIGNATURE_ERROR")


@needs_node
@pytest.mark.parametrize("form", [BUNDLE, ENVELOPE])
def test_sigstore_js_refuses_a_key_that_it_was_not_given(
    sealed: Sealed, seal: Callable[[str], Sealed], verify: Verify, form: str
) -> None:
    other = seal("ed25519").signer
    assert verify(sealed.entries[form], other) == (1, "PUBLIC_KEY_ERROR")
    claimed = sealed.entries[form].replace(sealed.signer.keyid.encode(), other.keyid.encode())
    assert verify(claimed, other) == (1, "SIGNATURE_ERROR")


def test_the_lock_file_pins_digests_and_no_addresses() -> None:
    text = (NODE / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    wanted = json.loads((NODE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert packages.pop("")["dependencies"] == wanted
    assert set(wanted) <= {name.removeprefix("node_modules/") for name in packages}
    for package in packages.values():
        assert package["integrity"].startswith("sha512-")
