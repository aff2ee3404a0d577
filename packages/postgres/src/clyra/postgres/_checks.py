# SPDX-License-Identifier: Apache-2.0
"""What ``clyra doctor`` asks a Postgres server: version, settings, the role's rights; one connection, no writing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from clyra.policy.health import Check, CheckContext
from clyra.postgres.wal_point import SYSTEM
from clyra.spec import UnavailableError

_GROUP = f"warehouse.{SYSTEM}"
_OLDEST, _FULL, _NEWEST_TESTED = 13, 15, 18
_FACTS = """
select current_setting('server_version_num')::int, current_setting('wal_level'),
       current_setting('log_parameter_max_length', true), current_user,
       (select rolsuper from pg_catalog.pg_roles where rolname = current_user),
       (select rolcreaterole or rolreplication or rolbypassrls from pg_catalog.pg_roles where rolname = current_user),
       pg_catalog.to_regnamespace('clyra_guard') is not null,
       pg_catalog.current_database()
"""
_SETTING = ('-c "alter system set log_parameter_max_length = 0"', '-c "select pg_reload_conf()"')
_PSQL = {"host": "-h", "port": "-p", "dbname": "-d"}


def checks(context: CheckContext) -> Iterator[Check]:
    """The checks of ``warehouse.postgres``: nothing where the project builds elsewhere, or nobody asked.

    Raises:
        ConfigurationError: The project's profile cannot be read.
        UnavailableError: The server does not answer.
    """
    if not context.is_asked(_GROUP):
        return
    target = context.find_target()
    if target is None or target.adapter != SYSTEM:
        return
    with target.connect() as query:
        yield Check(f"{_GROUP}.connect", "ok", f"target {target.name} answers")
        yield from check_server(query, target.address)


def check_server(query: Callable[[str], Sequence[Sequence[object]]], address: Mapping[str, str]) -> Iterator[Check]:
    """What is found on the server that ``query`` reaches, as the role that it has there.

    Args:
        query: Runs one statement.
        address: ``host``, ``port`` and ``dbname`` for the commands that are printed.

    Raises:
        UnavailableError: The query failed.
    """
    rows = query(_FACTS)
    if len(rows) != 1 or len(rows[0]) != 8:
        raise UnavailableError("the server did not answer as Postgres does")
    number, wal_level, parameters, role, is_super, may_much, has_guard, database = rows[0]
    yield judge_version(int(str(number)))
    yield _wal(str(wal_level))
    yield _parameters(None if parameters is None else str(parameters), address)
    yield _role(str(role), is_super=bool(is_super), may_much=bool(may_much))
    yield _guard(str(database), has_guard=bool(has_guard))


def judge_version(number: int) -> Check:
    """Whether the version, as ``server_version_num`` gives it, is one that is supported."""
    name, major = f"{_GROUP}.version", number // 10_000
    told = f"Postgres {major}.{number % 10_000}"
    if major < _OLDEST:
        return Check(name, "fail", f"{told} is too old; {_FULL} or later is supported")
    if major < _FULL:
        return Check(name, "warn", f"{told} is for trying out, as far as it goes; {_FULL} or later is supported")
    if major > _NEWEST_TESTED:
        return Check(name, "warn", f"{told} was not tested with; {_NEWEST_TESTED} is the newest that was")
    return Check(name, "ok", told)


def _wal(level: str) -> Check:
    # Positions in the log are there at every level; what is decoded from it needs `logical`.
    return Check(f"{_GROUP}.wal_level", "ok", f"wal_level is {level}; anchors need no more")


def _parameters(length: str | None, address: Mapping[str, str]) -> Check:
    name = f"{_GROUP}.log_parameters"
    if length == "0":
        return Check(name, "ok", "the server's log holds no bound values")
    told = f"log_parameter_max_length is {length}: where statements are logged, bound values are too, tokens among them"
    # Who may do this is another role than dbt's: psql takes it from PGUSER and asks for its password.
    place = [word for option in address for word in (_PSQL[option], shlex.quote(address[option]))]
    return Check(name, "warn", f"{told}; a superuser sets 0", " ".join(["psql", *place, *_SETTING]))


def _role(role: str, *, is_super: bool, may_much: bool) -> Check:
    name = f"{_GROUP}.role"
    if is_super:
        return Check(name, "warn", f"dbt connects as {role}, a superuser, whom nothing inside the database can hold")
    if may_much:
        return Check(
            name, "warn", f"dbt's role {role} may create roles, replicate or pass row security; take that away"
        )
    return Check(name, "ok", f"dbt connects as {role}, with no rights over the server")


def _guard(database: str, *, has_guard: bool) -> Check:
    name = f"{_GROUP}.guard"
    if has_guard:
        return Check(name, "ok", f"clyra_guard is installed in {database}")
    return Check(name, "skip", f"clyra_guard is not installed in {database}: tokens for pg:{database} are refused")
