# SPDX-License-Identifier: Apache-2.0
"""A good bundle and its layers: journal, manifest, Statement, envelope, container.

``seal`` builds a bundle from the inside out. Each layer can be replaced by an edit; everything outside it is made anew
over what the edit left, so that the edit's fault is the only one. How much is *not* made anew is said where a layer has
two edits: ``lines`` and ``journal_stays``, ``manifest`` and ``sealed_manifest``.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge import container
from forge.canonical import canonical, digest
from forge.edits import BytesEdit, DocumentEdit, Json
from forge.journal import (
    BUNDLE_ID,
    CLOSED_AT,
    CREATED_AT,
    INVOCATION_ID,
    RUN_ID,
    TENANT,
    at,
    chain,
    counts_of,
    decisions_of,
    journal_facts,
    run_events,
    source_digest,
)
from forge.keys import TestKey, b64
from forge.merkle import merkle_root
from forge.trust import BUNDLE

SPEC = "clyra.def/v0"
PREDICATE_TYPE = "https://clyra.io/def/v0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE = "attestations/manifest.dsse.json"
SIGSTORE = "attestations/manifest.sigstore.json"
MANIFEST = "manifest.json"
JOURNAL = "journal.ndjson"

Lines = list[bytes]
Entries = dict[str, bytes]


@dataclass(frozen=True)
class Artifact:
    """A file of the bundle: its bytes, and what the manifest says of it besides path, size and digest."""

    data: bytes
    role: str = "artifact"
    media_type: str = "application/json"
    members: Mapping[str, Any] = field(default_factory=dict)
    inside: bool = True
    """Whether the container has it; an external file is only listed."""


def _same_document(document: Json) -> Json:
    return document


def _same_lines(lines: Lines) -> Lines:
    return lines


def _same_entries(entries: Entries) -> Entries:
    return entries


def _canonical_container(entries: Entries) -> bytes:
    return container.assemble(container.records_of(entries))


@dataclass(frozen=True)
class Layers:
    """What a bundle is made of, and the edits to it, from the inside out."""

    events: Sequence[Json] = field(default_factory=run_events)
    bundle_id: str = BUNDLE_ID
    first_prev: str | None = None
    edit_line: Mapping[int, BytesEdit] = field(default_factory=dict)
    lines: Callable[[Lines], Lines] = _same_lines
    """Edit of the chained lines."""
    journal: BytesEdit = bytes
    journal_stays: bool = False
    """Sealing level `file`: the manifest's member ``journal`` is of the lines before ``lines``."""
    artifacts: Mapping[str, Artifact] = field(default_factory=lambda: lineage_and_nodes())
    manifest: DocumentEdit = _same_document
    """Edit before the tree is built."""
    sealed_manifest: DocumentEdit = _same_document
    """Edit after the tree was built."""
    manifest_bytes: BytesEdit = bytes
    statement: DocumentEdit = _same_document
    payload: BytesEdit = bytes
    signers: Sequence[TestKey] = (BUNDLE,)
    payload_type: str = PAYLOAD_TYPE
    envelope: DocumentEdit = _same_document
    envelope_bytes: BytesEdit = bytes
    entries: Callable[[Entries], Entries] = _same_entries
    """Sealing level `zip`: edit of the container's entries."""
    pack: Callable[[Entries], bytes] = _canonical_container
    """Sealing level `raw`: the container's bytes."""


@dataclass(frozen=True)
class Sealed:
    """A bundle and what it was made of."""

    data: bytes
    entries: Entries
    lines: Lines
    manifest: Json
    payload: bytes

    @property
    def manifest_sha256(self) -> str:
        """Digest of the manifest in the container."""
        return digest(self.entries[MANIFEST])


def bundle(**layers: Any) -> bytes:
    """Return the bytes of a bundle with these layers."""
    return seal(Layers(**layers)).data


def seal(layers: Layers) -> Sealed:
    """Return the bundle of ``layers``."""
    chained = chain(layers.events, first_prev=layers.first_prev, bundle_id=layers.bundle_id, edit_line=layers.edit_line)
    lines = layers.lines(list(chained))
    journal = layers.journal(b"".join(line + b"\n" for line in lines))
    artifacts = {**layers.artifacts, JOURNAL: Artifact(journal, "journal", "application/x-ndjson")}
    facts = journal_facts(chained if layers.journal_stays else lines)
    draft = layers.manifest(manifest_of(layers, artifacts, facts))
    manifest = layers.sealed_manifest({**draft, "tree": tree_of(draft.get("files"))})
    manifest_bytes = layers.manifest_bytes(canonical(manifest))
    payload = layers.payload(canonical(layers.statement(statement_of(manifest, manifest_bytes, facts))))
    envelope = layers.envelope(envelope_of(payload, layers.signers, layers.payload_type))
    entries = {path: artifact.data for path, artifact in artifacts.items() if artifact.inside}
    entries |= {ENVELOPE: layers.envelope_bytes(canonical(envelope)), MANIFEST: manifest_bytes}
    entries = layers.entries(entries)
    return Sealed(layers.pack(entries), entries, lines, manifest, payload)


def lineage_and_nodes() -> dict[str, Artifact]:
    """Return the artifacts of the good bundle."""
    return {
        "artifacts/lineage.json": Artifact(canonical(lineage()), "lineage"),
        "artifacts/nodes.json": Artifact(canonical({"nodes": ["model.jaffle_shop.orders"]})),
    }


def lineage() -> Json:
    """Return a lineage document of two relations and an edge."""
    nodes = [
        {"id": name, "kind": "relation", "system": "postgres", "trust": None, "basis": "declared"}
        for name in ("postgres:public.orders", "postgres:public.raw_orders")
    ]
    edge = {"from": "postgres:public.raw_orders", "to": "postgres:public.orders", "run_id": RUN_ID}
    return {"nodes": nodes, "edges": [edge]}


def file_entries(artifacts: Mapping[str, Artifact]) -> list[Json]:
    """Return the manifest's member ``files``."""
    return [
        {"path": path, "size": len(artifact.data), "sha256": digest(artifact.data), "role": artifact.role}
        | {"media_type": artifact.media_type, **artifact.members}
        for path, artifact in sorted(artifacts.items())
    ]


def tree_of(files: Any) -> Json:
    """Return the manifest's member ``tree``; without good ``files``, that of a tree with one empty entry."""
    entries = [canonical(file) for file in files] if isinstance(files, list) and files else [b""]
    return {"hash": "sha256", "size": len(entries), "root": merkle_root(entries).hex()}


def manifest_of(layers: Layers, artifacts: Mapping[str, Artifact], journal: Json) -> Json:
    """Return the manifest of the good run, without its tree."""
    git = {"tree": "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "commit": "8d3f" * 10, "dirty": False}
    run: Json = {"run_id": RUN_ID, "part": 1, "capture": "recorded", "status": "success", "command": "build"}
    run |= {"invocation_id": INVOCATION_ID, "project": "jaffle_shop", "target": "prod"}
    run |= {"adapter": "postgres", "git": {**git, "source": "git", "author_basis": "claimed"}}
    manifest: Json = {"spec": SPEC, "bundle_id": layers.bundle_id, "tenant": TENANT}
    manifest |= {"created_at": CREATED_AT, "closed_at": CLOSED_AT}
    producer = {"name": "forge", "version": "0", "source_digest": source_digest("forge"), "signer": "configured"}
    manifest |= {"producer": producer, "run": {**run, "counts": counts_of(layers.events)}, "policy": None}
    manifest |= {"decisions": decisions_of(layers.events), "anchors": [anchor()], "risk": None}
    manifest |= {"metrics": {"recorder_us": 4100, "dbt_run_us": 3_900_000, "bundle_generation_us": 900}}
    manifest |= {"governance": governance(), "journal": journal, "files": file_entries(artifacts), "references": []}
    keys_hint = sorted({signer.keyid for signer in layers.signers})
    return manifest | {"keys_hint": keys_hint, "labels": {"note": "plain"}, "crit": [], "ext": {}}


def anchor(**members: Any) -> Json:
    """Return an anchor of the good run's adapter."""
    value = {"lsn_before": "0/16B3748", "lsn_after": "0/16B9A10", "timeline": 1}
    result: Json = {"system": "postgres", "kind": "postgres_wal", "object": "jaffle", "value": value}
    return result | {"captured_at": at(4_150_000), **members}


def governance() -> Json:
    """Return a governance member in which nothing was said."""
    unsaid = {"retention_until": None, "hot_until": None, "classification": None, "legal_hold": False}
    return {**unsaid, "approvals": [], "owners": [], "frameworks": [], "sla": []}


def statement_of(manifest: Json, manifest_bytes: bytes, journal: Json) -> Json:
    """Return the in-toto Statement: its predicate says what the manifest says, as far as that can be read."""
    said = manifest.get("journal")
    source = said if isinstance(said, dict) else journal
    run = manifest.get("run")
    predicate: Json = {"spec": manifest.get("spec", SPEC), "bundle_id": manifest.get("bundle_id", BUNDLE_ID)}
    predicate |= {"run_id": run["run_id"] if isinstance(run, dict) else RUN_ID}
    predicate |= {"merkle_root": manifest["tree"]["root"], "tree_size": manifest["tree"]["size"]}
    predicate |= {"journal": {name: source.get(name, journal[name]) for name in ("count", "head", "root")}}
    subject = {"name": MANIFEST, "digest": {"sha256": digest(manifest_bytes)}}
    statement: Json = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject]}
    return statement | {"predicateType": PREDICATE_TYPE, "predicate": predicate}


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes that a DSSE signature is made over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope_of(payload: bytes, signers: Sequence[TestKey], payload_type: str = PAYLOAD_TYPE) -> Json:
    """Return a DSSE envelope signed by ``signers``."""
    message = pae(payload, payload_type)
    signatures = [signature(signer.sign(message), signer.keyid) for signer in signers]
    return {"payload": b64(payload), "payloadType": payload_type, "signatures": signatures}


def signature(sig: bytes, keyid: str) -> Json:
    """Return a member of an envelope's ``signatures``."""
    return {"keyid": keyid, "sig": b64(sig)}


def payload_of(envelope: Json) -> bytes:
    """Return the payload of an envelope."""
    return base64.b64decode(envelope["payload"], validate=True)


def sigstore_of(envelope: Json) -> Json:
    """Return the sigstore bundle v0.3 around an envelope."""
    material = {"publicKey": {"hint": envelope["signatures"][0]["keyid"]}}
    media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope}
