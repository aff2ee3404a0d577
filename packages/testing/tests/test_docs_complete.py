# SPDX-License-Identifier: Apache-2.0
"""What the code reads from its surroundings is documented in one place."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def names(pattern: str, *globs: str) -> set[str]:
    found: set[str] = set()
    for glob in globs:
        for path in ROOT.glob(glob):
            found |= set(re.findall(pattern, path.read_text("utf-8")))
    return found


def test_every_environment_variable_is_on_the_settings_page() -> None:
    read = names(r"\bCLYRA_[A-Z][A-Z_]*[A-Z]\b", "packages/*/src/**/*.py", "dbt_packages/**/*.sql")
    documented = names(r"\bCLYRA_[A-Z][A-Z_]*[A-Z]\b", "docs/settings.md")
    assert read == documented


def test_every_dbt_variable_is_on_the_settings_page() -> None:
    read = names(r"""var\(\s*["'](clyra_[a-z_]+)["']""", "packages/dbt/src/**/*.py")
    assert read <= names(r"`(clyra_[a-z_]+)`", "docs/settings.md")
    assert read


def test_every_code_that_is_raised_is_in_the_specification() -> None:
    raised = names(r"""code=["']([a-z_0-9]+)["']""", "packages/*/src/**/*.py")
    listed = names(r"(?m)^\| `([a-z_0-9]+)` \|", "spec/errors.md")
    assert raised <= listed
