"""Drains a lane: claims entries, folds them to one event per record, works in batches, hands over the outcomes.

One batch holds its lease from before the first read; webhook work gives its orgs away between two batches (LK-4).
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.bus import LIVE, Entry, Lane
from shared.engine.batch import Batch
from shared.engine.context import Context, Ports, load_context
from shared.engine.keeper import Keeper
from shared.engine.outcome import Result, ResultBatch
from shared.engine.work import Work
from shared.errors import BothwaysError, ConfigError, LeaseLost, NotFound, Unavailable
from shared.lease import Held, Lease, webhook_holder
from shared.sync.events import BadEnvelope, ChangeEvent, Folded, Origin, decode, fold
from shared.sync.model import Record, Side
from shared.sync.reasons import Code

log = logging.getLogger(__name__)

ROOT_RETRY_S, ROOT_RETRY_MOST_S = 0.02, 0.5
"""How soon a record whose root another batch holds is looked at again: doubled each time (not scaled)."""
SLICE_S = 5.0
"""A drainer gives its thread back after so long; the next wake-up goes on."""
CONFIG_PAUSE_S = 30.0
SMALL_BATCH = 8
"""Records a batch where the vendors take one record a call: the last write must not wait for a hundred reads, and a
limit that runs out must not have been spent on reads alone."""


@dataclass(slots=True)
class _Pending:
    """An entry in hand; `not_before` is monotonic seconds."""

    entry: Entry
    event: ChangeEvent
    not_before: float = 0.0
    read: Record | None = None
    """The record as read when its root was found locked: asking again costs no second call."""
    waits: int = 0


@dataclass(slots=True)
class _Session:
    lane: Lane
    token: str
    context: Context
    pending: list[_Pending] = field(default_factory=list)
    paused_s: float = 0.0


def drain(ports: Ports, keeper: Keeper, lane: Lane) -> None:
    """Works until the lane is empty, its orgs are held by somebody else, or the time slice is over.

    Raises Unavailable where Postgres or Redis is away; entries stay, the sweep wakes the lane again.
    """
    if ports.bus.paused(lane):
        return
    token = ports.bus.new_token()
    if not keeper.take_lane(lane, token):
        return
    more = False
    try:
        more = _drain_taken(ports, keeper, lane, token)
    finally:
        more = keeper.leave_lane(lane, token) or more
    if more:
        ports.wake.drain(lane)


def _drain_taken(ports: Ports, keeper: Keeper, lane: Lane, token: str) -> bool:
    """True: the lane must be woken again."""
    ports.bus.ensure_group(lane.key)
    try:
        context = load_context(ports, lane.integration_id)
    except NotFound:
        _discard(ports, lane)
        return False
    except ConfigError as error:
        _pause(ports, lane, ports.settings.scaled(CONFIG_PAUSE_S), error.code)
        return False
    session = _Session(lane, token, context)
    try:
        more = _work(ports, keeper, session)
    except LeaseLost:
        log.warning("lane %s: lease lost, its events are looked at afresh", lane)
        return True
    except ConfigError as error:
        _pause(ports, lane, ports.settings.scaled(CONFIG_PAUSE_S), error.code)
        return False
    if session.paused_s:
        _pause(ports, lane, session.paused_s, Code.RATE_LIMITED)
    return more


def _pause(ports: Ports, lane: Lane, seconds: float, code: str) -> None:
    log.warning("lane %s waits %.1f s: %s", lane, seconds, code)
    ports.bus.clear_woken(lane)
    ports.bus.pause(lane, seconds)


def _discard(ports: Ports, lane: Lane) -> None:
    """The integration is gone: there is nobody left to keep the events for."""
    with suppress(Unavailable):
        ports.bus.forget_lane(lane)


def _work(ports: Ports, keeper: Keeper, session: _Session) -> bool:
    """True: call again."""
    ends = time.monotonic() + SLICE_S
    last_look = False
    _take_in(ports, session, ports.bus.claim_orphans(session.lane))
    while True:
        size = _batch_size(ports, session)
        ready = [one for one in session.pending if one.not_before <= time.monotonic()][:size]
        if len(ready) < size:
            _take_in(ports, session, ports.bus.read_new(session.lane, size - len(ready)))
            ready = [one for one in session.pending if one.not_before <= time.monotonic()][:size]
        if not ready:
            if not session.pending and last_look:
                return False
            if not session.pending:
                ports.bus.clear_woken(session.lane)
                last_look = True
                continue
            wait_s = max(0.001, min(one.not_before for one in session.pending) - time.monotonic())
            _take_in(ports, session, ports.bus.read_new(session.lane, size, block_ms=max(1, int(wait_s * 1000))))
            continue
        last_look = False
        # What crashed a worker before is worked on alone, so that it cannot take others with it (P8).
        suspects = [one for one in ready if one.entry.tries]
        batch = suspects[:1] or ready
        if not _one_batch(ports, keeper, session, batch):
            ports.bus.give_back(session.lane, [one.entry for one in session.pending])
            ports.bus.clear_woken(session.lane)
            return False
        if time.monotonic() > ends:
            return True


def _batch_size(ports: Ports, session: _Session) -> int:
    facts = session.context.facts.values()
    widest = max(max(one.read_batch, one.create_batch, one.update_batch) for one in facts)
    if session.lane.cls == LIVE or widest == 1:
        return SMALL_BATCH
    return min(ports.settings.batch_size, widest)


def _take_in(ports: Ports, session: _Session, entries: Sequence[Entry]) -> None:
    """Decodes; what is no event of ours, or killed a worker too often, ends here as a dead letter with its reason."""
    dead: list[tuple[Entry, ChangeEvent | None]] = []
    fresh: list[_Pending] = []
    for entry in entries:
        try:
            event = decode(json.loads(entry.payload))
        except (BadEnvelope, ValueError, TypeError, AttributeError, RecursionError):
            dead.append((entry, None))
            continue
        if entry.tries >= ports.settings.attempts_by_crash or event.pair not in session.context.pairs:
            dead.append((entry, event))
        else:
            fresh.append(_Pending(entry, event))
    _debounce(ports, session, fresh)
    newer = {_record_key(session.context.id, one.event) for one in fresh}
    for one in session.pending:
        if _record_key(session.context.id, one.event) in newer:
            one.read = None  # older than what these tell of (P5)
    session.pending += fresh
    if dead:
        _bury(ports, session, dead)


def _debounce(ports: Ports, session: _Session, fresh: list[_Pending]) -> None:
    """The first event of a record is worked on at once, the following ones once a second at most."""
    webhooks = [one for one in fresh if one.event.origin is Origin.WEBHOOK]
    waits = ports.bus.quiet_for([_record_key(session.context.id, one.event) for one in webhooks])
    for one, wait_s in zip(webhooks, waits, strict=True):
        one.not_before = time.monotonic() + wait_s


def _record_key(integration_id: int, event: ChangeEvent | Folded) -> str:
    return f"{integration_id}:{event.pair}:{event.side}:{event.record_id}"


# One batch


class _RunEnded(Exception):
    """The run ended between the look and the lock: its lease must not come to life again."""


def open_lease(ports: Ports, context: Context, batch_id: str, lane: Lane) -> tuple[Lease, int] | Held:
    """Joins the run that holds the orgs, else takes them for webhook work; the batch is on record before it begins."""
    try:
        with ports.db.transaction() as session:
            return _open_lease(ports, session, context, batch_id, lane)
    except _RunEnded:
        return Held("run:0", datetime.now(UTC))


def _open_lease(
    ports: Ports, session: Session, context: Context, batch_id: str, lane: Lane
) -> tuple[Lease, int] | Held:
    holder = ports.leases.holder_for_events(session, context.org_ids, webhook_holder(context.id, context.workspace_id))
    if holder.run_id is not None and not _writes(session, holder.run_id):
        return Held(holder.name, datetime.now(UTC))  # Fetch: it must not be joined, for it writes nothing
    if holder.run_id is None and (context.state != "enabled" or not context.fetched):
        return Held(holder.name, datetime.now(UTC))  # events are kept until it may work
    lease = ports.leases.take(session, context.org_ids, holder, joining=True)
    if isinstance(lease, Held):
        return lease
    if lease.holder.run_id is not None and not _active(session, lease.holder.run_id):
        raise _RunEnded
    run_id = lease.holder.run_id or _webhook_run(session, context)
    _record_batch(ports, session, context, lease, batch_id, lane)
    return lease, run_id


def _writes(session: Session, run_id: int) -> bool:
    return session.execute(text("SELECT kind FROM run WHERE id = :run"), {"run": run_id}).scalar() != "fetch"


def _active(session: Session, run_id: int) -> bool:
    return bool(
        session.execute(text("SELECT 1 FROM run WHERE id = :run AND ended_at IS NULL"), {"run": run_id}).first()
    )


def _webhook_run(session: Session, context: Context) -> int:
    """Webhook work is logged under one Sync ID per integration and hour (LG-1)."""
    values = {"integration": context.id, "workspace": context.workspace_id}
    found = session.execute(
        text("SELECT id FROM run WHERE integration_id = :integration AND hour = date_trunc('hour', clock_timestamp())"),
        values,
    ).scalar()
    if found is None:
        found = session.execute(
            text(
                """
                INSERT INTO run (workspace_id, integration_id, kind, trigger, state, hour, started_at, pending, queued,
                    report)
                VALUES (:workspace, :integration, 'webhook', 'webhook', 'draining',
                    date_trunc('hour', clock_timestamp()), clock_timestamp(), 0, 0, '{}')
                ON CONFLICT (integration_id, hour) DO UPDATE SET hour = excluded.hour RETURNING id
                """
            ),
            values,
        ).scalar_one()
    return int(found)


def _record_batch(ports: Ports, session: Session, context: Context, lease: Lease, batch_id: str, lane: Lane) -> None:
    session.execute(
        text(
            "INSERT INTO open_batch (id, workspace_id, integration_id, fence, lane, until) VALUES "
            "(:id, :workspace, :integration, :fence, :lane, clock_timestamp() + make_interval(secs => :s))"
        ),
        {
            "id": batch_id,
            "workspace": context.workspace_id,
            "integration": context.id,
            "fence": lease.fence,
            "lane": str(lane),
            "s": ports.settings.scaled(ports.settings.lease_ttl_s),
        },
    )


def _close_batch(ports: Ports, batch_id: str) -> None:
    """Nobody pushes for it any more: a waiter, or the end of the run, need not wait until it lapses."""
    with ports.db.transaction() as session:
        session.execute(text("DELETE FROM open_batch WHERE id = :id"), {"id": batch_id})


def _one_batch(ports: Ports, keeper: Keeper, session: _Session, chosen: list[_Pending]) -> bool:
    """False: the orgs are held by somebody else, or a limit is used up; the lane waits."""
    batch_id = uuid.uuid4().hex
    opened = open_lease(ports, session.context, batch_id, session.lane)
    if isinstance(opened, Held):
        return False
    lease, run_id = opened
    token = f"{session.token}-{batch_id[:8]}"
    ports.bus.begin(session.lane, [one.entry for one in chosen])
    with keeper.batch(batch_id, lease):
        current = [lease]

        def ensure_lease() -> None:
            if not ports.leases.covers_push(current[0]):
                with ports.db.transaction() as tx:
                    current[0] = ports.leases.renew(tx, current[0])

        batch = Batch(ports, session.context, lease, batch_id, token, ensure_lease)
        try:
            works = batch.process(fold([one.event for one in chosen]), _reads(session, chosen))
        except BaseException:
            # Whoever claims these events next must not wait for our locks; what was created has its intent.
            with suppress(Unavailable):
                ports.bus.unlock_roots(batch.roots, token)
            with suppress(BothwaysError):
                _close_batch(ports, batch_id)
            raise
        _hand_over(ports, session, lease, run_id, batch_id, token, chosen, works)
    limited = [w.result.wait.in_s for w in works if w.result and w.result.reason == Code.RATE_LIMITED and w.result.wait]
    if limited:
        session.paused_s = min(max(one or 0.0 for one in limited), 10.0) or 0.1
        return False
    return True


def _reads(session: _Session, chosen: list[_Pending]) -> dict[str, Record]:
    """Reads of earlier tries, by event id; an event that came since is read for."""
    found: dict[str, Record] = {}
    for one in chosen:
        if one.read is not None:
            found[one.event.event_id] = one.read
    return found


def _hand_over(
    ports: Ports,
    session: _Session,
    lease: Lease,
    run_id: int,
    batch_id: str,
    token: str,
    chosen: list[_Pending],
    works: list[Work],
) -> None:
    by_record: dict[str, list[_Pending]] = {}
    for one in chosen:
        by_record.setdefault(_record_key(session.context.id, one.event), []).append(one)
    done = [work for work in works if work.result is not None]
    deferred = [work for work in works if work.result is None]
    entries = [one.entry.id for work in done for one in by_record[_record_key(session.context.id, work.folded)]]
    if not done:
        _close_batch(ports, batch_id)
    else:
        _settle_done(ports, session, lease, run_id, batch_id, token, entries, done)
    settled = set(entries)
    session.pending = [one for one in session.pending if one.entry.id not in settled]
    again = {_record_key(session.context.id, work.folded): work for work in deferred}
    back = [one for one in chosen if _record_key(session.context.id, one.event) in again]
    for one in back:
        one.not_before = time.monotonic() + min(ROOT_RETRY_S * 2**one.waits, ROOT_RETRY_MOST_S)
        one.waits += 1
        one.read = again[_record_key(session.context.id, one.event)].source
    ports.bus.give_back(session.lane, [one.entry for one in back])


def _settle_done(
    ports: Ports,
    session: _Session,
    lease: Lease,
    run_id: int,
    batch_id: str,
    token: str,
    entries: list[str],
    done: list[Work],
) -> None:
    roots = [work.root for work in done if work.root]
    results = [work.result for work in done if work.result]
    _settle(ports, session, lease, run_id, batch_id, token, entries, roots, results)
    worked = [
        _record_key(session.context.id, work.folded)
        for work in done
        if work.result and work.result.origin == Origin.WEBHOOK and work.result.outcome not in ("echo", "unchanged")
    ]
    ports.bus.note_worked(worked, ports.settings.scaled(ports.settings.debounce_s))


def _settle(
    ports: Ports,
    session: _Session,
    lease: Lease,
    run_id: int,
    batch_id: str,
    token: str,
    entries: list[str],
    roots: list[str],
    results: list[Result],
) -> None:
    context = session.context
    payload = ResultBatch(
        batch_id=batch_id,
        integration_id=context.id,
        workspace_id=context.workspace_id,
        orgs=list(lease.orgs),
        holder=lease.holder.name,
        fence=lease.fence,
        run_id=run_id,
        direction={side.value: context.direction(side) for side in Side},
        lane=str(session.lane),
        entries=entries,
        roots=roots,
        token=token,
        last=True,
        results=results,
    )
    if ports.bus.settle(session.lane, entries, roots, token, payload.encode()):
        ports.wake.results()


def _bury(ports: Ports, session: _Session, dead: list[tuple[Entry, ChangeEvent | None]]) -> None:
    """Dead letters: an outcome with a reason, so that nothing vanishes, and the lane goes on (P8)."""
    batch_id = uuid.uuid4().hex
    opened = open_lease(ports, session.context, batch_id, session.lane)
    if isinstance(opened, Held):
        return
    lease, run_id = opened
    results = [_dead_letter(session.lane, entry, event) for entry, event in dead]
    token = f"{session.token}-{batch_id[:8]}"
    _settle(ports, session, lease, run_id, batch_id, token, [entry.id for entry, _ in dead], [], results)


def _dead_letter(lane: Lane, entry: Entry, event: ChangeEvent | None) -> Result:
    if event is None:
        return Result([f"entry:{lane}:{entry.id}"], "webhook", "", "left", "", None, "failed", reason=Code.POISON)
    return Result(
        [event.event_id],
        event.origin,
        event.pair,
        event.side,
        event.record_id,
        event.run_id,
        "failed",
        reason=Code.POISON,
        attempt=entry.tries,
        received_ms=event.received_at,
    )
