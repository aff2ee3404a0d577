# SPDX-License-Identifier: Apache-2.0
"""Postgres as Clyra's warehouse protocol sees it: anchors in the write-ahead log, tags as settings ``clyra.*``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from clyra.postgres.wal_check import judge_anchor, parse_timeline_history
from clyra.postgres.wal_point import KIND, SYSTEM, join_points, read_point
from clyra.spec.errors import FormatError
from clyra.warehouse import Anchor, AnchorCheck, Mark, Query, SessionSettings, SessionTags

_DATABASES = "select oid::bigint from pg_catalog.pg_database"
_MAY_READ_FILES = (
    "select pg_catalog.has_function_privilege('pg_catalog.pg_read_file(text,bigint,bigint,boolean)', 'execute')"
)
_HISTORY_FILE = "select pg_catalog.pg_read_file('pg_wal/{:08X}.history', 0, 1048576, true)"


class PostgresWarehouse:
    """The ``clyra.warehouse.Warehouse`` of Postgres 13 and later; holds no connection and no state."""

    adapter_type = SYSTEM

    def begin_anchor(self, query: Query) -> Mark:
        """Where the server stands before the run's first statement.

        Raises:
            UnavailableError: The query failed.
        """
        return read_point(query)

    def end_anchor(self, query: Query, mark: Mark, now: datetime) -> Anchor:
        """The anchor from ``mark`` to where the server stands now, of kind ``postgres_wal``.

        Of kind ``none`` where no LSN may be read, or where the two ends are of different servers or databases.

        Raises:
            UnavailableError: The query failed.
        """
        return join_points(mark, read_point(query), now)

    def verify_anchor(self, query: Query, anchor: Anchor) -> AnchorCheck:
        """Whether the server that ``query`` reaches has the anchor in its history.

        Reading the history of earlier timelines takes ``pg_read_server_files``; without it an anchor from before a
        failover is no longer checkable.

        Raises:
            FormatError: The anchor is not of kind ``postgres_wal``, or its value is malformed.
            UnavailableError: The query failed.
        """
        if anchor.kind != KIND:
            raise FormatError(f"the anchor is of kind {anchor.kind}, not {KIND}; it cannot be checked", pointer="/kind")
        today = read_point(query)
        databases = frozenset(int(str(row[0])) for row in query(_DATABASES))
        return judge_anchor(anchor.value, today, databases=databases, ended=_earlier_timelines(query, today))

    def session_settings(self, tags: SessionTags) -> SessionSettings:
        """The tags as ``clyra.run_id``, ``clyra.actor_id`` and ``clyra.tenant_id``, in PGOPTIONS or by statement.

        A connection whose own ``options`` are set, as dbt does for a profile with ``search_path``, does not look at
        PGOPTIONS; there only the statements work. They also set ``application_name``, which PGOPTIONS leaves alone.
        """
        settings = {"run_id": tags.run_id, "actor_id": tags.actor_id, "tenant_id": tags.tenant_id}
        options = " ".join(f"-c clyra.{name}={tag}" for name, tag in settings.items())
        named = {**{f"clyra.{name}": tag for name, tag in settings.items()}, "application_name": f"clyra:{tags.run_id}"}
        # Tags hold neither quotes nor backslashes, so a literal needs no escaping.
        statements = tuple(f"select pg_catalog.set_config('{name}', '{tag}', false)" for name, tag in named.items())
        return SessionSettings({"PGOPTIONS": options}, statements)


def _earlier_timelines(query: Query, today: Mark) -> Mapping[int, int] | None:
    """Where earlier timelines were left, None where that may not be read or the file is gone."""
    timeline = today.get("timeline")
    if timeline is None or not query(_MAY_READ_FILES)[0][0]:
        return None
    text = query(_HISTORY_FILE.format(int(timeline)))[0][0]
    return None if text is None else parse_timeline_history(str(text))
