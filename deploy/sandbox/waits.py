"""Calls that wait on purpose. A reset ends them all, so that none reaches into what comes after it."""

from __future__ import annotations

import asyncio


class Ended(Exception):
    """The vendor was reset in the meantime."""


class Waits:
    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self, ms: float) -> None:
        """Raises Ended."""
        if ms <= 0:
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(ms / 1000, _wake, waiting)
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)

    def release(self) -> int:
        """All go on now; how many that were."""
        for waiting in self._waiting:
            _wake(waiting)
        return len(self._waiting)

    def end(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(Ended())


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
