# SPDX-License-Identifier: Apache-2.0
"""One record per SQL statement that an adapter sends.

Two views are joined, because each misses something: a wrapper round ``ConnectionManager.add_query`` sees the whole
text, the failure and the driver's cursor; the events ``SQLQuery`` and ``SQLQueryStatus`` see what an adapter split off
or sent without ``add_query``, and the outcome, but may hold the text cut after 512 characters. Statements are counted
at the event; the wrapper completes them. Both run on the thread that sends.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from clyra.dbt import _schema_text
from clyra.dbt._clock import Clock
from clyra.dbt._verbs import body_of, verb_of

Event = tuple[str, int, dict[str, object]]
"""Type, instant in microseconds since the epoch, members: what ``clyra.evidence`` appends to a journal."""

_CUT = 512
_WRAPPED = "_clyra_wrapped"


class QueryStatus(Protocol):
    """The data of dbt's event ``SQLQueryStatus``."""

    status: str
    elapsed: float
    query_id: str


# Plain classes: creating a data class costs half a millisecond, and every dbt run imports this.
class Call:
    """An ``add_query`` that is under way: the whole text, dbt's query comment, whether values are bound to it."""

    __slots__ = ("bound", "comment", "sql")

    def __init__(self, sql: str, comment: str, *, bound: bool) -> None:
        self.sql = sql
        self.comment = comment
        self.bound = bound


class Sent:
    """A statement that was sent and whose outcome may not be known yet."""

    __slots__ = (
        "batch_id",
        "body",
        "elapsed_us",
        "query_id",
        "rows",
        "sent_sha256",
        "started_us",
        "status",
        "text",
        "unique_id",
    )

    def __init__(self, text: str, body: str, unique_id: str | None, batch_id: str | None, started_us: int) -> None:
        self.text = text
        self.body = body
        self.unique_id = unique_id
        self.batch_id = batch_id
        self.started_us = started_us
        self.sent_sha256 = ""
        self.status = "unknown"
        self.rows: int | None = None
        self.query_id: str | None = None
        self.elapsed_us: int | None = None


class ThreadState:
    """What one thread of dbt has collected and not yet handed over."""

    __slots__ = ("batch_id", "call", "cpu_us", "events", "is_new", "sent")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_new = True
        self.cpu_us = 0
        self.batch_id: str | None = None
        self.call: Call | None = None
        self.sent: Sent | None = None


def on_query(state: ThreadState, text: str, unique_id: str | None, clock: Clock) -> None:
    """An adapter is about to send ``text``, as its event has it."""
    settle(state, clock)
    call = state.call
    if call is not None and text.endswith("...") and text[:-3] == call.sql[:_CUT]:
        text = call.sql
    body = body_of(text, call.comment if call is not None else None)
    state.sent = Sent(text, body, unique_id, state.batch_id, clock.elapsed_us())


def on_status(state: ThreadState, data: QueryStatus) -> None:
    """An adapter reports the outcome of what this thread sent last."""
    sent = state.sent
    if sent is None:
        return
    sent.status = "success"
    sent.rows = rows_in(data.status)
    sent.query_id = _schema_text.name_or_none(data.query_id)
    sent.elapsed_us = _schema_text.microseconds(data.elapsed)


def settle(state: ThreadState, clock: Clock, *, status: str | None = None) -> None:
    """Turn the statement that was sent into an event, with ``status`` where no outcome was reported."""
    sent = state.sent
    if sent is None:
        return
    state.sent = None
    if status is not None and sent.status == "unknown":
        sent.status = status
        sent.elapsed_us = clock.elapsed_us() - sent.started_us
    members: dict[str, object] = {
        "unique_id": sent.unique_id,
        "sent_sha256": sent.sent_sha256 or _schema_text.digest(sent.text),
        "body_sha256": _schema_text.digest(sent.body),
        "verb": verb_of(sent.body),
        "status": sent.status,
        "rows": sent.rows,
        "query_id": sent.query_id,
        "elapsed_us": sent.elapsed_us,
    }
    if sent.batch_id is not None:
        members["batch_id"] = sent.batch_id
    state.events.append(("statement", clock.now_us(), members))


def rows_in(status: str) -> int | None:
    """The number an adapter's status ends with (``INSERT 0 5``); None where there is none, or -1."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() and last.isascii() and len(last) < 16 else None


def sent_by_driver(cursor: object) -> str:
    """Digest of the bytes that psycopg2 sent, with bound values in their places; empty for other drivers."""
    query = getattr(cursor, "query", None)
    return hashlib.sha256(query).hexdigest() if isinstance(query, bytes) else ""


class StatementWrapper(Protocol):
    """What the wrapper of ``add_query`` hands each call to."""

    def around(self, manager: Any, send: Callable[[], Any], call: Call) -> Any:
        """Run ``send`` and record what it does; raises what it raises."""


class Active:
    """The recorder of the invocation that goes on, if any: the wrapper outlives an invocation, a recorder does not."""

    recorder: StatementWrapper | None = None


def wrap_add_query(manager_class: type) -> bool:
    """Wrap ``add_query`` where it is defined for ``manager_class``, once; says whether it is wrapped now."""
    for owner in manager_class.__mro__:
        original = owner.__dict__.get("add_query")
        if original is None:
            continue
        if not hasattr(original, _WRAPPED):
            # owner is one of dbt's classes: an attribute that mypy cannot know.
            setattr(owner, "add_query", _wrapped(original))  # noqa: B010
        return True
    return False


def _wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def add_query(self: Any, sql: str, *args: Any, **kwargs: Any) -> Any:
        recorder = Active.recorder
        if recorder is None:
            return original(self, sql, *args, **kwargs)
        bindings = kwargs.get("bindings", args[1] if len(args) > 1 else None)
        call = Call(sql, _comment_of(self), bound=bindings is not None)
        return recorder.around(self, lambda: original(self, sql, *args, **kwargs), call)

    setattr(add_query, _WRAPPED, True)
    return add_query


def _comment_of(manager: object) -> str:
    """The query comment that dbt put round the statements of this thread, empty where it puts none."""
    header = getattr(manager, "query_header", None)
    comment = getattr(getattr(header, "comment", None), "query_comment", None)
    return comment if isinstance(comment, str) else ""
