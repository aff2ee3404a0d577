# SPDX-License-Identifier: Apache-2.0
"""Keys in memory and in PEM files; the one module of this package that imports ``cryptography``."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from clyra.evidence._locks import FileLock
from clyra.evidence.signer import Algorithm, KeyOrigin
from clyra.spec import ConfigurationError

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_LEAST_RSA_BITS = 2048
_MOST_ISSUER_RSA_BITS = 4096
_RSA_EXPONENT = 65537
_SALT_BYTES = 32
_LOCK_TIMEOUT_S = 5.0
_MAX_KEY_FILE_BYTES = 65_536
_FIX = "expected the PEM file of an unencrypted ed25519, P-256 or RSA private key (openssl genpkey -algorithm ed25519)"


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """A private key in this process's memory."""

    alg: Algorithm
    public_key: bytes
    keyid: str
    origin: KeyOrigin
    _key: PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message`` under the key's one algorithm."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(message, ec.ECDSA(hashes.SHA256()))
        if self.alg == "rsa-pkcs1-sha256":
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES)
        return self._key.sign(message, pss, hashes.SHA256())


def with_pkcs1(signer: LocalSigner, source: str) -> LocalSigner:
    """The same RSA key, signing as RS256 does (RFC 7518, section 3.3).

    Raises:
        ConfigurationError: It is longer than 4,096 bits, which no consumer of tokens takes (``key_file_invalid``).
    """
    if isinstance(signer._key, rsa.RSAPrivateKey) and signer._key.key_size > _MOST_ISSUER_RSA_BITS:
        raise _invalid(f"{source} is too long: an RSA key that mints has {_MOST_ISSUER_RSA_BITS} bits at most")
    return replace(signer, alg="rsa-pkcs1-sha256")


def new_ephemeral_key() -> LocalSigner:
    """A new Ed25519 key that dies with the process."""
    return _signer(ed25519.Ed25519PrivateKey.generate(), "ephemeral", "a new key")


def read_private_key(pem: bytes, *, source: str, origin: KeyOrigin) -> LocalSigner:
    """The signer of a PEM document; ``source`` names it in messages.

    Raises:
        ConfigurationError: It is encrypted, no private key, or of a kind that is not supported (``key_file_invalid``).
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as exc:
        raise _invalid(
            f"the key in {source} is encrypted; decrypt it into a file only you can read (openssl pkey -in K -out N)"
        ) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _invalid(f"{source} holds no private key that can be read; {_FIX}") from exc
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise _invalid(f"{source} holds a key of a kind that is not supported; {_FIX}")
    return _signer(key, origin, source)


def read_key_file(path: Path, *, origin: KeyOrigin) -> LocalSigner:
    """The signer of a PEM file that nobody but its owner can read.

    Raises:
        ConfigurationError: The file cannot be read, is open to others, or holds something else (``key_file_invalid``).
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            pem = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as exc:
        raise _invalid(f"cannot read the key file {path}: {exc.strerror}; {_FIX}") from exc
    mode = stat.S_IMODE(status.st_mode)
    if os.name == "posix" and mode & 0o077:
        raise _invalid(f"the key file {path} is open to others: mode {mode:04o}, expected 0600; run chmod 600 {path}")
    if len(pem) > _MAX_KEY_FILE_BYTES:
        raise _invalid(f"{path} is too large for a key file; {_FIX}")
    return read_private_key(pem, source=str(path), origin=origin)


def create_key_file(path: Path) -> LocalSigner:
    """The signer of a new Ed25519 key in ``path``, mode 0600; of the one that another process just made there.

    Raises:
        OSError: The folder or file cannot be written.
        UnavailableError: Another process holds the folder's lock for too long.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.parent / ".lock").held(timeout_s=_LOCK_TIMEOUT_S):
        if not path.exists():
            _write_private(path, ed25519.Ed25519PrivateKey.generate())
    return read_key_file(path, origin="user")


def algorithm_of_public_key(der: bytes) -> Algorithm:
    """The algorithm of a SubjectPublicKeyInfo.

    Raises:
        ConfigurationError: It is no public key that is supported (``key_file_invalid``).
    """
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _invalid("found no public key; expected SubjectPublicKeyInfo in DER or PEM") from exc
    return _algorithm(key, "the public key")


def read_public_key(document: bytes) -> bytes:
    """SubjectPublicKeyInfo DER of a public key in PEM or DER.

    Raises:
        ConfigurationError: It is no public key that is supported (``key_file_invalid``).
    """
    try:
        if document.lstrip().startswith(b"-----BEGIN"):
            key = serialization.load_pem_public_key(document)
        else:
            key = serialization.load_der_public_key(document)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _invalid("found no public key; expected a PEM document that begins with BEGIN PUBLIC KEY") from exc
    _algorithm(key, "the public key")
    return _spki(key)  # type: ignore[arg-type]  # _algorithm has refused every other kind


def _signer(key: PrivateKey, origin: KeyOrigin, source: str) -> LocalSigner:
    public = key.public_key()
    der = _spki(public)
    return LocalSigner(_algorithm(public, source), der, sha256(der).hexdigest(), origin, key)


def _spki(public: PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _algorithm(public: object, source: str) -> Algorithm:
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public, ec.EllipticCurvePublicKey):
        if isinstance(public.curve, ec.SECP256R1):
            return "ecdsa-p256-sha256"
        raise _invalid(f"{source} is on the curve {public.curve.name}; only P-256 is supported")
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size >= _LEAST_RSA_BITS and public.public_numbers().e == _RSA_EXPONENT:
            return "rsa-pss-sha256"
        raise _invalid(
            f"{source} is too weak: an RSA key needs {_LEAST_RSA_BITS} bits and the exponent {_RSA_EXPONENT}"
        )
    raise _invalid(f"{source} is of a kind that is not supported; {_FIX}")


def _write_private(path: Path, key: PrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # mkstemp makes the file with mode 0600 before a byte is in it.
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _invalid(message: str) -> ConfigurationError:
    return ConfigurationError(message, code="key_file_invalid")
