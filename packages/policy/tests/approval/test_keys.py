# SPDX-License-Identifier: Apache-2.0
"""Keys of the trust file, and what importing approvals costs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.keys import KeyRow, approver_threshold, keys_of
from clyra.spec import FormatError

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World


def test_each_role_has_its_own_keys(world: World) -> None:
    world.key(world.BEN)
    issuers, approvers = keys_of(world.trust, "issuer"), keys_of(world.trust, "approver")
    assert [(key.alg, key.iss, key.principal) for key in issuers.values()] == [("EdDSA", "clyra", None)]
    assert [(key.alg, key.iss, key.principal) for key in approvers.values()] == [("ed25519", None, world.BEN)]


def test_an_issuer_may_have_a_name_and_an_approver_none(world: World) -> None:
    world.key(world.BEN)
    trust = world.trust
    trust["keys"][0]["issuer"] = "ci"
    del trust["keys"][1]["principal"]
    assert next(iter(keys_of(trust, "issuer").values())).iss == "ci"
    (approver,) = keys_of(trust, "approver").values()
    assert approver.principal == f"key:{approver.kid}"


@pytest.mark.parametrize(
    "change",
    [
        {"keyid": "0" * 64},
        {"public_key": "?"},
        {"public_key": ""},
        {"public_key": None},
        {"valid_from": ...},
        {"role": ...},
        {"alg": ...},
        {"valid_from": ""},
        {"tenants": []},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_entry_that_is_none_is_refused(world: World, change: dict[str, Any]) -> None:
    trust = world.trust
    trust["keys"][0] = {name: value for name, value in (trust["keys"][0] | change).items() if value is not ...}
    with pytest.raises(FormatError) as caught:
        keys_of(trust, "issuer")
    assert caught.value.code == "trust_invalid"


def test_a_key_that_is_listed_twice_is_refused(world: World) -> None:
    trust = world.trust
    trust["keys"].append({**trust["keys"][0], "role": "approver"})
    with pytest.raises(FormatError, match="listed twice"):
        keys_of(trust, "issuer")


def test_without_a_trust_file_there_is_no_key() -> None:
    assert keys_of({}, "issuer") == {}


def test_a_key_is_good_from_its_first_instant_to_before_its_last() -> None:
    key = KeyRow(
        kid="0" * 64,
        alg="EdDSA",
        public_key=b"",
        valid_from="2026-01-01T00:00:00.000000Z",
        valid_to="2026-02-01T00:00:00.000000Z",
    )
    assert key.fault_at("2026-01-01T00:00:00.000000Z") is None
    assert key.fault_at("2026-01-31T23:59:59.999999Z") is None
    assert "before" in str(key.fault_at("2025-12-31T23:59:59.999999Z"))
    assert "until" in str(key.fault_at("2026-02-01T00:00:00.000000Z"))


def test_the_threshold_of_approvers_is_one_unless_the_trust_file_says_more(world: World) -> None:
    assert approver_threshold(world.trust) == 1
    assert approver_threshold({**world.trust, "threshold": {"bundle": 3}}) == 1
    assert approver_threshold({**world.trust, "threshold": {"approver": 2}}) == 2


def test_importing_approvals_loads_no_heavy_library() -> None:
    modules = ["certificate", "duties", "jws", "keys", "mint", "plan", "proof", "request", "resume", "terms", "token"]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module('clyra.approval.' + name)\n"
        "heavy = {'cryptography', 'yaml', 'jsonschema_rs', 'jsonschema', 'ruamel', 'questionary', 'z3', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
