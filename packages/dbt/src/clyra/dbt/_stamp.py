# SPDX-License-Identifier: Apache-2.0
"""``clyra.build.json``: which code an image without ``.git`` holds, signed by the bundle key when the image is built.

The signature is over the canonical bytes (RFC 8785) of the other members. It shows that whoever holds the key stamped
these files; whose key that is says a trust file, never the stamp.
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clyra.dbt._build import STAMP, Build, BuildProbe
from clyra.dbt._clock import Clock
from clyra.dbt._json_view import JsonView
from clyra.dbt._stamp_files import Differences, compare, digest
from clyra.spec import ConfigurationError, FormatError, UnavailableError

if TYPE_CHECKING:
    from clyra.evidence.signer import Signer

SPEC = "clyra.build/v0"

_GIT_TIMEOUT_S = 60
# Modes of git's index that are no files with bytes of their own: submodules, and links to folders.
_SUBMODULE = "160000"


@dataclass(frozen=True, slots=True)
class Stamped:
    """A stamp that was written; ``left_out`` are submodules and links to folders, which it does not cover."""

    path: Path
    members: Mapping[str, object]
    file_count: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StampCheck:
    """Whether a stamp still holds.

    Attributes:
        differences: Between the stamp and the files.
        signature_holds: Whether the key it names signed it as it is.
        keyid: That key.
        key: Whether the trust file has it, for bundles; ``not_evaluated`` without a trust file.
        was_dirty: Whether it was made with ``--allow-dirty`` from a tree that was.
    """

    differences: Differences
    signature_holds: bool
    keyid: str
    key: Literal["trusted", "unknown", "not_evaluated"]
    was_dirty: bool

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return self.signature_holds and self.key != "unknown" and not self.differences


def write_stamp(
    project_dir: Path, signer: Signer, environ: Mapping[str, str], clock: Clock, *, allow_dirty: bool
) -> Stamped:
    """Stamp the checked-out project.

    Args:
        project_dir: The project folder, in a git checkout.
        signer: The bundle key.
        environ: Environment variables, for git.
        clock: Where the time comes from.
        allow_dirty: Stamp a tree that is not the commit's, and say so in the stamp.

    Raises:
        ConfigurationError: There is no commit to stamp, or the tree is dirty.
        UnavailableError: The stamp cannot be written (``evidence_unavailable``).
    """
    from clyra.evidence.bundle import instant
    from clyra.evidence.canonical import canonicalize_integers

    probe = BuildProbe(project_dir, environ)
    files, left_out = _tracked(project_dir, environ)
    build = probe.build(sorted({path.partition("/")[0] for path in files if "/" in path}))
    _check(build, allow_dirty=allow_dirty)
    rest: dict[str, object] = {
        "spec": SPEC,
        "tree": build.tree,
        "commit": build.commit,
        "branch": build.branch,
        "dirty": bool(build.dirty),
        "files": files,
        "stamped_at": instant(clock.now_us()),
        "keyid": signer.keyid,
        "public_key": b64encode(signer.public_key).decode(),
        "alg": signer.alg,
    }
    members = {**rest, "signature": b64encode(signer.sign(canonicalize_integers(rest))).decode()}
    path = project_dir / STAMP
    _replace(path, json.dumps(members, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return Stamped(path, members, len(files), left_out)


def check_stamp(project_dir: Path, trust: Path | None) -> StampCheck:
    """Whether the project's stamp holds.

    Args:
        project_dir: The project folder.
        trust: A trust file, which says whose key it is.

    Raises:
        FormatError: There is no stamp, or it or the trust file is none.
    """
    stamp = _read(project_dir / STAMP, "run clyra dbt stamp where the image is built")
    if stamp.value("spec") != SPEC:
        stamp.refuse("spec", SPEC)
    keyid = stamp.text("keyid")
    files = stamp.view("files")
    return StampCheck(
        differences=compare(project_dir, {path: files.text(path) for path in files.names()}),
        signature_holds=_signature_holds(stamp),
        keyid=keyid,
        key="not_evaluated" if trust is None else "trusted" if keyid in _bundle_keys(trust) else "unknown",
        was_dirty=stamp.value("dirty") is not False,
    )


def _check(build: Build, *, allow_dirty: bool) -> None:
    if build.source != "git" or build.tree is None:
        raise ConfigurationError(
            "git shows no commit of this folder; run clyra dbt stamp in a checkout that git can read, with the project"
            " committed"
        )
    if build.dirty is not False and not allow_dirty:
        raise ConfigurationError(
            "the project has changes that no commit holds; commit them, or stamp it as it is with --allow-dirty"
        )


def _tracked(project_dir: Path, environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Digests of the tracked files under the project, and what has none."""
    files: dict[str, str] = {}
    left_out: list[str] = []
    for entry in filter(None, _git_files(project_dir, environ).split(b"\0")):
        mode, _, name = entry.partition(b"\t")
        try:
            path = name.decode()
        except UnicodeDecodeError as exc:
            raise ConfigurationError(f"the name of {os.fsdecode(name)!a} is not UTF-8; rename the file") from exc
        if path == STAMP:
            continue
        try:
            if mode.startswith(_SUBMODULE.encode()):
                left_out.append(path)
            else:
                files[path] = digest(project_dir / path)
        except IsADirectoryError:
            left_out.append(path)
        except FileNotFoundError:
            # Removed and not committed: the tree is dirty, which is judged elsewhere.
            continue
        except OSError as exc:
            raise UnavailableError(f"{path} cannot be read: {exc.strerror}; make it readable") from exc
    return files, tuple(left_out)


def _git_files(project_dir: Path, environ: Mapping[str, str]) -> bytes:
    try:
        listed = subprocess.run(
            ("git", "ls-files", "-z", "--stage", "."),
            cwd=project_dir,
            env={**environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigurationError("git cannot be run; stamp where git is installed") from exc
    return listed.stdout if listed.returncode == 0 else b""


def _signature_holds(stamp: JsonView) -> bool:
    from clyra.evidence.canonical import canonicalize_integers

    rest = {name: stamp.value(name) for name in stamp.names() if name != "signature"}
    try:
        message = canonicalize_integers(rest)
        public_key = b64decode(stamp.text("public_key"), validate=True)
        signature = b64decode(stamp.text("signature"), validate=True)
    except (FormatError, ValueError):
        return False
    if sha256(public_key).hexdigest() != stamp.text("keyid"):
        return False
    return _verifies(stamp.text("alg"), public_key, signature, message)


def _verifies(alg: str, public_key: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(public_key)
        if alg == "ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif alg == "ecdsa-p256-sha256" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif alg == "rsa-pss-sha256" and isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
            key.verify(signature, message, pss, hashes.SHA256())
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _bundle_keys(trust: Path) -> set[str]:
    keys = _read(trust, "name a trust file with --trust").views("keys")
    return {key.text("keyid") for key in keys if key.value("role") == "bundle" and key.value("revoked_at") is None}


def _read(path: Path, advice: str) -> JsonView:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise FormatError(f"{path} cannot be read: {exc.strerror}; {advice}") from exc
    return JsonView.parse(path.name, data)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(text.encode())
        os.replace(partial, path)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise UnavailableError(
            f"{path} cannot be written: {exc.strerror}; make the folder writable", code="evidence_unavailable"
        ) from exc
