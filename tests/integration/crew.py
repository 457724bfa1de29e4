"""Workers without Celery: threads that take the same wake-ups and call the same functions as the tasks do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.bus import Lane
from shared.engine import data_import, drain, results, run
from shared.engine.context import Ports
from shared.engine.keeper import Keeper
from shared.errors import BothwaysError

Job = tuple[str, Lane | int | None]


def await_that(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    """Polls. The bound makes a hang a failure with a name; it measures nothing."""
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, f"never came true: {what}"
        time.sleep(0.005)


@dataclass
class Crew:
    """The engine's Wake. `deaf`: wake-ups are lost, as Celery may lose them. `beat` is what happens now and then."""

    deaf: bool = False
    beat: Callable[[], None] | None = None
    trouble: list[BothwaysError] = field(default_factory=list)
    mistakes: list[Exception] = field(default_factory=list)
    expected: tuple[type[Exception], ...] = ()
    """Mistakes that a test makes on purpose."""
    woken: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Queues that must not starve each other have workers of their own, as in deploy/local.
        self._queues: dict[bool, deque[Job]] = {True: deque(), False: deque()}
        self._queued: set[Job] = set()
        self._change = threading.Condition()
        self._busy = 0
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._results = threading.Lock()

    # The port.

    def drain(self, lane: Lane) -> None:
        self._wake(("drain", lane))

    def run(self, run_id: int) -> None:
        self._wake(("run", run_id))

    def data_import(self, import_id: int) -> None:
        self._wake(("import", import_id))

    def results(self) -> None:
        self._wake(("results", None))

    def canaries(self) -> None:
        """Of queues, which a crew has not."""

    def _wake(self, job: Job) -> None:
        with self._change:
            self.woken.append(job)
            if self.deaf or job in self._queued:
                return
            self._queued.add(job)
            self._queues[job[0] == "drain"].append(job)
            self._change.notify_all()

    # The workers.

    def start(self, ports: Ports, keeper: Keeper, events: int, control: int) -> None:
        self._threads = [
            threading.Thread(target=self._work, args=(ports, keeper, n < events), name=f"crew-{n}", daemon=True)
            for n in range(events + control)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._change:
            self._stopped = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a worker hangs"

    def _work(self, ports: Ports, keeper: Keeper, events: bool) -> None:
        queue = self._queues[events]
        while True:
            with self._change:
                while not queue and not self._stopped:
                    self._change.wait()
                if self._stopped:
                    return
                job = queue.popleft()
                self._queued.discard(job)
                self._busy += 1
            try:
                self._perform(ports, keeper, job)
            except BothwaysError as error:
                self.trouble.append(error)  # the tasks log it, and the sweep comes back to it
            except Exception as error:  # noqa: BLE001  (as Celery would; the test fails by it)
                if not isinstance(error, self.expected):
                    self.mistakes.append(error)
            finally:
                with self._change:
                    self._busy -= 1
                    self._change.notify_all()

    @property
    def idle(self) -> bool:
        with self._change:
            return not self._busy and not any(self._queues.values())

    def until(self, condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
        """Waits for it, with a beat whenever nothing is going on."""
        ends = time.monotonic() + within_s
        while not condition():
            assert not self.mistakes, self.mistakes
            assert time.monotonic() < ends, f"never came true: {what} ({self.trouble[-3:]})"
            if self.idle and self.beat is not None:
                self.beat()
            with self._change:
                self._change.wait(0.02)

    def rest(self) -> None:
        """Until nothing is going on."""
        await_that(lambda: self.idle, "the workers rest")
        assert not self.mistakes, self.mistakes

    def _perform(self, ports: Ports, keeper: Keeper, job: Job) -> None:
        match job:
            case "drain", Lane() as lane:
                drain.drain(ports, keeper, lane)
            case "run", int(run_id):
                run.advance(ports, keeper, run_id)
            case "import", int(import_id):
                data_import.advance(ports, keeper, import_id)
            case "results", None:
                with self._results:  # one committer per process
                    results.record_results(ports)
            case _:
                raise AssertionError(job)
