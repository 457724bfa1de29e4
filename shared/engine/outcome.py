"""The result of one event, as it travels on a result stream from the worker that pushed to the task that saves.

It holds old and new values: personal data until it is committed, then deleted (reliability section 4, Event).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class BindingSave(msgspec.Struct):
    """`expected` is the version that was planned from (0: a new binding). Base is encoded."""

    left_id: str
    right_id: str
    base: dict[str, Any]
    expected: int
    state: str = "live"
    left_written: datetime | None = None
    right_written: datetime | None = None
    unread: list[str] = []
    left_hash: str | None = None
    right_hash: str | None = None
    left_modified: datetime | None = None
    right_modified: datetime | None = None
    left_seen_at: datetime | None = None
    right_seen_at: datetime | None = None
    deactivated: bool = False
    left_bare: bool = False
    right_bare: bool = False
    """Just made, and others have their parents in its pair: nothing belongs to it yet."""
    has_children: bool = False
    """Of a pair that others have their parents in: what waits for this one may go on."""


class Wait(msgspec.Struct):
    """The event waits in a due row instead of ending now. `in_s` None: until the next run (why = failed)."""

    why: str
    in_s: float | None
    attempts: int
    event: dict[str, str]
    """The envelope to send when it is due."""


class Result(msgspec.Struct):
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
    changes: list[dict[str, Any]] = []
    conflicts: list[dict[str, Any]] = []
    warnings: list[str] = []
    attempt: int = 1
    received_ms: int | None = None
    written_ms: int | None = None
    written_side: str | None = None
    """The one side that was written, where it was only one: the direction is towards it (LG-1)."""
    binding: BindingSave | None = None
    fresh: bool = True
    """False: planned from a read that was made before the batch was opened."""
    listed_at: datetime | None = None
    """Planned from a row that a run listed at this time of Postgres: what was parked since speaks of newer things."""
    intent: str = "keep"
    """keep | close | doubt (an unclear write) | looked (looked and found nothing)"""
    wait: Wait | None = None
    asked: str = ""
    """The pair that the event named, where the record belongs to another one of its module."""
    pairs: list[str] = []
    """All of its module, where there are several: it may wait under any of them, by what was known of it then."""
    follow: list[dict[str, str]] = []
    """Envelopes of events to send once this is committed: what lives inside the record, or what it waits for."""


class ResultBatch(msgspec.Struct):
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
    opened_at: datetime | None = None
    """Postgres' time when the batch was opened, before anything was read."""

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def decode(payload: str) -> ResultBatch:
        """Fields that it does not know are passed over, and one that is missing has its default: while workers are
        replaced, two versions read each other's batches. Raises ValueError on anything else."""
        return _BATCHES.decode(payload)


_BATCHES = msgspec.json.Decoder(ResultBatch)
