"""Points are struck when armed, once, in the process that is meant, and leave word of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import strike
from tests.chaos.strike import ChaosError, Strikes
from tests.e2e.world import await_that

PASSER = """
import sys
from tests.chaos.strike import install
from shared.points import at
install()
for _ in range(int(sys.argv[1])):
    at("here")
print("lived")
"""


@pytest.fixture
def strikes(tmp_path: Path) -> Strikes:
    return Strikes(tmp_path / "chaos")


def passer(strikes: Strikes, times: int, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PASSER, str(times), *words],
        env={**os.environ, strike.FOLDER: str(strikes.folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_nth_passing_is_struck_whoever_passes(strikes: Strikes) -> None:
    strikes.arm("here", strike.EXIT, n=5)
    first = passer(strikes, 3)
    assert first.communicate()[0] == "lived\n"
    second = passer(strikes, 3)
    assert second.communicate()[0] == ""
    assert second.returncode == -signal.SIGKILL
    third = passer(strikes, 9)
    assert third.communicate()[0] == "lived\n"
    (came,) = strikes.came("here")
    assert (came.pid, came.action) == (second.pid, strike.EXIT)
    assert strikes.armed("here") is None


def test_several_in_a_row(strikes: Strikes) -> None:
    strikes.arm("here", strike.EXIT, n=2, times=2)
    codes = []
    for times in (2, 1, 4):
        process = passer(strikes, times)
        process.communicate()
        codes.append(process.returncode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]


def test_only_the_process_that_is_meant(strikes: Strikes) -> None:
    strikes.arm("here", strike.EXIT, process="worker-events")
    other, meant = passer(strikes, 2, "-n", "worker-control@%h"), passer(strikes, 2, "-n", "worker-events@%h")
    assert other.communicate()[0] == "lived\n"
    assert meant.communicate()[0] == ""
    assert [one.process for one in strikes.came()] == ["worker-events"]


def test_a_frozen_one_goes_on_when_thawed(strikes: Strikes) -> None:
    strikes.arm("here", strike.FREEZE)
    process = passer(strikes, 1)
    await_that(lambda: bool(strikes.came("here")), "it is struck")
    await_that(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T", "it is stopped")
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] == "lived\n"


def test_disarmed_and_forgotten(strikes: Strikes) -> None:
    strikes.arm("here", strike.RAISE, n=2)
    strikes.arm("there", strike.RAISE)
    assert strikes.passing("here") is None
    strikes.disarm("there")
    assert strikes.passing("there") is None
    armed = strikes.passing("here")
    assert armed is not None
    with pytest.raises(ChaosError):
        strike.perform(armed, "here")
    assert [one.point for one in strikes.came()] == ["here"]
    strikes.forget()
    assert strikes.came() == []
