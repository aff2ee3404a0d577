# SPDX-License-Identifier: Apache-2.0
"""dbt as a library: ``dbtRunner`` with callbacks, with a manifest, in a thread, and for one project after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration_tests.dbt_features.conftest import Evidence, Keyring, Project

# Runs in one process; prints what a host of dbt would notice.
PROGRAM = """
import json, os, signal, sys, threading
from collections import Counter
from pathlib import Path

from dbt.cli.main import dbtRunner

here = Path.cwd()
said = {}

def bundles():
    return {str(path.resolve()) for path in here.parent.glob("*/.clyra/evidence/*/*/*.def.zip")}

def tell(name, runner, arguments, **options):
    before, environ = bundles(), dict(os.environ)
    result = runner.invoke(arguments, **options)
    said[name] = {
        "success": result.success,
        "bundles": sorted(bundles() - before),
        "environ": dict(os.environ) == environ,
        "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }
    return result

def heard(name, arguments):
    names = Counter()
    callbacks = [lambda message: names.update([message.info.name])]
    tell(name, dbtRunner(callbacks=callbacks), arguments)
    said[name]["heard"], said[name]["callbacks"] = names, len(callbacks)

run = ["--quiet", "run", "--select", "highest"]
tell("seed", dbtRunner(), ["--quiet", "build", "--exclude", "yearly"])
heard("recorded", run)
heard("recorded again", run)
os.environ["CLYRA_DISABLED"] = "1"
heard("not recorded", run)
del os.environ["CLYRA_DISABLED"]
manifest = dbtRunner().invoke(["--quiet", "parse"]).result
with_manifest = dbtRunner(manifest=manifest)
tell("manifest", with_manifest, run)
tell("manifest again", with_manifest, ["--quiet", "test", "--select", "levels_by_gauge"])
tell("options", dbtRunner(), ["--quiet", "run"], select=["highs"], threads=2)
in_thread = threading.Thread(target=tell, args=("thread", dbtRunner(), run))
in_thread.start()
in_thread.join()
there = ["--project-dir", str(here.parent / "other"), "--profiles-dir", str(here.parent / "other")]
tell("other project", dbtRunner(), ["--quiet", "seed", *there])
tell("other target", dbtRunner(), ["--quiet", "seed", "--target", "postgres"])
tell("back again", dbtRunner(), run)
tell("silent", dbtRunner(), ["--quiet", "ls"])
print(json.dumps(said))
"""
RUN = {"model.tides.highest": "success"}


class Said:
    """What the program noticed, and the bundles it left, verified."""

    def __init__(self, said: dict[str, Any], keyring: Keyring) -> None:
        self._said = said
        self._keyring = keyring

    def __getitem__(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._said[name]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def evidence(self, name: str) -> Evidence:
        (path,) = map(Path, self[name]["bundles"])
        return self._keyring.verified(path, path.parents[3] / "artifacts")


@pytest.fixture(scope="module")
def said(make_tides: Callable[..., Project], keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Said:
    folder = tmp_path_factory.mktemp("runner")
    project = make_tides("postgres", folder / "one")
    project.environ["TIDES_TARGET"] = "duckdb"
    other = make_tides("duckdb", folder / "other")
    settings = (other.path / "dbt_project.yml").read_text()
    other.write("dbt_project.yml", settings.replace("name: tides", "name: ebbs").replace("  tides:", "  ebbs:"))
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=project.path,
        env=project.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return Said(json.loads(finished.stdout.splitlines()[-1]), keyring)


def test_each_invocation_leaves_its_own_bundle(said: Said) -> None:
    for name in said:
        assert said[name]["success"], name
        assert len(said[name]["bundles"]) == (0 if name in ("not recorded", "silent") else 1), name


def test_process_is_left_as_it_was(said: Said) -> None:
    for name in said:
        assert said[name]["environ"], name
        assert said[name]["sigterm"], name


def test_callbacks_of_the_user_hear_what_they_hear_without_clyra(said: Said) -> None:
    names = ("recorded", "recorded again", "not recorded")
    # Which threads share a connection is chance.
    heard = [Counter({e: n for e, n in said[name]["heard"].items() if "Connection" not in e}) for name in names]
    assert heard[0] == heard[1]
    assert heard[0] - heard[2] == {"Note": 1}
    assert heard[2] - heard[0] == {}
    assert heard[0]["CommandCompleted"] == 1
    assert {said[name]["callbacks"] for name in ("recorded", "recorded again")} == {1}


def test_repeated_runs_are_recorded_alike(said: Said) -> None:
    evidences = [said.evidence(name) for name in ("recorded", "recorded again", "thread", "back again")]
    assert [evidence.statuses() for evidence in evidences] == [RUN] * 4
    verbs = [Counter(event["verb"] for event in evidence.events("statement")) for evidence in evidences]
    assert verbs == [verbs[0]] * 4
    assert len({evidence.run["invocation_id"] for evidence in evidences}) == 4


def test_run_of_a_given_manifest_refers_to_no_older_one(said: Said) -> None:
    evidence = said.evidence("manifest")
    assert evidence.statuses() == RUN
    assert set(evidence.references()) == {"run_results.json"}
    assert evidence.nodes()["model.tides.highest"]["compiled_sha256"] is not None
    assert said.evidence("manifest again").run["counts"]["tests_passed"] == 2


def test_options_given_as_keywords_are_obeyed(said: Said) -> None:
    evidence = said.evidence("options")
    assert evidence.statuses() == {"model.tides.highs": "success"}
    assert evidence.events("run.started")[0]["argv"] == ["dbt", "--quiet", "run"]


def test_each_project_and_target_is_recorded_as_itself(said: Said) -> None:
    recorded, project, target = (said.evidence(name) for name in ("recorded", "other project", "other target"))
    assert project.path.parents[4].name == "other"
    assert target.path.parents[4] == recorded.path.parents[4]
    assert (project.run["project"], project.run["adapter"]) == ("ebbs", "duckdb")
    assert (target.run["project"], target.run["adapter"], target.run["target"]) == ("tides", "postgres", "postgres")
    assert [anchor["kind"] for anchor in target.manifest["anchors"]] == ["postgres_wal"]
    assert [anchor["kind"] for anchor in recorded.manifest["anchors"]] == ["none"]
    assert set(project.statuses()) == {"seed.ebbs.gauges", "seed.ebbs.levels"}
