# SPDX-License-Identifier: Apache-2.0
"""S: signatures and the Statement. Level zip: the envelope is exchanged, the manifest and the files stay."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from forge import ed25519
from forge.bundle import (
    Artifact,
    Layers,
    bundle,
    lineage_and_nodes,
    pae,
    payload_of,
    seal,
    signature,
)
from forge.case import Case, invalid_case, signature_case
from forge.edits import Json, flip, put
from forge.journal import OTHER_BUNDLE_ID
from forge.keys import P256_ORDER, TestKey, b64, spki_of_ed25519
from forge.suites.envelope import envelope_cases
from forge.trust import BUNDLE, ECDSA, LOG, RSA, SECOND, STRANGER, entry, raw_entry

Sign = Callable[[bytes], bytes]


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _bytes_signed()
    yield from _algorithms()
    yield from _curve_points()
    yield from _unknown_keys()
    yield from _thresholds()
    yield from _scopes()
    yield from _lost_at_trust()
    yield from envelope_cases()


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
    yield invalid_case("S01", "payload changed after signing", bundle(envelope=changed))
    yield invalid_case("S02", "bit of the signature flipped", _signed_by(lambda m: flip(BUNDLE.sign(m), 9)))
    yield invalid_case("S02b", "signature cut off", _signed_by(lambda m: BUNDLE.sign(m)[:-1]))
    yield invalid_case("S02c", "byte behind the signature", _signed_by(lambda m: BUNDLE.sign(m) + b"\x00"))
    yield invalid_case("S02d", "empty signature", _signed_by(lambda m: b""))
    yield invalid_case("S03", "signature over another payload", _signed_by(lambda m: BUNDLE.sign(pae(other.payload))))
    yield invalid_case("S06", "signature over the payload without PAE", bundle(envelope=raw))
    yield invalid_case(
        "S06b", "signature over the digest of the PAE", _signed_by(lambda m: BUNDLE.sign(hashlib.sha256(m).digest()))
    )
    yield invalid_case("S08", "trusted key id, another's signature", _signed_by(STRANGER.sign))
    two = (entry(BUNDLE), entry(SECOND))
    yield invalid_case("S08b", "id of one trusted key, signature of another", _signed_by(SECOND.sign), keys=two)


def _algorithms() -> Iterator[Case]:
    rsa, ecdsa = (entry(RSA),), (entry(ECDSA),)
    for letter, secret, name in (("a", RSA.pem, "PEM"), ("b", RSA.spki, "DER")):
        data = _signed_by(_hmac(secret), RSA)
        yield invalid_case(f"S11{letter}", f"RSA public key ({name}) used as HMAC key", data, keys=rsa)
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
        yield invalid_case(id, description, _signed_by(sign, ECDSA), keys=ecdsa)
    yield invalid_case("S14d", "Ed25519 of zero bytes", _signed_by(lambda m: bytes(64)))
    yield signature_case("S13", "ECDSA with high s", _signed_by(_high_s, ECDSA), keys=ecdsa)
    yield signature_case("S13b", "ECDSA with low s", _signed_by(_low_s, ECDSA), keys=ecdsa)
    for id, description, sign in (
        ("S18a", "RSA-PSS without salt", lambda m: RSA.sign_pss(m, salt_bytes=0)),
        ("S18b", "RSA-PSS with a salt of 20 bytes", lambda m: RSA.sign_pss(m, salt_bytes=20)),
        ("S18c", "RSA-PSS with the longest salt", lambda m: RSA.sign_pss(m, salt_bytes=222)),
        ("S18d", "RSA PKCS#1 v1.5 with a PSS key", RSA.sign_pkcs1),
    ):
        yield invalid_case(id, description, _signed_by(sign, RSA), keys=rsa)
    for id, description, key in (
        ("S18e", "RSA key of 1024 bits", TestKey("short rsa", "rsa-pss-sha256", bits=1024)),
        ("S18f", "RSA key with exponent 3", TestKey("cube rsa", "rsa-pss-sha256", exponent=3)),
    ):
        data = bundle(signers=(key,))
        yield signature_case(id, description, data, "key_weak", "input", keys=(entry(key),))
        unused = bundle()
        yield signature_case(
            f"{id}u", f"{description}, not used", unused, "key_weak", "input", keys=(entry(BUNDLE), entry(key))
        )


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

    yield invalid_case("S15", "Ed25519 with S + L", _signed_by(beyond_order))
    ph = _signed_by(lambda m: ed25519.sign_prehashed(BUNDLE.seed, m))
    yield invalid_case("S34", "Ed25519ph", ph)
    noncanonical = _signed_by(lambda m: ed25519.sign_with_noncanonical_r(BUNDLE.seed, m))
    yield invalid_case("S17", "Ed25519 with a non-canonical R", noncanonical)
    torsion = _signed_by(lambda m: ed25519.sign_with_torsion(BUNDLE.seed, m))
    yield invalid_case("S16b", "Ed25519 with a component of order 8 in R", torsion)
    small = spki_of_ed25519(ed25519.encode(ed25519.ORDER_8))
    trusted = raw_entry(small)

    def under_small_order(envelope: Json) -> Json:
        message = pae(payload_of(envelope))
        return {**envelope, "signatures": [signature(_small_order_signature(message), trusted["keyid"])]}

    yield invalid_case(
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


def _unknown_keys() -> Iterator[Case]:
    unknown = ("key_unknown", "signature")
    stranger = bundle(signers=(STRANGER,))
    yield signature_case("S07", "key that the trust file does not have", stranger, *unknown)
    embedded = {**lineage_and_nodes(), "artifacts/key.pem": Artifact(STRANGER.pem, media_type="application/x-pem-file")}
    yield signature_case(
        "S09", "attacker's key among the files", bundle(signers=(STRANGER,), artifacts=embedded), *unknown
    )
    ephemeral = bundle(signers=(TestKey("ephemeral"),), manifest=put("producer/signer", "ephemeral"))
    yield signature_case("S40", "ephemeral key", ephemeral, *unknown)
    for letter, role in (("a", "root"), ("b", "log"), ("c", "approver"), ("d", "issuer")):
        keys = (entry(BUNDLE, role), entry(SECOND))
        yield signature_case(f"S37{letter}", f"key of role {role}", bundle(), "key_role", "signature", keys=keys)
    unnamed = bundle(envelope=put("signatures/0/keyid", ""))
    yield signature_case("S42a", "empty key id, signature of a trusted key", unnamed)
    misnamed = bundle(envelope=put("signatures/0/keyid", STRANGER.keyid))
    yield signature_case("S42b", "key id of nobody, signature of a trusted key", misnamed)
    nobody = bundle(signers=(STRANGER,), envelope=put("signatures/0/keyid", ""))
    yield signature_case("S42c", "empty key id, signature of nobody trusted", nobody, *unknown)
    hinted = bundle(manifest=put("keys_hint", [STRANGER.keyid]))
    yield signature_case("S42d", "keys_hint is a hint", hinted)


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
    yield signature_case("S20", "one key twice for threshold 2", same, *missed, keys=keys, threshold=two)
    unnamed = _two(BUNDLE.sign, BUNDLE.sign, (BUNDLE.keyid, ""))
    yield signature_case(
        "S20b", "one key twice, once without its id, for threshold 2", unnamed, *missed, keys=keys, threshold=two
    )
    yield signature_case("S20c", "one signature for threshold 2", bundle(), *missed, keys=keys, threshold=two)
    bad = _two(BUNDLE.sign, lambda m: flip(SECOND.sign(m), 3), ids)
    yield signature_case("S21a", "one good and one bad, threshold 1", bad, keys=keys, warnings=ignored)
    yield signature_case("S21b", "one good and one bad, threshold 2", bad, *missed, keys=keys, threshold=two)
    first_bad = _two(lambda m: flip(BUNDLE.sign(m), 3), SECOND.sign, ids)
    yield signature_case("S21c", "one bad and one good, threshold 1", first_bad, keys=keys, warnings=ignored)
    with_stranger = _two(BUNDLE.sign, STRANGER.sign, (BUNDLE.keyid, STRANGER.keyid))
    yield signature_case(
        "S21d", "one good and one of a stranger, threshold 1", with_stranger, keys=keys, warnings=ignored
    )
    with_log = _two(BUNDLE.sign, LOG.sign, (BUNDLE.keyid, LOG.keyid))
    yield signature_case("S21e", "one good and one of a log key, threshold 1", with_log, warnings=ignored)
    yield signature_case("S21f", "one good and one of a log key, threshold 2", with_log, *missed, threshold=two)
    unknown_first = _two(STRANGER.sign, lambda m: bytes(64), (STRANGER.keyid, SECOND.keyid))
    yield signature_case(
        "S21g", "first a stranger's, then a bad one", unknown_first, "key_unknown", "signature", keys=keys
    )
    bad_first = _two(lambda m: bytes(64), STRANGER.sign, (SECOND.keyid, STRANGER.keyid))
    yield invalid_case("S21h", "first a bad one, then a stranger's", bad_first, keys=keys)


def _scopes() -> Iterator[Case]:
    def case(id: str, description: str, code: str, **members: Any) -> Case:
        return signature_case(id, description, bundle(), code, "trust", keys=(entry(BUNDLE, **members),))

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
    yield signature_case("S26b", "key for this tenant, format and capture", bundle(), keys=(scope,))
    warned = ("capture_not_observed",)
    yield signature_case(
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
        yield signature_case(
            f"S38{letter}", f"{what}, threshold 2", data, "threshold_not_met", "trust", keys=keys, threshold=two
        )
        yield signature_case(f"S38{letter}w", f"{what}, threshold 1", data, keys=keys, warnings=("signature_ignored",))
