# SPDX-License-Identifier: Apache-2.0
"""``clyra approval``: tokens for runs, and what stands behind them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli._approval_place import Place, place_options, read_token, write_secret
from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.approval.token import CheckedToken


@click.group(short_help="Mint, check, list, revoke and hand on approvals.")
def approval() -> None:
    """Mint, check, list, revoke and hand on approvals. People approve with `clyra approve`.

    \b
    Examples:
      clyra approval mint --target prod --out token
      clyra approval verify token
      clyra approval export 3f2a91 --out approvals
    """


@approval.command(short_help="Mint the token for one run, on the runner.")
@click.option("--target", metavar="NAME", help="The dbt target that the run is for.")
@click.option("--request", "prefix", metavar="REQUEST", help="Which request. [default: the newest that fits]")
@click.option("--run-id", metavar="ID", help="Which run. [default: CLYRA_RUN_ID, else the request's]")
@click.option("--ttl", metavar="TIME", help="How long it lives, like 10m. [default: the policy's max_ttl]")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, mode 0600, not to stdout."
)
@place_options
@json_option
def mint(
    *,
    target: str | None,
    prefix: str | None,
    run_id: str | None,
    ttl: str | None,
    out: Path | None,
    project_dir: Path | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Mint a short token for one run from what people have approved. It asks nobody.

    The issuer key (CLYRA_ISSUER_KEY) belongs to the runner. Certificates, tree, policy, roles and quorum are checked
    again. dbt takes the token from the file that CLYRA_APPROVAL_TOKEN_FILE names.

    \b
    Examples:
      clyra approval mint --target prod --out token
      CLYRA_APPROVAL_TOKEN_FILE=token dbt build --target prod
    """
    from clyra.cli._approval_minting import mint_token

    place = Place.find(project_dir, trust)
    minted, request = mint_token(place, target=target, prefix=prefix, run_id=run_id, ttl_s=_seconds(ttl))
    if out is not None:
        write_secret(out, minted.token + "\n")
    members: dict[str, Any] = {
        "expires_at": _instant(minted.claims["exp"]),
        "jti": minted.jti,
        "request_sha256": request.sha256,
        "run_id": minted.claims["run_id"],
        "token_id": minted.token_id,
    }
    if as_json:
        print_json(members | ({"out": str(out)} if out is not None else {"token": minted.token}))
        return
    if out is None:
        click.echo(minted.token)
    note = f"token {minted.token_id} for the run {members['run_id']} on {request.audience}, until "
    click.echo(f"{good('minted')}  {note}{_moment(members['expires_at'])}", err=out is None)


@approval.command(short_help="Say what a token is for, and whether it would be taken.")
@click.argument("token_file", metavar="TOKEN_FILE|-")
@place_options
@json_option
def verify(*, token_file: str, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """Check a token by the trust file, the policy, the tree and the certificates that are here; use nothing up.

    \b
    Examples:
      clyra approval verify token
      clyra approval mint --target prod | clyra approval verify -
    """
    from clyra.cli._approval_minting import check_here

    place = Place.find(project_dir, trust)
    checked, request = check_here(place, read_token(token_file, what="token"))
    run = place.store.used_by(checked.jti) if place.store.is_issued(checked.jti) else None
    if as_json:
        print_json(
            {
                "claims": dict(checked.claims),
                "token_id": checked.token_id,
                "unchecked": list(checked.unchecked),
                "used_by": run,
                "valid": True,
            }
        )
        return
    for line in _token_lines(checked, run, has_request=request is not None):
        click.echo(line)


@approval.command("list", short_help="List the tokens that were minted here, and who used them.")
@place_options
@json_option
def list_tokens(*, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """List the tokens that this approvals folder remembers: for which run, until when, used or revoked.

    \b
    Example:
      clyra approval list
    """
    from clyra.cli._approval_signing import clock_us

    store = Place.find(project_dir, trust).store
    gone, now_s = store.revoked(), clock_us() // 1_000_000
    rows = [_row(record, store.used_by(record["jti"]), gone, now_s) for record in store.issued()]
    rows.sort(key=lambda row: (row["issued_at"], row["jti"]))
    if as_json:
        print_json({"tokens": rows})
        return
    if not rows:
        click.echo(f"No token was minted in {store.root}.")
    for row in rows:
        color = {"used": good, "revoked": bad}.get(row["state"], faint)
        state = color(row["state"].ljust(8))
        until = _moment(row["expires_at"])
        click.echo(f"{row['jti']}  {state}  until {until}  run {row['run_id']}  request {row['request_sha256'][:12]}")


@approval.command(short_help="Withdraw a request, a certificate or a token.")
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept.")
@place_options
@json_option
def revoke(*, name: str, reason: str, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """Withdraw a request, a certificate or a token; nothing that is based on it counts from now on.

    ID is the beginning of a digest or of a token's jti. It cannot be taken back; ask again instead.

    \b
    Example:
      clyra approval revoke 3f2a91 --reason "the wrong branch"
    """
    from clyra.cli._approval_signing import clock_us
    from clyra.evidence import instant

    store = Place.find(project_dir, trust).store
    found = store.full_id(name)
    store.revoke(found, reason, at=instant(clock_us()))
    gone = store.withdrawal(found)
    kept = reason if gone is None else gone.reason
    if as_json:
        print_json({"id": found, "reason": kept, "kind": "revoked" if gone is None else gone.kind})
        return
    click.echo(f"{good('revoked')}  {found}")
    if kept != reason:
        click.echo(f"It was withdrawn before: {kept}")


@approval.command(short_help="Copy a request and its certificates into a folder that can travel.")
@click.argument("request", required=False, metavar="[REQUEST]")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Folder to write.")
@place_options
@json_option
def export(*, request: str | None, out: Path, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """Copy a request, its plan and its certificates into a folder, as an artifact for another job or machine.

    Without REQUEST, all that are not withdrawn. What was issued, used or revoked stays here.

    \b
    Example:
      clyra approval export 3f2a91 --out approvals
    """
    store = Place.find(project_dir, trust).store
    gone = store.revoked()
    chosen = [store.request(request)] if request else [one for one in store.requests() if one.sha256 not in gone]
    files = [str(path) for one in chosen for path in store.copy_to(out, one.sha256)]
    if as_json:
        print_json({"files": sorted(set(files)), "requests": [one.sha256 for one in chosen]})
        return
    click.echo(f"{good('written')}  {len(chosen)} requests, {len(set(files))} files in {out}")


@approval.command("import", short_help="Take requests and certificates from such a folder.")
@click.argument("folder", type=click.Path(path_type=Path))
@place_options
@json_option
def import_folder(*, folder: Path, project_dir: Path | None, trust: str | None, as_json: bool) -> None:
    """Take requests, plans and certificates from a folder that `clyra approval export` wrote.

    Nothing in it is believed: whoever counts the certificates verifies them against the trust file.

    \b
    Example:
      clyra approval import approvals
    """
    store = Place.find(project_dir, trust).store
    taken = store.take_from(folder)
    given = {digest: len(store.certificates_for(digest)) for digest in taken}
    if as_json:
        print_json({"requests": [{"request_sha256": name, "certificates": count} for name, count in given.items()]})
        return
    for digest, count in given.items():
        click.echo(f"{good('taken')}  {digest[:12]} with {count} certificates")


@approval.command(short_help="Sign that you have reviewed what was done in an emergency.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--role", metavar="ROLE", help="In which role. [default: the first that lists you]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
@json_option
def review(
    *, bundle: Path, role: str | None, yes: bool, project_dir: Path | None, trust: str | None, as_json: bool
) -> None:
    """Show what ran on a break-glass approval, and sign that you have reviewed it.

    Writes <bundle_id>.review.dsse.json beside the bundle, where `clyra verify` finds it. Only another person than the
    one who broke the glass can review it.

    \b
    Example:
      clyra approval review .clyra/evidence/2026/11/0192.def.zip
    """
    from clyra.cli._approval_review import find_emergency, sign_review

    emergency = find_emergency(Place.find(project_dir, trust), bundle, role)
    if not as_json:
        for line in emergency.lines():
            click.echo(line)
    if not yes:
        ask("Have you reviewed this?", as_json=as_json)
    path = sign_review(emergency)
    if as_json:
        print_json({"bundle_id": emergency.bundle_id, "path": str(path), "principal": emergency.approver.principal})
        return
    click.echo(f"{good('reviewed')}  {path}")


def ask(question: str, *, as_json: bool) -> None:
    """Ask on the terminal; leaves the program where the answer is not yes.

    Raises:
        ConfigurationError: There is no terminal.
    """
    from clyra.spec import ConfigurationError

    if as_json or not sys.stdin.isatty():
        raise ConfigurationError("nobody was asked: there is no terminal here; read what it is about, then add --yes")
    click.confirm(question, default=False, abort=True, err=True)


def _seconds(text: str | None) -> int | None:
    from clyra.policy.durations import milliseconds
    from clyra.spec import ConfigurationError

    if text is None:
        return None
    found = milliseconds(text)
    if not found or found % 1000:
        raise ConfigurationError(f"--ttl is {text!r}; expected whole seconds like 90s or 10m")
    return found // 1000


def _row(record: Any, used_by: str | None, gone: frozenset[str], now_s: int) -> dict[str, Any]:
    if {record["jti"], record["request_sha256"]} & gone:
        state = "revoked"
    elif used_by is not None:
        state = "used"
    else:
        state = "expired" if record["exp"] <= now_s else "unused"
    return {
        "expires_at": _instant(record["exp"]),
        "issued_at": _instant(record["iat"]),
        "jti": record["jti"],
        "request_sha256": record["request_sha256"],
        "run_id": record["run_id"],
        "state": state,
        "token_id": record["token_id"],
    }


def _token_lines(checked: CheckedToken, used_by: str | None, *, has_request: bool) -> list[str]:
    from clyra.cli._approval_text import short_principal

    claims = checked.claims
    approvers = ", ".join(f"{short_principal(entry['sub'])} as {entry['role']}" for entry in claims["approvals"])
    lines = [
        f"{good('valid')}  token {checked.token_id}, until {_moment(_instant(claims['exp']))}",
        f"  for       {', '.join(claims['actions'])} on {claims['aud']}, run {claims['run_id']}, by {claims['sub']}",
        f"  lifts     {', '.join(claims['rules'])}",
        f"  approved  {approvers}; {claims['quorum']} wanted",
    ]
    if used_by is not None:
        lines.append(f"  used      by the run {used_by}")
    if not has_request:
        lines.append(f"  {doubtful('look')}      its request is not in this folder: its certificates were not checked")
    if checked.unchecked:
        lines.append(f"  {faint('unchecked')} {', '.join(checked.unchecked)}")
    return lines


def _instant(seconds: int) -> str:
    from clyra.evidence import instant

    return instant(seconds * 1_000_000)


def _moment(text: str) -> str:
    return f"{text[:10]} {text[11:19]} UTC"
