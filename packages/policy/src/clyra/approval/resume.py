# SPDX-License-Identifier: Apache-2.0
"""Resume tokens: they name a paused run and give no authority; an approval token of the same request does.

The rules of the JWS and of the times are those of approval tokens. A resume token lives at most seven days and is used
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from clyra.approval._claims import VERSION, check_claims, check_period
from clyra.approval.errors import refuse
from clyra.approval.jws import encode_part, open_jws, sign_jws
from clyra.approval.keys import DEFAULT_ISSUER, KeyRow
from clyra.approval.mint import JTI_BYTES, MintedToken
from clyra.approval.token import UsedBy
from clyra.evidence.signer import Signer

TYP = "clyra-resume+jwt"
MAX_RESUME_S = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeExpectation:
    """The paused run that a resume token must be for. None: whatever the token says, and the caller compares."""

    audience: str
    tenant: str
    run_id: str
    checkpoint: str | None = None
    state_sha256: str | None = None
    request_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedResume:
    """A resume token that was accepted."""

    claims: Mapping[str, Any]
    keyid: str
    token_id: str

    @property
    def jti(self) -> str:
        """The token's id."""
        return str(self.claims["jti"])

    @property
    def checkpoint(self) -> str:
        """Id of the checkpoint that paused the run."""
        return str(self.claims["checkpoint"])

    @property
    def state_sha256(self) -> str:
        """Digest of the state that was saved."""
        return str(self.claims["state_sha256"])

    @property
    def request_sha256(self) -> str:
        """Digest of the request whose approval the run waits for."""
        return str(self.claims["request_sha256"])


def mint_resume(
    *,
    expected: ResumeExpectation,
    now_s: int,
    ttl_s: int,
    random: bytes,
    issuer: Signer,
    iss: str = DEFAULT_ISSUER,
) -> MintedToken:
    """A resume token for a paused run of which everything is known.

    Args:
        expected: The paused run; no member may be None.
        now_s: Seconds since the epoch.
        ttl_s: How long it lives, at most seven days.
        random: 16 random bytes, never used before.
        issuer: The issuer's key.
        iss: The issuer that the key is enrolled for.

    Raises:
        ApprovalRefused: ``ttl_s`` is out of range (``approval_lifetime``).
        ConfigurationError: The key is of a kind that mints no tokens (``key_file_invalid``).
        UnavailableError: The key cannot be used now (``key_unavailable``).
        ValueError: ``random`` is not 16 bytes, or a member of ``expected`` is None.
    """
    bound = {
        "checkpoint": expected.checkpoint,
        "state_sha256": expected.state_sha256,
        "request_sha256": expected.request_sha256,
    }
    if len(random) != JTI_BYTES or None in bound.values():
        raise ValueError("a resume token needs 16 random bytes, checkpoint, state and request")
    if not 0 < ttl_s <= MAX_RESUME_S:
        refuse("lifetime", f"asked for {ttl_s} s, at most {MAX_RESUME_S} s are allowed")
    claims = bound | {
        "v": VERSION,
        "iss": iss,
        "aud": expected.audience,
        "iat": now_s,
        "exp": now_s + ttl_s,
        "jti": encode_part(random),
        "tenant": expected.tenant,
        "run_id": expected.run_id,
    }
    return MintedToken(sign_jws(claims, typ=TYP, signer=issuer), encode_part(random), claims)


def check_resume(
    token: str | bytes,
    *,
    keys: Mapping[str, KeyRow],
    expected: ResumeExpectation,
    now_s: int,
    revoked: Set[str] = frozenset(),
    used_by: UsedBy | None = None,
) -> CheckedResume:
    """The resume token, if the run that it names may go on once it is approved.

    Args:
        token: The token, with nothing before or behind it.
        keys: Issuer keys: what `keys_of` gives for the role ``issuer``.
        expected: The run that wants to go on.
        now_s: Seconds since the epoch.
        revoked: Withdrawn ids: of tokens and requests.
        used_by: The memory of used tokens; None where there is none.

    Raises:
        ApprovalRefused: ``approval_`` and the first word of the order that fails: ``size parts encoding header kid alg
            key_period signature version claims iss expired nbf lifetime jti aud tenant run_id payload resource revoked
            used``. ``payload`` stands for state and request, ``resource`` for the checkpoint.
    """
    opened = open_jws(token, typ=TYP, keys=keys, now_s=now_s)
    claims = opened.claims
    check_claims(claims, schema="resume_token")
    check_period(claims, opened.key, now_s=now_s, max_lifetime_s=MAX_RESUME_S)
    _check_run(claims, expected)
    if {claims["jti"], claims["request_sha256"]} & revoked:
        refuse("revoked", "the resume token or its request was withdrawn")
    if used_by is not None and used_by(claims["jti"]) is not None:
        refuse("used", "the resume token was used")
    return CheckedResume(claims, opened.key.kid, opened.token_id)


def _check_run(claims: Mapping[str, Any], expected: ResumeExpectation) -> None:
    if claims["aud"] != expected.audience:
        refuse("aud", f"the token is for {claims['aud']}, this is {expected.audience}")
    if claims["tenant"] != expected.tenant:
        refuse("tenant", f"the token is for the tenant {claims['tenant']}, this is {expected.tenant}")
    if claims["run_id"] != expected.run_id:
        refuse("run_id", f"the token is for the run {claims['run_id']}, this is {expected.run_id}")
    if expected.state_sha256 not in (None, claims["state_sha256"]):
        refuse("payload", "the state of the run is not the one that was saved")
    if expected.request_sha256 not in (None, claims["request_sha256"]):
        refuse("payload", "the token waits for the approval of another request")
    if expected.checkpoint not in (None, claims["checkpoint"]):
        refuse("resource", f"the token is for the checkpoint {claims['checkpoint']}")
