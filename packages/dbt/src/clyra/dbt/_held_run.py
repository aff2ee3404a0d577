# SPDX-License-Identifier: Apache-2.0
"""A run that rules hold: let it go with an approval, or ask for one.

A token lifts what requires an approval, for the rules that it names; what is blocked it lifts only in an emergency
(break-glass). Without a token the question is written down, and the refusal says who may answer it how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from clyra.dbt import _approval
from clyra.dbt._clock import aware
from clyra.dbt._pause import go_on, pause
from clyra.dbt._refusal import Refusal, RunBlocked
from clyra.dbt._request import Asking, contributors_of, request_for, resources_of
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.approval.plan import DbtPlan
    from clyra.approval.request import ApprovalRequest
    from clyra.dbt._decisions import DecisionLog
    from clyra.dbt._governance import Governance
    from clyra.dbt._judge import Judged
    from clyra.dbt._session import Session
    from clyra.dbt._token import Tokens
    from clyra.policy.decision import Decision, RuleOutcome
    from clyra.policy.load import LoadedPolicy
    from clyra.policy.rules import Checkpoint


class HeldRun:
    """One run that one or more rules, or a checkpoint, hold.

    Args:
        session: The invocation.
        governance: Takes what stands behind the approval.
        policy: The policy in force.
        log: Where decisions are written.
        judged: What was decided.
        decision: The same with the checkpoint as one of the rules.
        holding: The rules that hold it.
        checkpoint: The checkpoint, if one holds it.
        plan: What would run.
        nodes: Its nodes.
    """

    def __init__(
        self,
        session: Session,
        governance: Governance,
        policy: LoadedPolicy,
        log: DecisionLog,
        judged: Judged,
        *,
        decision: Decision,
        holding: Sequence[RuleOutcome],
        checkpoint: Checkpoint | None,
        plan: DbtPlan,
        nodes: Sequence[Any],
    ) -> None:
        self._session = session
        self._governance = governance
        self._policy = policy
        self._log = log
        self._judged = judged
        self._decision = decision
        self._holding = holding
        self._checkpoint = checkpoint
        self._plan = plan
        self._nodes = nodes
        self._id = log.new_id()

    @cached_property
    def here(self) -> _approval.Circumstances:
        """What a token must be for."""
        return circumstances(self._session, self._policy, self._nodes)

    def lift(self, tokens: Tokens) -> None:
        """Let the run go with the token that was handed over.

        Raises:
            RunBlocked: The token is refused, or what holds the run cannot be lifted by it.
        """
        token = b""
        try:
            self.require_tree()
            token = tokens.approval()
            approval = _approval.accept(token, self._plan, self._rules, self.here)
            if self._decision.effect == "block" and not approval.token.is_break_glass:
                self._refuse_blocked()
            # The run may present its token again; a pause is used up for good, so it comes last.
            _approval.consume(approval, self.here)
            held_at = self._checkpoint
            resumed = None if held_at is None else go_on(approval, tokens.resume(), held_at, self.here)
        except RunBlocked:
            raise
        except ClyraError as exc:
            self._refuse_token(exc, token)
        self._governance.use(approval, self._id)
        self._session.keep_record()
        decision = self._members(request_sha256=approval.token.request_sha256, jti=approval.token.jti)
        events = [("decision", decision), ("approval.used", approval.used_members(self._id))]
        if resumed is not None:
            events.append(("checkpoint.resumed", resumed))
        self._session.add_all(*events)

    def ask(self, *, plan_only: bool = False) -> NoReturn:
        """Write the question down, and refuse the run until it is answered.

        Args:
            plan_only: The run was to be judged only, so no checkpoint is opened.

        Raises:
            RunBlocked: Always.
        """
        if self._decision.effect == "block" and not self._may_break_glass:
            self._refuse_blocked()
        self.require_tree()
        request = self._asked()
        self._governance.add_request(request.sha256, request.to_bytes())
        self._session.keep_record()
        self._record(request_sha256=request.sha256)
        self._session.add("approval.requested", {"decision": self._id, "request_sha256": request.sha256})
        if self._decision.effect == "block":
            raise RunBlocked(self._blocked(self._emergency_steps(request)), request_sha256=request.sha256)
        code, steps = "approval_required", self._steps(request)
        if self._checkpoint is not None and not plan_only:
            code, steps = "checkpoint_pending", self._paused(request, self._checkpoint)
        raise RunBlocked(self._refusal(code, "it must be approved first", steps), request_sha256=request.sha256)

    def require_tree(self) -> None:
        """Let nothing be approved that no git tree stands for, unless the policy binds none.

        Raises:
            RunBlocked: ``tree_dirty`` or ``tree_unknown``.
        """
        build = self._session.build
        if self._plan.tree is not None or not self._policy.document["enforcement"]["approvals"]["tree_binding"]:
            return
        self._record()
        if build.dirty:
            found, step = "the project has changes that no commit holds", "commit them, or remove them; see git status"
        else:
            found, step = "nobody says which code this is", "run in a git checkout, or in an image with clyra dbt stamp"
        raise RunBlocked(self._refusal("tree_dirty" if build.dirty else "tree_unknown", found, [step]))

    @property
    def _rules(self) -> frozenset[str]:
        return frozenset(rule.id for rule in self._holding)

    @property
    def _may_break_glass(self) -> bool:
        return bool(self._policy.document["compliance"]["break_glass"]["roles"])

    @property
    def _about(self) -> list[str]:
        return list(dict.fromkeys(node for rule in self._holding for node in self._judged.nodes.get(rule.id, ())))

    def _record(self, *, request_sha256: str | None = None) -> None:
        self._log.add(self._members(request_sha256=request_sha256))

    def _members(self, *, request_sha256: str | None = None, jti: str | None = None) -> dict[str, object]:
        return self._log.members(
            self._decision,
            self._id,
            policy_sha256=self._policy.sha256,
            risk=self._judged.risk["score"],
            nodes=self._judged.nodes,
            request_sha256=request_sha256,
            jti=jti,
        )

    def _refuse_token(self, exc: ClyraError, token: bytes) -> NoReturn:
        from clyra.approval.token import token_id

        self._record()
        members: dict[str, object] = {"decision": self._id, "code": exc.code}
        if token:
            members["token_id"] = token_id(token)
        self._session.add("approval.refused", members)
        raise RunBlocked(self._refusal(exc.code, exc.message, self._token_steps(exc.code))) from exc

    def _token_steps(self, code: str) -> list[str]:
        if code in ("plan_changed", "approval_payload", "approval_tree", "approval_policy"):
            return ["ask again: run without a token, or clyra dbt plan, and have the new request approved"]
        if code == "approval_run_id":
            return ["set CLYRA_RUN_ID to the run that the token was minted for"]
        if code in ("approval_kid", "approval_unproven") and not self.here.trust:
            return ["name the trust file that knows issuers and approvers in CLYRA_TRUST"]
        return [f"mint another one: clyra approval mint --target {self._plan.target} --out FILE"]

    def _refuse_blocked(self) -> NoReturn:
        self._record()
        raise RunBlocked(self._blocked([]))

    def _blocked(self, steps: Sequence[str]) -> Refusal:
        fixes = [rule.fix for rule in self._policy.compiled.rules if rule.id in self._rules and rule.fix]
        if expired := self._decision.expired_waivers:
            fixes.append(f"or have the waiver renewed that has expired: {', '.join(expired)}")
        code = "waiver_expired" if expired else "blocked"
        return self._refusal(code, "the policy does not allow it", [*fixes, *steps] or ["change what would run"])

    def _refusal(self, code: str, reason: str, steps: Sequence[str]) -> Refusal:
        titles = {rule.id: rule.title or rule.message for rule in self._policy.compiled.rules}
        rules = [f"{rule.id} ({title})" if (title := titles.get(rule.id)) else rule.id for rule in self._holding]
        return Refusal(code, reason, rules, self._about, list(steps))

    def _steps(self, request: ApprovalRequest) -> list[str]:
        return [
            f"clyra approve {request.sha256[:12]}",
            f"then clyra approval mint --target {request.target} --out FILE, and run it again with "
            f"CLYRA_APPROVAL_TOKEN_FILE=FILE CLYRA_RUN_ID={request.run_id or 'the id of the run'}",
        ]

    def _emergency_steps(self, request: ApprovalRequest) -> list[str]:
        return [f"in an emergency: clyra approve {request.sha256[:12]} --break-glass --reason TEXT"]

    def _asked(self) -> ApprovalRequest:
        """The request, or the one that is open for the same."""
        session, clock = self._session, self._session.clock
        now_us = clock.now_us()
        try:
            people = contributors_of(
                session.folder.project_root,
                self._policy,
                self._governance.governing.path,
                sorted(self._rules),
                store=self.here.store,
                audience=self.here.audience,
                environ=session.environ,
                today=aware(now_us).date(),
            )
            request = request_for(self._asking(), people, request_id=self._log.new_id(), now_us=now_us)
            digest = self.here.store.add_request(request.to_bytes(), self._plan.to_bytes())
            return request if digest == request.sha256 else self.here.store.request(digest)
        except ClyraError as exc:
            self._record()
            reason = f"it must be approved first, and no request could be written: {exc.message} [{exc.code}]"
            raise RunBlocked(self._refusal("approval_required", reason, [])) from exc

    def _asking(self) -> Asking:
        session = self._session
        members = self._log.members(self._decision, self._id, policy_sha256=self._policy.sha256, risk=None)
        facts: Any = members["facts"]
        checkpoint = self._checkpoint
        return Asking(
            decision_id=self._id,
            facts=facts,
            held=self._holding,
            risk=self._judged.risk,
            plan=self._plan,
            audience=self.here.audience,
            resources=self.here.resources,
            environment=self._governance.governing.environment.name,
            identity=session.identity,
            build=session.build,
            policy=self._policy,
            checkpoint=None if checkpoint is None else checkpoint.id,
            approvals=1 if checkpoint is None else checkpoint.approvals,
        )

    def _paused(self, request: ApprovalRequest, checkpoint: Checkpoint) -> list[str]:
        try:
            paused = pause(self._session, self.here.store, request, checkpoint, self.here.now_s)
        except ClyraError as exc:
            raise RunBlocked(self._refusal(exc.code, f"it cannot pause for an approval: {exc.message}", [])) from exc
        return [
            f"clyra checkpoint approve {paused.id}",
            f"then clyra checkpoint resume {paused.id} -- dbt {self._session.dbt.command} ...",
        ]


def circumstances(session: Session, policy: LoadedPolicy, nodes: Sequence[Any]) -> _approval.Circumstances:
    """What a token must be for in this run.

    Raises:
        ClyraError: The trust file is none, or cannot be read.
    """
    from clyra.approval.store import ApprovalStore
    from clyra.approval.trust_file import read_trust_file

    found = read_trust_file(session.folder.project_root, session.environ)
    dbt, build = session.dbt, session.build
    return _approval.Circumstances(
        audience=_approval.audience_of(policy, dbt.project_name, dbt.target_name or ""),
        tenant=session.identity.tenant,
        run_id=session.identity.run_id,
        tree=build.clean_tree,
        resources=resources_of(nodes, dbt.credentials, dbt.adapter_type or ""),
        policy=policy,
        trust={"keys": []} if found is None else found[1],
        store=ApprovalStore.locate(session.folder.root, session.environ),
        now_s=session.clock.now_us() // 1_000_000,
    )


def with_checkpoint(decision: Decision, checkpoint: Checkpoint) -> Decision:
    """The decision with a checkpoint as a rule that requires an approval."""
    from clyra.policy.decision import RuleOutcome
    from clyra.policy.engine import merge

    held = RuleOutcome(checkpoint.id, "require_approval", "warning", "matched")
    own = replace(
        decision,
        effect="require_approval",
        shadow_effect="require_approval",
        rules=(held,),
        missing=(),
        expired_waivers=(),
    )
    return merge((decision, own))
