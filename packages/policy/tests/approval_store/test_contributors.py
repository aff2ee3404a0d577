# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clyra.approval.contributors import Contributors, Settled, contributors, git_principal, rule_form
from clyra.spec import ClyraError, ConfigurationError, FormatError

if TYPE_CHECKING:
    from packages.policy.tests.approval_store.conftest import Checkout

IDENTITIES = {
    f"key:{letter * 64}": [f"{name}@example.invalid"]
    for letter, name in zip("abcde", ("ana", "ben", "cem", "dia", "eva"), strict=True)
}
ANA, BEN, CEM, DIA, EVA = IDENTITIES
PROJECT = "analytics"
POLICY = "analytics/policy.json"


def read(data: bytes) -> Mapping[str, Any]:
    """Policies of these tests are JSON that is normalized already."""
    try:
        return dict(json.loads(data))
    except ValueError as exc:
        raise FormatError("not a policy", code="policy_invalid") from exc


def policy(**values: object) -> dict[str, str]:
    rules = [{"id": name, "value": value} for name, value in values.items()]
    return {POLICY: json.dumps({"data_platform": {"rules": rules}, "waivers": []})}


def model(text: str) -> dict[str, str]:
    return {f"{PROJECT}/models/orders.sql": text}


def found(checkout: Checkout, **settings: Any) -> Contributors:
    defaults: dict[str, Any] = {"identities": IDENTITIES, "environ": checkout.environ}
    return contributors(checkout.folder / PROJECT, **(defaults | settings))


def test_authors_and_committers_of_the_whole_history_where_nothing_was_approved(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    checkout.commit("ben", model("select 2"), committer="cem")
    who = found(checkout)
    assert who.principals == (ANA, BEN, CEM)
    assert (who.author, who.author_basis, who.base) == (BEN, "claimed", None)


def test_a_commit_outside_of_the_project_makes_nobody_a_contributor(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    checkout.commit("ben", {"README.md": "text"})
    assert found(checkout).principals == (ANA,)


def test_the_policy_belongs_to_the_change_wherever_it_lies(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    checkout.commit("ben", {"governance/policy.json": "{}"})
    assert found(checkout, policy_path=checkout.folder / "governance/policy.json").principals == (ANA, BEN)


@pytest.mark.parametrize(
    "line",
    [
        "Co-authored-by: Dia <dia@example.invalid>",
        "co-authored-by:Dia <DIA@example.invalid> ",
        "  CO-AUTHORED-BY: <dia@example.invalid>\n\nMore text",
    ],
)
def test_co_authors_count_however_the_line_is_written(checkout: Checkout, line: str) -> None:
    checkout.commit("ana", model("select 1"), message=f"Orders\n\n{line}\n\nSigned-off-by: Eva <eva@example.invalid>")
    assert found(checkout).principals == (ANA, DIA)


def test_a_mailmap_in_the_project_renames_nobody(checkout: Checkout) -> None:
    mailmap = {".mailmap": "Ben <ben@example.invalid> <ana@example.invalid>\n"}
    checkout.commit("ana", model("select 1") | mailmap)
    assert found(checkout).principals == (ANA,)


def test_a_replaced_commit_hides_nobody(checkout: Checkout) -> None:
    first = checkout.commit("ana", model("select 1"))
    checkout.git("replace", first, checkout.git("commit-tree", "-m", "other", f"{first}^{{tree}}"))
    assert found(checkout).principals == (ANA,)


def test_the_forge_that_commits_what_others_wrote_is_passed_over(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"), committer="forge")
    assert found(checkout, service_committers=[git_principal(" Forge@example.invalid")]).unmapped == {}
    assert found(checkout).unmapped.keys() == {git_principal("forge@example.invalid")}


def test_the_forge_as_author_is_somebody(checkout: Checkout) -> None:
    checkout.commit("forge", model("select 1"))
    who = found(checkout, service_committers=["forge@example.invalid"])
    assert who.principals == (git_principal("forge@example.invalid"),)


def test_somebody_whom_no_policy_maps_is_refused_by_digest_and_commit(checkout: Checkout) -> None:
    commit = checkout.commit("zoe", model("select 1"))
    with pytest.raises(ConfigurationError) as refused:
        found(checkout).refuse_unmapped()
    assert refused.value.code == "identity_unmapped"
    assert commit[:12] in refused.value.message
    assert git_principal("zoe@example.invalid") in refused.value.message
    assert "zoe" not in refused.value.message


def test_everybody_mapped_is_not_refused(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    found(checkout).refuse_unmapped()


def test_a_base_that_is_named_bounds_the_change(checkout: Checkout) -> None:
    first = checkout.commit("ana", model("select 1"))
    checkout.git("tag", "released")
    checkout.commit("ben", model("select 2"))
    who = found(checkout, base="released")
    assert (who.principals, who.base) == ((BEN,), first)


@pytest.mark.parametrize("base", ["nowhere", "--all", "other"])
def test_a_base_that_is_no_ancestor_is_refused(checkout: Checkout, base: str) -> None:
    checkout.commit("ana", model("select 1"))
    checkout.git("checkout", "-q", "-b", "other")
    checkout.commit("ben", model("select 2"))
    checkout.git("checkout", "-q", "main")
    with pytest.raises(ConfigurationError, match="no ancestor"):
        found(checkout, base=base)


def test_a_commit_that_was_approved_bounds_the_change(checkout: Checkout) -> None:
    first = checkout.commit("ana", model("select 1"))
    checkout.commit("ben", model("select 2"))
    assert found(checkout, settled=Settled(commits=frozenset([first]))).principals == (BEN,)


def test_a_tree_that_was_approved_bounds_the_change_after_a_squash(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    checkout.git("checkout", "-q", "-b", "feature")
    checkout.commit("ben", model("select 2"))
    approved = checkout.git("rev-parse", f"HEAD:{PROJECT}")
    checkout.git("checkout", "-q", "main")
    checkout.git("merge", "-q", "--squash", "feature")
    checkout.commit("cem", {})
    checkout.commit("dia", model("select 3"))
    assert found(checkout, settled=Settled(trees=frozenset([approved]))).principals == (DIA,)


def test_approving_the_same_tree_again_does_not_empty_the_change(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    tree = checkout.git("rev-parse", f"HEAD:{PROJECT}")
    checkout.commit("ben", {"README.md": "text"})
    assert found(checkout, settled=Settled(trees=frozenset([tree]))).principals == (ANA,)


def test_a_branch_counts_from_where_it_left_the_default_branch(checkout: Checkout, tmp_path: Path) -> None:
    checkout.commit("ana", model("select 1"))
    bare = tmp_path / "origin.git"
    checkout.git("init", "-q", "--bare", str(bare))
    checkout.git("remote", "add", "origin", str(bare))
    checkout.git("push", "-q", "origin", "main")
    assert found(checkout).principals == (ANA,)
    checkout.git("checkout", "-q", "-b", "feature")
    checkout.commit("ben", model("select 2"))
    assert found(checkout).principals == (BEN,)


def test_both_sides_of_a_merge_count_even_if_one_did_not_stay(checkout: Checkout) -> None:
    base = checkout.commit("ana", model("select 1"))
    checkout.git("checkout", "-q", "-b", "feature")
    checkout.commit("ben", model("select 2"))
    checkout.git("checkout", "-q", "main")
    checkout.commit("cem", model("select 3"))
    checkout.git("merge", "-q", "-s", "ours", "feature")
    assert set(found(checkout, base=base).principals) >= {BEN, CEM}


def test_whoever_presses_the_button_of_a_plain_merge_changed_nothing(checkout: Checkout) -> None:
    base = checkout.commit("ana", model("select 1"))
    checkout.git("checkout", "-q", "-b", "feature")
    checkout.commit("ben", model("select 2"))
    checkout.git("checkout", "-q", "main")
    checkout.commit("cem", {f"{PROJECT}/models/customers.sql": "select 1"})
    checkout.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    assert found(checkout, base=base).principals == (BEN, CEM)


def test_whoever_changes_something_while_merging_contributes(checkout: Checkout) -> None:
    base = checkout.commit("ana", model("select 1"))
    checkout.git("checkout", "-q", "-b", "feature")
    checkout.commit("ben", model("select 2"))
    checkout.git("checkout", "-q", "main")
    checkout.commit("cem", {f"{PROJECT}/models/customers.sql": "select 1"})
    checkout.git("merge", "-q", "--no-commit", "--no-ff", "feature")
    checkout.commit("dia", model("select 3"), message="Merge feature")
    assert found(checkout, base=base).principals == (BEN, CEM, DIA)


def test_a_shallow_checkout_is_refused_where_its_history_is_needed(checkout: Checkout, tmp_path: Path) -> None:
    checkout.commit("ana", model("select 1"))
    checkout.commit("ben", model("select 2"))
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit("cem", model("select 3"))
    shallow = tmp_path / "shallow"
    checkout.git("clone", "-q", "--depth", "2", f"file://{checkout.folder}", str(shallow))
    with pytest.raises(ConfigurationError) as refused:
        contributors(shallow / PROJECT, identities=IDENTITIES, environ=checkout.environ)
    assert refused.value.code == "history_shallow"
    bounded = contributors(shallow / PROJECT, base=base, identities=IDENTITIES, environ=checkout.environ)
    assert bounded.principals == (CEM,)


def test_no_checkout_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        contributors(tmp_path, identities={}, environ=checkout.environ)
    assert refused.value.code == "tree_unknown"


def test_whoever_edits_a_rule_that_would_be_lifted_contributes(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1") | policy(x_one=1, x_two=1))
    base = checkout.commit("ben", policy(x_one=2, x_two=1))
    checkout.commit("cem", model("select 2"))
    settings = {"base": base, "policy_path": checkout.folder / POLICY, "read_policy": read}
    assert found(checkout, rules=["x_one"], **settings).principals == (ANA, BEN, CEM)
    assert found(checkout, rules=["x_two"], **settings).principals == (ANA, CEM)
    assert found(checkout, rules=[], **settings).principals == (CEM,)


def test_an_edit_of_a_rule_is_settled_once_something_was_approved_under_it(checkout: Checkout) -> None:
    from hashlib import sha256

    from clyra.evidence import canonicalize

    checkout.commit("ana", policy(x_one=1))
    approved = sha256(canonicalize(read((checkout.folder / POLICY).read_bytes()))).hexdigest()
    checkout.commit("ben", policy(x_one=1, x_two=1))
    base = checkout.commit("cem", model("select 1"))
    checkout.commit("dia", model("select 2"))
    settings = {"base": base, "policy_path": checkout.folder / POLICY, "read_policy": read}
    settled = Settled(policies=frozenset([approved]))
    assert found(checkout, rules=["x_one"], settled=settled, **settings).principals == (DIA,)
    assert found(checkout, rules=["x_two"], settled=settled, **settings).principals == (BEN, DIA)


def test_a_merge_that_takes_over_a_rule_edits_none(checkout: Checkout) -> None:
    base = checkout.commit("ana", policy(x_one=1))
    checkout.git("checkout", "-q", "-b", "feature")
    checkout.commit("ben", policy(x_one=2))
    checkout.git("checkout", "-q", "main")
    checkout.commit("cem", {"README.md": "text"})
    checkout.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    settings = {"base": base, "policy_path": checkout.folder / POLICY, "read_policy": read}
    assert found(checkout, rules=["x_one"], **settings).unmapped == {}


def test_after_a_policy_that_nobody_can_read_its_rules_count_as_edited(checkout: Checkout) -> None:
    checkout.commit("ana", policy(x_one=1))
    base = checkout.commit("ben", {POLICY: "{"})
    checkout.commit("cem", policy(x_one=1))
    who = found(checkout, base=base, rules=["x_one"], policy_path=checkout.folder / POLICY, read_policy=read)
    assert who.principals == (ANA, BEN, CEM)


def test_a_waiver_that_names_a_rule_is_part_of_its_form() -> None:
    bare = {"data_platform": {"rules": [{"id": "x_one"}]}, "waivers": []}
    waived = {**bare, "waivers": [{"id": "w", "rules": ["x_one"]}]}
    assert rule_form(bare, "x_one") != rule_form(waived, "x_one")
    assert rule_form(bare, "x_two") == rule_form(waived, "x_two")


def test_the_settings_stand_for_rules_that_are_built_in() -> None:
    before = {"data_platform": {"rules": [], "warehouse_guards": {"sql_safety": True}}, "enforcement": {"risk": {}}}
    after = {"data_platform": {"rules": [], "warehouse_guards": {"sql_safety": False}}, "enforcement": {"risk": {}}}
    assert rule_form(before, "delete_without_where") != rule_form(after, "delete_without_where")
    assert rule_form(before, "risk_threshold") == rule_form(after, "risk_threshold")


def signing_key(checkout: Checkout, owner: str) -> None:
    """Sign commits from now on with a key of which ``owner`` is the only allowed user."""
    key = checkout.folder.parent / "signing"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)), check=True)
    allowed = checkout.folder.parent / "allowed"
    allowed.write_text(f"{owner}@example.invalid {key.with_suffix('.pub').read_text()}")
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(key)),
        ("gpg.ssh.allowedSignersFile", str(allowed)),
        ("commit.gpgSign", "true"),
    ):
        checkout.git("config", name, value)


def test_a_commit_signed_by_its_author_is_no_mere_claim(checkout: Checkout) -> None:
    signing_key(checkout, "ana")
    checkout.commit("ana", model("select 1"))
    assert found(checkout).author_basis == "signed"


def test_a_commit_signed_by_somebody_else_is_a_claim(checkout: Checkout) -> None:
    signing_key(checkout, "ana")
    checkout.commit("ben", model("select 1"), committer="ana")
    assert found(checkout).author_basis == "claimed"


def test_one_unsigned_commit_makes_the_whole_change_a_claim(checkout: Checkout) -> None:
    checkout.commit("ben", model("select 1"))
    signing_key(checkout, "ana")
    checkout.commit("ana", model("select 2"))
    assert found(checkout).author_basis == "claimed"


def test_an_error_of_git_is_ours(checkout: Checkout) -> None:
    checkout.commit("ana", model("select 1"))
    with pytest.raises(ClyraError) as refused:
        found(checkout, environ=checkout.environ | {"PATH": "/nonexistent"})
    assert refused.value.code == "tree_unknown"
