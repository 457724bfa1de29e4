"""A change event: "this record may have changed", ids and a hint, never the data. And its envelope on the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from shared.errors import BothwaysError
from shared.sync.model import RecordId, Side

VERSION = "1"
"""Major version of the wire form. Within it, fields are only ever added, each with a default."""


class Hint(StrEnum):
    UPSERT = "upsert"
    DELETE = "delete"


class Origin(StrEnum):
    WEBHOOK = "webhook"
    POLL = "poll"
    MANUAL = "manual"
    RETRY = "retry"
    FETCH = "fetch"
    MAPPING = "mapping"


class BadEnvelope(BothwaysError):
    """An entry that is no event of ours, or of a version to come: set aside, never a crash."""

    code = "BAD_ENVELOPE"


class ChangeEvent(msgspec.Struct, frozen=True):
    """`staged`: the run `run_id` has staged the record as it read it, so it need not be fetched.

    `received_at` is epoch milliseconds; `attempt` counts the tries before this one.
    """

    event_id: str
    correlation_id: str
    integration_id: int
    pair: str
    side: Side
    record_id: RecordId
    hint: Hint
    origin: Origin
    received_at: int
    run_id: int | None = None
    staged: bool = False
    attempt: int = 0
    folded: tuple[str, ...] = ()
    """Ids of events that were folded into this one before it waited: they end with it."""


def encode(event: ChangeEvent) -> dict[str, str]:
    """Flat text, as a stream entry holds it; keys are short because a lane holds many."""
    wire = {
        "v": VERSION,
        "id": event.event_id,
        "cor": event.correlation_id,
        "int": str(event.integration_id),
        "pair": event.pair,
        "side": event.side.value,
        "rec": event.record_id,
        "hint": event.hint.value,
        "org": event.origin.value,
        "at": str(event.received_at),
        "try": str(event.attempt),
        "stg": "1" if event.staged else "0",
    }
    if event.run_id is not None:
        wire["run"] = str(event.run_id)
    if event.folded:
        wire["fold"] = " ".join(event.folded)
    return wire


def decode(wire: Mapping[str, str]) -> ChangeEvent:
    """Keys that it does not know are passed over. Raises BadEnvelope on another major version or unreadable fields."""
    version = wire.get("v", "")
    if version.split(".", 1)[0] != VERSION:
        raise BadEnvelope(f"change event of version {version[:20]!r}, this program reads {VERSION}")
    try:
        return _decode(wire)
    except (KeyError, ValueError) as error:
        raise BadEnvelope(f"change event that cannot be read: {type(error).__name__}") from error


def _decode(wire: Mapping[str, str]) -> ChangeEvent:
    run_id = wire.get("run", "")
    return ChangeEvent(
        event_id=_named(wire, "id"),
        correlation_id=wire.get("cor", ""),
        integration_id=int(wire["int"]),
        pair=_named(wire, "pair"),
        side=Side(wire["side"]),
        record_id=RecordId(_named(wire, "rec")),
        hint=Hint(wire.get("hint", Hint.UPSERT)),
        origin=Origin(wire["org"]),
        received_at=int(wire["at"]),
        run_id=int(run_id) if run_id else None,
        staged=wire.get("stg", "0") == "1",
        attempt=int(wire.get("try", "0")),
        folded=tuple(wire.get("fold", "").split()),
    )


def _named(wire: Mapping[str, str], key: str) -> str:
    if not wire[key]:
        raise ValueError(key)
    return wire[key]


# Folding


class Folded(msgspec.Struct, frozen=True):
    """Many pending events of one record as one. `events` are all of them, oldest first, each id once.

    `hint` DELETE is sticky: only a read shows that the record is back. `received_at` is the earliest, from which
    the delay is measured. `newest` gives origin and correlation id. `staged`: all are staged by the one run
    `run_id`; else the record is read afresh. `run_id`: the newest run that any of them belongs to.
    """

    integration_id: int
    pair: str
    side: Side
    record_id: RecordId
    hint: Hint
    staged: bool
    run_id: int | None
    received_at: int
    attempt: int
    newest: ChangeEvent
    events: tuple[ChangeEvent, ...]

    @property
    def event_ids(self) -> tuple[str, ...]:
        if len(self.events) == 1 and not self.newest.folded:
            return (self.newest.event_id,)
        ids = [one for event in self.events for one in (event.event_id, *event.folded)]
        return tuple(dict.fromkeys(ids))

    @property
    def correlation_id(self) -> str:
        return self.newest.correlation_id

    @property
    def origin(self) -> Origin:
        return self.newest.origin


_Key = tuple[int, str, Side, RecordId]


def fold(events: Sequence[ChangeEvent]) -> list[Folded]:
    """One per (integration, pair, side, record), by earliest receipt; disorder and doubles change nothing."""
    groups: dict[_Key, list[ChangeEvent]] = {}
    for event in events:
        groups.setdefault((event.integration_id, event.pair, event.side, event.record_id), []).append(event)
    folded = [_fold_one(group) for group in groups.values()]
    return sorted(folded, key=lambda f: (f.received_at, f.integration_id, f.pair, f.side, f.record_id))


def _fold_one(group: Sequence[ChangeEvent]) -> Folded:
    events = _without_doubles(group) if len(group) > 1 else tuple(group)
    runs = {event.run_id for event in events}
    newest = events[-1]
    return Folded(
        integration_id=newest.integration_id,
        pair=newest.pair,
        side=newest.side,
        record_id=newest.record_id,
        hint=Hint.DELETE if any(event.hint is Hint.DELETE for event in events) else newest.hint,
        staged=len(runs) == 1 and None not in runs and all(event.staged for event in events),
        run_id=max((run for run in runs if run is not None), default=None),
        received_at=events[0].received_at,
        attempt=max(event.attempt for event in events),
        newest=newest,
        events=events,
    )


def _without_doubles(group: Iterable[ChangeEvent]) -> tuple[ChangeEvent, ...]:
    """Of two deliveries of one event the one with more tries behind it stays; then by time, id for a tie."""
    kept: dict[str, ChangeEvent] = {}
    for event in sorted(group, key=_precedence):
        kept[event.event_id] = event
    return tuple(sorted(kept.values(), key=lambda event: (event.received_at, event.event_id)))


def _precedence(event: ChangeEvent) -> tuple[int, int, bool, str, int, bool, str]:
    """A total order, so that it does not matter in which order doubles came; of two alike, the one to read afresh."""
    run = -1 if event.run_id is None else event.run_id
    deleted = event.hint is Hint.DELETE
    return event.attempt, event.received_at, deleted, event.origin, run, not event.staged, event.correlation_id


# Lanes


def shard_of(root_key: str, shards: int) -> int:
    """0 to shards - 1, the same in every process and release (`hash` is salted). Raises ValueError below one shard."""
    if shards < 1:
        raise ValueError("at least one shard")
    return int.from_bytes(hashlib.blake2b(root_key.encode("utf-8", "surrogatepass"), digest_size=8).digest()) % shards


def root_of(
    pair: str, side: Side, record_id: RecordId, *, bound_left: RecordId | None = None, folded_key: str = ""
) -> str:
    """What must not be worked on twice at once: the binding (by its left record), else the match key, else the record.

    `folded_key` is `match.fold_key` of the record's key, where it is known. The two ends of a binding to come meet
    only if their keys are; the lock per root holds the rest.
    """
    if bound_left is not None:
        return f"{pair}/{Side.LEFT.value}/{bound_left}"
    if folded_key:
        return f"{pair}/k/{folded_key}"
    return f"{pair}/{side.value}/{record_id}"
