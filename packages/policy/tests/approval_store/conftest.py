# SPDX-License-Identifier: Apache-2.0
"""Requests, plans and certificates as the commands write them, and a git repository to ask."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clyra.approval.certificate import certificate_for, sign_certificate
from clyra.approval.plan import DbtPlan, PlanNode, build_plan
from clyra.approval.request import ApprovalRequest, HeldRule
from clyra.evidence.signer import Signer, ephemeral_signer

TREE = "a" * 40
COMMIT = "b" * 40
POLICY = "c" * 64


class Samples:
    """Makes documents that differ from a usual one in the members that a test names."""

    @staticmethod
    def plan(**changes: object) -> DbtPlan:
        plan = build_plan(
            project="harbor_shop",
            target="prod",
            tree=TREE,
            nodes=[PlanNode("model.harbor_shop.orders", "1" * 64, "2" * 64)],
            macros_sha256="3" * 64,
            hooks_sha256="4" * 64,
            env={"REGION": "5" * 64},
            seeds={},
            dbt_version="1.11.16",
            adapter_type="duckdb",
            adapter_version="1.11.1",
        )
        return replace(plan, **changes)  # type: ignore[arg-type]

    @staticmethod
    def request(**changes: object) -> ApprovalRequest:
        request = ApprovalRequest(
            request_id="01920000-0000-7000-8000-000000000001",
            created_at="2026-11-01T08:00:00.000000Z",
            tenant="default",
            project="harbor_shop",
            target="prod",
            environment="production",
            audience="dbt:harbor_shop/prod",
            actions=("dbt.run",),
            resources=("shop.main.orders",),
            payload_type="dbt-plan/v1",
            payload_sha256=Samples.plan().sha256,
            tree=TREE,
            commit=COMMIT,
            policy_sha256=POLICY,
            decision="01920000-0000-7000-8000-000000000002",
            point="dbt.run",
            rules=(HeldRule("x_schema_change", "warning", "schema changes need a second look"),),
            facts={"change.models": 1},
            risk=None,
            sub="svc:deploy",
            author=f"git:{'d' * 64}",
            author_basis="claimed",
            contributors=(f"git:{'d' * 64}",),
            quorum=1,
            run_id="run-1",
        )
        return replace(request, **changes)  # type: ignore[arg-type]

    @staticmethod
    def certificate(request: ApprovalRequest, signer: Signer | None = None) -> bytes:
        signer = signer or ephemeral_signer()
        body = certificate_for(
            request, principal=f"key:{signer.keyid}", role="approver", approved_at="2026-11-01T09:00:00.000000Z"
        )
        return sign_certificate(body, [signer])


class Checkout:
    """A git repository in which several people commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    @property
    def environ(self) -> dict[str, str]:
        named = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        return named | {"GIT_CONFIG_GLOBAL": os.devnull}

    def git(self, *words: str, **environ: str) -> str:
        done = subprocess.run(
            ("git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid", *words),
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(
        self, author: str, files: dict[str, str], *, committer: str | None = None, message: str = "A change"
    ) -> str:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        who = {
            "GIT_AUTHOR_NAME": author,
            "GIT_AUTHOR_EMAIL": f"{author}@example.invalid",
            "GIT_COMMITTER_NAME": committer or author,
            "GIT_COMMITTER_EMAIL": f"{committer or author}@example.invalid",
        }
        self.git("commit", "-q", "--allow-empty", "-m", message, **who)
        return self.git("rev-parse", "HEAD")


Killing = Callable[[Callable[[Path], object], Path], Iterator[Path]]

_CALLS = ("open", "write", "fsync", "replace", "link", "unlink", "mkdir")


def _killed_at_every_call(work: Callable[[Path], object], folder: Path) -> Iterator[Path]:
    """Do ``work`` in a new folder in processes that die by SIGKILL before their 1st, 2nd, ... call that writes.

    Gives the folder after each death, and after the first process that lives to its end.
    """
    for left in range(1, 500):
        root = folder / str(left) / "approvals"
        child = os.fork()
        if child == 0:
            _die_before_call(left)
            try:
                work(root)
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        yield root
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            # A file that is written needs at least six of them.
            assert left > 6
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("the work never ends")


def _die_before_call(number: int) -> None:
    left = number

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*words: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **more)

        return counting

    for name in _CALLS:
        setattr(os, name, counted(getattr(os, name)))


@pytest.fixture
def killing() -> Killing:
    return _killed_at_every_call


@pytest.fixture
def samples() -> type[Samples]:
    return Samples


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")
