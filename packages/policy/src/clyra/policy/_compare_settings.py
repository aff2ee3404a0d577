# SPDX-License-Identifier: Apache-2.0
"""Which way a changed setting goes: each setting says here what makes it weaker, and one that does not is doubtful."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from clyra.policy.effect import EFFECTS

Direction = Literal["weaker", "stricter", "equal", "not decidable"]

_LIMITS = ("enforcement.velocity", "data_platform.activation_enforcement.rate_limits")

_Compare = Callable[[Any, Any], Direction]

_ELSEWHERE = (
    "environments",
    "waivers",
    "*.rules",
    "enforcement.checkpoints",
    "enforcement.risk.thresholds",
)


def setting_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any, Direction]]:
    """Settings that differ between two normalized policies: dotted path, both values, direction.

    Rules, waivers, environments, thresholds and checkpoints are compared elsewhere.
    """
    yield from _walk(old, new, "")


def joined(directions: Sequence[Direction]) -> Direction:
    """The direction of several changes together: one that is weaker makes all of it weaker."""
    order: tuple[Direction, ...] = ("weaker", "not decidable", "stricter")
    for direction in order:
        if direction in directions:
            return direction
    return "equal"


def compare_sets(old: Sequence[Any], new: Sequence[Any], *, more_is: Direction) -> Direction:
    """Which way a set goes whose growth is ``more_is``; one that lost and won is not decidable unless it lost ground.

    Losing something and winning something else is weaker in one of the two: it counts as weaker.
    """
    before, after = set(map(str, old)), set(map(str, new))
    less_is: Direction = "stricter" if more_is == "weaker" else "weaker"
    directions: list[Direction] = [more_is] * bool(after - before) + [less_is] * bool(before - after)
    return joined(directions)


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any, Direction]]:
    if old == new or any(fnmatchcase(path, pattern) for pattern in _ELSEWHERE):
        return
    compare = _comparison(path)
    if path in _LIMITS and (old is None or new is None):
        yield path, old, new, "stricter" if old is None else "weaker"
    elif compare is not None:
        yield path, old, new, compare(old, new)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from _walk(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    else:
        yield path, old, new, "not decidable"


def _comparison(path: str) -> _Compare | None:
    return next((compare for pattern, compare in _SETTINGS if fnmatchcase(path, pattern)), None)


def _number(*, more_is: Direction, absent: Literal["least", "most", "unlike"] = "unlike") -> _Compare:
    less_is: Direction = "stricter" if more_is == "weaker" else "weaker"

    def compare(old: object, new: object) -> Direction:
        if isinstance(old, int) and isinstance(new, int):
            return more_is if new > old else less_is
        if absent == "unlike" or (old is not None and new is not None):
            return "not decidable"
        return more_is if (old is None) == (absent == "least") else less_is

    return compare


def _word(*strictest_first: object) -> _Compare:
    def compare(old: object, new: object) -> Direction:
        if old not in strictest_first or new not in strictest_first:
            return "not decidable"
        return "weaker" if strictest_first.index(new) > strictest_first.index(old) else "stricter"

    return compare


def _set(*, more_is: Direction, absent_is_all: bool = False) -> _Compare:
    less_is: Direction = "stricter" if more_is == "weaker" else "weaker"

    def compare(old: Sequence[Any] | None, new: Sequence[Any] | None) -> Direction:
        if absent_is_all and (old is None or new is None):
            return less_is if old is None else more_is
        return compare_sets(old or (), new or (), more_is=more_is)

    return compare


def _roles(old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> Direction:
    pairs = [
        [f"{role} {principal}" for role, principals in roles.items() for principal in principals]
        for roles in (old or {}, new or {})
    ]
    return compare_sets(pairs[0], pairs[1], more_is="weaker")


def _neutral(_old: object, _new: object) -> Direction:
    return "equal"


_ON = _word(True, False)
_OFF = _word(False, True)
_EFFECT = _word(*reversed(EFFECTS))
_MORE_WEAKER = _number(more_is="weaker")
_MORE_STRICTER = _number(more_is="stricter")

# The first pattern that fits counts; `*` also spans dots. What no pattern fits is looked into, then not decidable.
_SETTINGS: tuple[tuple[str, _Compare], ...] = (
    ("version", _neutral),
    ("name", _neutral),
    ("requires", _neutral),
    ("evidence.*", _neutral),
    ("data_platform.dbt_hooks.enabled", _ON),
    ("data_platform.dbt_hooks.test_failures_block", _ON),
    ("data_platform.dbt_hooks.statement_text", _neutral),
    ("data_platform.dbt_hooks.record.*", _set(more_is="stricter", absent_is_all=True)),
    ("data_platform.warehouse_guards.sql_safety", _ON),
    ("data_platform.warehouse_guards.approval_tokens", _word("required", "optional", "off")),
    ("data_platform.warehouse_guards.sql.max_statement_bytes", _MORE_WEAKER),
    ("data_platform.warehouse_guards.sql.rows_affected.relations.*", _number(more_is="weaker")),
    ("data_platform.warehouse_guards.sql.rows_affected.[!r]*", _number(more_is="weaker", absent="most")),
    ("data_platform.warehouse_guards.sql.rules.*", _EFFECT),
    ("data_platform.warehouse_guards.sql.functions.mode", _word("known", "all")),
    ("data_platform.warehouse_guards.sql.functions.names", _set(more_is="weaker")),
    ("genai_security.actions.*", _EFFECT),
    ("genai_security.detectors.*.mode", _word("enforce", "shadow")),
    ("genai_security.detectors.*.weight", _MORE_STRICTER),
    ("enforcement.on_recorder_failure", _word("stop", "continue")),
    ("enforcement.durability", _word("disk", "process")),
    ("enforcement.idempotency.single_use", _ON),
    ("enforcement.velocity.max", _MORE_WEAKER),
    ("enforcement.velocity.burst", _MORE_WEAKER),
    ("enforcement.velocity.window", _MORE_STRICTER),
    ("enforcement.tenant_fencing", _ON),
    ("enforcement.risk.weights.*", _MORE_STRICTER),
    ("enforcement.approvals.quorum", _MORE_STRICTER),
    ("enforcement.approvals.max_ttl", _MORE_WEAKER),
    ("enforcement.approvals.tree_binding", _ON),
    ("enforcement.approvals.bind_vars", _ON),
    ("enforcement.approvals.standing.valid_for", _number(more_is="weaker", absent="least")),
    ("enforcement.approvals.standing.targets", _set(more_is="weaker")),
    ("enforcement.approvals.waivers_in_models", _OFF),
    ("enforcement.approvals.roles", _roles),
    ("enforcement.approvals.max_sessions", _MORE_WEAKER),
    ("enforcement.shadow*", _neutral),
    ("compliance.frameworks", _set(more_is="stricter")),
    ("compliance.segregation_of_duties.enabled", _ON),
    ("compliance.segregation_of_duties.approver", _set(more_is="weaker")),
    ("compliance.segregation_of_duties.service_committers", _set(more_is="weaker")),
    ("compliance.retention.legal_hold", _ON),
    # None is for ever.
    ("compliance.retention.*", _number(more_is="stricter", absent="most")),
    ("compliance.break_glass.roles", _set(more_is="weaker")),
    ("compliance.break_glass.review_within", _MORE_WEAKER),
    ("compliance.daily_review", _ON),
)
