# SPDX-License-Identifier: Apache-2.0
"""Root and others: nobody's server runs as root, and no permission that was there before is changed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from clyra.postgres import Binaries, EmbeddedPostgres, connect, find_binaries
from clyra.postgres._account import server_account
from clyra.postgres._home import _ELSEWHERE
from clyra.spec.errors import ConfigurationError, UnavailableError

RunUnprivileged = Callable[..., subprocess.CompletedProcess[str]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers under another account")

START = """
import os, sys
from clyra.postgres import EmbeddedPostgres, connect
from clyra.spec.errors import ClyraError
try:
    with EmbeddedPostgres(sys.argv[1] or None, fast=True) as server, connect(server.dsn) as query:
        print(query("select current_user")[0][0], os.stat(server.log_path.parent / "data").st_uid == os.geteuid() != 0)
except ClyraError as error:
    print(error.code, error.message)
"""


def modes_up_to_root(path: Path) -> dict[Path, tuple[int, int, int]]:
    found = {folder: folder.stat() for folder in (path, *path.parents)}
    return {folder: (stat.S_IMODE(what.st_mode), what.st_uid, what.st_gid) for folder, what in found.items()}


def test_an_ordinary_user_runs_the_server_as_themselves(unprivileged: RunUnprivileged) -> None:
    ran = unprivileged(START, "")
    assert ran.stdout == "clyra True\n", ran.stderr


def test_an_ordinary_user_keeps_a_server_in_a_folder(unprivileged: RunUnprivileged, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    for _ in range(2):
        ran = unprivileged(START, open_folder / "kept")
        assert ran.stdout == "clyra True\n", ran.stderr
    assert stat.S_IMODE((open_folder / "kept").stat().st_mode) == 0o700


def test_folder_that_may_not_be_written_is_named(unprivileged: RunUnprivileged, open_folder: Path) -> None:
    open_folder.chmod(0o555)
    ran = unprivileged(START, open_folder / "kept")
    assert ran.stdout.startswith(f"server_unavailable {open_folder / 'kept'} cannot be used: Permission denied; give")


def test_folder_that_may_not_be_read_is_named(unprivileged: RunUnprivileged, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    assert unprivileged("import os, sys; os.mkdir(sys.argv[1], 0)", open_folder / "kept").returncode == 0
    ran = unprivileged(START, open_folder / "kept")
    assert ran.stdout.startswith(f"server_unavailable {open_folder / 'kept'} cannot be used: Permission denied; give")


@as_root
def test_folder_of_somebody_else_is_refused(unprivileged: RunUnprivileged, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    assert unprivileged("import os, sys; os.mkdir(sys.argv[1], 0o777)", open_folder / "theirs").returncode == 0
    with pytest.raises(ConfigurationError, match="belongs to another user; give a folder of your own"):
        EmbeddedPostgres(open_folder / "theirs").start()


@as_root
def test_root_keeps_the_data_in_a_folder_the_account_can_reach(open_folder: Path) -> None:
    before = modes_up_to_root(open_folder)
    postgres = EmbeddedPostgres(open_folder / "kept", fast=True)
    with postgres as server:
        assert postgres.data_folder == open_folder / "kept" / "data"
        assert server.log_path == open_folder / "kept" / "postgres.log"
        assert (open_folder / "kept").stat().st_uid == 0
        assert stat.S_IMODE((open_folder / "kept").stat().st_mode) == 0o710
    assert modes_up_to_root(open_folder) == before


@as_root
def test_root_keeps_the_data_elsewhere_where_the_account_cannot_go(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    before = modes_up_to_root(closed)
    postgres = EmbeddedPostgres(closed / "kept", fast=True)
    with postgres as server, connect(server.dsn) as query:
        query("create table orders (id int)")
        assert postgres.data_folder is not None
        assert postgres.data_folder.parent.parent == _ELSEWHERE
        assert (closed / "kept" / "data").readlink() == postgres.data_folder
        assert modes_up_to_root(closed) == before
    with postgres as server, connect(server.dsn) as query:
        assert query("select count(*) from orders") == [(0,)]
        elsewhere = postgres.data_folder.parent
    postgres.remove()
    assert not elsewhere.exists()
    assert not (closed / "kept").exists()


@as_root
@pytest.mark.parametrize("target", ["/etc", "/var/lib", str(_ELSEWHERE / "absent" / "data")])
def test_link_to_anywhere_else_is_not_followed(target: str, open_folder: Path) -> None:
    (open_folder / "data").symlink_to(target)
    with pytest.raises(ConfigurationError, match="leads to no folder under"):
        EmbeddedPostgres(open_folder).start()


@as_root
@pytest.mark.parametrize("source", ["system", "wheel"])
def test_root_copies_programs_the_account_cannot_reach(source: str, tmp_path: Path) -> None:
    original = _closed_copy(source, tmp_path)
    before = modes_up_to_root(original.folder)
    postgres = EmbeddedPostgres(None, fast=True, binaries=original)
    with postgres as server, connect(server.dsn) as query:
        assert query("select 1") == [(1,)]
        assert postgres.data_folder is not None
        copies = postgres.data_folder.parent / "binaries"
        strange = [path for path in copies.rglob("*") if path.lstat().st_uid != 0 or path.lstat().st_mode & 0o022]
        assert [path for path in strange if not path.is_symlink()] == []
    assert modes_up_to_root(original.folder) == before
    assert not copies.exists()


@as_root
def test_copy_of_programs_is_used_again(tmp_path: Path) -> None:
    original = _closed_copy("wheel", tmp_path)
    postgres = EmbeddedPostgres(tmp_path / "kept", fast=True, binaries=original)
    try:
        inodes = set()
        for _ in range(2):
            with postgres:
                assert postgres.data_folder is not None
                (program,) = (postgres.data_folder.parent / "binaries").rglob("bin/postgres")
                inodes.add(program.stat().st_ino)
        assert len(inodes) == 1
    finally:
        postgres.remove()


def test_programs_without_a_folder_of_their_own_are_not_copied(tmp_path: Path) -> None:
    from clyra.postgres.binaries import copy_binaries

    with pytest.raises(UnavailableError, match="cannot run the programs in"):
        copy_binaries(Binaries(Path("/usr/local/bin"), "15.1", "system"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@as_root
def test_account_has_no_rights() -> None:
    account = server_account()
    ran = account.run(["/bin/sh", "-c", "id -u; id -G; umask"])
    assert ran.stdout.split() == [str(account.uid), str(account.gid), "0077"]


def _closed_copy(source: str, tmp_path: Path) -> Binaries:
    """An installation that only we can reach, as in a home folder."""
    found = find_binaries("wheel" if source == "wheel" else "system")
    if found.source != source:
        pytest.skip(f"no installation of kind {source}")
    prefix = found.folder.parent
    package = tmp_path / prefix.parent.name
    shutil.copytree(prefix, package / prefix.name, symlinks=True)
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, tmp_path / libraries.name)
    package.chmod(0o700)
    return Binaries(package / prefix.name / "bin", found.version, found.source)
