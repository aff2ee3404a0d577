# SPDX-License-Identifier: Apache-2.0
"""Waivers: the one, dated exception. A waiver lowers the rules it names to at most ``warn`` and raises nothing.

What a waiver is about is turned into conditions, all of which must be *true*: what cannot be judged does not match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from clyra.policy.conditions import Condition, Item, read_items
from clyra.policy.rules import Rule
from clyra.spec import PolicyError

SELECTORS: Mapping[str, tuple[str, str]] = {
    "nodes": ("dbt.node", "in"),
    "digests": ("action.statement_digest", "in"),
    "tools": ("tool.id", "in"),
    "labels": ("data.labels", "has_any"),
}
"""Selectors of a waiver that are about one fact, with the operator; ``relations`` depends on the rule."""

_WITHOUT_FACT = ("sources", "routes", "phrases_sha256")
_STATEMENT_DIGEST = "action.statement_digest"


@dataclass(frozen=True, slots=True)
class Waiver:
    """One waiver; ``expires`` is the last day on which it holds.

    ``judgeable`` is false where it selects by something that no fact tells, or by nothing: it then never matches.
    """

    id: str
    rules: frozenset[str]
    expires: date
    relations: tuple[str, ...]
    selected: tuple[Item, ...]
    judgeable: bool

    def names(self, rule: Rule) -> bool:
        """Whether it may lower ``rule``; a rule about what cannot be read is lowered for one digest only."""
        needs_digest = rule.id.startswith("opaque_") or rule.id in ("unknown_function", "guard_tampering")
        return self.judgeable and rule.id in self.rules and (self._has_digest() or not needs_digest)

    def items_for(self, rule: Rule) -> tuple[Item, ...]:
        """What must be true for it to lower ``rule``.

        A relation is the one that the SQL statement writes where the rule is about the statement, else the node's: a
        hook of a waived node may write another relation.
        """
        if not self.relations:
            return self.selected
        about_statement = any(name.startswith("action.") for name in rule.asks)
        field = "action.target" if about_statement else "dbt.relation"
        return ((Condition(field, "in", self.relations),), *self.selected)

    def _has_digest(self) -> bool:
        fields = ({(condition.field, condition.op) for condition in item} for item in self.selected if len(item) == 1)
        return any(field == {(_STATEMENT_DIGEST, op)} for field in fields for op in ("eq", "in"))


def read_waivers(document: Mapping[str, Any]) -> tuple[Waiver, ...]:
    """The waivers of the policy, in the order of the file.

    Raises:
        PolicyError: A waiver has no date, or rests on a fact's absence (``policy_waiver``), or its ``when`` is not one.
    """
    return tuple(_waiver(entry) for entry in document.get("waivers") or ())


def _waiver(entry: Mapping[str, Any]) -> Waiver:
    when = read_items(entry.get("when") or ())
    if any(condition.op == "exists" and condition.value is False for item in when for condition in item):
        # Else leaving out a fact would open a gate.
        message = f"waiver {entry['id']} asks that a fact is absent; select by what is known"
        raise PolicyError(message, code="policy_waiver")
    try:
        expires = date.fromisoformat(entry["expires"])
    except (KeyError, TypeError, ValueError) as exc:
        raise PolicyError(f"waiver {entry['id']} has no date in expires", code="policy_waiver") from exc
    chosen = tuple(
        (Condition(field, op, tuple(entry[name])),) for name, (field, op) in SELECTORS.items() if entry.get(name)
    )
    relations = tuple(entry.get("relations") or ())
    return Waiver(
        id=entry["id"],
        rules=frozenset(entry["rules"]),
        expires=expires,
        relations=relations,
        selected=(*chosen, *when),
        judgeable=bool(relations or chosen or when) and not any(entry.get(name) for name in _WITHOUT_FACT),
    )
