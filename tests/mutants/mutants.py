"""The mutants. None is a branch in the product: each puts something else in the place of its functions, in the process.

What is put there takes the same parameters as what was there, and stands under the same name: where the product has
changed, `put` raises MutantError, so that a mutant never misses its target in silence.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from msgspec import structs
from sqlalchemy import TextClause, text

from shared.bus import GROUP, LANES, Lane
from shared.connectors.base import Unsure
from shared.connectors.vendor import AccessToken
from shared.engine.outcome import ResultBatch
from shared.errors import ConnectionBroken
from shared.points import at
from shared.sync.events import Origin
from shared.sync.model import Action, ActionKind, Side
from shared.sync.model import Change as FieldChange
from shared.sync.reasons import Code

log = logging.getLogger(__name__)

Function = Callable[..., Any]


class MutantError(RuntimeError):
    """The product is not what this mutant was written for."""


@dataclass(frozen=True, slots=True)
class Change:
    """`where`: "module:name" or "module:Class.name"; `made` gets what stands there and gives what shall."""

    where: str
    made: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`promise`: the one that it breaks, and by which it must be caught. `what`: in a few words."""

    name: str
    promise: str
    what: str
    changes: tuple[Change, ...]


def put(mutant: Mutant) -> None:
    """Into this process, for as long as it lives. Raises MutantError."""
    log.warning("mutant %s: %s", mutant.name, mutant.what)
    for holder, name, fresh in list(replacements(mutant)):
        setattr(holder, name, fresh)


def replacements(mutant: Mutant) -> Iterator[tuple[Any, str, Any]]:
    """Where each goes, under which name, and what. Raises MutantError where the product has other parameters."""
    for change in mutant.changes:
        holder, name, found = _found(change.where)
        fresh = change.made(found)
        if inspect.isfunction(found) and _parameters(found) != _parameters(fresh):
            raise MutantError(
                f"{mutant.name}: {change.where} takes {_parameters(found)}, the mutant {_parameters(fresh)}"
            )
        if type(found) is not type(fresh):
            raise MutantError(f"{mutant.name}: {change.where} is a {type(found).__name__}")
        yield holder, name, fresh


def _found(where: str) -> tuple[Any, str, Any]:
    module, _, path = where.partition(":")
    *outer, name = path.split(".")
    try:
        holder: Any = import_module(module)
        for part in outer:
            holder = getattr(holder, part)
        return holder, name, inspect.getattr_static(holder, name)
    except (ImportError, AttributeError) as error:
        raise MutantError(f"there is no {where}") from error


def _parameters(function: Function) -> list[tuple[str, str]]:
    return [(one.name, one.kind.name) for one in inspect.signature(function).parameters.values()]


# P1


def _record_acks_first(record_one: Function) -> Function:
    def mutated(ports: Any, taken: Any) -> Any:
        batch = ResultBatch.decode(taken.payload)
        ports.bus.ack(Lane.parse(batch.lane), batch.entries, batch.token)
        ports.bus.drop_result(taken)
        return record_one(ports, taken)

    return mutated


def _door_answers_first(accept: Function) -> Function:
    under_way: set[Any] = set()

    async def later(*delivery: Any) -> None:
        await asyncio.sleep(0.2)
        await accept(*delivery)

    async def mutated(self: Any, vendor: Any, path_token: Any, request: Any) -> Any:
        under_way.add(asyncio.create_task(later(self, vendor, path_token, request)))
        return 1

    return mutated


# P2


def _tick_looks_at_nothing(_tick: Function) -> Function:
    def mutated(self: Any) -> None:
        with self._db.transaction() as session:
            session.execute(text("INSERT INTO installation (id) VALUES (1) ON CONFLICT DO NOTHING"))
            row = session.execute(text("SELECT * FROM installation WHERE id = 1 FOR UPDATE")).one()
            marker = row.redis_marker or uuid.uuid4().hex
            self._mirror(row.epoch + 1, marker)
            session.execute(
                text("UPDATE installation SET epoch = :epoch, redis_marker = :marker"),
                {"epoch": row.epoch + 1, "marker": marker},
            )
        self._note(row.epoch + 1)

    return mutated


def _ack_says_whole(ack: Function) -> Function:
    def mutated(self: Any, lane: Any, ids: Any, token: Any = "") -> bool:
        ack(self, lane, ids, token)
        return True

    return mutated


# P3


def _intents_are_not_kept(_open_intents: Function) -> Function:
    def mutated(self: Any, leases: Any, lease: Any, batch_id: Any, pair: Any, drafts: Any) -> Any:
        with self._db.transaction() as session:
            leases.check(session, lease)
        return {(one.side, one.record_id) for one in drafts}

    return mutated


def _unsure_is_unsent(created: Function) -> Function:
    def mutated(self: Any, work: Any, side: Any, answer: Any) -> None:
        if isinstance(answer, Unsure):
            self._settler.wait(work, Code.VENDOR_UNAVAILABLE, in_s=self._settler.soon_s, intent="close")
        else:
            created(self, work, side, answer)

    return mutated


# P4


def _lease_is_good(_check: Function) -> Function:
    def mutated(self: Any, session: Any, lease: Any, *, pushed: bool = False) -> None:
        return

    return mutated


def _covers(_covers_push: Function) -> Function:
    def mutated(self: Any, lease: Any) -> bool:
        return True

    return mutated


# P5


def _nothing_is_pending(note_pushes: Function) -> Function:
    def mutated(self: Any, leases: Any, lease: Any, run_id: Any, pair: Any, pushes: Any) -> Any:
        return note_pushes(self, leases, lease, run_id, pair, [structs.replace(one, pending={}) for one in pushes])

    return mutated


def _every_root_is_free(_lock_roots: Function) -> Function:
    def mutated(self: Any, roots: Any, token: Any) -> list[bool]:
        return [True for _ in roots]

    return mutated


def _listed_is_fresh(_listed: Function) -> Function:
    def mutated(work: Any) -> Any:
        usable = work.staged is not None and work.staged.usable(work.pair, work.side)
        return work.staged if usable else None

    return mutated


def _any_version(update: TextClause) -> TextClause:
    said = " AND b.version = r.expected"
    if said not in str(update):
        raise MutantError(f"the update of a binding does not say{said}")
    return text(str(update).replace(said, " AND r.expected > 0"))


# P6

ECHOES = 4
"""So many are answered for each record and process: a loop without an end could not be judged."""


def _echo_is_answered(plan: Function) -> Function:
    answered: dict[Any, int] = {}

    def mutated(self: Any, work: Any, twin: Any) -> Action:
        action: Action = plan(self, work, twin)
        quiet = action.kind in (ActionKind.ECHO, ActionKind.UNCHANGED)
        if not quiet or work.binding is None or work.source is None or work.folded.origin is not Origin.WEBHOOK:
            return action
        key = (work.pair.name, work.side, work.id)
        if answered.get(key, 0) >= ECHOES:
            return action
        if work.twin is None:  # not read yet: asked again once it is
            return structs.replace(action, kind=ActionKind.UPDATE)
        answered[key] = answered.get(key, 0) + 1
        return structs.replace(action, kind=ActionKind.UPDATE, writes={work.side.other: _as_it_is(work, twin)})

    return mutated


def _as_it_is(work: Any, twin: Any) -> tuple[FieldChange, ...]:
    name = work.pair.key(Side(work.side.other))
    return (FieldChange(name, twin.get(name), twin.get(name)),)


# P7


def _sweeps_nothing(_step: Function) -> Function:
    def mutated(ports: Any) -> None:
        return

    return mutated


# P8


def _counts_no_try(_begin: Function) -> Function:
    def mutated(self: Any, lane: Any, entries: Any) -> None:
        return

    return mutated


# P9


def _counts_twice(count: Function) -> Function:
    def mutated(session: Any, batch: Any, rows: Any) -> None:
        count(session, batch, rows)
        count(session, batch, rows)

    return mutated


def _every_event_is_new(claim_events: Function) -> Function:
    def mutated(session: Any, batch: Any) -> set[str]:
        claim_events(session, batch)
        return {event for one in batch.results if one.outcome is not None for event in one.event_ids}

    return mutated


# P10


class _StopNow(threading.Event):
    """Told to stop, it acknowledges whatever this process has claimed, and is gone."""

    def __init__(self, bus: Any) -> None:
        super().__init__()
        self._bus = bus

    def set(self) -> None:
        # Not on the thread of the signal, which may hold a lock of Redis' client.
        threading.Thread(target=self._acknowledge).start()

    def _acknowledge(self) -> None:
        redis = self._bus.redis
        for lane in redis.smembers(LANES):
            rows = redis.xpending_range(lane, GROUP, "-", "+", 1000, consumername=self._bus.worker)
            if ids := [row["message_id"] for row in rows]:
                redis.xack(lane, GROUP, *ids)
                redis.xdel(lane, *ids)
        os._exit(0)


def _stop_acknowledges(init: Function) -> Function:
    def mutated(self: Any, bus: Any, db: Any, leases: Any, settings: Any, epoch: Any, watchdog: Any) -> None:
        init(self, bus, db, leases, settings, epoch, watchdog)
        if not isinstance(self.stopping, threading.Event):
            raise MutantError("a keeper has no event `stopping`")
        self.stopping = _StopNow(bus)

    return mutated


# P11

SAVED_AFTER_S = 15.0


def _token_is_used_before_it_is_saved(_refreshed: Function) -> Function:
    def mutated(self: Any, held: Any, spare: Any) -> AccessToken:
        try:
            grant, used = self._either(held)
        except ConnectionBroken as error:
            self._store.break_(held, str(error))
            raise
        at("token.granted")
        expires_at = self._now() + timedelta(seconds=grant.expires_in_s)
        self._store.release(held, not_before_s=None)

        def save() -> None:
            if (mine := self._store.claim(held.version)) is not None:
                self._store.save(mine, grant, used=used, expires_at=expires_at)

        later = threading.Timer(SAVED_AFTER_S, save)
        later.daemon = True
        later.start()
        return AccessToken(grant.access_token, expires_at, held.version + 1)

    return mutated


def _claim_is_everybodys(claim: Function) -> Function:
    def mutated(self: Any, version: Any) -> Any:
        if (mine := claim(self, version)) is not None:
            return mine
        held = self.load()
        return held if held.version == version and held.started_at is not None else None

    return mutated


def _nobody_refreshes(load: Function) -> Function:
    def mutated(self: Any) -> Any:
        return dataclasses.replace(load(self), claimed=False)

    return mutated


# P12


def _mark_is_the_end(_vendor_start: Function) -> Function:
    def mutated(self: Any, session: Any, key: Any, started: Any) -> datetime:
        return datetime.now(UTC)

    return mutated


def _window_begins_at_the_mark(_window_start: Function) -> Function:
    def mutated(previous_start: Any, overlap_s: Any) -> Any:
        return previous_start

    return mutated


def _window_is_open(cut: Function) -> Function:
    def mutated(page: Any, facts: Any, since: Any) -> Any:
        rows, done = cut(page, facts, since)
        return [row for row in rows if since is None or row.modified_at is None or row.modified_at > since], done

    return mutated


# P13


def _there_is_room(add_arguments: Function) -> Function:
    def mutated(deliveries: Any, bound: Any) -> Any:
        return add_arguments(deliveries, None)

    return mutated


def _lanes_are_short(length: Function) -> Function:
    """Whoever asks for the length of the backlog asks because of its bound, or whether there is none."""

    def mutated(self: Any, lanes: Any) -> int:
        return min(int(length(self, lanes)), 1)

    return mutated


# P14


def _signed_by_anybody(_verify: Function) -> Function:
    def mutated(self: Any, request: Any, secrets: Any) -> None:
        return

    return mutated


def _values_are_logged(decide: Function) -> Function:
    def mutated(self: Any, works: Any) -> None:
        for work in works:
            log.info("about to decide on %s", dict(work.source.fields) if work.source else None)
        decide(self, works)

    return mutated


def _all(*mutants: Mutant) -> dict[str, Mutant]:
    return {one.name: one for one in mutants}


_SWEEPS = ("wake_lanes", "wake_runs", "wake_results")

MUTANTS = _all(
    Mutant(
        "ack_before_commit",
        "P1",
        "events are acknowledged before their outcome is committed",
        (Change("shared.engine.results:_record_one", _record_acks_first),),
    ),
    Mutant(
        "receiver_answers_first",
        "P1",
        "the door answers 200 before Redis has the event",
        (Change("shared.services.events:EventService.accept_webhook", _door_answers_first),),
    ),
    Mutant(
        "no_marker_check",
        "P2",
        "the tick does not look whether Redis lost its data",
        (
            Change("shared.engine.epoch:Epoch.tick", _tick_looks_at_nothing),
            Change("shared.bus:Bus.ack", _ack_says_whole),
        ),
    ),
    Mutant(
        "no_intent",
        "P3",
        "no intent is committed before a create",
        (Change("shared.engine.known:Known.open_intents", _intents_are_not_kept),),
    ),
    Mutant(
        "retry_without_looking",
        "P3",
        "a create whose answer was lost counts as not sent",
        (Change("shared.engine.pusher:Pusher._created", _unsure_is_unsent),),
    ),
    Mutant(
        "no_fence_check",
        "P4",
        "results are saved, and pushes begun, whatever became of the lease",
        (
            Change("shared.lease:Leases.check", _lease_is_good),
            Change("shared.lease:Leases.covers_push", _covers),
        ),
    ),
    Mutant(
        "no_pending",
        "P5",
        "what an update sends is not noted before it is sent",
        (Change("shared.engine.known:Known.note_pushes", _nothing_is_pending),),
    ),
    Mutant(
        "no_root_lock",
        "P5",
        "the two ends of a binding are worked on at the same time",
        (Change("shared.bus:Bus.lock_roots", _every_root_is_free),),
    ),
    Mutant(
        "list_row_trusted",
        "P5",
        "a listed row is taken though the record was settled since",
        (Change("shared.engine.reader:_listed", _listed_is_fresh),),
    ),
    Mutant(
        "no_version_check",
        "P5",
        "a binding is saved over a newer version of it",
        (Change("shared.engine.saving:_UPDATE_BINDING", _any_version),),
    ),
    Mutant(
        "echo_answered",
        "P6",
        "each event of a bound record writes its twin",
        (Change("shared.engine.batch:Batch._plan", _echo_is_answered),),
    ),
    Mutant(
        "no_sweep",
        "P7",
        "nobody wakes what a dead worker left",
        tuple(Change(f"shared.engine.housekeeping:{step}", _sweeps_nothing) for step in _SWEEPS),
    ),
    Mutant(
        "no_try_count",
        "P8",
        "tries are not counted before the work begins",
        (Change("shared.bus:Bus.begin", _counts_no_try),),
    ),
    Mutant(
        "counters_twice",
        "P9",
        "outcomes are counted twice",
        (Change("shared.engine.saving:_count", _counts_twice),),
    ),
    Mutant(
        "event_twice",
        "P9",
        "an event that has its outcome gets another",
        (Change("shared.engine.saving:_claim_events", _every_event_is_new),),
    ),
    Mutant(
        "stop_acks",
        "P10",
        "SIGTERM acknowledges what is claimed, and leaves",
        (Change("shared.engine.keeper:Keeper.__init__", _stop_acknowledges),),
    ),
    Mutant(
        "used_before_saved",
        "P11",
        "a new token is used before its pair is saved",
        (Change("shared.connectors.tokens:SharedTokens._refreshed", _token_is_used_before_it_is_saved),),
    ),
    Mutant(
        "two_refreshers",
        "P11",
        "a claim to refresh keeps nobody out",
        (
            Change("shared.services.connections:PostgresGrants.claim", _claim_is_everybodys),
            Change("shared.services.connections:PostgresGrants.load", _nobody_refreshes),
        ),
    ),
    Mutant(
        "watermark_at_end",
        "P12",
        "a watermark is the end of its run",
        (Change("shared.engine.run:_RunWork._vendor_start", _mark_is_the_end),),
    ),
    Mutant(
        "open_range",
        "P12",
        "lists begin at the watermark, without overlap, and after it",
        (
            Change("shared.engine.listing:window_start", _window_begins_at_the_mark),
            Change("shared.engine.listing:_cut", _window_is_open),
        ),
    ),
    Mutant(
        "no_door_bound",
        "P13",
        "the door takes whatever comes",
        (Change("shared.intake:add_arguments", _there_is_room),),
    ),
    Mutant(
        "no_poller_bound",
        "P13",
        "the poller queues whatever was listed",
        (Change("shared.bus:Bus.length", _lanes_are_short),),
    ),
    Mutant(
        "signature_not_checked",
        "P14",
        "a delivery need not be signed",
        (
            Change("shared.connectors.zoho_books.webhooks:BooksWebhooks.verify", _signed_by_anybody),
            Change("shared.connectors.zoho_fsm.webhooks:FsmWebhooks.verify", _signed_by_anybody),
        ),
    ),
    Mutant(
        "value_in_log",
        "P14",
        "field values are logged",
        (Change("shared.engine.batch:Batch._decide", _values_are_logged),),
    ),
)
