# SPDX-License-Identifier: Apache-2.0
"""``clyra policy explain``: what it prints for facts and for bundles, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from clyra.cli import main
from clyra.testing.governed_bundle import seal_governed
from clyra.testing.sample_bundle import seal_sample

POLICY = """version: 1
name: shop
environments:
  production: {targets: [prod], mode: enforce, production: true}
data_platform:
  rules:
    - id: x_people
      effect: block
      mode: enforce
      when:
        - {field: env.production, op: eq, value: true}
        - any:
            - {field: dbt.tags, op: has, value: pii}
            - {field: data.personal, op: eq, value: true}
    - {id: x_actor, effect: warn, mode: shadow, when: [{field: actor.id, op: eq, value: bob}]}
    - {id: x_drop, effect: warn, mode: enforce, when: [{field: action.verb, op: eq, value: drop}]}
enforcement:
  risk: {thresholds: [{above: 80, effect: require_approval}]}
waivers:
  - {id: w_a, rules: [x_people], nodes: [model.a], owner: o, approved_by: a, reason: r, ticket: T-1,
     created: "2026-01-01", expires: "2026-03-01"}
"""

Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("CLYRA_POLICY", "CLYRA_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clyra.policy.yaml").write_text(POLICY)

    def run(*words: object, expect: int = 0) -> str:
        with pytest.raises(SystemExit) as left:
            main.run(["policy", "explain", *map(str, words)])
        output = capsys.readouterr()
        assert left.value.code == expect, output
        return output.out if expect == 0 else output.err

    return run


def facts(**given: object) -> str:
    Path("facts.json").write_text(json.dumps({name.replace("__", "."): value for name, value in given.items()}))
    return "facts.json"


def test_every_condition_is_told_with_its_truth_and_value(command: Command) -> None:
    told = command("--facts", facts(env__production=True, dbt__tags=["pii"]), "--today", "2026-02-01")
    assert told.startswith("run: block")
    assert re.search(r"x_people +block matched", told)
    assert re.search(r"true +env.production eq true +it is true", told)
    assert re.search(r'any of\n +true +dbt.tags has "pii" +it is \["pii"\]\n +unknown +data.personal eq true', told)
    assert re.search(r"x_actor +warn unknown shadow", told)
    assert "missing: actor.id" in told
    assert "not judged at run: x_drop" in told
    assert re.search(r"risk_threshold +judged when the risk score is known", told)
    assert "waiver w_a, until 2026-03-01: cannot be judged" in told


def test_a_waiver_holds_on_its_last_day_and_is_told_expired_after_it(command: Command) -> None:
    given = facts(env__production=True, data__personal=True, dbt__node="model.a")
    on_time, late = (
        command("--facts", given, "--today", "2026-03-01"),
        command("--facts", given, "--today", "2026-03-02"),
    )
    assert "x_people  warn waived by w_a" in on_time
    assert "until 2026-03-01: matches\n" in on_time
    assert "x_people  block matched" in late
    assert "matches, but has expired" in late
    assert "expired: w_a; the rules apply again" in late


def test_a_risk_score_among_the_facts_has_the_rules_on_it_judged(command: Command) -> None:
    told = command("--facts", facts(risk__score=81, env__production=False))
    assert told.startswith("run: require_approval")
    assert re.search(r"risk_threshold +require_approval matched", told)


def test_facts_come_from_stdin_and_one_rule_can_be_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b'{"action.verb": "drop"}')))
    told = command("--facts", "-", "--point", "statement", "--rule", "x_drop")
    assert told == 'statement: warn\n  x_drop  warn matched\n    true           action.verb eq "drop"  it is "drop"\n'


def test_json_has_the_same(command: Command) -> None:
    given = facts(env__production=True, dbt__tags=["pii"])
    (decision,) = json.loads(command("--facts", given, "--json", "--rule", "x_people"))["decisions"]
    assert (decision["decision"]["decision"], decision["decision"]["enforced"]) == ("block", "block")
    (rule,) = decision["rules"]
    assert (rule["id"], rule["truth"], rule["outcome"]["state"]) == ("x_people", "true", "matched")
    assert rule["when"][0] == {
        "field": "env.production",
        "op": "eq",
        "value": True,
        "truth": "true",
        "actual": True,
    }
    assert [each["truth"] for each in rule["when"][1]["any"]] == ["true", "unknown"]
    assert rule["waivers"][0]["id"] == "w_a"


def test_a_bundle_is_explained_by_its_own_policy(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clyra.policy.yaml").unlink()
    path = seal_governed(tmp_path / ".clyra").path
    told = command("--bundle", path)
    assert "run: require_approval (enforce)" in told
    assert re.search(r"x_untested_marts +warn waived by w_history", told)
    assert "not decidable  dbt.has_tests eq false" in told
    assert re.search(r"risk: \d+ \w+\n", told)
    assert re.search(r"schema_change +30 x 1 = 30", told)
    document = json.loads(command("--bundle", path, "--json"))
    assert document["risk"]["method"] == "clyra-risk/1"
    assert document["decisions"][0]["decision"]["mode"] == "enforce"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "no JSON object"),
        ('{"no.fact": 1}', "'no.fact' is not declared"),
        ('{"env.production": 1}', "expected bool"),
        ('{"actor.kind": "robot"}', "expected one of human, service, agent"),
        ('{"dbt.tags": "pii"}', "expected set"),
    ],
)
def test_what_are_no_facts_is_refused(command: Command, text: str, said: str) -> None:
    Path("facts.json").write_text(text)
    assert said in command("--facts", "facts.json", expect=64)


def test_wrong_use_is_refused(command: Command, tmp_path: Path) -> None:
    given = facts()
    assert "either --facts or --bundle" in command(expect=64)
    assert "either --facts or --bundle" in command("--facts", given, "--bundle", "x", expect=64)
    assert "its own policy" in command("--bundle", "x", "clyra.policy.yaml", expect=64)
    assert "expected one of" in command("--facts", given, "--point", "nowhere", expect=64)
    assert "expected a day" in command("--facts", given, "--today", "soon", expect=64)
    assert "cannot be read" in command("--facts", "absent.json", expect=64)
    assert "bundle_unreadable" in command("--bundle", "absent.def.zip", expect=1)
    plain = seal_sample(tmp_path / ".clyra").path
    assert "holds no policy" in command("--bundle", plain, expect=1)
