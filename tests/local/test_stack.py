"""A stack as people start it, in a process of its own: nothing of it is left, however it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.postgres import PostgresServer
from deploy.local.process import LocalStackError, family, process_row, process_rows, wait_until
from deploy.local.stack import StackOptions, Worker, json_line, options_from, summary
from deploy.local.supervisor import StopAskedError
from tests.local.dummies import DummyStack
from tests.processes import command_lines

# Addresses of servers that nobody calls: for tests of which the servers are no part.
NO_SERVERS = {"DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data folder"
    yield path
    if (path / "postgresql.lock").exists():
        PostgresServer(path, durable=False).destroy()


def begin(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """A stack in a process of its own, once it is up."""
    command = [sys.executable, "-m", "tests.local.dummies", str(folder), *words]
    both = {**os.environ, **(env or {})}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=both)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Data "):
            return process
    raise AssertionError("it did not come up")


def everyone(process: "subprocess.Popen[str]", at_least: int) -> list[int]:
    found = [process.pid, *family(process.pid)]
    assert len(found) >= at_least
    return found


ALL = 16  # ourselves, the guardian, three processes with a child each, Valkey, and seven or more of Postgres
WITHOUT_SERVERS = 8


def left_of(pids: list[int]) -> list[str]:
    return list(command_lines(pid for pid in pids if process_row(pid)).values())


def test_ctrl_c_stops_everything_in_order(folder: Path) -> None:
    with begin(folder) as process:
        pids = everyone(process, ALL)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert left_of(pids) == []
    assert "shut down" in (folder / "postgresql.log").read_text().splitlines()[-1], "Postgres had time to finish"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_it_too(folder: Path, number: signal.Signals) -> None:
    with begin(folder, env=NO_SERVERS) as process:
        pids = everyone(process, WITHOUT_SERVERS)
        process.send_signal(number)
        assert process.wait(20) == 0
    assert left_of(pids) == []


def test_a_second_ctrl_c_stops_by_force(folder: Path) -> None:
    with begin(folder, "stubborn", env=NO_SERVERS) as process:
        pids = everyone(process, WITHOUT_SERVERS)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert any("Stopping" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(8) == 0, "sooner than the 10 s that each of the three is given"
    assert left_of(pids) == []


def test_nothing_outlives_a_killed_supervisor(folder: Path) -> None:
    with begin(folder) as process:
        pids = everyone(process, ALL)
        process.kill()
    assert wait_until(lambda: not left_of(pids), timeout_s=20), left_of(pids)


def test_two_stacks_side_by_side_and_one_folder_for_one(folder: Path) -> None:
    options = StackOptions(data_dir=folder, durable=False, flower=False)
    with DummyStack.start(options) as one:
        with pytest.raises(LocalStackError, match="Bothways is already running on the data folder"):
            DummyStack.start(options)
        other = StackOptions(data_dir=folder / "other", durable=False, flower=False)
        with DummyStack.start(other) as two:
            for name in ("DATABASE_URL", "REDIS_URL", "BOTHWAYS_API_URL", "BOTHWAYS_KEY_FILE"):
                assert one.env[name] != two.env[name]
        PostgresServer(folder / "other", durable=False).destroy()


def test_what_processes_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_NONSENSE", "1")
    with DummyStack.start(StackOptions(data_dir=folder, env={"BOTHWAYS_SHARDS": "2", **NO_SERVERS})) as stack:
        assert stack.env["BOTHWAYS_SHARDS"] == "2"
        assert stack.env["BOTHWAYS_API_URL"] == stack.api_url
        ring_file = Path(stack.env["BOTHWAYS_KEY_FILE"])
        assert ring_file.stat().st_mode & 0o777 == 0o600
        ring = json.loads(ring_file.read_text())
        assert list(ring["keys"]) == [ring["current"]]
        assert "FLOWER_NONSENSE" not in stack.env
        flower = stack._flower_spec()
        assert stack.flower_password in flower.env["FLOWER_BASIC_AUTH"]
        assert stack.flower_password not in " ".join(flower.argv)
        assert any(f"BOTHWAYS_DATA_DIR='{folder}' bothways tokens add" in line for line in summary(stack))


def test_servers_of_ones_own_are_used(folder: Path) -> None:
    with DummyStack.start(StackOptions(data_dir=folder, env=NO_SERVERS)) as stack:
        assert stack.env["DATABASE_URL"] == NO_SERVERS["DATABASE_URL"]
        assert (stack.postgres, stack.valkey) == (None, None)


def test_settings_are_left_to_the_owner_while_it_runs(folder: Path) -> None:
    folder.mkdir()
    left = folder / "env.json"
    left.write_text("{}")  # of a stack that was killed
    left.chmod(0o644)
    with DummyStack.start(StackOptions(data_dir=folder, env={**NO_SERVERS, "OTHER": "x"})) as stack:
        assert left.stat().st_mode & 0o777 == 0o600
        told = json.loads(left.read_text())
        assert {name: told[name] for name in NO_SERVERS} == NO_SERVERS
        assert told["BOTHWAYS_API_URL"] == stack.api_url
        assert "BOTHWAYS_KEY_FILE" in told
        assert not {"OTHER", "PATH"} & told.keys()
    assert not left.exists()


def test_a_dead_server_and_a_dead_process_come_back(folder: Path) -> None:
    with DummyStack.start(StackOptions(data_dir=folder, durable=False)) as stack:
        assert stack.valkey is not None
        server, worker = stack.valkey, stack.processes["worker-events"]
        old = (server.pid, worker.pid)
        os.kill(server.pid, signal.SIGKILL)
        worker.kill()
        assert wait_until(lambda: server.running and worker.running and worker.starts == 2, timeout_s=10)
        assert server.pid != old[0]
        assert worker.pid != old[1]


def test_a_stop_while_starting_leaves_nothing(folder: Path) -> None:
    asked = threading.Event()
    asked.set()
    before = _children()  # servers that other tests of this session share
    with pytest.raises(StopAskedError):
        DummyStack.start(StackOptions(data_dir=folder, durable=False), stop_asked=asked)
    assert _children() <= before


def _children() -> set[int]:
    return {row.pid for row in process_rows() if row.parent == os.getpid()}


def test_command_line() -> None:
    assert options_from(["--data-dir", "x y", "--sandbox", "--api-port", "8000", "--no-flower"]) == StackOptions(
        data_dir=Path("x y"), sandbox=True, api_port=8000, flower=False
    )


def test_worker_command_is_the_one_that_was_measured() -> None:
    command = " ".join(Worker("one", ("a", "b"), threads=3).command())
    assert command == (
        "celery -A workers.app worker -l INFO -P threads --without-gossip --without-mingle -c 3 -Q a,b -n one@%h"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("", None), ("hello\n", None), ('warned\n{"a": 1}\n', {"a": 1}), ('{"a": ', None), ("[1]\n", None)],
)
def test_the_line_the_sandbox_prints(text: str, found: object) -> None:
    assert json_line(text) == found
