# SPDX-License-Identifier: Apache-2.0
"""The questions of ``clyra policy wizard``: with arrow keys where questionary is installed, else in words.

What a flag has answered is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import click

from clyra.cli._policy_place import plural
from clyra.cli._policy_wizard import FRAMEWORKS, HOURS_EXAMPLE, hours_of
from clyra.policy.wizard import with_personal, with_production
from clyra.spec import ConfigurationError

if TYPE_CHECKING:
    from clyra.policy.project import Project
    from clyra.policy.wizard import Answers

Check = Callable[[str], str | None]
"""Says what is wrong with a text, or None."""


class Prompts(Protocol):
    """The three kinds of questions there are; each raises ``click.Abort`` where somebody gives up."""

    def one(self, question: str, choices: Sequence[tuple[str, str]]) -> str:
        """One of ``choices`` (value, text); the first is the default."""

    def many(self, question: str, choices: Sequence[str], chosen: Collection[str]) -> list[str]:
        """Any of ``choices``; ``chosen`` are ticked already."""

    def text(self, question: str, default: str, check: Check) -> str:
        """A text that passes ``check``."""


def ask(answers: Answers, project: Project, given: Collection[str], prompts: Prompts | None = None) -> Answers:
    """The answers of whoever sits at the terminal, beginning with those that are suggested.

    Args:
        answers: What to suggest.
        project: What is known of the project.
        given: Questions that a flag has answered.
        prompts: How to ask.
    """
    prompts = prompts or _prompts()
    for question, put in _QUESTIONS.items():
        if question not in given:
            answers = put(answers, project, prompts)
    return answers


def _ask_production(answers: Answers, project: Project, prompts: Prompts) -> Answers:
    question = "Which dbt targets are production?"
    if project.targets:
        chosen = prompts.many(question, list(project.targets), answers.production)
    else:
        chosen = _words(prompts.text(question, ", ".join(answers.production), _anything))
    return with_production(answers, project, chosen)


def _ask_mode(answers: Answers, _project: Project, prompts: Prompts) -> Answers:
    choices = [
        ("shadow", "shadow: refuse nothing, record what would have been refused"),
        ("enforce", "enforce: refuse from the first run on"),
    ]
    return replace(answers, mode=cast("Any", prompts.one("What should the policy do there?", choices)))


def _ask_personal(answers: Answers, project: Project, prompts: Prompts) -> Answers:
    found = f" ({plural(len(project.personal), 'node')} found)" if project.models is not None else ""
    question = f"Which tags or labels mark personal data?{found}"
    return with_personal(answers, _words(prompts.text(question, ", ".join(answers.personal), _anything)))


def _ask_approvers(answers: Answers, project: Project, prompts: Prompts) -> Answers:
    if not project.approvers:
        return answers
    chosen = prompts.many(
        "Who approves? (keys of role approver in clyra.trust.json)", project.approvers, project.approvers
    )
    return replace(answers, approvers=tuple(chosen))


def _ask_two(answers: Answers, _project: Project, prompts: Prompts) -> Answers:
    choices = [("one", "one"), ("two", "two")]
    return replace(answers, two_approvers=prompts.one("How many people does an approval need?", choices) == "two")


def _ask_hours(answers: Answers, _project: Project, prompts: Prompts) -> Answers:
    text = prompts.text(f"Working hours, like {HOURS_EXAMPLE}? (empty: no rule on them)", "", _hours_fault)
    return replace(answers, off_hours=hours_of(text) if text.strip() else None)


def _ask_frameworks(answers: Answers, _project: Project, prompts: Prompts) -> Answers:
    return replace(answers, frameworks=tuple(prompts.many("Which frameworks apply?", FRAMEWORKS, answers.frameworks)))


# By the name of the flag that answers it.
_QUESTIONS: dict[str, Callable[[Answers, Project, Prompts], Answers]] = {
    "production": _ask_production,
    "mode": _ask_mode,
    "personal": _ask_personal,
    "approvers": _ask_approvers,
    "two_approvers": _ask_two,
    "hours": _ask_hours,
    "frameworks": _ask_frameworks,
}


def _anything(_text: str) -> None:
    return None


def _hours_fault(text: str) -> str | None:
    try:
        if text.strip():
            hours_of(text)
    except ConfigurationError as exc:
        return exc.message
    return None


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _prompts() -> Prompts:
    try:
        import questionary
    except ImportError:
        return PlainPrompts()
    return _ArrowPrompts(questionary)


class PlainPrompts:
    """Questions in words: what any terminal can do."""

    def one(self, question: str, choices: Sequence[tuple[str, str]]) -> str:
        """One of ``choices``."""
        for _, text in choices:
            click.echo(f"  {text}")
        values = [value for value, _ in choices]
        return str(click.prompt(question, default=values[0], type=click.Choice(values)))

    def many(self, question: str, choices: Sequence[str], chosen: Collection[str]) -> list[str]:
        """Any of ``choices``, typed with blanks or commas between them; ``none`` for none."""
        click.echo(f"  {', '.join(choices)}")
        default = ", ".join(choice for choice in choices if choice in chosen) or "none"
        while True:
            words = _words(click.prompt(question, default=default))
            if words == ["none"]:
                return []
            unknown = [word for word in words if word not in choices]
            if not unknown:
                return words
            click.echo(f"  {unknown[0]} is not among them")

    def text(self, question: str, default: str, check: Check) -> str:
        """A text that passes ``check``."""
        while True:
            text = str(click.prompt(question, default=default, show_default=bool(default)))
            fault = check(text)
            if fault is None:
                return text
            click.echo(f"  {fault}")


class _ArrowPrompts:
    """Questions with arrow keys."""

    def __init__(self, questionary: Any) -> None:
        self._ask = questionary

    def one(self, question: str, choices: Sequence[tuple[str, str]]) -> str:
        offered = [self._ask.Choice(text, value=value) for value, text in choices]
        return str(_answered(self._ask.select(question, choices=offered)))

    def many(self, question: str, choices: Sequence[str], chosen: Collection[str]) -> list[str]:
        offered = [self._ask.Choice(choice, checked=choice in chosen) for choice in choices]
        return list(_answered(self._ask.checkbox(question, choices=offered)))

    def text(self, question: str, default: str, check: Check) -> str:
        def is_sound(text: str) -> bool | str:
            return check(text) or True

        return str(_answered(self._ask.text(question, default=default, validate=is_sound)))


def _answered(prompt: Any) -> Any:
    answer = prompt.ask(kbi_msg="")
    if answer is None:
        raise click.Abort
    return answer
