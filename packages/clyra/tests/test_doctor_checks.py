# SPDX-License-Identifier: Apache-2.0
"""What single checks of ``clyra doctor`` say, judged by values, in memory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

from clyra.cli._doctor_install import command, packages, python
from clyra.cli._doctor_keys import enrolled
from clyra.cli._doctor_policy import analysis, checks, environments, waivers
from clyra.cli._doctor_trust import TrustFile
from clyra.cli.doctor import Findings, exit_code
from clyra.evidence.signer import ephemeral_signer
from clyra.policy.health import Check, CheckContext, CheckStatus, Target
from clyra.policy.load import read_policy
from clyra.verify.trust import Trust, TrustKey

NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)
SIGNER = ephemeral_signer()
POLICY = """\
version: 1
name: shop
environments:
  prod: {targets: [prod], mode: enforce, production: true}
  dev: {targets: [dev]}
data_platform:
  rules:
    - {id: x_frozen, effect: block, mode: enforce, when: [{field: env.change_freeze, op: eq, value: true}]}
"""


@pytest.mark.parametrize(("version", "status"), [((3, 11, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "warn")])
def test_a_python_beyond_those_that_were_tested_is_told(version: tuple[int, ...], status: str) -> None:
    assert python(version).status == status


def installed(folder: Path, name: str, version: str) -> None:
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def packages_in(*folders: Path) -> dict[str, Check]:
    found: list[Distribution] = list(distributions(path=[str(folder) for folder in folders]))
    return {check.id: check for check in packages(found)}


def test_packages_of_one_version_are_well(tmp_path: Path) -> None:
    for name in ("clyra", "clyra-dbt", "requests"):
        installed(tmp_path, name, "0.2.0")
    found = packages_in(tmp_path)
    assert {check.status for check in found.values()} == {"ok"}
    assert found["install.packages"].summary == "0.2.0: clyra, clyra-dbt"


def test_packages_of_several_versions_are_told(tmp_path: Path) -> None:
    installed(tmp_path, "clyra", "0.2.0")
    installed(tmp_path, "clyra-dbt", "0.1.0")
    found = packages_in(tmp_path)["install.packages"]
    assert found.status == "warn"
    assert "0.1.0: clyra-dbt; 0.2.0: clyra" in found.summary


def test_a_package_that_is_there_twice_is_told_with_both_places(tmp_path: Path) -> None:
    for name in ("one", "other"):
        installed(tmp_path / name, "clyra", "0.2.0")
    found = packages_in(tmp_path / "one", tmp_path / "other")["install.copies"]
    assert found.status == "warn"
    assert found.summary.endswith(f"{tmp_path / 'one'}, {tmp_path / 'other'}")


def test_the_clyra_of_another_python_is_told(tmp_path: Path) -> None:
    other = tmp_path / "clyra"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    found = command({"PATH": str(tmp_path)}, Path(sys.executable).parent)
    assert found.status == "warn"
    assert str(other) in found.summary


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({}, "ok", id="without an end"),
        pytest.param({"valid_to": "2027-01-01T00:00:00.000000Z"}, "ok", id="long"),
        pytest.param({"valid_to": "2026-03-02T08:59:59.000000Z"}, "warn", id="thirty days"),
        pytest.param({"valid_to": "2026-03-02T09:00:01.000000Z"}, "ok", id="more than thirty days"),
        pytest.param({"valid_to": "2026-01-31T08:00:00.000000Z"}, "fail", id="over"),
        pytest.param({"valid_from": "2026-02-01T00:00:00.000000Z"}, "warn", id="not yet"),
        pytest.param({"revoked_at": "2026-01-01T00:00:00.000000Z"}, "fail", id="revoked"),
        pytest.param({"role": "log"}, "warn", id="another role"),
    ],
)
def test_a_key_is_judged_by_what_the_trust_file_says(changes: Mapping[str, Any], status: CheckStatus) -> None:
    assert enrolled("bundle", SIGNER, trust_with(changes), NOW).status == status


def test_without_a_trust_file_nobody_is_asked_for(tmp_path: Path) -> None:
    assert enrolled("bundle", SIGNER, None, NOW).status == "skip"
    assert enrolled("bundle", SIGNER, TrustFile(tmp_path, None, "broken"), NOW).status == "skip"


def trust_with(changes: Mapping[str, Any]) -> TrustFile:
    key = TrustKey(
        keyid=SIGNER.keyid,
        alg=SIGNER.alg,
        role="bundle",
        spki=SIGNER.public_key,
        valid_from="2025-01-01T00:00:00.000000Z",
        valid_to=None,
        revoked_at=None,
        tenants=None,
        specs=None,
        captures=None,
        principal=f"key:{SIGNER.keyid}",
    )
    return TrustFile(Path("clyra.trust.json"), Trust(1, "", {key.keyid: key._replace(**changes)}, {}), "")


@pytest.mark.parametrize(
    ("expires", "status"),
    [("2026-01-30", "warn"), ("2026-01-31", "warn"), ("2026-02-14", "warn"), ("2026-02-15", "ok"), (None, "ok")],
)
def test_waivers_are_told_two_weeks_before_they_end(expires: str | None, status: str) -> None:
    entries = [] if expires is None else [{"id": "w_one", "expires": expires}]
    assert waivers(entries, NOW.date()).status == status


@pytest.mark.parametrize(
    ("known", "status"),
    [
        pytest.param({}, "warn", id="none"),
        pytest.param({"prod": {"targets": []}}, "warn", id="without targets"),
        pytest.param({"prod": {"targets": ["prod"], "mode": "enforce"}}, "ok", id="with targets"),
    ],
)
def test_environments_say_which_targets_are_theirs(known: Mapping[str, Any], status: str) -> None:
    assert environments(known).status == status


def manifest(*tags: str) -> dict[str, Any]:
    node = {"unique_id": "model.shop.customers", "resource_type": "model", "tags": list(tags), "config": {}}
    return {"metadata": {"adapter_type": "duckdb"}, "nodes": {"model.shop.customers": node}}


def analysed(more: str, document: dict[str, Any] | None) -> dict[str, CheckStatus]:
    policy = read_policy((POLICY + more).encode(), now=NOW.date())
    return {check.id: check.status for check in analysis(policy.document, document)}


def test_personal_data_without_a_rule_is_told() -> None:
    assert analysed("", manifest("pii"))["policy.personal"] == "warn"
    assert analysed("", manifest("finance"))["policy.personal"] == "ok"
    assert analysed("", None)["policy.personal"] == "skip"
    rule = "    - {id: x_pii, effect: warn, mode: enforce, when: [{field: data.personal, op: eq, value: true}]}\n"
    assert analysed(rule, manifest("pii"))["policy.personal"] == "ok"


def test_what_analysis_finds_is_told() -> None:
    when = "[{field: env.change_freeze, op: eq, value: true}]"
    again = f"    - {{id: x_frozen_too, effect: warn, mode: enforce, when: {when}}}\n"
    assert analysed("", None)["policy.analysis"] == "ok"
    assert analysed(again, None)["policy.analysis"] == "warn"


def context(project: Path, target: Target | None = None) -> CheckContext:
    return CheckContext(project, {}, NOW, frozenset(), lambda: target)


def by_id(project: Path, target: Target | None = None) -> dict[str, Check]:
    return {check.id: check for check in checks(context(project, target))}


def target(name: str) -> Target:
    return Target(name, "duckdb", {}, lambda: pytest.fail("a policy needs no connection"))


def test_without_a_policy_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert {check.status for check in by_id(tmp_path).values()} == {"skip"}


def test_a_policy_that_does_not_load_says_where_it_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "clyra.policy.yaml").write_text(POLICY.replace("op: eq", "op: gtt"))
    found = by_id(tmp_path)
    assert list(found) == ["policy.file"]
    assert found["policy.file"].status == "fail"
    assert "clyra.policy.yaml:8:" in found["policy.file"].summary


def test_a_sound_policy_is_well(tmp_path: Path) -> None:
    (tmp_path / "clyra.policy.yaml").write_text(POLICY)
    found = by_id(tmp_path, target("prod"))
    assert {check.id: check.status for check in found.values() if check.status != "ok"} == {"policy.personal": "skip"}


def test_a_target_that_no_environment_lists_is_told(tmp_path: Path) -> None:
    (tmp_path / "clyra.policy.yaml").write_text(POLICY)
    assert by_id(tmp_path, target("staging"))["policy.target"].status == "warn"


def test_a_rule_without_a_mode_is_told_where_something_is_enforced(tmp_path: Path) -> None:
    (tmp_path / "clyra.policy.yaml").write_text(POLICY.replace("mode: enforce, when", "when"))
    found = by_id(tmp_path, target("prod"))["policy.lint"]
    assert found.status == "warn"
    assert "policy_hint" in found.summary


@pytest.mark.parametrize(
    ("statuses", "unavailable", "code"),
    [
        pytest.param("ok skip", False, 0, id="well"),
        pytest.param("ok warn", False, 2, id="warning"),
        pytest.param("ok warn", True, 69, id="a warning and something not looked at"),
        pytest.param("fail warn", True, 1, id="a failure outweighs"),
        pytest.param("skip", True, 69, id="not looked at"),
    ],
)
def test_the_worst_decides_the_exit_code(statuses: str, unavailable: bool, code: int) -> None:
    plain = Check("x.y", "ok", "z")
    words: list[Any] = statuses.split()
    found = Findings(tuple(replace(plain, status=word) for word in words), ("x",) if unavailable else ())
    assert exit_code(found, strict=False, warn_ok=False) == code
