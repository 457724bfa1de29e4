"""For whom a batch calls its vendors: people, webhooks, second tries, runs. A batch is of one class."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from shared.bus import BULK, LIVE, Lane
from shared.connectors.base import CallClass
from shared.engine.context import Context, lane_of
from shared.sync.events import ChangeEvent, Origin

_CLASSES = {
    Origin.MANUAL: CallClass.PERSON,
    Origin.WEBHOOK: CallClass.WEBHOOK,
    Origin.RETRY: CallClass.RETRY,
}
_RANKS = {cls: rank for rank, cls in enumerate(CallClass)}


def class_of(event: ChangeEvent) -> CallClass:
    """What a poll, Fetch or a mapping change brought is a run's."""
    return _CLASSES.get(event.origin, CallClass.RUN)


def person_lane(integration_id: int, shards: int) -> Lane:
    """That of people's wishes, one more than the shards: they must not stand behind webhooks that wait for quota."""
    return Lane(integration_id, LIVE, shards)


def lane_for(event: ChangeEvent, shards: int) -> Lane:
    """Where an event goes that comes again: people's to theirs, a run's to its backlog, others before that."""
    cls = class_of(event)
    if cls is CallClass.PERSON:
        return person_lane(event.integration_id, shards)
    kind = BULK if cls is CallClass.RUN else LIVE
    return lane_of(event.integration_id, kind, event.pair, event.side, event.record_id, shards)


def bulk_lanes(integration_id: int, shards: int) -> list[Lane]:
    return [Lane(integration_id, BULK, shard) for shard in range(shards)]


class HasEvent(Protocol):
    @property
    def event(self) -> ChangeEvent: ...


T = TypeVar("T", bound=HasEvent)


def first_class(ready: list[T]) -> tuple[CallClass, list[T]]:
    """The highest class among them, and those of it, in their order."""
    best = min((class_of(one.event) for one in ready), key=_RANKS.__getitem__)
    return best, [one for one in ready if class_of(one.event) is best]


def for_class(context: Context, cls: CallClass) -> Context:
    """The same integration, its calls counted for the class."""
    return replace(context, connectors={side: one.with_class(cls) for side, one in context.connectors.items()})
