# SPDX-License-Identifier: Apache-2.0
"""``clyra policy diff``: whether a new policy lets anything pass that the old one did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clyra.cli._policy_place import plural, shown, table, today, with_progress
from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json
from clyra.evidence.page.wording import visible

if TYPE_CHECKING:
    from clyra.policy.diff import Change, PolicyDiff
    from clyra.policy.load import LoadedPolicy
    from clyra.policy.replay import Replayed, ReplayResult

_WIDTH = 15

EXIT_NOT_WEAKER, EXIT_WEAKER, EXIT_NOT_DECIDABLE = 0, 1, 2


@click.command(short_help="Say whether a new policy is weaker than the old one.")
@click.argument("old", metavar="OLD", type=click.Path(path_type=Path))
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option(
    "--replay", "evidence", metavar="DIR", type=click.Path(path_type=Path), help="Decide recorded runs again."
)
@json_option
@click.pass_context
def diff(ctx: click.Context, *, old: Path, new: Path, evidence: Path | None, as_json: bool) -> None:
    """Compare two policies by what they say, not by how they are written.

    OLD and NEW are policy files, or policy.json of bundles. Each rule, waiver and setting that differs is weaker,
    stricter, equal, or not decidable, with facts that show it. With --replay every decision in the bundles of DIR is
    made again under both. The exit code is 1 if anything is weaker, 2 if nothing is but something is not decidable,
    else 0: let a pull request that gets 1 need two approvers.

    \b
    Examples:
      clyra policy diff main.policy.yaml clyra.policy.yaml
      git show main:clyra.policy.yaml > old.yaml; clyra policy diff old.yaml clyra.policy.yaml
      clyra policy diff old.yaml clyra.policy.yaml --replay .clyra/evidence
    """
    from clyra.policy.diff import diff_policies

    before, after = _policy_in(old), _policy_in(new)
    found = diff_policies(before.document, after.document, today=today())
    replayed = None if evidence is None else _replayed(evidence, before, after)
    if as_json:
        print_json(_document(before, after, found, replayed))
    else:
        for line in _text(found, replayed):
            click.echo(line)
    ctx.exit(_exit_code(found, replayed))


def _policy_in(path: Path) -> LoadedPolicy:
    from clyra.policy.load import load_policy, policy_from_canonical
    from clyra.spec import UnavailableError

    if path.suffix != ".json":
        return load_policy(path, now=today())
    try:
        return policy_from_canonical(path.read_bytes())
    except OSError as exc:
        raise UnavailableError(f"{path} cannot be read: {exc.strerror}", code="policy_unavailable") from exc


def _replayed(folder: Path, old: LoadedPolicy, new: LoadedPolicy) -> ReplayResult:
    from clyra.policy.recorded_runs import bundle_paths, read_runs
    from clyra.policy.replay import replay_runs
    from clyra.spec import ConfigurationError

    paths = bundle_paths(folder)
    if not paths:
        raise ConfigurationError(f"no bundle found in {folder}; expected files that end with .def.zip")
    runs = with_progress(read_runs(paths), len(paths), "bundle")
    return replay_runs((run for run in runs if run is not None), old.compiled, new.compiled)


def _exit_code(found: PolicyDiff, replayed: ReplayResult | None) -> int:
    directions: set[str] = {found.direction}
    if replayed is not None:
        directions |= {verdict for verdict, count in replayed.counts.items() if count}
        if replayed.unread:
            directions.add("not decidable")
    if "weaker" in directions:
        return EXIT_WEAKER
    return EXIT_NOT_DECIDABLE if "not decidable" in directions else EXIT_NOT_WEAKER


def _coloured(direction: str) -> str:
    paint = {"weaker": bad, "not decidable": doubtful, "stricter": good}.get(direction, faint)
    return paint(direction)


def _text(found: PolicyDiff, replayed: ReplayResult | None) -> Iterator[str]:
    for change in found.changes:
        part = "" if change.part == "setting" else f"{change.part} "
        blank = " " * (_WIDTH - len(change.direction))
        yield f"{_coloured(change.direction)}{blank}{part}{change.name} {change.kind}: {'; '.join(change.reasons)}"
        if change.example:
            yield f"{' ' * _WIDTH}{faint(f'for example where {_facts_text(change.example)}')}"
    if not found.changes:
        yield "the policies say the same"
    if replayed is not None:
        yield from _replay_text(replayed)
    yield ""
    yield f"The new policy is {_coloured(_overall(found, replayed))}{_advice(_overall(found, replayed))}"


def _overall(found: PolicyDiff, replayed: ReplayResult | None) -> str:
    return {EXIT_WEAKER: "weaker", EXIT_NOT_DECIDABLE: "not decidable"}.get(
        _exit_code(found, replayed), found.direction
    )


def _advice(direction: str) -> str:
    if direction == "weaker":
        return ": let two people approve it."
    return ": somebody has to look." if direction == "not decidable" else "."


def _facts_text(facts: Mapping[str, Any]) -> str:
    from clyra.policy.yaml_text import flow

    return ", ".join(f"{name} is {flow(value)}" for name, value in sorted(facts.items()))


def _replay_text(replayed: ReplayResult) -> Iterator[str]:
    yield ""
    for unread in replayed.unread:
        yield f"{bad('unread')}  {shown(unread.path)}: {visible(unread.reason)}"
    runs = f"{plural(replayed.runs, 'run')}, {plural(sum(replayed.counts.values()), 'decision')} made again"
    counts = ", ".join(f"{count} {_coloured(word)}" for word, count in replayed.counts.items() if count)
    yield f"{runs}: {counts}" if counts else runs
    rows = [_replay_row(each.count, each.unique_id, each.outcome, each.target) for each in replayed.differences]
    yield from table(rows)


def _replay_row(count: int, unique_id: str | None, outcome: Replayed, target: str | None) -> Sequence[str]:
    effects = " -> ".join(" or ".join(effects) or "?" for effects in (outcome.old, outcome.new))
    untold = faint(f"not told: {', '.join(outcome.untold)}") if outcome.verdict == "not decidable" else ""
    return [
        _coloured(outcome.verdict),
        f"{count}x",
        visible(unique_id or "the run"),
        visible(target or ""),
        effects,
        untold,
    ]


def _document(old: LoadedPolicy, new: LoadedPolicy, found: PolicyDiff, replayed: ReplayResult | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "old_sha256": old.sha256,
        "new_sha256": new.sha256,
        "direction": found.direction.replace(" ", "_"),
        "changes": [_change_members(change) for change in found.changes],
    }
    if replayed is not None:
        document["replay"] = {
            "runs": replayed.runs,
            "counts": {word.replace(" ", "_"): count for word, count in replayed.counts.items()},
            "differences": [
                {
                    "verdict": each.outcome.verdict.replace(" ", "_"),
                    "old": list(each.outcome.old),
                    "new": list(each.outcome.new),
                    "not_told": list(each.outcome.untold),
                    "point": each.point,
                    "unique_id": each.unique_id,
                    "target": each.target,
                    "count": each.count,
                    "bundles": sorted(each.bundles),
                }
                for each in replayed.differences
            ],
            "unread": [{"file": str(each.path), "reason": each.reason} for each in replayed.unread],
        }
    return document


def _change_members(change: Change) -> dict[str, Any]:
    return {
        "part": change.part,
        "name": change.name,
        "kind": change.kind,
        "direction": change.direction.replace(" ", "_"),
        "reasons": list(change.reasons),
        "example": {name: list(value) if isinstance(value, tuple) else value for name, value in change.example.items()},
    }
