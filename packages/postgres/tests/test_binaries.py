# SPDX-License-Identifier: Apache-2.0
"""Programs of Postgres are found, and what only looks like them is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clyra.postgres import Binaries, EmbeddedPostgres, connect, find_binaries
from clyra.postgres.binaries import iter_binaries
from clyra.spec.errors import UnavailableError


def _program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def _pretender(folder: Path, version: str, otherwise: str = "exit 1") -> Path:
    """Scripts that report a version, and do something else when asked for more."""
    for name in ("postgres", "initdb"):
        line = f"[ \"$1\" = --version ] && {{ echo '{name} (PostgreSQL) {version}'; exit; }}; {otherwise}"
        _program(folder, name, line)
    return folder


@pytest.fixture
def path_first(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> Path:
    """A folder at the front of PATH."""
    monkeypatch.setenv("PATH", f"{open_folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return open_folder / "bin"


def test_first_installation_is_one_of_all() -> None:
    found = list(iter_binaries())
    assert found[0] == find_binaries()
    assert len({binaries.folder for binaries in found}) == len(found)
    assert all(binaries.major >= 13 for binaries in found)


@pytest.mark.parametrize("kind", ["system", "wheel"])
def test_preferred_kind_comes_first(kind: str) -> None:
    sources = {binaries.source for binaries in iter_binaries()}
    if kind not in sources:
        pytest.skip(f"no installation of kind {kind}")
    assert find_binaries("system" if kind == "system" else "wheel").source == kind


def test_wheel_offers_its_newest_major_first() -> None:
    majors = [binaries.major for binaries in iter_binaries("wheel") if binaries.source == "wheel"]
    assert majors == sorted(majors, reverse=True)


def test_each_major_can_be_asked_for() -> None:
    for binaries in iter_binaries():
        assert find_binaries(major=binaries.major).major == binaries.major


def test_absent_programs_are_an_error_that_says_what_to_install() -> None:
    with pytest.raises(UnavailableError, match=r"no programs of Postgres 99.*apt-get install.*pip install") as refusal:
        find_binaries(major=99)
    assert refusal.value.code == "server_unavailable"


@pytest.mark.parametrize(
    ("reported", "version", "major"), [("14.2", "14.2", 14), ("19beta1", "19beta1", 19), ("20devel", "20devel", 20)]
)
def test_versions_are_read_as_postgres_writes_them(path_first: Path, reported: str, version: str, major: int) -> None:
    _pretender(path_first, f"{reported} (Debian 1.2-3)")
    assert find_binaries() == Binaries(path_first, version, "system")
    assert find_binaries().major == major


@pytest.mark.parametrize("version", ["12.22", "9.6.24", "x"])
def test_old_or_unreadable_versions_are_passed_over(path_first: Path, version: str) -> None:
    _pretender(path_first, version)
    assert find_binaries().folder != path_first


def test_programs_that_do_not_belong_together_are_passed_over(path_first: Path) -> None:
    _pretender(path_first, "15.1")
    _program(path_first, "initdb", "echo 'initdb (PostgreSQL) 16.1'")
    assert find_binaries().folder != path_first


def test_program_that_fails_or_is_missing_is_passed_over(path_first: Path) -> None:
    _program(path_first, "postgres", "echo 'postgres (PostgreSQL) 15.1'; exit 3")
    assert find_binaries().folder != path_first
    _program(path_first, "postgres", "echo 'postgres (PostgreSQL) 15.1'")
    assert find_binaries().folder != path_first


def test_wrapper_that_cannot_make_a_data_folder_is_passed_over(path_first: Path) -> None:
    _pretender(path_first, "17.0")
    assert find_binaries().folder == path_first
    with EmbeddedPostgres(None, fast=True) as server, connect(server.dsn) as query:
        assert query("select 1") == [(1,)]


def test_failure_of_the_programs_that_were_chosen_is_told(path_first: Path) -> None:
    _pretender(path_first, "17.0", "echo 'initdb: error: no more inodes' >&2; exit 2")
    with pytest.raises(UnavailableError, match=r"initdb ended with 2: initdb: error: no more inodes: install Postgres"):
        EmbeddedPostgres(None, binaries=find_binaries()).start()
