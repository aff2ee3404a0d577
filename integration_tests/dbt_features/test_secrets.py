# SPDX-License-Identifier: Apache-2.0
"""No secret reaches the evidence folder, wherever in dbt's many inputs it was; and none is needed in a profile."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clyra.evidence import load_signer

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Outcome, Project

URL, QUERY, TOKEN = "url-secret-3b1c", "query-secret-9d20", "ghp_tokensecret77aa0011223344"
VARS, JOINED, ARGS = "vars-secret-6e5f", "joined-secret-0c8a", "args-secret-41b2"
ENVIRONMENT, INLINE = "environment-secret-77d0", "inline-secret-e9c3"


def everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below the folder, containers unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as container:
                    yield from ((path, container.read(name)) for name in container.namelist())


def files_with(secret: str, folder: Path) -> list[Path]:
    found = everything(folder)
    return [path for path, content in found if secret.encode() in content or secret.encode() in str(path).encode()]


@pytest.fixture(scope="module")
def project(make_tides: Callable[..., Project]) -> Project:
    """A project with a package from a URL with credentials, installed by hand."""
    made = make_tides("duckdb")
    made.write(
        "packages.yml",
        "packages:\n"
        f"  - git: 'https://builder:{URL}@git.example.invalid/berths.git'\n"
        "    revision: main\n"
        f"  - git: \"https://{{{{ env_var('DBT_ENV_SECRET_GIT') }}}}@git.example.invalid/quays.git\"\n"
        "    revision: main\n",
    )
    for name in ("berths", "quays"):
        made.write(f"dbt_packages/{name}/dbt_project.yml", f"name: {name}\nversion: '1.0'\n")
    made.environ["DBT_ENV_SECRET_GIT"] = ENVIRONMENT
    return made


def test_secrets_of_packages_environment_and_arguments_are_nowhere(project: Project) -> None:
    given = json.dumps({"api_password": VARS, "endpoint": f"https://user:{URL}@host.invalid/?token={QUERY}"})
    outcomes = [
        project.dbt("--no-write-json", "seed", "--vars", given),
        project.dbt("--no-write-json", "seed", f"--vars={{api_password: {JOINED}}}"),
        project.dbt("--no-write-json", "compile", "--inline", f"select '{INLINE}' as secret"),
        project.dbt("--no-write-json", "seed", "--select", f"path:{TOKEN}", f"path:https://user:{URL}@host.invalid"),
        project.dbt("--no-write-json", "seed", "--select", f"path:{ENVIRONMENT}"),
        project.dbt("--no-write-json", "run-operation", "lower_levels", "--args", f"{{centimetres: {ARGS}}}", code=1),
    ]
    for secret in (URL, QUERY, TOKEN, VARS, JOINED, ARGS, INLINE, ENVIRONMENT):
        assert files_with(secret, project.evidence_folder) == [], secret
    started = [outcome.evidence.events("run.started")[0]["argv"] for outcome in outcomes]
    assert started[0] == ["dbt", "--no-write-json", "seed", "--vars", "{api_password: ***, endpoint: ***}"]
    assert started[1] == ["dbt", "--no-write-json", "seed", "--vars={api_password: ***}"]
    assert started[5][-2:] == ["--args", "{centimetres: ***}"]


def test_variables_are_only_in_the_copies_of_what_dbt_wrote(project: Project) -> None:
    outcome = project.dbt("seed", "--vars", f"{{api_password: {VARS}}}")
    copies = {project.evidence_folder / "artifacts/sha256" / f[:2] / f for f in outcome.evidence.references().values()}
    assert set(files_with(VARS, project.evidence_folder)) <= copies
    assert files_with(VARS, outcome.evidence.path.parent) == []
    for secret in (URL, ENVIRONMENT):
        assert files_with(secret, project.evidence_folder) == []


def test_configured_key_is_nowhere(project: Project, tmp_path: Path) -> None:
    load_signer("bundle", {"CLYRA_CONFIG_DIR": str(tmp_path)})
    pem = (tmp_path / "keys" / "bundle.pem").read_text()
    # No auditor of these tests knows the key, so the bundle is not verified.
    (evidence,) = project.dbt_unverified("seed", CLYRA_SIGNING_KEY=pem)
    assert evidence.manifest["producer"]["signer"] == "configured"
    assert files_with(pem.splitlines()[1], project.evidence_folder) == []


@pytest.fixture(scope="module")
def on_postgres(make_tides: Callable[..., Project]) -> Project:
    return make_tides("postgres")


def test_password_of_the_warehouse_is_nowhere(on_postgres: Project) -> None:
    password = on_postgres.environ["DBT_ENV_SECRET_TIDES_PASSWORD"]
    on_postgres.dbt("seed")
    # Where nobody gets in there is no anchor either, of which verification warns.
    (refused,) = on_postgres.dbt_unverified("seed", code=2, DBT_ENV_SECRET_TIDES_PASSWORD="wrong-secret-5a5a")
    assert refused.run["status"] == "failed"
    for secret in (password, "wrong-secret-5a5a"):
        assert files_with(secret, on_postgres.evidence_folder) == []


def test_profile_without_a_password_is_recorded_with_its_anchor(on_postgres: Project, tmp_path: Path) -> None:
    environ = on_postgres.environ
    fields = [environ[f"TIDES_{name}"] for name in ("HOST", "PORT", "DBNAME", "USER")]
    passwords = tmp_path / "pgpass"
    passwords.write_text(":".join([*fields, environ["DBT_ENV_SECRET_TIDES_PASSWORD"]]) + "\n")
    passwords.chmod(0o600)
    outcome: Outcome = on_postgres.dbt(
        "seed", TIDES_TARGET="without_password", DBT_ENV_SECRET_TIDES_PASSWORD="", PGPASSFILE=str(passwords)
    )
    (anchor,) = outcome.evidence.manifest["anchors"]
    assert (anchor["kind"], anchor.get("reason")) == ("postgres_wal", None)
    assert outcome.evidence.run["target"] == "without_password"
