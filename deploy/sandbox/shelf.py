"""Webhooks held back: until some later ones have gone, and never for longer than a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Numbered(Protocol):
    """Counts up in the order in which the changes were made."""

    @property
    def number(self) -> int: ...


J = TypeVar("J", bound=Numbered)


@dataclass(slots=True, eq=False)
class _Held(Generic[J]):
    """`left` later ones are still to go; None waits for the time alone."""

    job: J
    left: int | None
    timer: asyncio.TimerHandle | None = None


class Shelf(Generic[J]):
    def __init__(self, release: Callable[[J], None]) -> None:
        self._send = release
        self._held: list[_Held[J]] = []

    def __len__(self) -> int:
        return len(self._held)

    def put(self, job: J, ms: int, by: int | None = None) -> None:
        held = _Held(job, by)
        self._held.append(held)
        held.timer = asyncio.get_running_loop().call_later(ms / 1000, self._release, held)

    def gone(self, job: J) -> None:
        """A delivery has ended: those held that are older than it wait for one less."""
        for held in list(self._held):
            if held.left is not None and job.number > held.job.number:
                held.left -= 1
                if held.left <= 0:
                    self._release(held)

    def flush(self) -> int:
        """Everything goes now, the oldest first."""
        held = list(self._held)
        for one in held:
            self._release(one)
        return len(held)

    def clear(self) -> None:
        for held in self._held:
            _stop(held)
        self._held.clear()

    def _release(self, held: _Held[J]) -> None:
        _stop(held)
        self._held.remove(held)
        self._send(held.job)


def _stop(held: _Held[J]) -> None:
    if held.timer is not None:
        held.timer.cancel()
