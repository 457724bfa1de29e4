"""What happens at the product's named points: armed and disarmed by files, so that no process is restarted for it.

BOTHWAYS_TEST_HOOK="tests.chaos.strike:install" makes each product process look into the folder BOTHWAYS_CHAOS_DIR
whenever it passes a point. A file named as the point arms it; passings are counted over all processes under a lock.
Each strike leaves a line in `<point>.struck` before it acts, so that a cell knows that its step was really hit.
"""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.points import arm as arm_points

FOLDER = "BOTHWAYS_CHAOS_DIR"
HOOK = "tests.chaos.strike:install"

EXIT, FREEZE, RAISE, SLEEP = "exit", "freeze", "raise", "sleep"


class ChaosError(RuntimeError):
    """What a point raises when it is armed so: a mistake nobody has thought of."""


@dataclass(frozen=True)
class Armed:
    """`n`: the first passing that is struck; `times`: how many in a row from there; `process`: only those whose
    command line holds it; `passed` counts the passings until now."""

    action: str
    n: int = 1
    times: int = 1
    ms: int = 0
    process: str = ""
    passed: int = 0


@dataclass(frozen=True)
class Strike:
    """One that came: `at` is epoch seconds."""

    point: str
    action: str
    pid: int
    at: float
    thread: str
    process: str


class Strikes:
    """The folder, from either end: tests arm and look, product processes pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = folder / ".lock"

    def arm(self, point: str, action: str, *, n: int = 1, times: int = 1, ms: int = 0, process: str = "") -> None:
        """Replaces what was armed there before."""
        with self._locked():
            self._write(point, Armed(action, n, times, ms, process))

    def disarm(self, point: str | None = None) -> None:
        """One point, or all of them. Strikes that came stay on record."""
        with self._locked():
            for path in self.folder.iterdir():
                if not path.name.endswith(".struck") and path != self._lock and point in (None, path.name):
                    path.unlink()

    def forget(self) -> None:
        """All of it: what is armed and what came."""
        with self._locked():
            for path in self.folder.iterdir():
                if path != self._lock:
                    path.unlink()

    def came(self, point: str | None = None) -> list[Strike]:
        """In the order in which they came."""
        found: list[Strike] = []
        for path in self.folder.glob(f"{point or '*'}.struck"):
            found += [Strike(**json.loads(line)) for line in path.read_text().splitlines()]
        return sorted(found, key=lambda one: one.at)

    def armed(self, point: str) -> Armed | None:
        """What is still to come there."""
        try:
            return Armed(**json.loads((self.folder / point).read_text()))
        except FileNotFoundError:
            return None

    def passing(self, point: str) -> Armed | None:
        """Counts one passing; the armed action if this one is to be struck."""
        if not (self.folder / point).exists():
            return None
        with self._locked():
            armed = self.armed(point)
            if armed is None or (armed.process and not any(armed.process in word for word in _command())):
                return None
            passed = armed.passed + 1
            struck = passed >= armed.n
            if struck:
                self._note(point, armed.action)
            if struck and passed + 1 >= armed.n + armed.times:
                (self.folder / point).unlink()
            else:
                self._write(point, Armed(**{**asdict(armed), "passed": passed}))
            return armed if struck else None

    def _note(self, point: str, action: str) -> None:
        strike = Strike(point, action, os.getpid(), time.time(), threading.current_thread().name, process_name())
        with (self.folder / f"{point}.struck").open("a") as file:
            file.write(json.dumps(asdict(strike)) + "\n")

    def _write(self, point: str, armed: Armed) -> None:
        fresh = self.folder / f".{point}.new"
        fresh.write_text(json.dumps(asdict(armed)))
        fresh.replace(self.folder / point)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # closing it, also by a kill, gives it back
            yield


def _command() -> list[str]:
    return [sys.executable, *sys.argv]


def process_name() -> str:
    """The worker's name of its command line, else the program's folder."""
    for name, value in zip(sys.argv, sys.argv[1:], strict=False):
        if name == "-n":
            return value.partition("@")[0]
    return Path(sys.argv[0]).parent.name


def perform(armed: Armed, point: str) -> None:
    if armed.action == EXIT:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the signal comes before this line is over
    elif armed.action == FREEZE:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif armed.action == SLEEP:
        time.sleep(armed.ms / 1000)
    elif armed.action == RAISE:
        raise ChaosError(f"struck at {point}")
    else:
        raise ValueError(f"no action {armed.action!r}")


def install() -> None:
    """The hook: called as each product process starts. SIGUSR2 makes it say what its threads are doing."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    strikes = Strikes(Path(os.environ[FOLDER]))

    def strike(point: str) -> None:
        armed = strikes.passing(point)
        if armed is not None:
            perform(armed, point)

    arm_points(strike)
