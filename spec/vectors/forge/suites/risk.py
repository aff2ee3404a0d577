# SPDX-License-Identifier: Apache-2.0
"""R, X02, X09, X10, M18: the policy of a bundle and the risk score that follows from it. Level full."""

from collections.abc import Iterator, Mapping
from typing import Any

from forge.bundle import Artifact, bundle
from forge.canonical import canonical, digest
from forge.case import Case, bundle_case
from forge.edits import DocumentEdit, Json, both, drop, put
from forge.journal import closed, decision, finished, node, run_events, started, statement
from forge.policy import POLICY, WEIGHTS, edited, governed_bundle, policy_document, rule
from forge.risk import FACTORS, Count, Scoring, inputs_digest, sql_rules

SQL_RULE = "delete_without_where"
ASSERTED, UNKNOWN = ("asserted",), ("unknown",)
HOURS = {"timezone": "Europe/Berlin", "days": ["mon", "tue"], "from": "08:00", "to": "18:00"}


def cases() -> Iterator[Case]:
    """Yield the suite."""
    yield from _statements()
    yield from _decisions()
    yield from _surroundings()
    yield from _scores()
    yield from _wrong_counts()
    yield from _wrong_flags()
    yield from _wrong_forms()
    yield from _wrong_sums()
    yield from _environments()
    yield from _policy_files()


def _good(id: str, description: str, *arguments: Any, **layers: Any) -> Case:
    return bundle_case(id, f"risk: {description}", governed_bundle(*arguments, **layers))


def _bad(id: str, description: str, *arguments: Any, code: str = "risk_mismatch", **layers: Any) -> Case:
    stage = "manifest" if code == "schema_invalid" else "semantics"
    what = "policy" if code == "policy_digest" else "risk"
    return bundle_case(id, f"{what}: {description}", governed_bundle(*arguments, **layers), code, stage)


def run(*events: Json, **members: Any) -> list[Json]:
    """Return a journal of these events."""
    told = [started(**members), *events, finished()]
    return [*told, closed(len(told) + 1)]


def _sent(*verbs: str, **members: Any) -> list[Json]:
    return run(*(statement(1_000_000 + number, verb, **members) for number, verb in enumerate(verbs)))


def _statements() -> Iterator[Case]:
    for letter, description, verbs in (
        ("a", "nothing changed", ("select", "begin", "commit")),
        ("b", "schema changed", ("create",)),
        ("c", "schema changed three times counts once", ("create", "alter", "drop")),
        ("d", "data changed", ("insert",)),
        ("e", "data changed three times counts once", ("insert", "update", "delete")),
        ("f", "a call is a change of data", ("call",)),
        ("g", "a verb that is not listed is a change of data", ("frobnicate",)),
        ("h", "rights changed", ("grant",)),
        ("i", "schema, data and rights changed", ("create", "merge", "revoke")),
        ("j", "DDL that writes nothing", ("analyze", "select")),
    ):
        yield _good(f"R01{letter}", description, _sent(*verbs))
    yield _good("R01k", "a statement that failed counts", _sent("insert", status="error"))


def outcome(id: str = "x_one", effect: str = "warn", **members: Any) -> Json:
    """Return an entry of a decision's ``rules``."""
    told = {"id": id, "effect": effect, "severity": "warning", "state": "matched", **members}
    return told | ({"waiver": "w1"} if told["state"] == "waived" else {})


def _decided(*outcomes: Json, effect: str = "warn", **members: Any) -> list[Json]:
    return run(decision(500_000, effect, rules=outcomes, **members), statement(1_000_000, "select"))


def _decisions() -> Iterator[Case]:
    critical = outcome("x_two", severity="critical")
    yield _good("R02a", "two warnings", _decided(outcome(), outcome("x_three")))
    yield _good("R02b", "a critical one and a warning", _decided(outcome(), critical))
    yield _good("R02c", "rules that could not be judged count", _decided(outcome(state="unknown")))
    yield _good("R02d", "waived rules do not count", _decided(outcome(state="waived"), critical))
    yield _good("R02e", "rules that allow do not count", _decided(outcome(effect="allow"), effect="allow"))
    yield _good("R02f", "information counts nothing", _decided(outcome(severity="info")))
    sql = outcome(SQL_RULE, severity="critical")
    assert SQL_RULE in sql_rules()
    yield _good("R02g", "a rule of SQL safety counts twice", _decided(sql))
    yield _good("R02h", "a rule of SQL safety, waived", _decided({**sql, "state": "waived", "waiver": "w1"}))
    twice = run(*(decision(500_000 + n, "warn", rules=[outcome()], id=f"d{n}") for n in range(2)))
    yield _good("R02i", "a rule in two decisions counts twice", twice)
    shadow = {"mode": "shadow"}
    yield _good("R02j", "shadow decisions of a run that enforces do not count", _decided(critical, **shadow))
    staging = run(decision(500_000, "warn", rules=[critical], **shadow), target_name="staging")
    yield _good("R02k", "shadow decisions of a run in shadow count", staging, mode="shadow", environment="staging")
    candidate = {**shadow, "policy_sha256": "0" * 64}
    beside = run(decision(500_000, "warn", rules=[critical], **candidate), target_name="staging")
    yield _good(
        "R02y", "what a candidate would have decided does not count", beside, mode="shadow", environment="staging"
    )
    enforced = _decided(critical, policy_sha256="0" * 64)
    yield _good("R02z", "a decision that was enforced counts, whatever policy it names", enforced)
    plain, late = _condition("action.verb"), _condition("risk.score")
    held = outcome("x_late", severity="critical")
    for letter, description, when in (
        ("l", "a rule on the score does not count", [late]),
        ("m", "a rule on the score among others does not count", [plain, late]),
        ("n", "a rule on the score in an alternative does not count", [{"any": [plain, late]}]),
        ("o", "a rule on other facts counts", [{"any": [plain, plain]}]),
    ):
        policy = edited(put("data_platform/rules", [rule("x_late", *when)]))
        yield _good(f"R02{letter}", description, _decided(held), policy=policy)
    voice = edited(put("voice_compliance/rules", [rule("x_late", late)]))
    yield _good("R02p", "a rule on the score of another section does not count", _decided(held), policy=voice)
    threshold = outcome("risk_threshold", severity="critical")
    yield _good("R02q", "the threshold itself does not count", _decided(threshold))


def _condition(field: str) -> Json:
    return {"field": field, "op": "gt", "value": 80}


def _surroundings() -> Iterator[Case]:
    weighted = edited(put("enforcement/risk/weights/check_passed", 7))
    tests = [("pass", "test"), ("pass", "unit_test"), ("fail", "test"), ("warn", "test"), ("pass", "model")]
    checked = run(*(node(2_000_000 + n, f"n{n}", kind, status=status) for n, (status, kind) in enumerate(tests)))
    yield _good("R03a", "tests that passed, where they weigh", checked, policy=weighted)
    dev = {"mode": "shadow", "environment": "dev"}
    yield _good("R03b", "not in production", run(target_name="dev"), **dev)
    unknown = {"mode": "shadow", "environment": "unknown"}
    yield _good("R03c", "target that no environment lists", run(target_name="elsewhere"), **unknown)
    yield _good("R03d", "no target, environment by its name", run(target_name=None), mode="enforce", environment="prod")
    yield _good("R03e", "no target, no environment", run(target_name=None), **unknown)
    yield _good("R03f", "raised to enforce", run(target_name="dev"), mode="enforce", environment="dev")
    hours = edited(put("enforcement/off_hours", HOURS))
    yield _good("R03g", "within the working hours", policy=hours)
    yield _good("R03h", "outside the working hours", policy=hours, scoring=_counting("off_hours", 1, ASSERTED))
    yield _good("X10a", "history not at hand, counted as unknown")
    yield _good("X10b", "earlier run of the actor asserted", scoring=_counting("first_time_actor", 0, ASSERTED))
    anomalous = edited(put("enforcement/risk/weights/anomaly", 4))
    for letter, count in (("a", 0), ("b", 6)):
        scoring = _counting("anomaly", count, ASSERTED)
        yield _good(f"X09{letter}", f"{count} anomalies asserted", policy=anomalous, scoring=scoring)


def _counting(name: str, count: int, flags: tuple[str, ...] = ()) -> Scoring:
    return Scoring(counts={name: (count, flags)})


def _scored(total: int) -> tuple[list[Json], Json]:
    """Return a run and a policy with which the score, uncapped, is ``total``."""
    policy = edited(*(put(f"enforcement/risk/weights/{name}", 0) for name in FACTORS if WEIGHTS[name]))
    return _sent("create"), both(put("enforcement/risk/weights/schema_change", total))(policy)


def _scores() -> Iterator[Case]:
    for number, total in enumerate((1, 24, 25, 49, 50, 80, 81, 99, 100, 101, 9_007_199_254_740_991)):
        events, policy = _scored(total)
        yield _good(f"R04{chr(97 + number)}", f"points {total}", events, policy=policy)
    nothing = both(*(put(f"enforcement/risk/weights/{name}", 0) for name in FACTORS if WEIGHTS[name]))
    yield _good("R04p", "nothing weighs", policy=nothing(policy_document()))
    huge = dict.fromkeys(("data_change", "schema_change"), 9007199254740991)
    heavy = edited(*(put(f"enforcement/risk/weights/{name}", weight) for name, weight in huge.items()))
    yield _good("R04q", "a sum beyond the integers of the profile", _sent("create", "insert"), policy=heavy)


def _wrong_counts() -> Iterator[Case]:
    """Yield each factor counted otherwise than the journal has it, all that follows made anew."""
    events = run(
        decision(500_000, "warn", rules=[outcome(SQL_RULE), outcome("x_two", severity="critical")]),
        *run_events()[1:-2],
        statement(3_600_000, "insert"),
        statement(3_700_000, "grant"),
    )
    weighted = edited(put("enforcement/risk/weights/check_passed", 1))
    wrong: Mapping[str, tuple[int, ...]] = {
        "approval_bypassed": (1,),
        "check_passed": (0, 2),
        "config_change": (0, 2),
        "data_change": (0, 2),
        "genai_detection": (1,),
        "production": (0, 2),
        "schema_change": (0, 2),
        "sql_safety_violation": (0, 2),
        "violation_critical": (0, 2),
        "violation_warning": (0, 2),
    }
    yield _good("X09d", "one of each", events, policy=weighted)
    number = 0
    for name, counts in wrong.items():
        for count in counts:
            yield _bad(
                f"X09e{number:02d}",
                f"{name} is {count}",
                events,
                policy=weighted,
                scoring=_counting(name, count),
            )
            number += 1
    for letter, description, verbs, name in (
        ("f", "DDL that writes nothing as a change", ("analyze",), "schema_change"),
        ("g", "a listed verb as a change of data", ("select",), "data_change"),
    ):
        yield _bad(f"X09{letter}", description, _sent(*verbs), scoring=_counting(name, 1))
    unlisted = _counting("data_change", 0)
    yield _bad("X09h", "a verb that is not listed counts", _sent("frobnicate"), scoring=unlisted)
    shadow = _decided(outcome(), mode="shadow")
    yield _bad("X09i", "shadow decision of a run that enforces", shadow, scoring=_counting("violation_warning", 1))
    waived = _decided(outcome(state="waived"))
    yield _bad("X09j", "waived rule counted", waived, scoring=_counting("violation_warning", 1))
    late = edited(put("data_platform/rules", [rule("x_one", _condition("risk.score"))]))
    yield _bad(
        "X09k", "rule on the score fed it", _decided(outcome()), policy=late, scoring=_counting("violation_warning", 1)
    )
    unknown = _decided(outcome(state="unknown"))
    yield _bad("X09l", "rule that could not be judged left out", unknown, scoring=_counting("violation_warning", 0))


def _wrong_flags() -> Iterator[Case]:
    hours = edited(put("enforcement/off_hours", HOURS))
    quiet = policy_document()
    table: tuple[tuple[str, str, str, Count, Json], ...] = (
        ("a", "derivable count asserted", "schema_change", (1, ASSERTED), quiet),
        ("b", "derivable count asserted away", "schema_change", (0, ASSERTED), quiet),
        ("c", "derivable count unknown", "data_change", (0, UNKNOWN), quiet),
        ("d", "violations asserted", "violation_warning", (0, ASSERTED), quiet),
        ("e", "production asserted", "production", (0, ASSERTED), quiet),
        ("f", "production unknown", "production", (1, UNKNOWN), quiet),
        ("g", "passed tests asserted", "check_passed", (1, ASSERTED), quiet),
        ("h", "detections asserted", "genai_detection", (0, ASSERTED), quiet),
        ("i", "bypassed approvals asserted", "approval_bypassed", (0, ASSERTED), quiet),
        ("j", "working hours, not asserted", "off_hours", (0, ()), hours),
        ("k", "working hours, unknown", "off_hours", (1, UNKNOWN), hours),
        ("l", "working hours, counted twice", "off_hours", (2, ASSERTED), hours),
        ("m", "no working hours, asserted", "off_hours", (0, ASSERTED), quiet),
        ("n", "no working hours, counted", "off_hours", (1, ASSERTED), quiet),
        ("o", "anomalies without saying that they are asserted", "anomaly", (3, ()), quiet),
        ("p", "anomalies unknown", "anomaly", (1, UNKNOWN), quiet),
        ("q", "anomalies asserted and unknown", "anomaly", (1, ("asserted", "unknown")), quiet),
    )
    for letter, description, name, (count, flags), policy in table:
        yield _bad(f"X09m{letter}", description, policy=policy, scoring=_counting(name, count, flags))
    for letter, description, count, flags in (
        ("c", "first run of the actor, neither derived nor asserted", 0, ()),
        ("d", "first run of the actor, not said to be unknown", 1, ()),
        ("e", "first run of the actor, asserted", 1, ASSERTED),
        ("f", "earlier run of the actor, unknown", 0, UNKNOWN),
        ("g", "first run of the actor, asserted and unknown", 1, ("asserted", "unknown")),
        ("h", "first run of the actor, twice", 2, UNKNOWN),
    ):
        yield _bad(f"X10{letter}", description, scoring=_counting("first_time_actor", count, flags))
    elsewhere = run(target_name="elsewhere")
    unknown = {"mode": "shadow", "environment": "unknown"}
    for letter, described, told in (("i", "not said to be unknown", (1, ())), ("j", "taken for none", (0, UNKNOWN))):
        scoring = Scoring(counts={"production": told})
        yield _bad(
            f"X10{letter}", f"production of an unknown target {described}", elsewhere, scoring=scoring, **unknown
        )


def _wrong_forms() -> Iterator[Case]:
    extra = {"factor": "zeal", "weight": 0, "count": 0, "points": 0}

    def without(name: str) -> Scoring:
        return Scoring(factors=lambda factors: [one for one in factors if one["factor"] != name])

    for number, name in enumerate(FACTORS):
        yield _bad(f"X09n{number:02d}", f"{name} left out", scoring=without(name))
    yield _bad("X09o", "factor that the method does not have", scoring=Scoring(factors=lambda told: [*told, extra]))
    twice = Scoring(factors=lambda told: [told[0], *told])
    yield _bad("X09p", "factor twice", scoring=twice)
    yield _bad("X09q", "factors in another order", scoring=Scoring(factors=lambda told: [*told[1:], told[0]]))
    yield _bad("X09r", "no factors", scoring=Scoring(factors=lambda _: []))
    for letter, name, weight in (("s", "schema_change", 29), ("t", "schema_change", 0), ("u", "off_hours", 2)):
        yield _bad(
            f"X09{letter}", f"weight of {name} is {weight}, not the policy's", scoring=Scoring(weights={name: weight})
        )
    negative = Scoring(edit=put("factors/0/weight", -1))
    yield _bad("X09v", "negative weight in the manifest", code="schema_invalid", scoring=negative)
    false_flag = Scoring(edit=put("factors/0/asserted", False))
    yield _bad("X09w", "flag that says no", code="schema_invalid", scoring=false_flag)
    policy = edited(put("enforcement/risk/weights/check_passed", -1))
    yield _bad(
        "X09x", "negative weight", code="policy_digest", policy=policy, scoring=Scoring(weights={"check_passed": 0})
    )
    yield _bad("X09y", "no risk under a policy", manifest=put("risk", None))
    told = Scoring().risk(run_events(), policy_document(), "enforce")
    unruled = bundle(manifest=put("risk", told))
    yield bundle_case("X09z", "risk: a score and no policy", unruled, "risk_mismatch", "semantics")


def _wrong_sums() -> Iterator[Case]:
    heavy = edited(put("enforcement/risk/weights/schema_change", 90))
    capped = Scoring(edit=put("score", 107))
    over = _sent("create", "insert")
    yield _bad("X02b", "score is not capped", over, policy=heavy, scoring=capped, code="schema_invalid")
    yield _bad("X02b2", "score is below the cap", over, policy=heavy, scoring=Scoring(edit=put("score", 99)))
    edits: tuple[tuple[str, str, DocumentEdit], ...] = (
        ("a", "score is not the sum", put("score", 35)),
        ("c", "points are not weight times count", _points),
        ("d", "band is another", put("band", "high")),
        ("e", "band of the next score", put("band", "low")),
        ("f", "inputs_sha256 of other factors", put("inputs_sha256", inputs_digest(WEIGHTS, []))),
        ("g", "inputs_sha256 of nothing", put("inputs_sha256", "0" * 64)),
    )
    for letter, description, edit in edits:
        yield _bad(f"X02{letter}", description, scoring=Scoring(edit=edit))
    plain = policy_document()
    told = Scoring().risk(run_events(), plain, "enforce")
    lighter = inputs_digest({**WEIGHTS, "anomaly": 1}, told["factors"])
    yield _bad("X02l", "inputs_sha256 of other weights", scoring=Scoring(edit=put("inputs_sha256", lighter)))
    for letter, total, band in (("h", 80, "critical"), ("i", 81, "high"), ("j", 24, "medium"), ("k", 50, "medium")):
        events, policy = _scored(total)
        scoring = Scoring(edit=put("band", band))
        yield _bad(f"X02{letter}", f"{total} is not {band}", events, policy=policy, scoring=scoring)


def _points(risk: Json) -> Json:
    """Return the risk with a point moved from one factor to another, all else as before."""
    factors = [dict(one) for one in risk["factors"]]
    by_name = {one["factor"]: one for one in factors}
    by_name["schema_change"]["points"] -= 1
    by_name["data_change"]["points"] += 1
    return {**risk, "factors": factors, "inputs_sha256": inputs_digest(WEIGHTS, factors)}


def _environments() -> Iterator[Case]:
    staging = run(target_name="staging")
    elsewhere = run(target_name="elsewhere")
    shadow = {"mode": "shadow"}
    yield _bad("R05a", "another environment than the target's", environment="staging")
    yield _bad("R05b", "target's environment not said", staging, environment="unknown", **shadow)
    yield _bad("R05c", "environment of a target that none lists", elsewhere, environment="dev", **shadow)
    yield _bad("R05d", "environment that does not exist", elsewhere, environment="test", **shadow)
    yield _bad(
        "R05e", "no target, environment that does not exist", run(target_name=None), environment="test", **shadow
    )
    yield _bad("R05f", "shadow where the policy enforces", **shadow)
    lowered = run(target_name=None)
    yield _bad("R05g", "shadow where the policy enforces, no target", lowered, environment="prod", **shadow)


def _policy_files() -> Iterator[Case]:
    good = policy_document()
    data = canonical(good)

    def case(id: str, description: str, *edits: DocumentEdit, code: str = "policy_digest", **layers: Any) -> Case:
        return _bad(id, description, code=code, manifest=both(*edits) if edits else None, **layers)

    yield case("M18b", "policy file is not the policy named", artifacts={POLICY: Artifact(data + b" ", "policy")})
    stray = bundle(artifacts={POLICY: Artifact(data, "policy")})
    yield bundle_case("M18d", "policy: file and no policy named", stray, "policy_digest", "semantics")
    absent = drop("files/2")
    yield case(
        "M18c",
        "policy named, its file not included",
        absent,
        code="risk_mismatch",
        entries=lambda e: _without(e, POLICY),
    )
    yield case("M18e", "another name", put("policy/name", "lakehouse"))
    yield case("M18f", "another version", put("policy/version", 2))
    began = [started(policy={"sha256": "0" * 64, "mode": "enforce"}), *run_events()[1:]]
    yield case("M18g", "run began under another policy", events=began)
    mode = [started(policy={"sha256": digest(data), "mode": "shadow"}), *run_events()[1:]]
    yield case("M18h", "run began in another mode", events=mode)
    taken = bundle(events=[started(policy={"sha256": digest(data), "mode": "enforce"}), *run_events()[1:]])
    yield bundle_case("M18i", "policy: taken from the manifest and the files", taken, "policy_digest", "semantics")
    for letter, description, form in (
        ("j", "with white space", data.replace(b":", b": ", 1)),
        ("k", "with a fraction", data.replace(b'"version":1', b'"version":1.0')),
        ("l", "with a member twice", data.replace(b'"version":1', b'"version":1,"version":1')),
        ("m", "ended by a line feed", data + b"\n"),
    ):
        named = put("policy/sha256", digest(form))
        events = [started(policy={"sha256": digest(form), "mode": "enforce"}), *run_events()[1:]]
        artifacts = {POLICY: Artifact(form, "policy")}
        yield case(f"M18{letter}", description, named, events=events, artifacts=artifacts)
    for letter, description, edit in (
        ("n", "without weights", drop("enforcement/risk/weights")),
        ("o", "without environments", drop("environments")),
        ("p", "of another version", put("version", 2)),
        ("q", "with a rule without conditions", put("data_platform/rules", [{"id": "x_one"}])),
        ("r", "with a weight that the method does not have", put("enforcement/risk/weights/zeal", 1)),
        ("s", "with a condition that is no object", put("data_platform/rules", [{"id": "x_one", "when": ["x"]}])),
        ("t", "with an alternative that is none", put("data_platform/rules", [{"id": "x_one", "when": [{"any": 1}]}])),
    ):
        known = Scoring().risk(run_events(), good, "enforce")
        yield _bad_policy(f"M18{letter}", description, edit(good), known)
    twice = {"artifacts/policy-again.json": Artifact(data, "policy")}
    yield case("M18u", "in two files", artifacts=twice)
    outside = put("files/2/external", {})
    supplied = {"entries": lambda entries: _without(entries, POLICY)}
    external = governed_bundle(manifest=outside, **supplied)
    yield bundle_case("M18v", "policy: outside of the container", external, "policy_digest", "semantics")


def _bad_policy(id: str, description: str, policy: Json, risk: Json) -> Case:
    class Known(Scoring):
        def risk(self, *_: Any) -> Json:
            return risk

    return _bad(id, description, code="policy_digest", policy=policy, scoring=Known())


def _without(entries: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    left = dict(entries)
    del left[name]
    return left
