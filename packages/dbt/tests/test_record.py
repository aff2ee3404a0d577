# SPDX-License-Identifier: Apache-2.0
"""Limits and labels that the user set."""

from __future__ import annotations

import pytest

from clyra.dbt._record import labels, service_levels


def test_limit_is_held_against_what_was_observed() -> None:
    met = {"name": "dbt_run", "limit_us": 2_500_000, "observed_us": 2_500_000, "met": True}
    assert service_levels({"dbt_run_s": 2.5}, {"dbt_run_us": 2_500_000}) == [met]
    assert service_levels({"dbt_run_s": 2}, {"dbt_run_us": 2_500_000})[0]["met"] is False


@pytest.mark.parametrize("limits", [None, [], "600", {}, {"dbt_run_s": "600"}, {"dbt_run_s": True}, {"dbt_run_s": -1}])
def test_limit_that_is_none_makes_no_level(limits: object) -> None:
    assert service_levels(limits, {"dbt_run_us": 1}) == []


def test_limit_without_an_observation_makes_no_level() -> None:
    assert service_levels({"dbt_run_s": 1}, {}) == []


def test_labels_are_texts() -> None:
    assert labels({"team": "harbour", 7: None, "": "x"}) == {"team": "harbour", "7": "None"}
    assert labels("team") == {}
