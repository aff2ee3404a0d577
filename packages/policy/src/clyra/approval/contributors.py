# SPDX-License-Identifier: Apache-2.0
"""Who had a hand in a change, as git tells it: nobody of them may approve it.

Authors, committers and co-authors of the commits since the last approved state, and whoever edited the rules that an
approval would lift. People are principals; an address that no policy maps to one is ``git:`` with the SHA-256 of the
address in lower case. What a commit says about its author is a claim unless the commit is signed by that author.

An edit of a rule counts until something was approved under a policy that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from clyra.approval._git import Commit, Repository, addresses
from clyra.spec import ClyraError, ConfigurationError

AuthorBasis = Literal["claimed", "signed"]
PolicyReader = Callable[[bytes], Mapping[str, Any]]
"""Gives the normalized document of a policy file; raises `ClyraError` where it is none."""

_SEARCHED_COMMITS = 5000
_MOST_SIGNATURES = 200
_RULE_SECTIONS = ("data_platform", "genai_security", "voice_compliance")
_DEFAULT_BRANCHES = ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master")


@dataclass(frozen=True, slots=True)
class Settled:
    """What was approved before: commits, trees of the project, and digests of policies."""

    commits: frozenset[str] = frozenset()
    trees: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contributors:
    """Everybody who had a hand in a change.

    ``author`` is who wrote the newest commit of it; ``author_basis`` is ``signed`` only if all of its commits are
    signed by their authors. ``principals`` are all contributors, sorted. ``unmapped`` gives for each of them that no
    policy maps the commit that names it. ``names`` are what commits call authors, to be shown on a screen and never
    recorded. ``base`` is the commit after which the change begins, None for the first one.
    """

    author: str
    author_basis: AuthorBasis
    principals: tuple[str, ...]
    unmapped: Mapping[str, str]
    base: str | None
    names: Mapping[str, str] = field(default_factory=dict)

    def refuse_unmapped(self) -> None:
        """Let nobody pass whom the policy does not know.

        Raises:
            ConfigurationError: Somebody is not mapped to a principal (``identity_unmapped``).
        """
        if self.unmapped:
            principal, commit = next(iter(self.unmapped.items()))
            raise ConfigurationError(
                f"{len(self.unmapped)} of {len(self.principals)} contributors are not known, one of commit "
                f"{commit[:12]}; add {principal} under compliance.segregation_of_duties.identities of the policy",
                code="identity_unmapped",
            )


@dataclass(frozen=True, slots=True)
class ProjectTree:
    """What git says about a project folder now; ``is_modified`` where a tracked file differs from ``commit``."""

    tree: str | None
    commit: str | None
    is_modified: bool

    @property
    def clean(self) -> str | None:
        """The tree, None where the folder does not hold it."""
        return None if self.is_modified else self.tree


def project_tree(project_dir: Path, environ: Mapping[str, str]) -> ProjectTree:
    """The git tree that the project folder holds; nothing known where there is no checkout."""
    try:
        repository = Repository(project_dir, environ)
    except ConfigurationError:
        return ProjectTree(None, None, False)
    return ProjectTree(repository.tree(), repository.head, repository.is_modified())


def git_principal(address: str) -> str:
    """The principal that stands for an e-mail address which nobody has mapped."""
    return f"git:{sha256(address.strip().lower().encode()).hexdigest()}"


def contributors(
    project_dir: Path,
    *,
    base: str | None = None,
    policy_path: Path | None = None,
    rules: Collection[str] = (),
    identities: Mapping[str, Sequence[str]],
    service_committers: Collection[str] = (),
    settled: Settled | None = None,
    read_policy: PolicyReader | None = None,
    environ: Mapping[str, str],
) -> Contributors:
    """Everybody who had a hand in what HEAD holds of the project and its policy.

    The change begins after ``base``; else after the newest ancestor of HEAD that was approved, by its commit or its
    tree; else where the upstream default branch was left; else with the first commit.

    Args:
        project_dir: The project folder, in a checkout.
        base: A commit, branch or tag that is an ancestor of HEAD.
        policy_path: The policy file; commits that touch it count, and its rules' editors are searched.
        rules: Ids of the rules that an approval would lift.
        identities: ``git:`` digests of addresses (or addresses) by principal.
        service_committers: ``git:`` digests of addresses (or addresses) of forges that commit what others wrote.
        settled: What was approved before for the same audience.
        read_policy: Reads old policies; without it nobody is an editor of a rule.
        environ: Environment variables for git.

    Raises:
        ConfigurationError: There is no checkout (``tree_unknown``), its history was not fetched as far as it is
            needed (``history_shallow``), or ``base`` is no ancestor (``config_invalid``).
    """
    repository = Repository(project_dir, environ)
    policy = None if policy_path is None else repository.below_top(policy_path)
    start = _base(repository, base, settled or Settled())
    revisions = ("HEAD",) if start is None else ("HEAD", f"^{start}")
    _refuse_shallow(repository, revisions)
    # No path stands for everything, which is right for a project at the top.
    paths = [path for path in (repository.prefix, policy) if path is not None]
    change = repository.commits(*revisions, paths=paths if repository.prefix else ())
    own = change or repository.commits("-1", "HEAD")
    editors = _editors(repository, policy, rules, read_policy, settled or Settled())
    who = _Directory(identities, service_committers)
    people = who.of([*change, *editors])
    author = next((commit for commit in own if len(commit.parents) < 2), own[0])
    return Contributors(
        author=who.principal(author.author),
        author_basis=_basis(repository, own),
        principals=tuple(sorted(people)),
        unmapped={name: commit for name, commit in sorted(people.items()) if name.startswith("git:")},
        base=start,
        names={who.principal(commit.author): commit.author_name for commit in reversed([*change, *editors])},
    )


def rule_form(document: Mapping[str, Any], rule: str) -> bytes:
    """What a policy says about one rule, in canonical form: the rule or checkpoint, its waivers, its settings.

    A rule that is built in has no entry; then the settings of its section stand for it.
    """
    from clyra.evidence import canonicalize

    sections = [document.get(name, {}) for name in _RULE_SECTIONS]
    listed = [
        *(section.get("rules", ()) for section in sections),
        document.get("enforcement", {}).get("checkpoints", ()),
    ]
    entries = [entry for entries in listed for entry in entries if entry.get("id") == rule]
    waivers = [waiver for waiver in document.get("waivers", ()) if rule in waiver.get("rules", ())]
    settings: object = None
    if rule == "risk_threshold":
        settings = document.get("enforcement", {}).get("risk")
    elif not entries:
        platform = document.get("data_platform", {})
        settings = {name: value for name, value in platform.items() if name not in ("rules", "warehouses")}
    return canonicalize({"rules": entries, "settings": settings, "waivers": waivers})


class _Directory:
    """Maps addresses to principals."""

    def __init__(self, identities: Mapping[str, Sequence[str]], service_committers: Collection[str]) -> None:
        self._known = {_digest(address): name for name, known in identities.items() for address in known}
        self._services = {_digest(address) for address in service_committers}

    def principal(self, address: str) -> str:
        digest = git_principal(address)
        return self._known.get(digest, digest)

    def of(self, commits: Iterable[Commit]) -> dict[str, str]:
        """Each principal with the newest commit that names it."""
        found: dict[str, str] = {}
        for commit in commits:
            for address in self._addresses(commit):
                found.setdefault(self.principal(address), commit.id)
        return found

    def _addresses(self, commit: Commit) -> Iterator[str]:
        yield commit.author
        if git_principal(commit.committer) not in self._services:
            yield commit.committer
        yield from addresses(commit)


def _digest(address: str) -> str:
    return address if address.startswith("git:") else git_principal(address)


def _base(repository: Repository, named: str | None, settled: Settled) -> str | None:
    if named is not None:
        commit = repository.commit(named)
        if commit is None or not repository.is_ancestor(commit, "HEAD"):
            raise ConfigurationError(
                f"--base {named!r} is no ancestor of HEAD; name a commit, branch or tag that is, or fetch its history"
            )
        return commit
    if settled.commits or settled.trees:
        ancestors = repository.ancestors_with_trees(_SEARCHED_COMMITS)
        now = ancestors[0][1] if ancestors else None
        for commit, tree in ancestors[1:]:
            # What was approved as it is now was approved for another time: the change that led to it still counts.
            if tree != now and (commit in settled.commits or tree in settled.trees):
                return commit
    for branch in _DEFAULT_BRANCHES:
        if repository.commit(branch) is not None:
            found = (repository.ask("merge-base", "HEAD", branch) or "").strip()
            return found if found and found != repository.head else None
    return None


def _refuse_shallow(repository: Repository, revisions: Sequence[str]) -> None:
    if not repository.is_shallow:
        return
    known = set((repository.ask("rev-list", *revisions) or "").split())
    if known & repository.shallow_commits():
        raise ConfigurationError(
            "the checkout lacks the history that tells who contributed; fetch it (git fetch --unshallow, or "
            "fetch-depth: 0 in CI), or name an approved commit with --base",
            code="history_shallow",
        )


def _editors(
    repository: Repository,
    policy: str | None,
    rules: Collection[str],
    read_policy: PolicyReader | None,
    settled: Settled,
) -> list[Commit]:
    """Commits since the last settled policy in which one of the rules became another one."""
    if policy is None or read_policy is None or not rules:
        return []
    forms = _Forms(repository, policy, rules, read_policy)
    history = repository.commits("HEAD", paths=[policy])
    for commit in history:
        if forms.of(commit.id)[0] in settled.policies:
            history = repository.commits("HEAD", f"^{commit.id}", paths=[policy])
            break
    # A merge that takes the rules of one of its parents has edited none.
    return [
        commit
        for commit in history
        if all(forms.of(parent)[1] != forms.of(commit.id)[1] for parent in commit.parents or ("",))
    ]


class _Forms:
    """The digest of a policy and the forms of its rules at a commit; each commit is read once."""

    def __init__(self, repository: Repository, path: str, rules: Collection[str], reader: PolicyReader) -> None:
        self._repository = repository
        self._path = path
        self._rules = sorted(rules)
        self._reader = reader
        self._known: dict[str, tuple[str | None, tuple[bytes, ...]]] = {"": (None, ())}

    def of(self, commit: str) -> tuple[str | None, tuple[bytes, ...]]:
        if commit not in self._known:
            self._known[commit] = self._read(self._repository.file_at(commit, self._path))
        return self._known[commit]

    def _read(self, data: bytes | None) -> tuple[str | None, tuple[bytes, ...]]:
        from clyra.evidence import canonicalize

        if data is None:
            return None, ()
        try:
            document = self._reader(data)
        except ClyraError:
            # Nobody knows what its rules were: whoever changes it has edited each of them.
            return None, (b"unreadable", sha256(data).digest())
        digest = sha256(canonicalize(document)).hexdigest()
        return digest, tuple(rule_form(document, rule) for rule in self._rules)


def _basis(repository: Repository, commits: Sequence[Commit]) -> AuthorBasis:
    if len(commits) > _MOST_SIGNATURES:
        return "claimed"
    for commit in commits:
        signer = repository.signer_of(commit.id)
        # A good signature by somebody else proves nothing about the author.
        if signer is None or commit.author.strip().lower() not in _words(signer):
            return "claimed"
    return "signed"


def _words(signer: str) -> set[str]:
    return {word.strip("<>").lower() for word in signer.split()}
