# SPDX-License-Identifier: Apache-2.0
"""The rules that the wizard may propose, each with the cases that hold it to its word.

A rule comes with cases for every way in which it could be wrong: it holds, it just does not hold in each of its
conditions, a fact of it is unknown. Cases start from facts under which no rule has a say, and change a few of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clyra.policy.effect import Effect

if TYPE_CHECKING:
    from clyra.policy.wizard import Answers

Value = bool | int | str | tuple[str, ...] | None
"""What a case gives for a fact; None makes it unknown."""

Condition = tuple[str, str, Value]

QUIET: Mapping[str, Value] = {
    "env.production": True,
    "env.change_freeze": False,
    "env.off_hours": False,
    "actor.kind": "service",
    "actor.first_time": False,
    "change.full_refresh": False,
    "change.dirty": False,
    "dbt.resource_type": "model",
    "data.personal": False,
    "dbt.has_tests": True,
    "dbt.contract_enforced": True,
    "dbt.tags": ("nightly",),
    "data.labels": (),
    "dbt.tests_failed": 0,
    "dbt.tests_not_run": 0,
    "action.sql_rules": (),
}
"""An ordinary run in production, by a known service, of what was committed: no rule of the wizard has a say."""


@dataclass(frozen=True, slots=True)
class Example:
    """A case: what differs from the quiet facts, and whether the rule has a say then."""

    name: str
    given: Mapping[str, Value]
    says: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule with its reason and its cases.

    Attributes:
        id: Its id.
        effect: Its effect.
        title: What it asks for, one line.
        why: A comment for the file.
        when: All of these must hold; a list is a group of which any must.
        fix: What to do when it says no.
        point: Where its cases are judged.
        examples: Its cases.
        on_missing: What it does where a fact is unknown; None: its effect.
    """

    id: str
    effect: Effect
    title: str
    why: str
    when: Sequence[Condition | Sequence[Condition]]
    fix: str
    examples: Sequence[Example]
    point: str = "run"
    on_missing: str | None = None


OWN_MARKS = ("pii", "personal")
"""Tags and labels by which the fact ``data.personal`` is true."""

_PRODUCTION: Condition = ("env.production", "eq", True)


def proposals(answers: Answers) -> Iterator[Proposal]:
    """The rules that fit what was answered, in the order of the file."""
    yield _committed()
    yield _full_refresh()
    yield _personal(answers.personal)
    yield _dropped()
    yield _tests_not_run()
    yield _first_time()
    yield _agents()
    yield _change_freeze()
    if answers.off_hours is not None:
        yield _off_hours()


def _committed() -> Proposal:
    dirty: dict[str, Value] = {"change.dirty": True}
    return Proposal(
        "x_production_uncommitted",
        "block",
        "Production runs what was committed",
        "Evidence names a git tree. With uncommitted changes no tree says what ran.",
        [_PRODUCTION, ("change.dirty", "eq", True)],
        "commit the changes, or run a development target; in images without git use clyra dbt stamp",
        [
            Example("uncommitted changes do not reach production", dirty, True),
            Example("committed code does", {}, False),
            Example("elsewhere uncommitted changes are fine", {**dirty, "env.production": False}, False),
            Example("without git nobody knows, so it is refused", {"change.dirty": None}, True),
        ],
    )


def _full_refresh() -> Proposal:
    refresh: dict[str, Value] = {"change.full_refresh": True}
    return Proposal(
        "x_production_full_refresh",
        "require_approval",
        "A full refresh of production is approved first",
        "It drops and rebuilds incremental tables: history that upstream no longer has is gone.",
        [_PRODUCTION, ("change.full_refresh", "eq", True)],
        "run without --full-refresh, or have it approved",
        [
            Example("a full refresh of production waits for an approval", refresh, True),
            Example("an ordinary build does not", {}, False),
            Example("a full refresh of development does not", {**refresh, "env.production": False}, False),
            Example("an environment that nobody knows counts as production", {**refresh, "env.production": None}, True),
        ],
    )


def _personal(marks: Sequence[str]) -> Proposal:
    # `data.personal` looks for these two by itself.
    own = tuple(mark for mark in marks if mark not in OWN_MARKS)
    is_personal: list[Condition] = [("data.personal", "eq", True)]
    if own:
        is_personal += [("dbt.tags", "has_any", own), ("data.labels", "has_any", own)]
    bare: dict[str, Value] = {"dbt.has_tests": False, "dbt.contract_enforced": False}
    personal: dict[str, Value] = {**bare, "data.personal": True}
    examples = [
        Example("personal data without test and contract waits", personal, True),
        Example("data that is not personal does not", bare, False),
        Example("a test is enough", {**personal, "dbt.has_tests": True}, False),
        Example("a contract is enough", {**personal, "dbt.contract_enforced": True}, False),
        Example("a test of personal data needs no test", {**personal, "dbt.resource_type": "test"}, False),
        Example("a snapshot of personal data does", {**personal, "dbt.resource_type": "snapshot"}, True),
        Example("so does a seed", {**personal, "dbt.resource_type": "seed"}, True),
        Example("in development nobody waits", {**personal, "env.production": False}, False),
        Example("what nobody knows to be harmless counts as personal", {**bare, "data.personal": None}, True),
    ]
    for mark in own:
        examples.append(Example(f"the tag {mark} makes data personal", {**bare, "dbt.tags": (mark,)}, True))
        examples.append(Example(f"the label {mark} does too", {**bare, "data.labels": (mark,)}, True))
    return Proposal(
        "x_personal_data_untested",
        "require_approval",
        "Relations with personal data have a test or a contract",
        f"Personal is what has the tag or label {_listed([*OWN_MARKS, *own])}, on the model or on a column.",
        [
            _PRODUCTION,
            ("dbt.resource_type", "in", ("model", "seed", "snapshot")),
            is_personal if own else is_personal[0],
            ("dbt.has_tests", "eq", False),
            ("dbt.contract_enforced", "eq", False),
        ],
        "add a data test or an enforced contract, and use dbt build, which runs the tests too",
        examples,
    )


def _dropped() -> Proposal:
    drop: dict[str, Value] = {"action.sql_rules": ("drop_relation",)}
    return Proposal(
        "x_drop_tested_relation",
        "require_approval",
        "Relations that have tests are not dropped in passing",
        "Somebody relies on what is tested. What dbt itself drops and renames while it builds is not meant.",
        [
            _PRODUCTION,
            ("action.sql_rules", "has_any", ("drop_relation", "drop_cascade")),
            ("dbt.has_tests", "eq", True),
        ],
        "rename the relation first, and drop it after a release; or have it approved",
        [
            Example("dropping a tested relation waits", drop, True),
            Example("so does dropping it with all that depends on it", {"action.sql_rules": ("drop_cascade",)}, True),
            Example("inserting into it is fine", {}, False),
            Example("one without tests may be dropped", {**drop, "dbt.has_tests": False}, False),
            Example("in development any may", {**drop, "env.production": False}, False),
            Example("so does a statement that nobody could read", {"action.sql_rules": None}, True),
        ],
        point="statement",
    )


def _tests_not_run() -> Proposal:
    return Proposal(
        "x_tests_not_run",
        "warn",
        "Tests that were selected do run",
        "A test is skipped when what it reads failed. Failed tests block by themselves (test_failures_block, above).",
        [_PRODUCTION, ("dbt.tests_not_run", "gt", 0)],
        "look for the node that failed first",
        [
            Example("one skipped test is worth a warning", {"dbt.tests_not_run": 1}, True),
            Example("none is not", {}, False),
            Example("in development it is not", {"dbt.tests_not_run": 1, "env.production": False}, False),
            Example("not to know is worth a warning", {"dbt.tests_not_run": None}, True),
        ],
        point="tests",
    )


def _first_time() -> Proposal:
    first: dict[str, Value] = {"actor.first_time": True}
    return Proposal(
        "x_first_time_actor",
        "warn",
        "Somebody runs production for the first time",
        "Usually a new colleague or a new deploy job. If it is neither, you want to know.",
        [_PRODUCTION, ("actor.first_time", "eq", True)],
        "nothing, if you expected it",
        [
            Example("a first run in production is worth a warning", first, True),
            Example("the second is not", {}, False),
            Example("a first run in development is not", {**first, "env.production": False}, False),
            Example("where no history is at hand nobody is told", {"actor.first_time": None}, False),
        ],
        on_missing="ignore",
    )


def _agents() -> Proposal:
    agent: dict[str, Value] = {"actor.kind": "agent"}
    return Proposal(
        "x_agent_in_production",
        "require_approval",
        "A person approves what an agent does to production",
        "An agent says so itself (CLYRA_ACTOR_ID=agent:name); it never counts as an approver.",
        [_PRODUCTION, ("actor.kind", "eq", "agent")],
        "have it approved, or let the agent open a pull request",
        [
            Example("an agent waits for a person", agent, True),
            Example("a deploy job does not", {}, False),
            Example("a person does not", {"actor.kind": "human"}, False),
            Example("an agent may try things in development", {**agent, "env.production": False}, False),
            Example("a job of which nobody knows what starts it does not", {"actor.kind": None}, False),
        ],
        on_missing="ignore",
    )


def _change_freeze() -> Proposal:
    freeze: dict[str, Value] = {"env.change_freeze": True}
    return Proposal(
        "x_change_freeze",
        "require_approval",
        "During a change freeze every run is approved",
        "Set change_freeze: true above for the time of the freeze.",
        [("env.change_freeze", "eq", True)],
        "wait for the end of the freeze, or have it approved",
        [
            Example("in a freeze every run waits", freeze, True),
            Example("without one it does not", {}, False),
            Example("not to know is to be in one", {"env.change_freeze": None}, True),
        ],
    )


def _off_hours() -> Proposal:
    late: dict[str, Value] = {"env.off_hours": True, "actor.kind": "human"}
    return Proposal(
        "x_person_off_hours",
        "warn",
        "A person runs production outside working hours",
        "Scheduled jobs run at night; people seldom do.",
        [_PRODUCTION, ("env.off_hours", "eq", True), ("actor.kind", "eq", "human")],
        "nothing, if you are on call",
        [
            Example("a person at night is worth a warning", late, True),
            Example("a scheduled job at night is not", {"env.off_hours": True}, False),
            Example("a person by day is not", {"actor.kind": "human"}, False),
            Example("a person at night in development is not", {**late, "env.production": False}, False),
            Example("without the time zone nobody is told", {**late, "env.off_hours": None}, False),
        ],
        on_missing="ignore",
    )


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
