"""The result of one event, as it travels on a result stream from the worker that pushed to the task that saves.

It holds old and new values: personal data until it is committed, then deleted (reliability section 4, Event).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import orjson


@dataclass(slots=True)
class BindingSave:
    """`expected` is the version that was planned from (0: a new binding). Times are ISO text; base is encoded."""

    left_id: str
    right_id: str
    base: dict[str, Any]
    expected: int
    state: str = "live"
    left_written: str | None = None
    right_written: str | None = None
    unread: list[str] = field(default_factory=list)
    left_hash: str | None = None
    right_hash: str | None = None
    left_modified: str | None = None
    right_modified: str | None = None
    left_seen_at: str | None = None
    right_seen_at: str | None = None
    deactivated: bool = False
    left_bare: bool = False
    right_bare: bool = False
    """Just made, and others have their parents in its pair: nothing belongs to it yet."""
    has_children: bool = False
    """Of a pair that others have their parents in: what waits for this one may go on."""


@dataclass(slots=True)
class Wait:
    """The event waits in a due row instead of ending now. `in_s` None: until the next run (why = failed)."""

    why: str
    in_s: float | None
    attempts: int
    event: dict[str, str]
    """The envelope to send when it is due."""


@dataclass(slots=True)
class Result:
    """`outcome` None: no outcome yet, only `wait`. Both: failed, and tried again by the next run."""

    event_ids: list[str]
    origin: str
    pair: str
    side: str
    record_id: str
    run_id: int | None
    outcome: str | None
    twin_id: str | None = None
    reason: str = ""
    detail: str = ""
    changes: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    attempt: int = 1
    received_ms: int | None = None
    written_ms: int | None = None
    written_side: str | None = None
    """The one side that was written, where it was only one: the direction is towards it (LG-1)."""
    binding: BindingSave | None = None
    fresh: bool = True
    """False: planned from a read that was made before the batch was opened."""
    listed_at: str | None = None
    """Planned from a row that a run listed at this time of Postgres: what was parked since speaks of newer things."""
    intent: str = "keep"
    """keep | close | doubt (an unclear write) | looked (looked and found nothing)"""
    wait: Wait | None = None
    asked: str = ""
    """The pair that the event named, where the record belongs to another one of its module."""
    pairs: list[str] = field(default_factory=list)
    """All of its module, where there are several: it may wait under any of them, by what was known of it then."""
    follow: list[dict[str, str]] = field(default_factory=list)
    """Envelopes of events to send once this is committed: what lives inside the record, or what it waits for."""


@dataclass(slots=True)
class ResultBatch:
    """All that the result task needs; `fence` and `holder` are checked before anything is saved."""

    batch_id: str
    integration_id: int
    workspace_id: int
    orgs: list[int]
    holder: str
    fence: int
    run_id: int
    direction: dict[str, str]
    lane: str
    entries: list[str]
    roots: list[str]
    token: str
    results: list[Result]
    last: bool = True
    """False: a part of it, saved by itself; the open_batch row goes with the last."""
    opened_at: str | None = None
    """Postgres' time when the batch was opened, before anything was read."""

    def encode(self) -> str:
        return orjson.dumps(self).decode()

    @classmethod
    def decode(cls, payload: str) -> ResultBatch:
        """Fields that it does not know are passed over, and one that is missing has its default: while workers are
        replaced, two versions read each other's batches."""
        raw = orjson.loads(payload)
        known = _known(cls, raw)
        known["results"] = [_result(one) for one in raw["results"]]
        return cls(**known)


def _known(kind: type[Any], raw: dict[str, Any]) -> dict[str, Any]:
    names = _NAMES[kind]
    return raw if raw.keys() <= names else {name: value for name, value in raw.items() if name in names}


_NAMES: dict[type[Any], frozenset[str]] = {
    kind: frozenset(one.name for one in fields(kind)) for kind in (BindingSave, Wait, Result, ResultBatch)
}


def _result(raw: dict[str, Any]) -> Result:
    known, binding, wait = _known(Result, raw), raw.get("binding"), raw.get("wait")
    known["binding"] = BindingSave(**_known(BindingSave, binding)) if binding else None
    known["wait"] = Wait(**_known(Wait, wait)) if wait else None
    return Result(**known)
