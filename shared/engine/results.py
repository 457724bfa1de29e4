"""Commits what lies on the result streams: each batch in one Postgres transaction under the fence (see saving.py).

Only after the commit are the events acknowledged and the root locks given back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from msgspec.structs import replace

from shared.bus import LIVE, Lane, TakenResult
from shared.db.sql import sql
from shared.engine.context import Ports, lane_of
from shared.engine.outcome import Result, ResultBatch, Wait
from shared.engine.saving import event_of, save
from shared.errors import BothwaysError, LeaseLost, Unavailable
from shared.lease import Holder, Lease
from shared.points import at
from shared.sync.events import encode
from shared.sync.model import Side
from shared.sync.reasons import Code

log = logging.getLogger(__name__)

_READ_COUNT = 16


def record_results(ports: Ports, stopping: Callable[[], bool] = lambda: False) -> int:
    """Commits what lies on the result streams until they are empty; returns the number of batches saved.

    Raises Unavailable where Postgres or Redis is away: nothing is lost, the sweep calls again.
    """
    saved = 0
    ports.bus.ensure_results()  # gone with the data where Redis was flushed
    # Before the first look: a batch that comes while we commit wakes again, it may find nothing left to do.
    ports.bus.clear_results_woken()
    todo = ports.bus.retry_results(_READ_COUNT)
    while todo or (todo := ports.bus.read_results(_READ_COUNT)):
        for taken in todo:
            if stopping():
                ports.wake.results()  # another worker claims what is left
                return saved
            _record_one(ports, taken)
            saved += 1
        todo = []
    return saved


def _record_one(ports: Ports, taken: TakenResult) -> None:
    try:
        batch = ResultBatch.decode(taken.payload)
        lane = Lane.parse(batch.lane)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # Of another version, maybe: it stays for a worker that can read it, and the others go on.
        log.error("results %s cannot be read: %s", taken.id, type(error).__name__)  # noqa: TRY400  (values)
        return
    at("results.taken")
    try:
        going_on = _save_safely(ports, batch)
    except LeaseLost:
        # Whoever took over looks at these events afresh: what was created meanwhile has its intent.
        log.warning("results dropped, lease lost", extra={"lane": batch.lane, "fence": batch.fence})
        ports.bus.unsettle(lane, batch.token)
        ports.bus.unlock_roots(batch.roots, batch.token, settled=True)
        ports.bus.drop_result(taken)
        ports.wake.drain(lane)
        return
    at("results.committed")
    _send_followers(ports, batch)
    whole = ports.bus.ack(lane, batch.entries, batch.token)
    ports.bus.unlock_roots(batch.roots, batch.token, settled=True)
    ports.bus.drop_result(taken)
    if not whole:
        ports.epoch.tick()
    if batch.holder.startswith("run:") and _settled(ports, batch.run_id):
        going_on.add(batch.run_id)
    for run_id in going_on:
        ports.wake.run(run_id)


def _send_followers(ports: Ports, batch: ResultBatch) -> None:
    """Before the acknowledgement: a crash in between sends them twice, and an event that comes twice does no harm."""
    events = [event for result in batch.results for event in result.follow]
    items = []
    for event in events:
        shards = ports.settings.shards
        lane = lane_of(batch.integration_id, LIVE, event["pair"], Side(event["side"]), event["rec"], shards)
        items.append((lane, json.dumps(event)))
    for lane in dict.fromkeys(ports.bus.add(items)) if items else ():
        ports.wake.drain(lane)


def _save_safely(ports: Ports, batch: ResultBatch) -> set[int]:
    """A batch that Postgres refuses is saved result by result: one bad value must not hold up everybody (P8)."""
    try:
        return _save_fenced(ports, batch)
    except (LeaseLost, Unavailable):
        raise
    except BothwaysError as error:
        log.error("results of %s, one by one: %s", batch.lane, error)  # noqa: TRY400  (no values in it)
    going_on: set[int] = set()
    for result in batch.results:
        going_on |= _save_alone(ports, replace(batch, results=[result], last=False))
    return going_on | _save_fenced(ports, replace(batch, results=[]))


def _save_alone(ports: Ports, batch: ResultBatch) -> set[int]:
    """What is refused alone has failed. Its intent stays: what was made for it is looked for by the next try."""
    try:
        return _save_fenced(ports, batch)
    except (LeaseLost, Unavailable):
        raise
    except BothwaysError as error:
        log.error("record refused: %s", error)  # noqa: TRY400
    result = batch.results[0]
    wait = Wait("failed", None, result.attempt, encode(event_of(batch, result, attempt=0)))
    failed = Result(
        event_ids=result.event_ids,
        origin=result.origin,
        pair=result.pair,
        side=result.side,
        record_id=result.record_id,
        run_id=result.run_id,
        outcome="failed",
        reason=Code.INTERNAL,
        attempt=result.attempt,
        wait=wait,
        asked=result.asked,
        pairs=result.pairs,
    )
    return _save_fenced(ports, replace(batch, results=[failed]))


def _save_fenced(ports: Ports, batch: ResultBatch) -> set[int]:
    with ports.db.writing() as session:
        ports.leases.check(session, _lease(batch), pushed=True)
        return save(session, batch, ports.settings.lane_bound // 2)


def _settled(ports: Ports, run_id: int) -> bool:
    """A run that waits only for the batches which joined it: this may have been the last of them."""
    with ports.db.reading() as session:
        query = sql("SELECT 1 FROM run WHERE id = :run AND state = 'draining' AND pending = 0")
        return session.execute(query, {"run": run_id}).first() is not None


def _lease(batch: ResultBatch) -> Lease:
    kind = batch.holder.partition(":")[0]
    holder = Holder(batch.holder, kind, batch.integration_id, batch.workspace_id)
    return Lease(holder, tuple(batch.orgs), batch.fence, 0.0)
