"""Child programs that die with us, and what the process table says about them. Linux only (/proc, prctl)."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")
_POLL_S = 0.01


class LocalStackError(RuntimeError):
    """Something of the local stack cannot start or go on; the text is a sentence for the person who runs it."""


@dataclass(frozen=True)
class User:
    """The account a program runs under."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessRow:
    """A line of the process table. `started` is in clock ticks since boot: with the pid it names a process for good."""

    pid: int
    parent: int
    session: int
    state: str
    started: int


def process_row(pid: int) -> ProcessRow | None:
    """The row of a live process; None when there is none, or only a zombie that nobody has reaped yet."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
    if fields[0] in "ZX":
        return None
    return ProcessRow(pid, int(fields[1]), int(fields[3]), fields[0], int(fields[19]))


def process_rows() -> list[ProcessRow]:
    """All live processes."""
    rows = (process_row(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [row for row in rows if row is not None]


def family(pid: int) -> list[int]:
    """Pids of `pid`'s descendants and of everyone in its session, parents before children, without `pid` itself."""
    rows = process_rows()
    found = {pid: None}  # a dict keeps the order
    while True:
        fresh = [r.pid for r in rows if r.pid not in found and (r.parent in found or r.session == pid)]
        if not fresh:
            return [p for p in found if p != pid]
        found.update(dict.fromkeys(fresh))


def send_signal(pid: int, number: int) -> bool:
    """Signal a process; False when it is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], timeout_s: float, poll_s: float = _POLL_S) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(poll_s)
    return True


class _Spawner:
    """One thread per process that starts every child.

    The kernel ties PR_SET_PDEATHSIG to the *thread* that forked: a child started from a short-lived thread would be
    signalled when that thread ends. This one ends with the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._jobs: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]

    def run(self, job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._pid != os.getpid():  # first use, or we are a fork in which the thread does not exist
                self._pid, self._jobs = os.getpid(), queue.SimpleQueue()
                threading.Thread(target=self._work, name="spawner", daemon=True).start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((job, future))
        return future.result()

    def _work(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
                future.set_exception(error)
            del job, future  # or the last child's Popen is kept alive by this frame


_SPAWNER = _Spawner()


class Child:
    """A running program in its own session, so Ctrl-C reaches it only through us. If we die it gets `death_signal`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        death_signal: signal.Signals = signal.SIGTERM,
        user: User | None = None,
        stdin: bytes | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        ids = [str(user.uid), str(user.gid)] if user else ["-1", "-1"]
        head = [sys.executable, "-I", "-S", str(_LAUNCHER), str(int(death_signal)), str(os.getpid()), *ids, "--"]

        def start() -> subprocess.Popen[bytes]:
            with log.open("ab") as out:
                return subprocess.Popen(  # noqa: S603 - programs that this package names
                    [*head, *argv],
                    cwd=cwd,
                    env=dict(env),
                    stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=pass_fds,
                )

        self._popen = _SPAWNER.run(start)
        self._cleaned = False
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._popen.stdin as pipe:
                pipe.write(stdin or b"")

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended in time."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: int) -> None:
        """Signal the program alone; nothing happens when it has ended."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL the program and all that it started, and wait until they are gone."""
        if self._cleaned:  # by now its pid may be somebody else's
            return
        others = family(self.pid)
        self._popen.kill()
        self._popen.wait()
        others += family(self.pid)  # again: it may have started one between the look and the kill
        for pid in others:
            send_signal(pid, signal.SIGKILL)
        self._cleaned = wait_until(lambda: not any(process_row(pid) for pid in others), timeout_s=5)

    def stop(self, number: int, timeout_s: float) -> bool:
        """Signal, wait, then kill what is left of it and of its descendants. False when it had to be killed."""
        others = family(self.pid) if self.running else []
        self.signal(number)
        in_time = self.wait(timeout_s)
        wait_until(lambda: not any(process_row(pid) for pid in others), timeout_s=1 if in_time else 0)
        self.kill()
        return in_time


def log_tail(log: Path, lines: int = 6) -> str:
    """The last lines of a log in one, for use in a sentence."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return "(no log)"
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip()) or "(its log is empty)"
