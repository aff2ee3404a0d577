# SPDX-License-Identifier: Apache-2.0
"""The page of a run under a policy: what was decided, who approved, how risky it was, what can be trusted."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from clyra.evidence import Bundle, open_bundle
from clyra.evidence.governance import NO_NOTES, read_certificate, read_policy_notes
from clyra.evidence.signer import Signer, ephemeral_signer
from clyra.testing.governed_bundle import GovernedRun, seal_governed
from clyra.testing.sample_bundle import SampleRun, layered_project, seal_sample
from clyra.verify import verify_bundle

FAILED = {"model.shop.int_order_items": "error", "model.shop.fct_orders": "skipped"}
HOSTILE = '</td><script>alert("x")</script>\u202e'


def sealed(folder: Path, governed: GovernedRun, *, trusted: bool = True) -> tuple[Bundle, dict[str, Any]]:
    """A bundle and its verification by the real verifier, under a trust file that has the keys or has none."""
    signer = ephemeral_signer()
    approvers = [ephemeral_signer() for _ in range(governed.approvers)]
    path = seal_governed(folder / ".clyra", governed, signer=signer, approvers=approvers).path
    trust = folder / "trust.json"
    keys = [entry(signer, "bundle"), *(entry(each, "approver") for each in approvers)] if trusted else []
    trust.write_text(json.dumps({"version": 1, "keys": keys}))
    verification = verify_bundle(path, trust=trust if trusted else None, cwd=folder)
    return open_bundle(path), verification.as_dict()


def entry(signer: Signer, role: str) -> dict[str, str]:
    public_key = b64encode(signer.public_key).decode()
    since = "2025-01-01T00:00:00.000000Z"
    return {"keyid": signer.keyid, "public_key": public_key, "alg": "ed25519", "role": role, "valid_from": since}


def shown(page: str, section: str) -> str:
    """The text of one section, tags taken away."""
    found = re.search(rf'<section aria-labelledby="{section}">(.*?)</section>', page, re.DOTALL)
    assert found, f"the page has no section {section}"
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", found[1])))


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, Any]]:
    return sealed(tmp_path_factory.mktemp("governed"), GovernedRun(approvers=2))


def test_the_sample_is_valid_for_the_verifier(governed: tuple[Bundle, dict[str, Any]]) -> None:
    assert (governed[1]["verdict"], governed[1]["warnings"]) == ("valid", [])
    assert len(governed[1]["approvals"]) == 1


def test_decisions_name_rules_by_their_titles_waivers_and_what_was_not_known(
    governed: tuple[Bundle, dict[str, Any]],
) -> None:
    told = shown(governed[0].to_html(governed[1]), "decisions")
    assert "let pass by approval" in told
    assert "A full refresh in production needs somebody's yes" in told
    assert "waived by w_history until 2026-02-01" in told
    assert "x_personal_contract · warn · could not be judged" in told
    assert "not known: data.personal" in told
    assert "harbor shop" in told


def test_the_strongest_decision_comes_first(governed: tuple[Bundle, dict[str, Any]]) -> None:
    told = shown(governed[0].to_html(governed[1]), "decisions")
    assert told.index("let pass by approval") < told.index("warned") < told.index("allowed")


def test_approvals_are_called_verified_only_if_the_verification_says_so(
    governed: tuple[Bundle, dict[str, Any]],
) -> None:
    bundle, verification = governed
    assert "Run verified" in shown(bundle.to_html(verification), "approvals")
    assert "claimed, not verified here" in shown(bundle.to_html(verification | {"approvals": []}), "approvals")
    assert "claimed, not verified here" in shown(bundle.to_html(None), "approvals")


def test_nobody_is_verified_in_an_invalid_bundle(governed: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, verification = governed
    invalid = verification | {"verdict": "invalid", "code": "risk_mismatch", "message": "x", "stage": "semantics"}
    assert "claimed, not verified here" in shown(bundle.to_html(invalid), "approvals")


def test_approvals_say_who_in_which_role_when_for_which_rules(governed: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, verification = governed
    told = shown(bundle.to_html(verification), "approvals")
    for certificate in bundle.summary().approvals[0].certificates:
        assert f"{certificate.principal} as {certificate.role.replace('_', ' ')}" in told
    assert "1 January 2026, 08:56:00 UTC" in told
    assert "Covers this run" in told
    assert "x_full_refresh_prod" in told


def test_standing_and_emergency_approvals_are_called_so(tmp_path: Path) -> None:
    bundle, verification = sealed(tmp_path, GovernedRun(standing=True, break_glass=True))
    assert [each["code"] for each in verification["warnings"]] == ["break_glass_unreviewed"]
    told = shown(bundle.to_html(verification), "approvals")
    assert "standing, target prod, until 1 February 2026" in told
    assert "emergency access: one person, to be reviewed" in told


def test_risk_shows_every_factor_that_counts_with_weight_and_count(governed: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, verification = governed
    told = shown(bundle.to_html(verification), "risk")
    risk = bundle.manifest["risk"]
    assert f"{risk['score']} of 100, {risk['band']}" in told
    assert "schema change 30 × 1 30" in told
    assert "first time actor not known, so it counts 2 × 1 2" in told
    silent = [each["factor"].replace("_", " ") for each in risk["factors"] if not each["count"]]
    assert f"Not counted: {', '.join(silent)}." in told


def test_shadow_mode_is_told_as_what_would_have_been(tmp_path: Path) -> None:
    bundle, verification = sealed(tmp_path, GovernedRun(mode="shadow", approvers=0))
    page = bundle.to_html(verification)
    assert "would ask" in shown(page, "decisions")
    assert 'aria-labelledby="approvals"' not in page


def test_trust_is_in_the_picture_and_in_words(tmp_path: Path) -> None:
    bundle, verification = sealed(tmp_path, GovernedRun(run=SampleRun(statuses=FAILED)))
    told = shown(bundle.to_html(verification), "lineage")
    assert "fct_revenue_daily 0" in told
    assert "model.shop.int_order_items: error" in told
    assert "trust 0 (contradicted)" in told
    lowest = "customer_lifetime_value, fct_orders, fct_revenue_daily, int_order_items"
    assert f"lowest, 0: {lowest}. 100 is enforced and tested" in told


def test_a_large_lineage_has_its_trust_in_words(tmp_path: Path) -> None:
    bundle, verification = sealed(tmp_path, GovernedRun(run=SampleRun(parents=layered_project(200))))
    assert "40 for all" in shown(bundle.to_html(verification), "lineage")


def test_a_run_without_a_policy_has_none_of_it(tmp_path: Path) -> None:
    page = open_bundle(seal_sample(tmp_path / ".clyra").path).to_html()
    assert not re.search(r'aria-labelledby="(decisions|approvals|risk)"', page)
    assert "Risk" not in page
    assert "trust, 0 to 100" not in page


def test_pauses_and_refused_tokens_are_told(tmp_path: Path) -> None:
    at = 1_767_258_900_000_000
    opened: dict[str, object] = {
        "checkpoint": "before_prod",
        "checkpoint_id": "c1",
        "request_sha256": "ab" * 32,
        "state_sha256": "cd" * 32,
        "expires_at": "2026-01-02T09:15:00.000000Z",
    }
    refused: dict[str, object] = {"code": "approval_expired"}
    more = (("approval.refused", at, refused), ("checkpoint.opened", at, opened))
    bundle, _ = sealed(tmp_path, GovernedRun(more=more), trusted=False)
    page = bundle.to_html()
    assert "token refused approval_expired" in shown(page, "incidents")
    assert "opened before_prod" in shown(page, "decisions")


def test_no_name_breaks_out_of_the_governed_sections(tmp_path: Path) -> None:
    at = 1_767_258_900_000_000
    rule = {"id": "x", "effect": "block", "severity": "critical", "state": "waived", "waiver": HOSTILE}
    hostile: dict[str, object] = {
        "id": HOSTILE,
        "point": "run",
        "mode": "enforce",
        "decision": "block",
        "rules": [rule],
        "unique_id": HOSTILE,
        "missing": ["x"],
        "facts": {},
        "policy_sha256": None,
        "risk": None,
    }
    bundle, _ = sealed(tmp_path, GovernedRun(more=(("decision", at, hostile),)), trusted=False)
    page = bundle.to_html()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "waived by </td><script>" in shown(page, "decisions")


def test_the_card_names_policy_and_risk(governed: tuple[Bundle, dict[str, Any]]) -> None:
    card = unescape(governed[0]._repr_html_())
    assert "policy harbor shop, 1 decision to stop, 1 approval claimed, risk 55 (high)" in card


@pytest.mark.parametrize("envelope", [b"", b"[]", b"{}", b'{"payload":"!"}', b'{"payload":"W10="}', b"\xff"])
def test_what_is_no_certificate_says_nothing(envelope: bytes) -> None:
    assert read_certificate("ab" * 32, envelope) is None


@pytest.mark.parametrize("policy", [b"", b"[]", b'{"waivers":[1]}', b'{"data_platform":{"rules":[{}]}}', b"\xff"])
def test_what_is_no_policy_has_no_titles(policy: bytes) -> None:
    assert read_policy_notes(policy) == NO_NOTES
