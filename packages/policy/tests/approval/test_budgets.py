# SPDX-License-Identifier: Apache-2.0
"""What a token costs, against a library that checks less of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from clyra.approval.proof import check_proof
from clyra.approval.token import check_token

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World


def cpu_s(work: Callable[[], object]) -> float:
    """The least CPU time of some rounds, in seconds per call."""
    rounds = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(200):
            work()
        rounds.append((time.process_time() - start) / 200)
    return min(rounds)


@pytest.mark.budget
def test_a_token_and_its_certificates_cost_at_most_three_times_what_pyjwt_needs(world: World) -> None:
    """Budget: CPU of the whole check <= 3x that of ``jwt.decode``, which verifies the signature and five claims."""
    request = world.request()
    certificates = [world.approve(request)]
    token = world.mint(request, certificates).token
    keys, expected = world.issuer_keys, world.expected()
    key = load_der_public_key(world.issuer.public_key)
    options = {"verify_exp": False, "verify_iat": False}

    def ours() -> None:
        checked = check_token(token, keys=keys, expected=expected, now_s=world.NOW_S)
        check_proof(checked, request, certificates, policy=world.policy, now_s=world.NOW_S)

    def theirs() -> None:
        jwt.decode(
            token,
            key,  # type: ignore[arg-type]  # any of the public keys of cryptography
            algorithms=["EdDSA"],
            audience="dbt:jaffle_shop/prod",
            options=options,  # type: ignore[arg-type]
        )

    ours()
    assert cpu_s(ours) <= 3 * cpu_s(theirs)
