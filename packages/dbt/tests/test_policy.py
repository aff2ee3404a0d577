# SPDX-License-Identifier: Apache-2.0
"""Which policy governs a run, and what holds where it does not load."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from clyra.dbt._policy import Governing, find_governing, is_plan_only, problems_of
from clyra.dbt._policy_file import is_untouched, new_policy
from clyra.dbt._refusal import Refusal
from clyra.policy.load import read_policy
from clyra.spec import ConfigurationError

TODAY = date(2026, 1, 31)
HEAD = "version: 1\nname: shop\nenvironments:\n  live: {targets: [prod], mode: enforce, production: true}\n"


def governing(folder: Path, text: str | None, target: str = "prod", **environ: str) -> Governing | None:
    if text is not None:
        (folder / "clyra.policy.yaml").write_text(text)
    return find_governing(folder, environ, target=target, today=TODAY)


def test_project_without_a_policy_is_governed_by_nothing(tmp_path: Path) -> None:
    assert governing(tmp_path, None) is None
    assert governing(tmp_path, None, CLYRA_MODE="shadow") is None


def test_policy_governs_the_environment_of_the_target(tmp_path: Path) -> None:
    found = governing(tmp_path, HEAD)
    assert found is not None
    assert (found.environment.name, found.enforces, found.fault) == ("live", True, None)
    elsewhere = governing(tmp_path, HEAD, target="dev")
    assert elsewhere is not None
    assert (elsewhere.environment.name, elsewhere.enforces) == ("unknown", False)


def test_mode_is_raised_and_never_lowered(tmp_path: Path) -> None:
    raised = governing(tmp_path, HEAD, target="dev", CLYRA_MODE="enforce")
    kept = governing(tmp_path, HEAD, CLYRA_MODE="shadow")
    assert raised is not None
    assert kept is not None
    assert raised.enforces
    assert kept.enforces


def test_demanded_policy_that_is_not_there_is_a_fault_that_enforces(tmp_path: Path) -> None:
    found = governing(tmp_path, None, CLYRA_MODE="enforce")
    assert found is not None
    assert found.fault is not None
    assert (found.policy, found.enforces) == (None, True)


@pytest.mark.parametrize(
    ("target", "enforces"), [pytest.param("prod", True, id="enforced"), pytest.param("dev", False, id="elsewhere")]
)
def test_policy_that_does_not_load_still_says_where_it_enforces(tmp_path: Path, target: str, enforces: bool) -> None:
    found = governing(tmp_path, f"{HEAD}data_platfrom: {{}}\n", target=target)
    assert found is not None
    assert found.fault is not None
    assert (found.fault.code, found.policy, found.enforces) == ("policy_invalid", None, enforces)
    (problem,) = problems_of(found.fault)
    assert "clyra.policy.yaml:5:1: error policy_key" in problem


def test_policy_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    found = governing(tmp_path, None, CLYRA_POLICY=str(tmp_path / "none.yaml"))
    assert found is not None
    assert found.fault is not None
    assert (found.policy, found.enforces) == (None, False)
    assert problems_of(found.fault) == [found.fault.message]


def test_policy_says_what_is_recorded(tmp_path: Path) -> None:
    hooks = "data_platform: {dbt_hooks: {record: {targets: [prod], commands: [build]}, test_failures_block: false}}\n"
    found = governing(tmp_path, HEAD + hooks)
    assert found is not None
    assert [found.records(*each) for each in (("build", "prod"), ("run", "prod"), ("build", "dev"))] == [
        True,
        False,
        False,
    ]
    assert (found.is_enabled, found.test_failures_block, found.on_recorder_failure) == (True, False, "continue")


def test_plan_only_is_off_unless_set() -> None:
    assert [is_plan_only({"CLYRA_PLAN_ONLY": value}) for value in ("", "0", "1", "/a/file")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("target", "mode"), [(None, "shadow"), ("prod", "enforce"), ("dev", "enforce")])
def test_new_policy_loads_and_enforces_only_where_it_was_asked_to(target: str | None, mode: str) -> None:
    text = new_policy(target)
    loaded = read_policy(text.encode(), now=TODAY)
    assert loaded.environments["production"].mode == mode
    assert loaded.environments["production"].targets == (target or "prod",)
    assert loaded.environments["development"].mode == "shadow"
    assert is_untouched(text)


def test_changed_policy_is_not_taken_for_ours() -> None:
    text = new_policy(None)
    assert not is_untouched(text.replace("name: ", "name: my-"))
    assert not is_untouched(f"{text}# more\n")
    assert not is_untouched("version: 1\n")


def test_name_that_is_no_target_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no name of a dbt target"):
        new_policy('prod"]\nmode: shadow')


def test_refusal_is_one_block() -> None:
    refusal = Refusal(
        "blocked", "the policy does not allow it", ["x_a (No)"], [f"model.shop.m{n}" for n in range(7)], ["ask Dana"]
    )
    assert refusal.text().splitlines() == [
        "the run is refused before its first statement: the policy does not allow it",
        "  code: blocked",
        "  rule: x_a (No)",
        *(f"  node: model.shop.m{n}" for n in range(5)),
        "  node: and 2 more",
        "  next: ask Dana",
    ]
