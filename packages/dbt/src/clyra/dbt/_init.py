# SPDX-License-Identifier: Apache-2.0
"""``clyra dbt init``: put the macro package, its two lines and a policy into a dbt project, and take them out again.

Nothing of this is needed for evidence: the plugin works without. The macros tag sessions and queries with the run, so
that the warehouse's own history names it; the policy judges runs.
"""

from __future__ import annotations

import difflib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from clyra.dbt._policy import POLICY_FILE
from clyra.dbt._policy_file import is_untouched
from clyra.dbt._project_edits import MARK, edit_packages, edit_project, remove_marked
from clyra.spec import ConfigurationError

VENDORED = "clyra_packages/clyra_guard"


@dataclass(frozen=True, slots=True)
class GuardSource:
    """Where dbt takes the macro package from: a copy inside the project, or a git repository."""

    git: str | None = None
    revision: str | None = None

    def entry(self) -> list[str]:
        """The lines of its item in ``packages.yml``."""
        if self.git is None:
            return [f"local: {VENDORED}"]
        lines = [f'git: "{self.git}"', "subdirectory: dbt_packages/clyra_guard"]
        return [*lines, f'revision: "{self.revision}"'] if self.revision else lines


@dataclass(slots=True)
class Plan:
    """What would change: new text per file (None: the file goes), and what is left to the user."""

    project_dir: Path
    files: dict[Path, str | None] = field(default_factory=dict)
    by_hand: dict[str, tuple[str, ...]] = field(default_factory=dict)
    vendor: str | None = None

    @property
    def is_empty(self) -> bool:
        """True when nothing would change."""
        return not self.files and self.vendor is None

    def diff(self) -> str:
        """The change as a unified diff, with names relative to the project."""
        out: list[str] = []
        for path, text in sorted(self.files.items()):
            name = str(path.relative_to(self.project_dir))
            old = _read(path) or ""
            out += difflib.unified_diff(
                old.splitlines(keepends=True), (text or "").splitlines(keepends=True), f"a/{name}", f"b/{name}"
            )
        return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in out)


def guard_folder() -> Path:
    """The macro package: packed in the wheel, or that of the checkout in an editable install."""
    packed = Path(__file__).parent / "data" / "clyra_guard"
    if packed.is_dir():
        return packed
    checkout = Path(__file__).parents[5] / "dbt_packages" / "clyra_guard"
    if (checkout / "dbt_project.yml").is_file():
        return checkout
    raise ConfigurationError("the clyra-dbt installation holds no clyra_guard macros; install it again")


def plan_init(project_dir: Path, source: GuardSource, *, policy: str | None = None) -> Plan:
    """What ``init`` would change in the project.

    Args:
        project_dir: The folder of ``dbt_project.yml``.
        source: Where the macros come from.
        policy: Text of a policy for a project that has none.

    Raises:
        ConfigurationError: There is no ``dbt_project.yml``, or a file cannot be read as UTF-8.
    """
    project = _project_file(project_dir)
    plan = Plan(project_dir)
    edit = edit_project(_text(project))
    _note(plan, project, edit.text, edit.by_hand)
    packages = _packages_file(project_dir)
    packages_edit = edit_packages(_read(packages), source.entry())
    _note(plan, packages, packages_edit.text, packages_edit.by_hand)
    if source.git is None and not _same_tree(guard_folder(), project_dir / VENDORED):
        plan.vendor = "copy"
    path = project_dir / POLICY_FILE
    if policy is not None and not path.exists():
        plan.files[path] = policy
    return plan


def plan_remove(project_dir: Path) -> Plan:
    """What ``init --remove`` would change: exactly the lines, the folder and the policy that ``init`` added."""
    plan = Plan(project_dir)
    for path in (_project_file(project_dir), project_dir / "packages.yml", project_dir / "dependencies.yml"):
        old = _read(path)
        if old is not None and MARK in old:
            plan.files[path] = remove_marked(old) or None
    vendored = project_dir / VENDORED
    if vendored.is_dir():
        if _same_tree(guard_folder(), vendored):
            plan.vendor = "delete"
        else:
            plan.by_hand[VENDORED] = ("this copy was changed after it was made, so it stays; delete it yourself",)
    policy = _read(project_dir / POLICY_FILE)
    if policy is not None and is_untouched(policy):
        plan.files[project_dir / POLICY_FILE] = None
    elif policy is not None:
        plan.by_hand[POLICY_FILE] = ("this policy is your own by now, so it stays; delete it yourself",)
    return plan


def apply(plan: Plan) -> None:
    """Carry the plan out; each file is replaced as a whole, so a crash leaves the old or the new one."""
    for path, text in plan.files.items():
        if text is None:
            path.unlink()
            continue
        temporary = path.with_name(f".{path.name}.clyra")
        temporary.write_bytes(text.encode())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    target = plan.project_dir / VENDORED
    if plan.vendor is not None and target.exists():
        shutil.rmtree(target)
    if plan.vendor == "copy":
        shutil.copytree(guard_folder(), target, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
    if plan.vendor == "delete" and target.parent.is_dir() and not any(target.parent.iterdir()):
        target.parent.rmdir()


def _note(plan: Plan, path: Path, text: str, by_hand: tuple[str, ...]) -> None:
    if text != (_read(path) or ""):
        plan.files[path] = text
    if by_hand:
        plan.by_hand[path.name] = by_hand


def _project_file(project_dir: Path) -> Path:
    path = project_dir / "dbt_project.yml"
    if not path.is_file():
        raise ConfigurationError(
            f"no dbt_project.yml in {project_dir}; run this in a dbt project or name one with --project-dir"
        )
    return path


def _packages_file(project_dir: Path) -> Path:
    """dbt reads packages from ``dependencies.yml`` where that lists them, else from ``packages.yml``."""
    dependencies = project_dir / "dependencies.yml"
    text = _read(dependencies) or ""
    if any(line.startswith("packages:") for line in remove_marked(text).splitlines()):
        return dependencies
    return project_dir / "packages.yml"


def _read(path: Path) -> str | None:
    return _text(path) if path.is_file() else None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path.name} is not UTF-8; save it as UTF-8 and run this again") from exc


def _same_tree(one: Path, other: Path) -> bool:
    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not {"target", "logs", "__pycache__"} & set(path.relative_to(folder).parts)
        }

    return other.is_dir() and files(one) == files(other)
