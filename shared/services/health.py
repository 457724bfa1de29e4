"""Whether work flows: each queue ran its canary, and how long the oldest event has waited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.bus import Bus
from shared.settings import Settings
from shared.wake import QUEUES


@dataclass(frozen=True, slots=True)
class WorkHealth:
    """`queues`: seconds since each ran its canary, None where it has not within a day. `oldest_s`: of `events`.
    `mail_set_up` False: notifications are not sent."""

    status: str
    stalled: tuple[str, ...]
    queues: Mapping[str, float | None]
    events: int
    oldest_s: float
    mail_set_up: bool


def work_health(bus: Bus, settings: Settings) -> WorkHealth:
    """`status` "ok" or "stalled". Raises Unavailable where Redis does not answer."""
    silent = bus.silent_for(QUEUES)
    most_s = settings.stalled_s
    stalled = tuple(queue for queue, seconds in silent.items() if seconds is None or seconds > most_s)
    events, oldest_s = bus.backlog()
    rounded = {queue: None if seconds is None else round(seconds, 1) for queue, seconds in silent.items()}
    mail = settings.smtp_host is not None
    return WorkHealth("stalled" if stalled else "ok", stalled, rounded, events, round(oldest_s, 1), mail)
