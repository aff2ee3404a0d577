# SPDX-License-Identifier: Apache-2.0
"""What approvals prove (``spec/verification.md``, "Approvals").

Every decision that held the run and was lifted has certificates that name its request, its rules, its code and this
run, by enough people who may approve it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from clyra.verify._refusal import Refusal
from clyra.verify.canonical import read_canonical
from clyra.verify.certificate import Certificate, check_signed, read_certificate, unproven
from clyra.verify.container import Container
from clyra.verify.duties import check_people, check_reviewer
from clyra.verify.instant import microseconds_between
from clyra.verify.journal import Recount, nodes_that_ran
from clyra.verify.policy import Policy
from clyra.verify.schema import check_schema
from clyra.verify.trust import DEFAULT_SKEW_S, Trust

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_HOLDS = frozenset({"require_approval", "block"})
# Members that a certificate repeats from its request.
_REPEATED = ("payload_type", "payload_sha256", "tree", "policy_sha256")

_Event = Mapping[str, Any]


class Approval(NamedTuple):
    """A decision that was lifted, with the request and the certificates that lifted it, all checked."""

    decision: str
    jti: str
    rules: tuple[str, ...]
    request: Mapping[str, Any]
    certificates: tuple[Mapping[str, Any], ...]

    @property
    def break_glass(self) -> bool:
        """Whether this was an emergency, by one person and to be reviewed."""
        return "break_glass" in self.request

    def as_dict(self) -> dict[str, Any]:
        """As the schema ``verification`` has it."""
        shown = ("principal", "role", "method", "approved_at")
        bound = "standing" if "standing" in self.request else "run_id"
        return {
            "decision": self.decision,
            "jti": self.jti,
            "approvals": [{name: body[name] for name in shown} for body in self.certificates],
            "rules": list(self.rules),
            bound: self.request[bound],
            "break_glass": self.break_glass,
        }


def check_approvals(
    manifest: Mapping[str, Any], container: Container, policy: Policy | None, recount: Recount, trust: Trust | None
) -> list[Approval]:
    """Check every approval that a bundle claims or needs; without a trust file all but the signatures.

    Raises:
        Refusal: ``approval_unproven``.
    """
    lifted = _lifted(manifest, recount)
    used = _each_once(recount.used, "approval.used")
    entries = _each_once(manifest["governance"]["approvals"], "governance.approvals")
    if not lifted.keys() == used.keys() == entries.keys():
        raise unproven("lifted decisions, approval.used events and governance.approvals are not about the same")
    if not lifted:
        return []
    if policy is None:
        raise unproven("an approval is claimed and the policy is not among the files")
    files = _Files(manifest, container)
    bundle = _Bundle(manifest, policy, files, trust)
    _check_plan(bundle, container)
    return [_check_one(event, used[name], entries[name], bundle) for name, event in lifted.items()]


def _lifted(manifest: Mapping[str, Any], recount: Recount) -> dict[str, _Event]:
    """The decisions that a token lifted, by their ids. Where nothing lifted one, the run cannot be a success."""
    held = [event for event in recount.decided if event["mode"] == "enforce" and event["decision"] in _HOLDS]
    if manifest["run"]["status"] == "success" and any("jti" not in event for event in held):
        raise unproven("a decision held the run, nothing lifted it, and the run is said to be a success")
    lifted = [event for event in held if "jti" in event]
    return _each_once(({"decision": event["id"], "event": event} for event in lifted), "event of its id", inner="event")


def _each_once(items: Iterable[_Event], what: str, *, inner: str | None = None) -> dict[str, _Event]:
    found: dict[str, _Event] = {}
    for item in items:
        if item["decision"] in found:
            raise unproven(f"the decision {item['decision']} has more than one {what}")
        found[item["decision"]] = item[inner] if inner else item
    return found


class _Files:
    """The listed files by role and digest."""

    def __init__(self, manifest: Mapping[str, Any], container: Container) -> None:
        self._container = container
        self._paths = {
            (entry["role"], entry["sha256"]): entry["path"] for entry in manifest["files"] if "external" not in entry
        }

    def read(self, role: str, sha256: str) -> bytes:
        path = self._paths.get((role, sha256))
        if path is None:
            raise unproven(f"no file of the role {role} in the container has the SHA-256 {sha256}")
        if self._container.entries[path].size > MAX_DOCUMENT_BYTES:
            raise unproven(f"{path!r} has more than 64 MiB")
        return self._container.read(path)

    def document(self, role: str, sha256: str, schema: str) -> Mapping[str, Any]:
        data = self.read(role, sha256)
        try:
            value = read_canonical(data)
            check_schema(schema, value)
        except Refusal as exc:
            raise unproven(f"the file of the role {role} is not what it should be: {exc.message}") from exc
        return cast("Mapping[str, Any]", value)


class _Bundle(NamedTuple):
    manifest: Mapping[str, Any]
    policy: Policy
    files: _Files
    trust: Trust | None

    @property
    def skew_us(self) -> int:
        return 1_000_000 * (DEFAULT_SKEW_S if self.trust is None else self.trust.skew_s)

    @property
    def binds_tree(self) -> bool:
        return bool(self.policy["enforcement"]["approvals"]["tree_binding"])


def _check_plan(bundle: _Bundle, container: Container) -> None:
    """Check that the plan is there, about this project, target and tree, and that nothing else ran."""
    run = bundle.manifest["run"]
    if "plan_sha256" not in run:
        raise unproven("an approval is claimed and run.plan_sha256 does not say for which plan")
    plan = bundle.files.document("plan", run["plan_sha256"], "dbt_plan")
    if (plan["project"], plan["target"]) != (run["project"], run["target"]):
        raise unproven("the plan is about another project or target")
    if bundle.binds_tree and plan["tree"] != run["git"]["tree"]:
        raise unproven("the plan is about another git tree")
    planned = {node["unique_id"]: node["checksum"] for node in plan["nodes"]}
    if len(planned) != len(plan["nodes"]):
        raise unproven("the plan has a node twice")
    for event in nodes_that_ran(container):
        name, checksum = event["unique_id"], event["checksum"]
        if name not in planned:
            raise unproven(f"{name} ran and is not in the plan that was approved")
        if checksum is not None and planned[name] is not None and checksum != planned[name]:
            raise unproven(f"{name} ran with other code than was approved")


def _check_one(event: _Event, used: _Event, entry: _Event, bundle: _Bundle) -> Approval:
    digests = entry["cert_sha256"]
    request_sha256 = event.get("request_sha256")
    if not event["jti"] == used["jti"] == entry["jti"] or sorted(digests) != sorted(used["cert_sha256"]):
        raise unproven("the decision, its approval.used event and its entry name different tokens or certificates")
    if request_sha256 is None or used["request_sha256"] != request_sha256:
        raise unproven("the decision and its approval.used event name different requests")
    if event["policy_sha256"] != bundle.manifest["policy"]["sha256"]:
        raise unproven("the decision was made under another policy")
    request = bundle.files.document("approval_request", request_sha256, "approval_request")
    rules = _check_rules(event, request)
    if used["break_glass"] != ("break_glass" in request):
        raise unproven("the request and the approval.used event differ in break_glass")
    _check_request(request, bundle)
    certificates = [read_certificate(bundle.files.read("approval_certificate", digest)) for digest in digests]
    for certificate in certificates:
        _check_body(certificate.body, request, request_sha256)
        _check_times(certificate.body, request, event, bundle)
    bodies = tuple(certificate.body for certificate in certificates)
    check_people(bodies, request, bundle.policy, 1 if bundle.trust is None else bundle.trust.threshold("approver"))
    _check_signatures(certificates, bundle)
    return Approval(event["id"], event["jti"], rules, request, bodies)


def _check_rules(event: _Event, request: Mapping[str, Any]) -> tuple[str, ...]:
    """The rules that held the run, each of which the request must name; a block is lifted by an emergency only."""
    holding = [rule for rule in event["rules"] if rule["effect"] in _HOLDS and rule["state"] != "waived"]
    if not holding:
        raise unproven(f"no rule held the run in the decision {event['id']}, so nothing was lifted")
    if "break_glass" not in request and any(rule["effect"] == "block" for rule in holding):
        raise unproven(f"the decision {event['id']} is a block, which an approval does not lift")
    named = {rule["id"] for rule in request["rules"]}
    rules = tuple(dict.fromkeys(rule["id"] for rule in holding))
    for rule in rules:
        if rule not in named:
            raise unproven(f"the rule {rule} was lifted and the request does not name it")
    return rules


def _check_request(request: Mapping[str, Any], bundle: _Bundle) -> None:
    manifest, run = bundle.manifest, bundle.manifest["run"]
    for what, asked, found in (
        ("tenant", request["tenant"], manifest["tenant"]),
        ("project", request["project"], run["project"]),
        ("target", request["target"], run["target"]),
        ("environment", request["environment"], manifest["policy"]["environment"]),
        ("policy", request["policy_sha256"], manifest["policy"]["sha256"]),
        ("kind of payload", request["payload_type"], "dbt-plan/v1"),
        ("plan", request["payload_sha256"], run["plan_sha256"]),
    ):
        if asked != found:
            raise unproven(f"the request is for another {what}: {asked}, the run has {found}")
    git = run["git"]
    if bundle.binds_tree and (request["tree"] is None or request["tree"] != git["tree"] or git["dirty"] is True):
        raise unproven("the request is for another git tree, or the tree does not say what ran")
    if ("standing" in request) == ("run_id" in request):
        raise unproven("a request is for one run or standing, this one is for both or neither")
    if "standing" in request:
        _check_standing_target(request["standing"]["target"], bundle)
    elif request["run_id"] != run["run_id"]:
        raise unproven(f"the request is for another run than {run['run_id']}")


def _check_standing_target(target: str, bundle: _Bundle) -> None:
    terms = bundle.policy["enforcement"]["approvals"]["standing"]
    if terms["valid_for"] is None:
        raise unproven("the policy does not allow standing approvals")
    if target != bundle.manifest["run"]["target"] or (terms["targets"] and target not in terms["targets"]):
        raise unproven(f"the standing approval is for the target {target}, or the policy allows none there")


def _check_body(body: Mapping[str, Any], request: Mapping[str, Any], request_sha256: str) -> None:
    """Check that a certificate says of its request what the request says, member by member."""
    kind = "break_glass" if "break_glass" in request else "approval"
    if body["kind"] != kind:
        raise unproven(f"a certificate is of the kind {body['kind']}, expected {kind}")
    repeated = {name: request[name] for name in _REPEATED} | {
        "request_sha256": request_sha256,
        "payload_hash": f"sha256:{request['payload_sha256']}",
    }
    repeated |= {name: request.get(name) for name in ("run_id", "standing")}
    for name, value in repeated.items():
        if body.get(name) != value:
            raise unproven(f"a certificate has another {name} than its request")
    if set(body["rules"]) != {rule["id"] for rule in request["rules"]}:
        raise unproven("a certificate names other rules than its request")


def _check_times(body: Mapping[str, Any], request: Mapping[str, Any], event: _Event, bundle: _Bundle) -> None:
    approved_at, decided_at = body["approved_at"], event["occurred_at"]
    if microseconds_between(decided_at, approved_at) > bundle.skew_us:
        raise unproven(f"a certificate is of {approved_at}, after the decision at {decided_at}")
    if "standing" in request:
        valid_until, valid_for_ms = (
            request["standing"]["valid_until"],
            bundle.policy["enforcement"]["approvals"]["standing"]["valid_for"],
        )
        if decided_at > valid_until or microseconds_between(approved_at, valid_until) > 1000 * valid_for_ms:
            raise unproven("the standing approval was over, or is for longer than the policy allows")
    if "break_glass" in request:
        due = request["break_glass"]["review_due"]
        within_ms = bundle.policy["compliance"]["break_glass"]["review_within"]
        if microseconds_between(approved_at, due) > 1000 * within_ms:
            raise unproven("the review of an emergency is due later than the policy allows")


def _check_signatures(certificates: Sequence[Certificate], bundle: _Bundle) -> None:
    if bundle.trust is not None:
        for certificate in certificates:
            check_signed(certificate, bundle.trust, bundle.manifest)


def check_review(
    data: bytes,
    approvals: Iterable[Approval],
    manifest: Mapping[str, Any],
    manifest_sha256: str,
    policy: Policy,
    trust: Trust,
) -> Mapping[str, Any]:
    """The body of the review of a bundle's emergencies, by a person who declared none of them.

    Raises:
        Refusal: ``approval_unproven``.
    """
    certificate = read_certificate(data)
    body = certificate.body
    about = (body["kind"], body.get("bundle_id"), body.get("manifest_sha256"))
    if about != ("review", manifest["bundle_id"], manifest_sha256):
        raise unproven("the review is about something else than this bundle")
    declared = [each for approval in approvals if approval.break_glass for each in approval.certificates]
    check_reviewer(body, declared, policy)
    check_signed(certificate, trust, manifest)
    return body
