"""Processes that die are brought back, those that hang are killed, and what they started goes with them."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import guardian
from deploy.local.process import LocalStackError, family, process_row, wait_until
from deploy.local.supervisor import Spec, StopAskedError, Supervisor
from tests.local.dummies import POLITE, STUBBORN, says_deaf


def spec(program: str, **options: object) -> Spec:
    return Spec("dummy", (sys.executable, "-c", program), {"PATH": "/usr/bin:/bin"}, **options)  # type: ignore[arg-type]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs", backoff_first_s=0.05, backoff_most_s=0.2, steady_s=60)
    yield made
    made.hurry.set()
    made.stop([])
    made.close()


def test_a_dead_process_is_brought_back_and_what_it_started_is_not_left(supervisor: Supervisor) -> None:
    process = supervisor.add(spec(POLITE, ready=says_deaf))
    process.start()
    process.wait_ready()
    supervisor.watch()
    first, grandchildren = process.pid, family(process.pid)
    assert grandchildren
    process.kill()
    assert wait_until(lambda: process.starts == 2 and process.running, timeout_s=5)
    assert process.pid != first
    assert not [pid for pid in grandchildren if process_row(pid)]


def test_one_that_dies_at_once_is_tried_ever_more_seldom(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    process = supervisor.add(spec("raise SystemExit(3)"))
    process.start()
    supervisor.watch()
    assert wait_until(lambda: process.starts >= 5, timeout_s=10)
    waits = [float(r.getMessage().split()[-2]) for r in caplog.records if "started again in" in r.getMessage()]
    assert waits[:4] == pytest.approx([0.05, 0.1, 0.2, 0.2], rel=0.01)


def test_without_a_watch_the_dead_stay_dead_until_restarted(supervisor: Supervisor) -> None:
    process = supervisor.add(spec(POLITE))
    process.start()
    process.kill(signal.SIGKILL)
    assert wait_until(lambda: not process.running, timeout_s=5)
    assert process.exit_code == -signal.SIGKILL
    process.restart()
    assert process.running
    assert process.starts == 2


def test_a_deaf_process_is_killed_when_its_time_is_up(supervisor: Supervisor) -> None:
    process = supervisor.add(spec(STUBBORN, ready=says_deaf, stop_timeout_s=0.3))
    process.start()
    process.wait_ready()
    everyone = [process.pid, *family(process.pid)]
    supervisor.watch()
    process.stop()
    assert process.exit_code == -signal.SIGKILL
    assert not [pid for pid in everyone if process_row(pid)]


def test_a_frozen_process_can_be_stopped_in_order(supervisor: Supervisor) -> None:
    process = supervisor.add(spec(POLITE, ready=says_deaf))
    process.start()
    process.wait_ready()
    process.kill(signal.SIGSTOP)
    process.stop()
    assert process.exit_code == 0


def test_a_process_that_cannot_start_tells_why(supervisor: Supervisor) -> None:
    process = supervisor.add(spec("raise SystemExit('no such setting')", ready=lambda process: False))
    process.start()
    with pytest.raises(LocalStackError, match="dummy ended with code 1 while starting: no such setting"):
        process.wait_ready()


def test_a_process_that_is_never_ready_tells_so(supervisor: Supervisor) -> None:
    process = supervisor.add(spec(POLITE, ready=lambda process: False, ready_timeout_s=0.2))
    process.start()
    with pytest.raises(LocalStackError, match=r"not ready within 0\.2 s"):
        process.wait_ready()
    supervisor.stop_asked.set()
    with pytest.raises(StopAskedError):
        process.wait_ready(supervisor.stop_asked)


def test_the_guardian_spares_strangers_and_the_orderly(supervisor: Supervisor) -> None:
    process = supervisor.add(spec(POLITE, ready=says_deaf))
    process.start()
    process.wait_ready()
    row = process_row(process.pid)
    assert row is not None
    assert guardian.survivors({process.pid: row.started - 1}) == [], "another process had that number"
    assert set(guardian.survivors({process.pid: row.started})) == {process.pid, *family(process.pid)}
    guardian.main([f"+{process.pid}\n", f"-{process.pid}\n"], grace_s=0)
    assert process.running
