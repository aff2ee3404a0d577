# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clyra.approval.store import OPEN_FOR_S, ApprovalStore
from clyra.spec import ClyraError, ConfigurationError, FormatError, UnavailableError

if TYPE_CHECKING:
    from packages.policy.tests.approval_store.conftest import Killing
    from packages.policy.tests.approval_store.conftest import Samples as SamplesClass

    Samples = type[SamplesClass]

JTI = "AAAAAAAAAAAAAAAAAAAAAA"
LATER = "2026-11-01T08:10:00.000000Z"
AT = "2026-11-01T10:00:00.000000Z"
NOW_S = 1_793_520_600
"""2026-11-01T10:10:00Z."""


@pytest.fixture
def store(tmp_path: Path) -> ApprovalStore:
    return ApprovalStore(tmp_path / "evidence" / "approvals")


def test_the_folder_is_the_one_that_is_named_else_in_the_evidence(tmp_path: Path) -> None:
    assert ApprovalStore.locate(tmp_path, {}).root == tmp_path / "approvals"
    assert ApprovalStore.locate(tmp_path, {"CLYRA_APPROVALS_DIR": " "}).root == tmp_path / "approvals"
    assert ApprovalStore.locate(tmp_path, {"CLYRA_APPROVALS_DIR": "/elsewhere"}).root == Path("/elsewhere")


def test_a_request_and_its_plan_come_back_as_they_were(store: ApprovalStore, samples: Samples) -> None:
    request, plan = samples.request(), samples.plan()
    digest = store.add_request(request.to_bytes(), plan.to_bytes())
    assert digest == request.sha256
    assert store.request(digest[:4]) == request
    assert store.plan(request.payload_sha256) == plan.to_bytes()
    assert [one.sha256 for one in store.requests()] == [digest]


def test_everything_is_readable_by_its_owner_alone(store: ApprovalStore, samples: Samples) -> None:
    request = samples.request()
    store.add_request(request.to_bytes(), samples.plan().to_bytes())
    store.add_certificate(samples.certificate(request))
    store.issue(JTI, {"run_id": "run-1"})
    store.bind(JTI, "run-1")
    store.revoke(JTI, "lost", at=AT)
    store.save_checkpoint("0192", b"{}")
    found = list(store.root.rglob("*"))
    assert len([path for path in found if path.is_file()]) == 8
    for path in [store.root, *found]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_another_plan_than_the_named_one_is_refused(store: ApprovalStore, samples: Samples) -> None:
    with pytest.raises(FormatError) as refused:
        store.add_request(samples.request().to_bytes(), samples.plan(target="dev").to_bytes())
    assert refused.value.code == "request_invalid"
    assert store.requests() == []


def test_a_request_that_was_edited_is_refused(store: ApprovalStore, samples: Samples) -> None:
    digest = store.add_request(samples.request().to_bytes())
    path = store.root / "requests" / f"{digest}.json"
    path.write_bytes(path.read_bytes().replace(b'"quorum":1', b'"quorum":2'))
    with pytest.raises(FormatError) as refused:
        store.request(digest)
    assert refused.value.code == "request_invalid"


@pytest.mark.parametrize("prefix", ["", "abc", "zzzz", "../x", "*" * 8])
def test_a_prefix_of_nothing_is_refused(store: ApprovalStore, samples: Samples, prefix: str) -> None:
    store.add_request(samples.request().to_bytes())
    with pytest.raises(ConfigurationError) as refused:
        store.request(prefix)
    assert refused.value.code == "request_unknown"


def test_the_same_question_is_asked_once(store: ApprovalStore, samples: Samples) -> None:
    first = store.add_request(samples.request().to_bytes())
    again = samples.request(created_at=LATER, request_id="01920000-0000-7000-8000-000000000009")
    assert store.add_request(again.to_bytes()) == first
    assert len(store.requests()) == 1


def test_another_question_about_the_same_tree_waits_for_the_open_one(store: ApprovalStore, samples: Samples) -> None:
    first = samples.request()
    store.add_request(first.to_bytes())
    other = samples.request(payload_sha256="9" * 64, created_at=LATER)
    with pytest.raises(ConfigurationError) as refused:
        store.add_request(other.to_bytes())
    assert refused.value.code == "request_open"
    assert first.sha256[:12] in refused.value.message
    store.deny(first.sha256, "too much at once", at=AT)
    assert store.add_request(other.to_bytes()) == other.sha256


@pytest.mark.parametrize(
    "changes", [{"tree": "e" * 40}, {"audience": "dbt:harbor_shop/dev"}, {"actions": ("sql.dml",)}]
)
def test_other_trees_audiences_and_actions_have_questions_of_their_own(
    store: ApprovalStore, samples: Samples, changes: dict[str, object]
) -> None:
    store.add_request(samples.request().to_bytes())
    store.add_request(samples.request(payload_sha256="9" * 64, **changes).to_bytes())
    assert len(store.requests()) == 2


def test_the_question_of_the_next_run_replaces_the_one_that_nobody_signed(
    store: ApprovalStore, samples: Samples
) -> None:
    first = store.add_request(samples.request().to_bytes())
    second = store.add_request(samples.request(run_id="run-2", created_at=LATER).to_bytes())
    assert first in store.revoked()
    gone = store.withdrawal(first)
    assert gone is not None
    assert (gone.kind, gone.reason) == ("superseded", f"by {second}")


def test_a_question_that_somebody_signed_is_not_replaced(store: ApprovalStore, samples: Samples) -> None:
    first = samples.request(quorum=2)
    store.add_request(first.to_bytes())
    store.add_certificate(samples.certificate(first))
    with pytest.raises(ConfigurationError) as refused:
        store.add_request(samples.request(quorum=2, run_id="run-2", created_at=LATER).to_bytes())
    assert refused.value.code == "request_open"


def test_an_approved_request_is_open_no_longer(store: ApprovalStore, samples: Samples) -> None:
    first = samples.request()
    store.add_request(first.to_bytes())
    assert store.is_open(first, now_s=NOW_S)
    store.add_certificate(samples.certificate(first))
    assert not store.is_open(first, now_s=NOW_S)
    assert [one.sha256 for one in store.approved()] == [first.sha256]
    assert store.add_request(samples.request(payload_sha256="9" * 64, created_at=LATER).to_bytes())


def test_a_request_that_nobody_answers_for_a_week_is_stale(store: ApprovalStore, samples: Samples) -> None:
    first = samples.request()
    store.add_request(first.to_bytes())
    assert store.is_open(first, now_s=NOW_S + OPEN_FOR_S - 8000)
    assert not store.is_open(first, now_s=NOW_S + OPEN_FOR_S)


@pytest.mark.parametrize("attempt", range(10))
def test_of_eight_that_ask_at_once_one_question_stays_open(
    store: ApprovalStore, samples: Samples, attempt: int
) -> None:
    asked = [samples.request(payload_sha256=f"{attempt * 8 + number:064x}") for number in range(8)]

    def ask(number: int) -> str:
        try:
            return store.add_request(asked[number].to_bytes())
        except ConfigurationError as exc:
            return exc.code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(ask, range(8)))
    assert answers[1:] == ["request_open"] * 7
    assert [one.sha256 for one in store.requests() if store.is_open(one, now_s=NOW_S)] == answers[:1]


def test_a_question_whose_owner_was_killed_while_asking_is_asked(store: ApprovalStore, samples: Samples) -> None:
    first = samples.request()
    store.add_request(first.to_bytes())
    (store.root / "requests" / f"{first.sha256}.json").unlink()
    with pytest.raises(ConfigurationError) as refused:
        store.add_request(samples.request(payload_sha256="9" * 64).to_bytes())
    assert refused.value.code == "request_open"
    assert store.request(first.sha256) == first


def test_certificates_are_found_by_the_request_they_are_about(store: ApprovalStore, samples: Samples) -> None:
    one, other = samples.request(), samples.request(run_id="run-2")
    data = samples.certificate(one)
    digest = store.add_certificate(data)
    store.add_certificate(samples.certificate(other))
    assert store.certificates_for(one.sha256) == [data]
    store.revoke(digest, "left the company", at=AT)
    assert store.certificates_for(one.sha256) == []


@pytest.mark.parametrize("data", [b"", b"{}", b'{"payload":"!"}', b'{"payload":"W10="}', b"[" * 5000])
def test_what_is_no_certificate_is_not_kept(store: ApprovalStore, data: bytes) -> None:
    with pytest.raises(FormatError) as refused:
        store.add_certificate(data)
    assert refused.value.code == "certificate_invalid"


def test_a_certificate_that_was_edited_is_not_there(store: ApprovalStore, samples: Samples) -> None:
    request = samples.request()
    digest = store.add_certificate(samples.certificate(request))
    (store.root / "certificates" / f"{digest}.dsse.json").write_bytes(samples.certificate(request))
    assert store.certificates() == {}


def test_what_was_approved_bounds_the_next_change(store: ApprovalStore, samples: Samples) -> None:
    done, other = samples.request(), samples.request(audience="dbt:harbor_shop/dev", tree="e" * 40)
    for request in (done, other):
        store.add_request(request.to_bytes())
        store.add_certificate(samples.certificate(request))
    settled = store.settled("dbt:harbor_shop/prod")
    assert settled.trees == {done.tree}
    assert settled.commits == {done.commit}
    assert settled.policies == {done.policy_sha256}


def test_a_token_belongs_to_the_run_that_was_first(store: ApprovalStore) -> None:
    assert store.used_by(JTI) is None
    assert store.bind(JTI, "run-1") == "run-1"
    assert store.bind(JTI, "run-2") == "run-1"
    assert store.used_by(JTI) == "run-1"


@pytest.mark.parametrize("attempt", range(10))
def test_of_eight_runs_at_once_one_gets_the_token(store: ApprovalStore, attempt: int) -> None:
    jti = f"{attempt}".rjust(22, "B")
    with ThreadPoolExecutor(8) as pool:
        owners = list(pool.map(lambda run: store.bind(jti, f"run-{run}"), range(8)))
    assert len(set(owners)) == 1


def test_a_damaged_record_of_use_frees_no_token(store: ApprovalStore) -> None:
    store.bind(JTI, "run-1")
    (store.root / "used" / f"{JTI}.json").write_bytes(b"")
    assert store.used_by(JTI) == ""
    assert store.bind(JTI, "run-1") != "run-1"


def test_a_store_knows_the_tokens_that_it_issued(store: ApprovalStore) -> None:
    assert not store.is_issued(JTI)
    store.issue(JTI, {"run_id": "run-1"})
    assert store.is_issued(JTI)
    assert [record["run_id"] for record in store.issued()] == ["run-1"]
    with pytest.raises(ConfigurationError) as refused:
        store.issue(JTI, {"run_id": "run-2"})
    assert refused.value.code == "approval_jti"


@pytest.mark.parametrize("name", ["../../x", "", "a/b", "x" * 65, "a.b", "a\x00"])
def test_an_id_never_leaves_the_folder(store: ApprovalStore, name: str) -> None:
    for ask in (store.is_issued, store.used_by, lambda name: store.revoke(name, "x", at=AT)):
        with pytest.raises(ConfigurationError):
            ask(name)


def test_the_first_reason_for_a_withdrawal_stays(store: ApprovalStore) -> None:
    store.revoke(JTI, "lost", at=AT)
    store.revoke(JTI, "never mind", at=AT)
    gone = store.withdrawal(JTI)
    assert gone is not None
    assert gone.reason == "lost"


def test_a_damaged_withdrawal_withdraws_all_the_same(store: ApprovalStore) -> None:
    store.revoke(JTI, "lost", at=AT)
    (store.root / "revoked" / f"{JTI}.json").write_bytes(b"")
    assert store.revoked() == {JTI}
    assert store.withdrawal(JTI) is not None


def test_requests_travel_with_plans_and_certificates_and_nothing_else(
    store: ApprovalStore, samples: Samples, tmp_path: Path
) -> None:
    request = samples.request()
    store.add_request(request.to_bytes(), samples.plan().to_bytes())
    data = samples.certificate(request)
    store.add_certificate(data)
    store.issue(JTI, {"run_id": "run-1"})
    store.bind(JTI, "run-1")
    store.copy_to(tmp_path / "artifact", request.sha256)
    # Whoever hands the artifact over may write into it what they like.
    elsewhere = ApprovalStore(tmp_path / "artifact")
    elsewhere.issue(JTI, {"run_id": "run-1"})
    elsewhere.revoke(request.sha256, "mischief", at=AT)
    other = ApprovalStore(tmp_path / "other")
    assert other.take_from(tmp_path / "artifact") == [request.sha256]
    assert other.request(request.sha256) == request
    assert other.plan(request.payload_sha256) == samples.plan().to_bytes()
    assert other.certificates_for(request.sha256) == [data]
    assert not other.is_issued(JTI)
    assert other.revoked() == frozenset()


def test_a_folder_without_requests_is_no_artifact(store: ApprovalStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        store.take_from(tmp_path)
    assert refused.value.code == "request_unknown"


def test_a_reason_is_found_by_its_digest(store: ApprovalStore) -> None:
    digest = store.keep_reason("invoices are wrong")
    assert digest == sha256(b"invoices are wrong").hexdigest()
    assert store.reason(digest) == "invoices are wrong"
    assert store.reason("0" * 64) is None


def test_a_checkpoint_ends_once(store: ApprovalStore) -> None:
    store.save_checkpoint("01920000", b"state")
    assert store.checkpoints() == ["01920000"]
    assert store.checkpoint("0192") == ("01920000", b"state", None)
    assert store.end_checkpoint("01920000", b"first")
    assert not store.end_checkpoint("01920000", b"second")
    assert store.checkpoint("0192") == ("01920000", b"state", b"first")
    assert store.checkpoints() == ["01920000"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ApprovalStore(tmp_path / "file" / "approvals")
    with pytest.raises(UnavailableError) as refused:
        store.bind(JTI, "run-1")
    assert refused.value.code == "evidence_unavailable"
    assert "CLYRA_APPROVALS_DIR" in refused.value.message


def test_whoever_is_killed_at_any_call_leaves_whole_files_or_none(tmp_path: Path, killing: Killing) -> None:
    def work(root: Path) -> None:
        store = ApprovalStore(root)
        store.issue(JTI, {"run_id": "run-1"})
        store.bind(JTI, "run-1")
        store.revoke("B" * 22, "lost", at=AT)

    for root in killing(work, tmp_path):
        store = ApprovalStore(root)
        assert store.used_by(JTI) in (None, "run-1")
        assert all(record.get("run_id") == "run-1" for record in store.issued())
        assert store.bind(JTI, "run-1") == "run-1"
        gone = store.withdrawal("B" * 22)
        assert gone is None or gone.reason == "lost"


def test_whoever_is_killed_while_asking_leaves_a_whole_request_or_none(
    tmp_path: Path, samples: Samples, killing: Killing
) -> None:
    request, plan, other = samples.request(), samples.plan(), samples.request(payload_sha256="9" * 64)
    for root in killing(lambda root: ApprovalStore(root).add_request(request.to_bytes(), plan.to_bytes()), tmp_path):
        store = ApprovalStore(root)
        for found in store.requests():
            assert found == request
            assert store.plan(found.payload_sha256) == plan.to_bytes()
        try:
            assert store.add_request(other.to_bytes()) == other.sha256
        except ConfigurationError:
            assert store.request(request.sha256) == request


def test_errors_of_the_store_are_ours(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "requests").write_text("")
    else:
        (tmp_path / "requests").mkdir(mode=0)
    with pytest.raises(ClyraError):
        ApprovalStore(tmp_path).requests()
