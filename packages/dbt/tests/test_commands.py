# SPDX-License-Identifier: Apache-2.0
"""``clyra dbt seal``, ``seal --recover`` and ``stamp`` as people and pipelines call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from clyra.dbt.commands import dbt
from clyra.evidence import EvidenceFolder, JournalWriter, StoredLog, new_uuid7
from clyra.evidence.reader import open_bundle
from clyra.spec import ClyraError
from clyra.verify import verify_bundle

Documents = dict[str, dict[str, Any]]

NOW_US = 1_769_847_300_000_000

pytestmark = pytest.mark.usefixtures("tmp_clyra_home")


@pytest.fixture
def project(tmp_path: Path, documents: Documents, trace: list[dict[str, Any]]) -> Path:
    folder = tmp_path / "shop"
    (folder / "target").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "dbt_project.yml").write_text("name: shop\n")
    for name, document in documents.items():
        (folder / "target" / name).write_text(json.dumps(document))
    (folder / "logs" / "otel.jsonl").write_text("".join(json.dumps(span) + "\n" for span in trace))
    return folder


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(dbt, list(map(str, words)))


def good(*words: str | Path) -> Result:
    result = call(*words)
    assert (result.exit_code, result.exception) == (0, None), result.output
    return result


def refused(*words: str | Path) -> ClyraError:
    exception = call(*words).exception
    assert isinstance(exception, ClyraError), exception
    return exception


def test_seal_prints_nothing_but_the_path_on_stdout(project: Path) -> None:
    result = good("seal", "--project-dir", project)
    (line,) = result.stdout.splitlines()
    assert verify_bundle(line, environ={}).code is None
    assert "--otel" in result.stderr


def test_seal_reads_the_trace_that_it_is_given(project: Path) -> None:
    result = good("seal", "--project-dir", project, "--otel", "logs/otel.jsonl", "--json")
    told = json.loads(result.stdout)
    assert (told["counts"]["statements"], told["status"], told["capture"]) == (4, "failed", "ingested")
    assert (told["sealed_now"], told["log_error"]) == (True, None)
    assert "not observed" not in result.stderr


def test_seal_twice_gives_the_same_bundle(project: Path) -> None:
    first = good("seal", "--project-dir", project)
    second = good("seal", "--project-dir", project)
    assert first.stdout == second.stdout
    assert "already has its bundle" in second.stderr
    assert json.loads(good("seal", "--project-dir", project, "--json").stdout)["sealed_now"] is False
    assert len(list(StoredLog(project / ".clyra" / "log").leaves())) == 2


def test_seal_fails_on_failed_tests_where_the_policy_enforces_also_the_second_time(project: Path) -> None:
    policy = project / "clyra.policy.yaml"
    policy.write_text("version: 1\nname: shop\nenvironments: {live: {targets: [prod], mode: enforce}}\n")
    for _ in range(2):
        result = call("seal", "--project-dir", project)
        assert (result.exit_code, "[tests_failed]" in result.stderr) == (1, True)
        assert verify_bundle(result.stdout.strip(), environ={}).code is None


def test_seal_goes_on_without_a_policy_that_does_not_load(project: Path) -> None:
    (project / "clyra.policy.yaml").write_text("version: 1\nnmae: shop\n")
    assert "the run is sealed without it" in good("seal", "--project-dir", project).stderr


def test_seal_refuses_what_was_edited_since(project: Path) -> None:
    good("seal", "--project-dir", project)
    results = project / "target" / "run_results.json"
    results.write_text(results.read_text().replace('"fail"', '"pass"'))
    assert refused("seal", "--project-dir", project).code == "seal_failed"


def test_seal_names_what_it_left_aside(project: Path, documents: Documents) -> None:
    metadata = {
        **documents["manifest.json"]["metadata"],
        "invocation_id": "1-1",
        "generated_at": "2020-01-01T00:00:00Z",
    }
    (project / "target" / "sources.json").write_text(json.dumps({"metadata": metadata, "results": []}))
    assert "sources.json is of an older invocation" in good("seal", "--project-dir", project).stderr


def test_seal_refuses_mixed_artifacts(project: Path) -> None:
    results = project / "target" / "run_results.json"
    results.write_text(results.read_text().replace("019abf1c", "11111111"))
    assert refused("seal", "--project-dir", project).code == "artifact_stale"


def test_seal_finds_artifacts_and_evidence_where_they_are_said_to_be(project: Path, tmp_path: Path) -> None:
    (project / "target").rename(project / "elsewhere")
    path = good("seal", "--project-dir", project, "--target-path", "elsewhere", "--evidence-dir", tmp_path / "e").stdout
    assert Path(path.strip()).is_relative_to(tmp_path / "e" / "evidence")
    assert not (project / ".clyra").exists()


def test_seal_follows_the_project_s_own_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "dbt_project.yml").write_text("vars:\n  clyra_evidence_dir: proof\n  clyra_tenant_id: acme\n")
    path = Path(good("seal", "--project-dir", project).stdout.strip())
    assert path.is_relative_to(project / "proof")
    assert open_bundle(path).manifest["tenant"] == "acme"
    monkeypatch.setenv("CLYRA_EVIDENCE_DIR", str(project / "named"))
    assert Path(good("seal", "--project-dir", project).stdout.strip()).is_relative_to(project / "named")


def test_seal_does_not_guess_where_evidence_belongs(project: Path) -> None:
    (project / "dbt_project.yml").write_text("vars: {clyra_evidence_dir: \"{{ env_var('E') }}\"}\n")
    assert refused("seal", "--project-dir", project).code == "config_invalid"


RECORDER = """
import os, sys, time
from clyra.evidence import EvidenceFolder, JournalWriter, RunRecord, load_signer
folder = EvidenceFolder.locate(__import__("pathlib").Path(sys.argv[1]), {})
folder.prepare()
bundle_id, now = sys.argv[2], int(sys.argv[3])
git = {"tree": None, "commit": None, "dirty": None, "source": "none", "author_basis": "claimed"}
run = {"run_id": "night", "part": 1, "capture": "recorded", "status": "interrupted", "invocation_id": "i-1",
       "command": "build", "project": "shop", "adapter": "postgres", "target": "prod", "git": git}
record = RunRecord(tenant="default", producer_name="clyra-dbt", producer_version="1", run=run)
journal = JournalWriter.create(folder.journal_path(bundle_id), bundle_id=bundle_id, tenant="default",
                               signer=load_signer("bundle", os.environ), record=record)
build = {"tree": None, "commit": None, "dirty": None, "branch": None, "source": "none"}
gates = dict.fromkeys(("run", "statement_wrap", "statement_event", "row_limit"), False)
journal.append([("run.started", now, {"invocation_id": "i-1", "project": "shop", "command": "build", "argv": ["dbt"],
    "target_name": "prod", "adapter_type": "postgres", "versions": {}, "gates": gates, "build": build,
    "policy": {"sha256": None, "mode": "record"}, "actor_id": "a", "tenant_id": "default"})])
journal.append([("statement", now + 1, {"unique_id": "model.shop.a", "sent_sha256": "0" * 64,
    "body_sha256": "0" * 64, "verb": "insert", "status": "success", "rows": 1, "query_id": None, "elapsed_us": 5})])
print("recording", flush=True)
sys.stdin.read()
"""


class Recording:
    """A process that records a run into a project."""

    def __init__(self, project: Path, second: int) -> None:
        self.bundle_id = new_uuid7(NOW_US + second * 1_000_000, bytes([second] * 10))
        self.journal = EvidenceFolder.locate(project, {}).journal_path(self.bundle_id)
        words = (sys.executable, "-c", RECORDER, str(project), self.bundle_id, str(NOW_US))
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"recording\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def test_recover_says_what_is_known_of_a_killed_run_and_what_is_not(project: Path) -> None:
    killed = Recording(project, 1)
    killed.kill()
    with killed.journal.open("ab") as journal:
        journal.write(b'{"seq":2,"to')
    result = good("seal", "--recover", "--project-dir", project)
    path = Path(result.stdout.strip())
    assert verify_bundle(path, environ={}).code is None
    assert path.with_name(f"{killed.bundle_id}.tlog-proof").exists()
    for told in (
        "run night died; invocation i-1",
        "known:   2 whole lines",
        "12 bytes of a torn line",
        "signed note proves the first 1",
        "statements sent after that",
        "begun without outcome: model.shop.a",
    ):
        assert told in result.stderr
    assert not killed.journal.exists()


def test_recover_as_json_is_one_object(project: Path) -> None:
    Recording(project, 1).kill()
    told = json.loads(good("seal", "--recover", "--project-dir", project, "--json").stdout)
    (run,) = told["recovered"]
    assert (run["last_line"], run["torn_bytes"], run["open_nodes"]) == (2, 0, ["model.shop.a"])
    assert "statements_after" in run["unknown"]
    assert run["last_at"] == "2026-01-31T08:15:00.000001Z"
    assert (told["live"], told["refused"], told["discarded"]) == ([], [], [])


def test_recover_leaves_a_live_run_alone_and_names_it(project: Path) -> None:
    live = Recording(project, 1)
    Recording(project, 2).kill()
    before = live.journal.read_bytes()
    result = good("seal", "--recover", "--project-dir", project)
    assert f"a process still writes it: {live.journal}" in result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert live.journal.read_bytes() == before
    live.kill()


def test_recover_refuses_a_broken_chain_keeps_the_journal_and_goes_on(project: Path) -> None:
    broken, sound = Recording(project, 1), Recording(project, 2)
    broken.kill()
    sound.kill()
    text = broken.journal.read_bytes().replace(b'"project":"shop"', b'"project":"shup"')
    broken.journal.write_bytes(text)
    result = call("seal", "--recover", "--project-dir", project)
    assert result.exit_code == 1
    assert "[journal_prev]" in result.stderr
    assert str(broken.journal) in result.stderr
    assert broken.journal.read_bytes() == text
    assert sound.bundle_id in result.stdout
    told = json.loads(call("seal", "--recover", "--project-dir", project, "--json").stdout)
    assert [(each["code"], each["path"]) for each in told["refused"]] == [("journal_prev", str(broken.journal))]


def test_recover_removes_what_holds_not_one_line_and_says_so(project: Path) -> None:
    folder = EvidenceFolder.locate(project, {})
    folder.prepare()
    empty, torn = (folder.journal_path(new_uuid7(NOW_US, bytes([at] * 10))) for at in (1, 2))
    empty.write_bytes(b"")
    torn.write_bytes(b'{"act')
    result = good("seal", "--recover", "--project-dir", project)
    assert empty.stem in result.stderr
    assert torn.stem in result.stderr
    assert list(folder.journal_dir.iterdir()) == []
    assert result.stdout == ""


def test_recover_leaves_an_empty_journal_that_a_process_has_just_made(project: Path) -> None:
    folder = EvidenceFolder.locate(project, {})
    folder.prepare()
    bundle_id = new_uuid7(NOW_US, bytes(10))
    path = folder.journal_path(bundle_id)
    writer = JournalWriter.create(path, bundle_id=bundle_id, tenant="default", signer=None)
    assert f"a process still writes it: {path}" in good("seal", "--recover", "--project-dir", project).stderr
    assert path.exists()
    writer.discard()


def test_recover_without_anything_to_do_says_so(project: Path, tmp_path: Path) -> None:
    assert "nothing to recover" in good("seal", "--recover", "--project-dir", project).stderr
    killed = Recording(project, 1)
    killed.kill()
    assert (
        "nothing to recover" in good("seal", "--recover", "--project-dir", project, "--evidence-dir", tmp_path).stderr
    )
    assert killed.journal.exists()


def test_recover_takes_no_trace(project: Path) -> None:
    assert call("seal", "--recover", "--otel", "x", "--project-dir", project).exit_code == 2


def committed(project: Path) -> Path:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    (project / ".gitignore").write_text("target\nlogs\n.clyra\nclyra.build.json\n")
    for words in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(("git", *words), cwd=project, check=True, capture_output=True)
    return project


def test_stamp_prints_its_path_and_checks_out(project: Path) -> None:
    result = good("stamp", "--project-dir", committed(project))
    assert result.stdout.strip() == str(project / "clyra.build.json")
    checked = good("stamp", "--check", "--project-dir", project)
    assert "files: as stamped" in checked.stdout
    assert "signature: holds" in checked.stdout
    assert "name a trust file with --trust" in checked.stdout


def test_stamp_as_json_is_one_object(project: Path) -> None:
    told = json.loads(good("stamp", "--json", "--project-dir", committed(project)).stdout)
    assert (told["files"], told["dirty"], told["left_out"]) == (2, False, [])
    checked = json.loads(good("stamp", "--check", "--json", "--project-dir", project).stdout)
    assert (checked["holds"], checked["signature_holds"], checked["key"]) == (True, True, "not_evaluated")
    assert (checked["changed"], checked["missing"], checked["added"]) == ([], [], [])


def test_stamp_check_ends_with_1_and_names_what_differs(project: Path) -> None:
    good("stamp", "--project-dir", committed(project))
    (project / "dbt_project.yml").write_text("name: other\n")
    result = call("stamp", "--check", "--project-dir", project)
    assert result.exit_code == 1
    assert "changed: dbt_project.yml" in result.stdout


def test_stamp_refuses_a_dirty_tree_unless_it_is_allowed(project: Path) -> None:
    (committed(project) / "dbt_project.yml").write_text("name: other\n")
    assert refused("stamp", "--project-dir", project).code == "config_invalid"
    good("stamp", "--allow-dirty", "--project-dir", project)
    assert "changes that no commit holds" in good("stamp", "--check", "--project-dir", project).stdout


def test_stamp_tells_when_its_key_is_gone(project: Path, tmp_clyra_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLYRA_CONFIG_DIR", "HOME"):
        monkeypatch.delenv(name)
    assert "set CLYRA_SIGNING_KEY" in good("stamp", "--project-dir", committed(project)).stderr


@pytest.mark.parametrize("words", [("seal",), ("seal", "--recover"), ("stamp",)])
def test_help_shows_an_example(words: tuple[str, ...]) -> None:
    assert f"clyra dbt {words[0]}" in good(*words, "--help").stdout
