# SPDX-License-Identifier: Apache-2.0
"""Read cases from a file, with the reader of policies: every fault has its line and column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from clyra.policy.cases import Case, Expected
from clyra.policy.conditions import known_value
from clyra.policy.effect import EFFECTS
from clyra.policy.engine import RISK_THRESHOLD
from clyra.policy.environment import environment_for
from clyra.policy.facts import decision_points, declared_facts
from clyra.policy.problem import PolicyInvalid, Problem
from clyra.policy.source import UNREADABLE, Fault, Path, did_you_mean, one_of, quoted

if TYPE_CHECKING:
    from clyra.policy.environment import Environment
    from clyra.policy.facts import FactValue

_PLACE_KEYS = ("point", "environment", "target", "today", "given")
_FILE_KEYS = (*_PLACE_KEYS, "cases")
_CASE_KEYS = ("name", *_PLACE_KEYS, "expect")
_EXPECT_KEYS = ("decision", "rules", "enforced")

_Report = Callable[[Fault], None]


def read_cases(
    data: bytes, *, name: str, environments: Mapping[str, Environment], rule_ids: Sequence[str]
) -> tuple[Case, ...]:
    """The cases in the bytes of a file.

    Args:
        data: The file.
        name: Its name, for messages.
        environments: Those of the policy; a case is in one by name or by its dbt target.
        rule_ids: Ids of the policy's rules.

    Raises:
        PolicyInvalid: There are faults; each says where it is.
    """
    from clyra.policy._yaml import read_yaml

    source = read_yaml(data, name)
    faults: list[Fault] = []
    reader = _CaseReader(environments, (*rule_ids, RISK_THRESHOLD), faults.append)
    cases = reader.cases_of(source.document) if source.complete else []
    problems: list[Problem] = [*source.problems, *source.locate(faults)]
    if problems:
        problems.sort(key=lambda each: (each.line, each.column))
        raise PolicyInvalid(
            f"{name} has {len(problems)} fault{'s' * (len(problems) > 1)}; the first is {problems[0]}",
            problems=problems,
            first_pass=None,
        )
    places = source.places
    return tuple(Case(**members, file=name, line=places[("cases", at)].value[0]) for at, members in enumerate(cases))


class _CaseReader:
    def __init__(self, environments: Mapping[str, Environment], rule_ids: Sequence[str], report: _Report) -> None:
        self.environments = environments
        self.rule_ids = rule_ids
        self.report = report

    def cases_of(self, document: object) -> list[dict[str, Any]]:
        shared = self._mapping(document, (), _FILE_KEYS, required=("cases",))
        if shared is None:
            return []
        shared_facts = self._given(shared.get("given"), ("given",), None)
        entries = shared.get("cases", UNREADABLE)
        if not isinstance(entries, list):
            self._fault("policy_type", "cases is a list", ("cases",), entries)
            return []
        cases = [self._case(entry, ("cases", at), shared, shared_facts) for at, entry in enumerate(entries)]
        self._unique(entries)
        return [case for case in cases if case is not None]

    def _unique(self, entries: Sequence[object]) -> None:
        seen: set[str] = set()
        for at, entry in enumerate(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in seen:
                self.report(Fault("policy_value", f"a second case {quoted(name)}", ("cases", at, "name")))
            elif isinstance(name, str):
                seen.add(name)

    def _case(
        self, entry: object, path: Path, shared: Mapping[str, Any], shared_facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        case = self._mapping(entry, path, _CASE_KEYS, required=("name", "expect"))
        if case is None:
            return None
        point = self._word({**shared, **case}.get("point", "run"), (*path, "point"), decision_points())
        own = self._given(case.get("given"), (*path, "given"), point)
        named: dict[str, str | None] = {"environment": None, "target": None}
        facts: dict[str, Any] = {}
        for holder, holder_path, given in ((shared, (), shared_facts), (case, path, own)):
            if holder.get("environment") is not None or holder.get("target") is not None:
                named = {name: self._text(holder.get(name), (*holder_path, name)) for name in named}
                facts |= self._environment_facts(named, holder_path)
            facts |= given
        return {
            "name": self._text(case.get("name"), (*path, "name")) or "",
            "point": point,
            "facts": _known_at(facts, point),
            "expected": self._expected(case.get("expect"), (*path, "expect")),
            **named,
            "today": self._day({**shared, **case}.get("today"), (*path, "today")),
            "own": own,
        }

    def _environment_facts(self, named: Mapping[str, str | None], path: Path) -> dict[str, Any]:
        name, target = named["environment"], named["target"]
        if name is not None and name not in self.environments:
            hint = did_you_mean(name, self.environments)
            message = f"environment {quoted(name)} is not in the policy{hint}"
            self.report(Fault("policy_environment", message, (*path, "environment")))
            return {}
        environ = {} if name is None else {"CLYRA_ENVIRONMENT": name}
        environment = environment_for(self.environments, target=target, environ=environ)
        if name is not None and target is not None and environment.name != name:
            message = f"target {quoted(target)} is in environment {environment.name}, not in {name}; leave one out"
            self.report(Fault("policy_environment", message, (*path, "environment")))
        facts = {
            "env.name": environment.name,
            "env.change_freeze": environment.change_freeze,
            "env.production": environment.production,
        }
        return facts if target is None else {**facts, "dbt.target": target}

    def _given(self, given: object, path: Path, point: str | None) -> dict[str, Any]:
        """The facts of a ``given``; those of the file are for several points, so ``point`` is None."""
        if given is None or given is UNREADABLE:
            return {}
        if not isinstance(given, dict):
            self._fault("policy_type", "given is facts by name, like change.dirty: true", path, given)
            return {}
        return {name: self._fact(name, value, (*path, name), point) for name, value in given.items()}

    def _fact(self, name: str, value: object, path: Path, point: str | None) -> FactValue | None:
        fact = declared_facts().get(name)
        if fact is None:
            hint = did_you_mean(name, declared_facts())
            self.report(Fault("policy_fact", f"fact {quoted(name)} is not declared{hint}", path, on_key=True))
            return None
        if point is not None and point not in fact.points:
            message = f"{name} is never known at point {point}; it is at {one_of(sorted(fact.points))}"
            self.report(Fault("policy_fact_point", message, path, on_key=True))
            return None
        if value is None or value is UNREADABLE:
            return None
        given: Any = tuple(value) if isinstance(value, list) else value
        if known_value(fact, given) is None:
            wanted = one_of(fact.values) if fact.values else {"set": "a list of texts"}.get(fact.type, f"a {fact.type}")
            hint = did_you_mean(value, fact.values) if fact.values else ""
            code = "policy_value" if fact.values and isinstance(value, str) else "policy_type"
            self.report(Fault(code, f"{name} is {quoted(value)}; expected {wanted}{hint}", path))
            return None
        return given  # type: ignore[no-any-return]  # its type was just compared

    def _expected(self, expect: object, path: Path) -> Expected:
        members = self._mapping(expect, path, _EXPECT_KEYS, required=("decision",)) or {}
        decision = self._word(members.get("decision", "allow"), (*path, "decision"), EFFECTS)
        enforced = members.get("enforced")
        if enforced is not None:
            enforced = self._word(enforced, (*path, "enforced"), EFFECTS)
        return Expected(decision, self._expected_rules(members.get("rules"), (*path, "rules")), enforced)

    def _expected_rules(self, rules: object, path: Path) -> dict[str, Any] | None:
        if rules is None or rules is UNREADABLE:
            return None
        if isinstance(rules, list):
            named = {str(name): (None, (*path, at)) for at, name in enumerate(rules)}
        elif isinstance(rules, dict):
            named = {name: (effect, (*path, name)) for name, effect in rules.items()}
        else:
            self._fault("policy_type", "rules is a list of ids, or effects by id", path, rules)
            return None
        for name, (effect, place) in named.items():
            if name not in self.rule_ids:
                hint = did_you_mean(name, self.rule_ids)
                message = f"the policy has no rule {quoted(name)}{hint}"
                self.report(Fault("policy_rule_id", message, place, on_key=isinstance(rules, dict)))
            if effect is not None:
                self._word(effect, place, EFFECTS)
        return {name: effect for name, (effect, _) in named.items()}

    def _mapping(
        self, value: object, path: Path, keys: Sequence[str], *, required: Sequence[str]
    ) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            self._fault("policy_type", f"expected the keys {one_of(keys)}", path, value)
            return None
        for name in value:
            if name not in keys:
                message = f"key {quoted(name)} is not known here; expected {one_of(keys)}{did_you_mean(name, keys)}"
                self.report(Fault("policy_key", message, (*path, name), on_key=True))
        for name in required:
            if name not in value:
                self.report(Fault("policy_missing_key", f"the key {quoted(name)} is missing", path))
        return value

    def _word(self, value: object, path: Path, words: Mapping[str, str] | Sequence[str]) -> Any:
        if value not in words and value is not UNREADABLE:
            message = f"{quoted(value)} is not known; expected {one_of(words)}{did_you_mean(value, words)}"
            self.report(Fault("policy_value", message, path))
        return value if value in words else next(iter(words))

    def _text(self, value: object, path: Path) -> str | None:
        if value is None or isinstance(value, str):
            return value
        self._fault("policy_type", f"{path[-1]} is a text", path, value)
        return None

    def _day(self, value: object, path: Path) -> date | None:
        if isinstance(value, str):
            try:
                return date.fromisoformat(value)
            except ValueError:
                pass
        if value is not None:
            self._fault("policy_time", 'today is a day in quotes, like "2027-01-31"', path, value)
        return None

    def _fault(self, code: str, message: str, path: Path, value: object) -> None:
        # What could not be read has its problem already.
        if value is not UNREADABLE:
            self.report(Fault(code, message, path))


def _known_at(facts: Mapping[str, Any], point: str) -> dict[str, FactValue]:
    declared = declared_facts()
    return {name: value for name, value in facts.items() if value is not None and point in declared[name].points}
