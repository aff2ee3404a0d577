# SPDX-License-Identifier: Apache-2.0
"""S: signatures and the Statement. Level zip: the envelope is exchanged, the manifest and the files stay."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from forge import ed25519
from forge.bundle import (
    ENVELOPE,
    MANIFEST,
    PAYLOAD_TYPE,
    SIGSTORE,
    SPEC,
    Artifact,
    Entries,
    Layers,
    bundle,
    lineage_and_nodes,
    pae,
    payload_of,
    seal,
    signature,
    sigstore_of,
)
from forge.canonical import canonical
from forge.case import Case, bundle_case
from forge.edits import DocumentEdit, Json, both, drop, flip, put
from forge.journal import OTHER_BUNDLE_ID
from forge.keys import P256_ORDER, TestKey, b64, spki_of_ed25519
from forge.trust import BUNDLE, ECDSA, LOG, RSA, SECOND, STRANGER, entry, raw_entry, trust_file

Sign = Callable[[bytes], bytes]


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _bytes_signed()
    yield from _algorithms()
    yield from _curve_points()
    yield from _payload_types()
    yield from _envelopes()
    yield from _base64()
    yield from _unknown_keys()
    yield from _thresholds()
    yield from _scopes()
    yield from _lost_at_trust()
    yield from _statements()
    yield from _sigstore()


def _case(id: str, description: str, data: bytes, *verdict: Any, keys: tuple[Json, ...] = (), **members: Any) -> Case:
    """Return a case with a trust file of ``keys``, and ``threshold`` and the like in it."""
    warnings = members.pop("warnings", ())
    files = {"trust.json": trust_file(*keys, **members)}
    return bundle_case(id, description, data, *verdict, files=files, warnings=warnings)


def _invalid(id: str, description: str, data: bytes, **members: Any) -> Case:
    return _case(id, description, data, "signature_invalid", "signature", **members)


def _signed_by(sign: Sign, key: TestKey = BUNDLE) -> bytes:
    """Return the good bundle with one signature, of the PAE by ``sign``, under the id of ``key``."""

    def edit(envelope: Json) -> Json:
        message = pae(payload_of(envelope))
        return {**envelope, "signatures": [signature(sign(message), key.keyid)]}

    return bundle(signers=(key,), envelope=edit)


def _bytes_signed() -> Iterator[Case]:
    def changed(envelope: Json) -> Json:
        payload = payload_of(envelope)
        at = payload.index(b'"merkle_root":"') + 15
        return {
            **envelope,
            "payload": b64(payload[:at] + (b"1" if payload[at : at + 1] != b"1" else b"2") + payload[at + 1 :]),
        }

    def raw(envelope: Json) -> Json:
        return {**envelope, "signatures": [signature(BUNDLE.sign(payload_of(envelope)), BUNDLE.keyid)]}

    other = seal(Layers(bundle_id=OTHER_BUNDLE_ID))
    yield _invalid("S01", "payload changed after signing", bundle(envelope=changed))
    yield _invalid("S02", "bit of the signature flipped", _signed_by(lambda m: flip(BUNDLE.sign(m), 9)))
    yield _invalid("S02b", "signature cut off", _signed_by(lambda m: BUNDLE.sign(m)[:-1]))
    yield _invalid("S02c", "byte behind the signature", _signed_by(lambda m: BUNDLE.sign(m) + b"\x00"))
    yield _invalid("S02d", "empty signature", _signed_by(lambda m: b""))
    yield _invalid("S03", "signature over another payload", _signed_by(lambda m: BUNDLE.sign(pae(other.payload))))
    yield _invalid("S06", "signature over the payload without PAE", bundle(envelope=raw))
    yield _invalid(
        "S06b", "signature over the digest of the PAE", _signed_by(lambda m: BUNDLE.sign(hashlib.sha256(m).digest()))
    )
    yield _invalid("S08", "trusted key id, another's signature", _signed_by(STRANGER.sign))
    two = (entry(BUNDLE), entry(SECOND))
    yield _invalid("S08b", "id of one trusted key, signature of another", _signed_by(SECOND.sign), keys=two)


def _algorithms() -> Iterator[Case]:
    rsa, ecdsa = (entry(RSA),), (entry(ECDSA),)
    for letter, secret, name in (("a", RSA.pem, "PEM"), ("b", RSA.spki, "DER")):
        data = _signed_by(_hmac(secret), RSA)
        yield _invalid(f"S11{letter}", f"RSA public key ({name}) used as HMAC key", data, keys=rsa)
    zero_r, zero_s = encode_dss_signature(0, 1), encode_dss_signature(1, 0)
    for id, description, sign in (
        ("S12", "ECDSA as r and s without DER", _p1363),
        ("S12b", "ECDSA with bytes behind the DER", lambda m: ECDSA.sign(m) + b"\x00"),
        ("S12c", "ECDSA with a long form of length in DER", _long_length),
        ("S14a", "ECDSA with r = 0", lambda m: zero_r),
        ("S14b", "ECDSA with s = 0", lambda m: zero_s),
        ("S14c", "ECDSA of zero bytes", lambda m: bytes(70)),
        ("S14e", "ECDSA with s + n", _large_s),
    ):
        yield _invalid(id, description, _signed_by(sign, ECDSA), keys=ecdsa)
    yield _invalid("S14d", "Ed25519 of zero bytes", _signed_by(lambda m: bytes(64)))
    yield _case("S13", "ECDSA with high s", _signed_by(_high_s, ECDSA), keys=ecdsa)
    yield _case("S13b", "ECDSA with low s", _signed_by(_low_s, ECDSA), keys=ecdsa)
    for id, description, sign in (
        ("S18a", "RSA-PSS without salt", lambda m: RSA.sign_pss(m, salt_bytes=0)),
        ("S18b", "RSA-PSS with a salt of 20 bytes", lambda m: RSA.sign_pss(m, salt_bytes=20)),
        ("S18c", "RSA-PSS with the longest salt", lambda m: RSA.sign_pss(m, salt_bytes=222)),
        ("S18d", "RSA PKCS#1 v1.5 with a PSS key", RSA.sign_pkcs1),
    ):
        yield _invalid(id, description, _signed_by(sign, RSA), keys=rsa)
    for id, description, key in (
        ("S18e", "RSA key of 1024 bits", TestKey("short rsa", "rsa-pss-sha256", bits=1024)),
        ("S18f", "RSA key with exponent 3", TestKey("cube rsa", "rsa-pss-sha256", exponent=3)),
    ):
        data = bundle(signers=(key,))
        yield _case(id, description, data, "key_weak", "input", keys=(entry(key),))
        unused = bundle()
        yield _case(f"{id}u", f"{description}, not used", unused, "key_weak", "input", keys=(entry(BUNDLE), entry(key)))


def _hmac(secret: bytes) -> Sign:
    return lambda message: hmac.new(secret, message, hashlib.sha256).digest()


def _p1363(message: bytes) -> bytes:
    r, s = decode_dss_signature(ECDSA.sign(message))
    return r.to_bytes(32) + s.to_bytes(32)


def _high_s(message: bytes) -> bytes:
    r, s = decode_dss_signature(ECDSA.sign(message))
    return encode_dss_signature(r, max(s, P256_ORDER - s))


def _low_s(message: bytes) -> bytes:
    r, s = decode_dss_signature(ECDSA.sign(message))
    return encode_dss_signature(r, min(s, P256_ORDER - s))


def _large_s(message: bytes) -> bytes:
    r, s = decode_dss_signature(ECDSA.sign(message))
    return encode_dss_signature(r, s + P256_ORDER)


def _long_length(message: bytes) -> bytes:
    der = ECDSA.sign(message)
    return der[:1] + b"\x81" + der[1:]


def _curve_points() -> Iterator[Case]:
    def beyond_order(message: bytes) -> bytes:
        good = BUNDLE.sign(message)
        s = int.from_bytes(good[32:], "little") + ed25519.L
        return good[:32] + s.to_bytes(32, "little")

    yield _invalid("S15", "Ed25519 with S + L", _signed_by(beyond_order))
    ph = _signed_by(lambda m: ed25519.sign_prehashed(BUNDLE.seed, m))
    yield _invalid("S34", "Ed25519ph", ph)
    noncanonical = _signed_by(lambda m: ed25519.sign_with_noncanonical_r(BUNDLE.seed, m))
    yield _invalid("S17", "Ed25519 with a non-canonical R", noncanonical)
    torsion = _signed_by(lambda m: ed25519.sign_with_torsion(BUNDLE.seed, m))
    yield _invalid("S16b", "Ed25519 with a component of order 8 in R", torsion)
    small = spki_of_ed25519(ed25519.encode(ed25519.ORDER_8))
    trusted = raw_entry(small)

    def under_small_order(envelope: Json) -> Json:
        message = pae(payload_of(envelope))
        return {**envelope, "signatures": [signature(_small_order_signature(message), trusted["keyid"])]}

    yield _invalid(
        "S16", "Ed25519 key of order 8, equation holds times 8", bundle(envelope=under_small_order), keys=(trusted,)
    )


def _small_order_signature(message: bytes) -> bytes:
    """Return a signature under the key of order 8 which verifies only with the cofactor."""
    public = ed25519.encode(ed25519.ORDER_8)
    for s in range(1, 64):
        candidate = ed25519.encode(ed25519.multiply(s, ed25519.BASE)) + s.to_bytes(32, "little")
        if not ed25519.verifies(public, candidate, message):
            return candidate
    raise ValueError("no such signature among 63")


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
        yield _case(id, f"payloadType {kind or 'empty'}", data, "payload_type", "envelope")
    relabelled = bundle(payload_type="application/json", envelope=put("payloadType", PAYLOAD_TYPE))
    yield _invalid("S04d", "payloadType changed after signing", relabelled)


def _envelopes() -> Iterator[Case]:
    def case(id: str, description: str, **layers: Any) -> Case:
        return _case(id, description, bundle(**layers), "envelope_invalid", "envelope")

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
    yield _case("S35", "envelope of another bundle", exchanged, "subject_mismatch", "manifest")
    long = put("predicate/run_id", "r" * 4000)
    yield _case("S36", "PAE over 4096 bytes", bundle(statement=long), "limit_exceeded", "envelope")


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
            yield _case(number, f"base64 of {member}: {description}", data, "envelope_invalid", "envelope")
    url_safe = edited("sig", lambda text: text.translate(str.maketrans("+/", "-_")))
    yield _case("S22u", "base64 of sig: URL-safe alphabet", bundle(manifest=put("labels/n", "1"), envelope=url_safe))


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


def _unknown_keys() -> Iterator[Case]:
    unknown = ("key_unknown", "signature")
    stranger = bundle(signers=(STRANGER,))
    yield _case("S07", "key that the trust file does not have", stranger, *unknown)
    embedded = {**lineage_and_nodes(), "artifacts/key.pem": Artifact(STRANGER.pem, media_type="application/x-pem-file")}
    yield _case("S09", "attacker's key among the files", bundle(signers=(STRANGER,), artifacts=embedded), *unknown)
    ephemeral = bundle(signers=(TestKey("ephemeral"),), manifest=put("producer/signer", "ephemeral"))
    yield _case("S40", "ephemeral key", ephemeral, *unknown)
    for letter, role in (("a", "root"), ("b", "log"), ("c", "approver"), ("d", "issuer")):
        keys = (entry(BUNDLE, role), entry(SECOND))
        yield _case(f"S37{letter}", f"key of role {role}", bundle(), "key_role", "signature", keys=keys)
    unnamed = bundle(envelope=put("signatures/0/keyid", ""))
    yield _case("S42a", "empty key id, signature of a trusted key", unnamed)
    misnamed = bundle(envelope=put("signatures/0/keyid", STRANGER.keyid))
    yield _case("S42b", "key id of nobody, signature of a trusted key", misnamed)
    nobody = bundle(signers=(STRANGER,), envelope=put("signatures/0/keyid", ""))
    yield _case("S42c", "empty key id, signature of nobody trusted", nobody, *unknown)
    hinted = bundle(manifest=put("keys_hint", [STRANGER.keyid]))
    yield _case("S42d", "keys_hint is a hint", hinted)


def _two(first: Sign, second: Sign, ids: tuple[str, str]) -> bytes:
    def edit(envelope: Json) -> Json:
        message = pae(payload_of(envelope))
        made = [signature(sign(message), keyid) for sign, keyid in zip((first, second), ids, strict=True)]
        return {**envelope, "signatures": made}

    return bundle(signers=(BUNDLE, SECOND), envelope=edit)


def _thresholds() -> Iterator[Case]:
    missed = ("threshold_not_met", "signature")
    keys = (entry(BUNDLE), entry(SECOND))
    two = {"bundle": 2}
    ignored = ("signature_ignored",)
    ids = (BUNDLE.keyid, SECOND.keyid)
    same = _two(BUNDLE.sign, BUNDLE.sign, (BUNDLE.keyid, BUNDLE.keyid))
    yield _case("S20", "one key twice for threshold 2", same, *missed, keys=keys, threshold=two)
    unnamed = _two(BUNDLE.sign, BUNDLE.sign, (BUNDLE.keyid, ""))
    yield _case(
        "S20b", "one key twice, once without its id, for threshold 2", unnamed, *missed, keys=keys, threshold=two
    )
    yield _case("S20c", "one signature for threshold 2", bundle(), *missed, keys=keys, threshold=two)
    bad = _two(BUNDLE.sign, lambda m: flip(SECOND.sign(m), 3), ids)
    yield _case("S21a", "one good and one bad, threshold 1", bad, keys=keys, warnings=ignored)
    yield _case("S21b", "one good and one bad, threshold 2", bad, *missed, keys=keys, threshold=two)
    first_bad = _two(lambda m: flip(BUNDLE.sign(m), 3), SECOND.sign, ids)
    yield _case("S21c", "one bad and one good, threshold 1", first_bad, keys=keys, warnings=ignored)
    with_stranger = _two(BUNDLE.sign, STRANGER.sign, (BUNDLE.keyid, STRANGER.keyid))
    yield _case("S21d", "one good and one of a stranger, threshold 1", with_stranger, keys=keys, warnings=ignored)
    with_log = _two(BUNDLE.sign, LOG.sign, (BUNDLE.keyid, LOG.keyid))
    yield _case("S21e", "one good and one of a log key, threshold 1", with_log, warnings=ignored)
    yield _case("S21f", "one good and one of a log key, threshold 2", with_log, *missed, threshold=two)
    unknown_first = _two(STRANGER.sign, lambda m: bytes(64), (STRANGER.keyid, SECOND.keyid))
    yield _case("S21g", "first a stranger's, then a bad one", unknown_first, "key_unknown", "signature", keys=keys)
    bad_first = _two(lambda m: bytes(64), STRANGER.sign, (SECOND.keyid, STRANGER.keyid))
    yield _invalid("S21h", "first a bad one, then a stranger's", bad_first, keys=keys)


def _scopes() -> Iterator[Case]:
    def case(id: str, description: str, code: str, **members: Any) -> Case:
        return _case(id, description, bundle(), code, "trust", keys=(entry(BUNDLE, **members),))

    before, after = "2026-01-31T08:00:00.000000Z", "2026-01-31T08:30:00.000000Z"
    yield case("S26", "key of another tenant", "key_scope", tenants=["other"])
    yield case("S27", "key for another format", "key_scope", specs=["clyra.pef/v0"])
    yield case("S23", "key expired at closed_at", "key_expired", valid_to=before)
    yield case(
        "S24", "key not yet valid", "key_not_yet_valid", valid_from=after, valid_to="2026-07-01T00:00:00.000000Z"
    )
    yield case("S25a", "key revoked before", "key_revoked", revoked_at=before)
    yield case("S25b", "key revoked afterwards, time only claimed", "key_revoked", revoked_at=after)
    scope = entry(BUNDLE, tenants=["other", "acme"], specs=["clyra.def/v0"], captures=["recorded"])
    yield _case("S26b", "key for this tenant, format and capture", bundle(), keys=(scope,))
    warned = ("capture_not_observed",)
    yield _case(
        "S41", "capture not among the key's", bundle(), keys=(entry(BUNDLE, captures=["ingested"]),), warnings=warned
    )


def _lost_at_trust() -> Iterator[Case]:
    data = bundle(signers=(BUNDLE, SECOND))
    for letter, description, members in (
        ("a", "expired", {"valid_to": "2026-01-31T08:00:00.000000Z"}),
        ("b", "revoked", {"revoked_at": "2026-01-15T00:00:00.000000Z"}),
        ("c", "out of scope", {"tenants": ["other"]}),
    ):
        keys = (entry(BUNDLE), entry(SECOND, **members))
        what = f"two good signatures, one key {description}"
        two = {"bundle": 2}
        yield _case(
            f"S38{letter}", f"{what}, threshold 2", data, "threshold_not_met", "trust", keys=keys, threshold=two
        )
        yield _case(f"S38{letter}w", f"{what}, threshold 1", data, keys=keys, warnings=("signature_ignored",))


def _statements() -> Iterator[Case]:
    def case(id: str, description: str, code: str, edit: DocumentEdit, **layers: Any) -> Case:
        return _case(id, description, bundle(statement=edit, **layers), code, "statement")

    yield case("S28", "Statement v0.1", "statement_type", put("_type", "https://in-toto.io/Statement/v0.1"))
    yield case("S28b", "no _type", "statement_type", drop("_type"))
    pef, pef_type = "clyra.pef/v0", "https://clyra.io/pef/v0"
    yield case("S29a", "predicateType of PEF, predicate of DEF", "predicate_type", put("predicateType", pef_type))
    yield case("S29b", "predicateType of DEF, predicate of PEF", "predicate_type", put("predicate/spec", pef))
    other_manifest = bundle(manifest=put("spec", pef), statement=put("predicate/spec", SPEC))
    yield _case("S29c", "Statement of DEF, manifest of PEF", other_manifest, "predicate_type", "manifest")
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
    yield _case(
        "X04a",
        "sigstore form with another payload",
        bundle(entries=attached(payload)),
        "attestation_mismatch",
        "envelope",
    )
    yield _case(
        "X04b",
        "sigstore form with another signature",
        bundle(entries=attached(sig)),
        "attestation_mismatch",
        "envelope",
    )
    tsr = bundle(entries=lambda entries: {**entries, "attestations/manifest.7.tsr": b"0\x00"})
    yield _case("L18a", "timestamp of a signature that is not there", tsr, "attestation_mismatch", "time")


def _envelope(entries: Entries) -> Json:
    envelope: Json = json.loads(entries[ENVELOPE])
    return envelope
