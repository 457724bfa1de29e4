"""What became of each webhook: the list that a test compares with what its receiver got."""

from __future__ import annotations

import itertools
import time
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(slots=True)
class Delivery:
    """One try. `at` and `answered_at` are epoch milliseconds, sent and answered.

    `status` and `answered_at` stay None when the receiver gave no answer; `accepted` is a 2xx; `lost` was never sent,
    by a fault; `organization_id` is set when another than the vendor's own was told; `seq` is given at the end of it.
    """

    id: int
    hook: str
    module: str
    record: str
    event: str
    url: str
    at: float
    attempt: int = 1
    status: int | None = None
    answered_at: float | None = None
    ms: float | None = None
    accepted: bool = False
    lost: bool = False
    flood: bool = False
    organization_id: str | None = None
    error: str | None = None
    seq: int | None = None


class DeliveryLog:
    """Ids and end sequences come from one counter, so that what ends later is always above every id given before."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Delivery] = {}
        self._ended: list[Delivery] = []

    def new_id(self) -> int:
        return next(self._numbers)

    def begin(self, delivery: Delivery) -> Delivery:
        self._open[delivery.id] = delivery
        return delivery

    def end(self, delivery: Delivery) -> None:
        self._open.pop(delivery.id, None)
        delivery.seq = next(self._numbers)
        self._ended.append(delivery)

    def since(self, seq: int) -> list[Delivery]:
        """Those that ended after `seq`, as they ended, then those that are under way."""
        first = bisect_right(self._ended, seq, key=lambda one: one.seq or 0)
        return [*self._ended[first:], *self._open.values()]

    @property
    def last(self) -> int:
        """What to ask `since` of next."""
        return (self._ended[-1].seq or 0) if self._ended else 0

    def clear(self) -> None:
        self._open.clear()
        self._ended.clear()


def epoch_now_ms() -> float:
    return time.time() * 1000
