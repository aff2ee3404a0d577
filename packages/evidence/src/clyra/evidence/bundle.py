# SPDX-License-Identifier: Apache-2.0
"""Seal a bundle: files, journal, manifest, signature and container, in one pass over the contents.

Clock, ids and randomness are arguments: two builds of one input give equal bytes where the signatures are
deterministic, as Ed25519's are. A bundle appears whole and durable under its name, or not at all; until then its
journal stays.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from clyra.evidence._chain import instant as instant
from clyra.evidence._files import make_folder, new_file
from clyra.evidence.canonical import canonicalize_integers, canonicalize_trusted, printable
from clyra.evidence.container import ContainerWriter, Entry, EntryNames, is_entry_name
from clyra.evidence.envelope import build_envelope, sigstore_bundle
from clyra.evidence.folder import EvidenceFolder
from clyra.evidence.journal import ClosedJournal
from clyra.evidence.merkle import leaf_hash, merkle_root
from clyra.evidence.record import Reference as Reference
from clyra.evidence.record import RunRecord as RunRecord
from clyra.evidence.record import SourceFile as SourceFile
from clyra.evidence.record import plain
from clyra.evidence.signer import Signer
from clyra.spec import FormatError, UnavailableError

SPEC = "clyra.def/v0"
PREDICATE_TYPE = "https://clyra.io/def/v0"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_MANIFEST_BYTES = 32 << 20
EXTERNAL_OVER_BYTES = 8 << 20

_JOURNAL = "journal.ndjson"
_JOURNAL_MEDIA_TYPE = "application/x-ndjson"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RANDOM_BYTES = 10


@dataclass(frozen=True, slots=True)
class SealedBundle:
    """A bundle on the disk; ``manifest_sha256`` with ``bundle_id`` is its identity."""

    path: Path
    bundle_id: str
    manifest_sha256: str
    manifest: dict[str, Any]
    size_bytes: int
    keyids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Planned:
    path: str
    source: SourceFile
    origin: str | None = None
    promised: str | None = None
    external: Reference | None = None


def new_uuid7(now_us: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562, 5.7) of a time in microseconds since the epoch and at least 10 random bytes."""
    if len(random) < _RANDOM_BYTES:
        raise ValueError(f"a UUIDv7 takes {_RANDOM_BYTES} random bytes, found {len(random)}")
    noise = int.from_bytes(random[:_RANDOM_BYTES], "big")
    high = (now_us // 1000 & (1 << 48) - 1) << 16 | 0x7000 | noise >> 62 & 0xFFF
    low = 0b10 << 62 | noise & (1 << 62) - 1
    return str(UUID(int=high << 64 | low))


def seal_bundle(
    folder: EvidenceFolder,
    journal: ClosedJournal,
    record: RunRecord,
    *,
    files: Sequence[SourceFile],
    references: Sequence[Reference],
    signers: Sequence[Signer],
    bundle_id: str,
    created_at: int,
    closed_at: int,
    external_over_bytes: int = EXTERNAL_OVER_BYTES,
    with_sigstore: bool = False,
    perf_counter_ns: Callable[[], int] = time.perf_counter_ns,
) -> SealedBundle:
    """Make the bundle of a closed journal in ``folder``; the journal is gone afterwards.

    Args:
        folder: Takes the bundle and what is too large for it.
        journal: From `JournalWriter.close` or `recover_journal`; its lock is given back in any case.
        record: What the recorder says about the run; its attachments become files.
        files: Contents beside the journal; a path that breaks the container's rules is replaced and kept as origin.
        references: Bytes that are named only.
        signers: At least one; the first one's origin is the producer's.
        bundle_id: The journal's.
        created_at: Microseconds since the epoch.
        closed_at: Microseconds since the epoch.
        external_over_bytes: Larger files stay outside, in the folder's artifacts.
        with_sigstore: Add the envelope as a sigstore bundle; for one signer.
        perf_counter_ns: Clock for ``metrics.bundle_generation_us``.

    Raises:
        UnavailableError: The disk is full or read-only, a file vanished or changed meanwhile; no bundle is left and
            the journal is kept (``seal_failed``). Or a key cannot be used (``key_unavailable``).
        FormatError: A limit is exceeded, or the record has no canonical form.
        ValueError: Journal, record and bundle id do not belong together.
    """
    if (journal.bundle_id, journal.tenant) != (bundle_id, record.tenant):
        raise ValueError("journal, record and bundle id are of different bundles")
    if not signers or (with_sigstore and len(signers) > 1):
        raise ValueError(f"a bundle has a signature, and one only beside its sigstore form; found {len(signers)}")
    started_ns = perf_counter_ns()
    try:
        # The writer's clock may have been set back meanwhile; the journal's times lie within the bundle's.
        created_at, closed_at = min(created_at, journal.first_at), max(closed_at, journal.last_at)
        base = _manifest_base(record, journal, signers, created_at=created_at, closed_at=closed_at)
        base["references"] = [asdict(reference) for reference in references]
        path = folder.bundle_path(bundle_id, closed_at)
        make_folder(path.parent)
        with new_file(path) as file:
            writer = ContainerWriter(file)
            contents = [*files, *(attachment.as_file() for attachment in record.attachments)]
            listed = _add_files(writer, _plan(contents, folder, external_over_bytes))
            listed.append(_journal_entry(journal))
            manifest = _complete_manifest(base, listed, (perf_counter_ns() - started_ns) // 1000)
            encoded = _encode_manifest(manifest)
            envelope = build_envelope(PAYLOAD_TYPE, _statement(manifest, encoded), signers)
            writer.add("attestations/manifest.dsse.json", envelope)
            if with_sigstore:
                writer.add("attestations/manifest.sigstore.json", sigstore_bundle(envelope))
            _must_be(writer.add(_JOURNAL, journal.path), journal.sha256)
            writer.add("manifest.json", encoded)
            size = writer.finish()
    except OSError as exc:
        journal.release()
        raise _seal_failed(f"{exc.strerror or exc}; make room or the folder writable") from exc
    except BaseException:
        journal.release()
        raise
    try:
        journal.discard()
    except OSError:
        # The bundle is there: `find_open_journals` removes what is left of its journal.
        journal.release()
    digest = sha256(encoded).hexdigest()
    return SealedBundle(path, bundle_id, digest, manifest, size, tuple(signer.keyid for signer in signers))


def _plan(files: Sequence[SourceFile], folder: EvidenceFolder, external_over_bytes: int) -> list[_Planned]:
    """Every file under the name it gets, in the container's order."""
    names = EntryNames()
    planned = []
    for source in sorted(files, key=lambda source: source.path):
        item = _Planned(source.path, source)
        is_allowed = source.path.startswith("artifacts/") and is_entry_name(source.path)
        if not is_allowed or not names.add(source.path):
            item = _renamed(source, names)
        if _size(source.data) > external_over_bytes:
            stored = folder.store_artifact(source.data, name=source.path)
            item = _Planned(item.path, source, item.origin, external=stored)
        planned.append(item)
    return sorted(planned, key=lambda item: item.path)


def _renamed(source: SourceFile, names: EntryNames) -> _Planned:
    digest = _digest(source.data)
    path = f"artifacts/sha256/{digest}"
    copies = 1
    while not names.add(path):
        copies += 1
        path = f"artifacts/sha256/{digest}.{copies}"
    origin = _CONTROL.sub("\ufffd", str(printable(source.path))) or "\ufffd"
    return _Planned(path, source, origin, promised=digest)


def _add_files(writer: ContainerWriter, planned: Sequence[_Planned]) -> list[dict[str, object]]:
    listed = []
    for item in planned:
        if item.external is not None:
            size, digest = item.external.size, item.external.sha256
        else:
            entry = writer.add(item.path, item.source.data)
            _must_be(entry, item.promised or entry.sha256)
            size, digest = entry.size, entry.sha256
        members: dict[str, object] = {
            "path": item.path,
            "size": size,
            "sha256": digest,
            "media_type": item.source.media_type,
            "role": item.source.role,
        }
        if item.origin is not None:
            members["origin"] = item.origin
        if item.external is not None:
            members["external"] = {}
        listed.append(members)
    return listed


def _journal_entry(journal: ClosedJournal) -> dict[str, object]:
    return {
        "path": _JOURNAL,
        "size": journal.size_bytes,
        "sha256": journal.sha256,
        "media_type": _JOURNAL_MEDIA_TYPE,
        "role": "journal",
    }


def _manifest_base(
    record: RunRecord, journal: ClosedJournal, signers: Sequence[Signer], *, created_at: int, closed_at: int
) -> dict[str, Any]:
    """The manifest without what depends on the files, checked: it holds what users wrote."""
    run = {**record.run, "counts": journal.counts}
    if run.get("capture") == "recovered":
        run["recovered_by"] = signers[0].keyid
    base: dict[str, object] = {
        "spec": SPEC,
        "bundle_id": journal.bundle_id,
        "tenant": record.tenant,
        "created_at": instant(created_at),
        "closed_at": instant(closed_at),
        "producer": {
            "name": record.producer_name,
            "version": record.producer_version,
            "source_digest": record.source_digest,
            "signer": signers[0].origin,
        },
        "run": run,
        "policy": record.policy,
        "decisions": journal.decisions,
        "anchors": record.anchors,
        "risk": record.risk,
        "metrics": record.metrics,
        "governance": record.governance,
        "journal": {"path": _JOURNAL, "count": journal.count, "head": journal.head, "root": journal.root},
        "keys_hint": [signer.keyid for signer in signers],
        "labels": record.labels,
        "crit": [],
        "ext": record.ext,
    }
    if record.payout is not None:
        base["payout"] = record.payout
    members = printable(plain(base))
    canonicalize_integers(members)
    return members  # type: ignore[return-value]  # a dict stays one


def _complete_manifest(base: dict[str, Any], listed: Sequence[dict[str, object]], generation_us: int) -> dict[str, Any]:
    leaves = [leaf_hash(canonicalize_trusted(members)) for members in listed]
    return {
        **base,
        "files": listed,
        "tree": {"hash": "sha256", "size": len(leaves), "root": merkle_root(leaves).hex()},
        "metrics": {**base["metrics"], "bundle_generation_us": generation_us},
    }


def _encode_manifest(manifest: dict[str, Any]) -> bytes:
    # The members of `files` are ours and ASCII-named; the rest was proved to be free of floats, and only `ext` and
    # `labels` can have names that sort otherwise, which `canonicalize` sees.
    encoded = canonicalize_integers(manifest)
    if len(encoded) > MAX_MANIFEST_BYTES:
        raise FormatError(
            f"the manifest has {len(encoded)} bytes, limit {MAX_MANIFEST_BYTES}; hand over fewer files",
            code="limit_exceeded",
        )
    return encoded


def _statement(manifest: Mapping[str, Any], encoded: bytes) -> bytes:
    journal = manifest["journal"]
    return canonicalize_trusted(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "manifest.json", "digest": {"sha256": sha256(encoded).hexdigest()}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "spec": SPEC,
                "bundle_id": manifest["bundle_id"],
                "run_id": manifest["run"]["run_id"],
                "merkle_root": manifest["tree"]["root"],
                "tree_size": manifest["tree"]["size"],
                "journal": {name: journal[name] for name in ("count", "head", "root")},
            },
        }
    )


def _size(data: bytes | Path) -> int:
    return len(data) if isinstance(data, bytes) else data.stat().st_size


def _digest(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return sha256(data).hexdigest()
    with data.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _must_be(entry: Entry, digest: str) -> None:
    if entry.sha256 != digest:
        raise _seal_failed(f"{entry.name} changed on the disk after it was recorded; find out what wrote to it")


def _seal_failed(reason: str) -> UnavailableError:
    return UnavailableError(f"the bundle could not be sealed, its journal is kept: {reason}", code="seal_failed")
