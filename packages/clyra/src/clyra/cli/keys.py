# SPDX-License-Identifier: Apache-2.0
"""``clyra keys``: the keys that sign your evidence, and how others come to trust them.

A private key never leaves its file. What travels is a request, or a public key; a person who keeps the trust file
adds it there on purpose, because a key that was made automatically is never trusted automatically.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from clyra.cli._trust_file import (
    add_keys,
    checked_tenant,
    instant_of,
    key_entry,
    offered_keys,
    role_members,
    today,
    write_text,
)
from clyra.cli.output import doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.evidence import Signer

Role = Literal["bundle", "log", "approver", "issuer"]

TRUST_FILE = "clyra.trust.json"
REQUEST_FILE = "clyra-key-request.json"
REQUEST_FORMAT = "clyra.key-request/v0"

_SIGNING_ROLES: tuple[Role, ...] = ("bundle", "log", "approver", "issuer")
# Every run signs with these; the others are made by whoever approves and by whoever runs a runner that mints.
_EVERYBODYS: tuple[Role, ...] = ("bundle", "log")
_TRUST_ROLES = ("root", "bundle", "log", "approver", "issuer")
_CAPTURES = ("recorded", "ingested", "recovered")
_INIT = "run clyra keys init"


@click.group(short_help="Make, show and hand on the keys that sign evidence.")
def keys() -> None:
    """Make, show and hand on the keys that sign evidence.

    \b
    Examples:
      clyra keys init                                  make your two keys
      clyra keys init --role approver                  make the key with which you approve
      clyra keys request                               write a file for whoever keeps the trust file
      clyra keys trust clyra-key-request.json --role bundle
    """


@keys.command(short_help="Make your keys where they are absent.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(_SIGNING_ROLES),
    help="Only these; may be repeated. [bundle, log]",
)
@json_option
def init(*, roles: tuple[Role, ...], as_json: bool) -> None:
    """Make your own keys, one that signs bundles and one that signs the log, where they are absent.

    They go into the folder CLYRA_CONFIG_DIR, else that of your configuration, readable by you alone. With --role
    approver it is the key with which you approve changes, with --role issuer that of a runner that mints tokens.

    \b
    Examples:
      clyra keys init
      clyra keys init --role approver
    """
    from clyra.evidence.signer import SETTINGS, load_signer, user_key_path
    from clyra.spec import UnavailableError

    environ = {name: value for name, value in os.environ.items() if name not in SETTINGS.values()}
    made = []
    for role in roles or _EVERYBODYS:
        path = user_key_path(role, environ)
        was_there = path is not None and path.exists()
        signer = load_signer(role, environ)
        if path is None or signer.origin != "user":
            where = path.parent if path else "a home folder"
            message = f"cannot write a key to {where}; set CLYRA_CONFIG_DIR to a folder of your own"
            raise UnavailableError(message, code="key_unavailable")
        made.append({"role": role, "keyid": signer.keyid, "path": str(path), "created": not was_there})
    if as_json:
        print_json({"keys": made})
        return
    for key in made:
        state = good("made") if key["created"] else faint("was there")
        click.echo(f"{key['role']:<10}{key['keyid']}  {state}  {key['path']}")
    click.echo("Others trust these keys once they are in a trust file: clyra keys request")


@keys.command(short_help="Show which keys sign here, and where they come from.")
@json_option
def show(*, as_json: bool) -> None:
    """Show the ids of the keys that sign here and where they come from; never a private key.

    \b
    Example:
      clyra keys show --json
    """
    described = [_described(role, os.environ) for role in _SIGNING_ROLES]
    found = [key for key in described if key["keyid"] is not None or key["role"] in _EVERYBODYS]
    if as_json:
        print_json({"keys": found})
        return
    for key in found:
        if key["keyid"] is None:
            click.echo(f"{key['role']:<10}{doubtful('none')}: every run makes a key that dies with it; {_INIT}")
        else:
            click.echo(f"{key['role']:<10}{key['keyid']}  {key['alg']}  {faint(str(key['source']))}")


@keys.command(short_help="Print a public key for a trust file.")
@click.option("--role", type=click.Choice(_SIGNING_ROLES), default="bundle", show_default=True, help="Which key.")
@click.option("--pem", is_flag=True, help="Print PEM, as openssl reads it, instead of an entry of a trust file.")
@json_option
def export(*, role: Role, pem: bool, as_json: bool) -> None:
    """Print the public key as an entry of a trust file (JSON), or as PEM.

    \b
    Examples:
      clyra keys export --role bundle > bundle.key.json
      clyra keys export --pem > signer.pem
    """
    entry = _own_entry(role, os.environ)
    if not pem:
        print_json(entry)
    elif as_json:
        print_json({"keyid": entry["keyid"], "pem": _pem(entry["public_key"])})
    else:
        click.echo(_pem(entry["public_key"]), nl=False)


@keys.command(short_help="Write a request that your keys be trusted.")
@click.option("-o", "--output", default=REQUEST_FILE, show_default=True, metavar="FILE", help="File to write.")
@json_option
def request(*, output: str, as_json: bool) -> None:
    """Write a file with your public keys for whoever keeps the trust file.

    \b
    Examples:
      clyra keys request
      clyra keys request -o ana.request.json
    """
    import json

    own = {role for role in _SIGNING_ROLES if role in _EVERYBODYS or _described(role, os.environ)["keyid"] is not None}
    entries = [_own_entry(role, os.environ) for role in _SIGNING_ROLES if role in own]
    write_text(Path(output), json.dumps({"format": REQUEST_FORMAT, "keys": entries}, indent=2) + "\n")
    if as_json:
        print_json({"path": output, "keys": entries})
        return
    click.echo(f"{good('written')}  {output}")
    click.echo(f"Send it to whoever keeps {TRUST_FILE}; there: clyra keys trust {output} --role bundle")


@keys.command(short_help="Add a public key to the trust file.")
@click.argument("file", metavar="FILE")
@click.option("--role", type=click.Choice(_TRUST_ROLES), required=True, help="What the key may sign.")
@click.option("--valid-from", metavar="TIME", help="From when on. [default: what FILE says, else today]")
@click.option("--valid-to", metavar="TIME", help="Until when, like 2027-01-31 or 2027-01-31T08:00:00Z.")
@click.option("--tenant", "tenants", multiple=True, metavar="NAME", help="Only for this tenant; may be repeated.")
@click.option("--capture", "captures", multiple=True, type=click.Choice(_CAPTURES), help="Only for this kind of run.")
@click.option("--principal", metavar="WHO", help="Of an approver: who it is, like oidc:ISSUER:SUB. [key:KEYID]")
@click.option("--issuer", metavar="NAME", help="Of an issuer: the name it mints under. [clyra]")
@click.option("--trust-file", default=TRUST_FILE, show_default=True, metavar="FILE", help="Made where absent.")
@json_option
def trust(
    *,
    file: str,
    role: str,
    valid_from: str | None,
    valid_to: str | None,
    tenants: tuple[str, ...],
    captures: tuple[str, ...],
    principal: str | None,
    issuer: str | None,
    trust_file: str,
    as_json: bool,
) -> None:
    """Add a public key to the trust file, for one role.

    FILE is a request, an entry that `clyra keys export` printed, or a public key in PEM. Be sure that it comes from
    the person it should: compare the key id by another channel.

    \b
    Examples:
      clyra keys trust ana.request.json --role bundle --valid-to 2027-01-31
      clyra keys trust ana.request.json --role log
      clyra keys trust ben.request.json --role approver --principal oidc:https://id.example.com:248289761001
    """
    limits: dict[str, Any] = {}
    if valid_from is not None:
        limits["valid_from"] = instant_of(valid_from, "--valid-from")
    if valid_to is not None:
        limits["valid_to"] = instant_of(valid_to, "--valid-to")
    if tenants:
        limits["tenants"] = [checked_tenant(tenant) for tenant in tenants]
    if captures:
        limits["captures"] = list(captures)
    limits |= role_members(role, principal, issuer)
    entries = [{**entry, **limits, "role": role} for entry in offered_keys(Path(file), role)]
    version = add_keys(Path(trust_file), entries)
    if as_json:
        print_json({"added": entries, "trust_file": trust_file, "version": version})
        return
    for entry in entries:
        until = f" until {entry['valid_to']}" if "valid_to" in entry else ""
        click.echo(f"{good('trusted')}  {role} key {entry['keyid']}")
        click.echo(f"from {entry['valid_from']}{until}, in {trust_file} (version {version})")


def _described(role: Role, environ: Mapping[str, str]) -> dict[str, str | None]:
    from clyra.evidence.signer import SETTINGS, load_signer, user_key_path

    signer = load_signer(role, environ, create=False)
    if signer.origin == "ephemeral":
        return {"role": role, "keyid": None, "alg": None, "origin": "ephemeral", "source": None}
    source = SETTINGS[role] if signer.origin == "configured" else str(user_key_path(role, environ))
    return {"role": role, "keyid": signer.keyid, "alg": signer.alg, "origin": signer.origin, "source": source}


def _own_entry(role: Role, environ: Mapping[str, str]) -> dict[str, str]:
    """The public key of ``role`` as an entry of a trust file."""
    from clyra.evidence.signer import load_signer
    from clyra.spec import UnavailableError

    signer = load_signer(role, environ, create=False)
    if signer.origin == "ephemeral":
        how = _INIT if role in _EVERYBODYS else f"{_INIT} --role {role}"
        raise UnavailableError(f"there is no {role} key that lasts; {how}", code="key_unavailable")
    return key_entry(signer.public_key, signer.alg, role, _first_use(role, signer, environ))


def _first_use(role: Role, signer: Signer, environ: Mapping[str, str]) -> str:
    """An instant before which the key signed nothing: when its file was made, else the beginning of today."""
    from clyra.evidence import instant
    from clyra.evidence.signer import user_key_path

    path = user_key_path(role, environ)
    if signer.origin == "user" and path is not None:
        return instant(int(path.stat().st_mtime) * 1_000_000)
    return today()


def _pem(public_key: str) -> str:
    lines = [public_key[start : start + 64] for start in range(0, len(public_key), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
