# SPDX-License-Identifier: Apache-2.0
"""dbt's events, each to what it means for evidence.

The recorder is registered as a callback of dbt's event manager, which calls it on the thread that fires. Whatever goes
wrong in here is counted and dbt goes on; only a refusal, which the user asked for, leaves a callback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clyra.dbt import _schema_text, _statements
from clyra.dbt._dbt_object import DbtObject
from clyra.dbt._nodes import outcome_of
from clyra.dbt._session import Session
from clyra.dbt._statements import Active, Call, ThreadState
from clyra.dbt.errors import PlanOnly, RecorderStop, RunRefused, RunStopped
from dbt.cli.exceptions import ExceptionExit

if TYPE_CHECKING:
    from clyra.dbt._gate import RunGate
    from clyra.dbt._process import Termination

Handler = Callable[[DbtObject, ThreadState], None]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Stands for dbt's data of ``CommandCompleted`` where that event never came; ``elapsed`` in seconds."""

    elapsed: float
    success: bool = False


class EventRecorder:
    """Records one invocation.

    Args:
        session: Its state.
        termination: Its way of handling SIGTERM.
        on_completed: Called once with dbt's data of ``CommandCompleted``; seals.
        gate: Judges the run, where there is a policy.
    """

    def __init__(
        self,
        session: Session,
        termination: Termination,
        on_completed: Callable[[EventRecorder, DbtObject], None],
        gate: RunGate | None = None,
    ) -> None:
        self.session = session
        self.gate = gate
        self.termination = termination
        self.interrupted = False
        self.refused = False
        self._on_completed = on_completed
        self._began_us = session.clock.elapsed_us()
        self._operation = f"operation:{session.dbt.operation}" if session.dbt.operation else None
        self._handlers: dict[str, Handler] = {
            "AdapterRegistered": self._adapter_registered,
            "FoundStats": self._found_stats,
            "ConcurrencyLine": self._concurrency_line,
            "SQLQuery": self._query,
            "SQLQueryStatus": self._query_status,
            "NodeStart": self._node_start,
            "LogStartBatch": self._batch,
            "LogBatchResult": self._batch,
            "NodeFinished": self._node_finished,
            "LogHookEndLine": self._hook_end,
            "GenericExceptionOnRun": self._node_exception,
            "RunningOperationCaughtError": self._operation_error,
            "RunningOperationUncaughtError": self._operation_error,
            "MainEncounteredError": self._main_error,
            "CommandCompleted": self._command_completed,
        }

    def __call__(self, message: DbtObject) -> None:
        """Take one event of dbt's."""
        handler = self._handlers.get(message.info.name)
        if handler is None:
            return
        session = self.session
        state = session.thread()
        before = session.clock.cpu_us()
        try:
            handler(message.data, state)
        except RunStopped:
            self.refused = True
            raise
        except ExceptionExit:
            raise
        except Exception as exc:  # noqa: BLE001 - recording must not break a run
            session.degrade("events", exc)
        finally:
            state.cpu_us += session.clock.cpu_us() - before

    def close(self) -> None:
        """Seal the run if dbt leaves without saying that it is complete; never raises, dbt's result stands already.

        With ``--warn-error`` dbt raises over its summary of deprecations before it fires ``CommandCompleted``.
        """
        if not self._handlers:
            return
        session = self.session
        state = session.thread()
        elapsed_s = (session.clock.elapsed_us() - self._began_us) / 1_000_000
        try:
            self._error(state, "run_failed", "", "")
            self._command_completed(Unfinished(elapsed_s), state)
        except ExceptionExit:
            # Told when it was raised; there is no exit code left to change.
            pass
        except Exception as exc:  # noqa: BLE001 - recording must not break a run
            session.degrade("events", exc)

    def around(self, manager: DbtObject, send: Callable[[], DbtObject], call: Call) -> DbtObject:
        """Run one ``add_query`` of dbt's and complete the record of what it sent."""
        session = self.session
        state = session.thread()
        outer, state.call = state.call, call
        try:
            result = send()
        except BaseException:
            self._complete(state, None, "error")
            raise
        finally:
            state.call = outer
        self._complete(state, result if call.bound else None, "success")
        return result

    def _complete(self, state: ThreadState, result: DbtObject, status: str) -> None:
        session = self.session
        before = session.clock.cpu_us()
        try:
            if result is not None and state.sent is not None:
                state.sent.sent_sha256 = _statements.sent_by_driver(result[1])
            _statements.settle(state, session.clock, status=status)
            session.drain_if_due(state)
        except Exception as exc:  # noqa: BLE001 - recording must not break a run
            session.degrade("statements", exc)
        finally:
            state.cpu_us += session.clock.cpu_us() - before

    def _adapter_registered(self, _data: DbtObject, _state: ThreadState) -> None:
        manager_class = self.session.dbt.manager_class
        if manager_class is not None:
            self.session.wrapped = _statements.wrap_add_query(manager_class)
            Active.recorder = self

    def _found_stats(self, _data: DbtObject, _state: ThreadState) -> None:
        # run-operation announces no threads. Here dbt still ends with 2 when it is refused, and nothing was sent.
        if self.gate is not None and self.session.dbt.runs_an_operation:
            self._open(frozenset())

    def _concurrency_line(self, _data: DbtObject, _state: ThreadState) -> None:
        self.session.announced = True
        self._open(self.session.dbt.to_run if self.gate is not None else None)

    def _query(self, data: DbtObject, state: ThreadState) -> None:
        session = self.session
        if state.is_new:
            # Whatever announced nothing is opened by its first statement.
            self._open(None)
            session.begin_anchor()
            state.is_new = False
        unique_id = data.node_info.unique_id
        name = _schema_text.name(unique_id) if unique_id else self._operation
        _statements.on_query(state, data.sql, name, session.clock)

    def _query_status(self, data: DbtObject, state: ThreadState) -> None:
        _statements.on_status(state, data)
        if state.call is None:
            _statements.settle(state, self.session.clock)
            self.session.drain_if_due(state)

    def _node_start(self, data: DbtObject, _state: ThreadState) -> None:
        self.session.begun.add(data.node_info.unique_id)

    def _batch(self, data: DbtObject, state: ThreadState) -> None:
        # "batch 2024-01-31 of model x.y"; the id is the start without its dashes, as dbt makes it.
        start = data.description.removeprefix("batch ").partition(" of ")[0]
        state.batch_id = _schema_text.name(start.replace("-", ""))

    def _node_finished(self, data: DbtObject, state: ThreadState) -> None:
        _statements.settle(state, self.session.clock)
        batch_id, state.batch_id = state.batch_id, None
        self.session.finish_node(state, outcome_of(data, batch_id))

    def _hook_end(self, data: DbtObject, state: ThreadState) -> None:
        members: dict[str, object] = {
            "name": _schema_text.name(data.statement),
            "status": _schema_text.word(data.status),
            "message_sha256": None,
        }
        self._add(state, "hook.finished", members)

    def _node_exception(self, data: DbtObject, state: ThreadState) -> None:
        self._error(state, "node_exception", data.exc, data.unique_id)

    def _operation_error(self, data: DbtObject, state: ThreadState) -> None:
        self._error(state, "operation_failed", data.exc, self._operation or "")

    def _main_error(self, data: DbtObject, state: ThreadState) -> None:
        # dbt fires this while it handles the exception, whose text alone does not tell a Ctrl-C.
        self.interrupted = isinstance(sys.exc_info()[1], KeyboardInterrupt | SystemExit)
        if self.interrupted:
            self.termination.ignore()
        stopped = sys.exc_info()[1]
        code = stopped.code if isinstance(stopped, RunStopped) else "run_failed"
        self._error(state, "run_interrupted" if self.interrupted else code, data.exc, "")

    def _command_completed(self, data: DbtObject, _state: ThreadState) -> None:
        Active.recorder = None
        self._handlers = {}
        self._on_completed(self, data)

    def _open(self, selected: frozenset[str] | None) -> None:
        """Open the journal, then judge the run; its first statement waits for both.

        Args:
            selected: Ids of what is about to run, None where that is not known.
        """
        from clyra.spec import ClyraError

        if self.gate is None or not self.gate.plan_only:
            try:
                self.session.open()
            except ClyraError as exc:
                raise RecorderStop.before_the_run(exc) from exc
        if self.gate is not None:
            self._pass_gate(self.gate, selected)

    def _pass_gate(self, gate: RunGate, selected: frozenset[str] | None) -> None:
        from clyra.dbt._plan_only import answer
        from clyra.dbt._refusal import PlanKnown, RunBlocked

        try:
            gate.pass_through(selected)
        except (RunBlocked, PlanKnown) as closed:
            if gate.plan_only:
                answer(closed, self.session.environ)
                raise PlanOnly("only the plan was wanted; nothing was run", "plan_only") from closed
            if isinstance(closed, RunBlocked):
                raise RunRefused.by(closed) from closed

    def _error(self, state: ThreadState, code: str, message: str, unique_id: str) -> None:
        members: dict[str, object] = {"code": code, "message_sha256": _schema_text.digest_or_none(message)}
        if unique_id:
            members["unique_id"] = _schema_text.name(unique_id)
        self._add(state, "run.error", members)

    def _add(self, state: ThreadState, kind: str, members: dict[str, object]) -> None:
        _statements.settle(state, self.session.clock)
        state.events.append((kind, self.session.clock.now_us(), members))
        self.session.drain(state)
