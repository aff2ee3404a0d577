# SPDX-License-Identifier: Apache-2.0
"""From a file to a policy that decides, and from a bundle's ``policy.json`` to the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest

from clyra.evidence.canonical import canonicalize_integers
from clyra.policy import load
from clyra.policy.environment import environment_for
from clyra.policy.lint import check_policy
from clyra.policy.load import POLICY_FILE, find_policy, load_policy, policy_from_canonical, read_policy
from clyra.policy.problem import PolicyInvalid
from clyra.spec import UnavailableError

TODAY = date(2026, 11, 1)
TEMPLATES = sorted((Path(load.__file__).parent / "templates").glob("*.yaml"))
SECTIONS = {path.stem: path for path in TEMPLATES if path.stem != "full"}
POLICY = b"""version: 1
name: shop
environments:
  production: {targets: [prod], mode: enforce, production: true}
data_platform:
  rules:
    - id: x_models
      effect: block
      mode: enforce
      when:
        - {field: change.models, op: gt, value: 10}
"""

# Blocks of configuration as the documentation prints them.
BLOCKS = {
    "guards": "data_platform: {warehouse_guards: {sql_safety: true, approval_tokens: required}}",
    "dbt hooks": "data_platform: {dbt_hooks: {enabled: true, test_failures_block: true, statement_text: false, "
    "record: {targets, commands}}}",
    "SQL": """data_platform:
  warehouse_guards:
    sql:
      max_statement_bytes: 262144        # above: opaque (statement_too_large)
      rows_affected: {update: 1000, delete: 1000, insert: null, relations: {"staging.*": 100000}}
      rules: {truncate: require_approval, index_blocks_writes: warn}      # an effect per rule
      functions: {mode: known, names: ["analytics.refresh_rates"]}   # known | all
""",
    "a rule": "data_platform: {rules: [{id: delete_without_where, effect: block, mode: enforce, "
    "when: [{field: action.has_where, op: eq, value: false}]}]}",
    "thresholds": "enforcement: {risk: {thresholds: [{above: 80, effect: require_approval}]}}",
    "evidence": "evidence: {external_over_bytes: 8388608}",
    "standing": "enforcement: {approvals: {standing: {valid_for: 30d, target: prod}}}",
    "activation": "data_platform: {activation_enforcement: {idempotency: required, "
    "rate_limits: {window: 60s, max: 100, burst: 10, scope: tenant}}}",
    "gateway": """gateway:
  listen: {data: "127.0.0.1:8080", control: "127.0.0.1:8081", metrics: "127.0.0.1:9090"}
  state_dir: state
  store: sqlite
  durability: process
  routes:
    - {match: /v1, upstream: "https://api.example", auth: [bearer], request_schema: a.json, response_schema: b.json,
       stream: tee, repair: "off", sse_receipt: true, retry_safe: false, sql_pointers: [/sql], record_bodies: false}
  limits: {body_bytes: 1048576, header_bytes: 32768, headers: 100, body_s: 10, upstream_s: 30, in_flight: 64, wait_s: 1,
           tenant_share: 50, depth: 64}
  kill_switch: [{class: data, signal: rows_per_s, threshold: 1000, window_s: 10, scope: tenant, action: block,
                 ttl_s: 60}]
  circuits: {failures: 5}
  siem: {format: ocsf, out: file}
""",
    "agents": """genai_security:
    detectors:
      prompt_injection: {mode: shadow, min_confidence: 70, window_chars: 2000, max_chars: 65536, allow: []}
      external: [{id: vendor_a, url: "https://...", timeout_ms: 500, on_failure: allow}]
    actions: {untrusted_then_side_effect: require_approval, unknown_tool: require_approval,
      tool_definition_changed: block}
    loop: {window: 24, exact: 3, cycle_max_period: 4, cycle_repeats: 3, near: 8, cool_off_s: 60, allow_tools: []}
    kill_switch: [{class: genai, signal: threat_rate, threshold: 20, window_s: 60, scope: tenant, action: block,
      ttl_s: 900}]
    bec: {issuers: [], ttl_s: 900, acr: [], amr_any: [mfa, hwk]}
""",
    "calls": """voice_compliance: {tcpa: {disclaimer: [ai_voice, recording],
  calling_hours: {rules: builtin, unknown: block},
  consent: {marketing: express_written, other: express}, revocation: {honour_business_days: 10,
  all_scope_from: "2027-01-31"}, recording: {unknown: all_party}, ai_disclosure: true}, session: {audio_storage: never},
  barge_in: {max_response_ms: 200, vad: webrtc2_gated}, ucaas: {twilio: {public_url: "...", max_age_s: 300}}}
""",
    "a whole policy": """data_platform:
  dbt_hooks: {enabled: true, test_failures_block: true}
  warehouse_guards: {sql_safety: true, approval_tokens: required}
  activation_enforcement: {idempotency: true, rate_limits: {window: 60s, max: 1000}}
genai_security: {detectors: {prompt_injection: {mode: shadow}}}
voice_compliance: {tcpa: {disclaimer: [ai_voice]}}
enforcement: {idempotency: {ttl: 24h, scope: tenant, single_use: true}, tenant_fencing: true}
compliance: {frameworks: [sox, pci, hipaa, eu-ai-act], segregation_of_duties: {enabled: true}}
""",
}


@pytest.mark.parametrize("text", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_printed_block_loads_unchanged(text: str) -> None:
    policy = read_policy((text.rstrip() + "\n").encode(), now=TODAY)
    assert policy.warnings == ()
    assert policy.document["version"] == 1


def test_a_policy_knows_what_the_gates_need() -> None:
    policy = read_policy(POLICY, now=TODAY)
    assert (policy.name, policy.version, policy.requires, policy.warnings) == ("shop", 1, None, ())
    assert environment_for(policy.environments, target="prod", environ={}).mode == "enforce"
    assert environment_for(policy.environments, target="stage", environ={}).name == "unknown"
    assert policy.compiled.decide("run", {"change.models": 11}, today=TODAY).effect == "block"
    assert policy.compiled.decide("run", {"change.models": 10}, today=TODAY).effect == "allow"


def test_the_digest_is_that_of_the_canonical_bytes() -> None:
    policy = read_policy(POLICY, now=TODAY)
    assert policy.canonical == canonicalize_integers(policy.document)
    assert policy.sha256 == sha256(policy.canonical).hexdigest()


def test_the_policy_of_a_bundle_is_the_policy_of_the_file() -> None:
    policy = read_policy(POLICY, now=TODAY)
    sealed = policy_from_canonical(policy.canonical)
    assert (sealed.document, sealed.sha256, sealed.environments) == (
        policy.document,
        policy.sha256,
        policy.environments,
    )


def test_a_policy_sealed_before_a_key_existed_keeps_its_digest() -> None:
    document = dict(read_policy(POLICY, now=TODAY).document)
    del document["gateway"]
    older = canonicalize_integers(document)
    sealed = policy_from_canonical(older)
    assert sealed.sha256 == sha256(older).hexdigest()
    assert sealed.document["gateway"]["store"] == "sqlite"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(POLICY, id="YAML"),
        pytest.param(b'{"version":1}\n', id="a line end"),
        pytest.param(b'{"version":1,"version":1}', id="a name twice"),
        pytest.param(b'{"version":NaN}', id="NaN"),
        pytest.param(b'{"enforcement":{"approvals":{"max_ttl":-1}}}', id="a duration below zero"),
        pytest.param(b'{"version":1,"x":1}', id="an unknown key"),
        pytest.param(b"[" * 100_000, id="depth"),
        pytest.param(
            b'{"data_platform":{"rules":[{"effect":"block","id":"x_a","when":[{"field":"x","op":"eq","value":1}]}]}}',
            id="a fact that is none",
        ),
    ],
)
def test_other_bytes_are_no_policy(data: bytes) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_from_canonical(data)
    assert caught.value.problems
    assert caught.value.first_pass is None


def test_a_file_is_loaded_and_named_in_its_problems(tmp_path: Path) -> None:
    path = tmp_path / POLICY_FILE
    path.write_bytes(POLICY)
    assert load_policy(path, now=TODAY).sha256 == read_policy(POLICY, now=TODAY).sha256
    path.write_bytes(b"nmae: shop\n")
    with pytest.raises(PolicyInvalid, match=r"1:1: error policy_key: .* run clyra policy lint") as caught:
        load_policy(path, now=TODAY)
    assert [problem.file for problem in caught.value.problems] == [str(path)]


def test_a_file_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be read") as caught:
        load_policy(tmp_path / "absent.yaml", now=TODAY)
    assert caught.value.code == "policy_unavailable"
    with pytest.raises(UnavailableError):
        load_policy(tmp_path, now=TODAY)


def test_the_file_is_that_of_the_project_or_of_the_setting(tmp_path: Path) -> None:
    assert find_policy(tmp_path, {}) is None
    (tmp_path / POLICY_FILE).write_bytes(POLICY)
    assert find_policy(tmp_path, {}) == tmp_path / POLICY_FILE
    # A setting that names nothing is not passed over: loading it then fails.
    assert find_policy(tmp_path, {"CLYRA_POLICY": "other.yaml"}) == Path("other.yaml")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_without_fault_and_every_rule_says_its_mode(path: Path) -> None:
    checked = check_policy(path.read_bytes(), name=path.name, now=TODAY)
    assert checked.problems == ()
    assert read_policy(path.read_bytes(), now=TODAY).environments["production"].mode == "enforce"
    assert path.read_text(encoding="utf-8").count("- id: ") == path.read_text(encoding="utf-8").count(
        "\n      title: "
    ) + (path.stem in ("enforcement", "full"))


def test_the_full_template_is_the_others_together() -> None:
    full = read_policy((TEMPLATES[0].parent / "full.yaml").read_bytes(), now=TODAY).document
    assert set(SECTIONS) == {"data_platform", "genai_security", "voice_compliance", "enforcement", "compliance"}
    for section, path in SECTIONS.items():
        assert read_policy(path.read_bytes(), now=TODAY).document[section] == full[section]


@pytest.mark.parametrize(
    "module", ["load", "lint", "migrate", "normal", "first_pass", "environment", "problem", "source"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = ["yaml", "jsonschema_rs", "cryptography", "ruamel", "orjson", "zoneinfo", "questionary", "z3"]
    code = f"import sys, clyra.policy.{module}; print([name for name in {heavy} if name in sys.modules])"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert json.loads(done.stdout.replace("'", '"')) == []
