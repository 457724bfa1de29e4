"""A clock that only moves when told, and workers that only run while they are told to.

A worker's task runs on a thread of its own, but never while another does: `step` gives the thread back to the
scheduler in the midst of a call, as a coroutine would. A worker that is killed runs no further line with any effect;
one that is frozen is not let go until it is thawed.
"""

from __future__ import annotations

import heapq
import threading
from _thread import allocate_lock
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
EPOCH_S = EPOCH.timestamp()


class Dead(BaseException):
    """The process was killed: its frames unwind, and every further call of theirs ends here."""


class _Strand:
    """A thread that runs only between `resume` and `pause`."""

    def __init__(self) -> None:
        self._go, self._back = allocate_lock(), allocate_lock()
        self._go.acquire()
        self._back.acquire()
        self._job: Callable[[], None] | None = None
        self.done = True
        self.error: BaseException | None = None
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self) -> None:
        while True:
            self._go.acquire()
            try:
                if self._job is not None:
                    self._job()
            except Dead:
                pass
            except BaseException as error:  # noqa: BLE001  (handed to the scheduler's thread)
                self.error = error
            self.done = True
            self._back.release()

    def begin(self, job: Callable[[], None]) -> None:
        self._job, self.done, self.error = job, False, None

    def resume(self) -> None:
        self._go.release()
        self._back.acquire()

    def pause(self) -> None:
        self._back.release()
        self._go.acquire()


_idle: list[_Strand] = []


class Process:
    """A worker process with at most one task in hand. `name` is of this start: the next one has another."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task = ""
        self.at = ""
        self.dead = False
        self.frozen = False
        self.strand: _Strand | None = None
        self.wake_at = 0
        self.until: Callable[[], bool] | None = None

    def __repr__(self) -> str:
        return self.name


class Sched:
    """`now` is milliseconds since `EPOCH`. Timers run in the order of their times, then of their making."""

    def __init__(self) -> None:
        self.now = 0
        self.steps = 0
        self.current: Process | None = None
        self.trace: list[str] | None = None
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._made = 0

    # Clock

    def when(self, ms: int | None = None) -> datetime:
        return EPOCH + timedelta(milliseconds=self.now if ms is None else ms)

    def monotonic(self) -> float:
        return self.now / 1000

    def time(self) -> float:
        return EPOCH_S + self.now / 1000

    def after(self, ms: int, job: Callable[[], None]) -> None:
        self._made += 1
        heapq.heappush(self._timers, (self.now + ms, self._made, job))

    def advance(self, ms: int) -> None:
        """Time passes for everybody: what is due meanwhile is done at its time."""
        self._to(self.now + ms)

    def next_timer(self) -> int | None:
        return self._timers[0][0] if self._timers else None

    def _to(self, then: int) -> None:
        while self._timers and self._timers[0][0] <= then:
            at, _, job = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            job()
        self.now = max(self.now, then)

    # Workers

    def note(self, *words: object) -> None:
        if self.trace is not None:
            who = self.current.name if self.current else "-"
            self.trace.append(f"{self.now / 1000:9.3f} {who:5} {' '.join(map(str, words))}")

    def begin(self, process: Process, task: str, job: Callable[[], None]) -> None:
        process.strand = _idle.pop() if _idle else _Strand()
        process.task, process.at, process.wake_at, process.until = task, "start", 0, None
        process.strand.begin(job)

    def runnable(self, process: Process) -> bool:
        if process.strand is None or process.frozen or process.dead:
            return False
        return self.now >= process.wake_at or (process.until is not None and process.until())

    def resume(self, process: Process) -> BaseException | None:
        """One step further; returns what the task raised, if it ended by that."""
        strand = process.strand
        if strand is None:
            return None
        process.wake_at, process.until = 0, None
        self.steps += 1
        self.current = process
        try:
            strand.resume()
        finally:
            self.current = None
        if not strand.done:
            return None
        error = strand.error
        _idle.append(strand)
        process.strand = None
        return error

    def kill(self, process: Process) -> None:
        """Its frames unwind now; nothing that they call has any effect."""
        process.dead = True
        while process.strand is not None:
            self.resume(process)

    # Called by the worker's own thread

    def step(self, what: str) -> None:
        """Here another worker may go first, and this one may be killed or frozen."""
        process = self.current
        if process is None:
            return
        if process.dead:
            raise Dead
        process.at = what
        if process.strand is not None:
            process.strand.pause()
        if process.dead:
            raise Dead
        self.now += 1
        if self.trace is not None:
            self.note(what)

    def sleep(self, ms: int, what: str, until: Callable[[], bool] | None = None) -> None:
        process = self.current
        if process is None:
            return
        process.wake_at, process.until = self.now + ms, until
        self.step(what)
