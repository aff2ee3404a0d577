# SPDX-License-Identifier: Apache-2.0
"""Project code never sees a token, and nothing that a run leaves behind holds one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clyra.postgres import Server

if TYPE_CHECKING:
    from integration_tests.dbt.conftest import Governed

NAMES = ("CLYRA_APPROVAL_TOKEN", "CLYRA_APPROVAL_TOKEN_FILE", "CLYRA_RESUME_TOKEN_FILE")
# A model that prints what it can see of the settings and of the process's environment.
NOSY = """
{% if execute %}
  {% set rows = run_query("select current_setting('clyra.token', true), name || '=' || setting from pg_settings") %}
  {% for row in rows %}{{ log(row[0] ~ row[1]) }}{% endfor %}
{% endif %}
select 1 as id
"""


def everything_in(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)


def test_token_is_in_nothing_that_the_run_leaves(governed_on_postgres: Governed, postgres_server: Server) -> None:
    governed = governed_on_postgres
    governed.ledger.write("models/nosy.sql", NOSY)
    governed.commit()
    assert postgres_server.log_path is not None
    start = postgres_server.log_path.stat().st_size
    token = governed.approved("build", run_id="run-1")
    text = token.read_text()
    governed.dbt("--debug", "build", CLYRA_APPROVAL_TOKEN=text, CLYRA_RUN_ID="run-1")
    governed.dbt("--debug", "build", token=token, CLYRA_RUN_ID="run-1")
    assert governed.last().events("approval.used")
    signature = text.rpartition(".")[2].encode()
    assert signature not in everything_in(governed.path)
    for evidence in governed.ledger.bundles():
        assert signature not in evidence.all_bytes
    with postgres_server.log_path.open("rb") as log:
        log.seek(start)
        assert signature not in log.read()


def test_project_that_reads_the_variable_is_refused(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    project = governed.path / "dbt_project.yml"
    plain = project.read_text()
    for name in NAMES:
        meta = f"    +meta: {{seen: \"{{{{ env_var('{name}', 'x') }}}}\"}}\n"
        project.write_text(plain.replace("    +materialized: table\n", f"    +materialized: table\n{meta}", 1))
        governed.commit()
        assert governed.refused("seed") == "approval_token_exposed"
        assert name in governed.said


def test_model_gets_the_default_in_place_of_the_token_and_is_refused(governed_on_duckdb: Governed) -> None:
    governed = governed_on_duckdb
    token = governed.approved("build", run_id="run-1")
    governed.ledger.write("models/leak.sql", "select '{{ env_var('CLYRA_APPROVAL_TOKEN', 'nothing') }}' as found")
    code = governed.refused("run", "--select", "leak", CLYRA_APPROVAL_TOKEN=token.read_text(), CLYRA_RUN_ID="run-1")
    assert code == "approval_token_exposed"
    assert token.read_bytes() not in everything_in(governed.path / "target")
