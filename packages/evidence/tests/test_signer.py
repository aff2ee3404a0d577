# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from clyra.evidence.signer import (
    Signer,
    algorithm_of,
    ephemeral_signer,
    load_signer,
    public_key_of,
    user_key_path,
)
from clyra.spec import ClyraError, ConfigurationError, UnavailableError

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed448.Ed448PrivateKey

needs_modes = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


def pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_a_configured_key_comes_before_the_users_own(tmp_path: Path) -> None:
    configured = ed25519.Ed25519PrivateKey.generate()
    users = load_signer("bundle", {"HOME": str(tmp_path)})
    environ = {"HOME": str(tmp_path), "CLYRA_SIGNING_KEY": pem(configured).decode()}
    signer = load_signer("bundle", environ)
    assert signer.origin == "configured"
    assert signer.keyid != users.keyid
    configured.public_key().verify(signer.sign(b"m"), b"m")


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
def test_a_configured_key_may_be_a_file(tmp_path: Path, form: str) -> None:
    path = key_file(tmp_path, pem(ed25519.Ed25519PrivateKey.generate()))
    assert load_signer("bundle", {"CLYRA_SIGNING_KEY": form.format(path)}).origin == "configured"


def test_the_users_key_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = load_signer("bundle", {"HOME": str(tmp_path)})
    second = load_signer("bundle", {"HOME": str(tmp_path)})
    assert (first.origin, first.alg) == ("user", "ed25519")
    assert first.keyid == second.keyid == sha256(first.public_key).hexdigest()


@needs_modes
def test_the_users_key_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    load_signer("bundle", {"HOME": str(tmp_path)})
    path = user_key_path("bundle", {"HOME": str(tmp_path)})
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_bundle_and_log_keys_are_two(tmp_path: Path) -> None:
    environ = {"CLYRA_CONFIG_DIR": str(tmp_path)}
    assert load_signer("bundle", environ).keyid != load_signer("log", environ).keyid
    assert sorted(path.name for path in (tmp_path / "keys").glob("*.pem")) == ["bundle.pem", "log.pem"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CLYRA_CONFIG_DIR": "/c", "XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/c/keys/log.pem"),
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/clyra/keys/log.pem"),
        ({"HOME": "/h"}, "/h/.config/clyra/keys/log.pem"),
    ],
)
def test_where_the_users_key_lies(environ: dict[str, str], expected: str) -> None:
    assert user_key_path("log", environ) == Path(expected)


def test_without_a_home_the_key_is_ephemeral() -> None:
    assert user_key_path("bundle", {}) is None
    signer = load_signer("bundle", {})
    assert signer.origin == "ephemeral"
    assert signer.keyid != load_signer("bundle", {}).keyid


def test_a_home_that_cannot_be_written_gives_an_ephemeral_key(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert load_signer("bundle", {"HOME": str(blocked)}).origin == "ephemeral"


def test_an_unset_secret_of_a_ci_service_counts_as_absent() -> None:
    assert load_signer("bundle", {"CLYRA_SIGNING_KEY": " \n"}).origin == "ephemeral"


def test_nothing_is_made_without_create(tmp_path: Path) -> None:
    assert load_signer("bundle", {"HOME": str(tmp_path)}, create=False).origin == "ephemeral"
    assert list(tmp_path.iterdir()) == []


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    found: list[str] = []
    environ = {"HOME": str(tmp_path)}
    threads = [threading.Thread(target=lambda: found.append(load_signer("bundle", environ).keyid)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_every_algorithm_signs_what_its_public_key_verifies(rsa_key: rsa.RSAPrivateKey) -> None:
    signers = {
        key.__class__.__name__: load_signer("bundle", {"CLYRA_SIGNING_KEY": pem(key).decode()})
        for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), rsa_key)
    }
    assert {signer.alg for signer in signers.values()} == {"ed25519", "ecdsa-p256-sha256", "rsa-pss-sha256"}
    for signer in signers.values():
        verify(signer, signer.sign(b"message"), b"message")
        assert algorithm_of(signer.public_key) == signer.alg


def verify(signer: Signer, signature: bytes, message: bytes) -> None:
    public = load_der_public_key(signer.public_key)
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(signature, message)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    else:
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(pem(ed25519.Ed25519PrivateKey.generate(), b"secret"), "is encrypted", id="encrypted"),
        pytest.param(pem(ed448.Ed448PrivateKey.generate()), "not supported", id="another kind"),
        pytest.param(pem(ec.generate_private_key(ec.SECP384R1())), "secp384r1", id="another curve"),
        pytest.param(pem(rsa.generate_private_key(65537, 1024)), "too weak", id="short RSA key"),
        pytest.param(b"", "no private key", id="empty"),
        pytest.param(b"x" * 70_000, "too large", id="not a key at all"),
        pytest.param(
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "no private key",
            id="public key",
        ),
    ],
)
def test_a_key_file_that_cannot_sign_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = key_file(tmp_path, content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_signer("bundle", {"CLYRA_SIGNING_KEY": str(path)})
    assert caught.value.code == "key_file_invalid"
    assert str(path) in caught.value.message


@needs_modes
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_file_open_to_others_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, pem(ed25519.Ed25519PrivateKey.generate()), mode)
    with pytest.raises(ConfigurationError, match=f"run chmod 600 {path}") as caught:
        load_signer("bundle", {"CLYRA_SIGNING_KEY": str(path)})
    assert caught.value.code == "key_file_invalid"


def test_a_key_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the key file"):
        load_signer("bundle", {"CLYRA_SIGNING_KEY": str(tmp_path / "absent.pem")})


def test_a_log_key_must_be_ed25519() -> None:
    other = pem(ec.generate_private_key(ec.SECP256R1())).decode()
    with pytest.raises(ConfigurationError, match="log key must be an ed25519 key"):
        load_signer("log", {"CLYRA_LOG_KEY": other})


def test_a_key_service_without_its_package_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="awskms") as caught:
        load_signer("bundle", {"CLYRA_SIGNING_KEY": "awskms:///alias/evidence"})
    assert caught.value.code == "extra_missing"


def test_a_key_service_comes_from_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "sesame-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sesame\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clyra.signers]\nsesame = sesame_signer:load\n")
    (tmp_path / "sesame_signer.py").write_text(
        "from clyra.evidence.signer import ephemeral_signer\n"
        "from clyra.spec import UnavailableError\n"
        "def load(uri, environ):\n"
        "    if uri.endswith('closed'):\n"
        "        raise UnavailableError('the service does not answer', code='key_unavailable')\n"
        "    return ephemeral_signer()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_signer("bundle", {"CLYRA_SIGNING_KEY": "sesame://open"}).alg == "ed25519"
    with pytest.raises(UnavailableError, match="does not answer"):
        load_signer("bundle", {"CLYRA_SIGNING_KEY": "sesame://closed"})


def test_a_signer_never_shows_its_private_key(tmp_path: Path) -> None:
    secret = ed25519.Ed25519PrivateKey.generate()
    signer = load_signer("bundle", {"CLYRA_SIGNING_KEY": pem(secret).decode()})
    assert secret.private_bytes_raw().hex() not in repr(signer)
    assert "PrivateKey" not in repr(signer)
    with pytest.raises(ClyraError) as caught:
        load_signer("bundle", {"CLYRA_SIGNING_KEY": pem(secret).decode()[:-60]})
    assert pem(secret).decode().splitlines()[1] not in caught.value.message


def test_a_public_key_is_read_from_pem_and_der() -> None:
    signer = ephemeral_signer()
    public = load_der_public_key(signer.public_key)
    document = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert public_key_of(document) == public_key_of(signer.public_key) == signer.public_key
    for other in (b"", b"-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(ConfigurationError, match="no public key"):
            public_key_of(other)
    with pytest.raises(ConfigurationError, match="no public key"):
        algorithm_of(b"\x30\x00")


def test_importing_the_package_loads_neither_cryptography_nor_the_slow_serializer() -> None:
    code = (
        "import sys, clyra.evidence; print([m for m in ('cryptography', 'rfc8785', 'jsonschema') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
