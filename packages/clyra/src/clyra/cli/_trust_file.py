# SPDX-License-Identifier: Apache-2.0
"""Entries of trust files: made from public keys, read from what a colleague sent, added to ``clyra.trust.json``.

Key ids and algorithms are computed from the keys; what a file says about them is compared, never believed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast


def key_entry(public_key: bytes, alg: str, role: str, valid_from: str) -> dict[str, str]:
    """The entry of a trust file for a public key in SubjectPublicKeyInfo DER."""
    from base64 import b64encode
    from hashlib import sha256

    return {
        # An issuer's RSA key signs tokens as RS256, and nothing else.
        "alg": "rsa-pkcs1-sha256" if role == "issuer" and alg == "rsa-pss-sha256" else alg,
        "keyid": sha256(public_key).hexdigest(),
        "public_key": b64encode(public_key).decode(),
        "role": role,
        "valid_from": valid_from,
    }


def today() -> str:
    """The beginning of this day, UTC."""
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT00:00:00.000000Z")


def instant_of(text: str, option: str) -> str:
    """The instant of a day or a time with its zone; ``option`` names it in messages.

    Raises:
        ConfigurationError: The text is neither.
    """
    from datetime import UTC, datetime

    from clyra.spec import ConfigurationError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is not None and len(text) == len("2027-01-31"):
        moment = moment.replace(tzinfo=UTC)
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            f"{option} is {text!r}; expected a day or a time with its zone, like 2027-01-31T08:00Z"
        )
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def checked_tenant(name: str) -> str:
    """The tenant's name.

    Raises:
        ConfigurationError: A manifest could never hold it.
    """
    import re

    from clyra.spec import ConfigurationError

    if re.fullmatch(r"[A-Za-z0-9_.@:-]{1,128}", name) is None:
        raise ConfigurationError(f"--tenant is {name!r}; expected up to 128 letters, digits and any of _ . @ : -")
    return name


def role_members(role: str, principal: str | None, issuer: str | None) -> dict[str, str]:
    """What an approver's or an issuer's entry says beyond the key.

    Raises:
        ConfigurationError: The role has no such member, or it is not what ``spec/trust.md`` allows.
    """
    import re

    from clyra.spec import ConfigurationError, schema

    members: dict[str, str] = {}
    for option, wanted, value in (("principal", "approver", principal), ("issuer", "issuer", issuer)):
        if value is None:
            continue
        if role != wanted:
            raise ConfigurationError(f"--{option} is for --role {wanted}, found --role {role}")
        members[option] = value
    who = members.get("principal")
    if who is not None and re.fullmatch(schema("types")["$defs"]["principal"]["pattern"], who) is None:
        raise ConfigurationError(
            "--principal is no principal; expected oidc:ISSUER:SUBJECT, key:KEYID or svc:NAME, never an e-mail address"
        )
    return members


def offered_keys(path: Path, role: str) -> Sequence[dict[str, str]]:
    """The keys for ``role`` in a request, an entry or a PEM file.

    Raises:
        ConfigurationError: There is none, or something else in the file (``key_file_invalid``, ``config_invalid``).
        UnavailableError: The file cannot be read.
    """
    from clyra.evidence.signer import algorithm_of, public_key_of

    document = _read(path)
    if b"PRIVATE KEY" in document:
        raise _key_file_invalid(f"{path} holds a private key, expected a public one; never hand a private key on")
    if b"-----BEGIN" in document:
        public_key = public_key_of(document)
        return [key_entry(public_key, algorithm_of(public_key), role, today())]
    members = _strict_json(document, path)
    offered = members["keys"] if isinstance(members.get("keys"), list) else [members]
    entries = [_checked(entry, path) for entry in offered]
    fitting = [entry for entry in entries if entry["role"] == role]
    if not fitting:
        roles = ", ".join(sorted({entry["role"] for entry in entries})) or "none"
        raise _key_file_invalid(f"{path} offers no {role} key; its keys are for: {roles}")
    return fitting


def _checked(entry: object, path: Path) -> dict[str, str]:
    from base64 import b64decode

    from clyra.evidence.signer import algorithm_of

    try:
        members = cast("dict[str, str]", entry)
        public_key = b64decode(members["public_key"], validate=True)
        valid_from = instant_of(members["valid_from"], "valid_from")
        made = key_entry(public_key, algorithm_of(public_key), members["role"], valid_from)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _key_file_invalid(f"{path} is neither a request, nor an entry of a trust file, nor a PEM file") from exc
    if made["keyid"] != members.get("keyid"):
        raise _key_file_invalid(f"{path} names another key id than its key has; ask for the file again")
    return made


def add_keys(path: Path, entries: Sequence[dict[str, Any]]) -> int:
    """Append keys to the trust file, made where absent, and count its version up; gives the new version.

    Raises:
        ConfigurationError: A key is there already, or the file is no trust file (``config_invalid``).
        UnavailableError: The file cannot be read or written.
    """
    import json

    document = _strict_json(_read(path), path) if path.exists() else {"version": 0, "keys": []}
    known, version = document.get("keys"), document.get("version")
    if not isinstance(known, list) or not isinstance(version, int):
        raise _trust_invalid(f"{path} is no trust file: it has no keys or no version; see spec/trust.md")
    roles = {key.get("keyid"): key.get("role") for key in known if isinstance(key, dict)}
    for entry in entries:
        if entry.get("valid_to", "9") <= entry["valid_from"]:
            raise _trust_invalid(f"the key would end before it begins: {entry['valid_from']} to {entry['valid_to']}")
        if entry["role"] == "issuer" and entry["alg"] == "ecdsa-p256-sha256":
            raise _key_file_invalid("tokens are signed by ed25519 or RSA keys; this one is on the curve P-256")
        if entry["keyid"] in roles:
            raise _trust_invalid(f"{path} has the key {entry['keyid']} already, as {roles[entry['keyid']]} key")
    document |= {"version": version + 1, "keys": [*known, *entries]}
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return version + 1


def _strict_json(document: bytes, path: Path) -> dict[str, Any]:
    import json

    def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a name occurs twice")
        return members

    try:
        members = json.loads(document.decode(), object_pairs_hook=refuse_twice)
    except (ValueError, RecursionError) as exc:
        raise _trust_invalid(f"{path} is not strict JSON: {exc}") from exc
    if not isinstance(members, dict):
        raise _trust_invalid(f"{path} holds no JSON object")
    return members


def _read(path: Path) -> bytes:
    from clyra.spec import UnavailableError

    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"cannot read {path}: {exc.strerror}", code="key_unavailable") from exc


def write_text(path: Path, text: str) -> None:
    """Put the text in place of the file, whole or not at all.

    Raises:
        UnavailableError: The file cannot be written (``evidence_unavailable``).
    """
    import tempfile

    from clyra.spec import UnavailableError

    try:
        fd, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            # mkstemp makes files for their owner only; these are meant for everybody.
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as exc:
        raise UnavailableError(f"cannot write {path}: {exc.strerror}", code="evidence_unavailable") from exc


def _key_file_invalid(message: str) -> Exception:
    from clyra.spec import ConfigurationError

    return ConfigurationError(message, code="key_file_invalid")


def _trust_invalid(message: str) -> Exception:
    from clyra.spec import ConfigurationError

    return ConfigurationError(message, code="config_invalid")
