# SPDX-License-Identifier: Apache-2.0
"""Verify a bundle: every stage of ``spec/verification.md`` in its order, the first failure decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple

from clyra.verify import files, semantics
from clyra.verify._input import PathLike, check_trust, open_file, read_file, read_trust, unreadable
from clyra.verify._refusal import Refusal
from clyra.verify.approval import Approval, check_approvals, check_review
from clyra.verify.container import ENVELOPE, MANIFEST, MAX_BUNDLE_BYTES, SIGSTORE, Container, read_container
from clyra.verify.envelope import MAX_ENVELOPE_BYTES, Envelope, check_sigstore, parse_envelope
from clyra.verify.instant import instant_text, seconds_between
from clyra.verify.journal import Recount, check_journal
from clyra.verify.log_proof import MAX_PROOF_BYTES, verify_log_proof
from clyra.verify.note import TreeHead
from clyra.verify.policy import Policy, check_policy
from clyra.verify.recovery import check_recovery, find_note
from clyra.verify.result import Verification
from clyra.verify.risk import check_risk
from clyra.verify.signers import (
    SignatureTime,
    Signed,
    check_policy_pin,
    expired_since,
    not_observed,
    require_threshold,
    trusted_signatures,
    verified_signatures,
)
from clyra.verify.statement import MAX_MANIFEST_BYTES, check_manifest, check_statement
from clyra.verify.timestamp import signature_times
from clyra.verify.trust import Trust


def verify_bundle(
    source: PathLike | bytes,
    *,
    trust: PathLike | bytes | None = None,
    trust_sha256: str | None = None,
    proof: PathLike | bytes | None = None,
    review: PathLike | bytes | None = None,
    artifacts: PathLike | None = None,
    at: datetime | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: PathLike | None = None,
) -> Verification:
    """Say whether a bundle is what was signed, and by whom.

    Bad evidence is a result, never an exception: see ``verdict``, ``code`` and ``raise_for_verdict``.

    Args:
        source: The bundle, a path or its bytes.
        trust: The trust file; where None, ``CLYRA_TRUST`` or the project of the working directory name it.
        trust_sha256: Lower-case hex SHA-256 that the trust file must have.
        proof: Proof that the log has the bundle; where None, ``<bundle_id>.tlog-proof`` beside the bundle.
        review: Certificate of an emergency's review; where None, ``<bundle_id>.review.dsse.json`` beside the bundle.
        artifacts: Folder with the bytes of external files and references.
        at: The moment to judge by, now where None.
        environ: Environment variables, the process's where None.
        cwd: Working directory, the process's where None.

    Raises:
        UnavailableError: A file cannot be read.
    """
    result = Verification()
    environ = os.environ if environ is None else environ
    folder = None if isinstance(source, bytes) else os.path.dirname(os.path.abspath(source))
    trust_data, result.trust_source, result.trust_path = read_trust(trust, environ, cwd, beside=folder)
    moment = instant_text(at or datetime.now(UTC))
    with open_file(source) as file:
        checks = _Checks(result, file, _Beside(folder, proof, review), moment)
        try:
            # The stage that refuses has noted it in the result.
            with suppress(Refusal):
                checks.run(trust_data, trust_sha256, None if artifacts is None else os.fspath(artifacts))
        except OSError as exc:
            raise unreadable(exc) from exc
    return result


class _Beside(NamedTuple):
    """What belongs to a bundle and came after it: given, or found in the bundle's folder under its id."""

    folder: str | None
    proof: PathLike | bytes | None
    review: PathLike | bytes | None

    def read_proof(self, bundle_id: str) -> bytes | None:
        return self._read(self.proof, f"{bundle_id}.tlog-proof", MAX_PROOF_BYTES)

    def read_review(self, bundle_id: str) -> bytes | None:
        return self._read(self.review, f"{bundle_id}.review.dsse.json", MAX_ENVELOPE_BYTES)

    def _read(self, given: PathLike | bytes | None, name: str, limit: int) -> bytes | None:
        if given is None and self.folder is not None:
            path = os.path.join(self.folder, name)
            given = path if os.path.isfile(path) else None
        # One byte more than allowed, so that too long is seen as such.
        return None if given is None else read_file(given, limit + 1)


class _Checks:
    """The stages of one verification, which share what earlier ones have proved."""

    def __init__(self, result: Verification, file: BinaryIO, beside: _Beside, at: str) -> None:
        self._result = result
        self._file = file
        self._beside = beside
        self._at = at
        self._trust: Trust | None = None

    def run(self, trust: bytes | None, trust_sha256: str | None, artifacts: str | None) -> None:
        result = self._result
        size = self._file.seek(0, os.SEEK_END)
        with result.checking("input"):
            self._check_input(size, trust, trust_sha256)
        with result.checking("container"):
            container = read_container(self._file, size)
        with result.checking("envelope"):
            envelope = self._read_envelope(container)
        with result.checking("signature"):
            signed = self._check_signatures(envelope)
        with result.checking("statement"):
            statement = check_statement(envelope.payload, self._trust)
        with result.checking("manifest"):
            data = _read_manifest(container)
            result.manifest = check_manifest(data, statement)
            result.manifest_sha256 = statement["subject"][0]["digest"]["sha256"]
        with result.checking("time"):
            times = signature_times(
                result.manifest, len(envelope.signatures), container.timestamps().keys(), self._trust
            )
        with result.checking("trust"):
            self._check_trust(signed, times)
        with result.checking("files"):
            self._check_files(container, artifacts)
        with result.checking("journal"):
            recount = self._check_journal(container, envelope)
        with result.checking("log"):
            self._check_log()
        with result.checking("semantics"):
            self._check_semantics(container, recount)

    def _check_input(self, size: int, trust: bytes | None, trust_sha256: str | None) -> None:
        if size > MAX_BUNDLE_BYTES:
            raise Refusal("limit_exceeded", f"a bundle of {size} bytes, less than 4 GiB are allowed")
        self._trust = self._result.trust = check_trust(trust, trust_sha256, self._result.trust_source)

    def _read_envelope(self, container: Container) -> Envelope:
        if container.entries[ENVELOPE].size > MAX_ENVELOPE_BYTES:
            raise Refusal("limit_exceeded", f"an envelope of more than {MAX_ENVELOPE_BYTES} bytes")
        envelope = parse_envelope(container.read(ENVELOPE))
        if SIGSTORE in container.entries:
            if container.entries[SIGSTORE].size > 2 * MAX_ENVELOPE_BYTES:
                raise Refusal("attestation_mismatch", "manifest.sigstore.json is too large to hold the envelope")
            check_sigstore(container.read(SIGSTORE), envelope)
        self._result.claimed_keyids = tuple(signature.keyid for signature in envelope.signatures)
        return envelope

    def _check_signatures(self, envelope: Envelope) -> list[Signed]:
        result, trust = self._result, self._trust
        if trust is None:
            result.checks["signature"] = "not_evaluated"
            result.warn("trust_not_evaluated", "signature", "no trust file was given: who signed is not known")
            return []
        signed, faults = verified_signatures(envelope, trust)
        require_threshold(signed, faults, trust.threshold("bundle"))
        for fault in faults:
            result.warn("signature_ignored", "signature", f"a signature does not count: {fault.message}")
        return signed

    def _check_trust(self, signed: list[Signed], times: Mapping[int, SignatureTime]) -> None:
        result, trust, manifest = self._result, self._trust, self._manifest
        if trust is None:
            result.checks["trust"] = "not_evaluated"
            return
        trusted, faults = trusted_signatures(signed, times, manifest)
        require_threshold(trusted, faults, trust.threshold("bundle"))
        for fault in faults:
            result.warn("signature_ignored", "trust", f"a signature does not count: {fault.message}")
        result.signers = [(signature, times[signature.number]) for signature in trusted]
        for message in expired_since(result.signers, self._at):
            result.warn("time_claimed", "trust", message)
        for message in not_observed(trusted, manifest["run"]["capture"]):
            result.warn("capture_not_observed", "trust", message)
        check_policy_pin(manifest, trust)

    def _check_files(self, container: Container, artifacts: str | None) -> None:
        result, manifest = self._result, self._manifest
        files.check_files(manifest, container)
        result.externals = files.check_externals(manifest["files"], artifacts)
        result.references = files.check_references(manifest["references"], artifacts)
        missing = result.externals.listed - result.externals.checked
        if missing:
            result.warn("external_missing", "files", f"external files not checked ({missing}): they were not supplied")
        files.check_tree(manifest)

    def _check_journal(self, container: Container, envelope: Envelope) -> Recount:
        manifest = self._manifest
        if manifest["run"]["capture"] != "recovered":
            return check_journal(container, manifest)
        note = find_note(manifest, container)
        recount = check_journal(container, manifest, note.size if isinstance(note, TreeHead) else None)
        # With a trust file a key id is one whose signature was verified; without, it is only what the envelope says.
        hinted = {signature.keyid for signature in envelope.signatures}
        keyids = hinted if self._trust is None else {signed.key.keyid for signed, _ in self._result.signers}
        check_recovery(manifest, recount, note, keyids, self._trust)
        return recount

    def _check_log(self) -> None:
        result, trust, manifest = self._result, self._trust, self._manifest
        data = self._beside.read_proof(manifest["bundle_id"])
        if data is not None:
            assert result.manifest_sha256 is not None
            result.log = verify_log_proof(data, manifest, result.manifest_sha256, trust)
        elif trust is None or not trust.requires("log"):
            result.checks["log"] = "skipped"
        elif seconds_between(manifest["closed_at"], self._at) <= trust.max_seal_lag_s:
            result.warn("log_pending", "log", "there is no proof yet that the log has this bundle")
        else:
            raise Refusal("attestation_missing", "the trust file requires a proof that the log has this bundle")

    def _check_semantics(self, container: Container, recount: Recount) -> None:
        manifest = self._manifest
        policy = check_policy(manifest, container, recount)
        approvals = check_approvals(manifest, container, policy, recount, self._trust)
        if approvals and policy is not None:
            self._note_approvals(approvals, policy)
        semantics.check_counts(manifest, recount)
        unavailable = semantics.check_anchors(manifest, recount)
        if unavailable:
            self._result.warn("anchor_unavailable", "semantics", "; ".join(unavailable))
        check_risk(manifest, policy, recount)
        semantics.check_lineage_files(manifest, container)

    def _note_approvals(self, approvals: list[Approval], policy: Policy) -> None:
        """Note what is proved; without a trust file that is nothing, and reviews are not evaluated either."""
        result, trust = self._result, self._trust
        bodies = [body for approval in approvals for body in approval.certificates]
        if any(approval.break_glass for approval in approvals):
            assert result.manifest_sha256 is not None
            review = self._beside.read_review(self._manifest["bundle_id"])
            if review is None or trust is None:
                result.warn("break_glass_unreviewed", "semantics", "an emergency approval has no review that counts")
            else:
                sha256 = result.manifest_sha256
                bodies.append(check_review(review, approvals, self._manifest, sha256, policy, trust))
        if any(body["method"] == "oidc" for body in bodies):
            result.warn("approval_unchecked", "semantics", "an approval rests on an identity provider's word")
        if trust is not None:
            result.approvals = approvals

    @property
    def _manifest(self) -> Mapping[str, Any]:
        # Set by the stage manifest, before which nothing of it is used.
        assert self._result.manifest is not None
        return self._result.manifest


def _read_manifest(container: Container) -> bytes:
    if MANIFEST not in container.entries:
        raise Refusal("manifest_missing", "there is no manifest.json")
    if container.entries[MANIFEST].size > MAX_MANIFEST_BYTES:
        raise Refusal("limit_exceeded", f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
    return container.read(MANIFEST)
