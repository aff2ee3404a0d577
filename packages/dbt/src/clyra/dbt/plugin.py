# SPDX-License-Identifier: Apache-2.0
"""The dbt plugin: found by dbt through the module ``dbt_clyra``, created once per invocation, before parsing.

It uses neither ``get_nodes`` nor ``get_manifest_artifacts``: one is refused by ``--use-v2-parser``, the other is passed
over with ``--no-write-json``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

import click
from dbt_common.events.event_manager_client import get_event_manager

from clyra.dbt import _seal
from clyra.dbt._clock import Clock, SystemClock, aware
from clyra.dbt._events import EventRecorder
from clyra.dbt._invocation import DbtInvocation
from clyra.dbt._policy import Governing, find_governing, is_plan_only
from clyra.dbt._private_keys import give_back_keys, take_keys
from clyra.dbt._process import Termination
from clyra.dbt._session import Session, tell
from clyra.dbt._statements import Active
from clyra.dbt._token import Tokens, take_tokens
from clyra.dbt.errors import RunStopped
from dbt.plugins.manager import dbtPlugin

if TYPE_CHECKING:
    from clyra.dbt._gate import RunGate


class ClyraPlugin(dbtPlugin):
    """Records the invocation it is created for, if its command is one of those that leave a bundle."""

    clock: ClassVar[Clock] = SystemClock()
    load_us: ClassVar[int] = 0

    def initialize(self) -> None:
        """Register for dbt's events. A fault of ours stops dbt only where a policy enforces: nobody would judge."""
        governing: Governing | None = None
        try:
            clock = type(self).clock
            before = clock.cpu_us()
            # Of every command: project code also runs in those that leave no evidence.
            tokens = take_tokens(os.environ)
            take_keys(os.environ)
            click.get_current_context().call_on_close(lambda: give_back_keys(os.environ))
            dbt = self._begin()
            if dbt is not None:
                today = aware(clock.now_us()).date()
                governing = find_governing(dbt.real_project_dir, os.environ, target=dbt.target_name, today=today)
                if governing is None or _is_wanted(dbt, governing):
                    self._start(dbt, governing, tokens, before)
                    return
            if is_plan_only(os.environ):
                raise RunStopped("this command is not judged, so there is no plan of it", "plan_only")
        except RunStopped:
            raise
        except Exception as exc:
            told = f"cannot record ({type(exc).__name__}: {exc})"
            if is_plan_only(os.environ) or (governing is not None and governing.enforces):
                raise RunStopped(f"{told}, and nothing may run that was not judged", "internal_error") from exc
            tell(f"{told}; this run leaves no evidence")

    def _begin(self) -> DbtInvocation | None:
        """The command, if it is one of those that leave a bundle; what an earlier one left is taken away."""
        manager = get_event_manager()
        Active.recorder = None
        manager.callbacks[:] = [known for known in manager.callbacks if not isinstance(known, EventRecorder)]
        dbt = DbtInvocation.current()
        return dbt if dbt is not None and dbt.is_recorded else None

    def _start(self, dbt: DbtInvocation, governing: Governing | None, tokens: Tokens, before: int) -> None:
        clock, manager = type(self).clock, get_event_manager()
        if governing is None:
            session, gate = Session(dbt, os.environ, clock), None
        else:
            session, gate = _governed(dbt, clock, governing, tokens)
        termination = Termination()
        recorder = EventRecorder(session, termination, _seal.finish, gate)
        manager.callbacks.append(recorder)
        click.get_current_context().call_on_close(recorder.close)
        termination.install()
        session.thread().cpu_us += clock.cpu_us() - before + type(self).load_us
        type(self).load_us = 0


def _is_wanted(dbt: DbtInvocation, governing: Governing) -> bool:
    """Whether the policy wants this command recorded; what it enforces is."""
    if not governing.is_enabled:
        tell("switched off by dbt_hooks.enabled of the policy; this run leaves no evidence")
        return False
    return governing.enforces or is_plan_only(os.environ) or governing.records(dbt.command, dbt.target_name)


def _governed(dbt: DbtInvocation, clock: Clock, governing: Governing, tokens: Tokens) -> tuple[Session, RunGate]:
    # Only runs with a policy pay for these.
    from clyra.dbt._gate import RunGate
    from clyra.dbt._governance import Governance

    governance = Governance(governing)
    session = Session(dbt, os.environ, clock, governance)
    return session, RunGate(session, governance, tokens, plan_only=is_plan_only(os.environ))
