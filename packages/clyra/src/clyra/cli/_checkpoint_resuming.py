# SPDX-License-Identifier: Apache-2.0
"""Run the command of a paused run again, as that run, with the tokens that it needs in files of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clyra.cli._approval_minting import RUN_ID, check_here, mint_token, this_issuer
from clyra.cli._approval_place import Place, read_token, write_secret
from clyra.cli._approval_signing import clock_us

if TYPE_CHECKING:
    from clyra.policy.checkpoint import End, PausedRun

APPROVAL_FILE = "CLYRA_APPROVAL_TOKEN_FILE"
APPROVAL = "CLYRA_APPROVAL_TOKEN"
RESUME_FILE = "CLYRA_RESUME_TOKEN_FILE"
ISSUER = "CLYRA_ISSUER_KEY"

_SIGNALLED = 128


@dataclass(frozen=True)
class Tokens:
    """The two tokens with which a run goes on; never shown."""

    approval: str
    resume: str
    token_id: str

    def __repr__(self) -> str:
        return f"Tokens(token_id={self.token_id!r})"


def tokens_for(place: Place, paused: PausedRun, end: End | None) -> Tokens:
    """The tokens of a run that may go on, as far as that can be said before its command plans again.

    Raises:
        ApprovalRefused: The approvals do not carry it, or a token is refused.
        BlockedError: The pause is over, or the tree or the policy has changed (``checkpoint_state``).
        ConfigurationError: There is neither an issuer key nor tokens (``config_invalid``).
        UnavailableError: A key, the trust file, the policy or the store cannot be had.
    """
    from clyra.approval.terms import approval_terms
    from clyra.policy.checkpoint import Now, refuse_changed, refuse_ended, resume
    from clyra.policy.pause import read_resume, resume_token, roles_of

    now_s = clock_us() // 1_000_000
    refuse_ended(paused, end, now_s=now_s)
    now = Now(
        run_id=paused.run_id,
        # What would run is known once the command has planned: its gate compares it.
        payload_sha256=paused.payload_sha256,
        tree=place.tree().clean,
        policy_sha256=place.policy.sha256,
        now_s=now_s,
    )
    if place.environ.get(ISSUER, "").strip() or not place.environ.get(APPROVAL_FILE):
        issuer = this_issuer(place)
        refuse_changed(paused, now)
        minted, _ = mint_token(place, target=None, prefix=paused.request_sha256, run_id=paused.run_id, ttl_s=None)
        approval, waiting = minted.token, resume_token(paused, issuer.signer)
    else:
        approval = read_token(place.environ[APPROVAL_FILE], what="approval token")
        waiting = _given_resume_token(place.environ)
    checked, _ = check_here(place, approval)
    found, _ = read_resume(
        place.store, waiting, keys=place.keys("issuer"), audience=paused.audience, tenant=paused.tenant, now=now
    )
    _refuse_other(paused, found, checked.request_sha256)
    resume(paused, end, now, roles_of(checked, approval_terms(place.policy.document).roles))
    return Tokens(approval, waiting, checked.token_id)


def run_command(command: Sequence[str], paused: PausedRun, tokens: Tokens, environ: Mapping[str, str]) -> int:
    """Run the command as the paused run; gives its exit code, 128 + n where signal n ended it.

    The tokens lie in files that nobody else can read and that are gone when the command has ended.

    Raises:
        ConfigurationError: The command cannot be started.
    """
    from clyra.spec import ConfigurationError

    with tempfile.TemporaryDirectory(prefix="clyra-resume-") as folder:
        approval, waiting = Path(folder, "approval"), Path(folder, "resume")
        write_secret(approval, tokens.approval + "\n")
        write_secret(waiting, tokens.resume + "\n")
        own = {RUN_ID: paused.run_id, APPROVAL_FILE: str(approval), RESUME_FILE: str(waiting)}
        # Project code reads the environment: it gets the name of a key's file, never a key, and no token.
        kept = {name: value for name, value in environ.items() if name != APPROVAL and "PRIVATE KEY" not in value}
        try:
            code = subprocess.run(command, env=kept | own, check=False).returncode
        except OSError as exc:
            raise ConfigurationError(f"the command {command[0]} cannot be started: {exc.strerror}") from exc
    return code if code >= 0 else _SIGNALLED - code


def _refuse_other(paused: PausedRun, found: PausedRun, request_sha256: str) -> None:
    from clyra.approval.errors import refuse

    if found.id != paused.id:
        refuse("resource", f"the resume token is for the checkpoint {found.id}, not {paused.id}")
    if request_sha256 != paused.request_sha256:
        refuse("payload", f"the approval token is for the request {request_sha256[:12]}; mint one for this checkpoint")


def _given_resume_token(environ: Mapping[str, str]) -> str:
    from clyra.spec import ConfigurationError

    name = environ.get(RESUME_FILE)
    if not name:
        raise ConfigurationError(
            f"there is no resume token: set {RESUME_FILE} to the file with what the paused run printed, or {ISSUER}"
        )
    return read_token(name, what="resume token")
