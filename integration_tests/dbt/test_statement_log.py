# SPDX-License-Identifier: Apache-2.0
"""The statement records are what the Postgres server itself logged, no more and no less."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from clyra.postgres import Server

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Ledger

# Sent by the driver on its own, or a transaction mark that both sides leave out.
DRIVER = re.compile(r"\s*(begin|commit|rollback|set)\b", re.IGNORECASE)
ENTRY = re.compile(r"^\d{4}-\d\d-\d\d [^\n]*?LOG:  statement: (.*?)(?=^\d{4}-\d\d-\d\d |\Z)", re.MULTILINE | re.DOTALL)


def logged(text: str) -> list[str]:
    """Statements in a server log, in order; a message's further lines begin with a tab."""
    return [found[1].removesuffix("\n").replace("\n\t", "\n") for found in ENTRY.finditer(text)]


def test_records_equal_the_server_log(on_postgres: Ledger, postgres_server: Server) -> None:
    assert postgres_server.log_path is not None
    start = postgres_server.log_path.stat().st_size
    on_postgres.dbt("build")
    with postgres_server.log_path.open("rb") as log:
        log.seek(start)
        text = log.read().decode()
    ours = re.compile(r"pg_control_system|pg_current_wal|pg_current_snapshot|txid_current_snapshot")
    by_server = [sql for sql in logged(text) if not DRIVER.match(sql) and not ours.search(sql)]
    expected = Counter(hashlib.sha256(sql.encode()).hexdigest() for sql in by_server)
    records = on_postgres.bundle().events("statement")
    found = Counter(event["sent_sha256"] for event in records if event["verb"] not in ("begin", "commit", "set"))
    assert len(by_server) > 20
    assert found == expected
