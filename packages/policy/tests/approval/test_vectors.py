# SPDX-License-Identifier: Apache-2.0
"""The shared vectors of tokens: the same verdict, and the same code, as every other consumer."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clyra.approval.errors import ApprovalRefused
from clyra.approval.keys import keys_of
from clyra.approval.resume import ResumeExpectation, check_resume
from clyra.approval.token import Expectation, check_token
from clyra.spec import spec_folder

WORDS = """
    size parts encoding header kid alg key_period signature version claims iss expired nbf lifetime jti aud tenant
    presenter run_id payload action resource tree policy quorum duties revoked used
"""
VECTORS = spec_folder() / "vectors/approval"


@cache
def vectors() -> list[tuple[Path, dict[str, Any]]]:
    return [(path, json.loads(path.read_text("utf-8"))) for path in sorted(VECTORS.glob("*.json"))]


def check(vector: dict[str, Any]) -> tuple[str, ...]:
    """Show the vector's token where it is shown, and give what was unchecked."""
    args, expected = vector["args"], dict(vector["args"]["expected"])
    used = args["used"]
    place = {
        "keys": keys_of({"version": 1, "keys": args["keys"]}, "issuer"),
        "now_s": args["now"],
        "revoked": frozenset(args["revoked"]),
        "used_by": None if used is None else used.get,
    }
    if vector["spec"] == "clyra.resume/v1":
        check_resume(vector["input"], expected=ResumeExpectation(**expected), **place)
        return ()
    expected["policies"] = None if expected["policies"] is None else frozenset(expected["policies"])
    expected["rules"] = frozenset(expected["rules"])
    return check_token(vector["input"], expected=Expectation(**expected), **place).unchecked


def run(vector: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    try:
        return "valid", check(vector)
    except ApprovalRefused as refused:
        return refused.code, ()


@pytest.mark.vectors
def test_every_vector_gets_its_verdict_and_what_was_unchecked() -> None:
    wrong = [
        (path.name, found)
        for path, vector in vectors()
        if (found := run(vector)) != (vector["expect"], tuple(vector.get("unchecked", ())))
    ]
    assert len(vectors()) > 600
    assert wrong == []


@pytest.mark.vectors
def test_every_code_of_tokens_has_a_vector_for_approvals_and_resumes() -> None:
    order = tuple(WORDS.split())
    shown = Counter((vector["spec"], vector["expect"]) for _, vector in vectors())
    resume = set(order) - {"presenter", "action", "tree", "policy", "quorum", "duties"}
    assert {code for spec, code in shown if spec == "clyra.approval/v1"} == {"valid", *(f"approval_{w}" for w in order)}
    assert {code for spec, code in shown if spec == "clyra.resume/v1"} == {"valid", *(f"approval_{w}" for w in resume)}


@pytest.mark.vectors
def test_messages_never_show_the_token() -> None:
    for _, vector in vectors():
        if vector["expect"] in ("valid", "approval_size") or len(vector["input"]) < 100:
            continue
        with pytest.raises(ApprovalRefused) as caught:
            check(vector)
        message = caught.value.message
        parts = [part for part in vector["input"].split(".") if len(part) > 20]
        assert not any(part[:20] in message for part in parts), message
