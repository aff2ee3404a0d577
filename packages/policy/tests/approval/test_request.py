# SPDX-License-Identifier: Apache-2.0
"""Requests: one digest for one meaning."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.request import ApprovalRequest, HeldRule, Standing
from clyra.evidence.canonical import canonicalize
from clyra.spec import FormatError

if TYPE_CHECKING:
    from packages.policy.tests.approval.conftest import World


def invalid(make: Any, *arguments: Any, **members: Any) -> FormatError:
    with pytest.raises(FormatError) as caught:
        make(*arguments, **members)
    assert caught.value.code == "request_invalid"
    return caught.value


def test_a_request_is_read_as_it_was_written(world: World) -> None:
    for request in (
        world.request(),
        world.request(tree=None, commit=None, checkpoint="publish", max_rows=5, max_sessions=2),
        world.standing(),
        world.break_glass(contributors=(world.BEN, world.CAROL)),
        world.request(risk={"score": 81, "band": "critical", "factors": [_factor()]}),
    ):
        again = ApprovalRequest.from_bytes(request.to_bytes())
        assert again == request
        assert again.sha256 == request.sha256 == sha256(request.to_bytes()).hexdigest()


def _factor() -> dict[str, Any]:
    return {"factor": "production", "weight": 2, "count": 1, "points": 2, "unknown": True}


def test_absent_members_are_absent(world: World) -> None:
    text = world.request().to_bytes().decode()
    assert not any(name in text for name in ('"checkpoint"', '"standing"', '"break_glass"', '"max_rows"'))
    assert '"risk":null' in text


@pytest.mark.parametrize(
    ("pointer", "changes"),
    [
        ("/actions", {"actions": ("sql.dml", "dbt.run")}),
        ("/actions", {"actions": ()}),
        ("/resources", {"resources": ()}),
        ("/resources", {"resources": ("b", "a")}),
        ("/resources/0", {"resources": ("*",)}),
        ("/contributors", {"contributors": ("svc:b", "svc:a")}),
        ("/contributors/0", {"contributors": ("ana@acme.example",)}),
        ("/rules", {"rules": ()}),
        ("/rules", {"rules": (HeldRule("x_b", "info", ""), HeldRule("x_a", "info", ""))}),
        ("/rules", {"rules": (HeldRule("x_a", "info", "1"), HeldRule("x_a", "info", "2"))}),
        ("/run_id", {"run_id": None}),
        ("/run_id", {"standing": Standing("2026-02-01T00:00:00.000000Z", "prod")}),
        ("/standing/target", {"run_id": None, "standing": Standing("2026-02-01T00:00:00.000000Z", "dev")}),
        ("/quorum", {"quorum": 0}),
        ("/quorum", {"quorum": True}),
        ("/sub", {"sub": "deploy"}),
        ("/tree", {"tree": "HEAD"}),
        ("/audience", {"audience": "prod"}),
        ("/facts/x", {"facts": {"x": 1.5}}),
        ("/request_id", {"request_id": "1"}),
    ],
)
def test_a_request_that_means_nothing_cannot_be_made(world: World, pointer: str, changes: dict[str, Any]) -> None:
    assert invalid(world.request, **changes).pointer == pointer


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[]", b"\xff", b"{" * 5000], ids=lambda data: str(data[:8]))
def test_other_bytes_are_no_request(data: bytes) -> None:
    invalid(ApprovalRequest.from_bytes, data)


def test_bytes_that_are_not_canonical_are_no_request(world: World) -> None:
    data = world.request().to_bytes()
    for changed in (data + b"\n", data.replace(b":", b": ", 1), data.replace(b"{", b'{"point":"x",', 1)):
        invalid(ApprovalRequest.from_bytes, changed)
    invalid(ApprovalRequest.from_bytes, canonicalize({"pad": "x" * (1 << 20)}))


def test_an_unknown_member_is_no_part_of_a_request(world: World) -> None:
    data = world.request().to_bytes()
    invalid(ApprovalRequest.from_bytes, data.replace(b'{"actions"', b'{"a":1,"actions"'))
