# SPDX-License-Identifier: Apache-2.0
"""Version 0 becomes version 1, as values and as a file with its comments."""

from __future__ import annotations

from datetime import date

import pytest

from clyra.policy.load import read_policy
from clyra.policy.migrate import migrate_file, migrated
from clyra.policy.normal import normalize
from clyra.policy.problem import PolicyInvalid

TODAY = date(2026, 11, 1)
OLD = """# The policy of the shop.
version: 0  # the first
name: shop
environments:
  prod: {targets: "prod, prod_eu", mode: enforce}  # both regions
  dev:
    targets: dev
data_platform:
  rules:
    # Nobody builds from a dirty tree.
    - id: tree_dirty
      effect: deny  # hard
      mode: enforce
      on_missing: approve
      when:
        - {field: change.dirty, op: eq, value: true}
"""
NEW = """# The policy of the shop.
version: 1  # the first
name: shop
environments:
  prod: {targets: [prod, prod_eu], mode: enforce}  # both regions
  dev:
    targets:
      - dev
data_platform:
  rules:
    # Nobody builds from a dirty tree.
    - id: tree_dirty
      effect: block # hard
      mode: enforce
      on_missing: require_approval
      when:
        - {field: change.dirty, op: eq, value: true}
"""


def test_a_file_keeps_its_comments_and_order() -> None:
    assert migrate_file(OLD.encode(), name="f") == (0, NEW)


def test_line_ends_stay_what_they_were() -> None:
    assert migrate_file(OLD.replace("\n", "\r\n").encode(), name="f") == (0, NEW.replace("\n", "\r\n"))


def test_the_newest_version_is_left_alone() -> None:
    odd = "version:   1\nname: 'shop'   # odd\n"
    assert migrate_file(odd.encode(), name="f") == (1, odd)


def test_both_versions_mean_the_same_policy() -> None:
    old, new = read_policy(OLD.encode(), now=TODAY), read_policy(NEW.encode(), now=TODAY)
    assert old.sha256 == new.sha256
    assert [problem.code for problem in old.warnings] == ["policy_version"]
    assert new.warnings == ()


def test_values_are_migrated_without_changing_what_was_given() -> None:
    old = {"version": 0, "environments": {"prod": {"targets": "a b"}}}
    assert migrated(old) == ({"version": 1, "environments": {"prod": {"targets": ["a", "b"]}}}, [])
    assert old["version"] == 0
    assert normalize(old)["environments"]["prod"]["targets"] == ["a", "b"]


def test_the_old_words_are_not_known_to_version_1() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(OLD.replace("version: 0", "version: 1").encode(), now=TODAY)
    assert {problem.line for problem in caught.value.problems} == {5, 7, 12, 14}


@pytest.mark.parametrize("data", [b"version: 7\n", b"version: x\n", b"version: true\n", b"version: [\n", b"a: off\n"])
def test_a_file_that_cannot_be_read_is_not_rewritten(data: bytes) -> None:
    with pytest.raises(PolicyInvalid):
        migrate_file(data, name="f")
