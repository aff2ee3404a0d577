# SPDX-License-Identifier: Apache-2.0
"""``clyra policy analyze``: what it prints and exits with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clyra.cli import main

SOUND = """version: 1
name: shop
environments:
  production: {targets: [prod], mode: enforce, production: true}
data_platform:
  rules:
    - id: x_refresh
      effect: block
      mode: enforce
      when: [{field: env.production, op: eq, value: true}, {field: change.full_refresh, op: eq, value: true}]
"""
NARROW = """    - id: x_narrow
      effect: warn
      mode: enforce
      when: [{field: env.production, op: eq, value: true}, {field: change.full_refresh, op: eq, value: true},
             {field: change.models, op: gt, value: 3}]
"""
ALLOW = """    - {id: x_ok, effect: allow, mode: enforce, when: [{field: env.ci, op: eq, value: true}]}
"""
MANIFEST = {
    "metadata": {"adapter_type": "duckdb"},
    "nodes": {"model.a": {"unique_id": "model.a", "resource_type": "model", "tags": ["pii"]}},
}

Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("CLYRA_POLICY", "CLYRA_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(policy: str, *words: str, expect: int) -> str:
        Path("clyra.policy.yaml").write_text(policy)
        with pytest.raises(SystemExit) as left:
            main.run(["policy", "analyze", *words])
        output = capsys.readouterr()
        assert left.value.code == expect, output
        return output.out or output.err

    return run


def test_a_sound_policy_is_ok(command: Command) -> None:
    assert command(SOUND, expect=0) == "ok  clyra.policy.yaml: 1 rule\n"


def test_a_shadowed_rule_is_named_and_fails(command: Command) -> None:
    told = command(SOUND + NARROW, expect=1)
    assert told.startswith("shadowed  x_narrow: ")
    assert "x_refresh" in told
    assert told.endswith("not sound  clyra.policy.yaml: 2 rules, 1 error\n")


def test_an_allow_rule_that_lifts_nothing_warns(command: Command) -> None:
    assert "an allow rule lifts nothing" in command(SOUND + ALLOW, expect=2)


def test_a_manifest_adds_the_nodes_with_personal_data(command: Command) -> None:
    Path("manifest.json").write_text(json.dumps(MANIFEST))
    told = command(SOUND, "--manifest", "manifest.json", expect=1)
    assert "gap  model.a: no rule about nodes can stop or warn on model.a" in told


@pytest.mark.parametrize("words", [(), ("--deep",)])
def test_json_has_all_findings(command: Command, words: tuple[str, ...]) -> None:
    document = json.loads(command(SOUND + NARROW, "--json", *words, expect=1))
    assert document["method"] == ("z3" if words else "boxes")
    assert document["counts"] == {"error": 1, "warning": 0, "note": 0}
    (finding,) = document["findings"]
    assert (finding["kind"], finding["rules"], finding["subject"]) == ("shadowed", ["x_narrow", "x_refresh"], None)


def test_a_policy_that_does_not_load_and_a_manifest_that_is_none_are_refused(command: Command) -> None:
    assert "policy_invalid" in command(SOUND.replace("op: eq", "op: eqq"), expect=1)
    assert "cannot be read" in command(SOUND, "--manifest", "absent.json", expect=64)
    for text in ("{", "[]", '{"nodes": []}'):
        Path("manifest.json").write_text(text)
        assert "manifest.json" in command(SOUND, "--manifest", "manifest.json", expect=64)
