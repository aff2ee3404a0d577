# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from clyra.cli import main
from clyra.evidence import load_signer
from clyra.verify.trust import parse_trust


class Shell:
    """Runs the command in a folder, with keys of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys

    def __call__(self, *words: str, expect: int = 0) -> str:
        with pytest.raises(SystemExit) as left:
            main.run(["keys", *words])
        output = self.capsys.readouterr()
        assert left.value.code == expect, output.err
        return output.out if expect == 0 else output.err

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))

    @property
    def trust_file(self) -> Path:
        return self.folder / "clyra.trust.json"


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in ("CLYRA_SIGNING_KEY", "CLYRA_LOG_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLYRA_CONFIG_DIR", str(tmp_path / "config"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Shell(folder, capsys)


def pem_file(folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    path = folder / "public.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def test_init_makes_both_keys_once(keys: Shell) -> None:
    first = keys.json("init")["keys"]
    assert [(key["role"], key["created"]) for key in first] == [("bundle", True), ("log", True)]
    signers = (load_signer("bundle", os.environ), load_signer("log", os.environ))
    assert [signer.keyid for signer in signers] == [key["keyid"] for key in first]
    again = keys.json("init")["keys"]
    assert [(key["keyid"], key["created"]) for key in again] == [(key["keyid"], False) for key in first]


def test_init_makes_the_users_keys_even_where_others_are_configured(
    keys: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLYRA_SIGNING_KEY", "/no/such/file")
    assert keys.json("init")["keys"][0]["created"]


def test_init_says_what_to_do_where_nothing_can_be_written(keys: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (keys.folder / "file").write_bytes(b"")
    monkeypatch.setenv("CLYRA_CONFIG_DIR", str(keys.folder / "file"))
    assert "set CLYRA_CONFIG_DIR to a folder of your own [key_unavailable]" in keys("init", expect=69)


def test_show_names_keys_and_sources_and_makes_nothing(keys: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"alg": None, "keyid": None, "origin": "ephemeral", "source": None}
    assert keys.json("show")["keys"] == [{"role": "bundle", **none}, {"role": "log", **none}]
    assert "run clyra keys init" in keys("show")
    made = keys.json("init")["keys"]
    assert [(key["keyid"], key["source"], key["origin"]) for key in keys.json("show")["keys"]] == [
        (key["keyid"], key["path"], "user") for key in made
    ]
    assert made[0]["keyid"] in keys("show")
    secret = ec.generate_private_key(ec.SECP256R1())
    pem = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    monkeypatch.setenv("CLYRA_SIGNING_KEY", pem)
    text = keys("show") + keys("show", "--json")
    assert "CLYRA_SIGNING_KEY" in text
    assert "ecdsa-p256-sha256" in text
    assert pem.splitlines()[1] not in text


def test_export_prints_an_entry_of_a_trust_file(keys: Shell) -> None:
    keys("init")
    entry = json.loads(keys("export", "--role", "log"))
    signer = load_signer("log", os.environ)
    assert b64decode(entry["public_key"]) == signer.public_key
    assert (entry["keyid"], entry["alg"], entry["role"]) == (signer.keyid, "ed25519", "log")
    parse_trust(json.dumps({"version": 1, "keys": [entry]}).encode())


def test_export_prints_pem_that_others_read(keys: Shell) -> None:
    keys("init")
    pem = keys("export", "--pem")
    public = load_pem_public_key(pem.encode())
    signer = load_signer("bundle", os.environ)
    assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == signer.public_key
    assert keys.json("export", "--pem") == {"keyid": signer.keyid, "pem": pem}


@pytest.mark.parametrize("command", [["export"], ["request"]])
def test_a_key_that_dies_with_its_run_is_not_handed_on(keys: Shell, command: list[str]) -> None:
    assert "there is no bundle key that lasts; run clyra keys init [key_unavailable]" in keys(*command, expect=69)
    assert list(keys.folder.iterdir()) == []


def test_a_request_becomes_two_trusted_keys(keys: Shell) -> None:
    made = keys.json("init")["keys"]
    keys("request", "-o", "ana.json")
    assert "PRIVATE" not in (keys.folder / "ana.json").read_text()
    assert "trusted" in keys("trust", "ana.json", "--role", "bundle")
    assert keys.json("trust", "ana.json", "--role", "log")["version"] == 2
    trust = parse_trust(keys.trust_file.read_bytes())
    assert {key.keyid: key.role for key in trust.keys.values()} == {key["keyid"]: key["role"] for key in made}
    assert trust.version == 2


def test_the_trusted_key_is_the_one_that_signs_here(keys: Shell) -> None:
    keys("init")
    entry = json.loads(keys("export"))
    keys("request")
    keys("trust", "clyra-key-request.json", "--role", "bundle")
    (key,) = parse_trust(keys.trust_file.read_bytes()).keys.values()
    assert (key.keyid, key.valid_from) == (entry["keyid"], entry["valid_from"])
    assert key.spki == load_signer("bundle", os.environ).public_key


def test_a_key_may_be_limited(keys: Shell) -> None:
    keys("init")
    keys("request")
    words = ["trust", "clyra-key-request.json", "--role", "bundle", "--valid-from", "2026-01-31T10:00:00+02:00"]
    words += ["--valid-to", "2027-01-31", "--tenant", "shop", "--tenant", "lab", "--capture", "recorded"]
    keys(*words)
    (key,) = parse_trust(keys.trust_file.read_bytes()).keys.values()
    assert (key.valid_from, key.valid_to) == ("2026-01-31T08:00:00.000000Z", "2027-01-31T00:00:00.000000Z")
    assert (key.tenants, key.captures) == (("shop", "lab"), ("recorded",))


def test_a_public_key_in_pem_may_get_any_role(keys: Shell) -> None:
    path = pem_file(keys.folder, ec.generate_private_key(ec.SECP256R1()))
    keys("trust", path, "--role", "approver")
    (key,) = parse_trust(keys.trust_file.read_bytes()).keys.values()
    assert (key.role, key.alg) == ("approver", "ecdsa-p256-sha256")


def test_what_else_a_trust_file_says_stays(keys: Shell) -> None:
    keys.trust_file.write_text('{"require": ["log"], "keys": [], "version": 7}')
    keys("trust", pem_file(keys.folder, ec.generate_private_key(ec.SECP256R1())), "--role", "approver")
    trust = parse_trust(keys.trust_file.read_bytes())
    assert (trust.version, trust.requires("log"), len(trust.keys)) == (8, True, 1)


def test_approver_and_issuer_keys_are_made_when_asked_for(keys: Shell) -> None:
    made = keys.json("init", "--role", "approver", "--role", "issuer")["keys"]
    assert [key["role"] for key in made] == ["approver", "issuer"]
    assert [key["role"] for key in keys.json("show")["keys"]] == ["bundle", "log", "approver", "issuer"]
    assert "run clyra keys init" in keys("request", expect=69)
    keys("init")
    assert [key["role"] for key in keys.json("request")["keys"]] == ["bundle", "log", "approver", "issuer"]
    keys("trust", "clyra-key-request.json", "--role", "approver", "--principal", "oidc:https://id.example.com:42")
    keys("trust", "clyra-key-request.json", "--role", "issuer", "--issuer", "deploys")
    entries = {key["role"]: key for key in json.loads(keys.trust_file.read_bytes())["keys"]}
    assert entries["approver"]["principal"] == "oidc:https://id.example.com:42"
    assert entries["issuer"]["issuer"] == "deploys"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--role", "bundle", "--principal", "svc:x"], "--principal is for --role approver, found --role bundle"),
        (["--role", "approver", "--issuer", "x"], "--issuer is for --role issuer, found --role approver"),
        (["--role", "approver", "--principal", "ana@example.com"], "never an e-mail address"),
        (["--role", "issuer"], "tokens are signed by ed25519 or RSA keys"),
    ],
)
def test_what_a_role_cannot_have_is_refused(keys: Shell, options: list[str], message: str) -> None:
    path = pem_file(keys.folder, ec.generate_private_key(ec.SECP256R1()))
    assert message in keys("trust", path, *options, expect=64)
    assert not keys.trust_file.exists()


def test_an_rsa_key_of_an_issuer_signs_as_tokens_are_signed(keys: Shell) -> None:
    keys("trust", pem_file(keys.folder, rsa.generate_private_key(65537, 2048)), "--role", "issuer")
    (entry,) = json.loads(keys.trust_file.read_bytes())["keys"]
    assert entry["alg"] == "rsa-pkcs1-sha256"


def test_a_key_is_never_listed_twice(keys: Shell) -> None:
    path = pem_file(keys.folder, ec.generate_private_key(ec.SECP256R1()))
    keys("trust", path, "--role", "bundle")
    before = keys.trust_file.read_bytes()
    assert "already, as bundle key [config_invalid]" in keys("trust", path, "--role", "log", expect=64)
    assert keys.trust_file.read_bytes() == before
    assert sorted(entry.name for entry in keys.folder.iterdir()) == ["clyra.trust.json", "public.pem"]


def test_a_private_key_is_never_taken(keys: Shell) -> None:
    path = keys.json("init")["keys"][0]["path"]
    assert "never hand a private key on [key_file_invalid]" in keys("trust", path, "--role", "bundle", expect=64)
    assert not keys.trust_file.exists()


def entry_of(key: ec.EllipticCurvePrivateKey, **members: object) -> dict[str, object]:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "alg": "ed25519",
        "keyid": sha256(der).hexdigest(),
        "public_key": b64encode(der).decode(),
        "role": "bundle",
        "valid_from": "2026-01-31T08:15:00.000000Z",
    } | members


KEY = ec.generate_private_key(ec.SECP256R1())


def test_the_algorithm_is_computed_and_not_believed(keys: Shell) -> None:
    (keys.folder / "entry.json").write_text(json.dumps(entry_of(KEY, alg="ed25519")))
    keys("trust", "entry.json", "--role", "bundle")
    (key,) = parse_trust(keys.trust_file.read_bytes()).keys.values()
    assert key.alg == "ecdsa-p256-sha256"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(json.dumps(entry_of(KEY, keyid="0" * 64)), "another key id", id="another key id"),
        pytest.param(json.dumps(entry_of(KEY, role="log")), "offers no bundle key; its keys are for: log", id="role"),
        pytest.param(json.dumps(entry_of(KEY, public_key="!")), "is neither a request", id="no base64"),
        pytest.param(json.dumps(entry_of(KEY, public_key="AAAA")), "found no public key", id="no key"),
        pytest.param(json.dumps(entry_of(KEY, valid_from="soon")), "valid_from is 'soon'", id="no instant"),
        pytest.param('{"keys": [1]}', "is neither a request", id="no entry"),
        pytest.param('{"keys": []}', "its keys are for: none", id="empty request"),
        pytest.param("{}", "is neither a request", id="empty object"),
        pytest.param("[]", "holds no JSON object", id="no object"),
        pytest.param('{"a": 1, "a": 2}', "a name occurs twice", id="name twice"),
        pytest.param("nonsense", "not strict JSON", id="nonsense"),
        pytest.param("-----BEGIN PUBLIC KEY-----\nAA\n", "found no public key", id="broken PEM"),
    ],
)
def test_a_file_that_offers_no_such_key_is_refused(keys: Shell, document: str, message: str) -> None:
    (keys.folder / "offer").write_text(document)
    assert message in keys("trust", "offer", "--role", "bundle", expect=64)
    assert not keys.trust_file.exists()


def test_a_weak_key_is_refused(keys: Shell) -> None:
    path = pem_file(keys.folder, rsa.generate_private_key(65537, 1024))
    assert "too weak" in keys("trust", path, "--role", "bundle", expect=64)


@pytest.mark.parametrize("document", ["[]", "{", '{"version": 1}', '{"version": "1", "keys": []}'])
def test_a_trust_file_that_is_none_is_left_alone(keys: Shell, document: str) -> None:
    keys.trust_file.write_text(document)
    assert "[config_invalid]" in keys("trust", pem_file(keys.folder, KEY), "--role", "bundle", expect=64)
    assert keys.trust_file.read_text() == document


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--valid-to", "2027-13-01"], "--valid-to is '2027-13-01'"),
        (["--valid-to", "2027-01-31T08:00:00"], "with its zone"),
        (["--valid-from", "2027-01-31", "--valid-to", "2027-01-31"], "would end before it begins"),
        (["--tenant", "a b"], "--tenant is 'a b'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(keys: Shell, option: list[str], message: str) -> None:
    path = pem_file(keys.folder, KEY)
    assert message in keys("trust", path, "--role", "bundle", *option, expect=64)
    assert not keys.trust_file.exists()


def test_files_that_cannot_be_read_or_written_are_named(keys: Shell) -> None:
    assert "cannot read absent.json" in keys("trust", "absent.json", "--role", "bundle", expect=69)
    keys("init")
    assert "cannot write no/where.json" in keys("request", "-o", "no/where.json", expect=69)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_what_is_meant_for_others_can_be_read_by_them(keys: Shell) -> None:
    keys("init")
    keys("request")
    keys("trust", "clyra-key-request.json", "--role", "bundle")
    modes = {path.name: path.stat().st_mode & 0o777 for path in keys.folder.iterdir()}
    assert modes == {"clyra-key-request.json": 0o644, "clyra.trust.json": 0o644}


@pytest.mark.parametrize("command", ["init", "show", "export", "request", "trust"])
def test_every_command_shows_an_example(keys: Shell, command: str) -> None:
    assert f"clyra keys {command}" in keys(command, "--help").split("Example", 1)[1]
