"""Drains a lane: claims entries, folds them to one event per record, works in batches, hands over the outcomes.

One batch holds its lease from before the first read; webhook work gives its orgs away between two batches (LK-4).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from shared.bus import LIVE, Entry, Lane
from shared.connectors.base import CallClass
from shared.correlation import calls_of
from shared.engine.batch import Batch
from shared.engine.classes import first_class, for_class
from shared.engine.context import Context, Ports, load_context
from shared.engine.keeper import Keeper
from shared.engine.opening import OpenBatch, close_batch, open_batch
from shared.engine.outcome import Result, ResultBatch
from shared.engine.work import Work
from shared.errors import ConfigError, LeaseLost, NotFound, Unavailable
from shared.lease import Held
from shared.points import at
from shared.sync.events import BadEnvelope, ChangeEvent, Folded, Origin, decode, fold
from shared.sync.model import Record, Side
from shared.sync.reasons import Code

log = logging.getLogger(__name__)

ROOT_RETRY_S, ROOT_RETRY_MOST_S = 0.02, 0.5
"""How soon a record whose root another batch holds is looked at again: doubled each time (not scaled)."""
SLICE_S = 5.0
"""A drainer gives its thread back after so long; the next wake-up goes on."""
CONFIG_PAUSE_S = 30.0
LIMIT_PAUSE_LEAST_S, LIMIT_PAUSE_MOST_S = 0.1, 10.0
READ_AHEAD = 200
"""Live events in hand at most: a thousand webhooks of a few records are folded before any of those is read."""
CALLS_A_BATCH = 4
"""Where every module takes many records a call: what a batch costs beside them (a lease, locks, some forty statements)
is shared by so many calls."""
SMALL_BATCH = 8
"""Records a batch where the vendors take one record a call: the last write must not wait for a hundred reads, and a
limit that runs out must not have been spent on reads alone."""


@dataclass(slots=True)
class _Pending:
    """An entry in hand; `not_before` is monotonic seconds."""

    entry: Entry
    event: ChangeEvent
    key: str
    """Of its record."""
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
    if keeper.stopping.is_set():
        ports.wake.drain(lane)  # for another worker
        return
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
        ready = _ready(session, size)
        if _records(ready) < size:
            most = READ_AHEAD - len(session.pending) if session.lane.cls == LIVE else size - len(ready)
            if most > 0:
                _take_in(ports, session, ports.bus.read_new(session.lane, most))
                ready = _ready(session, size)
        if not ready:
            if not session.pending and last_look:
                return False
            if not session.pending:
                ports.bus.clear_woken(session.lane)
                last_look = True
                continue
            wait_s = max(0.001, min(one.not_before for one in session.pending) - time.monotonic())
            most = max(1, min(size, READ_AHEAD - len(session.pending)))
            _take_in(ports, session, ports.bus.read_new(session.lane, most, block_ms=max(1, int(wait_s * 1000))))
            continue
        last_look = False
        # What crashed a worker before is worked on alone, so that it cannot take others with it (P8).
        suspects = [one for one in ready if one.entry.tries]
        cls, batch = first_class(suspects[:1] or ready)
        if not _one_batch(ports, keeper, session, cls, batch):
            ports.bus.give_back(session.lane, [one.entry for one in session.pending])
            ports.bus.clear_woken(session.lane)
            return False
        if time.monotonic() > ends or keeper.stopping.is_set():
            return True


def _ready(session: _Session, size: int) -> list[_Pending]:
    """The events that may be worked on now, of so many records at most."""
    now = time.monotonic()
    found: list[_Pending] = []
    records: set[str] = set()
    for one in session.pending:
        if one.not_before <= now and (one.key in records or len(records) < size):
            records.add(one.key)
            found.append(one)
    return found


def _records(events: Sequence[_Pending]) -> int:
    return len({one.key for one in events})


def _batch_size(ports: Ports, session: _Session) -> int:
    facts = session.context.facts.values()
    widest = max(max(one.read_batch, one.create_batch, one.update_batch) for one in facts)
    narrowest = min(min(one.read_batch, one.create_batch, one.update_batch) for one in facts)
    if session.lane.cls == LIVE or widest == 1:
        return SMALL_BATCH
    return min(ports.settings.batch_size, max(widest, CALLS_A_BATCH * narrowest))


def _take_in(ports: Ports, session: _Session, entries: Sequence[Entry]) -> None:
    """Decodes; what is no event of ours, or killed a worker too often, ends here as a dead letter with its reason."""
    dead: list[tuple[Entry, ChangeEvent | None]] = []
    fresh: list[_Pending] = []
    for entry in entries:
        try:
            event = decode(orjson.loads(entry.payload))
        except (BadEnvelope, ValueError, TypeError, AttributeError, RecursionError):
            dead.append((entry, None))
            continue
        if entry.tries >= ports.settings.attempts_by_crash or event.pair not in session.context.names:
            dead.append((entry, event))
        else:
            fresh.append(_Pending(entry, event, _record_key(session.context.id, event)))
    _debounce(ports, session, fresh)
    newer = {one.key for one in fresh}
    for one in session.pending:
        if one.key in newer:
            one.read = None  # older than what these tell of (P5)
    session.pending += fresh
    if dead:
        _bury(ports, session, dead)


def _debounce(ports: Ports, session: _Session, fresh: list[_Pending]) -> None:
    """The first event of a record is worked on at once, the following ones once a second at most."""
    webhooks = [one for one in fresh if one.event.origin is Origin.WEBHOOK]
    waits = ports.bus.quiet_for([one.key for one in webhooks])
    for one, wait_s in zip(webhooks, waits, strict=True):
        one.not_before = time.monotonic() + wait_s


def _record_key(integration_id: int, event: ChangeEvent | Folded) -> str:
    return f"{integration_id}:{event.pair}:{event.side}:{event.record_id}"


# One batch


def _one_batch(ports: Ports, keeper: Keeper, session: _Session, cls: CallClass, chosen: list[_Pending]) -> bool:
    """False: the orgs are held by somebody else, or a limit is used up; the lane waits."""
    opened = open_batch(ports, session.context, session.lane, session.token)
    if isinstance(opened, Held):
        return False
    ports.bus.begin(session.lane, [one.entry for one in chosen])
    try:
        return _begun(ports, keeper, session, cls, chosen, opened)
    except (LeaseLost, Unavailable):
        with suppress(Unavailable):  # no crash of theirs
            ports.bus.give_back(session.lane, [one.entry for one in chosen])
        raise


def _begun(
    ports: Ports, keeper: Keeper, session: _Session, cls: CallClass, chosen: list[_Pending], opened: OpenBatch
) -> bool:
    at("batch.claimed")
    with keeper.batch(opened.id, opened.lease), calls_of(opened.lease.fence, opened.id):
        works = _worked(ports, keeper, for_class(session.context, cls), opened, chosen)
        try:
            _hand_over(ports, session, opened, chosen, works)
        except BaseException:
            keeper.abandon(opened.id, opened.token, [root for work in works for root in work.roots])
            raise
    waits = [work.result.wait for work in works if work.result and work.result.reason == Code.RATE_LIMITED]
    limited_s = [wait.in_s or 0.0 for wait in waits if wait]
    if limited_s:
        session.paused_s = min(max(limited_s), LIMIT_PAUSE_MOST_S) or LIMIT_PAUSE_LEAST_S
    return not limited_s


def _worked(ports: Ports, keeper: Keeper, context: Context, opened: OpenBatch, chosen: list[_Pending]) -> list[Work]:
    lease = opened.lease

    standing = keeper.standing()

    def ensure_lease() -> None:
        nonlocal lease
        keeper.check_standing(standing)
        if not ports.leases.covers_push(lease):
            with ports.db.writing() as transaction:
                lease = ports.leases.renew(transaction, lease)

    batch = Batch(ports, context, lease, opened.id, opened.run_id, opened.token, ensure_lease, keeper.stopping.is_set)
    try:
        return batch.process(fold([one.event for one in chosen]), _reads(chosen))
    except BaseException:
        # Whoever claims these events next must not wait for our locks; what was created has its intent.
        keeper.abandon(opened.id, opened.token, batch.roots)
        raise


def _reads(chosen: list[_Pending]) -> dict[str, Record | None]:
    """What came again, by event id, with its earlier read; an event that came since is read for."""
    return {one.event.event_id: one.read for one in chosen if one.waits}


def _hand_over(ports: Ports, session: _Session, opened: OpenBatch, chosen: list[_Pending], works: list[Work]) -> None:
    """What is done goes to the results; what found its root locked comes again, less and less often."""
    works_by_record = {_record_key(session.context.id, work.folded): work for work in works}
    done: list[_Pending] = []
    back: list[_Pending] = []
    for one in chosen:
        work = works_by_record[one.key]
        if work.result is not None:
            done.append(one)
            continue
        one.not_before = time.monotonic() + min(ROOT_RETRY_S * 2**one.waits, ROOT_RETRY_MOST_S)
        one.waits += 1
        one.read = None if work.listed else work.source
        back.append(one)
    ports.bus.unlock_roots([root for work in works if work.result is None for root in work.roots], opened.token)
    if done:
        _settle_done(ports, session, opened, [one.entry.id for one in done], [work for work in works if work.result])
    else:
        close_batch(ports, opened.id)
    settled = {one.entry.id for one in done}
    session.pending = [one for one in session.pending if one.entry.id not in settled]
    ports.bus.give_back(session.lane, [one.entry for one in back])


def _settle_done(ports: Ports, session: _Session, opened: OpenBatch, entries: list[str], done: list[Work]) -> None:
    roots = [root for work in done for root in work.roots]
    results = [work.result for work in done if work.result]
    _settle(ports, session, opened, entries, roots, results)
    worked = [
        _record_key(session.context.id, work.folded)
        for work in done
        if work.result and work.result.origin == Origin.WEBHOOK and work.result.outcome not in ("echo", "unchanged")
    ]
    ports.bus.note_worked(worked, ports.settings.scaled(ports.settings.debounce_s))
    for_nothing = [
        _record_key(session.context.id, work.folded)
        for work in done
        if work.result and work.result.origin == Origin.WEBHOOK and work.result.outcome in ("echo", "unchanged")
    ]
    ports.bus.note_for_nothing(for_nothing)


def _settle(
    ports: Ports, session: _Session, opened: OpenBatch, entries: list[str], roots: list[str], results: list[Result]
) -> None:
    context, lease = session.context, opened.lease
    payload = ResultBatch(
        batch_id=opened.id,
        integration_id=context.id,
        workspace_id=context.workspace_id,
        orgs=list(lease.orgs),
        holder=lease.holder.name,
        fence=lease.fence,
        run_id=opened.run_id,
        direction={side.value: context.direction(side) for side in Side},
        lane=str(session.lane),
        entries=entries,
        roots=roots,
        token=opened.token,
        results=results,
        opened_at=opened.opened_at,
    )
    wake = ports.bus.settle(session.lane, entries, opened.token, payload.encode())
    at("results.handed")
    if wake:
        ports.wake.results()


def _bury(ports: Ports, session: _Session, dead: list[tuple[Entry, ChangeEvent | None]]) -> None:
    """Dead letters: an outcome with a reason, so that nothing vanishes, and the lane goes on (P8)."""
    opened = open_batch(ports, session.context, session.lane, session.token)
    if isinstance(opened, Held):
        return
    results = [_dead_letter(session.lane, entry, event, session.context.names) for entry, event in dead]
    _settle(ports, session, opened, [entry.id for entry, _ in dead], [], results)


def _dead_letter(lane: Lane, entry: Entry, event: ChangeEvent | None, pairs: Collection[str]) -> Result:
    if event is None:
        return Result([f"entry:{lane}:{entry.id}"], "webhook", "", "left", "", None, "failed", reason=Code.POISON)
    outside = event.pair not in pairs  # since it was told of: another sync type, or invoices that were switched off
    return Result(
        [event.event_id],
        event.origin,
        event.pair,
        event.side,
        event.record_id,
        event.run_id,
        "skipped" if outside else "failed",
        reason=Code.OUTSIDE_MAPPING if outside else Code.POISON,
        attempt=entry.tries,
        received_ms=event.received_at,
    )
