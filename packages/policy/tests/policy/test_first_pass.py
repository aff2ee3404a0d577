# SPDX-License-Identifier: Apache-2.0
"""A policy that does not load still says where it enforces; a run is in one environment and nothing lowers its mode."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.policy.environment import Environment, environment_for
from clyra.policy.first_pass import first_pass
from clyra.policy.load import read_policy
from clyra.policy.problem import PolicyInvalid

TODAY = date(2026, 11, 1)
TOP = b"""version: 1
requires: ">=0.1"
environments:
  production: {targets: [prod], mode: enforce, production: true, change_freeze: true}
  development: {targets: [dev, ci]}
"""
BROKEN = {
    "a bracket that is never closed": b"data_platform: [",
    "an unknown key": b"data_platfrom: {}\n",
    "a tab": b"data_platform:\n\trules: []\n",
    "an alias": b"data_platform: *a\n",
    "a second document": b"---\nversion: 1\n",
    "no UTF-8": b"name: \xff\n",
}


@pytest.mark.parametrize("rest", [rest for name, rest in BROKEN.items() if name != "no UTF-8"])
def test_a_broken_file_says_where_it_enforces(rest: bytes) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(TOP + rest, now=TODAY)
    found = caught.value.first_pass
    assert found is not None
    assert found == first_pass(TOP + rest)
    assert found.requires == ">=0.1"
    assert found.environments["production"] == Environment("production", "enforce", True, True, ("prod",))
    assert environment_for(found.environments, target="prod", environ={}).mode == "enforce"
    assert environment_for(found.environments, target="dev", environ={}).mode == "shadow"


def test_a_file_for_a_newer_engine_says_where_it_enforces() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(TOP.replace(b">=0.1", b">=99") + b"of_the_future: {}\n", now=TODAY)
    assert caught.value.code == "policy_requires"
    assert [problem.code for problem in caught.value.problems] == ["policy_requires"]
    assert caught.value.first_pass is not None
    assert environment_for(caught.value.first_pass.environments, target="prod", environ={}).mode == "enforce"


def test_a_file_that_is_no_text_says_nothing() -> None:
    found = first_pass(TOP + BROKEN["no UTF-8"])
    assert (found.requires, dict(found.environments), found.complete) == (None, {}, False)


def test_a_mode_that_is_misspelled_counts_as_enforce() -> None:
    found = first_pass(b"environments: {prod: {targets: [prod], mode: enforc}}\n")
    assert found.environments["prod"].mode == "enforce"


def test_the_older_spelling_of_targets_is_understood() -> None:
    found = first_pass(b"version: 0\nenvironments: {prod: {targets: 'a, b', mode: enforce}}\n")
    assert found.environments["prod"].targets == ("a", "b")


def test_a_sound_file_and_its_first_pass_agree() -> None:
    assert read_policy(TOP, now=TODAY).environments == first_pass(TOP).environments


@given(st.binary(max_size=300))
def test_the_first_pass_never_raises(data: bytes) -> None:
    assert isinstance(first_pass(data).complete, bool)


ENVIRONMENTS = {
    "production": Environment("production", "enforce", True, False, ("prod",)),
    "development": Environment("development", "shadow", False, False, ("dev",)),
}


@pytest.mark.parametrize(
    ("target", "environ", "name", "mode"),
    [
        ("prod", {}, "production", "enforce"),
        ("dev", {}, "development", "shadow"),
        ("stage", {}, "unknown", "shadow"),
        (None, {}, "unknown", "shadow"),
        (None, {"CLYRA_ENVIRONMENT": "production"}, "production", "enforce"),
        (None, {"CLYRA_ENVIRONMENT": "elsewhere"}, "unknown", "shadow"),
        # A variable moves no run out of the environment of its target.
        ("prod", {"CLYRA_ENVIRONMENT": "development"}, "production", "enforce"),
        ("stage", {"CLYRA_ENVIRONMENT": "production"}, "unknown", "shadow"),
        ("dev", {"CLYRA_MODE": "enforce"}, "development", "enforce"),
        ("stage", {"CLYRA_MODE": "enforce"}, "unknown", "enforce"),
        ("stage", {"CLYRA_MODE": "Enforce"}, "unknown", "enforce"),
        # Nothing lowers a mode.
        ("prod", {"CLYRA_MODE": "shadow"}, "production", "enforce"),
        ("prod", {"CLYRA_MODE": ""}, "production", "enforce"),
    ],
)
def test_the_target_decides_and_nothing_lowers(
    target: str | None, environ: dict[str, str], name: str, mode: str
) -> None:
    found = environment_for(ENVIRONMENTS, target=target, environ=environ)
    assert (found.name, found.mode) == (name, mode)
    assert found.known == (name != "unknown")
    assert (found.production is None) == (name == "unknown")
