"""Starts processes, brings back those that die, and stops them in order. Every process may exit at any line."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deploy.local.process import Child, LocalStackError, log_tail, wait_until

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
_LOG_MAX_BYTES = 10_000_000
_WATCH_S = 0.1


@dataclass(frozen=True)
class Spec:
    """A process to run. `ready` looks at the process and says whether it works; without it, alive is ready."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path = ROOT
    ready: "Callable[[Process], bool] | None" = None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0


class Unit(Protocol):
    """What the supervisor brings back: a process, or an embedded server."""

    name: str
    wanted: bool

    @property
    def running(self) -> bool: ...

    def start_again(self) -> None: ...


class Process:
    """One supervised process, which over time may be several programs: `pid` is that of the last one."""

    def __init__(self, spec: Spec, log_dir: Path, guardian: "Guardian") -> None:
        self.spec = spec
        self.name = spec.name
        self.wanted = False
        self.starts = 0
        self.log_path = log_dir / f"{spec.name}.log"
        self._log_start = 0
        self._guardian = guardian
        self._child: Child | None = None
        self._lock = threading.RLock()  # the supervisor's thread and a test's may both act on it

    @property
    def pid(self) -> int:
        """Errors: LocalStackError when it was never started."""
        if self._child is None:
            raise LocalStackError(f"{self.name} was not started.")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def exit_code(self) -> int | None:
        return self._child.exit_code if self._child else None

    def output(self) -> str:
        """What it has written since it was last started."""
        with self.log_path.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def start(self) -> None:
        """Start it if it does not run; does not wait until it is ready."""
        with self._lock:
            self.wanted = True
            if self.running:
                return
            self._clean_up()
            self._turn_log()
            self._child = Child(self.spec.argv, cwd=self.spec.cwd, env=self.spec.env, log=self.log_path)
            self._guardian.watch(self._child.pid)
            self.starts += 1

    def start_again(self) -> None:
        with self._lock:
            if self.wanted:
                self.start()

    def wait_ready(self, stop_asked: threading.Event | None = None) -> None:
        """Errors: LocalStackError when it ends, or does not become ready in time, or a stop was asked for."""
        asked = stop_asked or threading.Event()
        wait_until(lambda: asked.is_set() or not self.running or self._is_ready(), self.spec.ready_timeout_s, 0.05)
        if asked.is_set():
            raise StopAskedError("The stack was asked to stop while it was starting.")
        if not self.running:
            raise LocalStackError(
                f"{self.name} ended with code {self.exit_code} while starting: {log_tail(self.log_path)}"
            )
        if not self._is_ready():
            raise LocalStackError(
                f"{self.name} was not ready within {self.spec.ready_timeout_s:g} s: {log_tail(self.log_path)}"
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the program alone, as a fault; with restarts on, the supervisor brings it back when that ends it."""
        if self._child is not None:
            self._child.signal(number)

    def restart(self) -> None:
        """End it at once if it runs, and start it; no backoff."""
        with self._lock:
            if self._child is not None:
                self._child.kill()
            self.start()

    def stop(self, hurry: threading.Event | None = None) -> None:
        """TERM, wait for its stop timeout, then KILL it and whatever it started. It is not brought back."""
        stop_together([self], hurry or threading.Event())

    def _is_ready(self) -> bool:
        return self.spec.ready is None or self.spec.ready(self)

    def _turn_log(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_MAX_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0

    def _clean_up(self) -> None:
        """Once it has ended: its children must not go on without it."""
        if self._child is not None:
            self._child.kill()
            self._guardian.forget(self._child.pid)


def stop_together(processes: Iterable[Process], hurry: threading.Event) -> None:
    """Stop processes side by side, each within its own timeout; `hurry` cuts the waiting short."""
    begun = time.monotonic()
    stopping = list(processes)
    for process in stopping:
        with process._lock:
            process.wanted = False
            process.kill(signal.SIGTERM)
            process.kill(signal.SIGCONT)  # a frozen one would not see the first
    for process in stopping:
        left = begun + process.spec.stop_timeout_s - time.monotonic()
        if not wait_until(lambda p=process: not p.running or hurry.is_set(), max(0.0, left)):  # type: ignore[misc]
            log.warning("%s did not stop within %g s and is killed.", process.name, process.spec.stop_timeout_s)
        process._clean_up()


class StopAskedError(LocalStackError):
    """Not a fault: somebody pressed Ctrl-C during the start."""


class Guardian:
    """Our end of the pipe to `deploy.local.guardian`."""

    def __init__(self, grace_s: float) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "deploy.local.guardian", str(grace_s)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # or whoever reads our output would wait for it
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, pid: int) -> None:
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """All are stopped, or it ends what is left."""
        with self._lock:
            self._process.communicate()

    def _tell(self, line: str) -> None:
        with self._lock:
            pipe = self._process.stdin
            if pipe is not None and not pipe.closed:
                try:
                    pipe.write(line.encode())
                    pipe.flush()
                except BrokenPipeError:  # somebody killed it; the kernel's signal still ends the children
                    log.warning("The guardian process is gone.")


@dataclass
class _Watch:
    """When a unit was last seen to start, and how often in a row it died young."""

    unit: Unit
    since: float = field(default_factory=time.monotonic)
    deaths: int = 0
    due: float | None = None


class Supervisor:
    """Processes, and the thread that brings them back: after 1 s, then twice as long each time, at most 30 s."""

    def __init__(
        self,
        log_dir: Path,
        *,
        backoff_first_s: float = 1.0,
        backoff_most_s: float = 30.0,
        steady_s: float = 60.0,
        orphans_grace_s: float = 10.0,
        stop_asked: threading.Event | None = None,
        hurry: threading.Event | None = None,
    ) -> None:
        """`steady_s`: one that lived this long starts again at the first backoff.

        `orphans_grace_s`: what our processes get to end by themselves when *we* are killed; short, for they are
        crash-only. `stop_asked` ends a start that is under way; `hurry` makes `stop` kill instead of waiting.
        """
        log_dir.mkdir(parents=True, exist_ok=True)
        self.processes: dict[str, Process] = {}
        self.stop_asked = stop_asked or threading.Event()
        self.hurry = hurry or threading.Event()
        self._log_dir = log_dir
        self._backoff = (backoff_first_s, backoff_most_s, steady_s)
        self._watches: list[_Watch] = []
        self._guardian = Guardian(orphans_grace_s)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, spec: Spec) -> Process:
        """A process that is not started yet."""
        process = Process(spec, self._log_dir, self._guardian)
        self.processes[spec.name] = process
        self.bring_back(process)
        return process

    def bring_back(self, unit: Unit) -> None:
        """Restart this as well, once `watch` was called."""
        self._watches.append(_Watch(unit))

    def watch(self) -> None:
        """From now on, bring back what dies."""
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self, order: Sequence[Sequence[str]]) -> None:
        """Stop the named groups one after another, then whatever else there is. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        named = {name for group in order for name in group}
        rest = [name for name in self.processes if name not in named]
        for group in [*order, rest]:
            stop_together([self.processes[name] for name in group if name in self.processes], self.hurry)

    def close(self) -> None:
        self._guardian.close()

    def _run(self) -> None:
        while not self._ended.wait(_WATCH_S):
            for watch in list(self._watches):
                self._look(watch)

    def _look(self, watch: _Watch) -> None:
        now = time.monotonic()
        if not watch.unit.wanted or watch.unit.running:
            watch.due = None
            return
        if watch.due is None:
            watch.due = now + self._delay(watch, now)
            log.warning("%s has ended; it is started again in %g s.", watch.unit.name, watch.due - now)
        if now >= watch.due:
            watch.since, watch.due = now, None
            try:
                watch.unit.start_again()
            except (LocalStackError, OSError) as error:
                log.warning("%s could not be started again: %s", watch.unit.name, error)

    def _delay(self, watch: _Watch, now: float) -> float:
        first, most, steady = self._backoff
        watch.deaths = 1 if now - watch.since >= steady else watch.deaths + 1
        return min(most, first * 2.0 ** min(watch.deaths - 1, 30))
