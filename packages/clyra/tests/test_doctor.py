# SPDX-License-Identifier: Apache-2.0
"""``clyra doctor`` in a real project: each thing is broken in a shell, the printed fix is pasted there and works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clyra.postgres import Server
from clyra.spec import schema

SCRIPTS = Path(sys.executable).parent
PROJECT = """\
name: shop
version: 1.0.0
config-version: 2
profile: shop
flags: {send_anonymous_usage_stats: false}
"""
PROFILE = "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n"
SET_UP = """
git init -q . && clyra keys init && clyra dbt init && dbt --quiet deps && dbt --quiet build
for role in bundle log; do clyra keys export --role $role | clyra keys trust /dev/stdin --role $role; done
printf 'logs/\\ntarget/\\n*.duckdb\\n' > .gitignore
git add -A && git -c user.name=T -c user.email=t@example.invalid commit -qm 'The project'
"""
PEM = "-----BEGIN PRIVATE KEY-----"

Checks = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """A project, a home and a folder for temporary files, apart from each other."""

    root: Path

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLYRA_", "XDG_", "DBT_"))}
        path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
        own = {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "temporary"), "PATH": path}
        return {**kept, **own, "PYTHON": sys.executable, "CLYRA": str(SCRIPTS / "clyra"), "DO_NOT_TRACK": "1"}

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script], cwd=self.project, env=self.environ, capture_output=True, text=True, check=False
        )

    def doctor(self, *words: str, after: str = "") -> tuple[Checks, int, dict[str, Any]]:
        """What doctor finds in a shell that has run the script ``after``; by id, with its exit code and document."""
        done = self.run(f'{{ {after or ":"}\n}} >/dev/null\n"$CLYRA" doctor {" ".join(words)} --json')
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        return {check["id"]: check for check in document["checks"]}, done.returncode, document


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("healthy"))
    for name in ("home", "temporary", "project/models"):
        (place.root / name).mkdir(parents=True)
    (place.project / "dbt_project.yml").write_text(PROJECT)
    (place.project / "profiles.yml").write_text(PROFILE)
    (place.project / "models" / "a.sql").write_text("select 1 as id\n")
    done = place.run(f"set -e\n{SET_UP}")
    assert done.returncode == 0, done.stderr + done.stdout
    return place


@pytest.fixture
def place(healthy: Place, tmp_path: Path) -> Place:
    shutil.copytree(healthy.root, tmp_path / "place", symlinks=True)
    return Place(tmp_path / "place")


def test_a_healthy_project_is_well(healthy: Place) -> None:
    checks, code, document = healthy.doctor()
    assert {name: check for name, check in checks.items() if check["status"] not in ("ok", "skip")} == {}
    assert code == 0
    assert document["counts"]["ok"] == sum(check["status"] == "ok" for check in checks.values())
    assert checks["gateway"]["summary"] == "not installed"


def test_doctor_writes_nothing(place: Place) -> None:
    def listing() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in place.root.rglob("*") if "temporary" not in str(path)}

    before = listing()
    place.doctor()
    assert listing() == before


def test_the_document_is_what_its_schema_says(place: Place) -> None:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    types = Resource.from_contents(schema("types"))
    registry: Registry[Any] = Registry().with_resource("https://clyra.io/spec/types.schema.json", types)
    validator = Draft202012Validator(schema("doctor"), registry=registry)
    for after in ("", "chmod 644 $HOME/.config/clyra/keys/bundle.pem"):
        validator.validate(place.doctor("--fix", after=after)[2])


BROKEN = [
    pytest.param("install.command", "export PATH=/usr/bin:/bin", "warn", id="another clyra, or none, on the path"),
    pytest.param("install.disabled", "export CLYRA_DISABLED=1", "warn", id="switched off"),
    pytest.param("project.guard", "clyra dbt init --remove", "warn", id="no macros"),
    pytest.param("project.guard_installed", "rm -r dbt_packages", "fail", id="macros not installed"),
    pytest.param("project.evidence", "rm -r .clyra; touch .clyra", "fail", id="a file instead of the folder"),
    pytest.param("project.temp", 'export CLYRA_EVIDENCE_DIR="$TMPDIR/evidence"', "warn", id="temporary evidence"),
    pytest.param("project.ignored", "rm .clyra/.gitignore", "warn", id="evidence seen by git"),
    pytest.param("project.trust", "rm clyra.trust.json", "warn", id="no trust file"),
    pytest.param("project.trust", "echo '{' > clyra.trust.json", "fail", id="a broken trust file"),
    pytest.param("project.trust_git", "git rm -q --cached clyra.trust.json", "warn", id="trust not in git"),
    pytest.param("keys.bundle", "chmod 644 $HOME/.config/clyra/keys/bundle.pem", "fail", id="a key open to others"),
    pytest.param("keys.log", "chmod 640 $HOME/.config/clyra/keys/log.pem", "fail", id="a log key open to the group"),
    pytest.param("keys.bundle", "rm -r $HOME/.config/clyra", "warn", id="no key"),
    pytest.param("keys.log", "rm -r $HOME/.config/clyra", "warn", id="no log key"),
    *(
        pytest.param(
            f"keys.{role}_trust",
            f"rm -f $HOME/.config/clyra/keys/{role}.pem; clyra keys init --role {role}",
            "warn",
            id=f"a new {role} key that nobody trusts",
        )
        for role in ("bundle", "log", "approver", "issuer")
    ),
]


@pytest.mark.parametrize(("check", "broken", "status"), BROKEN)
def test_the_printed_fix_works_when_pasted(place: Place, check: str, broken: str, status: str) -> None:
    group = check.partition(".")[0]
    found, code, _ = place.doctor("--only", group, after=broken)
    assert (found[check]["status"], code) == (status, {"warn": 2, "fail": 1}[status])
    fix = found[check]["fix"]
    assert fix, found[check]
    # The same shell: what is broken may be a variable of it.
    healed, _, _ = place.doctor(
        "--only", group, after=f"cd {place.project}; {fix}" if _lasts(broken) else f"{broken}\n{fix}"
    )
    assert healed[check]["status"] == "ok", healed[check]


def _lasts(script: str) -> bool:
    return not script.startswith("export")


def test_a_run_that_died_is_recovered_by_the_fix(place: Place) -> None:
    die = """
import sys
from pathlib import Path
from clyra.evidence import EvidenceFolder, JournalWriter, new_uuid7
from clyra.testing import sample_bundle as sample
folder = EvidenceFolder.locate(Path.cwd(), {})
name = new_uuid7(sample.START_US, bytes(32))
path, signer = folder.journal_path(name), sample.ephemeral_signer()
writer = JournalWriter.create(path, bundle_id=name, tenant="default", signer=signer)
writer.append([("run.started", sample.START_US, sample._started(sample.SampleRun()))])
import os; os._exit(9)
"""
    (place.root / "die.py").write_text(die)
    found, code, _ = place.doctor("--only", "project", after='"$PYTHON" ../die.py')
    assert (found["project.journals"]["status"], code) == ("warn", 2)
    assert list((place.project / ".clyra" / "journal").glob("*.ndjson"))
    healed, _, _ = place.doctor("--only", "project", after=found["project.journals"]["fix"])
    assert healed["project.journals"]["status"] == "ok"


def test_fix_makes_only_what_can_be_taken_back(place: Place) -> None:
    broken = "chmod 644 $HOME/.config/clyra/keys/bundle.pem; rm .clyra/.gitignore clyra.trust.json"
    broken += "; clyra dbt init --remove"
    checks, code, document = place.doctor("--fix", after=broken)
    assert {check["id"] for check in document["fixed"]} == {"keys.bundle", "project.ignored", "project.guard"}
    assert {name for name, check in checks.items() if check["status"] in ("warn", "fail")} == {"project.trust"}
    assert code == 2
    undo = "\n".join(each["undo"] for each in document["fixed"])
    again, _, _ = place.doctor(after=undo)
    assert {
        check for check in ("keys.bundle", "project.ignored", "project.guard") if again[check]["status"] != "ok"
    } == {
        "keys.bundle",
        "project.ignored",
        "project.guard",
    }


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param((), 2, id="plain"),
        pytest.param(("--warn-ok",), 0, id="warn-ok"),
        pytest.param(("--strict",), 1, id="strict"),
        pytest.param(("--strict", "--warn-ok"), 64, id="both"),
        pytest.param(("--only", "weather"), 64, id="unknown group"),
    ],
)
def test_the_exit_code_says_how_much_is_wrong(place: Place, words: tuple[str, ...], code: int) -> None:
    done = place.run(f"rm clyra.trust.json; clyra doctor {' '.join(words)}")
    assert done.returncode == code, done.stdout + done.stderr


def test_what_cannot_be_looked_at_is_neither_well_nor_wrong(place: Place) -> None:
    (place.project / "profiles.yml").write_text("other: {}\n")
    checks, code, _ = place.doctor("--only", "warehouse")
    assert code == 69
    assert checks["warehouse"]["status"] == "skip"
    assert "dbt cannot read the profile" in checks["warehouse"]["summary"]


def test_a_profile_of_bigquery_is_left_alone(place: Place) -> None:
    (place.project / "profiles.yml").write_text("shop: {target: p, outputs: {p: {type: bigquery}}}\n")
    checks, code, _ = place.doctor("--only", "warehouse")
    assert (checks["warehouse.bigquery"]["status"], code) == ("skip", 0)
    assert "phase 1.5" in checks["warehouse.bigquery"]["summary"]


def test_a_warehouse_is_named_and_connected_to_only_where_asked(place: Place) -> None:
    (place.project / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: postgres, host: 127.0.0.1, port: 9, user: u, pass: geheim,"
        " dbname: d, schema: s, threads: 1}}}\n"
    )
    checks, code, _ = place.doctor()
    assert checks["warehouse.target"]["status"] == "skip"
    assert ([check for check in checks.values() if check["status"] in ("warn", "fail")], code) == ([], 0)
    checks, code, document = place.doctor("--only", "warehouse")
    assert (checks["warehouse.target"]["status"], code) == ("ok", 69)
    assert "no connection to the warehouse" in checks["warehouse"]["summary"]
    assert "geheim" not in json.dumps(document)


def test_the_server_of_the_profile_is_looked_at(place: Place, postgres_server: Server) -> None:
    output = {
        "type": "postgres",
        "host": postgres_server.host,
        "port": postgres_server.port,
        "user": postgres_server.user,
        "password": postgres_server.password,
        "dbname": postgres_server.dbname,
        "schema": "shop",
        "threads": 1,
    }
    (place.project / "profiles.yml").write_text(json.dumps({"shop": {"target": "prod", "outputs": {"prod": output}}}))
    checks, code, document = place.doctor("--only", "warehouse")
    assert checks["warehouse.postgres.connect"]["summary"] == "target prod answers"
    assert (checks["warehouse.postgres.version"]["status"], code) == ("ok", 2)
    address = f"-h {postgres_server.host} -p {postgres_server.port} -d {postgres_server.dbname}"
    assert checks["warehouse.postgres.log_parameters"]["fix"].startswith(f"psql {address} -c ")
    assert postgres_server.password not in json.dumps(document)


def test_outside_a_project_the_rest_is_still_looked_at(healthy: Place, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(SCRIPTS / "clyra"), "doctor", "--json"],
        cwd=tmp_path,
        env=healthy.environ,
        capture_output=True,
        check=False,
    )
    checks = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["project.file"]["status"] == "skip"
    assert checks["keys.bundle"]["status"] == "ok"


def test_from_a_folder_of_the_project_it_is_found(healthy: Place) -> None:
    done = healthy.run("cd models && clyra doctor --only project --json")
    checks = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["project.file"]["summary"] == str(healthy.project / "dbt_project.yml")


def test_a_key_in_the_environment_is_shown_by_its_source_alone(place: Place) -> None:
    export = 'export CLYRA_SIGNING_KEY="$(cat $HOME/.config/clyra/keys/bundle.pem)"'
    done = place.run(f"{export}; clyra doctor --only keys; clyra doctor --only keys --json")
    assert "from CLYRA_SIGNING_KEY" in done.stdout
    assert PEM not in done.stdout + done.stderr
    secret = (place.root / "home/.config/clyra/keys/bundle.pem").read_text().splitlines()[1]
    assert secret not in done.stdout + done.stderr


def test_the_address_of_a_key_service_is_not_shown(place: Place) -> None:
    done = place.run("CLYRA_SIGNING_KEY='kms://user:secret@host/key' clyra doctor --only keys")
    assert "secret" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_lines_are_marked_and_fixes_stand_alone(place: Place) -> None:
    lines = place.run("rm clyra.trust.json; clyra doctor --only project").stdout.splitlines()
    assert lines[0].startswith("[warn] project.trust ")
    assert lines[1].startswith("       fix: clyra keys init && ")
    assert not any("fix:" in line for line in lines[2:])
    assert lines[-1].endswith("skip")
