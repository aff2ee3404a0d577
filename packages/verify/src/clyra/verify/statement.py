# SPDX-License-Identifier: Apache-2.0
"""The signed statement and the manifest that it is about (``spec/verification.md``, stages statement and manifest)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical
from clyra.verify.schema import check_schema
from clyra.verify.trust import Trust

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_MANIFEST_BYTES = 32 * 1024 * 1024

# predicateType and the name of the format, as the schema of the statement lists them.
_FORMATS = {"https://clyra.io/def/v0": "clyra.def/v0", "https://clyra.io/pef/v0": "clyra.pef/v0"}
# Manifest schemas that this verifier has.
_SCHEMAS = {"clyra.def/v0": "def_v0"}

_BUCKET = r"(?:s3|gs)://[A-Za-z0-9][A-Za-z0-9._-]*(?:/.*)?"
_ABFSS = r"abfss://[A-Za-z0-9$][A-Za-z0-9_$-]*@[A-Za-z0-9][A-Za-z0-9.-]*(?:/.*)?"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HTTPS = rf"https://((?:{_LABEL}\.)+([A-Za-z]{{1,63}}))(?:[/?#].*)?"
_PRIVATE = frozenset(["local", "localhost", "internal", "intranet", "lan", "home", "corp", "test", "invalid", "arpa"])


def check_statement(payload: bytes, trust: Trust | None) -> Mapping[str, Any]:
    """The statement in the payload of an envelope.

    Raises:
        Refusal: A code of the stage ``statement``.
    """
    statement: Any = read_canonical(payload)
    if type(statement) is not dict or statement.get("_type") != STATEMENT_TYPE:
        raise Refusal("statement_type", f"the payload is not an in-toto statement of _type {STATEMENT_TYPE}")
    subjects = statement.get("subject")
    if type(subjects) is not list or len(subjects) != 1:
        raise Refusal("subject_count", "the statement has not exactly one subject")
    digest = subjects[0].get("digest") if type(subjects[0]) is dict else None
    if type(digest) is not dict or "sha256" not in digest:
        raise Refusal("subject_digest", "the subject's digest is not given as sha256")
    predicate = statement.get("predicate")
    spec = predicate.get("spec") if type(predicate) is dict else None
    predicate_type = statement.get("predicateType")
    if type(predicate_type) is not str or type(spec) is not str:
        raise Refusal("spec_unsupported", "the statement does not say of which format it is")
    if predicate_type not in _FORMATS or spec not in _FORMATS.values():
        raise Refusal("spec_unsupported", f"{predicate_type} with {spec} is not known here; install a newer verifier")
    if trust is not None and _major(spec) < _major(trust.document.get("min_spec", "v0")):
        raise Refusal("spec_too_old", f"{spec} is below {trust.document['min_spec']}, the trust file's min_spec")
    if _FORMATS[predicate_type] != spec:
        raise Refusal("predicate_type", f"the predicate of {predicate_type} says that it is {spec}")
    check_schema("statement", statement)
    if spec not in _SCHEMAS:
        raise Refusal("spec_unsupported", f"this verifier does not know manifests of {spec}; install a newer one")
    return cast("Mapping[str, Any]", statement)


def _major(spec: str) -> int:
    return int(spec.rpartition("v")[2])


def check_manifest(data: bytes, statement: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest in these bytes, which the statement must be about.

    Raises:
        Refusal: A code of the stage ``manifest``.
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest != statement["subject"][0]["digest"]["sha256"]:
        raise Refusal("subject_mismatch", "manifest.json is not the one that was signed")
    manifest: Any = read_canonical(data)
    predicate = statement["predicate"]
    if type(manifest) is dict and manifest.get("spec") != predicate["spec"]:
        raise Refusal("predicate_type", f"the manifest's spec is not {predicate['spec']}, the statement's")
    check_schema(_SCHEMAS[predicate["spec"]], manifest)
    if manifest["crit"]:
        raise Refusal("crit_unknown", f"the manifest needs a reader who understands {', '.join(manifest['crit'])}")
    paths = [entry["path"] for entry in manifest["files"]]
    if any(earlier >= later for earlier, later in pairwise(paths)):
        raise Refusal("files_order", "files are not in ascending order of their paths, or one is there twice")
    for entry in manifest["files"]:
        uri = entry.get("external", {}).get("uri")
        if uri is not None:
            _check_uri(uri)
    if predicate != _predicate(manifest):
        raise Refusal("predicate_mismatch", "ids, roots or sizes of the statement are not the manifest's")
    return cast("Mapping[str, Any]", manifest)


def _check_uri(uri: str) -> None:
    if re.fullmatch(_BUCKET, uri) or re.fullmatch(_ABFSS, uri):
        return
    match = re.fullmatch(_HTTPS, uri)
    if match is None or len(match[1]) > 253 or match[2].lower() in _PRIVATE:
        raise Refusal("external_uri", "the address of an external file is not s3, gs, abfss or https at a public name")


def _predicate(manifest: Mapping[str, Any]) -> dict[str, Any]:
    journal = manifest["journal"]
    return {
        "spec": manifest["spec"],
        "bundle_id": manifest["bundle_id"],
        "run_id": manifest["run"]["run_id"],
        "merkle_root": manifest["tree"]["root"],
        "tree_size": manifest["tree"]["size"],
        "journal": {"count": journal["count"], "head": journal["head"], "root": journal["root"]},
    }
