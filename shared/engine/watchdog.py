"""The last guard of a process: it ends itself when a push outlives its hard deadline (reliability, decision 3).

Threads have no time limit. Each call carries its own deadline; where that does not hold (a name that is looked up for
ever, a library that waits without one) the process must not go on holding what others wait for. Who comes after it
finds the write in doubt.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

EXIT_CODE = 70


class Watchdog:
    """`die` ends the process; tests give another."""

    def __init__(self, hard_s: float, die: Callable[[int], object] = os._exit) -> None:
        self._hard_s = hard_s
        self._die = die
        self._lock = threading.Lock()
        self._ends: dict[object, float] = {}

    @contextmanager
    def over(self) -> Iterator[None]:
        """Around one push."""
        token = object()
        with self._lock:
            self._ends[token] = time.monotonic() + self._hard_s
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(token, None)

    def look(self) -> None:
        """Called with the process' heartbeat."""
        with self._lock:
            overdue = any(end < time.monotonic() for end in self._ends.values())
        if overdue:
            log.critical("a push outlived its hard deadline: this process ends")
            self._die(EXIT_CODE)
