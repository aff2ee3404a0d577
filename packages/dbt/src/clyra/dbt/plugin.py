# SPDX-License-Identifier: Apache-2.0
"""The dbt plugin: found by dbt through the module ``dbt_clyra``, created once per invocation, before parsing.

It uses neither ``get_nodes`` nor ``get_manifest_artifacts``: one is refused by ``--use-v2-parser``, the other is passed
over with ``--no-write-json``.
"""

from __future__ import annotations

import os
from typing import ClassVar

import click
from dbt_common.events.event_manager_client import get_event_manager

from clyra.dbt import _seal
from clyra.dbt._clock import Clock, SystemClock
from clyra.dbt._events import EventRecorder
from clyra.dbt._invocation import DbtInvocation
from clyra.dbt._process import Termination
from clyra.dbt._session import Session, tell
from clyra.dbt._statements import Active
from dbt.plugins.manager import dbtPlugin


class ClyraPlugin(dbtPlugin):
    """Records the invocation it is created for, if its command is one of those that leave a bundle."""

    clock: ClassVar[Clock] = SystemClock()
    load_us: ClassVar[int] = 0

    def initialize(self) -> None:
        """Register for dbt's events. Never raises: a fault of ours must not stop dbt."""
        try:
            self._start()
        except Exception as exc:  # noqa: BLE001 - recording must not break a run
            tell(f"cannot record ({type(exc).__name__}: {exc}); this run leaves no evidence")

    def _start(self) -> None:
        clock = type(self).clock
        before = clock.cpu_us()
        manager = get_event_manager()
        Active.recorder = None
        manager.callbacks[:] = [known for known in manager.callbacks if not isinstance(known, EventRecorder)]
        dbt = DbtInvocation.current()
        if dbt is None or not dbt.is_recorded:
            return
        session = Session(dbt, os.environ, clock)
        termination = Termination()
        recorder = EventRecorder(session, termination, _seal.finish)
        manager.callbacks.append(recorder)
        click.get_current_context().call_on_close(recorder.close)
        termination.install()
        session.thread().cpu_us += clock.cpu_us() - before + type(self).load_us
        type(self).load_us = 0
