"""Deliveries on their way onto the lanes: those that come while a script is out go together in the next one.

A server that syncs each write to its disk answers so many scripts a second, however much is in them: a group shares one
round trip and one sync. All of it runs on one event loop; nothing here is for threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import redis.asyncio

from shared.bus import ADD, Items, Lane, add_arguments, redis_errors
from shared.errors import Unavailable
from shared.points import at

log = logging.getLogger(__name__)

MOST_ENTRIES = 500
"""Of a group, unless its first delivery has more: a script holds the whole server for as long as it runs."""


class WakeDrain(Protocol):
    def drain(self, lane: Lane) -> None: ...


@dataclass(frozen=True, slots=True)
class _Delivery:
    items: Items
    kept: asyncio.Future[None]


class Intake:
    """Of one process. Opens no socket before the first delivery."""

    def __init__(self, client: redis.asyncio.Redis, wake: WakeDrain, bound: int) -> None:
        """`bound`: entries that may lie on the lanes of a delivery, in all, when it comes (P13)."""
        self._redis = client
        self._add: Any = client.register_script(ADD)
        self._bound = bound
        self._wake = wake
        self._waiting: deque[_Delivery] = deque()
        self._sender: asyncio.Task[None] | None = None
        # One thread: a broker that hangs costs no more. A lane that is not drained is woken once a minute at most.
        self._waker = ThreadPoolExecutor(1, "wake")

    async def put(self, items: Items) -> None:
        """All on their lanes when it returns, and on disk (appendfsync always).

        Raises Unavailable: too much waits on its lanes, or Redis does not answer. After the latter, and for who is
        cancelled while the group is out, it may have been kept all the same: sent again, it folds away.
        """
        delivery = _Delivery(items, asyncio.get_running_loop().create_future())
        self._waiting.append(delivery)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        await delivery.kept

    async def close(self) -> None:
        """Waits for the group that is out (no longer than a timeout of Redis) and for the wake-ups."""
        if self._sender is not None:
            await asyncio.wait([self._sender])
        await asyncio.to_thread(self._waker.shutdown)
        await self._redis.aclose()

    async def _send(self) -> None:
        """A task of its own: whoever is cancelled takes no neighbour along, and no wake-up that is due."""
        try:
            while group := self._next():
                await self._send_group(group)
        finally:
            self._sender = None

    def _next(self) -> list[_Delivery]:
        """Without those whose sender has gone, or was told to come later."""
        group: list[_Delivery] = []
        entries = 0
        while self._waiting and (not group or entries + len(self._waiting[0].items) <= MOST_ENTRIES):
            delivery = self._waiting.popleft()
            if not delivery.kept.done():
                group.append(delivery)
                entries += len(delivery.items)
        return group

    async def _send_group(self, group: Sequence[_Delivery]) -> None:
        try:
            keys, args = add_arguments([delivery.items for delivery in group], self._bound)
            with redis_errors():
                woken, full = await self._add(keys=keys, args=args)
            at("door.kept")
        except Unavailable as error:
            _refuse(group, str(error), error.retry_after_s)
            return
        except Exception:  # a mistake of ours: each must hear of it all the same, and the next group be sent
            log.exception("a group of deliveries was not kept")
            _refuse(group, "It could not be kept; send it again later.", 5)
            return
        if woken:
            self._waker.submit(self._wake_all, [Lane.parse(key) for key in woken])
        _refuse([group[number] for number in full], "Too many events are waiting; send this again later.", 60)
        for delivery in group:
            if not delivery.kept.done():
                delivery.kept.set_result(None)

    def _wake_all(self, lanes: Sequence[Lane]) -> None:
        """In a thread: a publish blocks. None of them is needed, the sweep finds what it was about."""
        for lane in lanes:
            try:
                self._wake.drain(lane)
            except Exception:
                log.exception("wake-up of lane %s not sent", lane)


def _refuse(group: Sequence[_Delivery], said: str, retry_after_s: int) -> None:
    """An error for each: one that is raised in many places would collect all their tracebacks."""
    for delivery in group:
        if not delivery.kept.done():
            delivery.kept.set_exception(Unavailable(said, retry_after_s=retry_after_s))
