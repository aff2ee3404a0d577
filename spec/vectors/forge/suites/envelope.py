# SPDX-License-Identifier: Apache-2.0
"""S, continued: the envelope, its base64, the Statement in it and what lies beside it. Level zip or full."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from forge.bundle import ENVELOPE, MANIFEST, PAYLOAD_TYPE, SIGSTORE, SPEC, Entries, Layers, bundle, seal, sigstore_of
from forge.canonical import canonical
from forge.case import Case, bundle_case, invalid_case, signature_case
from forge.edits import DocumentEdit, Json, both, drop, put
from forge.journal import OTHER_BUNDLE_ID
from forge.keys import b64
from forge.trust import STRANGER, trust_file


def envelope_cases() -> Iterator[Case]:
    """Yield this part of the suite ``signature``."""
    yield from _payload_types()
    yield from _envelopes()
    yield from _base64()
    yield from _statements()
    yield from _sigstore()


def _payload_types() -> Iterator[Case]:
    for id, kind in (
        ("S04a", "application/vnd.in-toto+json; charset=utf-8"),
        ("S04b", "application/vnd.in-toto+JSON"),
        ("S04c", ""),
        ("S05", "application/json"),
        ("S39a", "application/vnd.clyra.certificate+json"),
        ("S39b", "application/vnd.clyra.trust+json"),
    ):
        data = bundle(payload_type=kind)
        yield signature_case(id, f"payloadType {kind or 'empty'}", data, "payload_type", "envelope")
    relabelled = bundle(payload_type="application/json", envelope=put("payloadType", PAYLOAD_TYPE))
    yield invalid_case("S04d", "payloadType changed after signing", relabelled)


def _envelopes() -> Iterator[Case]:
    def case(id: str, description: str, **layers: Any) -> Case:
        return signature_case(id, description, bundle(**layers), "envelope_invalid", "envelope")

    for letter, alg in (("a", "none"), ("b", "HS256"), ("c", "RS256")):
        yield case(f"S10{letter}", f"signature with alg {alg}", envelope=put("signatures/0/alg", alg))
    yield case("S10d", "envelope with alg none", envelope=put("alg", "none"))
    yield case("S19", "no signatures", envelope=put("signatures", []))
    yield case("S19b", "signatures null", envelope=put("signatures", None))
    yield case("S19c", "signatures missing", envelope=drop("signatures"))
    yield case("S09b", "attacker's key in the envelope", envelope=put("signatures/0/publicKey", b64(STRANGER.spki)))
    yield case("S33a", "extra member", envelope=put("extra", 1))
    twice = b'{"payload":"e30=","payload":'
    yield case("S33b", "duplicate payload", envelope_bytes=lambda data: data.replace(b'{"payload":', twice))
    yield case("S33c", "white space", envelope_bytes=lambda data: data.replace(b":", b": ", 1))
    yield case("S33d", "LF at the end", envelope_bytes=lambda data: data + b"\n")
    yield case("S33e", "signature without keyid", envelope=drop("signatures/0/keyid"))
    yield case("S33f", "keyid null", envelope=put("signatures/0/keyid", None))
    yield case("S33g", "payload missing", envelope=drop("payload"))
    yield case("S33h", "member Payload", envelope=put("Payload", "e30="))
    yield case("S33i", "sig is not text", envelope=put("signatures/0/sig", 1))
    yield case("S33j", "array", envelope_bytes=lambda data: b"[" + data + b"]")
    yield case("S33k", "not JSON", envelope_bytes=lambda data: b"-----BEGIN")
    other = seal(Layers(bundle_id=OTHER_BUNDLE_ID)).entries[ENVELOPE]
    exchanged = bundle(envelope_bytes=lambda data: other)
    yield signature_case("S35", "envelope of another bundle", exchanged, "subject_mismatch", "manifest")
    long = put("predicate/run_id", "r" * 4000)
    yield signature_case("S36", "PAE over 4096 bytes", bundle(statement=long), "limit_exceeded", "envelope")


def _base64() -> Iterator[Case]:
    def edited(member: str, change: Callable[[str], str]) -> DocumentEdit:
        def edit(envelope: Json) -> Json:
            holder = envelope if member == "payload" else envelope["signatures"][0]
            return put("payload" if member == "payload" else "signatures/0/sig", change(holder[member]))(envelope)

        return edit

    faults: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("a", "LF inside", lambda text: text[:8] + "\n" + text[8:]),
        ("b", "space at the end", lambda text: text + " "),
        ("c", "padding missing", lambda text: text.rstrip("=")),
        ("d", "trailing bits not zero", _trailing_bits),
        ("e", "too much padding", lambda text: text + "===="),
        ("f", "character outside the alphabet", lambda text: "*" + text[1:]),
        ("g", "padding in the middle", lambda text: text[:4] + "AA==" + text[4:]),
        ("h", "one character left over", lambda text: text.rstrip("=")[:-1]),
    )
    for member in ("payload", "sig"):
        for letter, description, change in faults:
            number = "S22" + letter + ("p" if member == "payload" else "s")
            data = bundle(manifest=_run_of(member), envelope=edited(member, change))
            yield signature_case(number, f"base64 of {member}: {description}", data, "envelope_invalid", "envelope")
    url_safe = edited("sig", lambda text: text.translate(str.maketrans("+/", "-_")))
    yield signature_case(
        "S22u", "base64 of sig: URL-safe alphabet", bundle(manifest=put("labels/n", "1"), envelope=url_safe)
    )


def _run_of(member: str) -> DocumentEdit:
    """Return an edit after which the payload's base64 ends with padding, which some of the faults need."""
    if member == "sig":
        return lambda manifest: manifest
    for length in range(1, 4):
        edit = put("run/run_id", "r" * length)
        if len(seal(Layers(manifest=edit)).payload) % 3 == 1:
            return edit
    raise ValueError("no length gives padding")


def _trailing_bits(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    if body == text:
        raise ValueError("no padding, so no trailing bits")
    return body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + text[len(body) :]


def _statements() -> Iterator[Case]:
    def case(id: str, description: str, code: str, edit: DocumentEdit, **layers: Any) -> Case:
        return signature_case(id, description, bundle(statement=edit, **layers), code, "statement")

    yield case("S28", "Statement v0.1", "statement_type", put("_type", "https://in-toto.io/Statement/v0.1"))
    yield case("S28b", "no _type", "statement_type", drop("_type"))
    pef, pef_type = "clyra.pef/v0", "https://clyra.io/pef/v0"
    yield case("S29a", "predicateType of PEF, predicate of DEF", "predicate_type", put("predicateType", pef_type))
    yield case("S29b", "predicateType of DEF, predicate of PEF", "predicate_type", put("predicate/spec", pef))
    other_manifest = bundle(manifest=put("spec", pef), statement=put("predicate/spec", SPEC))
    yield signature_case("S29c", "Statement of DEF, manifest of PEF", other_manifest, "predicate_type", "manifest")
    yield case("S30a", "two subjects, the second matches", "subject_count", _second_subject)
    yield case("S30b", "no subject", "subject_count", put("subject", []))
    yield case("S31a", "digest as SHA-512 only", "subject_digest", put("subject/0/digest", {"sha512": "0" * 128}))
    yield case("S31b", "digest as SHA-512 too", "schema_invalid", put("subject/0/digest/sha512", "0" * 128))
    yield case("S31c", "subject of another name", "schema_invalid", put("subject/0/name", "other.json"))
    newer = both(put("predicateType", "https://clyra.io/def/v1"), put("predicate/spec", "clyra.def/v1"))
    yield case("S32b", "unknown major version", "spec_unsupported", newer)
    foreign = both(put("predicateType", "https://slsa.dev/provenance/v1"), put("predicate/spec", "slsa"))
    yield case("S32c", "predicate of somebody else", "spec_unsupported", foreign)
    old = {"trust.json": trust_file(min_spec="v1")}
    yield bundle_case("S32a", "below min_spec", bundle(), "spec_too_old", "statement", files=old)


def _second_subject(statement: Json) -> Json:
    first = {"name": MANIFEST, "digest": {"sha256": "0" * 64}}
    return {**statement, "subject": [first, *statement["subject"]]}


def _sigstore() -> Iterator[Case]:
    other = seal(Layers(bundle_id=OTHER_BUNDLE_ID))

    def attached(edit: DocumentEdit) -> Callable[[Entries], Entries]:
        return lambda entries: {**entries, SIGSTORE: canonical(edit(sigstore_of(_envelope(entries))))}

    payload = put("dsseEnvelope/payload", b64(other.payload))
    sig = put("dsseEnvelope/signatures/0/sig", b64(bytes(64)))
    yield signature_case(
        "X04a",
        "sigstore form with another payload",
        bundle(entries=attached(payload)),
        "attestation_mismatch",
        "envelope",
    )
    yield signature_case(
        "X04b",
        "sigstore form with another signature",
        bundle(entries=attached(sig)),
        "attestation_mismatch",
        "envelope",
    )
    tsr = bundle(entries=lambda entries: {**entries, "attestations/manifest.7.tsr": b"0\x00"})
    no_token = bundle(entries=lambda entries: {**entries, "attestations/manifest.0.tsr": b"0\x00"})
    yield signature_case("L02", "timestamp that is no token", no_token, "timestamp_invalid", "time")
    yield signature_case("L18a", "timestamp of a signature that is not there", tsr, "attestation_mismatch", "time")


def _envelope(entries: Entries) -> Json:
    envelope: Json = json.loads(entries[ENVELOPE])
    return envelope
