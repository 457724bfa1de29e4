"""The keys that there are, held in memory: whoever brings another makes Postgres work so many times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from shared.errors import Throttled, Unavailable

EVERY_S = 0.2
"""How soon after another a look is taken for keys that are not known."""
PATIENCE_S = 2.0
"""How long one waits for another's look: while Postgres hangs, strangers must not take every thread."""
MOST_WAITING = 16
"""Of the 40 threads that a door has. Right after its start good tokens wait here too, until the first look."""


class KnownKeys:
    """`read` brings all there are, each with the id of its row.

    A key that is not among them waits for a read that began after it came, which it shares with all others that wait:
    one that was made a moment ago is found, and strangers cost five reads a second however many they are.
    """

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read
        self._keys: Mapping[str, int] = {}
        self._read_at = float("-inf")
        self._somebody_reads = False
        self._turn = threading.Condition()
        self._room = threading.Semaphore(MOST_WAITING)

    def known(self, key: str) -> int | None:
        """Without a look."""
        return self._keys.get(key)

    def find(self, key: str) -> int | None:
        """Raises Throttled (too many wait), Unavailable."""
        came = time.monotonic()
        if not self._room.acquire(blocking=False):
            raise Throttled("Too many unknown tokens come at once; try again in a second.", retry_after_s=1)
        try:
            if self._my_turn(came):
                self._look()
        finally:
            self._room.release()
        return self._keys.get(key)

    def _my_turn(self, came: float) -> bool:
        """False: somebody else began to look after I came, and has ended."""
        with self._turn:
            while self._read_at < came:
                if not self._somebody_reads:
                    self._somebody_reads = True
                    return True
                if not self._turn.wait(came + PATIENCE_S - time.monotonic()):
                    raise Unavailable("The database does not answer; try again in a few seconds.")
        return False

    def _look(self) -> None:
        try:
            time.sleep(max(0.0, self._read_at + EVERY_S - time.monotonic()))
            began = time.monotonic()
            self._keys = self._read()  # where that fails, the next one tries again
            self._read_at = began
        finally:
            with self._turn:
                self._somebody_reads = False
                self._turn.notify_all()
