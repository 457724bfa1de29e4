"""Work of which one thread of a process at a time is enough: who comes meanwhile leaves word and goes."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Single:
    """A thread that waited for its turn would be missing elsewhere: while Postgres hangs, all of them would wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._again = False

    def run(self, work: Callable[[], object]) -> None:
        """`work`, once more for whoever came while it ran. Another thread is at it: it is told to look once more."""
        with self._lock:
            self._again = True
            if self._busy:
                return
            self._busy = True
        while self._take():
            try:
                work()
            except BaseException:
                with self._lock:
                    self._busy = False
                raise

    def _take(self) -> bool:
        with self._lock:
            self._busy, self._again = self._again, False
            return self._busy
