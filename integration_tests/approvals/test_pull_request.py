# SPDX-License-Identifier: Apache-2.0
"""Approving in a pull request: asked on the branch, signed by reviewers, deployed from main by a job that mints.

The forge is a bare repository. Requests and certificates travel as a folder (what a CI service calls an artifact),
never on the branch. A merge commit, a squash and a rebase each put another commit on main, with the same tree.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from integration_tests.approvals.conftest import Clone, Team

    from clyra.approval.request import ApprovalRequest

BRANCH = "feature"


class PullRequest:
    """A branch that ana pushed, asked about in CI and approved by ben on a clone of his own."""

    def __init__(self, developer: Clone, clone_of: Callable[[str], Clone], folder: Path) -> None:
        self.developer = developer
        self._clone_of = clone_of
        self.artifact = folder / "artifact"
        self.request: ApprovalRequest | None = None

    def open(self, **request: Any) -> ApprovalRequest:
        self.developer.git("checkout", "-q", "-b", BRANCH)
        self.developer.commit({"models/orders.sql": "select 2 as id"}, author="ana")
        self.developer.commit({"models/customers.sql": "select 1 as id"}, author="ana")
        self.developer.git("push", "-q", "origin", BRANCH)
        ci = self._clone_of("ci")
        ci.git("checkout", "-q", BRANCH)
        self.request = ci.request(**request)
        ci.run("runner", "approval", "export", "--out", str(self.artifact))
        return self.request

    def approve(self, who: str, *words: str) -> Any:
        """On their own machine: fetch the branch and the artifact, sign, hand the artifact back."""
        reviewer = self._clone_of(who)
        reviewer.git("checkout", "-q", BRANCH)
        reviewer.run(who, "approval", "import", str(self.artifact))
        done = reviewer.run(who, "approve", "--yes", "--json", *words).json
        shutil.rmtree(self.artifact)
        reviewer.run(who, "approval", "export", done["request_sha256"], "--out", str(self.artifact))
        return done

    def merge(self, how: str, *, presser: str = "ben") -> None:
        """Land the branch on main as a forge does; whoever presses the button commits."""
        forge = self._clone_of(f"forge-{how}")
        branch = f"origin/{BRANCH}"
        if how == "merge":
            forge.git("merge", "-q", "--no-ff", "-m", "Merge the branch", branch, author=presser)
        elif how == "squash":
            forge.git("merge", "-q", "--squash", branch)
            forge.git("commit", "-q", "-m", "Orders (squashed)", author="ana", committer=presser)
        else:
            forge.git("checkout", "-q", "-b", "rebased", branch)
            forge.git("rebase", "-q", "--no-ff", "main", author="ana", committer=presser)
            forge.git("checkout", "-q", "main")
            forge.git("merge", "-q", "--ff-only", "rebased")
        forge.git("push", "-q", "origin", "main")

    def deploy_job(self, *words: str) -> Clone:
        """A fresh checkout of main with the artifact."""
        deploy = self._clone_of("deploy")
        deploy.run("runner", "approval", "import", str(self.artifact))
        return deploy


@pytest.fixture
def pull_request(project: Clone, clone_of: Callable[[str], Clone], tmp_path: Path) -> PullRequest:
    return PullRequest(project, clone_of, tmp_path)


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_the_approval_holds_on_main_however_the_branch_landed(pull_request: PullRequest, how: str) -> None:
    request = pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    pull_request.merge(how)
    deploy = pull_request.deploy_job()
    assert deploy.git("rev-parse", "HEAD") != request.commit
    assert deploy.git("rev-parse", "HEAD:./") == request.tree
    minted = deploy.mint(CLYRA_RUN_ID="pr-7")
    assert minted["request_sha256"] == request.sha256
    verified = deploy.run("runner", "approval", "verify", "-", "--json", given=minted["token"]).json
    assert verified["claims"]["tree"] == request.tree
    assert "tree" not in verified["unchecked"]


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_a_standing_approval_backs_the_jobs_that_follow(pull_request: PullRequest, how: str) -> None:
    pull_request.open()
    pull_request.approve("ben", "--standing", "8h")
    pull_request.merge(how)
    deploy = pull_request.deploy_job()
    assert {deploy.mint(CLYRA_RUN_ID=f"nightly-{number}")["run_id"] for number in range(3)} == {
        "nightly-0",
        "nightly-1",
        "nightly-2",
    }


@pytest.mark.parametrize(
    "files",
    [
        {"models/orders.sql": "select 3 as id"},
        {"models/new.sql": "select 3 as id"},
        {"macros/cents.sql": "{% macro cents(x) %}{{ x }}{% endmacro %}"},
        {"packages.yml": "packages:\n  - package: dbt-labs/dbt_utils\n    version: 1.3.0\n"},
        {"seeds/regions.csv": "id\n1\n"},
        {"dbt_project.yml": "name: harbor\nversion: '1.0'\nprofile: other\n"},
    ],
    ids=["model", "new model", "macro", "package", "seed", "project"],
)
def test_an_edit_after_the_approval_voids_it(pull_request: PullRequest, files: dict[str, str]) -> None:
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    pull_request.merge("squash")
    deploy = pull_request.deploy_job()
    deploy.commit(files, author="cem")
    said = deploy.run("runner", "approval", "mint", "--target", "prod", "--run-id", "pr-7", expect=1)
    assert said.error == "approval_tree"
    assert "ask for a new approval" in said.err


def test_an_edit_of_the_policy_after_the_approval_voids_it(pull_request: PullRequest, team: Team) -> None:
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    pull_request.merge("squash")
    deploy = pull_request.deploy_job()
    deploy.commit({"clyra.policy.yaml": team.policy(roles={"on_call": [team.key("ana")]})}, author="ana")
    assert deploy.refused("runner", "approval", "mint", "--target", "prod", "--run-id", "pr-7") == "approval_policy"


def test_a_comment_in_the_policy_is_another_tree(pull_request: PullRequest) -> None:
    """The policy says the same; the tree that was approved is bound to bytes all the same."""
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    pull_request.merge("squash")
    deploy = pull_request.deploy_job()
    policy = (deploy.path / "clyra.policy.yaml").read_text()
    deploy.commit({"clyra.policy.yaml": f"# reviewed\n{policy}"}, author="ana")
    assert deploy.refused("runner", "approval", "mint", "--target", "prod", "--run-id", "pr-7") == "approval_tree"


def test_a_file_that_was_modified_and_not_committed_voids_it(pull_request: PullRequest) -> None:
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    pull_request.merge("squash")
    deploy = pull_request.deploy_job()
    (deploy.path / "models" / "orders.sql").write_text("drop table everything")
    said = deploy.run("runner", "approval", "mint", "--target", "prod", "--run-id", "pr-7", expect=1)
    assert said.error == "approval_tree"
    assert "modified" in said.err


def test_what_main_got_in_between_voids_it(pull_request: PullRequest, clone_of: Callable[[str], Clone]) -> None:
    """The branch lands on another main than it was approved for: nobody has read that combination."""
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    other = clone_of("other")
    other.commit({"models/unrelated.sql": "select 1"}, author="cem")
    other.git("push", "-q", "origin", "main")
    pull_request.merge("merge")
    deploy = pull_request.deploy_job()
    assert deploy.refused("runner", "approval", "mint", "--target", "prod", "--run-id", "pr-7") == "approval_tree"


def test_the_author_of_the_branch_may_not_approve_it(pull_request: PullRequest) -> None:
    pull_request.open()
    with pytest.raises(AssertionError, match="approval_duties"):
        pull_request.approve("ana")


def test_whoever_pushes_to_the_branch_afterwards_has_to_ask_again(
    pull_request: PullRequest, clone_of: Callable[[str], Clone]
) -> None:
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    # ben signed; now he changes what he signed.
    helping = clone_of("helping")
    helping.git("checkout", "-q", BRANCH)
    helping.commit({"models/orders.sql": "select 5"}, author="ben")
    helping.git("push", "-q", "origin", BRANCH)
    request = helping.request(run_id="pr-7")
    assert helping.refused("ben", "approve", request.sha256, "--yes") == "approval_duties"
    pull_request.merge("squash")
    deploy = pull_request.deploy_job()
    assert deploy.refused("runner", "approval", "mint", "--target", "prod", "--run-id", "pr-7") == "approval_tree"


def test_an_artifact_without_certificates_approves_nothing(pull_request: PullRequest) -> None:
    request = pull_request.open(run_id="pr-7")
    pull_request.merge("merge")
    deploy = pull_request.deploy_job()
    assert deploy.refused("runner", "approval", "mint", "--target", "prod") == "request_unknown"
    assert deploy.refused("runner", "approval", "mint", "--request", request.sha256) == "approval_quorum"


def test_a_certificate_for_another_request_approves_nothing(pull_request: PullRequest) -> None:
    """The artifact is anybody's to write: a real certificate beside an edited request does not count for it."""
    request = pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    path = next((pull_request.artifact / "requests").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"run_id":"pr-7"', b'"run_id":"pr-8"'))
    pull_request.merge("merge")
    with pytest.raises(AssertionError, match="request_invalid"):
        pull_request.deploy_job()
    assert request.run_id == "pr-7"


def test_two_reviewers_hand_the_artifact_on(pull_request: PullRequest, team: Team) -> None:
    pull_request.developer.commit({"clyra.policy.yaml": team.policy(quorum=2)}, author="dia")
    pull_request.developer.git("push", "-q", "origin", "main")
    pull_request.open(run_id="pr-7")
    assert pull_request.approve("ben")["complete"] is False
    assert pull_request.approve("cem")["complete"] is True
    pull_request.merge("squash")
    assert pull_request.deploy_job().mint(CLYRA_RUN_ID="pr-7")["run_id"] == "pr-7"


@pytest.mark.parametrize("how", ["merge", "squash"])
def test_after_the_branch_landed_the_next_change_is_its_authors_alone(pull_request: PullRequest, how: str) -> None:
    """ben approved and pressed the button; of the next change, which cem wrote, he is no contributor."""
    pull_request.open(run_id="pr-7")
    pull_request.approve("ben")
    pull_request.merge(how)
    deploy = pull_request.deploy_job()
    deploy.commit({"models/orders.sql": "select 9 as id"}, author="cem")
    request = deploy.request(run_id="pr-8")
    assert request.contributors == (deploy.team.key("cem"),)
    deploy.approve("ben", request)
