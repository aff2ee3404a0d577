# SPDX-License-Identifier: Apache-2.0
"""The run gate: judges a run once, before its first statement, and lets it pass or not.

Where the environment does not enforce, nothing here refuses a run: what would have been is recorded, and a fault of
ours is counted. Where it enforces, whatever cannot be judged is refused.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from clyra.dbt import _failed_tests, _nodes
from clyra.dbt._clock import aware
from clyra.dbt._decisions import DecisionLog, holding_rules
from clyra.dbt._facts import NodeFacts, Presented, RunFacts, is_off_hours
from clyra.dbt._judge import POINT, Judged, Planned, judge
from clyra.dbt._plan import plan_of
from clyra.dbt._policy import problems_of
from clyra.dbt._refusal import PlanKnown, Refusal, RunBlocked
from clyra.dbt._token import Tokens, exposing_names
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.approval.plan import DbtPlan
    from clyra.dbt._candidate import CandidateTrial
    from clyra.dbt._governance import Governance
    from clyra.dbt._session import Session
    from clyra.policy.facts import Facts
    from clyra.policy.load import LoadedPolicy

_MOST_PROBLEMS = 10


class RunGate:
    """Judges one run.

    Args:
        session: The invocation.
        governance: What governs it; takes what is decided.
        tokens: What was handed over.
        plan_only: Say what would be decided, and let nothing run.
    """

    def __init__(self, session: Session, governance: Governance, tokens: Tokens, *, plan_only: bool) -> None:
        self.trial: CandidateTrial | None = None
        self.log = DecisionLog(session.clock, governance.governing.environment.mode, session.add)
        self._session = session
        self._governance = governance
        self._governing = governance.governing
        self._tokens = tokens
        self.plan_only = plan_only
        self._lock = threading.Lock()
        self._is_judged = False
        self._closed: RunBlocked | PlanKnown | None = None
        self._nodes: Sequence[Any] = ()

    def pass_through(self, selected: frozenset[str] | None) -> None:
        """Judge the run, once; threads that come meanwhile wait.

        Args:
            selected: Ids of what is about to run; None where that is not known, and then it is the whole project.

        Raises:
            RunBlocked: It must not go on; said again to whoever asks again.
            PlanKnown: It was only to be judged, and would not be refused.
        """
        with self._lock:
            if self._closed is not None:
                raise self._closed
            if self._is_judged:
                return
            self._is_judged = True
            try:
                self._judge(selected)
                if self.plan_only:
                    raise PlanKnown({"outcome": "nothing_held"})
            except (RunBlocked, PlanKnown) as exc:
                self._closed = exc
                raise
            except Exception as exc:  # noqa: BLE001 - it is refused or counted, never passed over
                self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        """What cannot be judged: refused where the environment enforces, recorded elsewhere."""
        if not (self._governing.enforces or self.plan_only):
            self._session.degrade("gate", exc)
            return
        if isinstance(exc, ClyraError):
            code, reason = exc.code, exc.message
        else:
            code, reason = "internal_error", f"the gate failed: {type(exc).__name__}"
        self._closed = RunBlocked(Refusal(code, reason))
        raise self._closed from exc

    def _judge(self, selected: frozenset[str] | None) -> None:
        policy = self._loaded_policy()
        if policy is None:
            return
        dbt = self._session.dbt
        self._nodes = _nodes.chosen(dbt.manifest, selected) if dbt.operation is None else ()
        self._check_exposure(policy)
        self._check_pin(policy)
        self._check_earlier_tests(policy)
        plan = self._plan(policy)
        self._governance.set_plan(plan)
        known = self._known(policy, self._presented(policy, plan))
        judged = judge(policy, *known, environment=self._governing.environment, today=self._today())
        self._try_candidate(policy, known, judged)
        if self._governing.enforces:
            self._enforce(policy, judged, plan)
        else:
            self._record(policy, judged, "shadow")

    def _enforce(self, policy: LoadedPolicy, judged: Judged, plan: DbtPlan) -> None:
        decision = judged.decision
        if decision.shadow_effect != decision.effect:
            self._record(policy, judged, "shadow")
        checkpoint = policy.compiled.checkpoint_at("before_run", judged.run_facts, self._today())
        if checkpoint is None and not holding_rules(decision):
            self._record(policy, judged, "enforce")
            return
        # Only runs that are held pay for these.
        from clyra.dbt._held_run import HeldRun, with_checkpoint

        if checkpoint is not None:
            decision = with_checkpoint(decision, checkpoint)
        held = HeldRun(
            self._session,
            self._governance,
            policy,
            self.log,
            judged,
            decision=decision,
            holding=holding_rules(decision),
            checkpoint=checkpoint,
            plan=plan,
            nodes=self._nodes,
        )
        if self._tokens.has_approval and not self.plan_only:
            held.lift(self._tokens)
        else:
            held.ask(plan_only=self.plan_only)

    def _record(self, policy: LoadedPolicy, judged: Judged, mode: Any) -> None:
        members = self.log.members(
            judged.decision,
            self.log.new_id(),
            policy_sha256=policy.sha256,
            risk=judged.risk["score"],
            mode=mode,
            nodes=judged.nodes,
        )
        self.log.add(members)

    def _loaded_policy(self) -> LoadedPolicy | None:
        fault = self._governing.fault
        if fault is None:
            return self._governing.policy
        problems = problems_of(fault)[:_MOST_PROBLEMS]
        if self._governing.enforces or self.plan_only:
            raise RunBlocked(
                Refusal(
                    fault.code,
                    "the policy does not load, and a run that it would govern cannot be judged",
                    steps=[*problems, "correct the policy; clyra policy lint checks it"],
                )
            )
        self._session.degrade("policy", fault, details=problems)
        return None

    def _check_exposure(self, policy: LoadedPolicy) -> None:
        """A token whose variable project code names was exposed, or would be the next time."""
        dbt = self._session.dbt
        names = exposing_names(dbt.environment_names, getattr(dbt.manifest, "env_vars", None) or ())
        if names:
            self._refuse_or_record(
                policy,
                Refusal(
                    "approval_token_exposed",
                    f"project code reads {' and '.join(names)}, which may hold a token",
                    steps=["take it out of profiles.yml, dbt_project.yml and the models, and mint another token"],
                ),
            )

    def _check_pin(self, policy: LoadedPolicy) -> None:
        if not self._governing.enforces:
            return
        environment = self._governing.environment.name
        from clyra.approval.trust_file import is_pinned, read_trust_file

        found = read_trust_file(self._session.folder.project_root, self._session.environ)
        if found is not None and not is_pinned(found[1], policy.sha256, environment):
            self._refuse_or_record(
                policy,
                Refusal(
                    "policy_not_pinned",
                    f"the trust file pins other policies for {environment} than {policy.sha256[:12]}",
                    steps=["have this policy pinned in the trust file, or run with the one that is"],
                ),
            )

    def _check_earlier_tests(self, policy: LoadedPolicy) -> None:
        """Let nothing follow a test of this run that failed, unless it runs again now."""
        identity = self._session.identity
        if not (self._governing.test_failures_block and identity.joined):
            return
        failed = _failed_tests.remembered(self._session.folder.journal_dir, identity.run_id)
        again = {str(node.unique_id) for node in self._nodes if str(node.resource_type) in _nodes.TESTS}
        left = [name for name in failed if not (again if name.startswith(_failed_tests.RULE) else name in again)]
        if left:
            self._refuse_or_record(
                policy,
                Refusal(
                    "tests_failed",
                    f"tests of the run {identity.run_id} have failed",
                    nodes=left,
                    steps=["correct what they found, and run them again under this CLYRA_RUN_ID"],
                ),
            )

    def _refuse_or_record(self, policy: LoadedPolicy, refusal: Refusal) -> None:
        self.log.add_own(refusal.code, point=POINT, policy_sha256=policy.sha256)
        if self._governing.enforces:
            raise RunBlocked(refusal)

    def _plan(self, policy: LoadedPolicy) -> DbtPlan:
        session = self._session
        terms = policy.document["enforcement"]["approvals"]
        tree = session.build.clean_tree if terms["tree_binding"] else None
        return plan_of(session.dbt, self._nodes, tree=tree, bind_vars=bool(terms["bind_vars"]))

    def _presented(self, policy: LoadedPolicy, plan: DbtPlan) -> Presented:
        """The approval, for rules that ask about it. One that is refused counts as none: it is refused again later."""
        asks = any(name.startswith("approvals.") for name in policy.compiled.needs(POINT))
        if not (asks and self._governing.enforces and self._tokens.has_approval):
            return Presented()
        from clyra.dbt import _approval
        from clyra.dbt._held_run import circumstances

        try:
            here = circumstances(self._session, policy, self._nodes)
            return _approval.accept(self._tokens.approval(), plan, frozenset(), here).presented
        except ClyraError:
            return Presented()

    def facts_of_run(self, policy: LoadedPolicy, point: str) -> Facts:
        """What is known of the run that rules at ``point`` may ask for."""
        return self._known(policy, Presented())[0].gather(policy.compiled.needs(point))

    def _known(self, policy: LoadedPolicy, presented: Presented) -> tuple[RunFacts, NodeFacts, Planned]:
        session, dbt = self._session, self._session.dbt
        now, off_hours = aware(session.clock.now_us()), policy.document["enforcement"]["off_hours"]
        facts = RunFacts(
            dbt,
            self._nodes,
            build=session.build,
            actor=session.identity.actor,
            environment=self._governing.environment,
            environ=session.environ,
            now=now,
            off_hours=off_hours,
            presented=presented,
            is_interactive=sys.stdin is not None and sys.stdin.isatty(),
        )
        of_nodes = NodeFacts(self._nodes, system=dbt.adapter_type or "", trust=self._trust_in_inputs)
        planned = Planned(self._nodes, dbt.operation is not None, dbt.target_name, is_off_hours(off_hours, now))
        return facts, of_nodes, planned

    def _trust_in_inputs(self) -> Mapping[str, int]:
        from clyra.policy.lineage import own_values, trust_in_inputs

        dbt = self._session.dbt
        outcomes = [
            _nodes.without_outcome(dbt.manifest, node.unique_id, _nodes.status_if_well(node)) for node in self._nodes
        ]
        known = _nodes.trusted_lineage(
            dbt.manifest,
            outcomes,
            run_id=self._session.identity.run_id,
            system=dbt.adapter_type or "unknown",
            enforced=self._governing.enforces,
        )
        return trust_in_inputs(known, own_values(known))

    def _try_candidate(self, policy: LoadedPolicy, known: tuple[RunFacts, NodeFacts, Planned], judged: Judged) -> None:
        shadow = policy.document["enforcement"]["shadow"]
        if shadow["candidate"] is None or self._governing.path is None:
            return
        from clyra.dbt._candidate import CandidateTrial

        session = self._session
        self.trial = CandidateTrial.begin(
            self._governing.path.parent / str(shadow["candidate"]),
            known,
            judged,
            environment=self._governing.environment,
            today=self._today(),
            queue=int(shadow["queue"]),
            labels={"run_id": session.identity.run_id, "invocation_id": session.dbt.invocation_id},
            environ=session.environ,
        )

    def _today(self) -> date:
        return aware(self._session.clock.now_us()).date()
