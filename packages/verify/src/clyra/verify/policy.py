# SPDX-License-Identifier: Apache-2.0
"""The policy in a bundle: canonical JSON, so that a verifier needs neither YAML nor the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical
from clyra.verify.container import Container
from clyra.verify.journal import Recount
from clyra.verify.schema import check_schema

MAX_POLICY_BYTES = 4 * 1024 * 1024
UNKNOWN = "unknown"
"""Environment of a run whose target no environment of the policy lists."""
_SECTIONS = ("data_platform", "genai_security", "voice_compliance")

Policy = Mapping[str, Any]
"""A policy with at least the members of the schema ``policy_members``."""


def check_policy(manifest: Mapping[str, Any], container: Container, recount: Recount) -> Policy | None:
    """The policy file of a bundle, which must be the policy that the manifest names; None where it holds none.

    Raises:
        Refusal: ``policy_digest``.
    """
    named, began = manifest["policy"], recount.started["policy"]
    if began["sha256"] != (named and named["sha256"]) or (named and began["mode"] != named["mode"]):
        raise Refusal("policy_digest", "the run began under another policy or mode than the manifest names")
    listed = [entry for entry in manifest["files"] if entry["role"] == "policy"]
    if not listed:
        return None
    entry = listed[0]
    if named is None or entry["sha256"] != named["sha256"]:
        raise Refusal("policy_digest", f"{entry['path']!r} is not the canonical form of the policy that is named")
    if len(listed) > 1 or "external" in entry or entry["size"] > MAX_POLICY_BYTES:
        raise Refusal("policy_digest", "the policy is not one file in the container of at most 4 MiB")
    try:
        policy = cast("Policy", read_canonical(container.read(entry["path"])))
    except Refusal as exc:
        raise Refusal("policy_digest", f"{entry['path']!r} is not canonical JSON") from exc
    check_schema("policy_members", policy, code="policy_digest")
    if (policy["name"], policy["version"]) != (named["name"], named["version"]):
        raise Refusal("policy_digest", "the policy file has another name or version than the manifest says")
    return policy


def environment_of(policy: Policy, target_name: str | None) -> tuple[str, Mapping[str, Any]] | None:
    """Name and settings of the environment that lists a dbt target, the first by name; None where none does."""
    for name, environment in sorted(policy["environments"].items()):
        if target_name in environment["targets"]:
            return name, environment
    return None


def rules_of(policy: Policy) -> Iterator[Mapping[str, Any]]:
    """Every rule of the policy."""
    for section in _SECTIONS:
        yield from policy[section]["rules"]
