# SPDX-License-Identifier: Apache-2.0
"""Find the key that signs: configured, the user's own, or one that lives as long as the process.

A key created here is never put into a trust file here. ``origin`` says where a key came from, so that an auditor sees
it and verification can say what is to be enrolled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from clyra.spec import ConfigurationError, UnavailableError

KeyRole = Literal["bundle", "log", "approver", "issuer"]
KeyOrigin = Literal["configured", "user", "ephemeral"]
Algorithm = Literal["ed25519", "ecdsa-p256-sha256", "rsa-pss-sha256", "rsa-pkcs1-sha256"]

SETTINGS: Mapping[KeyRole, str] = {
    "bundle": "CLYRA_SIGNING_KEY",
    "log": "CLYRA_LOG_KEY",
    "approver": "CLYRA_APPROVER_KEY",
    "issuer": "CLYRA_ISSUER_KEY",
}

# Two letters at least: a single one is a Windows drive.
_URI = re.compile(r"([a-z][a-z0-9+.-]+):")


class Signer(Protocol):
    """A private key, wherever it lives."""

    @property
    def alg(self) -> str:
        """``ed25519``, ``ecdsa-p256-sha256``, ``rsa-pss-sha256``, or ``rsa-pkcs1-sha256`` where an issuer's is RSA."""

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""

    @property
    def keyid(self) -> str:
        """Hex SHA-256 of ``public_key``."""

    @property
    def origin(self) -> KeyOrigin:
        """Where the key came from."""

    def sign(self, message: bytes) -> bytes:
        """The signature of the message itself, not of a digest of it, in the form that ``spec/trust.md`` says.

        Raises:
            UnavailableError: The key cannot be used now (``key_unavailable``).
        """


def load_signer(role: KeyRole, environ: Mapping[str, str], *, create: bool = True) -> Signer:
    """The signer of ``role``: the configured key, else the user's, else an ephemeral one.

    ``CLYRA_SIGNING_KEY`` (for the log ``CLYRA_LOG_KEY``) holds PEM text, the path of a PEM file or the URI of a key
    service. The user's key is `user_key_path`; it is made where absent and writable. A setting that holds nothing but
    white space counts as absent, as unset secrets of CI services arrive.

    Args:
        role: What the key signs; a log key must be Ed25519, an issuer key Ed25519 or RSA, which then signs with
            PKCS #1 v1.5 as RS256 has it.
        environ: Environment variables.
        create: Make the user's key where it is absent.

    Raises:
        ConfigurationError: A key file has a mode, kind or contents that cannot be used (``key_file_invalid``), or no
            installed package knows the URI (``extra_missing``).
        UnavailableError: A key service does not answer (``key_unavailable``).
    """
    setting = SETTINGS[role]
    configured = environ.get(setting, "").strip()
    if configured:
        signer = _configured_signer(configured, setting, environ)
    else:
        signer = _user_signer(role, environ, create=create)
    if role == "issuer":
        signer = _as_issuer(signer, setting)
    if role == "log" and signer.alg != "ed25519":
        raise ConfigurationError(
            f"a log key must be an ed25519 key, found {signer.alg}; point {setting} at another key",
            code="key_file_invalid",
        )
    return signer


def _as_issuer(signer: Signer, setting: str) -> Signer:
    from clyra.evidence import _keys

    if isinstance(signer, _keys.LocalSigner) and signer.alg == "rsa-pss-sha256":
        signer = _keys.with_pkcs1(signer, setting)
    if signer.alg not in ("ed25519", "rsa-pkcs1-sha256"):
        raise ConfigurationError(
            f"an issuer key must be an ed25519 or RSA key, found {signer.alg}; point {setting} at another key",
            code="key_file_invalid",
        )
    return signer


def ephemeral_signer() -> Signer:
    """A new Ed25519 key that is nowhere but in memory."""
    from clyra.evidence import _keys

    return _keys.new_ephemeral_key()


def user_key_path(role: KeyRole, environ: Mapping[str, str]) -> Path | None:
    """Where the user's key lies or would lie; None where no home is known.

    ``CLYRA_CONFIG_DIR``, else ``XDG_CONFIG_HOME/clyra``, else ``HOME/.config/clyra``; in it ``keys/<role>.pem``.
    """
    if own := environ.get("CLYRA_CONFIG_DIR"):
        return Path(own) / "keys" / f"{role}.pem"
    if shared := environ.get("XDG_CONFIG_HOME"):
        return Path(shared) / "clyra" / "keys" / f"{role}.pem"
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home) / ".config" / "clyra" / "keys" / f"{role}.pem" if home else None


def algorithm_of(public_key: bytes) -> Algorithm:
    """The algorithm of a public key in SubjectPublicKeyInfo DER.

    Raises:
        ConfigurationError: It is no public key, of a kind that is not supported, or too weak (``key_file_invalid``).
    """
    from clyra.evidence import _keys

    return _keys.algorithm_of_public_key(public_key)


def public_key_of(pem_or_der: bytes) -> bytes:
    """The public key of a PEM or DER document in SubjectPublicKeyInfo DER, as a key id is computed from it.

    Raises:
        ConfigurationError: There is no supported public key (``key_file_invalid``).
    """
    from clyra.evidence import _keys

    return _keys.read_public_key(pem_or_der)


def _configured_signer(configured: str, setting: str, environ: Mapping[str, str]) -> Signer:
    from clyra.evidence import _keys

    if "-----BEGIN" in configured:
        return _keys.read_private_key(configured.encode(), source=setting, origin="configured")
    scheme = _URI.match(configured)
    if scheme is None:
        return _keys.read_key_file(Path(configured), origin="configured")
    if scheme[1] == "file":
        return _keys.read_key_file(Path(re.sub(r"^file:(//)?", "", configured)), origin="configured")
    return _service_signer(scheme[1], configured, environ)


def _service_signer(scheme: str, uri: str, environ: Mapping[str, str]) -> Signer:
    from importlib.metadata import entry_points

    found = list(entry_points(group="clyra.signers", name=scheme))
    if not found:
        raise ConfigurationError(
            f"no installed package signs with keys of {scheme}; install the one that does, or use a key file",
            code="extra_missing",
        )
    try:
        signer: Signer = found[0].load()(uri, environ)
    except ImportError as exc:
        raise ConfigurationError(
            f"the package for keys of {scheme} cannot be loaded: {exc}", code="extra_missing"
        ) from exc
    return signer


def _user_signer(role: KeyRole, environ: Mapping[str, str], *, create: bool) -> Signer:
    from clyra.evidence import _keys

    path = user_key_path(role, environ)
    if path is not None:
        if path.exists():
            return _keys.read_key_file(path, origin="user")
        if create:
            try:
                return _keys.create_key_file(path)
            except (OSError, UnavailableError):
                # A pod without a writable home still seals; the bundle says `ephemeral`.
                return ephemeral_signer()
    return ephemeral_signer()
