# SPDX-License-Identifier: Apache-2.0
"""``clyra policy test``: run the cases beside a policy, and find what they would not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from clyra.cli._policy_place import plural, policy_path, read_all_cases, shown, table, today, with_progress
from clyra.cli.output import bad, doubtful, faint, good, json_option, print_json

if TYPE_CHECKING:
    from clyra.policy.cases import CaseResult, RuleCoverage
    from clyra.policy.survivors import MissingCase, Tried

Place: TypeAlias = "Callable[[Tried], tuple[str, int, int]]"
"""File, line and column of what a mutant changed."""

EXIT_PASSED, EXIT_FAILED, EXIT_UNCOVERED = 0, 1, 2


@click.command(short_help="Run the cases in policy_tests/ against the policy.")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--coverage", "with_coverage", is_flag=True, help="Say which rules no case hits, or just misses.")
@click.option("--mutate", "with_mutants", is_flag=True, help="Make small faults in the policy; some case must notice.")
@json_option
@click.pass_context
def test(ctx: click.Context, *, folder: Path, with_coverage: bool, with_mutants: bool, as_json: bool) -> None:
    """Run the cases in policy_tests/*.yaml against the policy of DIR.

    A case gives facts and says what is to be decided. With --mutate the policy is changed in every small way people get
    wrong (an operator off by one, a condition too few, a weaker effect), and a change that no case notices is listed
    with the case to add. The exit code is 0 if all is well, 1 if a case fails or a change goes unnoticed, 2 if only
    coverage is missing.

    \b
    Examples:
      clyra policy test
      clyra policy test --coverage --mutate
      clyra policy test analytics --json
    """
    from clyra.policy.cases import coverage, run_case
    from clyra.policy.load import read_policy

    path = policy_path(folder)
    data = _bytes_of(path)
    day = today()
    policy = read_policy(data, name=shown(path), now=day)
    cases = read_all_cases(path, policy)
    results = [run_case(policy.compiled, policy.environments, case, today=day) for case in cases]
    covered = coverage(policy.compiled, cases) if with_coverage else ()
    tried: list[Tried] = []
    if with_mutants and not any(result.faults for result in results):
        from clyra.policy.mutate import mutants
        from clyra.policy.survivors import try_mutants

        attempts = try_mutants(policy.document, policy.environments, cases, today=day)
        tried = list(with_progress(attempts, sum(1 for _ in mutants(policy.document)), "mutant"))
    place = _place(data, path)
    if as_json:
        print_json(_document(policy.sha256, results, covered if with_coverage else None, tried, place))
    else:
        for line in _text(results, covered, tried, place, with_mutants=with_mutants):
            click.echo(line)
    ctx.exit(_exit_code(results, covered, tried))


def _bytes_of(path: Path) -> bytes:
    from clyra.spec import UnavailableError

    try:
        return path.read_bytes()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UnavailableError(f"{path} cannot be read: {reason}", code="policy_unavailable") from exc


def _place(data: bytes, path: Path) -> Place:
    from clyra.policy.survivors import places_in

    find, name = places_in(data, shown(path)), shown(path)
    return lambda tried: (name, *find(tried.mutant.pointer))


def _exit_code(results: Sequence[CaseResult], covered: Sequence[RuleCoverage], tried: Sequence[Tried]) -> int:
    if any(result.faults for result in results) or any(each.outcome == "survived" for each in tried):
        return EXIT_FAILED
    return EXIT_PASSED if all(rule.is_covered for rule in covered) else EXIT_UNCOVERED


def _text(
    results: Sequence[CaseResult],
    covered: Sequence[RuleCoverage],
    tried: Sequence[Tried],
    place: Place,
    *,
    with_mutants: bool,
) -> Iterator[str]:
    failed = [result for result in results if result.faults]
    for result in failed:
        case = result.case
        yield f"{bad('failed')}  {case.name}"
        yield f"        {faint(f'{case.file}:{case.line}, point {case.point}')}"
        yield from (f"        {fault}" for fault in result.faults)
    files = len({result.case.file for result in results})
    passed = f"{plural(len(results) - len(failed), 'case')} passed"
    where = f"in {plural(files, 'file')}"
    yield f"{bad(f'{len(failed)} failed')}, {passed}, {where}" if failed else f"{good(passed)} {where}"
    if covered:
        yield from _coverage_text(covered)
    if tried:
        yield from _mutants_text(tried, place)
    elif with_mutants:
        yield doubtful("no mutant was tried: ") + "first make the cases pass"


def _coverage_text(covered: Sequence[RuleCoverage]) -> Iterator[str]:
    open_rules = [rule for rule in covered if not rule.is_covered]
    done = f"{len(covered) - len(open_rules)} of {plural(len(covered), 'rule')} hit and just missed"
    yield doubtful(done) if open_rules else good(done)
    rows = [["", "", "hits", "near misses"]] if open_rules else []
    for rule in open_rules:
        counts = [str(len(names)) if names else doubtful("none") for names in (rule.hits, rule.near_misses)]
        rows.append([doubtful("open"), rule.rule, *counts])
    yield from table(rows)


def _mutants_text(tried: Sequence[Tried], place: Place) -> Iterator[str]:
    survivors = [each for each in tried if each.outcome == "survived"]
    for each in survivors:
        where = ":".join(map(str, place(each)))
        yield f"{bad('survived')}  {each.mutant.owner}: {each.mutant.change}"
        yield f"          {faint(f'{where}')}"
        yield from (f"          {text}" for text in _advice(each))
    equivalent = sum(each.outcome == "equivalent" for each in tried)
    counts = f"{plural(len(tried), 'mutant')}: {len(tried) - len(survivors) - equivalent} noticed"
    if equivalent:
        counts += f", {equivalent} that change no decision"
    yield f"{counts}, {bad(f'{len(survivors)} survived')}" if survivors else f"{good(counts)}, none survived"


def _advice(tried: Tried) -> Iterator[str]:
    from clyra.policy.yaml_text import items

    missing = tried.missing
    if missing is None:
        yield "no case notices, and its facts are too many to look for one; it may change no decision"
        return
    where = missing.like.file if missing.like else "policy_tests"
    like = f', like "{missing.like.name}"' if missing.like else ""
    yield f"a case that would notice, for {where}{like}:"
    yield from items([_case_members(tried, missing)], indent=2)


def _case_members(tried: Tried, missing: MissingCase) -> dict[str, object]:
    members: dict[str, object] = {"name": f"{tried.mutant.owner} {tried.mutant.change}".replace("x_", "")[:80]}
    if missing.point != "run":
        members["point"] = missing.point
    if missing.today is not None:
        members["today"] = missing.today.isoformat()
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in missing.given.items()}
    members["given"] = given
    members["expect"] = {"decision": missing.decision, "rules": dict(missing.rules)}
    return members


def _document(
    policy_sha256: str,
    results: Sequence[CaseResult],
    covered: Sequence[RuleCoverage] | None,
    tried: Sequence[Tried],
    place: Place,
) -> dict[str, Any]:
    from clyra.policy.cases import as_members

    outcomes: list[str] = [each.outcome for each in tried]
    document: dict[str, Any] = {
        "policy_sha256": policy_sha256,
        "cases": [as_members(result) for result in results],
        "counts": {
            "passed": sum(not each.faults for each in results),
            "failed": sum(bool(each.faults) for each in results),
        },
    }
    if covered is not None:
        document["coverage"] = [
            {
                "rule": rule.rule,
                "hits": list(rule.hits),
                "near_misses": list(rule.near_misses),
                "covered": rule.is_covered,
            }
            for rule in covered
        ]
    if tried:
        words = ("killed", "equivalent", "survived")
        document["mutants"] = {word: outcomes.count(word) for word in words}
        document["survivors"] = [_survivor_members(each, place) for each in tried if each.outcome == "survived"]
    return document


def _survivor_members(tried: Tried, place: Place) -> dict[str, Any]:
    file, line, column = place(tried)
    return {
        "rule": tried.mutant.owner,
        "change": tried.mutant.change,
        "pointer": tried.mutant.pointer,
        "file": file,
        "line": line,
        "column": column,
        "case": None if tried.missing is None else _case_members(tried, tried.missing),
    }
