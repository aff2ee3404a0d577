# SPDX-License-Identifier: Apache-2.0
"""Random policies and facts: the engine against a naive interpreter, its laws, and the analysis against z3.

The gate runs a part. ``pytest -m fuzz packages/policy`` runs 100,000 decisions and 1,000 policies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import date
from random import Random
from typing import Any

import pytest

from clyra.policy.analyze import Finding, analyze
from clyra.policy.effect import RANK
from clyra.policy.engine import CompiledPolicy, compile_policy
from clyra.spec import read_json

Document = dict[str, Any]
Values = dict[str, Any]

FACTS: Mapping[str, Any] = read_json("policy/facts.json")["facts"]
STAGES: list[str] = read_json("policy/facts.json")["stages"]
TODAY = date(2026, 11, 22)
EFFECTS = ("allow", "warn", "require_approval", "block")
SECTIONS = ("data_platform", "genai_security", "voice_compliance")
POINTS = ("run", "statement", "tests")
SHORT, FULL = 20_000, 100_000
SHORT_ANALYSES, FULL_ANALYSES = 40, 1_000
FACTS_PER_POLICY = 20

# Few facts with few values, so that conditions meet; of every type, scope and kind.
VOCABULARY: Mapping[str, tuple[Any, ...]] = {
    "env.production": (True, False),
    "change.full_refresh": (True, False),
    "data.personal": (True, False),
    "change.models": (0, 1, 5, 10, 11),
    "lineage.trust": (0, 69, 70, 100),
    "dbt.target": ("prod", "dev"),
    "dbt.command": ("run", "build", "seed"),
    "actor.kind": ("human", "agent"),
    "change.branch": ("main", "mainline", "dev", ""),
    "dbt.relation": ("db.a.t", "db.a.u", "db.b.t"),
    "action.target": ("db.a.t", "db.b.t"),
    "dbt.tags": ("pii", "daily", "finance"),
    "change.materializations": ("table", "view"),
    "risk.score": (0, 25, 50, 81),
}
NODES = ("model.a", "model.b")
PARTS = (
    [{"field": "change.full_refresh", "op": "eq", "value": value} for value in (True, False)],
    [{"field": "change.models", "op": op, "value": 5} for op in ("lt", "ge")],
    [{"field": "dbt.tags", "op": op, "value": "pii"} for op in ("has", "lacks")],
)


class Maker:
    """Draws policies and facts."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def policy(self, *, rules: int = 8, waivers: int = 2) -> Document:
        pick = self.random.choice
        document: Document = {section: {"rules": []} for section in SECTIONS}
        for number in range(self.random.randint(1, rules)):
            if (rule := self.rule(number)) is not None:
                document[pick(SECTIONS)]["rules"].append(rule)
        document["waivers"] = [self.waiver(number, rules) for number in range(self.random.randint(0, waivers))]
        thresholds = [{"above": pick((10, 50, 80)), "effect": pick(EFFECTS)} for _ in range(self.random.randint(0, 3))]
        document["enforcement"] = {"risk": {"thresholds": thresholds}}
        return document

    def related(self, document: Document) -> None:
        """Add rules that lean on those that are there: narrower, the same, or the parts of one."""
        pick = self.random.choice
        rules = [rule for section in SECTIONS for rule in document[section]["rules"]]
        for number in range(20, 24 if rules else 20):
            rule = pick(rules)
            for part, extra in enumerate(pick(([[]], [[self.condition()]], [[each] for each in pick(PARTS)]))):
                when = [*rule["when"], *extra]
                if frozenset.intersection(*(points_of(field) for field in fields_of(when))):
                    changes = {"id": f"x_{number}{part}", "when": when, "effect": pick((rule["effect"], *EFFECTS))}
                    document[pick(SECTIONS)]["rules"].append({**rule, **changes})

    def rule(self, number: int) -> Document | None:
        """A rule, or None where its facts are supplied at no point together."""
        pick = self.random.choice
        when = [self.item() for _ in range(self.random.randint(1, 4))]
        if not frozenset.intersection(*(points_of(field) for field in fields_of(when))):
            return None
        rule = {
            "id": f"x_{number}",
            "effect": pick(EFFECTS),
            "mode": pick(("shadow", "enforce", "enforce")),
            "when": when,
        }
        if self.random.random() < 0.4:
            rule["on_missing"] = pick((*EFFECTS, "ignore"))
        return rule

    def item(self) -> Document:
        if self.random.random() < 0.25:
            return {"any": [self.condition() for _ in range(self.random.randint(1, 3))]}
        return self.condition()

    def condition(self) -> Document:
        field = self.random.choice(tuple(VOCABULARY))
        op = self.random.choice(tuple(OPERATORS[FACTS[field]["type"]]))
        return {"field": field, "op": op, "value": self.operand(field, op)}

    def operand(self, field: str, op: str) -> Any:
        words = VOCABULARY[field]
        if op == "exists":
            return self.random.random() < 0.5
        if op in ("size_lt", "size_ge"):
            return self.random.randint(0, 4)
        if op in ("in", "not_in", "has_any", "has_all"):
            return self.random.sample(words, self.random.randint(1, 2))
        word = self.random.choice(words)
        return word[: self.random.randint(1, 4)] if op == "prefix" else word

    def waiver(self, number: int, rules: int) -> Document:
        random = self.random
        named = [f"x_{random.randrange(rules)}" for _ in range(2)] + random.sample(
            ["risk_threshold"], random.randint(0, 1)
        )
        selectors = {
            "relations": random.sample(VOCABULARY["dbt.relation"], 2),
            "nodes": [random.choice(NODES)],
            "sources": ["s"],
            "when": [{"field": "env.production", "op": "eq", "value": random.random() < 0.5}],
        }
        chosen = random.sample(list(selectors), random.choice((1, 1, 2)))
        expires = random.choice(("2026-11-21", "2026-11-22", "2026-12-31"))
        return {"id": f"w{number}", "rules": named, "expires": expires, **{name: selectors[name] for name in chosen}}

    def facts(self) -> Values:
        random = self.random
        facts: Values = {}
        for field, words in VOCABULARY.items():
            if random.random() < 0.3:
                continue
            if FACTS[field]["type"] == "set":
                facts[field] = tuple(random.choices((*words, "other"), k=random.randint(0, 3)))
            else:
                facts[field] = random.choice(words)
            if random.random() < 0.03:
                # Not what was declared: no value at all.
                facts[field] = random.choice((1, True, "main", ("pii",), ["pii"], ("pii", 1), 1.5, None))
        if random.random() < 0.7:
            facts["dbt.node"] = random.choice(NODES)
        return facts


OPERATORS = {
    "bool": ("eq", "ne", "exists"),
    "integer": ("eq", "ne", "in", "not_in", "gt", "ge", "lt", "le", "exists"),
    "text": ("eq", "ne", "in", "not_in", "prefix", "exists"),
    "set": ("has", "lacks", "has_any", "has_all", "size_lt", "size_ge", "exists"),
}


def points_of(field: str) -> frozenset[str]:
    return frozenset(FACTS[field]["points"])


def is_judged(fields: list[str], point: str) -> bool:
    """Whether ``point`` supplies all the facts, and no earlier stage of the run did."""
    earlier = STAGES[: STAGES.index(point)] if point in STAGES else []
    supplies = [all(stage in FACTS[field]["points"] for field in fields) for stage in (*earlier, point)]
    return supplies[-1] and not any(supplies[:-1])


def fields_of(when: list[Document]) -> list[str]:
    return [condition["field"] for item in when for condition in item.get("any", [item])]


class Naive:
    """What a policy decides, read off its text word by word: 0 is false, 1 unknown, 2 true."""

    def __init__(self, document: Document, facts: Values) -> None:
        self.document = document
        self.facts = facts

    def decide(self, point: str, scope: str, score: int | None = None) -> Document:
        if score is not None:
            self.facts = {**self.facts, "risk.score": score}
        said: list[tuple[Any, ...]] = []
        missing: set[str] = set()
        expired: set[str] = set()
        for rule in self.rules(score):
            fields = fields_of(rule["when"])
            is_node = any(FACTS[field]["scope"] == "node" for field in fields)
            if not is_judged(fields, point):
                continue
            if ("risk.score" in fields) != (score is not None) or (scope, is_node) in (("run", True), ("node", False)):
                continue
            truth = self.all_of(rule["when"])
            effect = rule["effect"] if truth == 2 else rule.get("on_missing", rule["effect"])
            if truth == 0 or effect == "ignore":
                continue
            waiver = self.waiver(rule, expired)
            if waiver is not None:
                said.append((rule["id"], min(effect, "warn", key=EFFECTS.index), "waived", rule["mode"], waiver))
                continue
            said.append((rule["id"], effect, "matched" if truth == 2 else "unknown", rule["mode"], None))
            if truth == 1:
                missing |= self.wanted(rule["when"])
        return {
            "effect": max((each[1] for each in said if each[3] == "enforce"), key=EFFECTS.index, default="allow"),
            "shadow_effect": max((each[1] for each in said), key=EFFECTS.index, default="allow"),
            "rules": said,
            "missing": sorted(missing),
            "expired": sorted(expired),
        }

    def rules(self, score: int | None) -> Iterator[Document]:
        for section in SECTIONS:
            yield from self.document[section]["rules"]
        thresholds = self.document["enforcement"]["risk"]["thresholds"]
        passed = [each["effect"] for each in thresholds if score is not None and score > each["above"]]
        if passed:
            effect = max(passed, key=EFFECTS.index)
            when = [{"field": "risk.score", "op": "exists", "value": True}]
            yield {"id": "risk_threshold", "effect": effect, "mode": "enforce", "when": when}

    def all_of(self, when: list[Document]) -> int:
        return min(max(self.truth(each) for each in item.get("any", [item])) for item in when)

    def wanted(self, when: list[Document]) -> set[str]:
        branches = [item.get("any", [item]) for item in when]
        unknown = [branch for branch in branches if max(map(self.truth, branch)) == 1]
        return {each["field"] for branch in unknown for each in branch if self.truth(each) == 1}

    def truth(self, condition: Document) -> int:
        value, op, wanted = self.value(condition["field"]), condition["op"], condition["value"]
        if op == "exists":
            return 2 if (value is not None) == wanted else 0
        if value is None:
            return 1
        return 2 if holds(value, op, wanted) else 0

    def value(self, field: str) -> Any:
        value, fact = self.facts.get(field), FACTS[field]
        kind: type = {"bool": bool, "integer": int, "text": str, "set": tuple}[fact["type"]]
        if type(value) is not kind or ("values" in fact and value not in fact["values"]):
            return None
        if isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
            return None
        return value

    def waiver(self, rule: Document, expired: set[str]) -> str | None:
        late = []
        for waiver in self.document["waivers"]:
            if rule["id"] not in waiver["rules"] or "sources" in waiver or not self.selects(waiver, rule):
                continue
            if waiver["expires"] >= TODAY.isoformat():
                return str(waiver["id"])
            late.append(waiver["id"])
        expired.update(late)
        return None

    def selects(self, waiver: Document, rule: Document) -> bool:
        of_statement = any(field.startswith("action.") for field in fields_of(rule["when"]))
        relation = self.value("action.target" if of_statement else "dbt.relation")
        if "relations" in waiver and relation not in waiver["relations"]:
            return False
        if "nodes" in waiver and self.value("dbt.node") not in waiver["nodes"]:
            return False
        return "when" not in waiver or self.all_of(waiver["when"]) == 2


def holds(value: Any, op: str, wanted: Any) -> bool:
    return bool(MEANINGS[op](value, wanted))


MEANINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: value == wanted,
    "ne": lambda value, wanted: value != wanted,
    "in": lambda value, wanted: any(value == each for each in wanted),
    "not_in": lambda value, wanted: all(value != each for each in wanted),
    "gt": lambda value, wanted: value > wanted,
    "ge": lambda value, wanted: value >= wanted,
    "lt": lambda value, wanted: value < wanted,
    "le": lambda value, wanted: value <= wanted,
    "prefix": lambda value, wanted: value[: len(wanted)] == wanted,
    "has": lambda value, wanted: wanted in value,
    "lacks": lambda value, wanted: wanted not in value,
    "has_any": lambda value, wanted: any(each in value for each in wanted),
    "has_all": lambda value, wanted: all(each in value for each in wanted),
    "size_lt": lambda value, wanted: len(set(value)) < wanted,
    "size_ge": lambda value, wanted: len(set(value)) >= wanted,
}


def outcome(policy: CompiledPolicy, facts: Values, point: str, scope: Any, score: int | None) -> Document:
    if score is None:
        decision = policy.decide(point, facts, today=TODAY, scope=scope)
    else:
        decision = policy.decide_risk(point, facts, today=TODAY, score=score)
    return {
        "effect": decision.effect,
        "shadow_effect": decision.shadow_effect,
        "rules": [(each.id, each.effect, each.state, each.mode, each.waiver) for each in decision.rules],
        "missing": list(decision.missing),
        "expired": list(decision.expired_waivers),
    }


def compare_with_the_naive(cases: int, seed: int) -> None:
    make = Maker(Random(seed))
    seen: Counter[str] = Counter()
    for _ in range(cases // FACTS_PER_POLICY):
        document = make.policy()
        policy = compile_policy(document)
        for _ in range(FACTS_PER_POLICY):
            facts = make.facts()
            point, scope = make.random.choice(POINTS), make.random.choice(("all", "run", "node"))
            score = make.random.choice((None, None, 0, 51, 81, 100))
            scope = "all" if score is not None else scope
            expected = Naive(document, facts).decide(point, scope, score)
            found = outcome(policy, facts, point, scope, score)
            assert found == expected, json.dumps([document, facts, point], default=str)
            seen.update([found["effect"], *(each[2] for each in found["rules"])])
            seen["expired"] += bool(found["expired"])
    # The comparison is worth what it has met.
    wanted = (*EFFECTS, "matched", "unknown", "waived", "expired")
    assert all(seen[word] > cases // 500 for word in wanted), seen


def test_the_engine_decides_as_a_naive_interpreter_does() -> None:
    compare_with_the_naive(SHORT, seed=1)


@pytest.mark.fuzz
def test_the_engine_decides_as_a_naive_interpreter_does_a_hundred_thousand_times() -> None:
    compare_with_the_naive(FULL, seed=2)


def decisions(document: Document, facts: Values) -> Iterator[Document]:
    """What is decided at every point, before the risk is known and after."""
    policy = compile_policy(document)
    for point in POINTS:
        yield outcome(policy, facts, point, "all", None)
        yield outcome(policy, facts, point, "all", facts.get("risk.score", 0))


def ranks(document: Document, facts: Values) -> list[int]:
    return [RANK[each[kind]] for each in decisions(document, facts) for kind in ("effect", "shadow_effect")]


def all_at_least(stronger: list[int], weaker: list[int]) -> bool:
    return all(high >= low for high, low in zip(stronger, weaker, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_rule_that_is_added_never_weakens_the_effect(seed: int) -> None:
    make = Maker(Random(seed))
    changed = 0
    for _ in range(200):
        document, facts = make.policy(), sound(make.facts())
        added = deepcopy(document)
        if (rule := make.rule(99)) is None:
            continue
        rules = added[make.random.choice(SECTIONS)]["rules"]
        rules.insert(make.random.randint(0, len(rules)), rule)
        before, after = ranks(document, facts), ranks(added, facts)
        assert all_at_least(after, before), json.dumps([document, rule, facts])
        changed += before != after
    assert changed > 10


@pytest.mark.parametrize("seed", range(5))
def test_a_waiver_never_raises_an_effect(seed: int) -> None:
    make = Maker(Random(seed))
    changed = 0
    for _ in range(400):
        document, facts = make.policy(waivers=6), sound(make.facts())
        before, after = ranks({**document, "waivers": []}, facts), ranks(document, facts)
        assert all_at_least(before, after), json.dumps([document, facts])
        changed += before != after
    assert changed > 10


@pytest.mark.parametrize("seed", range(5))
def test_a_fact_that_is_removed_never_lowers_a_rule_below_its_on_missing(seed: int) -> None:
    make = Maker(Random(seed))
    unknown = 0
    for _ in range(300):
        document, facts = make.policy(waivers=0), sound(make.facts())
        gone = make.random.choice([name for name in VOCABULARY if name != "risk.score"])
        less = {name: value for name, value in facts.items() if name != gone}
        rules = {each["id"]: each for section in SECTIONS for each in document[section]["rules"]}
        for had, has in zip(decisions(document, facts), decisions(document, less), strict=True):
            said = {each[0]: each for each in has["rules"]}
            for name, effect, *_ in had["rules"]:
                rule = rules.get(name)
                if rule is None or asks_whether_known(rule, gone):
                    continue
                on_missing = rule.get("on_missing", rule["effect"])
                if name in said:
                    assert RANK[said[name][1]] >= min(RANK[effect], RANK.get(on_missing, 0))
                    unknown += said[name][2] == "unknown"
                else:
                    assert on_missing == "ignore", json.dumps([rule, facts, gone])
    assert unknown > 50


def asks_whether_known(rule: Document, field: str) -> bool:
    """``exists`` is the one operator to which a missing fact is an answer."""
    conditions = [condition for item in rule["when"] for condition in item.get("any", [item])]
    return any(condition["field"] == field and condition["op"] == "exists" for condition in conditions)


def sound(facts: Values) -> Values:
    """Without what is no value of its fact."""
    return {name: value for name, value in facts.items() if Naive({}, facts).value(name) is not None}


def compare_with_z3(policies: int, seed: int) -> Counter[str]:
    make = Maker(Random(seed))
    kinds: Counter[str] = Counter()
    for _ in range(policies):
        document = make.policy(rules=7)
        make.related(document)
        document["environments"] = {"prod": {"production": True, "targets": ["prod"]}}
        found = analyze(document, manifest=MANIFEST)
        assert found == analyze(document, manifest=MANIFEST, deep=True), json.dumps(document)
        kinds.update(finding.kind for finding in found)
        kinds["by several"] += sum(finding.kind == "shadowed" and len(finding.rules) > 2 for finding in found)
        nothing_is_lost_without(document, found, make)
    assert not kinds["undecided"]
    return kinds


def nothing_is_lost_without(document: Document, findings: Iterable[Finding], make: Maker) -> None:
    """Take all shadowed rules out together: no decision changes. And what cannot match never does."""
    shadowed = {finding.rules[0] for finding in findings if finding.kind == "shadowed"}
    never = {finding.rules[0] for finding in findings if finding.kind == "contradiction"}
    without = deepcopy(document)
    for section in SECTIONS:
        without[section]["rules"] = [rule for rule in document[section]["rules"] if rule["id"] not in shadowed]
    for _ in range(10 if shadowed or never else 0):
        facts = sound(make.facts())
        assert ranks(document, facts) == ranks(without, facts), json.dumps([document, sorted(shadowed), facts])
        for decision in decisions(document, facts):
            assert not never & {each[0] for each in decision["rules"] if each[2] == "matched"}


MANIFEST = {
    "metadata": {"adapter_type": "postgres"},
    "nodes": {
        name: {
            "unique_id": name,
            "resource_type": "model",
            "tags": tags,
            "relation_name": relation,
            "columns": {"email": {"tags": ["PII"]}},
        }
        for name, tags, relation in (("model.a", ["daily"], "db.a.t"), ("model.b", [], "db.c.t"))
    },
}


def test_the_analysis_finds_what_z3_finds() -> None:
    kinds = compare_with_z3(SHORT_ANALYSES, seed=3)
    wanted = ("contradiction", "dead_branch", "shadowed", "by several", "conflict", "gap")
    assert all(kinds[kind] for kind in wanted), kinds


@pytest.mark.fuzz
def test_the_analysis_finds_what_z3_finds_in_a_thousand_policies() -> None:
    compare_with_z3(FULL_ANALYSES, seed=4)
