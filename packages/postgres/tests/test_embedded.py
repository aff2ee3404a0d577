# SPDX-License-Identifier: Apache-2.0
"""An embedded server: closed to others, gone when it should be, and still there when it should be."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clyra.postgres import Binaries, EmbeddedPostgres, Server, connect, find_binaries
from clyra.postgres._account import server_account
from clyra.postgres._process import read_postmaster, running_postmaster
from clyra.spec.errors import ClyraError, ConfigurationError, UnavailableError


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server in a folder, not started, removed after the test."""
    postgres = EmbeddedPostgres(tmp_path / "kept", fast=True)
    yield postgres
    postgres.remove()


def data_of(postgres: EmbeddedPostgres) -> Path:
    assert postgres.data_folder is not None
    return postgres.data_folder


def superuser_of(server: Server) -> str:
    assert server.superuser_dsn is not None
    return server.superuser_dsn


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a stranger's process has ended")


def kill_and_wait(pid: int, *, until_the_end_of: int | None = None) -> None:
    """Kill a process, and return when it, or another one that is no child of ours, has ended."""
    process = os.pidfd_open(until_the_end_of or pid)
    os.kill(pid, signal.SIGKILL)
    ended = select.poll()
    ended.register(process, select.POLLIN)
    assert ended.poll(60_000)
    os.close(process)


def test_each_installation_serves_a_role_without_rights_and_nobody_without_a_password(each_binaries: Binaries) -> None:
    with EmbeddedPostgres(None, fast=True, binaries=each_binaries) as server, connect(server.dsn) as query:
        query("create table orders as select generate_series(1, 3) as id")
        assert query("select count(*) from orders") == [(3,)]
        rights = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        assert query(f"select {rights} from pg_roles where rolname = current_user") == [(False,) * 5]
        assert int(str(query("show server_version_num")[0][0])) // 10000 == each_binaries.major
        for wrong in (server.dsn.replace(server.password, "guess"), server.dsn.replace(f":{server.password}", "")):
            with pytest.raises(UnavailableError, match="password"), connect(wrong):
                pass
        with connect(superuser_of(server)) as superuser:
            assert superuser("select distinct auth_method from pg_hba_file_rules") == [("scram-sha-256",)]
            assert superuser("show listen_addresses") == [("127.0.0.1",)]
            assert superuser("show unix_socket_directories") == [("",)]
            assert superuser("show data_directory_mode") == [("0700",)]
            stored = "select bool_and(rolpassword like 'SCRAM-SHA-256$%') from pg_authid where rolcanlogin"
            assert superuser(stored) == [(True,)]


def test_server_does_not_run_as_root() -> None:
    postgres = EmbeddedPostgres(None, fast=True)
    with postgres:
        postmaster = running_postmaster(data_of(postgres))
        assert postmaster is not None
        assert data_of(postgres).stat().st_uid == server_account().uid != 0
        if sys.platform == "linux":
            assert Path(f"/proc/{postmaster.pid}").stat().st_uid == server_account().uid


def test_passwords_are_in_no_log_no_process_list_and_no_repr() -> None:
    postgres = EmbeddedPostgres(None, fast=True, settings={"log_statement": "all", "log_connections": "on"})
    with postgres as server:
        with connect(server.dsn) as query:
            query("select 1")
        assert server.log_path is not None
        log = server.log_path.read_text()
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        superuser_password = superuser_of(server).split(":")[2].partition("@")[0]
        assert "select 1" in log
        for password in (server.password, superuser_password):
            assert len(password) == 48
            assert password not in log + listed + repr(server)


def test_files_are_closed_to_others(kept: EmbeddedPostgres) -> None:
    with kept as server:
        assert server.log_path is not None
        home = server.log_path.parent
        assert stat.S_IMODE(data_of(kept).stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "state.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(server.log_path.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.stat().st_mode) & 0o007 == 0


def test_server_gets_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLYRA_SIGNING_KEY", "a key")
    monkeypatch.setenv("PGPORT", "1")
    with EmbeddedPostgres(None, fast=True) as server, connect(superuser_of(server)) as query:
        query("create temp table seen (line text)")
        query("copy seen from program 'env'")
        names = {str(line).partition("=")[0] for (line,) in query("select line from seen")}
    assert "PATH" in names
    assert not {"CLYRA_SIGNING_KEY", "PGPORT"} & names


def test_settings_reach_the_server() -> None:
    settings = {"log_statement": "all", "work_mem": "7MB", "clyra.note": "with spaces"}
    with EmbeddedPostgres(None, fast=True, settings=settings) as server, connect(server.dsn) as query:
        assert query("show work_mem") == [("7MB",)]
        assert query("show clyra.note") == [("with spaces",)]
        assert query("show fsync") == [("off",)]


def test_disk_is_waited_for_unless_told_otherwise() -> None:
    with EmbeddedPostgres(None) as server, connect(server.dsn) as query:
        assert query("show fsync") == [("on",)]
        assert query("show full_page_writes") == [("on",)]


def test_temporary_server_leaves_nothing() -> None:
    postgres = EmbeddedPostgres(None, fast=True)
    with postgres as server:
        folder = data_of(postgres).parent
        assert folder.is_dir()
    assert not folder.exists()
    assert postgres.data_folder is None
    with pytest.raises(UnavailableError, match="nothing listens"), connect(server.dsn):
        pass


def test_temporary_server_leaves_nothing_after_an_exception() -> None:
    postgres = EmbeddedPostgres(None, fast=True)
    folders = []

    def fail() -> None:
        with postgres:
            folders.append(data_of(postgres).parent)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert folders
    assert not folders[0].exists()


def test_temporary_server_that_cannot_start_leaves_nothing(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    with EmbeddedPostgres(None, fast=True) as server:
        assert server.log_path is not None
        assert server.log_path.parent.parent == open_folder
    with pytest.raises(ConfigurationError):
        EmbeddedPostgres(None, fast=True, settings={"nonsense": "1"}).start()
    assert list(open_folder.iterdir()) == []


def test_stopping_twice_and_before_a_start_does_nothing(tmp_path: Path) -> None:
    EmbeddedPostgres(None).stop()
    EmbeddedPostgres(tmp_path / "never").stop()
    postgres = EmbeddedPostgres(None, fast=True)
    postgres.start()
    postgres.stop()
    postgres.stop()
    assert not (tmp_path / "never").exists()


def test_data_and_address_stay_from_start_to_start(kept: EmbeddedPostgres) -> None:
    with kept as first, connect(first.dsn) as query:
        query("create table orders (id int)")
    with kept as second, connect(second.dsn) as query:
        assert query("select count(*) from orders") == [(0,)]
    assert second == first


def test_second_start_is_much_faster_than_the_first(kept: EmbeddedPostgres) -> None:
    times = []
    for _ in range(2):
        began = time.perf_counter()
        kept.start()
        times.append(time.perf_counter() - began)
        kept.stop()
    assert times[1] < times[0] / 2


def test_server_that_runs_is_used_as_it_is(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    with kept as server:
        pid = read_postmaster(data_of(kept))
        with EmbeddedPostgres(tmp_path / "kept", fast=True) as again:
            assert again == server
        assert read_postmaster(data_of(kept)) == pid
        with connect(server.dsn) as query:
            assert query("select 1") == [(1,)]


def test_server_that_runs_is_stopped_by_anybody_who_asks(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    kept.start()
    EmbeddedPostgres(tmp_path / "kept").stop()
    assert running_postmaster(data_of(kept)) is None
    kept.stop()


def test_processes_that_start_at_once_share_one_server(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    code = (
        "import sys; from clyra.postgres import EmbeddedPostgres; "
        "print(EmbeddedPostgres(sys.argv[1], fast=True, detached=True).start())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "kept")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(set(outputs)) == 1


def test_detached_server_outlives_its_starter(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    code = (
        "import sys; from clyra.postgres import EmbeddedPostgres; "
        "print(EmbeddedPostgres(sys.argv[1], fast=True, detached=True).start().dsn)"
    )
    argv = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "kept")]
    dsn = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    with connect(dsn) as query:
        assert query("select 1") == [(1,)]
    with EmbeddedPostgres(tmp_path / "kept", detached=True) as server:
        assert server.dsn == dsn
    with connect(dsn) as query:
        assert query("select 1") == [(1,)]
    kept.stop()
    with pytest.raises(UnavailableError, match="nothing listens"), connect(dsn):
        pass


def test_detached_server_needs_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="no folder"):
        EmbeddedPostgres(None, detached=True)


@linux_only
@pytest.mark.parametrize("temporary", [True, False])
def test_server_ends_when_its_starter_is_killed(temporary: bool, tmp_path: Path, kept: EmbeddedPostgres) -> None:
    code = (
        "import sys; from clyra.postgres import EmbeddedPostgres; "
        "postgres = EmbeddedPostgres(sys.argv[1] or None, fast=True); postgres.start(); "
        "print(postgres.data_folder, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, "" if temporary else str(tmp_path / "kept")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        data = Path(starter.stdout.readline().strip())
        postmaster = read_postmaster(data)
        assert postmaster is not None
        guard = int(Path(f"/proc/{postmaster.pid}/stat").read_text().rpartition(")")[2].split()[1])
        kill_and_wait(starter.pid, until_the_end_of=guard)
    assert not Path(f"/proc/{postmaster.pid}").exists()
    if temporary:
        assert not data.parent.exists()
    else:
        with kept as server, connect(server.dsn) as query:
            assert query("select 1") == [(1,)]


@linux_only
def test_start_waits_for_a_server_that_is_shutting_down(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    server = kept.start()
    with connect(server.dsn) as held:
        held("create table orders (id int)")
        postmaster = read_postmaster(data_of(kept))
        assert postmaster is not None
        # A polite shutdown waits for this connection to end, and lets nobody in meanwhile.
        os.kill(postmaster.pid, signal.SIGTERM)
        while (status := read_postmaster(data_of(kept))) is not None and status.is_ready:
            held("select 1")
        started: list[Server] = []
        again = EmbeddedPostgres(tmp_path / "kept", fast=True)
        starter = threading.Thread(target=lambda: started.append(again.start()))
        starter.start()
    starter.join(60)
    with connect(started[0].dsn) as query:
        assert query("select count(*) from orders") == [(0,)]
    again.stop()


@linux_only
def test_server_that_was_killed_starts_again_with_its_data(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    with connect(kept.start().dsn) as query:
        query("create table orders as select 1 as id")
    postmaster = read_postmaster(data_of(kept))
    assert postmaster is not None
    kill_and_wait(postmaster.pid)
    with EmbeddedPostgres(tmp_path / "kept", fast=True) as again, connect(again.dsn) as query:
        assert query("select id from orders") == [(1,)]


@pytest.mark.parametrize("owner", ["nobody", "dead", "ours"])
def test_stale_pid_file_is_no_obstacle(owner: str, kept: EmbeddedPostgres) -> None:
    kept.start()
    lines = (data_of(kept) / "postmaster.pid").read_text().splitlines()
    kept.stop()
    account = server_account()
    with subprocess.Popen(["sleep", "60"], user=account.uid if account.is_other else None, cwd="/") as bystander:
        try:
            pids = {"nobody": "garbage", "dead": "4194304", "ours": str(bystander.pid)}
            stale = data_of(kept) / "postmaster.pid"
            stale.write_text("\n".join([pids[owner], *lines[1:]]) + "\n")
            os.chown(stale, account.uid, account.gid)
            with kept as server, connect(server.dsn) as query:
                assert query("select 1") == [(1,)]
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"port {port} is taken; give another") as refusal:
            EmbeddedPostgres(None, fast=True, port=port).start()
    assert refusal.value.code == "server_unavailable"


def test_another_port_is_chosen_when_the_last_one_is_taken(kept: EmbeddedPostgres) -> None:
    with kept as first:
        pass
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first.port))
        taken.listen()
        with kept as second, connect(second.dsn) as query:
            assert second.port != first.port
            assert query("select 1") == [(1,)]
    with kept as third:
        assert third.port == second.port


@pytest.mark.parametrize("name", ["listen_addresses", "port", "unix_socket_directories"])
def test_settings_that_keep_others_out_cannot_be_changed(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is fixed"):
        EmbeddedPostgres(None, settings={name: "*"})


@pytest.mark.parametrize("settings", [{"a b": "1"}, {"-c": "1"}, {"Work_Mem": "1"}, {"work_mem": "1\0"}])
def test_malformed_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="not a name and a value"):
        EmbeddedPostgres(None, settings=settings)


@pytest.mark.parametrize("settings", [{"no_such_setting": "1"}, {"work_mem": "much"}, {"wal_level": "x"}])
def test_settings_the_server_refuses_are_named(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(settings))}.*correct or remove") as refusal:
        EmbeddedPostgres(None, fast=True, settings=settings).start()
    assert refusal.value.code == "config_invalid"


def test_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds 'notes\.txt'; give an empty folder"):
        EmbeddedPostgres(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_data_of_somebody_else_is_refused(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    (open_folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigurationError, match="was not made by Clyra"):
        EmbeddedPostgres(open_folder).start()
    assert (open_folder / "data" / "PG_VERSION").read_text() == "15\n"


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ClyraError, match="give") as refusal:
            EmbeddedPostgres(path).start()
        assert refusal.value.code == "server_unavailable"


def test_damaged_state_is_named(kept: EmbeddedPostgres) -> None:
    with kept:
        state = data_of(kept).parent / "state.json"
    state.write_text("{")
    with pytest.raises(ConfigurationError, match=r"state\.json is damaged; restore it"):
        kept.start()
    assert data_of(kept).exists()


def test_data_of_another_major_is_refused(kept: EmbeddedPostgres, tmp_path: Path) -> None:
    with kept:
        (data_of(kept) / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigurationError, match=r"of Postgres 12.*use Postgres 12"):
        EmbeddedPostgres(tmp_path / "kept", binaries=find_binaries()).start()
    with pytest.raises(UnavailableError, match="no programs of Postgres 12"):
        kept.start()


def test_interrupted_creation_is_begun_anew(kept: EmbeddedPostgres) -> None:
    with kept:
        home = data_of(kept).parent
    # What a kill between the first file and the last step leaves behind.
    os.rename(home / "data", home / "data.new")
    (home / "data.new" / "PG_VERSION").unlink()
    with kept as server, connect(server.dsn) as query:
        assert query("select current_user") == [("clyra",)]
    assert not (home / "data.new").exists()


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "kept", fast=True)
    with postgres:
        data = data_of(postgres)
    postgres.remove()
    assert not data.parent.exists()
    assert not (tmp_path / "kept").exists()


def test_server_of_a_dsn_is_used_and_left_alone(postgres_server: Server) -> None:
    with EmbeddedPostgres(None, dsn=postgres_server.dsn) as server:
        assert (server.host, server.port, server.dbname) == ("127.0.0.1", postgres_server.port, "clyra")
        assert (server.user, server.password) == (postgres_server.user, postgres_server.password)
        assert server.superuser_dsn is None
        assert server.log_path is None
    with connect(postgres_server.dsn) as query:
        assert query("select 1") == [(1,)]


def test_copied_folder_is_a_server_of_its_own(open_folder: Path) -> None:
    original = EmbeddedPostgres(open_folder / "a", fast=True)
    with original as server, connect(server.dsn) as query:
        query("create table orders (id int)")
    shutil.copytree(open_folder / "a", open_folder / "b", symlinks=True)
    account = server_account()
    for path in [open_folder / "b" / "data", *(open_folder / "b" / "data").rglob("*")]:
        os.chown(path, account.uid, account.gid)
    os.chown(open_folder / "b", -1, account.gid)
    with original as first, EmbeddedPostgres(open_folder / "b", fast=True) as second:
        assert first.port != second.port
        with connect(second.dsn) as query:
            assert query("select count(*) from orders") == [(0,)]
