# SPDX-License-Identifier: Apache-2.0
"""Approving as people do it: what they read, what they may not sign, and what they are told."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from clyra.approval.request import ApprovalRequest
from clyra.evidence import instant

if TYPE_CHECKING:
    from integration_tests.approvals.conftest import Clone, Team


def test_an_approver_signs_and_the_runner_mints(project: Clone) -> None:
    request = project.request()
    done = project.approve("ben", request)
    assert (done["complete"], done["approvals"], done["principal"]) == (True, 1, project.team.key("ben"))
    minted = project.mint()
    assert minted["request_sha256"] == request.sha256
    assert minted["run_id"] == "run-1"
    said = project.run("runner", "approval", "verify", "-", "--json", given=minted["token"]).json
    assert said["claims"]["approvals"][0]["cert_sha256"] == done["certificate_sha256"]
    assert "certificates" not in said["unchecked"]


def test_the_approver_reads_who_what_why_and_for_how_long(project: Clone) -> None:
    request = project.request()
    text = project.run("ben", "approve", request.sha256[:6], "--yes").out
    for words in (
        "dbt.run of harbor on prod (production), dbt:harbor/prod",
        "svc:deploy",
        f"ana ({project.team.key('ana')[:20]}), as the commit claims",
        f"tree {(request.tree or '')[:12]}",
        "x_tables (warning)  tables change only with a second pair of eyes",
        "change.models = 1",
        "32 medium",
        "schema_change 30 = 30 x 1",
        "1 model; hooks",
        "db.main.orders",
        "everything: nothing was approved for this target before",
        "for the run run-1 alone; tokens for it live 15m",
        "clyra approval mint --target prod",
    ):
        assert words in text


def test_the_approver_reads_what_is_new_since_the_last_approval(project: Clone) -> None:
    project.approve("ben", project.request())
    project.commit({"models/orders.sql": "select 2 as id", "models/customers.sql": "select 1"}, author="cem")
    project.commit({"macros/cents.sql": "{% macro cents(x) %}{{ x }} / 1000{% endmacro %}"}, author="cem")
    project.request()
    text = project.run("ben", "approve", "--yes").out
    for words in ("model harbor.orders has other code", "model harbor.customers is new", "macros or packages changed"):
        assert words in text
    assert project.team.key("ana")[:20] not in text, "what was approved before is not part of the change"


def test_what_a_terminal_would_obey_is_not_printed(project: Clone) -> None:
    request = project.request(facts={"dbt.target": "\x1b[2Kprod\r"})
    text = project.run("ben", "approve", request.sha256, "--yes").out
    assert "\x1b[2K" not in text
    assert "dbt.target = ?[2Kprod?" in text


def test_nobody_is_asked_without_a_terminal(project: Clone) -> None:
    request = project.request()
    said = project.run("ben", "approve", request.sha256, expect=64)
    assert "add --yes" in said.err
    assert project.store.certificates() == {}


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 1), ("n\n", 130, 0), ("\n", 130, 0)])
def test_on_a_terminal_the_answer_decides(project: Clone, answer: str, code: int, count: int) -> None:
    project.request()
    ours, theirs = pty.openpty()
    environ = {**os.environ, **project.team.environ("ben"), "CLYRA_TRUST": str(project.team.trust), "HOME": "/nowhere"}
    command = [sys.executable, "-c", "from clyra.cli.main import run; run()", "approve"]
    process = subprocess.Popen(
        command, cwd=project.path, env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.write(ours, answer.encode())
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, err
    assert b"Approve this?" in err
    assert len(project.store.certificates()) == count


@pytest.mark.parametrize("who", ["ana", "ben", "cem"])
def test_author_committer_and_co_author_may_not_approve(project: Clone, who: str) -> None:
    message = "Orders\n\nCo-authored-by: Cem <cem@example.invalid>"
    project.commit({"models/orders.sql": "select 3"}, author="ana", committer="ben", message=message)
    request = project.request()
    assert project.refused(who, "approve", request.sha256, "--yes") == "approval_duties"
    project.approve("dia", request)


def test_who_contributed_is_asked_of_git_again_where_the_request_leaves_somebody_out(project: Clone) -> None:
    project.commit({"models/orders.sql": "select 3"}, author="ben")
    request = project.request(contributors=(), author=project.team.key("dia"))
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_duties"


def test_the_deployer_may_not_approve(project: Clone) -> None:
    request = project.request(sub=project.team.key("ben"))
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_duties"


def test_the_editor_of_a_rule_that_is_lifted_may_not_approve(project: Clone) -> None:
    project.approve("ben", project.request())
    looser = (project.path / "clyra.policy.yaml").read_text().replace("op: gt, value: 0", "op: ge, value: 1")
    project.commit({"clyra.policy.yaml": looser}, author="ben")
    project.commit({"models/orders.sql": "select 4"}, author="cem")
    request = project.request()
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_duties"
    project.approve("dia", request)


def test_an_agent_may_not_approve(project: Clone, team: Team) -> None:
    team.write_trust({"ana": {}, "ben": {"principal": "agent:helper"}, "runner": {}})
    request = project.request()
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_duties"


def test_the_same_person_does_not_count_twice(project: Clone) -> None:
    project.commit({"clyra.policy.yaml": project.team.policy(quorum=2)})
    request = project.request()
    assert project.approve("ben", request)["complete"] is False
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_quorum"
    assert project.refused("runner", "approval", "mint", "--request", request.sha256) == "approval_quorum"
    assert project.approve("cem", request)["complete"] is True
    assert len(project.run("runner", "approval", "verify", "-", "--json", given=project.mint()["token"]).json) == 5


def test_one_person_with_two_keys_is_one_person(project: Clone, team: Team) -> None:
    same = {"principal": "oidc:https://login.example.invalid:1"}
    team.write_trust({"ben": same, "cem": same, "runner": {}})
    project.commit({"clyra.policy.yaml": team.policy(quorum=2)})
    request = project.request()
    project.approve("ben", request)
    assert project.refused("cem", "approve", request.sha256, "--yes") == "approval_quorum"


def test_with_duties_a_claimed_author_needs_two_approvers(project: Clone) -> None:
    project.commit({"clyra.policy.yaml": project.team.policy(duties=True)})
    request = project.request(quorum=1)
    assert project.approve("ben", request)["complete"] is False
    assert project.approve("cem", request)["complete"] is True


def test_with_duties_somebody_unknown_in_git_stops_the_approval(project: Clone) -> None:
    project.commit({"clyra.policy.yaml": project.team.policy(duties=True)})
    project.commit({"models/orders.sql": "select 5"}, author="zoe")
    request = project.request()
    assert project.refused("ben", "approve", request.sha256, "--yes") in ("approval_duties", "identity_unmapped")


def test_a_key_that_the_trust_file_does_not_know_cannot_approve(project: Clone, team: Team) -> None:
    team.write_trust({"ana": {}, "runner": {}})
    said = project.run("ben", "approve", project.request().sha256, "--yes", expect=64)
    assert said.error == "certificate_invalid"
    assert "clyra keys request" in said.err


@pytest.mark.parametrize(
    "row",
    [{"valid_to": "2021-01-01T00:00:00.000000Z"}, {"revoked_at": "2021-01-01T00:00:00.000000Z"}],
    ids=["expired", "revoked"],
)
def test_a_key_whose_time_is_over_cannot_approve(project: Clone, team: Team, row: dict[str, str]) -> None:
    team.write_trust({"ben": row, "runner": {}})
    assert project.refused("ben", "approve", project.request().sha256, "--yes") == "certificate_invalid"


def test_without_a_key_the_message_says_how_to_get_one(project: Clone) -> None:
    request = project.request()
    said = project.run("nobody", "approve", request.sha256, "--yes", expect=69)
    assert said.error == "key_unavailable"
    assert "clyra keys init --role approver" in said.err


def test_without_a_trust_file_the_message_says_where_to_name_it(project: Clone) -> None:
    request = project.request()
    said = project.run("ben", "approve", request.sha256, "--yes", expect=69, CLYRA_TRUST="")
    assert said.error == "key_unavailable"
    assert "--trust" in said.err


def test_without_a_policy_nothing_is_approved(project: Clone) -> None:
    request = project.request()
    (project.path / "clyra.policy.yaml").unlink()
    assert project.refused("ben", "approve", request.sha256, "--yes") == "policy_unavailable"


def test_a_request_of_another_policy_is_not_approved(project: Clone) -> None:
    request = project.request()
    project.commit({"clyra.policy.yaml": project.team.policy(quorum=2)})
    said = project.run("ben", "approve", request.sha256, "--yes", expect=1)
    assert said.error == "approval_policy"
    assert "check out" in said.err


def test_a_policy_that_the_trust_file_does_not_pin_is_not_approved(project: Clone, team: Team) -> None:
    request = project.request()
    people: dict[str, dict[str, str]] = {"ben": {}, "runner": {}}
    team.write_trust(people, policies=[{"sha256": "0" * 64, "environments": ["production"]}])
    assert project.refused("ben", "approve", request.sha256, "--yes") == "policy_not_pinned"
    team.write_trust(people, policies=[{"sha256": request.policy_sha256, "environments": ["production"]}])
    project.approve("ben", request)


def test_a_request_without_a_tree_is_not_approved(project: Clone) -> None:
    request = project.request(tree=None)
    assert project.refused("ben", "approve", request.sha256, "--yes") == "approval_tree"


@pytest.mark.parametrize(
    ("prefix", "words"),
    [("zzzz", "no request in"), ("ab", "too short"), ("../../etc", "no request in"), ("", "too short")],
)
def test_a_prefix_of_nothing_says_what_was_looked_for(project: Clone, prefix: str, words: str) -> None:
    project.request()
    said = project.run("ben", "approve", prefix, "--yes", expect=64)
    assert said.error == "request_unknown"
    assert words in said.err


def test_a_prefix_of_several_names_them(project: Clone) -> None:
    base, seen = project.request(store=False), dict[str, ApprovalRequest]()
    for number in range(5000):
        one = replace(base, run_id=f"run-{number}")
        if other := seen.get(one.sha256[:4]):
            break
        seen[one.sha256[:4]] = one
    assert other is not None
    for request in (one, other):
        project.store.add_request(request.to_bytes())
    said = project.run("ben", "approve", one.sha256[:4], "--yes", expect=64)
    assert "give more characters" in said.err


def test_without_a_name_the_one_that_is_open_is_meant(project: Clone) -> None:
    assert "no request is open" in project.run("ben", "approve", "--yes", expect=64).err
    first = project.request()
    project.request(target="dev", audience="dbt:harbor/dev")
    said = project.run("ben", "approve", "--yes", expect=64)
    assert "2 requests are open" in said.err
    assert first.sha256[:12] in said.err


def test_the_list_puts_open_requests_first(project: Clone) -> None:
    done = project.request()
    project.approve("ben", done)
    waiting = project.request(target="dev", audience="dbt:harbor/dev")
    lines = project.run("ben", "approve", "--list").out.splitlines()
    assert lines[0].startswith(f"{waiting.sha256[:12]}  open, 0 of 1 approvals")
    assert lines[1].startswith(f"{done.sha256[:12]}  approved")
    listed = project.run("ben", "approve", "--list", "--json").json["requests"]
    assert [(row["request_sha256"], row["status"]) for row in listed] == [
        (waiting.sha256, "open"),
        (done.sha256, "approved"),
    ]


def test_a_request_that_was_withdrawn_is_not_approved(project: Clone) -> None:
    request = project.request()
    project.run("ana", "approval", "revoke", request.sha256[:8], "--reason", "the wrong branch")
    said = project.run("ben", "approve", request.sha256, "--yes", expect=1)
    assert said.error == "approval_revoked"
    assert "the wrong branch" in said.err


def test_a_role_must_list_its_person(project: Clone) -> None:
    request = project.request()
    assert project.refused("ben", "approve", request.sha256, "--yes", "--role", "reviewer") == "config_invalid"
    assert project.approve("cem", request)["role"] == "reviewer"


def test_a_standing_approval_replaces_the_question_for_one_run(project: Clone) -> None:
    request = project.request()
    done = project.approve("ben", request, "--standing", "8h")
    assert done["request_sha256"] != request.sha256
    assert project.store.withdrawal(request.sha256) is not None
    minted = project.mint(CLYRA_RUN_ID="any-run")
    assert (minted["request_sha256"], minted["run_id"]) == (done["request_sha256"], "any-run")
    assert "no run is named" in project.run("runner", "approval", "mint", "--target", "prod", expect=64).err


@pytest.mark.parametrize(("lasts", "code"), [("31d", "approval_lifetime"), ("a while", "config_invalid")])
def test_a_standing_approval_is_no_longer_than_the_policy_allows(project: Clone, lasts: str, code: str) -> None:
    request = project.request()
    assert project.refused("ben", "approve", request.sha256, "--yes", "--standing", lasts) == code
    assert project.store.revoked() == frozenset()


def test_a_standing_approval_of_what_others_signed_for_one_run_is_refused(project: Clone) -> None:
    project.commit({"clyra.policy.yaml": project.team.policy(quorum=2)})
    request = project.request()
    project.approve("ben", request)
    assert project.refused("cem", "approve", request.sha256, "--yes", "--standing", "8h") == "request_open"


def test_in_an_emergency_one_person_of_a_listed_role_goes_ahead_even_the_author(project: Clone) -> None:
    project.commit({"clyra.policy.yaml": project.team.policy(quorum=2)}, author="dia")
    request = project.request()
    glass = ("--break-glass", "--reason", "invoices are wrong")
    assert project.refused("ben", "approve", request.sha256, "--yes", *glass) == "approval_duties"
    done = project.approve("dia", request, *glass)
    assert (done["role"], done["complete"]) == ("on_call", True)
    claims = project.run("runner", "approval", "verify", "-", "--json", given=project.mint()["token"]).json["claims"]
    asked = project.store.request(done["request_sha256"])
    assert asked.break_glass is not None
    assert project.store.reason(claims["break_glass"]["reason_sha256"]) == "invoices are wrong"
    at = claims["approvals"][0]["at"]
    assert instant(at * 1_000_000) < asked.break_glass.review_due <= instant((at + 86_400) * 1_000_000)


def test_an_emergency_needs_a_reason(project: Clone) -> None:
    request = project.request()
    assert project.refused("dia", "approve", request.sha256, "--yes", "--break-glass") == "config_invalid"
