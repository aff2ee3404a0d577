# SPDX-License-Identifier: Apache-2.0
"""``clyra approve``: a person reads what is held, and signs for it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli._approval_place import Place, place_options
from clyra.cli.output import doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.approval.plan import DbtPlan
    from clyra.approval.request import ApprovalRequest
    from clyra.cli._approval_signing import Approval


@click.command(short_help="Read what a rule holds, and approve it with your key.")
@click.argument("request", required=False, metavar="[REQUEST]")
@click.option("--list", "is_list", is_flag=True, help="List the requests instead; open ones first.")
@click.option("--role", metavar="ROLE", help="In which role you approve. [default: the first that lists you]")
@click.option("--standing", metavar="TIME", help="Approve for a time, like 30d, instead of for one run.")
@click.option("--break-glass", is_flag=True, help="Go ahead alone in an emergency; needs --reason and a review.")
@click.option("--reason", metavar="TEXT", help="Why the glass is broken.")
@click.option("--base", metavar="COMMIT", help="Where the change begins. [default: the last approved state]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
@json_option
@click.pass_context
def approve(
    ctx: click.Context,
    *,
    request: str | None,
    is_list: bool,
    role: str | None,
    standing: str | None,
    break_glass: bool,
    reason: str | None,
    base: str | None,
    yes: bool,
    project_dir: Path | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Show what a request would change, who had a hand in it and which rules hold it; then sign for it.

    REQUEST is the beginning of its id; without it, the one request that is open. You sign with your approver key, which
    the trust file must know. Nobody can approve what they wrote, committed or deploy, nor a rule that they edited.

    \b
    Examples:
      clyra approve --list
      clyra approve 3f2a91
      clyra approve 3f2a91 --standing 30d
      clyra approve 3f2a91 --break-glass --reason "invoices are wrong since 06:00"
    """
    place = Place.find(project_dir, trust)
    if is_list:
        show_list(place, as_json=as_json)
        return
    if break_glass != (reason is not None):
        raise click.UsageError("--break-glass and --reason belong together", ctx)
    wishes = Wishes(role=role, standing=standing, reason=reason, base=base, yes=yes)
    approve_request(place, one_request(place, request), wishes, as_json=as_json)


@dataclass(frozen=True)
class Wishes:
    """What the approver asked for beside the request."""

    role: str | None = None
    standing: str | None = None
    reason: str | None = None
    base: str | None = None
    yes: bool = False


def one_request(place: Place, prefix: str | None) -> ApprovalRequest:
    """The request that ``prefix`` names, else the only one that is open.

    Raises:
        ConfigurationError: There is none, or several (``request_unknown``).
    """
    from clyra.cli._approval_signing import clock_us
    from clyra.spec import ConfigurationError

    if prefix is not None:
        return place.store.request(prefix)
    now_s = clock_us() // 1_000_000
    waiting = [one for one in place.store.requests() if place.store.is_open(one, now_s=now_s)]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise ConfigurationError(
            f"no request is open in {place.store.root}; a run that a rule holds, or clyra dbt plan, writes one",
            code="request_unknown",
        )
    several = ", ".join(one.sha256[:12] for one in waiting[:4])
    raise ConfigurationError(
        f"{len(waiting)} requests are open: {several}; name the one you mean, see clyra approve --list",
        code="request_unknown",
    )


def approve_request(place: Place, request: ApprovalRequest, wishes: Wishes, *, as_json: bool) -> None:
    """Show the request, ask, sign, and say what is still missing.

    Raises:
        ApprovalRefused: This person may not approve it, or it cannot be approved.
        ConfigurationError: There is no terminal to ask on and no ``--yes``, or a wish cannot be met.
        UnavailableError: A key, the trust file, the policy or the store cannot be had.
    """
    from clyra.cli._approval_signing import clock_us, prepare, sign, this_approver

    now_us = clock_us()
    approver = this_approver(place, now_us)
    asked = _as_wished(place, request, wishes, now_us)
    approval = prepare(place, asked, approver, role=wishes.role, base=wishes.base, now_us=now_us)
    if not as_json:
        click.echo(_shown(place, asked, approval, wishes.reason))
        click.echo()
    if not wishes.yes:
        _ask(approval, as_json=as_json)
    certificate = sign(asked, approval)
    if asked is not request:
        if wishes.reason is not None:
            place.store.keep_reason(wishes.reason)
        place.store.replace_request(request, asked.to_bytes())
    digest = place.store.add_certificate(certificate)
    _report(asked, approval, digest, as_json=as_json)


def show_list(place: Place, *, as_json: bool) -> None:
    """Print all requests of the store, open ones first."""
    from clyra.cli._approval_signing import clock_us
    from clyra.cli._approval_text import request_line

    now_s = clock_us() // 1_000_000
    found = [(request, status_of(place, request, now_s)) for request in place.store.requests()]
    found.sort(key=lambda pair: not pair[1].startswith("open"))
    if as_json:
        rows = [
            {**_members(request), "request_sha256": request.sha256, "status": status.partition(",")[0]}
            for request, status in found
        ]
        print_json({"requests": rows})
        return
    if not found:
        click.echo(f"There is no request in {place.store.root}.")
    for request, status in found:
        click.echo(request_line(request, status))


def status_of(place: Place, request: ApprovalRequest, now_s: int) -> str:
    """Whether the request is open, approved, stale or withdrawn; certificates are counted, not verified."""
    gone = place.store.withdrawal(request.sha256)
    if gone is not None:
        return gone.kind
    given = len(place.store.certificates_for(request.sha256))
    wanted = place.store.wanted(request)
    if given >= wanted:
        return "approved"
    state = "open" if place.store.is_open(request, now_s=now_s) else "stale"
    return f"{state}, {given} of {wanted} approvals"


def _as_wished(place: Place, request: ApprovalRequest, wishes: Wishes, now_us: int) -> ApprovalRequest:
    from hashlib import sha256

    from clyra.approval.terms import approval_terms
    from clyra.cli._approval_signing import as_break_glass, as_standing
    from clyra.spec import ConfigurationError

    asked = request
    if wishes.standing is not None:
        if place.store.certificates_for(request.sha256):
            raise ConfigurationError(
                "others have approved this for one run already; approve it without --standing, or ask again",
                code="request_open",
            )
        asked = as_standing(asked, lasts=wishes.standing, now_us=now_us, random=os.urandom(16))
    if wishes.reason is not None:
        terms = approval_terms(place.policy.document)
        asked = as_break_glass(
            asked,
            reason_sha256=sha256(wishes.reason.encode()).hexdigest(),
            review_within_ms=terms.review_within_ms,
            now_us=now_us,
            random=os.urandom(16),
        )
    return asked


def _shown(place: Place, request: ApprovalRequest, approval: Approval, reason: str | None) -> str:
    from clyra.cli._approval_text import request_text, short_principal
    from clyra.policy.durations import duration_text

    plan = _plan(place, request)
    given = [short_principal(certificate.principal) for certificate in approval.given]
    by = f", by {', '.join(given)}" if given else ""
    if reason is None and request.break_glass is not None:
        reason = place.store.reason(request.break_glass.reason_sha256)
    text = request_text(
        request,
        status=f"{len(given)} of {approval.needed} approvals{by}",
        plan=plan,
        earlier=_earlier(place, request),
        manifest={} if plan is None else _manifest(place, plan),
        known=approval.known,
        max_ttl=duration_text(place.policy.document["enforcement"]["approvals"]["max_ttl"]),
        reason=reason,
    )
    if approval.known is None:
        note = "the code here is not that of the request: nobody but the request says who contributed"
        text += f"\n\n  {doubtful('look')}       {note}"
    return f"{text}\n\n  {faint('you are')}    {short_principal(approval.approver.principal)}, as {approval.role}"


def _plan(place: Place, request: ApprovalRequest) -> DbtPlan | None:
    from clyra.approval.plan import SPEC, DbtPlan

    if request.payload_type != SPEC:
        return None
    data = place.store.plan(request.payload_sha256)
    return None if data is None else DbtPlan.from_bytes(data)


def _earlier(place: Place, request: ApprovalRequest) -> tuple[ApprovalRequest, DbtPlan] | None:
    """The newest approved request of the same project and target whose plan is here."""
    for other in place.store.approved():
        if (other.project, other.target) == (request.project, request.target) and other.sha256 != request.sha256:
            plan = _plan(place, other)
            if plan is not None:
                return other, plan
    return None


def _manifest(place: Place, plan: DbtPlan) -> dict[str, Any]:
    """dbt's manifest, if it lies in ``target`` and every node of the plan has the code in it that the plan names."""
    import json

    try:
        members = json.loads((place.project_dir / "target" / "manifest.json").read_bytes())
        nodes = members["nodes"]
        same = all(
            node.checksum is None or nodes[node.unique_id]["checksum"]["checksum"] == node.checksum
            for node in plan.nodes
            if node.unique_id.partition(".")[0] in ("model", "snapshot")
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return members if same and isinstance(members, dict) else {}


def _ask(approval: Approval, *, as_json: bool) -> None:
    from clyra.spec import ConfigurationError

    if as_json or not sys.stdin.isatty():
        raise ConfigurationError("nobody was asked: there is no terminal here; read the request, then add --yes")
    click.confirm("Approve this?", default=False, abort=True, err=True)


def _report(request: ApprovalRequest, approval: Approval, digest: str, *, as_json: bool) -> None:
    count = len(approval.given) + 1
    is_complete = count >= approval.needed
    if as_json:
        print_json(
            {
                "approvals": count,
                "certificate_sha256": digest,
                "complete": is_complete,
                "principal": approval.approver.principal,
                "quorum": approval.needed,
                "request_sha256": request.sha256,
                "role": approval.role,
            }
        )
        return
    click.echo(f"{good('approved')}  {request.sha256[:12]}, {count} of {approval.needed}, certificate {digest[:12]}")
    if not is_complete:
        click.echo(f"Somebody else must approve it too: clyra approve {request.sha256[:12]}")
    elif request.checkpoint is not None:
        click.echo("The run can go on: clyra checkpoint list")
    else:
        click.echo(f"On the runner: clyra approval mint --target {request.target} --out FILE")


def _members(request: ApprovalRequest) -> dict[str, Any]:
    import json

    members = json.loads(request.to_bytes())
    return members if isinstance(members, dict) else {}
