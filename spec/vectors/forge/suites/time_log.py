# SPDX-License-Identifier: Apache-2.0
"""L: the log, its proofs and its checkpoints (stage log). Proofs lie beside a good bundle; a log is a folder."""

from collections.abc import Iterator, Mapping
from typing import Any

from forge.bundle import Layers, seal
from forge.canonical import canonical
from forge.case import TRUSTED, Case, bundle_case
from forge.edits import flip
from forge.journal import BUNDLE_ID, OTHER_BUNDLE_ID, RUN_ID, source_digest
from forge.keys import TestKey
from forge.log import Log, leaf, leaf_document, proof_file, without
from forge.merkle import inclusion_path
from forge.note import key_hash, note_text, signature_line, signed_note
from forge.trust import BUNDLE, LOG, ORIGIN, STRANGER, entry, trust_file

OTHER_ORIGIN = "jaffle_shop/00112233445566778899aabbccddeeff"
WITH_PROOF = ("--proof", "bundle.tlog-proof", *TRUSTED)
LEAVES_BEFORE = 4
INDEX = LEAVES_BEFORE + 1


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _checkpoints()
    yield from _proofs()
    yield from _good_proofs()
    yield from _required()
    yield from _logs()
    yield from _tiles()
    yield from _leaves()
    yield from _since()


def _bundle_id(number: int) -> str:
    return f"019c131e-{number:04x}-7a51-8c3e-6d1f00000000"


def _runs(count: int) -> list[bytes]:
    """Return the leaves of runs that were opened and sealed, two each."""
    digests = [(number, digest) for number in range(count) for digest in (None, source_digest(f"manifest {number}"))]
    return [leaf(digest, bundle_id=_bundle_id(number), run_id=f"run-{number}") for number, digest in digests]


def _own_leaves() -> list[bytes]:
    return [leaf(None), leaf(seal(Layers()).manifest_sha256)]


def _log() -> Log:
    """Return a log of eight leaves, the good bundle's being the sixth."""
    return Log([*_runs(2), *_own_leaves(), *_runs(3)[LEAVES_BEFORE:]])


def _proved(id: str, description: str, proof: bytes, *verdict: Any, trust: bytes | None = None, **members: Any) -> Case:
    files = {"trust.json": trust or trust_file(), "bundle.tlog-proof": proof}
    data = members.pop("data", None) or seal(Layers()).data
    members.setdefault("args", WITH_PROOF)
    return bundle_case(id, description, data, *verdict, files=files, **members)


def _checkpoints() -> Iterator[Case]:
    log = _log()
    code = ("checkpoint_invalid", "log")
    body = log.body
    text = note_text(body)

    def signed(lines: list[str | bytes], name: str = ORIGIN, key: TestKey = LOG) -> bytes:
        return signed_note(lines, name, key)

    checkpoint = log.checkpoint()
    wrong_hint = text + b"\n" + signature_line(text, ORIGIN, LOG, hint=key_hash(ORIGIN, STRANGER))
    signature = checkpoint.rpartition(b" ")
    for id, description, note in (
        ("L05a", "signed by another key", signed(body, key=STRANGER)),
        ("L05b", "signed under another origin", signed(body, name=OTHER_ORIGIN)),
        ("L05c", "wrong key hash", wrong_hint),
        ("L05d", "without a signature", text + b"\n"),
        (
            "L05e",
            "signature over another text",
            text + b"\n" + signature_line(note_text([ORIGIN, "8", bytes(32)]), ORIGIN, LOG),
        ),
        ("L05f", "signature line with an ASCII dash", checkpoint.replace("\u2014".encode(), b"-")),
        ("L05g", "signature cut off", signature[0] + b" " + signature[2][:40] + b"\n"),
        ("L06a", "extension line", signed([*body, "time 1769847305"])),
        ("L06b", "empty extension line", signed([*body, ""])),
        ("L10a", "leading zero in the size", signed([ORIGIN, "08", body[2]])),
        ("L10b", "plus sign in the size", signed([ORIGIN, "+8", body[2]])),
        ("L10c", "root in hex", signed([ORIGIN, "8", _hex(body[2])])),
        ("L10d", "root of 31 bytes", signed([ORIGIN, "8", bytes(31)])),
        ("L10e", "two lines only", signed([ORIGIN, "8"])),
        ("L10f", "no empty line before the signature", checkpoint.replace(b"\n\n", b"\n")),
        ("L10g", "bytes behind the signature", checkpoint + b"\nx"),
        ("L10h", "CRLF", checkpoint.replace(b"\n", b"\r\n")),
    ):
        yield _proved(id, f"checkpoint: {description}", log.proof(INDEX, checkpoint=note), *code)
    roles = trust_file(entry(BUNDLE), entry(LOG, "root"))
    yield _proved("L12", "checkpoint: key of another role", log.proof(INDEX), *code, trust=roles)
    by_bundle_key = log.proof(INDEX, checkpoint=signed(body, key=BUNDLE))
    yield _proved("L12b", "checkpoint: signed by the bundle key", by_bundle_key, *code)
    pinned = trust_file(logs=[{"origin": OTHER_ORIGIN, "keyid": LOG.keyid}])
    yield _proved("L12c", "checkpoint: origin that the trust file does not name", log.proof(INDEX), *code, trust=pinned)
    second = TestKey("second log")
    other_key = trust_file(
        entry(BUNDLE), entry(LOG, "log"), entry(second, "log"), logs=[{"origin": ORIGIN, "keyid": second.keyid}]
    )
    yield _proved(
        "L12d", "checkpoint: another log key is named for the origin", log.proof(INDEX), *code, trust=other_key
    )


def _hex(root: str | bytes) -> str:
    if isinstance(root, str):
        raise TypeError(root)
    return root.hex()


def _proofs() -> Iterator[Case]:
    log = _log()
    hashes = inclusion_path(log.hashes, INDEX)
    checkpoint = log.checkpoint()
    good = log.proof(INDEX)
    for id, description, proof in (
        ("L07a", "index is the size", proof_file("8", hashes, checkpoint)),
        ("L07b", "index above the size", proof_file("99", hashes, checkpoint)),
        ("L07c", "too few hashes", proof_file(str(INDEX), hashes[:-1], checkpoint)),
        ("L07d", "too many hashes", proof_file(str(INDEX), [*hashes, bytes(32)], checkpoint)),
        ("L07e", "hash of 31 bytes", proof_file(str(INDEX), [*hashes[:-1], bytes(31)], checkpoint)),
        ("L07f", "another first line", good.replace(b"@v1", b"@v2", 1)),
        ("L07g", "no index line", good.replace(b"index 5\n", b"", 1)),
        ("L07h", "leading zero in the index", proof_file("05", hashes, checkpoint)),
        ("L07i", "negative index", proof_file("-1", hashes, checkpoint)),
        ("L07j", "no checkpoint", good[: good.index(b"\n\n") + 1]),
        ("L07k", "empty", b""),
        (
            "L07l",
            "CRLF before the checkpoint",
            proof_file(str(INDEX), hashes, b"").replace(b"\n", b"\r\n") + checkpoint,
        ),
    ):
        yield _proved(id, f"log proof: {description}", proof, "proof_shape", "log")
    other = seal(Layers(bundle_id=OTHER_BUNDLE_ID))
    for id, description, proof, data in (
        ("L11a", "of another bundle", log.proof(3), None),
        ("L11b", "of the leaf of run.opened", log.proof(LEAVES_BEFORE), None),
        ("L11c", "beside another bundle", good, other.data),
        ("L11d", "bit flipped", proof_file(str(INDEX), [flip(hashes[0], 1), *hashes[1:]], checkpoint), None),
        ("L11e", "index relabelled", proof_file("4", hashes, checkpoint), None),
    ):
        yield _proved(id, f"log proof: {description}", proof, "proof_root", "log", data=data)
    yield _proved("L11f", "log proof: of another log", _other_log().proof(INDEX), "proof_root", "log")


def _other_log() -> Log:
    return Log([leaf(source_digest("other"), run_id=f"other-{n}") for n in range(8)])


def _good_proofs() -> Iterator[Case]:
    log = _log()
    yield _proved("L20a", "log proof", log.proof(INDEX))
    named = trust_file(logs=[{"origin": ORIGIN, "keyid": LOG.keyid}])
    yield _proved("L20b", "log proof, the trust file names the log", log.proof(INDEX), trust=named)
    extra = log.proof(INDEX).replace(b"index 5\n", b"extra aGVsbG8=\nindex 5\n", 1)
    yield _proved("L20c", "log proof with an extra line", extra)
    alone = Log(_own_leaves()[1:])
    yield _proved("L20d", "log proof in a log of one leaf", alone.proof(0))
    witness = TestKey("witness")
    cosigned = log.checkpoint() + signature_line(note_text(log.body), "witness.example", witness)
    yield _proved("L20e", "log proof, checkpoint with a second signature", log.proof(INDEX, checkpoint=cosigned))
    untrusted = {"bundle.tlog-proof": log.proof(INDEX)}
    args = ("--proof", "bundle.tlog-proof")
    data = seal(Layers()).data
    warned = ("trust_not_evaluated",)
    yield bundle_case("L20f", "log proof without a trust file", data, files=untrusted, args=args, warnings=warned)


def _required() -> Iterator[Case]:
    required = {"trust.json": trust_file(require=["log"])}
    data = seal(Layers()).data
    late = ("--trust", "trust.json", "--at", "2026-02-01T08:15:04.200001Z")
    missing = ("attestation_missing", "log")
    yield bundle_case("X05b", "log required, no proof yet", data, files=required, warnings=("log_pending",))
    yield bundle_case("X05c", "log required, no proof after max_seal_lag", data, *missing, files=required, args=late)
    short = {"trust.json": trust_file(require=["log"], max_seal_lag_s=60)}
    yield bundle_case("X05d", "log required, no proof after a minute", data, *missing, files=short)
    yield _proved("X05e", "log required, proof there", _log().proof(INDEX), trust=trust_file(require=["log"]))


def _folder(
    id: str,
    description: str,
    files: Mapping[str, bytes],
    *verdict: str,
    since: bytes | None = None,
    warnings: tuple[str, ...] = (),
) -> Case:
    """Return a case of verify-log."""
    args = ["--trust", "trust.json"]
    supplied = {"trust.json": trust_file(), **files}
    if since is not None:
        args += ["--since", "since"]
        supplied["since"] = since
    code, stage = verdict or ("valid", None)
    return Case(id, description, b"", code, stage, warnings, "verify-log", supplied, args)


def _resigned(log: Log, lines: list[str | bytes]) -> dict[str, bytes]:
    return {**log.files(), "log/checkpoint": signed_note(lines, log.origin, log.key)}


def _logs() -> Iterator[Case]:
    log = _log()
    files = log.files()
    yield _folder("L30a", "log: good", files)
    yield _folder("L30b", "log: 300 leaves", Log(_runs(150)).files())
    yield _folder("L30c", "log: 256 leaves", Log(_runs(128)).files())
    yield _folder("L30d", "log: one leaf", Log([leaf(source_digest("x"))]).files())
    opened = Log([*_runs(2), leaf(None)])
    yield _folder("L13", "log: run opened and not sealed", opened.files(), warnings=("log_run_open",))
    first, second = leaf(source_digest("one")), leaf(source_digest("two"))
    yield _folder(
        "C21", "log: two manifests of one bundle", Log([leaf(None), first, second]).files(), "log_fork", "log"
    )
    parts = [leaf(source_digest(f"p{n}"), bundle_id=_bundle_id(n), part=n) for n in (1, 2)]
    yield _folder("L30e", "log: two parts of one run", Log(parts).files())
    invalid = ("checkpoint_invalid", "log")
    by_stranger = Log(log.leaves, key=STRANGER).files()
    yield _folder("L31a", "log: checkpoint signed by another key", by_stranger, *invalid)
    yield _folder("L31b", "log: checkpoint absent", without(files, "log/checkpoint"), *invalid)
    yield _folder("L31c", "log: checkpoint with an extension line", _resigned(log, [*log.body, "x"]), *invalid)
    yield _folder("L31d", "log: size with a leading zero", _resigned(log, [ORIGIN, "08", log.body[2]]), *invalid)
    another_root = _resigned(log, [ORIGIN, "8", bytes(32)])
    yield _folder("L19", "log: root that the entries do not give", another_root, "log_root", "log")


def _tiles() -> Iterator[Case]:
    log = Log(_runs(150))
    files = log.files()
    full, part, above = "log/tile/0/000", "log/tile/0/001.p/44", "log/tile/1/000.p/1"
    entries, entries_part = "log/tile/entries/000", "log/tile/entries/001.p/44"
    claimed = {**without(files, part), "log/tile/0/001": files[part]}
    for id, description, changed in (
        ("L09a", "partial tile claimed full", claimed),
        ("L09b", "full tile cut off", {**files, full: files[full][:-32]}),
        ("L09c", "tile cut off inside a hash", {**files, part: files[part][:-1]}),
        ("L09d", "tile absent", without(files, full)),
        ("L09e", "partial tile absent", without(files, part)),
        ("L09f", "tile of the second level absent", without(files, above)),
        ("L09g", "entries absent", without(files, entries_part)),
        ("L09h", "bit of a tile flipped", {**files, full: flip(files[full], 99)}),
        ("L09i", "bit of a tile of the second level flipped", {**files, above: flip(files[above], 0)}),
        ("L09j", "last entry cut off", {**files, entries_part: files[entries_part][:-1]}),
        ("L09k", "last entry missing", {**files, entries_part: _without_last(files[entries_part])}),
        ("L09l", "bytes behind the entries", {**files, entries: files[entries] + b"\x00"}),
        ("L09m", "entry exchanged, hashes stay", {**files, entries: files[entries].replace(b'"run-7"', b'"run-x"')}),
    ):
        yield _folder(id, f"log: {description}", changed, "log_tile", "log")


def _without_last(entries: bytes) -> bytes:
    at = last = 0
    while at < len(entries):
        last, at = at, at + 2 + int.from_bytes(entries[at : at + 2])
    return entries[:last]


def _leaves() -> Iterator[Case]:
    good = leaf_document(source_digest("x"), bundle_id=BUNDLE_ID, run_id=RUN_ID)
    unsorted = b'{"tenant":"acme",' + canonical({k: v for k, v in good.items() if k != "tenant"})[1:]
    changes: tuple[tuple[str, str, bytes], ...] = (
        ("a", "not canonical", canonical(good) + b" "),
        ("b", "not sorted", unsorted),
        ("c", "member missing", canonical({name: value for name, value in good.items() if name != "part"})),
        ("d", "unknown member", canonical({**good, "actor": "x"})),
        ("e", "digest in upper case", canonical({**good, "manifest_sha256": source_digest("x").upper()})),
        ("f", "part 0", canonical({**good, "part": 0})),
        ("g", "not JSON", b"leaf"),
        ("h", "empty", b""),
        ("i", "bundle id that is no UUIDv7", canonical({**good, "bundle_id": BUNDLE_ID.replace("-7", "-4")})),
        ("j", "tenant with a space", canonical({**good, "tenant": "a b"})),
    )
    for letter, description, bad in changes:
        log = Log([*_runs(1), bad])
        yield _folder(f"L15{letter}", f"log leaf: {description}", log.files(), "log_leaf", "log")


def _since() -> Iterator[Case]:
    leaves = _runs(6)
    whole, earlier = Log(leaves), Log(leaves[:8])
    forked = Log([*leaves[:4], *_other_log().leaves])
    yield _folder("L14p", "since: log has grown", whole.files(), since=earlier.checkpoint())
    yield _folder("L14q", "since: log is the same", whole.files(), since=whole.checkpoint())
    yield _folder("L08a", "since: log is shorter", earlier.files(), "log_rollback", "log", since=whole.checkpoint())
    same_size = Log([*leaves[:-1], leaf(source_digest("y"), bundle_id=_bundle_id(5), run_id="run-5")])
    yield _folder(
        "L08b", "since: another log of this size", same_size.files(), "log_fork", "log", since=whole.checkpoint()
    )
    yield _folder("L14a", "since: grown from another history", whole.files(), "log_fork", "log", since=_cut(forked, 8))
    invalid = ("checkpoint_invalid", "log")
    other = Log(leaves[:8], origin=OTHER_ORIGIN).checkpoint()
    yield _folder("L14b", "since: another origin", whole.files(), *invalid, since=other)
    stranger = Log(leaves[:8], key=STRANGER).checkpoint()
    yield _folder("L14c", "since: checkpoint signed by another key", whole.files(), *invalid, since=stranger)
    yield _folder("L14d", "since: no checkpoint", whole.files(), *invalid, since=b"8\n")


def _cut(log: Log, size: int) -> bytes:
    return Log(log.leaves[:size]).checkpoint()
