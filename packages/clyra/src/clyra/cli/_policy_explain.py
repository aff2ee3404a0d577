# SPDX-License-Identifier: Apache-2.0
"""``clyra policy explain``: every rule with the truth of each condition, for facts of one's own or of a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli.output import json_option, print_json
from clyra.spec import ConfigurationError, FormatError

if TYPE_CHECKING:
    from clyra.evidence import Bundle
    from clyra.policy.decision import Decision
    from clyra.policy.explain import Explanation
    from clyra.policy.facts import Facts
    from clyra.policy.load import LoadedPolicy


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision with its reasons: ``event`` has the members of the journal event ``decision``."""

    event: Mapping[str, Any]
    explanation: Explanation
    expired_waivers: tuple[str, ...] = ()


@click.command(short_help="Say why a decision comes out as it does.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--facts", metavar="FILE", help="JSON object of facts by name; '-' is stdin. Others are unknown.")
@click.option("--point", default="run", show_default=True, help="The decision point, with --facts.")
@click.option("--today", "day", metavar="DATE", help="Judge waivers as on this day, like 2027-01-31, with --facts.")
@click.option("--bundle", metavar="FILE", help="Explain the decisions in this bundle, by the policy it holds.")
@click.option("--rule", "rules", metavar="ID", multiple=True, help="Only this rule; may be repeated.")
@json_option
@click.pass_context
def explain(
    ctx: click.Context,
    *,
    file: str | None,
    facts: str | None,
    point: str,
    day: str | None,
    bundle: str | None,
    rules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say why a decision comes out as it does: for facts that you give, or for the decisions in a bundle.

    Shows each rule with the truth of each of its conditions (true, false, unknown), the waivers that were looked at,
    and the risk factors. FILE is the policy, clyra.policy.yaml of this folder or what CLYRA_POLICY names unless given;
    a bundle brings its own. In a bundle, personal facts are keyed digests: what depends on them is not decidable.
    Nothing of a bundle is verified here; clyra verify does that.

    \b
    Examples:
      clyra policy explain --facts facts.json
      echo '{"env.production": true}' | clyra policy explain --facts - --rule x_full_refresh
      clyra policy explain --bundle run.def.zip
    """
    if (facts is None) == (bundle is None):
        raise click.UsageError("give either --facts or --bundle", ctx)
    if bundle is not None and (file is not None or day is not None):
        raise click.UsageError("a bundle brings its own policy and day; leave FILE and --today out", ctx)
    risk: Mapping[str, Any] | None = None
    if bundle is not None:
        explained, risk = _of_bundle(bundle)
    else:
        assert facts is not None
        explained = [_of_facts(file, facts, point, day)]
    if as_json:
        from clyra.cli._explain_text import document

        print_json(document(explained, risk, rules))
        return
    from clyra.cli._explain_text import text

    for line in text(explained, risk, rules):
        click.echo(line)


def _of_facts(file: str | None, facts: str, point: str, day: str | None) -> Explained:
    from clyra.cli._policy_lint import read_policy_file
    from clyra.cli._policy_place import today
    from clyra.policy.explain import explain as explanation_of
    from clyra.policy.facts import decision_points
    from clyra.policy.load import read_policy
    from clyra.policy.rules import RISK_SCORE

    if point not in decision_points():
        known = ", ".join(sorted(decision_points()))
        raise ConfigurationError(f"--point is {point!r}; expected one of {known}")
    on = today() if day is None else _day(day)
    name, data = read_policy_file(file)
    policy = read_policy(data, name=name, now=today())
    given = _read_facts(facts)
    decision = policy.compiled.decide(point, given, today=on)
    score = given.get(RISK_SCORE)
    if isinstance(score, int):
        from clyra.policy.engine import merge

        decision = merge([decision, policy.compiled.decide_risk(point, given, today=on, score=score)])
    return Explained(
        event=_event(policy, given, decision),
        explanation=explanation_of(policy.compiled, point, given, today=on),
        expired_waivers=decision.expired_waivers,
    )


def _event(policy: LoadedPolicy, facts: Facts, decision: Decision) -> dict[str, Any]:
    """As an event of mode shadow, which tells of all rules; the user's own facts are shown to the user as they are."""
    from clyra.policy.engine import event_members

    members = event_members(
        decision, decision_id="", mode="shadow", policy_sha256=policy.sha256, risk=None, personal_key=b""
    )
    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
    return {**members, "facts": shown, "enforced": decision.effect}


def _read_facts(name: str) -> dict[str, Any]:
    """Facts by name out of a JSON object; lists are sets of texts.

    Raises:
        ConfigurationError: It cannot be read, or a fact is not declared or of another type.
    """
    from clyra.policy.conditions import known_value
    from clyra.policy.facts import declared_facts

    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        given: object = json.loads(data)
    except OSError as exc:
        reason = (exc.strerror or type(exc).__name__).lower()
        raise ConfigurationError(f"{name} cannot be read: {reason}") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{name} is not JSON; expected an object of facts by name") from exc
    if not isinstance(given, dict):
        raise ConfigurationError(f'{name} is no JSON object; expected facts by name, like {{"dbt.target": "prod"}}')
    facts: dict[str, Any] = {}
    for fact, value in given.items():
        declared = declared_facts().get(fact)
        facts[fact] = tuple(value) if isinstance(value, list) else value
        if declared is None:
            raise ConfigurationError(f"fact {fact!r} is not declared; see spec/policy/facts.json")
        if known_value(declared, facts[fact]) is None:
            expected = f"one of {', '.join(declared.values)}" if declared.values else declared.type
            raise ConfigurationError(f"fact {fact} has another value than expected; expected {expected}")
    return facts


def _of_bundle(name: str) -> tuple[list[Explained], Mapping[str, Any] | None]:
    from clyra.evidence import open_bundle
    from clyra.policy.load import policy_from_canonical

    bundle = open_bundle(name)
    policy = policy_from_canonical(_policy_bytes(bundle))
    try:
        events = [event for event in bundle.events() if event["type"] == "decision"]
        explained = [_of_event(policy, event) for event in events]
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        message = f"cannot read {name}: a decision in its journal is not what the format says; verify it"
        raise FormatError(message, code="bundle_unreadable") from exc
    risk = bundle.manifest.get("risk")
    return explained, risk if isinstance(risk, dict) else None


def _of_event(policy: LoadedPolicy, event: Mapping[str, Any]) -> Explained:
    from clyra.policy.explain import explain as explanation_of
    from clyra.policy.explain import facts_of_event

    facts = facts_of_event(event)
    on = date.fromisoformat(event["occurred_at"][:10])
    explanation = explanation_of(
        policy.compiled, event["point"], facts.readable, today=on, undisclosed=facts.undisclosed
    )
    return Explained(event, explanation)


def _policy_bytes(bundle: Bundle) -> bytes:
    files: Sequence[Any] = bundle.manifest.get("files") or ()
    listed = (each for each in files if isinstance(each, dict))
    path = next((each.get("path") for each in listed if each.get("role") == "policy"), None)
    if path is None:
        message = f"cannot explain {bundle.path}: it holds no policy, so nothing was decided in that run"
        raise FormatError(message, code="bundle_unreadable")
    return bundle.read(str(path))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise ConfigurationError(f"--today is {text!r}; expected a day like 2027-01-31") from exc
