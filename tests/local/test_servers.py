"""The embedded servers, for real: what survives, what dies with whom, and what is refused."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local import folder as folders
from deploy.local.folder import free_port
from deploy.local.postgres import SETTINGS, PostgresServer
from deploy.local.process import LocalStackError, family, process_row, send_signal, wait_until
from deploy.local.server import EmbeddedServer
from deploy.local.valkey import ValkeyServer
from tests.processes import command_lines

SERVERS: list[type[EmbeddedServer]] = [PostgresServer, ValkeyServer]


def put(server: EmbeddedServer, text: str) -> None:
    if isinstance(server, PostgresServer):
        with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (body text)")
            connection.execute("INSERT INTO kept VALUES (%s)", [text])
    else:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            client.rpush("kept", text)


def held(server: EmbeddedServer) -> list[str]:
    if isinstance(server, PostgresServer):
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            return [row[0] for row in connection.execute("SELECT body FROM kept ORDER BY body").fetchall()]
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return sorted(str(entry) for entry in client.lrange("kept", 0, -1))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder with a space in its path; what was put elsewhere on its behalf is removed afterwards."""
    path = tmp_path / "data folder"
    yield path
    for kind in SERVERS:
        if (path / f"{kind.what.lower()}.lock").exists():
            kind(path, durable=False).destroy()


@pytest.mark.parametrize("kind", SERVERS)
def test_what_was_acknowledged_survives_a_kill_and_a_stop(kind: type[EmbeddedServer], folder: Path) -> None:
    with kind.start(folder) as server:
        put(server, "before the kill")
        port, old = server.port, server.pid
        server.restart()
        assert server.pid != old
        assert server.port == port, "clients must find it again without a new address"
        put(server, "before the stop")
    assert not server.running
    with kind.start(folder) as server:
        assert held(server) == ["before the kill", "before the stop"]


@pytest.mark.parametrize("kind", SERVERS)
def test_two_run_side_by_side_and_know_nothing_of_each_other(kind: type[EmbeddedServer], folder: Path) -> None:
    with kind.start(folder, durable=False) as one, kind.start(folder / "other", durable=False) as two:
        put(one, "one")
        put(two, "two")
        assert (held(one), held(two)) == (["one"], ["two"])
        two.destroy()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_folder_in_use_is_refused_with_a_sentence(kind: type[EmbeddedServer], folder: Path) -> None:
    with kind.start(folder, durable=False) as server:
        with pytest.raises(LocalStackError, match=rf"already running on the data folder .*process {os.getpid()}"):
            kind.start(folder, durable=False)
        server.kill()
        with pytest.raises(LocalStackError, match="already running"):  # killed, but to be restarted by its owner
            kind.start(folder, durable=False)
        server.restart()
        put(server, "still ours")
    kind.start(folder, durable=False).stop()


@pytest.mark.parametrize("kind", SERVERS)
def test_only_its_password_opens_it(kind: type[EmbeddedServer], folder: Path) -> None:
    with kind.start(folder, durable=False) as server:
        secret = folder / f"{kind.what.lower()}.password"
        assert secret.stat().st_mode & 0o777 == 0o600
        password = secret.read_text()
        assert password in server.url
        shown = command_lines([server.pid, *family(server.pid)])
        assert server.pid in shown
        assert not [pid for pid, line in shown.items() if password in line]
        if isinstance(server, PostgresServer):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(server.url.replace("+psycopg", "").replace(password, "wrong"))
        else:
            with (
                redis.Redis.from_url(f"redis://127.0.0.1:{server.port}", retry=None) as client,
                pytest.raises(redis.AuthenticationError),
            ):
                client.ping()


PARENT = """
import json, sys
from pathlib import Path
from threading import Thread
from deploy.local.postgres import PostgresServer
from deploy.local.valkey import ValkeyServer
servers = []
kinds = [PostgresServer, ValkeyServer]
# From threads that end at once: the servers must hang on the process, not on the thread that asked for them.
for kind in kinds:
    thread = Thread(target=lambda: servers.append(kind.start(Path(sys.argv[1]))))
    thread.start()
    thread.join()
print(json.dumps([server.pid for server in servers]), flush=True)
sys.stdin.read()
"""


def test_they_die_with_a_killed_parent_and_give_the_folder_free(folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pids: list[int] = json.loads(parent.stdout.readline())
        pids += [member for pid in pids for member in family(pid)]
        assert len(pids) > 4, "Postgres has processes of its own"
        assert all(process_row(pid) for pid in pids)
        for name in ("postgresql.log", "valkey.log"):
            assert "shut" not in (folder / name).read_text().rpartition("ready to accept")[2], "not with the thread"
        parent.kill()
    # At once, without waiting: the lock is handed over only when the last process of the old server has gone.
    for kind in SERVERS:
        with kind.start(folder) as server:
            put(server, "after the crash")
    assert not [pid for pid in pids if process_row(pid)]


def test_a_stale_pid_file_harms_nobody(folder: Path) -> None:
    with PostgresServer.start(folder, durable=False) as server:
        pid_file = server._pgdata / "postmaster.pid"
        content = pid_file.read_text()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text(content.replace(content.split()[0], str(stranger.pid), 1))
        with PostgresServer.start(folder, durable=False) as server:
            put(server, "up all the same")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_interrupted_first_start_is_made_good(folder: Path) -> None:
    with PostgresServer.start(folder, durable=False) as server:
        pgdata = server._pgdata
    half = pgdata.with_name("pgdata.new")
    pgdata.rename(half)  # what a kill in the middle of initdb leaves
    (half / "PG_VERSION").unlink()
    with PostgresServer.start(folder, durable=False) as server:
        put(server, "made anew")


def test_a_frozen_server_answers_again_after_the_thaw(folder: Path) -> None:
    with ValkeyServer.start(folder, durable=False) as server:
        server.freeze()
        with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.thaw()
            assert wait_until(lambda: bool(client.ping()), timeout_s=5)


def test_postgres_runs_with_the_settings_we_rely_on(folder: Path) -> None:
    with PostgresServer.start(folder) as server, psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        for name, value in {**SETTINGS, "fsync": "on", "full_page_writes": "on", "data_checksums": "on"}.items():
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row is not None
            assert row[0].removesuffix("s") in (value, value.removesuffix("s")), name


def test_valkey_runs_with_the_settings_we_rely_on(folder: Path) -> None:
    with ValkeyServer.start(folder) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_ports_lie_below_those_the_kernel_gives_to_clients() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert low <= 12000 or all(free_port() < low for _ in range(20))


def test_a_port_that_was_given_is_not_given_again_before_anybody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to another process either: the mark is the kernel's."""
    numbers = random.SystemRandom().sample(range(20000, 30000), k=200)

    class Same:
        def sample(self, population: object, k: int) -> list[int]:
            return numbers[:k]

    monkeypatch.setattr(random, "SystemRandom", Same)
    mine = [free_port() for _ in range(5)]
    assert len(set(mine)) == 5
    ask = f"import deploy.local.folder as f; print([p for p in {mine} if f._reserved(p)])"
    assert subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_signals_to_the_gone_are_no_error() -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    assert not send_signal(done.pid, signal.SIGTERM)


def test_what_lies_elsewhere_goes_when_its_origin_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_public_base", lambda: tmp_path)
    origin = tmp_path / "origin"
    origin.mkdir()
    elsewhere = folders.public_folder("data", origin)
    assert folders.public_folder("data", origin) == elsewhere
    origin.rmdir()
    folders.sweep_public_folders("bin")
    assert elsewhere.exists()
    folders.sweep_public_folders("data")
    assert not elsewhere.exists()


def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_public_base", lambda: tmp_path)
    folders.public_folder("data", tmp_path).chmod(0o777)
    with pytest.raises(LocalStackError, match="made by somebody else"):
        folders.public_folder("data", tmp_path)


def test_a_missing_wheel_is_a_sentence() -> None:
    with pytest.raises(LocalStackError, match=r"The package some-wheel is not installed.* set DATABASE_URL"):
        folders.wheel_folder("no_such_module", "some-wheel", "DATABASE_URL")


def test_a_server_that_cannot_start_tells_why(folder: Path) -> None:
    with ValkeyServer.start(folder, durable=False) as server:
        put(server, "kept")
    for file in server.append_only_dir.glob("*.manifest"):
        file.write_text("nonsense\n")
    with pytest.raises(LocalStackError, match=r"Valkey did not start: .*manifest"):
        ValkeyServer.start(folder, durable=False)
    assert not server.running
