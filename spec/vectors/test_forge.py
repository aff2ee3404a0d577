# SPDX-License-Identifier: Apache-2.0
"""The forging toolkit is deterministic, its good bundle is good by other means, and every code has a vector.

Nothing here imports a verifier or a writer of ours: jsonschema reads the schemas, libraries the ZIP and the signatures.
"""

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import zipfile
import zlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

VECTORS = Path(__file__).resolve().parent
SPEC = VECTORS.parent


def _generator() -> ModuleType:
    found = importlib.util.spec_from_file_location("clyra_vector_generator", VECTORS / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


generate = _generator()
from forge import ed25519  # noqa: E402  (the generator puts the toolkit on the path)
from forge.bundle import ENVELOPE, MANIFEST, Layers, bundle, pae, seal  # noqa: E402
from forge.case import Case, decode, document, encode  # noqa: E402
from forge.edits import drop, put, swap  # noqa: E402
from forge.keys import TestKey  # noqa: E402
from forge.suites import zip as zip_suite  # noqa: E402
from forge.trust import BUNDLE, NAMED, STRANGER, entry, trust_file  # noqa: E402

NOT_COVERED = {
    "trust_chain": "versions of a trust file are not chained yet",
    "c2pa_digest": "the C2PA member belongs to PEF",
    "receipt_mismatch": "receipts are not specified yet",
    "receipt_attachments": "receipts are not specified yet",
    "receipt_trailer": "receipts are not specified yet",
    "time_lag": "needs a timestamp token",
}


def cases() -> list[tuple[str, Case]]:
    return [(suite, case) for suite in sorted(generate.SUITES) for case in generate.vectors(suite).values()]


def _codes(heading: str) -> dict[str, set[str]]:
    """Return the codes of a table of errors.md with their stages."""
    section = (SPEC / "errors.md").read_text(encoding="utf-8").split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| ([a-z ]+) \|", section, re.MULTILINE)
    return {code: set(stages.split()) for code, stages in rows}


@cache
def _validator(path: str) -> Draft202012Validator:
    schemas = [json.loads(file.read_text(encoding="utf-8")) for file in SPEC.glob("*/schemas/*.json")]
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas
    )
    return Draft202012Validator(json.loads((SPEC / path).read_text(encoding="utf-8")), registry=registry)


def test_generated_files_are_what_their_generators_say() -> None:
    assert [line for suite in generate.SUITES for line in generate.differences(suite)] == []


def test_sums_and_test_keys_are_as_generated() -> None:
    assert generate.SUMS.read_bytes() == generate.sums()
    assert generate.TEST_KEYS.read_bytes() == generate.test_keys()


def test_a_vector_file_says_what_its_case_says() -> None:
    for _, case in cases():
        if len(case.input) < 1_000_000:
            assert decode(encode(case)) == document(case), case.id


def test_generation_does_not_depend_on_the_process() -> None:
    program = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "from forge.case import encode\n"
        "from forge.suites import valid\n"
        "print(hashlib.sha256(b''.join(map(encode, valid.cases()))).hexdigest())\n"
    )
    run = [sys.executable, "-c", program, str(VECTORS)]
    there = subprocess.run(run, capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": "7"}).stdout.strip()
    here = b"".join(encode(case) for suite, case in cases() if suite == "valid")
    assert there == hashlib.sha256(here).hexdigest()


def test_ids_and_file_names_are_unique() -> None:
    ids = [case.id.lower() for _, case in cases()]
    names = [case.name.lower() for _, case in cases()]
    assert len(set(ids)) == len(ids)
    assert len(set(names)) == len(names)


def test_no_two_vectors_ask_the_same() -> None:
    seen: dict[str, str] = {}
    for _, case in cases():
        question = document(case)
        asked = [question[name] for name in ("command", "input", "files", "args")]
        key = hashlib.sha256(repr(asked).encode()).hexdigest()
        assert key not in seen, f"{case.id} asks what {seen[key]} asks"
        seen[key] = case.id


def test_every_expected_code_and_stage_is_in_errors_md() -> None:
    invalid, warnings = _codes("Verification: invalid"), _codes("Verification: warnings")
    for _, case in cases():
        if case.expect == "valid":
            assert case.stage is None
            assert set(case.warnings) <= set(warnings) | {"trust_not_evaluated"}, case.id
        elif case.command == "canonicalize":
            assert (case.expect, case.stage) == ("json_not_canonical", None), case.id
        else:
            assert case.stage in invalid[case.expect], case.id
            assert case.warnings == (), case.id


def test_every_code_of_errors_md_has_a_vector_or_a_reason() -> None:
    listed = set(_codes("Verification: invalid")) | set(_codes("Verification: warnings"))
    shown = {case.expect for _, case in cases()} | {code for _, case in cases() for code in case.warnings}
    assert listed - shown == set(NOT_COVERED)


def test_every_stage_of_a_code_has_a_vector() -> None:
    shown = {(case.expect, str(case.stage)) for _, case in cases()}
    stages = {(code, stage) for code, names in _codes("Verification: invalid").items() for stage in names}
    assert {pair for pair in stages - shown if pair[0] not in NOT_COVERED} == set()


@pytest.mark.parametrize("name", sorted({suite for suite, _ in cases()}))
def test_every_suite_accepts_something_too(name: str) -> None:
    assert any(case.expect == "valid" for suite, case in cases() if suite == name)


def test_good_bundle_is_what_the_schemas_say() -> None:
    sealed = seal(Layers())
    _validator("def/schemas/def_v0.schema.json").validate(json.loads(sealed.entries[MANIFEST]))
    _validator("common/schemas/statement.schema.json").validate(json.loads(sealed.payload))
    _validator("common/schemas/trust.schema.json").validate(json.loads(trust_file()))
    for line in sealed.lines:
        _validator("common/schemas/journal_event.schema.json").validate(json.loads(line))
    _validator("common/schemas/lineage.schema.json").validate(json.loads(sealed.entries["artifacts/lineage.json"]))


@pytest.mark.parametrize("case", [case for suite, case in cases() if suite == "valid"], ids=lambda case: case.id)
def test_accepted_bundles_hold_documents_of_the_schemas(case: Case) -> None:
    with zipfile.ZipFile(io.BytesIO(case.input)) as archive:
        assert archive.testzip() is None
        _validator("def/schemas/def_v0.schema.json").validate(json.loads(archive.read(MANIFEST)))
        for line in archive.read("journal.ndjson").splitlines():
            _validator("common/schemas/journal_event.schema.json").validate(json.loads(line))
        for file in json.loads(archive.read(MANIFEST))["files"]:
            if "external" not in file:
                assert hashlib.sha256(archive.read(file["path"])).hexdigest() == file["sha256"]


def test_good_bundle_is_signed_over_its_manifest() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        envelope = json.loads(archive.read(ENVELOPE))
        manifest = archive.read(MANIFEST)
    payload = base64.b64decode(envelope["payload"])
    key = load_der_public_key(BUNDLE.spki)
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), pae(payload))  # type: ignore[union-attr, call-arg]
    assert json.loads(payload)["subject"][0]["digest"]["sha256"] == hashlib.sha256(manifest).hexdigest()


def test_statement_at_fault_still_fits_what_is_signed_at_once() -> None:
    for _, case in cases():
        if case.id.startswith("JS"):
            with zipfile.ZipFile(io.BytesIO(case.input)) as archive:
                assert len(pae(base64.b64decode(json.loads(archive.read(ENVELOPE))["payload"]))) <= 4096, case.id


def test_compressed_inputs_are_what_they_pretend_to_be() -> None:
    assert zlib.decompress(zip_suite.BOMB, wbits=-15) == bytes(1_000_000)
    inputs = {case.id: case.input for _, case in cases()}
    assert gzip.decompress(inputs["Z40a"]) == bundle()


def test_forged_ed25519_signatures_are_refused_by_the_library() -> None:
    message = b"message"
    for forged in (
        ed25519.sign_prehashed(BUNDLE.seed, message),
        ed25519.sign_with_noncanonical_r(BUNDLE.seed, message),
        ed25519.sign_with_torsion(BUNDLE.seed, message),
    ):
        with pytest.raises(InvalidSignature):
            load_der_public_key(BUNDLE.spki).verify(forged, message)  # type: ignore[union-attr, call-arg]


def test_equations_agree_with_the_library() -> None:
    message = b"message"
    assert ed25519.verifies(BUNDLE.raw_public, BUNDLE.sign(message), message)
    assert not ed25519.verifies(BUNDLE.raw_public, STRANGER.sign(message), message)
    torsion = ed25519.sign_with_torsion(BUNDLE.seed, message)
    assert not ed25519.verifies(BUNDLE.raw_public, torsion, message)
    assert ed25519.verifies(BUNDLE.raw_public, torsion, message, cofactor=8)


def test_key_ids_are_digests_of_the_public_keys() -> None:
    for key in (*NAMED, TestKey("another")):
        assert entry(key)["keyid"] == hashlib.sha256(base64.b64decode(entry(key)["public_key"])).hexdigest()


def test_edits_refuse_to_change_nothing() -> None:
    with pytest.raises(ValueError, match="already"):
        put("a", 1)({"a": 1})
    with pytest.raises(ValueError, match="occurrences"):
        swap(b"x", b"y")(b"xx")
    with pytest.raises(KeyError):
        drop("b")({"a": 1})
