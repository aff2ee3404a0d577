# SPDX-License-Identifier: Apache-2.0
"""A: bundles of runs that approvals let go. Level full: request, certificates, journal and manifest are made anew."""

from collections.abc import Iterator
from typing import Any

from forge.approvals import (
    APPROVED_AT,
    AUTHOR,
    DECIDED_US,
    DECISION,
    HELD,
    JTI,
    ORDERS,
    PLAN,
    Approver,
    Story,
    approver,
    broken_glass,
    person,
    review,
    signed_by,
    standing,
    trusted,
)
from forge.bundle import Artifact, bundle
from forge.canonical import canonical
from forge.case import TRUSTED, Case, bundle_case
from forge.edits import DocumentEdit, Json, both, drop, flip, put
from forge.journal import OTHER_BUNDLE_ID, at, decision, node, text_digest
from forge.keys import TestKey
from forge.policy import POLICY
from forge.risk import Scoring
from forge.suites.risk import outcome
from forge.trust import BEN, BUNDLE, CAROL, DORA, ECDSA_APPROVER, ISSUER, ROBOT, RSA_APPROVER, STRANGER, entry

UNPROVEN = ("approval_unproven", "semantics")
BEN_AND_CAROL = (Approver(BEN), Approver(CAROL))
REVIEWED = ("--review", "review.dsse.json", *TRUSTED)


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _good()
    yield from _stripped()
    yield from _signatures()
    yield from _plans()
    yield from _bindings()
    yield from _standing()
    yield from _people()
    yield from _duties()
    yield from _rules()
    yield from _keys()
    yield from _requests()
    yield from _certificates()
    yield from _identity_providers()
    yield from _emergencies()
    yield from _reviews()


def _case(id: str, description: str, *verdict: str, trust: bytes | None = None, **story: Any) -> Case:
    members = {name: story.pop(name) for name in ("warnings", "args") if name in story}
    data = Story(**story).seal().data
    return bundle_case(id, description, data, *verdict, files={"trust.json": trust or trusted()}, **members)


def _accept(id: str, description: str, **story: Any) -> Case:
    return _case(id, f"approval: {description}", **story)


def _refuse(id: str, description: str, **story: Any) -> Case:
    return _case(id, f"approval: {description}", *UNPROVEN, **story)


def _good() -> Iterator[Case]:
    yield _accept("A00a", "one person approved the run")
    yield _accept("A00b", "two persons approved", approvers=BEN_AND_CAROL)
    unevaluated = ("trust_not_evaluated",)
    data = Story().seal().data
    yield bundle_case("A00c", "approval: signatures not evaluated", data, args=(), warnings=unevaluated)
    unsigned = Story(drop_role="approval_certificate").seal().data
    yield bundle_case("A00d", "approval: no trust file and no certificate", unsigned, *UNPROVEN, args=())
    for letter, key in (("e", ECDSA_APPROVER), ("f", RSA_APPROVER)):
        yield _accept(f"A00{letter}", f"signed with {key.alg}", approvers=[Approver(key)], trust=trusted(approver(key)))
    nobody = {name: value for name, value in approver(BEN).items() if name != "principal"}
    by_key = Approver(BEN, body=put("principal", f"key:{BEN.keyid}"))
    yield _accept("A00g", "approver without a principal", approvers=[by_key], trust=trusted(nobody))
    held = [decision(DECIDED_US, "require_approval", rules=[outcome(HELD, "require_approval")], id="decision-2")]
    refused = {"run": {"status": "refused"}, "events": lambda events: [*events[:3], *held, *events[3:]]}
    yield _accept("A00h", "one decision lifted, another held and refused the run", **refused)
    shadow = decision(DECIDED_US, "require_approval", rules=[outcome(HELD, "require_approval")], mode="shadow", jti=JTI)
    yield _accept("A00i", "shadow decision needs none", events=lambda events: [*events[:3], shadow, *events[3:]])
    yield _accept("A00j", "two decisions lifted by one token", **_two_decisions())
    skipped = node(3_900_000, "model.jaffle_shop.extra", status="skipped")
    yield _accept("A00k", "node that was skipped is not in the plan", events=lambda e: [*e[:-1], skipped, e[-1]])
    yield _accept("A00l", "checksum that the plan does not know", plan=put("nodes/0/checksum", None))
    yield _accept("A00q", "checksum that the run does not know", events=_with_node(checksum=None))
    unbound = both(put("enforcement/approvals/tree_binding", False))
    other = {"request": put("tree", "ab" * 20), "plan": put("tree", "ab" * 20)}
    yield _accept("A00m", "another tree where trees do not bind", policy=unbound, **other)
    yield _accept("A00n", "dirty tree where trees do not bind", policy=unbound, run={"git/dirty": True})
    yield _accept("A00o", "approved within the skew", approvers=[Approver(body=put("approved_at", at(59_000_000)))])
    unlisted = Artifact(canonical({"any": "bytes"}), "approval_request")
    yield _accept("A00p", "request of nobody beside", files=lambda files: {**files, "artifacts/other.json": unlisted})


def _with_node(**members: Any) -> Any:
    return lambda events: [{**one, **members} if one["type"] == "node.finished" else one for one in events]


def _two_decisions(**members: Any) -> dict[str, Any]:
    """Return a story in which one token lifted a second decision too."""

    def events(told: list[Json]) -> list[Json]:
        lifted, used = told[1], told[2]
        return [*told[:3], {**lifted, "id": "decision-2"}, {**used, "decision": "decision-2", **members}, *told[3:]]

    def manifest(document: Json) -> Json:
        entries = document["governance"]["approvals"]
        second = {**entries[0], "decision": "decision-2"}
        return put("governance/approvals", [*entries, second])(document)

    return {"events": events, "manifest": manifest}


def _stripped() -> Iterator[Case]:
    claimed = {"decision": DECISION, "jti": JTI, "cert_sha256": ["0" * 64]}
    alone = bundle(manifest=put("governance/approvals", [claimed]))
    yield bundle_case("A01", "approval claimed of a run that nothing held", alone, *UNPROVEN)
    yield _refuse("A01b", "certificate stripped, entry kept", drop_role="approval_certificate")
    yield _refuse("A01c", "entry stripped, lifted decision kept", entry=lambda _: {})
    yield _refuse("A01d", "entry and approval.used stripped", entry=lambda _: {}, events=_without("approval.used"))
    bare = both(drop("jti"), drop("request_sha256"))
    everything = {"entry": lambda _: {}, "events": _without("approval.used"), "decision": bare}
    yield _refuse("A01e", "every trace stripped, the run is a success", **everything)
    yield _accept("A01f", "nothing lifted, the run failed", **everything, run={"status": "failed"})
    yield _refuse("A01g", "approval.used stripped", events=_without("approval.used"))
    yield _refuse("A01h", "decision stripped", events=_without("decision"))
    yield _refuse("A01i", "two certificates needed, one there", policy=put("enforcement/approvals/quorum", 2))
    yield _refuse("A01j", "one of two certificates stripped", approvers=BEN_AND_CAROL, files=_first_certificate_out)
    yield _refuse("A01k", "entry of another decision", entry=put("decision", "decision-9"))
    yield _refuse("A01l", "approval.used of another decision", used=put("decision", "decision-9"))
    yield _refuse("A01m", "entry of another token", entry=put("jti", "x" * 22))
    yield _refuse("A01n", "approval.used of another token", used=put("jti", "x" * 22))
    yield _refuse("A01o", "approval.used names another certificate", used=put("cert_sha256", ["0" * 64]))
    yield _refuse("A01p", "approval.used names another request", used=put("request_sha256", "0" * 64))
    yield _refuse("A01q", "decision names no request", decision=drop("request_sha256"))
    yield _refuse("A01r", "approval.used twice", events=lambda events: [*events[:3], events[2], *events[3:]])
    yield _refuse("A01s", "decision twice", events=lambda events: [*events[:2], events[1], *events[2:]])
    yield _refuse("A01t", "entry twice", manifest=_entry_twice)
    second = _two_decisions()
    yield _refuse("A01u", "second decision without an entry", events=second["events"])
    yield _refuse("A01v", "second decision, other certificates", **_two_decisions(cert_sha256=["0" * 64]))
    lifted = {"decision": put("mode", "shadow")}
    yield _refuse("A01w", "approval of a shadow decision", **lifted)
    yield _refuse("A01x", "approval of a decision that warns", decision=put("decision", "warn"))
    unpolicied = {"manifest": _unlisted_policy, "layers": {"entries": _without_policy}}
    yield _refuse("A01y", "no policy file", **unpolicied)
    outside = {"manifest": _external_certificate, "layers": {"entries": _without_certificates}}
    yield _refuse("A01z", "certificate outside of the container", **outside)


def _unlisted_policy(document: Json) -> Json:
    return {**document, "files": [one for one in document["files"] if one["role"] != "policy"]}


def _without_policy(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in entries.items() if path != POLICY}


def _without(kind: str) -> Any:
    return lambda events: [event for event in events if event["type"] != kind]


def _first_certificate_out(files: dict[str, Artifact]) -> dict[str, Artifact]:
    first = min(path for path, file in files.items() if file.role == "approval_certificate")
    return {path: file for path, file in files.items() if path != first}


def _entry_twice(document: Json) -> Json:
    entries = document["governance"]["approvals"]
    return put("governance/approvals", [*entries, *entries])(document)


def _external_certificate(document: Json) -> Json:
    files = [{**one, "external": {}} if one["role"] == "approval_certificate" else one for one in document["files"]]
    return {**document, "files": files}


def _without_certificates(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in entries.items() if not path.endswith(".dsse.json") or "attest" in path}


def _signatures() -> Iterator[Case]:
    def signed(id: str, description: str, trust: bytes | None = None, **approver: Any) -> Case:
        return _refuse(id, description, approvers=[Approver(**approver)], trust=trust)

    yield signed("A02a", "signed by a key that nobody trusts", signers=[STRANGER])
    yield signed("A02b", "signed by the bundle's key", signers=[BUNDLE])
    yield signed("A02c", "signed by an issuer's key", trusted(approver(BEN), entry(ISSUER, "issuer")), signers=[ISSUER])
    as_bundle = trusted(approver(CAROL), entry(BEN, "bundle"))
    yield signed("A02d", "approver's key that the trust file has for bundles", as_bundle)
    flipped = signed_by((lambda message: flip(BEN.sign(message), 3), BEN.keyid))
    yield signed("A02e", "signature with a flipped bit", envelope=flipped)
    other = signed_by((lambda _: BEN.sign(b"other"), BEN.keyid))
    yield signed("A02f", "signature over other bytes", envelope=other)
    yield signed("A02g", "signature under another's key id", envelope=signed_by((BEN.sign, CAROL.keyid)))
    for letter, kind in (("h", "application/vnd.in-toto+json"), ("i", "application/json"), ("j", "")):
        yield signed(f"A02{letter}", f"payload type {kind or 'empty'}", payload_type=kind)
    renamed = put("payloadType", "application/vnd.clyra.certificate+json")
    as_statement: Json = {"payload_type": "application/vnd.in-toto+json", "envelope": renamed}
    yield signed("A02k", "signed as another payload type", **as_statement)
    yield signed("A02l", "no signature", envelope=put("signatures", []))
    yield signed("A02m", "body with white space", payload=lambda data: data.replace(b":", b": ", 1))
    yield signed("A02n", "envelope ended by a line feed", data=lambda data: data + b"\n")
    yield signed("A02o", "envelope with another member", envelope=put("alg", "none"))
    yield signed("A02p", "certificate of another person", signers=[CAROL])
    good = _accept
    unnamed = Approver(envelope=signed_by((BEN.sign, "")))
    yield good("A02q", "key id is a hint", approvers=[unnamed])
    beside = Approver(envelope=signed_by((STRANGER.sign, STRANGER.keyid), (BEN.sign, BEN.keyid)))
    yield good("A02r", "a signature of a stranger beside", approvers=[beside])
    raw = signed_by((lambda message: BEN.sign(message.partition(b"+json ")[2].partition(b" ")[2]), BEN.keyid))
    yield signed("A02s", "signature over the payload alone", envelope=raw)


def _plans() -> Iterator[Case]:
    yield _refuse("A03a", "plan file is absent", drop_role="plan")
    yield _refuse("A03b", "run.plan_sha256 of another plan", run={"plan_sha256": "0" * 64})
    yield _refuse("A03c", "no run.plan_sha256", manifest=drop("run/plan_sha256"))
    yield _refuse("A03d", "request for another plan", request=put("payload_sha256", text_digest("other plan")))
    yield _refuse("A03e", "plan file of another plan", files=_plan_with(put("macros_sha256", "0" * 64)))
    swapped = {"files": _plan_with(put("macros_sha256", "0" * 64)), "manifest": _plan_digest}
    yield _refuse("A03f", "plan and its digest exchanged for another", **swapped)
    for letter, description, edit in (
        ("g", "of another project", put("project", "other")),
        ("h", "for another target", put("target", "dev")),
        ("i", "of another tree", put("tree", "ab" * 20)),
        ("j", "without a tree", put("tree", None)),
        ("k", "with a node twice", lambda plan: {**plan, "nodes": [*plan["nodes"], plan["nodes"][0]]}),
        ("l", "without a node that ran", drop("nodes/0")),
        ("m", "without a test that ran", drop("nodes/2")),
        ("n", "with other code of a node that ran", put("nodes/0/checksum", "0" * 64)),
        ("o", "with an unknown member", put("extra", 1)),
        ("p", "of another form", put("spec", "dbt-plan/v2")),
        ("q", "without macros", drop("macros_sha256")),
    ):
        yield _refuse(f"A03{letter}", f"plan {description}", plan=edit)
    extra = node(3_900_000, "model.jaffle_shop.extra")
    yield _refuse("A03r", "node ran that is not in the plan", events=lambda e: [*e[:-1], extra, e[-1]])
    failed = node(3_900_000, "model.jaffle_shop.extra", status="error")
    yield _refuse("A03s", "node that failed is not in the plan", events=lambda e: [*e[:-1], failed, e[-1]])
    many = [node(3_800_000 + n, ORDERS, batch_id=f"b{n}", checksum=text_digest(ORDERS)) for n in range(120)]
    strange = {**many[100], "unique_id": "model.jaffle_shop.extra"}
    among = [*many[:100], strange, *many[101:]]
    yield _refuse("A03t", "node that is not in the plan among many", events=lambda e: [*e[:-1], *among, e[-1]])
    yield _accept("A03u", "many nodes of the plan", events=lambda e: [*e[:-1], *many, e[-1]])
    yield _refuse("A03v", "plan is not canonical", files=_plan_bytes(lambda data: data + b"\n"), manifest=_plan_digest)
    yield _refuse("A03w", "payload of another kind", request=put("payload_type", "bytes/v1"))


def _plan_bytes(change: Any) -> Any:
    return lambda files: {**files, PLAN: Artifact(change(files[PLAN].data), "plan")}


def _plan_with(edit: DocumentEdit) -> Any:
    import json

    return _plan_bytes(lambda data: canonical(edit(json.loads(data))))


def _plan_digest(document: Json) -> Json:
    found = next(one["sha256"] for one in document["files"] if one["role"] == "plan")
    return put("run/plan_sha256", found)(document)


def _bindings() -> Iterator[Case]:
    yield _refuse("A04a", "request for another tree", request=put("tree", "ab" * 20))
    yield _refuse("A04b", "run of another tree", run={"git/tree": "ab" * 20})
    yield _refuse(
        "A04c", "tree is not known", run={"git/tree": None}, request=put("tree", None), plan=put("tree", None)
    )
    yield _refuse("A04d", "tree is dirty", run={"git/dirty": True})
    yield _accept("A04e", "another commit of the same tree", run={"git/commit": "9e40" * 10})
    yield _refuse("A05a", "request for another run", request=put("run_id", "nightly-2026-02-01"))
    yield _refuse("A05b", "request for no run", request=drop("run_id"))
    both_bound = both(standing(), put("run_id", "nightly-2026-01-31"))
    yield _refuse("A05c", "request for a run and standing", request=both_bound)
    for letter, member, value in (
        ("d", "tenant", "other"),
        ("e", "project", "other"),
        ("f", "target", "dev"),
        ("g", "environment", "staging"),
    ):
        yield _refuse(f"A05{letter}", f"request of another {member}", request=put(member, value))
    yield _refuse("A06a", "request under another policy", request=put("policy_sha256", "0" * 64))
    yield _refuse("A06b", "decision under another policy", decision=put("policy_sha256", "0" * 64))


def _standing() -> Iterator[Case]:
    yield _accept("A05p", "standing", request=standing())
    yield _accept("A05q", "standing, another run of it", request=standing(), manifest=_other_run)
    listed = put("enforcement/approvals/standing/targets", ["dev", "prod"])
    yield _accept("A05r", "standing on a target that the policy lists", request=standing(), policy=listed)
    ends = standing(at(DECIDED_US))
    yield _accept("A05s", "standing to the moment of the decision", request=ends)
    for letter, description, told in (
        ("c", "standing, over before the decision", {"request": standing(at(DECIDED_US - 1))}),
        ("d", "standing for longer than the policy allows", {"request": standing("2026-02-07T08:10:00.000001Z")}),
        ("e", "standing on another target", {"request": standing(target="dev")}),
        ("f", "standing where the policy allows none", _standing_under("valid_for", None)),
        ("g", "standing on a target that the policy does not list", _standing_under("targets", ["dev"])),
        ("h", "standing, another tree", {"request": standing(), "run": {"git/tree": "ab" * 20}}),
        ("i", "standing, another plan", {"request": standing(), "files": _plan_with(put("hooks_sha256", "0" * 64))}),
    ):
        yield _refuse(f"A06{letter}", description, **told)
    longer = Approver(body=put("standing/valid_until", "2026-02-08T08:10:00.000000Z"))
    yield _refuse("A06j", "certificate stands longer than its request", request=standing(), approvers=[longer])
    bound = Approver(body=drop("run_id"))
    yield _refuse("A06k", "certificate for no run", approvers=[bound])
    given = Approver(body=both(drop("run_id"), put("standing", {"valid_until": at(900_000), "target": "prod"})))
    yield _refuse("A06l", "certificate stands, its request does not", approvers=[given])


def _standing_under(member: str, value: Any) -> dict[str, Any]:
    return {"request": standing(), "policy": put(f"enforcement/approvals/standing/{member}", value)}


def _other_run(document: Json) -> Json:
    return put("run/run_id", "nightly-2026-02-01")(document)


def _people() -> Iterator[Case]:
    two = put("enforcement/approvals/quorum", 2)
    yield _accept("A07a", "quorum of two", policy=two, approvers=BEN_AND_CAROL)
    later = Approver(BEN, body=put("approved_at", "2026-01-31T08:11:00.000000Z"))
    yield _refuse("A07b", "one person twice", policy=two, approvers=[Approver(BEN), later])
    named_twice = {"used": _twice, "entry": _twice}
    yield _refuse("A07b2", "one certificate named twice", policy=two, **named_twice)
    same = trusted(approver(BEN), approver(CAROL, principal=person(BEN)))
    with_second = Approver(CAROL, body=put("principal", person(BEN)))
    yield _refuse("A07c", "one person with two keys", policy=two, approvers=[Approver(BEN), with_second], trust=same)
    mapped = put("compliance/segregation_of_duties/identities", {person(BEN): [person(CAROL)]})
    yield _refuse("A07d", "one person with two names", policy=both(two, mapped), approvers=BEN_AND_CAROL)
    yield _refuse("A07e", "request asks for two", request=put("quorum", 2))
    yield _refuse("A07f", "trust file asks for two", trust=trusted(threshold={"approver": 2}))
    yield _accept("A07g", "trust file asks for two", trust=trusted(threshold={"approver": 2}), approvers=BEN_AND_CAROL)
    for letter, description, edit in (
        ("h", "approver is the author", put("author", person(BEN))),
        ("i", "approver is the deployer", put("sub", person(BEN))),
        ("j", "approver is a contributor", put("contributors", sorted([AUTHOR, person(BEN)]))),
    ):
        yield _refuse(f"A07{letter}", description, request=edit)
        if letter != "i":
            yield _refuse(f"A07{letter}2", f"{description} of two", request=both(edit), approvers=BEN_AND_CAROL)
    git = "git:" + text_digest("ben@acme.example")
    alias = put("compliance/segregation_of_duties/identities", {person(BEN): [git]})
    contributed = put("contributors", sorted([AUTHOR, git]))
    yield _refuse("A07k", "approver contributed under another name", policy=alias, request=contributed)
    robot = Approver(ROBOT, body=put("principal", "agent:robot"))
    yield _refuse(
        "A07l", "approver is an agent", approvers=[robot], trust=trusted(approver(ROBOT, principal="agent:robot"))
    )
    service = Approver(ROBOT, body=put("principal", "svc:robot"))
    known = put("compliance/segregation_of_duties/identities", {"agent:robot": ["svc:robot"]})
    listed = trusted(approver(ROBOT, principal="svc:robot"))
    yield _refuse("A07m", "approver is an agent by another name", approvers=[service], policy=known, trust=listed)
    steward = put("enforcement/approvals/roles", {"steward": [person(CAROL)]})
    acting = put("role", "steward")
    yield _accept("A07n", "in a role", policy=steward, approvers=[Approver(CAROL, body=acting)])
    yield _refuse("A07o", "in a role of another", policy=steward, approvers=[Approver(BEN, body=acting)])
    yield _refuse("A07p", "in a role that does not exist", approvers=[Approver(BEN, body=acting)])


def _twice(document: Json) -> Json:
    return {**document, "cert_sha256": document["cert_sha256"] * 2}


def _duties() -> Iterator[Case]:
    section = "compliance/segregation_of_duties"
    enabled = put(f"{section}/enabled", True)
    yield _accept("A07q", "duties separated", policy=enabled)
    claimed = put("author_basis", "claimed")
    yield _accept("A07r", "duties not separated, author claimed", request=claimed)
    yield _refuse("A07s", "duties separated, author claimed, one person", policy=enabled, request=claimed)
    yield _accept(
        "A07t", "duties separated, author claimed, two", policy=enabled, request=claimed, approvers=BEN_AND_CAROL
    )
    alone = put("sub", AUTHOR)
    yield _refuse("A07u", "duties separated, author deploys", policy=enabled, request=alone)
    yield _accept("A07v", "duties not separated, author deploys", request=alone)
    stewards = both(enabled, put(f"{section}/approver", ["steward"]))
    held = both(stewards, put("enforcement/approvals/roles", {"steward": [person(BEN)]}))
    yield _accept("A07w", "approver is listed by role", policy=held)
    yield _refuse("A07x", "approver is not listed", policy=stewards)
    deployers = both(enabled, put(f"{section}/deployer", ["svc:other"]))
    yield _refuse("A07y", "deployer is not listed", policy=deployers)
    unmapped = put("contributors", ["git:" + text_digest("nobody@acme.example")])
    yield _refuse("A07z", "contributor is mapped to nobody", policy=enabled, request=unmapped)


def _rules() -> Iterator[Case]:
    second = outcome("x_pii", "require_approval")
    held = outcome(HELD, "require_approval")
    both_named = _naming(HELD, "x_pii")
    yield _refuse("A08a", "lifted rule not named", decision=put("rules", [held, second]))
    yield _accept("A08b", "two rules lifted and named", decision=put("rules", [held, second]), request=both_named)
    unknown = {**second, "state": "unknown"}
    yield _refuse("A08c", "rule that could not be judged not named", decision=put("rules", [held, unknown]))
    waived = {**second, "state": "waived", "effect": "warn", "waiver": "w1"}
    yield _accept("A08d", "waived rule need not be named", decision=put("rules", [held, waived]))
    warned = outcome("x_other")
    yield _accept("A08e", "rule that warns need not be named", decision=put("rules", [held, warned]))
    yield _accept("A08f", "more rules named than held", request=both_named)
    fewer = Approver(body=put("rules", [HELD]))
    yield _refuse("A08g", "certificate names fewer rules", request=both_named, approvers=[fewer])
    more = Approver(body=put("rules", [HELD, "x_pii"]))
    yield _refuse("A08h", "certificate names more rules", approvers=[more])
    yield _refuse("A08i", "request names another rule", request=_naming("x_pii"))
    yield _refuse("A08j", "no rule held the run", decision=put("rules", [warned]))
    yield _refuse("A08k", "no rules at all", decision=put("rules", []))
    block = outcome(HELD, "block", severity="critical")
    blocked = both(put("decision", "block"), put("rules", [block]))
    yield _refuse("A08l", "block lifted by an approval", decision=blocked)
    mixed = put("rules", [held, block])
    yield _refuse("A08m", "block among what was lifted", decision=mixed)
    gone = {"entry": lambda _: {}, "events": _without("approval.used")}
    silent = both(blocked, drop("jti"), drop("request_sha256"))
    yield _refuse("A08n", "block that stopped nothing", decision=silent, **gone)
    threshold = outcome("risk_threshold", "require_approval")
    late = {"decision": put("rules", [held, threshold])}
    yield _refuse("A08o", "threshold lifted and not named", **late)
    yield _accept("A08p", "threshold lifted and named", **late, request=_naming(HELD, "risk_threshold"))


def _naming(*rules: str) -> DocumentEdit:
    return put("rules", [{"id": rule, "severity": "warning", "title": ""} for rule in rules])


def _keys() -> Iterator[Case]:
    for letter, description, members in (
        ("a", "key not valid yet when it approved", {"valid_from": "2026-01-31T08:10:00.000001Z"}),
        ("b", "key expired when it approved", {"valid_to": "2026-01-31T08:09:59.999999Z"}),
        ("c", "key revoked before it approved", {"revoked_at": "2026-01-30T00:00:00.000000Z"}),
        ("d", "key revoked since, time only claimed", {"revoked_at": "2026-01-31T08:50:00.000000Z"}),
        ("e", "key of another tenant", {"tenants": ["other"]}),
        ("f", "key for another format", {"specs": ["clyra.pef/v0"]}),
    ):
        yield _refuse(f"A09{letter}", description, trust=trusted(approver(BEN, **members)))
    for letter, description, members in (
        ("g", "key valid from that moment", {"valid_from": APPROVED_AT}),
        ("h", "key valid to that moment", {"valid_to": APPROVED_AT}),
        ("i", "key of this tenant", {"tenants": ["acme"], "specs": ["clyra.def/v0"]}),
    ):
        yield _accept(f"A09{letter}", description, trust=trusted(approver(BEN, **members)))
    after = Approver(body=put("approved_at", "2026-01-31T08:20:00.500001Z"))
    yield _refuse("A09j", "approved after the decision and the skew", approvers=[after])
    tight = trusted(skew_s=0)
    late = Approver(body=put("approved_at", at(DECIDED_US + 1)))
    yield _refuse("A09k", "approved after the decision, no skew", approvers=[late], trust=tight)
    exact = Approver(body=put("approved_at", at(DECIDED_US)))
    yield _accept("A09l", "approved at the moment of the decision, no skew", approvers=[exact], trust=tight)
    before = Approver(body=put("approved_at", "2025-12-31T08:10:00.000000Z"))
    yield _refuse("A09m", "approved before the key was there", approvers=[before])


def _requests() -> Iterator[Case]:
    yield _refuse("A12a", "request file is absent", drop_role="approval_request")
    yield _refuse(
        "A12b", "request file edited", files=_request_bytes(lambda data: data.replace(b'"quorum":1', b'"quorum":2'))
    )
    yield _refuse("A12c", "request file of another role", files=_request_role)
    yield _refuse("A12d", "request of another form", request=put("spec", "clyra.request/v2"))
    yield _refuse("A12e", "request with an unknown member", request=put("approved", True))
    yield _refuse("A12f", "request without its author", request=drop("author"))
    yield _refuse("A12g", "author is an e-mail address", request=put("author", "alice@acme.example"))
    yield _refuse(
        "A12h", "request names no rule", request=put("rules", []), approvers=[Approver(body=put("rules", [HELD]))]
    )


def _request_bytes(change: Any) -> Any:
    def edit(files: dict[str, Artifact]) -> dict[str, Artifact]:
        return {
            path: Artifact(change(file.data), file.role) if file.role == "approval_request" else file
            for path, file in files.items()
        }

    return edit


def _request_role(files: dict[str, Artifact]) -> dict[str, Artifact]:
    return {path: Artifact(file.data) if file.role == "approval_request" else file for path, file in files.items()}


def _certificates() -> Iterator[Case]:
    for letter, description, edit in (
        ("a", "of another request", put("request_sha256", "0" * 64)),
        ("b", "of another plan", put("payload_sha256", "0" * 64)),
        ("c", "whose payload_hash is another", put("payload_hash", f"sha256:{'0' * 64}")),
        ("d", "for another tree", put("tree", "ab" * 20)),
        ("e", "for no tree", put("tree", None)),
        ("f", "under another policy", put("policy_sha256", "0" * 64)),
        ("g", "for another run", put("run_id", "nightly-2026-02-01")),
        ("h", "for another kind of payload", put("payload_type", "bytes/v1")),
        ("i", "that names no request", drop("request_sha256")),
        ("j", "that names no plan", drop("payload_sha256")),
        ("k", "that names no tree", drop("tree")),
        ("l", "that names no rules", drop("rules")),
        ("m", "that names no policy", drop("policy_sha256")),
        ("n", "without payload_hash", drop("payload_hash")),
        ("o", "that is a review", put("kind", "review")),
        ("p", "of an emergency that is none", put("kind", "break_glass")),
        ("q", "of another form", put("spec", "clyra.certificate/v2")),
        ("r", "with an unknown member", put("note", "ok")),
        ("s", "by an unknown method", put("method", "sms")),
        ("t", "of an e-mail address", put("principal", "ben@acme.example")),
        ("u", "about a run and a bundle", put("bundle_id", OTHER_BUNDLE_ID)),
    ):
        yield _refuse(f"A13{letter}", f"certificate {description}", approvers=[Approver(body=edit)])
    bad = Approver(CAROL, body=put("payload_sha256", "0" * 64))
    yield _refuse("A13v", "one good certificate, one of another plan", approvers=[Approver(BEN), bad])


def _identity_providers() -> Iterator[Case]:
    oidc = Approver(body=put("method", "oidc"))
    unchecked = ("approval_unchecked",)
    yield _accept("A10a", "by the word of an identity provider", approvers=[oidc], warnings=unchecked)
    yield _accept(
        "A10b", "one by key, one by an identity provider", approvers=[oidc, Approver(CAROL)], warnings=unchecked
    )


def _oncall(*people: TestKey) -> DocumentEdit:
    return put("enforcement/approvals/roles", {"oncall": [person(key) for key in people]})


ONCALL: Json = {"policy": _oncall(BEN), "approvers": [Approver(body=put("role", "oncall"))]}


def _emergencies() -> Iterator[Case]:
    unreviewed = ("break_glass_unreviewed",)
    yield _accept("A11a", "emergency, not reviewed yet", request=broken_glass(), warnings=unreviewed, **ONCALL)
    yield _refuse("A11b", "emergency in a role that may not", request=broken_glass())
    unlisted = {**ONCALL, "policy": _oncall(CAROL)}
    yield _refuse("A11c", "emergency in a role of others", request=broken_glass(), **unlisted)
    late = broken_glass("2026-02-01T08:10:00.000001Z")
    yield _refuse("A11d", "review due later than the policy allows", request=late, **ONCALL)
    own = both(broken_glass(), put("author", person(BEN)), put("sub", person(BEN)))
    yield _accept("A11e", "emergency by author and deployer", request=own, warnings=unreviewed, **ONCALL)
    blocked = both(put("decision", "block"), put("rules", [outcome(HELD, "block", severity="critical")]))
    lifted = {"request": broken_glass(), "decision": blocked, **ONCALL}
    yield _accept("A11f", "emergency lifts a block", warnings=unreviewed, **lifted)
    quorum = both(_oncall(BEN), put("enforcement/approvals/quorum", 2))
    alone = {**ONCALL, "policy": quorum}
    yield _accept("A11g", "emergency is one person's", request=broken_glass(), warnings=unreviewed, **alone)
    hidden = put("break_glass", False)
    yield _refuse("A11h", "emergency that approval.used does not tell", request=broken_glass(), used=hidden, **ONCALL)
    yield _refuse("A11i", "approval.used tells of an emergency", used=put("break_glass", True))
    ordinary = Approver(body=both(put("role", "oncall"), put("kind", "approval")))
    told = {"policy": _oncall(BEN), "approvers": [ordinary]}
    yield _refuse("A11j", "emergency, certificate says approval", request=broken_glass(), **told)
    robot: Json = {"policy": put("enforcement/approvals/roles", {"oncall": ["agent:robot"]})}
    robot |= {"approvers": [Approver(ROBOT, body=both(put("role", "oncall"), put("principal", "agent:robot")))]}
    listed = trusted(approver(ROBOT, principal="agent:robot"))
    yield _refuse("A11k", "emergency by an agent", request=broken_glass(), trust=listed, **robot)
    uncounted = Scoring(counts={"approval_bypassed": (0, ())})
    data = Story(request=broken_glass(), layers={"scoring": uncounted}, **ONCALL).seal().data
    trust = {"trust.json": trusted()}
    yield bundle_case("A11l", "approval: emergency not in the risk", data, "risk_mismatch", "semantics", files=trust)
    unevaluated = ("break_glass_unreviewed", "trust_not_evaluated")
    untold = Story(request=broken_glass(), **ONCALL).seal().data
    yield bundle_case("A11m", "approval: emergency, no trust file", untold, args=(), warnings=unevaluated)


def _reviews() -> Iterator[Case]:
    sealed = Story(request=broken_glass(), **ONCALL).seal()
    wide = trusted(approver(BEN), approver(CAROL), approver(DORA))

    def case(id: str, description: str, given: bytes, *verdict: str, trust: bytes = wide, **members: Any) -> Case:
        files = {"trust.json": trust, "review.dsse.json": given}
        return bundle_case(id, f"review: {description}", sealed.data, *verdict, files=files, args=REVIEWED, **members)

    good = review(sealed)
    yield case("A11n", "by another person", good)
    beside = {"trust.json": wide, f"{sealed.manifest['bundle_id']}.review.dsse.json": good}
    yield bundle_case("A11o", "review: found beside the bundle", sealed.data, files=beside)
    by_oidc = review(sealed, Approver(CAROL, body=put("method", "oidc")))
    yield case("A11p", "by the word of an identity provider", by_oidc, warnings=("approval_unchecked",))
    after = review(sealed, Approver(CAROL, body=put("approved_at", "2026-03-31T08:40:00.000000Z")))
    yield case("A11q", "after it was due", after)
    for letter, description, data in (
        ("a", "by the same person", review(sealed, Approver(BEN))),
        ("b", "of another bundle", review(sealed, bundle_id=OTHER_BUNDLE_ID)),
        ("c", "of another manifest", review(sealed, manifest_sha256="0" * 64)),
        ("d", "that is an approval", review(sealed, Approver(CAROL, body=put("kind", "approval")))),
        ("e", "signed by a stranger", review(sealed, Approver(CAROL, signers=[STRANGER]))),
        ("f", "signed by who declared the emergency", review(sealed, Approver(CAROL, signers=[BEN]))),
        ("g", "in a role of nobody", review(sealed, Approver(CAROL, body=put("role", "auditor")))),
        ("h", "that names no manifest", review(sealed, Approver(CAROL, body=drop("manifest_sha256")))),
        ("i", "that is no envelope", b"reviewed by carol"),
        ("j", "too long", good + b" " * 65_536),
        ("k", "of another payload type", review(sealed, Approver(CAROL, payload_type="application/json"))),
    ):
        yield case(f"A14{letter}", description, data, *UNPROVEN)
    revoked = trusted(approver(BEN), approver(CAROL, revoked_at="2026-01-31T08:50:00.000000Z"))
    yield case("A14l", "by a key that was revoked", good, *UNPROVEN, trust=revoked)
    same = trusted(approver(BEN), approver(CAROL, principal=person(BEN)))
    alias = review(sealed, Approver(CAROL, body=put("principal", person(BEN))))
    yield case("A14m", "by the same person with another key", alias, *UNPROVEN, trust=same)
    calm = Story().seal().data
    files = {"trust.json": wide, "review.dsse.json": good}
    yield bundle_case("A14n", "review: not needed and not read", calm, files=files, args=REVIEWED)
