# SPDX-License-Identifier: Apache-2.0
"""The approvals folder: requests, plans, certificates, what was issued, used and revoked, and paused runs.

::

    asked/<slot>-<turn>.json           requests in the order in which they were asked, per tree, audience, actions
    requests/<sha256>.json             canonical bytes of a request
    plans/<sha256>.json                the plan that a request names
    certificates/<sha256>.dsse.json    what people signed
    issued/<jti>.json                  tokens that were minted here
    used/<jti>.json                    the run that used a token first
    revoked/<id>.json                  requests, certificates and tokens that are withdrawn
    reasons/<sha256>.txt               why somebody broke the glass
    checkpoints/<id>.json              paused runs; <id>.end.json once one is over

Every file appears whole or not at all, mode 0600 in folders of mode 0700. Nothing here is believed: a request is read
only if its name is its digest, certificates are verified by who counts them, and a lost record of use only refuses.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from clyra.approval import _records
from clyra.approval._questions import (
    age,
    beneficiary,
    only_one,
    question,
    seconds_of,
    slot,
    slot_id,
    still_open,
    wanted,
)
from clyra.approval.contributors import Settled
from clyra.approval.request import ApprovalRequest
from clyra.spec import ConfigurationError, FormatError

FOLDER_NAME = "approvals"
SETTING = "CLYRA_APPROVALS_DIR"
OPEN_FOR_S = 7 * 86_400
"""A request that nobody answers stops being open after this time."""

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")

EndKind = Literal["revoked", "denied", "superseded"]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Why a request, a certificate or a token does not count any more; ``at`` is an instant."""

    id: str
    kind: EndKind
    reason: str
    at: str


class ApprovalStore:
    """Reads and writes one approvals folder; any number of processes may do so at once.

    Args:
        root: The folder; made at the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def locate(cls, evidence_root: Path, environ: Mapping[str, str]) -> ApprovalStore:
        """The store that ``CLYRA_APPROVALS_DIR`` names, else ``approvals`` in the evidence folder."""
        named = environ.get(SETTING, "").strip()
        return cls(Path(named).absolute() if named else evidence_root / FOLDER_NAME)

    def add_request(self, data: bytes, plan: bytes | None = None) -> str:
        """Keep a request and its plan; gives the digest of the request that is to be approved.

        Of one tree, audience and set of actions, one request is open at a time. The same question by the same run
        (or standing) gets the request that is there; by another run, it replaces one that nobody has signed yet.

        Args:
            data: Canonical bytes of the request.
            plan: Canonical bytes of the plan that it names.

        Raises:
            ConfigurationError: A request for something else is open (``request_open``).
            FormatError: The bytes are no request, or the plan is not the one it names (``request_invalid``).
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        new = ApprovalRequest.from_bytes(data)
        if plan is not None and sha256(plan).hexdigest() != new.payload_sha256:
            raise FormatError(
                "the plan is not the one that the request names; write the request again", code="request_invalid"
            )
        if plan is not None:
            _records.put(self.root / "plans" / f"{new.payload_sha256}.json", plan)
        while True:
            turn = self._last_turn(new)
            if (asked := self._asked_already(new)) is not None:
                return asked
            # Whoever takes the next turn has seen every request of the turns before; nobody else can take it.
            if _records.put_first(self._turn_path(new, turn + 1), data):
                self._keep(new, None)
                return new.sha256

    def replace_request(self, old: ApprovalRequest, data: bytes) -> str:
        """Put another form of the same question, for a time or in an emergency, in place of a request.

        Raises:
            FormatError: The bytes are no request (``request_invalid``).
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        new = ApprovalRequest.from_bytes(data)
        self._keep(new, None)
        self._withdraw(old.sha256, "superseded", f"by {new.sha256}", new.created_at)
        return new.sha256

    def requests(self) -> list[ApprovalRequest]:
        """All requests, newest first.

        Raises:
            FormatError: One of them is not what its name says (``request_invalid``).
        """
        found = [self._request(digest) for digest in _records.names(self.root / "requests", ".json")]
        return sorted(found, key=age, reverse=True)

    def request(self, prefix: str) -> ApprovalRequest:
        """The request whose digest begins with ``prefix``, at least four hex digits.

        Raises:
            ConfigurationError: None does, or several do (``request_unknown``).
            FormatError: It is not what its name says (``request_invalid``).
        """
        known = _records.names(self.root / "requests", ".json")
        return self._request(only_one(prefix, known, "request", self.root))

    def plan(self, digest: str) -> bytes | None:
        """The bytes of the plan of this digest, None where they are not here.

        Raises:
            FormatError: The bytes have another digest (``request_invalid``).
        """
        return self._read("plans", f"{digest}.json", digest)

    def add_certificate(self, data: bytes) -> str:
        """Keep a certificate; gives its digest.

        Raises:
            FormatError: The bytes are no envelope around a body (``certificate_invalid``).
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        _body(data)
        digest = sha256(data).hexdigest()
        _records.put(self.root / "certificates" / f"{digest}.dsse.json", data)
        return digest

    def certificates(self) -> dict[str, bytes]:
        """All certificates by digest; those that are damaged are left out."""
        found = {}
        for digest in _records.names(self.root / "certificates", ".dsse.json"):
            data = _records.read(self.root / "certificates" / f"{digest}.dsse.json")
            if data is not None and sha256(data).hexdigest() == digest:
                found[digest] = data
        return found

    def certificates_for(self, request_sha256: str) -> list[bytes]:
        """The certificates about one request that are not withdrawn, in the order of their digests; not verified."""
        gone = self.revoked()
        return [
            data
            for digest, data in self.certificates().items()
            if digest not in gone and _body(data).get("request_sha256") == request_sha256
        ]

    def approved(self) -> list[ApprovalRequest]:
        """Requests with as many certificates as they ask for, newest first; the certificates are not verified."""
        gone = self.revoked()
        signed = self._signatures()
        return [
            request
            for request in self.requests()
            if request.sha256 not in gone and len(signed.get(request.sha256, ())) >= wanted(request)
        ]

    def settled(self, audience: str) -> Settled:
        """What was approved for this audience before; the certificates are not verified."""
        earlier = [request for request in self.approved() if request.audience == audience]
        return Settled(
            commits=frozenset(request.commit for request in earlier if request.commit),
            trees=frozenset(request.tree for request in earlier if request.tree),
            policies=frozenset(request.policy_sha256 for request in earlier),
        )

    def wanted(self, request: ApprovalRequest) -> int:
        """How many approvals close the request."""
        return wanted(request)

    def is_open(self, request: ApprovalRequest, *, now_s: int) -> bool:
        """Whether the request still waits for signatures; ``now_s`` in seconds since the epoch."""
        if request.sha256 in self.revoked() or now_s - seconds_of(request.created_at) > OPEN_FOR_S:
            return False
        return len(self.certificates_for(request.sha256)) < wanted(request)

    def issue(self, jti: str, record: Mapping[str, object]) -> None:
        """Remember that the token ``jti`` was minted here; the token itself is not kept.

        Raises:
            ConfigurationError: This id was issued before (``approval_jti``).
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        if not _records.put_first(self._path("issued", jti), _document({**record, "jti": jti})):
            raise ConfigurationError("a token of this id was issued before; mint another", code="approval_jti")

    def is_issued(self, jti: str) -> bool:
        """Whether this store minted the token, and so remembers who used it."""
        return self._path("issued", jti).is_file()

    def issued(self) -> list[Mapping[str, Any]]:
        """What is remembered of all tokens that were minted here, in the order of their ids."""
        return [record for record in self._documents("issued") if record is not None]

    def bind(self, jti: str, run_id: str) -> str:
        """The run that the token belongs to: the first one that asked, from now on.

        Raises:
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        path = self._path("used", jti)
        if _records.put_first(path, _document({"jti": jti, "run_id": run_id})):
            return run_id
        return self.used_by(jti) or ""

    def used_by(self, jti: str) -> str | None:
        """The run that used the token first, None where nobody has; empty where the record is damaged."""
        data = _records.read(self._path("used", jti))
        if data is None:
            return None
        return str((_members(data) or {}).get("run_id", ""))

    def revoke(self, name: str, reason: str, *, at: str) -> None:
        """Withdraw a token by its ``jti``, or a request or certificate by its digest; the first reason stays.

        Args:
            name: The id, in full.
            reason: One line.
            at: When, an instant.

        Raises:
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        self._withdraw(name, "revoked", reason, at)

    def deny(self, request_sha256: str, reason: str, *, at: str) -> None:
        """Say no to a request: it is open no longer, and its certificates do not count."""
        self._withdraw(request_sha256, "denied", reason, at)

    def revoked(self) -> frozenset[str]:
        """Ids of everything that was withdrawn, whether or not the record of it can be read."""
        return frozenset(_records.names(self.root / "revoked", ".json"))

    def withdrawal(self, name: str) -> Withdrawal | None:
        """Why ``name`` was withdrawn, None where it was not."""
        data = _records.read(self._path("revoked", name))
        if data is None:
            return None
        members = _members(data) or {}
        kind = members.get("kind", "revoked")
        return Withdrawal(name, kind, str(members.get("reason", "")), str(members.get("at", "")))

    def full_id(self, prefix: str) -> str:
        """The id of the request, certificate or issued token that begins with ``prefix``.

        Raises:
            ConfigurationError: Nothing does, or several do (``request_unknown``).
        """
        known = [
            *_records.names(self.root / "requests", ".json"),
            *_records.names(self.root / "certificates", ".dsse.json"),
            *_records.names(self.root / "issued", ".json"),
        ]
        return only_one(prefix, known, "request, certificate or token", self.root)

    def keep_reason(self, text: str) -> str:
        """Keep why somebody broke the glass; gives the digest that evidence names instead of the text.

        Raises:
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        digest = sha256(text.encode()).hexdigest()
        _records.put(self.root / "reasons" / f"{digest}.txt", text.encode())
        return digest

    def reason(self, digest: str) -> str | None:
        """The text behind such a digest, None where it is not here."""
        data = self._read("reasons", f"{digest}.txt", digest)
        return None if data is None else data.decode("utf-8", "replace")

    def copy_to(self, folder: Path, request_sha256: str) -> list[Path]:
        """Copy a request, its plan and its certificates into ``folder``, laid out as here; gives what was written.

        Raises:
            ConfigurationError: There is no such request (``request_unknown``).
            UnavailableError: A file cannot be written (``evidence_unavailable``).
        """
        request = self.request(request_sha256)
        payload = request.payload_sha256
        files = {folder / "requests" / f"{request.sha256}.json": request.to_bytes()}
        if (plan := self.plan(payload)) is not None:
            files[folder / "plans" / f"{payload}.json"] = plan
        for data in self.certificates_for(request.sha256):
            files[folder / "certificates" / f"{sha256(data).hexdigest()}.dsse.json"] = data
        for path, data in files.items():
            _records.put(path, data)
        return list(files)

    def take_from(self, folder: Path) -> list[str]:
        """Take requests, plans and certificates from a folder that `copy_to` wrote; gives the digests of requests.

        What was issued, used or withdrawn there is never taken: an artifact must not say so.

        Raises:
            ConfigurationError: The folder holds no request (``request_unknown``).
            FormatError: A file is not what its name says (``request_invalid``, ``certificate_invalid``).
            UnavailableError: A file cannot be read or written (``evidence_unavailable``).
        """
        source = ApprovalStore(folder)
        requests = source.requests()
        if not requests:
            raise ConfigurationError(
                f"{folder} holds no request; expected the folder that clyra approval export wrote",
                code="request_unknown",
            )
        for request in requests:
            self._keep(request, source.plan(request.payload_sha256))
        for data in source.certificates().values():
            self.add_certificate(data)
        return [request.sha256 for request in requests]

    def save_checkpoint(self, checkpoint_id: str, data: bytes) -> None:
        """Keep the state of a paused run, durable when this returns.

        Raises:
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        _records.put(self._path("checkpoints", checkpoint_id), data)

    def checkpoints(self) -> list[str]:
        """Ids of all checkpoints, oldest first."""
        known = _records.names(self.root / "checkpoints", ".json")
        return [name for name in known if not name.endswith(".end")]

    def checkpoint(self, prefix: str) -> tuple[str, bytes, bytes | None]:
        """Id, state and end (None while it waits) of the checkpoint whose id begins with ``prefix``.

        Raises:
            ConfigurationError: None does, or several do (``checkpoint_unknown``).
        """
        found = only_one(prefix, self.checkpoints(), "checkpoint", self.root, code="checkpoint_unknown")
        state = _records.read(self._path("checkpoints", found))
        return found, state or b"", _records.read(self._path("checkpoints", found, ".end.json"))

    def end_checkpoint(self, checkpoint_id: str, data: bytes) -> bool:
        """Say how a checkpoint ended; of all who try, the first one is told True, and its word stays.

        Raises:
            UnavailableError: The folder cannot be written (``evidence_unavailable``).
        """
        return _records.put_first(self._path("checkpoints", checkpoint_id, ".end.json"), data)

    def _open_rivals(self, new: ApprovalRequest) -> list[ApprovalRequest]:
        now_s = seconds_of(new.created_at)
        return [
            old
            for old in self.requests()
            if old.sha256 != new.sha256 and slot(old) == slot(new) and self.is_open(old, now_s=now_s)
        ]

    def _asked_already(self, new: ApprovalRequest) -> str | None:
        for old in self._open_rivals(new):
            if question(old) != question(new):
                raise still_open(old)
            if beneficiary(old) == beneficiary(new):
                return old.sha256
            if self.certificates_for(old.sha256):
                raise still_open(old)
            self._withdraw(old.sha256, "superseded", f"by {new.sha256}", new.created_at)
        return None

    def _last_turn(self, new: ApprovalRequest) -> int:
        """How many requests were asked for the slot of ``new``; the last of them is kept when this returns."""
        prefix = f"{slot_id(new)}-"
        taken = [name for name in _records.names(self.root / "asked", ".json") if name.startswith(prefix)]
        if not taken:
            return 0
        turn = max(int(name.removeprefix(prefix)) for name in taken)
        data = _records.read(self._turn_path(new, turn))
        if data is not None:
            last = ApprovalRequest.from_bytes(data)
            if last.sha256 != new.sha256 and not (self.root / "requests" / f"{last.sha256}.json").exists():
                # Its owner has not come to it yet, or was killed.
                self._keep(last, None)
        return turn

    def _turn_path(self, request: ApprovalRequest, turn: int) -> Path:
        return self.root / "asked" / f"{slot_id(request)}-{turn}.json"

    def _signatures(self) -> dict[str, list[str]]:
        """Digests of certificates that are not withdrawn, by the request they are about."""
        gone, found = self.revoked(), dict[str, list[str]]()
        for digest, data in self.certificates().items():
            if digest not in gone:
                found.setdefault(str(_body(data).get("request_sha256")), []).append(digest)
        return found

    def _keep(self, request: ApprovalRequest, plan: bytes | None) -> None:
        # The plan first: a request that is there can be shown.
        if plan is not None:
            _records.put(self.root / "plans" / f"{sha256(plan).hexdigest()}.json", plan)
        _records.put(self.root / "requests" / f"{request.sha256}.json", request.to_bytes())

    def _request(self, digest: str) -> ApprovalRequest:
        data = self._read("requests", f"{digest}.json", digest)
        if data is None:
            raise ConfigurationError(f"there is no request {digest[:12]} in {self.root}", code="request_unknown")
        return ApprovalRequest.from_bytes(data)

    def _read(self, folder: str, name: str, digest: str) -> bytes | None:
        data = _records.read(self.root / folder / name)
        if data is not None and sha256(data).hexdigest() != digest:
            raise FormatError(
                f"{self.root / folder / name} has other bytes than its name says; remove it and ask again",
                code="request_invalid",
            )
        return data

    def _withdraw(self, name: str, kind: EndKind, reason: str, at: str) -> None:
        _records.put_first(
            self._path("revoked", name), _document({"at": at, "id": name, "kind": kind, "reason": reason})
        )

    def _documents(self, folder: str) -> Iterator[Mapping[str, Any] | None]:
        for name in _records.names(self.root / folder, ".json"):
            yield _members(_records.read(self.root / folder / f"{name}.json") or b"")

    def _path(self, folder: str, name: str, suffix: str = ".json") -> Path:
        if _ID.fullmatch(name) is None:
            raise ConfigurationError(
                f"{name[:64]!r} is no id; expected up to 64 letters, digits, - and _", code="request_unknown"
            )
        return self.root / folder / f"{name}{suffix}"


def _body(envelope: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(b64decode(json.loads(envelope)["payload"], validate=True))
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise FormatError("a certificate is no envelope around a JSON body", code="certificate_invalid") from exc
    if not isinstance(body, dict):
        raise FormatError("the body of a certificate is no JSON object", code="certificate_invalid")
    return body


def _document(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _members(data: bytes) -> Mapping[str, Any] | None:
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None
